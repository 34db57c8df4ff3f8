/* SPDX-License-Identifier: MIT */

/*
 * A shared object that stands in front of the C library (LD_PRELOAD) in the fault tests, and makes the Nth call of some
 * kind fail: in the daemon, a builder or a process as they are, with nothing built into them for it.
 *
 * It is told what to do by a file that is mapped, FAULT_CONTROL, and counts there; the test has it mapped as well, and
 * so arms it while the program runs. Only calls from the objects that FAULT_WITHIN names count (substrings of their
 * paths, with colons between them; "MAIN" is the program). FAULT_BUILDER_CONTROL and FAULT_BUILDER_WITHIN are for
 * a program that this one becomes or starts: its execve() hands them on as FAULT_CONTROL and FAULT_WITHIN.
 *
 * What is left out: calls whose failure a library takes for a programming error and aborts, as libuv does for
 * epoll_ctl(), epoll_wait() and the reads and writes of its own pipes.
 */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <unwind.h>

enum {
        KIND_MEMORY = 1,
        KIND_SYSTEM = 2,
        KIND_PYTHON = 4, /* the interpreter's allocators, called by our C code */
};

enum {
        MODE_ONCE,  /* the Nth call fails */
        MODE_EVER,  /* and all after it */
        MODE_OTHER, /* and every other one after it */
        MODE_SHORT, /* the Nth call does a part of what it was asked for */
};

/* tests/faults.py has it too. */
typedef struct Control {
        uint32_t armed;
        uint32_t kinds;
        uint32_t mode;
        int32_t error;
        uint64_t at;
        uint64_t count;
        uint64_t failed;
        char last[40]; /* what failed last */
} Control;

static Control nothing, *control = &nothing;
static const char *within = "MAIN";
static __thread bool busy; /* our own calls do not count */

/* ---- who calls, and does it fail ---- */

static bool is_named(const char *object, const char *names) {
        size_t length;

        for (; *names; names += length + (names[length] == ':')) {
                char name[64];

                length = strcspn(names, ":");
                if (length == 0 || length >= sizeof(name))
                        continue;
                memcpy(name, names, length);
                name[length] = '\0';
                if (*object ? strstr(object, name) != NULL : strcmp(name, "MAIN") == 0)
                        return true;
        }
        return false;
}

static const char *object_of(const void *address) {
        struct dl_find_object found;

        if (_dl_find_object((void *)address, &found) < 0)
                return "?";
        return found.dlfo_link_map->l_name;
}

static bool fails_now(const char *name) {
        uint64_t count = __atomic_add_fetch(&control->count, 1, __ATOMIC_RELAXED);
        uint64_t at = control->at;
        bool fails = count == at || (count > at && at && control->mode == MODE_EVER) ||
                     (count > at && at && control->mode == MODE_OTHER && (count - at) % 2 == 0);

        if (fails) {
                __atomic_add_fetch(&control->failed, 1, __ATOMIC_RELAXED);
                strncpy(control->last, name, sizeof(control->last) - 1);
        }
        return fails;
}

/* @errors: those that this call may fail with, ended by 0. */
static bool call_fails(const char *name, const void *caller, uint32_t kind, const int *errors) {
        const char *object;
        bool fails;

        if (!control->armed || !(control->kinds & kind) || busy)
                return false;
        if (control->mode == MODE_SHORT)
                return false;
        while (*errors && *errors != control->error)
                errors++;
        if (!*errors)
                return false;
        busy = true;
        object = object_of(caller);
        fails = is_named(object, within) && fails_now(name);
        busy = false;
        return fails;
}

static bool call_is_short(const char *name, const void *caller) {
        bool is_short;

        if (!control->armed || !(control->kinds & KIND_SYSTEM) || busy || control->mode != MODE_SHORT)
                return false;
        busy = true;
        is_short =
                is_named(object_of(caller), within) && !strstr(object_of(caller), "libuv") && fails_now(name);
        busy = false;
        return is_short;
}

