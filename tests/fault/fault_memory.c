/* SPDX-License-Identifier: MIT */

/* The allocators that fail: the C library's, and the interpreter's. */

#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "fault.h"

/* ---- memory ---- */

/* dlsym() may allocate before there is anything to allocate with. */
static char early[4096];
static size_t early_used;
static bool resolving;

static void *early_take(size_t size) {
        void *memory = early + early_used;

        early_used += (size + 15) / 16 * 16;
        return early_used <= sizeof(early) ? memory : NULL;
}

static bool is_early(const void *memory) {
        return (const char *)memory >= early && (const char *)memory < early + sizeof(early);
}

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

void fault_resolve(void) {
        if (real_free || resolving)
                return;
        resolving = true;
        real_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
        real_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
        real_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
        real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
        resolving = false;
}

static bool memory_fails(const char *name, const void *caller) {
        if (!fault_call_fails(name, caller, KIND_MEMORY, ERRORS(ENOMEM)))
                return false;
        errno = ENOMEM;
        return true;
}

void *malloc(size_t size) {
        fault_resolve();
        if (!real_malloc)
                return early_take(size);
        return memory_fails("malloc", CALLER) ? NULL : real_malloc(size);
}

void *calloc(size_t n, size_t size) {
        fault_resolve();
        if (!real_calloc)
                return early_take(n * size);
        return memory_fails("calloc", CALLER) ? NULL : real_calloc(n, size);
}

void *realloc(void *memory, size_t size) {
        fault_resolve();
        return memory_fails("realloc", CALLER) ? NULL : real_realloc(memory, size);
}

void free(void *memory) {
        fault_resolve();
        if (!is_early(memory) && real_free)
                real_free(memory);
}

/* Its malloc would be the C library's own. */
char *strdup(const char *text) {
        size_t size = strlen(text) + 1;
        char *copy = memory_fails("strdup", CALLER) ? NULL : real_malloc(size);

        return copy ? memcpy(copy, text, size) : NULL;
}

/* ---- the interpreter's memory ---- */

typedef struct PyMemAllocatorEx {
        void *ctx;
        void *(*malloc)(void *ctx, size_t size);
        void *(*calloc)(void *ctx, size_t n, size_t size);
        void *(*realloc)(void *ctx, void *memory, size_t size);
        void (*free)(void *ctx, void *memory);
} PyMemAllocatorEx;

#define DOMAINS 3
#define NEAR_WORDS 384

static PyMemAllocatorEx python[DOMAINS];

typedef struct Range {
        uintptr_t begin, end;
} Range;

/* Of ld.so. */
extern void *__libc_stack_end;

static Range ours;

static int note_ours(struct dl_phdr_info *info, size_t size, void *userdata) {
        (void)size;
        (void)userdata;
        if (!fault_is_named(info->dlpi_name, fault_within))
                return 0;
        for (int i = 0; i < info->dlpi_phnum; i++)
                if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
                        ours.begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
                        ours.end = ours.begin + info->dlpi_phdr[i].p_memsz;
                }
        return ours.end != 0;
}

/* The extension comes when it is imported. */
void *dlopen(const char *path, int flags) {
        void *handle = REAL(dlopen)(path, flags);

        if (handle && path && fault_is_named(path, fault_within))
                dl_iterate_phdr(note_ours, NULL);
        return handle;
}

/* Is there an address in our code on the stack, not far from here? Most calls come from elsewhere, and to find out for
 * sure who calls is slow. */
__attribute__((no_sanitize("address"))) static bool python_call_may_be_ours(void) {
        const volatile uintptr_t *stack = __builtin_frame_address(0);
        const uintptr_t *end = __libc_stack_end; /* of the first thread's, the one that imports here */

        for (size_t i = 0; i < NEAR_WORDS && stack + i < end; i++)
                if (stack[i] - ours.begin < ours.end - ours.begin)
                        return true;
        return false;
}

/* Stands before the interpreter's own evaluation of a frame, which may be made of many functions, with or without names. */
typedef void *(*Evaluator)(void *thread, void *frame, int throws);

static Evaluator evaluator;
extern const char __start_fault_evaluator[], __stop_fault_evaluator[];

__attribute__((section("fault_evaluator"), noinline)) static void *evaluate(void *thread, void *frame,
                                                                            int throws) {
        void *result = evaluator(thread, frame, throws);

        __asm__ volatile("" : : : "memory"); /* no tail call: it has to be on the stack */
        return result;
}

/*
 * What else does the interpreter's own work: PyEval_EvalCode() has a frame made for code that exec() or eval() was given,
 * and eval() compiles, which 3.11 and 3.13 end some processes for if memory fails meanwhile: _testcapi.set_nomemory() shows
 * it without us.
 */
static uintptr_t eval_code, builtin_eval;

static void note_interpreter(void) {
        void *(*builtins)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyEval_GetBuiltins");
        void *(*item)(void *, const char *) =
                (void *(*)(void *, const char *))dlsym(RTLD_DEFAULT, "PyDict_GetItemString");
        void *(*function)(void *) = (void *(*)(void *))dlsym(RTLD_DEFAULT, "PyCFunction_GetFunction");

        eval_code = (uintptr_t)dlsym(RTLD_DEFAULT, "PyEval_EvalCode");
        builtin_eval = (uintptr_t)function(item(builtins(), "eval"));
}

static bool is_of_interpreter(struct _Unwind_Context *context) {
        uintptr_t address = _Unwind_GetIP(context), function = _Unwind_GetRegionStart(context);

        return (address >= (uintptr_t)__start_fault_evaluator &&
                address < (uintptr_t)__stop_fault_evaluator) ||
               function == eval_code || function == builtin_eval;
}

static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *context, void *userdata) {
        bool *is_ours = userdata;

        *is_ours = _Unwind_GetIP(context) - ours.begin < ours.end - ours.begin;
        return *is_ours || is_of_interpreter(context) ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* Is our code the one that asks, and not what it has called of the interpreter's own work? */
static bool python_call_is_ours(void) {
        bool is_ours = false;

        _Unwind_Backtrace(look_at_frame, &is_ours);
        return is_ours;
}

static bool python_fails(void) {
        bool fails;

        if (!fault_control->armed || !(fault_control->kinds & KIND_PYTHON) || fault_is_busy ||
            !python_call_may_be_ours())
                return false;
        fault_is_busy = true;
        fails = python_call_is_ours() && fault_fails_now("PyMem");
        fault_is_busy = false;
        return fails;
}

static void *python_malloc(void *ctx, size_t size) {
        PyMemAllocatorEx *real = ctx;

        return python_fails() ? NULL : real->malloc(real->ctx, size);
}

static void *python_calloc(void *ctx, size_t n, size_t size) {
        PyMemAllocatorEx *real = ctx;

        return python_fails() ? NULL : real->calloc(real->ctx, n, size);
}

static void *python_realloc(void *ctx, void *memory, size_t size) {
        PyMemAllocatorEx *real = ctx;

        return python_fails() ? NULL : real->realloc(real->ctx, memory, size);
}

static void python_free(void *ctx, void *memory) {
        PyMemAllocatorEx *real = ctx;

        real->free(real->ctx, memory);
}

/* To be called in a running interpreter. */
__attribute__((visibility("default"))) void fault_python(void);

void fault_python(void) {
        void (*get)(int, PyMemAllocatorEx *) =
                (void (*)(int, PyMemAllocatorEx *))dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
        void (*set)(int, PyMemAllocatorEx *) =
                (void (*)(int, PyMemAllocatorEx *))dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
        void *(*interpreter)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyInterpreterState_Get");
        void (*set_evaluator)(void *, Evaluator) =
                (void (*)(void *, Evaluator))dlsym(RTLD_DEFAULT, "_PyInterpreterState_SetEvalFrameFunc");
        bool is_ours;

        note_interpreter();
        _Unwind_Backtrace(look_at_frame, &is_ours); /* loads what it needs */
        evaluator = (Evaluator)dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
        set_evaluator(interpreter(), evaluate);
        for (int domain = 0; domain < DOMAINS; domain++) {
                PyMemAllocatorEx ours = { .ctx = &python[domain],
                                          .malloc = python_malloc,
                                          .calloc = python_calloc,
                                          .realloc = python_realloc,
                                          .free = python_free };

                get(domain, &python[domain]);
                set(domain, &ours);
        }
}