static bool caller_is_uv(const void *caller) {
        return strstr(object_of(caller), "libuv") != NULL;
}

#define ERRORS(...) ((const int[]){ __VA_ARGS__, 0 })
#define CALLER __builtin_return_address(0)
#define REAL(name)                                                         \
        ({                                                                 \
                static __typeof__(&name) real;                             \
                if (!real)                                                 \
                        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
                real;                                                      \
        })

#define FAIL_IF(name, failure, ...)                                        \
        if (call_fails(#name, CALLER, KIND_SYSTEM, ERRORS(__VA_ARGS__))) { \
                errno = control->error;                                    \
                return failure;                                            \
        }

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

static void resolve(void) {
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
        if (!call_fails(name, caller, KIND_MEMORY, ERRORS(ENOMEM)))
                return false;
        errno = ENOMEM;
        return true;
}

void *malloc(size_t size) {
        resolve();
        if (!real_malloc)
                return early_take(size);
        return memory_fails("malloc", CALLER) ? NULL : real_malloc(size);
}

void *calloc(size_t n, size_t size) {
        resolve();
        if (!real_calloc)
                return early_take(n * size);
        return memory_fails("calloc", CALLER) ? NULL : real_calloc(n, size);
}

void *realloc(void *memory, size_t size) {
        resolve();
        return memory_fails("realloc", CALLER) ? NULL : real_realloc(memory, size);
}

void free(void *memory) {
        resolve();
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

static Range evaluators[2], ours;

static int note_ours(struct dl_phdr_info *info, size_t size, void *userdata) {
        (void)size;
        (void)userdata;
        if (!is_named(info->dlpi_name, within))
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

        if (handle && path && is_named(path, within))
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

static bool is_evaluator(const void *address) {
        for (size_t i = 0; i < sizeof(evaluators) / sizeof(*evaluators); i++)
                if ((uintptr_t)address - evaluators[i].begin < evaluators[i].end - evaluators[i].begin)
                        return true;
        return false;
}

static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *context, void *userdata) {
        uintptr_t address = _Unwind_GetIP(context);
        bool *is_ours = userdata;

        *is_ours = address - ours.begin < ours.end - ours.begin;
        return *is_ours || is_evaluator((void *)address) ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* Is our code the one that asks, and no Python code that it has called? */
static bool python_call_is_ours(void) {
        bool is_ours = false;

        _Unwind_Backtrace(look_at_frame, &is_ours);
        return is_ours;
}

static bool python_fails(void) {
        bool fails;

        if (!control->armed || !(control->kinds & KIND_PYTHON) || busy || !python_call_may_be_ours())
                return false;
        busy = true;
        fails = python_call_is_ours() && fails_now("PyMem");
        busy = false;
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

static Range range_of(const char *function) {
        const ElfW(Sym) *symbol = NULL;
        void *address = dlsym(RTLD_DEFAULT, function);
        Dl_info info;

        if (!address || !dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol)
                return (Range){ 0 };
        return (Range){ (uintptr_t)address, (uintptr_t)address + symbol->st_size };
}

/* To be called in a running interpreter. */
__attribute__((visibility("default"))) void fault_python(void);

void fault_python(void) {
        void (*get)(int, PyMemAllocatorEx *) =
                (void (*)(int, PyMemAllocatorEx *))dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
        void (*set)(int, PyMemAllocatorEx *) =
                (void (*)(int, PyMemAllocatorEx *))dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
        bool is_ours;

        _Unwind_Backtrace(look_at_frame, &is_ours); /* loads what it needs */
        evaluators[0] = range_of("_PyEval_EvalFrameDefault");
        evaluators[1] = range_of("_PyFunction_Vectorcall");
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

/* ---- system calls ---- */

#define OPENING EMFILE, ENFILE, ENOMEM

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));

int open(const char *path, int flags, ...) {
        va_list arguments;
        int mode;

        va_start(arguments, flags);
        mode = va_arg(arguments, int);
        va_end(arguments);
        FAIL_IF(open, -1, OPENING, EINTR)
        return REAL(open)(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
        va_list arguments;
        int mode;

        va_start(arguments, flags);
        mode = va_arg(arguments, int);
        va_end(arguments);
        FAIL_IF(openat, -1, OPENING, EINTR)
        return REAL(openat)(directory, path, flags, mode);
}

FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));

FILE *fopen(const char *path, const char *mode) {
        FAIL_IF(fopen, NULL, OPENING)
        return REAL(fopen)(path, mode);
}

DIR *fdopendir(int fd) {
        FAIL_IF(fdopendir, NULL, ENOMEM)
        return REAL(fdopendir)(fd);
}

int close(int fd) {
        bool fails = call_fails("close", CALLER, KIND_SYSTEM, ERRORS(EINTR));
        int r = REAL(close)(fd);

        if (!fails)
                return r;
        errno = EINTR; /* and yet it is closed */
        return -1;
}

int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

int fcntl(int fd, int command, ...) {
        va_list arguments;
        void *argument;

        va_start(arguments, command);
        argument = va_arg(arguments, void *);
        va_end(arguments);
        if (command == F_DUPFD_CLOEXEC || command == F_DUPFD) {
                FAIL_IF(fcntl, -1, EMFILE)
        } else if (command == F_ADD_SEALS || command == F_GET_SEALS ||
                   (command == F_SETLEASE && (intptr_t)argument != F_UNLCK)) {
                FAIL_IF(fcntl, -1, ENOMEM)
        }
        return REAL(fcntl)(fd, command, argument);
}

int memfd_create(const char *name, unsigned flags) {
        FAIL_IF(memfd_create, -1, OPENING)
        return REAL(memfd_create)(name, flags);
}

int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));

int ftruncate(int fd, off_t size) {
        FAIL_IF(ftruncate, -1, ENOSPC, EINTR, ENOMEM)
        return REAL(ftruncate)(fd, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) __attribute__((alias("pwrite")));

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
        FAIL_IF(pwrite, -1, ENOSPC, EINTR, ENOMEM)
        if (size > 1 && call_is_short("pwrite", CALLER))
                size /= 2;
        return REAL(pwrite)(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
        if (!control->armed || caller_is_uv(CALLER))
                return REAL(write)(fd, data, size);
        FAIL_IF(write, -1, ENOSPC, EINTR, EAGAIN)
        if (size > 1 && call_is_short("write", CALLER))
                size /= 2;
        return REAL(write)(fd, data, size);
}

ssize_t read(int fd, void *data, size_t size) {
        if (!control->armed || caller_is_uv(CALLER))
                return REAL(read)(fd, data, size);
        FAIL_IF(read, -1, EINTR, ENOMEM)
        if (size > 1 && call_is_short("read", CALLER))
                size = size > 1024 ? 1024 : size; /* inotify refuses less than one event */
        return REAL(read)(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset) __attribute__((alias("pread")));

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
        FAIL_IF(pread, -1, EINTR, ENOMEM)
        if (size > 1 && call_is_short("pread", CALLER))
                size /= 2;
        return REAL(pread)(fd, data, size, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
        __attribute__((alias("mmap")));

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
        FAIL_IF(mmap, MAP_FAILED, ENOMEM)
        return REAL(mmap)(address, size, protection, flags, fd, offset);
}

int madvise(void *address, size_t size, int advice) {
        FAIL_IF(madvise, -1, ENOMEM, EAGAIN)
        return REAL(madvise)(address, size, advice);
}

int socket(int family, int type, int protocol) {
        FAIL_IF(socket, -1, OPENING)
        return REAL(socket)(family, type, protocol);
}

int socketpair(int family, int type, int protocol, int pair[2]) {
        FAIL_IF(socketpair, -1, OPENING)
        return REAL(socketpair)(family, type, protocol, pair);
}

int pipe2(int pair[2], int flags) {
        FAIL_IF(pipe2, -1, OPENING)
        return REAL(pipe2)(pair, flags);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
        FAIL_IF(accept4, -1, OPENING, EINTR, ECONNABORTED)
        return REAL(accept4)(fd, address, size, flags);
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
        FAIL_IF(connect, -1, EAGAIN, EINTR, ENOMEM, ECONNREFUSED)
        return REAL(connect)(fd, address, size);
}

int bind(int fd, const struct sockaddr *address, socklen_t size) {
        FAIL_IF(bind, -1, ENOMEM, ENOSPC)
        return REAL(bind)(fd, address, size);
}

int listen(int fd, int backlog) {
        FAIL_IF(listen, -1, ENOMEM)
        return REAL(listen)(fd, backlog);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
        FAIL_IF(getsockopt, -1, ENOMEM)
        return REAL(getsockopt)(fd, level, option, value, size);
}

int poll(struct pollfd *fds, nfds_t n, int timeout) {
        FAIL_IF(poll, -1, EINTR, ENOMEM)
        return REAL(poll)(fds, n, timeout);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        FAIL_IF(sendmsg, -1, EAGAIN, EINTR, ENOMEM, EPIPE)
        return REAL(sendmsg)(fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
        FAIL_IF(recvmsg, -1, EAGAIN, EINTR, ENOMEM, ECONNRESET)
        if (message->msg_iov[0].iov_len > 1 && call_is_short("recvmsg", CALLER)) {
                size_t whole = message->msg_iov[0].iov_len;
                ssize_t r;

                message->msg_iov[0].iov_len = 8;
                r = REAL(recvmsg)(fd, message, flags);
                message->msg_iov[0].iov_len = whole;
                return r;
        }
        return REAL(recvmsg)(fd, message, flags);
}

int fstat64(int fd, struct stat64 *st) __attribute__((alias("fstat")));
int stat64(const char *path, struct stat64 *st) __attribute__((alias("stat")));
int lstat64(const char *path, struct stat64 *st) __attribute__((alias("lstat")));
int fstatat64(int directory, const char *path, struct stat64 *st, int flags)
        __attribute__((alias("fstatat")));

int fstat(int fd, struct stat *st) {
        FAIL_IF(fstat, -1, ENOMEM)
        return REAL(fstat)(fd, st);
}

int stat(const char *path, struct stat *st) {
        FAIL_IF(stat, -1, ENOMEM)
        return REAL(stat)(path, st);
}

int lstat(const char *path, struct stat *st) {
        FAIL_IF(lstat, -1, ENOMEM)
        return REAL(lstat)(path, st);
}

int fstatat(int directory, const char *path, struct stat *st, int flags) {
        FAIL_IF(fstatat, -1, ENOMEM)
        return REAL(fstatat)(directory, path, st, flags);
}

int statfs64(const char *path, struct statfs64 *st) __attribute__((alias("statfs")));
int fstatfs64(int fd, struct statfs64 *st) __attribute__((alias("fstatfs")));

int statfs(const char *path, struct statfs *st) {
        FAIL_IF(statfs, -1, ENOMEM, EINTR)
        return REAL(statfs)(path, st);
}

int fstatfs(int fd, struct statfs *st) {
        FAIL_IF(fstatfs, -1, ENOMEM, EINTR)
        return REAL(fstatfs)(fd, st);
}

ssize_t readlink(const char *path, char *buffer, size_t size) {
        FAIL_IF(readlink, -1, ENOMEM)
        return REAL(readlink)(path, buffer, size);
}

int inotify_init1(int flags) {
        FAIL_IF(inotify_init1, -1, OPENING)
        return REAL(inotify_init1)(flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
        FAIL_IF(inotify_add_watch, -1, ENOSPC, ENOMEM)
        return REAL(inotify_add_watch)(fd, path, mask);
}

pid_t fork(void) {
        FAIL_IF(fork, -1, EAGAIN, ENOMEM)
        return REAL(fork)();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
        if (call_fails("pthread_create", CALLER, KIND_SYSTEM, ERRORS(EAGAIN)))
                return EAGAIN;
        return REAL(pthread_create)(thread, attributes, run, argument);
}

/* ---- what is started, and the beginning ---- */

static char *variable_new(const char *name, const char *value) {
        size_t size = strlen(name) + strlen(value) + 2;
        char *variable = malloc(size);

        snprintf(variable, size, "%s=%s", name, value);
        return variable;
}

static char *builder_control, *builder_within, *preload, *sanitizer;
static int control_fd = -1;

/* What begins as shimport-builder goes on as an interpreter that may open nothing for writing, and has no environment: the
 * control goes on as a descriptor. */
int close_range(unsigned first, unsigned last, int flags) {
        unsigned kept = (unsigned)control_fd;

        if (control_fd < 0 || kept < first || kept > last)
                return (int)syscall(SYS_close_range, first, last, flags);
        if (kept > first && syscall(SYS_close_range, first, kept - 1, flags) < 0)
                return -1;
        return kept < last ? (int)syscall(SYS_close_range, kept + 1, last, flags) : 0;
}

int execve(const char *path, char *const *arguments, char *const *environment) {
        static char *changed[64];
        char number[32];
        size_t n = 0;

        if (control_fd < 0 || strcmp(program_invocation_short_name, "shimport-builder") != 0)
                return (int)syscall(SYS_execve, path, arguments, environment);
        for (; environment[n] && n < 60; n++)
                changed[n] = environment[n];
        snprintf(number, sizeof(number), "FAULT_CONTROL=fd:%d", control_fd);
        fcntl(control_fd, F_SETFD, 0);
        changed[n++] = number;
        changed[n++] = variable_new("FAULT_WITHIN", getenv("FAULT_WITHIN") ?: "MAIN");
        changed[n++] = variable_new("LD_PRELOAD", getenv("LD_PRELOAD") ?: "");
        changed[n] = NULL;
        return (int)syscall(SYS_execve, path, arguments, changed);
}

/* libuv sets environ and calls this in its child. */
int execvp(const char *file, char *const *arguments) {
        extern char **environ;
        static char *changed[64];
        size_t n = 0;

        if (!builder_control)
                return REAL(execvp)(file, arguments);
        for (char **variable = environ; *variable && n < 60; variable++)
                changed[n++] = *variable;
        changed[n++] = preload;
        changed[n++] = builder_control;
        changed[n++] = builder_within;
        if (sanitizer)
                changed[n++] = sanitizer;
        environ = changed;
        return REAL(execvp)(file, arguments);
}

__attribute__((constructor)) static void begin(void) {
        const char *path = getenv("FAULT_CONTROL"), *builder = getenv("FAULT_BUILDER_CONTROL");
        int fd;

        resolve();
        if (getenv("FAULT_WITHIN"))
                within = variable_new("", getenv("FAULT_WITHIN")) + 1;
        if (builder) {
                builder_control = variable_new("FAULT_CONTROL", builder);
                builder_within = variable_new("FAULT_WITHIN", getenv("FAULT_BUILDER_WITHIN") ?: "MAIN");
                preload = variable_new("LD_PRELOAD", getenv("LD_PRELOAD") ?: "");
                sanitizer =
                        getenv("ASAN_OPTIONS") ? variable_new("ASAN_OPTIONS", getenv("ASAN_OPTIONS")) : NULL;
        }
        if (!path)
                return;
        fd = strncmp(path, "fd:", 3) == 0 ? atoi(path + 3) : REAL(open)(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
                void *mapped = REAL(mmap)(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

                if (mapped != MAP_FAILED)
                        control = mapped;
                if (strcmp(program_invocation_short_name, "shimport-builder") == 0)
                        control_fd = fd;
                else
                        REAL(close)(fd);
        }
}
