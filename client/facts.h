/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FACTS_H
#define SHIMPORT_FACTS_H

/*
 * The facts of each minor version of CPython that freeze and thaw rest on: how its objects lie in memory, and
 * what a fresh one holds. No other file tells versions apart.
 *
 * Three guards stand before them. The static asserts below compare them with the headers at compile time. The
 * interpreter tag lets an image be thawed only where every layout is that of the builder. And facts_learn()
 * compares them with the running interpreter, and asks it to make one object of each kind: whatever a field
 * that has no name here holds in a fresh object, a thawed one holds too.
 *
 * Include this before <Python.h>: it asks for the interpreter's internal headers.
 *
 *      what a fresh object has             3.11      3.12      3.13      3.14      3.15
 *      co_version, from a counter          -         hidden    yes       yes       yes
 *      bytecode has its counters set       on use    yes       yes       yes       yes
 *      those depend on the environment     -         -         -         -         yes
 *      code watchers are told              -         yes       yes       yes       yes
 *      interned strings of code            mortal    immortal  immortal  immortal  immortal
 *      those are freed at the end          -         -         -         yes       yes
 *      a tuple caches its hash             -         -         -         yes       yes
 *      slices are constants                -         -         -         yes       yes
 *
 * Thawed objects are mortal everywhere, as fresh ones are, with the number of references that fresh ones
 * would have, since marshal writes an object with one reference in another way than one with more. Only a
 * function's code has one more, that of the arena, which is never given back.
 */

#define Py_BUILD_CORE_MODULE 1
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x03100000 && SIZEOF_VOID_P == 8 && \
        PYLONG_BITS_IN_DIGIT == 30 && !defined(Py_GIL_DISABLED) && !defined(Py_TRACE_REFS)
#define FACTS_KNOWN 1
#else
#define FACTS_KNOWN 0
#endif

#if FACTS_KNOWN

#include "internal/pycore_code.h"
#include "internal/pycore_gc.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#include "internal/pycore_unicodeobject.h"

#define FACTS_IS(minor) (PY_MINOR_VERSION == (minor))
#define FACTS_FROM(minor) (PY_MINOR_VERSION >= (minor))

/* ----------------------------------------------------------------------------------------------------------
 * Layouts. */

#define FACTS_CODE_SIZE offsetof(PyCodeObject, co_code_adaptive)
#define FACTS_BYTES_SIZE offsetof(PyBytesObject, ob_sval)
#define FACTS_TUPLE_SIZE offsetof(PyTupleObject, ob_item)

#if FACTS_IS(11)
#define FACTS_INT_SIZE offsetof(PyLongObject, ob_digit)
_Static_assert(FACTS_CODE_SIZE == 184 && sizeof(PyASCIIObject) == 48 && FACTS_TUPLE_SIZE == 24, "3.11");
_Static_assert(sizeof(PyCompactUnicodeObject) == 72, "3.11");
#else
#define FACTS_INT_SIZE offsetof(PyLongObject, long_value.ob_digit)
_Static_assert(sizeof(PyASCIIObject) == 40 && sizeof(PyCompactUnicodeObject) == 56, "from 3.12");
#endif
#if FACTS_IS(12)
_Static_assert(FACTS_CODE_SIZE == 192 && FACTS_TUPLE_SIZE == 24, "3.12");
#elif FACTS_IS(13)
_Static_assert(FACTS_CODE_SIZE == 200 && FACTS_TUPLE_SIZE == 24, "3.13");
#elif FACTS_FROM(14)
_Static_assert(FACTS_CODE_SIZE == 208 && FACTS_TUPLE_SIZE == 32, "3.14, 3.15");
#endif

/* The start of what a fresh code object leaves undefined: padding, or a field of free-threaded builds. */
#if FACTS_FROM(14)
#define FACTS_CODE_UNDEFINED offsetof(PyCodeObject, _co_unique_id)
#else
#define FACTS_CODE_UNDEFINED offsetof(PyCodeObject, _co_firsttraceable)
#endif

_Static_assert(FACTS_BYTES_SIZE == 32 && FACTS_INT_SIZE == 24 && sizeof(PyGC_Head) == 16, "all versions");
_Static_assert(sizeof(PyFloatObject) == 24 && sizeof(PyComplexObject) == 32, "all versions");
_Static_assert(sizeof(_Py_CODEUNIT) == 2 && sizeof(digit) == 4, "all versions");

/*
 * Whether strings may lie in memory that cannot be freed. The interpreter interns strings of its own accord,
 * for ever from 3.12 on, and takes interned strings apart when it ends. A debug build frees them then; from
 * 3.14 on every build does, except those that say they are statically allocated, see learn_string().
 */
#if defined(Py_DEBUG) && FACTS_FROM(12)
#define FACTS_STRINGS_MAY_STAY 0
#else
#define FACTS_STRINGS_MAY_STAY 1
#endif

/* ----------------------------------------------------------------------------------------------------------
 * Bytecode: how a call is compiled, see splice.c. */

#define FACTS_CALL_NULL_FIRST (!FACTS_FROM(13))
#define FACTS_HAVE_PRECALL FACTS_IS(11)
#define FACTS_PRECALL_CACHES 1
#define FACTS_CALL_CACHES (FACTS_IS(11) ? 4 : 3)
#if FACTS_IS(11)
#define FACTS_JUMP_IF_NONE POP_JUMP_FORWARD_IF_NONE
#else
#define FACTS_JUMP_IF_NONE POP_JUMP_IF_NONE
#endif
#define FACTS_JUMP_CACHES (FACTS_FROM(13) ? 1 : 0)
#if FACTS_FROM(14)
#define FACTS_HAVE_NOT_TAKEN 1
#else
#define FACTS_HAVE_NOT_TAKEN 0
#endif

/* ----------------------------------------------------------------------------------------------------------
 * What facts_learn() learns of the running interpreter. */

typedef struct Facts {
        /* Fresh objects, to be copied: without references, the bytecode, the characters. */
        union {
                PyCodeObject code;
                uint8_t code_bytes[FACTS_CODE_SIZE];
        };
        PyASCIIObject ascii;
        PyCompactUnicodeObject latin1, ucs2, ucs4;

        int frame_specials;           /* words of a frame beside its locals and its stack */
        uint32_t *next_version;       /* the counter for co_version, NULL where there is none */
        const uint8_t *code_watchers; /* not 0: somebody is told of every new code object; NULL likewise */
} Facts;

/* Return: NULL, or why this interpreter cannot thaw, without an exception set. */
const char *facts_learn(Facts *ret_facts);

/* ----------------------------------------------------------------------------------------------------------
 * Objects. */

/* A tuple, beyond its items. */
static inline void facts_tuple_init(PyTupleObject *tuple) {
#if FACTS_FROM(14)
        tuple->ob_hash = -1;
#else
        (void)tuple;
#endif
}

/* An exact bytes object, beyond its bytes. */
static inline void facts_bytes_init(PyBytesObject *bytes) {
        _Py_COMP_DIAG_PUSH _Py_COMP_DIAG_IGNORE_DEPR_DECLS bytes->ob_shash = -1;
        _Py_COMP_DIAG_POP
}

/* The digits of an int and how many, and whether it is negative. */
static inline const digit *facts_int_digits(const PyLongObject *number, size_t *ret_n, bool *ret_negative) {
#if FACTS_IS(11)
        *ret_negative = Py_SIZE(number) < 0;
        *ret_n = *ret_negative ? -Py_SIZE(number) : Py_SIZE(number);
        return number->ob_digit;
#else
        *ret_negative = (number->long_value.lv_tag & 3) == 2;
        *ret_n = number->long_value.lv_tag >> 3;
        return number->long_value.ob_digit;
#endif
}

/* Sets how many digits follow, and gives the place for them. */
static inline digit *facts_int_init(PyLongObject *number, size_t n, bool negative) {
#if FACTS_IS(11)
        Py_SET_SIZE(number, negative ? -(Py_ssize_t)n : (Py_ssize_t)n);
        return number->ob_digit;
#else
        number->long_value.lv_tag = n << 3 | (negative ? 2 : 0);
        return number->long_value.ob_digit;
#endif
}

/* Sets the head of an ASCII string, and gives the place for its characters and the NUL. */
static inline char *facts_ascii_init(const Facts *facts, PyASCIIObject *string, Py_ssize_t length) {
        memcpy(string, &facts->ascii, sizeof(*string));
        Py_SET_REFCNT((PyObject *)string, 1);
        string->length = length;
        return (char *)(string + 1);
}

/* A string that can be freed, copied from one of the models. */
static inline void facts_string_may_go(PyASCIIObject *string) {
#if FACTS_FROM(14)
        string->state.statically_allocated = 0;
#else
        (void)string;
#endif
}

/* A string of four-byte characters, copied from facts->ucs4: in 3.11 it may double as a wchar_t string. */
static inline void facts_ucs4_init(PyCompactUnicodeObject *string, Py_ssize_t length) {
#if FACTS_IS(11)
        if (string->_base.wstr) {
                string->_base.wstr = (wchar_t *)(string + 1);
                string->wstr_length = length;
        }
#else
        (void)string;
        (void)length;
#endif
}

/* Interns as marshal interns a name. Takes a reference and gives another in its place. */
static inline void facts_intern(PyObject **string) {
#if FACTS_FROM(13)
        _PyUnicode_InternImmortal(PyInterpreterState_Get(), string);
#else
        PyUnicode_InternInPlace(string);
#endif
}

/* ----------------------------------------------------------------------------------------------------------
 * Code objects. */

/*
 * The fields that a code object has twice over: worked out from the others, which it has already, as the
 * interpreter works them out. `kinds` says of each of its `n` names what it is: a local variable, which may
 * be a cell too, a cell, or a free variable.
 *
 * Return: false if one is none of these, or free and something else: the interpreter relies on that.
 */
static inline bool facts_code_derive(const Facts *facts, PyCodeObject *code, const uint8_t *kinds,
                                     Py_ssize_t n) {
        int nlocals = 0, ncells = 0, nplaincells = 0, nfree = 0;

        for (Py_ssize_t i = 0; i < n; i++) {
                bool local = kinds[i] & CO_FAST_LOCAL, cell = kinds[i] & CO_FAST_CELL,
                     free = kinds[i] & CO_FAST_FREE;

                if (free == (local || cell))
                        return false;
                nlocals += local;
                ncells += cell;
                nplaincells += cell && !local;
                nfree += free;
        }
        code->co_nlocalsplus = (int)n;
        code->co_nlocals = nlocals;
        code->co_ncellvars = ncells;
        code->co_nfreevars = nfree;
#if FACTS_IS(11)
        (void)facts;
        code->co_nplaincellvars = nplaincells;
#else
        (void)nplaincells;
        code->co_framesize = (int)n + code->co_stacksize + facts->frame_specials;
#endif
        return true;
}

/* A number that no other code object of this process has: the specialiser tells functions apart by it. */
static inline void facts_code_number(const Facts *facts, PyCodeObject *code) {
#if FACTS_FROM(12)
        code->co_version = *facts->next_version;
        if (*facts->next_version != 0)
                ++*facts->next_version;
#else
        (void)facts;
        (void)code;
#endif
}

/* Gives a code object the number of another: to compare the two. */
static inline void facts_code_copy_number(PyCodeObject *code, const PyCodeObject *other) {
#if FACTS_FROM(12)
        code->co_version = other->co_version;
#else
        (void)code;
        (void)other;
#endif
}

/* Whether somebody wants to be told of each new code object: then it must be made by the interpreter. */
static inline bool facts_code_is_watched(const Facts *facts) {
        return facts->code_watchers && *facts->code_watchers != 0;
}

/* ----------------------------------------------------------------------------------------------------------
 * Whether a namespace is as it was. */

/* Dicts tell of their changes: by their version, see guard.h, or from 3.12 on to watchers. */
#define FACTS_HAVE_WATCHERS (!FACTS_IS(11))

/* ----------------------------------------------------------------------------------------------------------
 * Whether somebody is told of each call: a tracer, a profiler, or from 3.12 on a tool of sys.monitoring, which has a name,
 * and may ask for the events of a single function. Then every function runs that stock would run. */

static inline bool facts_is_observed(void) {
#if FACTS_FROM(12)
        const PyInterpreterState *interpreter = PyInterpreterState_Get();

        for (size_t i = 0; i < sizeof(interpreter->monitors.tools); i++)
                if (interpreter->monitors.tools[i] != 0)
                        return true;
        for (size_t i = 0; i < PY_MONITORING_TOOL_IDS; i++)
                if (interpreter->monitoring_tool_names[i])
                        return true;
        return false;
#else
        const PyThreadState *thread = PyThreadState_Get();

        return thread->c_tracefunc || thread->c_profilefunc;
#endif
}

/* ----------------------------------------------------------------------------------------------------------
 * How deep calls may be nested: in 3.11 those of C functions count as well. What stock does in Python and we in C, and what
 * that calls in turn, are two where stock's is one. */

static inline void facts_call_not_counted(void) {
#if FACTS_IS(11)
        PyThreadState_Get()->recursion_remaining++;
#endif
}

static inline void facts_call_counted(void) {
#if FACTS_IS(11)
        PyThreadState_Get()->recursion_remaining--;
#endif
}

/* ----------------------------------------------------------------------------------------------------------
 * What becomes of text that is executed. */

#if FACTS_IS(11)
PyAPI_DATA(int) _Py_UnhandledKeyboardInterrupt; /* Python/pylifecycle.c */
#endif

/* Whether KeyboardInterrupt came out of the text that was executed last, which the interpreter's exit status tells of even if
 * it was caught, see run_eval_code_obj() in Python/pythonrun.c. */
static inline void facts_interrupted(bool interrupted) {
#if FACTS_IS(11)
        _Py_UnhandledKeyboardInterrupt = interrupted;
#elif FACTS_IS(12) || FACTS_IS(13)
        _PyRuntime.signals.unhandled_keyboard_interrupt = interrupted;
#else
        (void)interrupted;
#endif
}

/* What a code object that is made for a file name has of it. Takes a reference and gives another in its place. */
static inline void facts_file_name(PyObject **name) {
#if FACTS_FROM(13)
        PyUnicode_InternInPlace(name);
#else
        (void)name;
#endif
}

/* Is so little left of the recursion limit that the compiler, or what is compiled in Python, may come to it? */
static inline bool facts_recursion_is_short(void) {
        enum {
                ENOUGH = 300
        };
#if FACTS_IS(11)
        return PyThreadState_Get()->recursion_remaining < ENOUGH;
#else
        return PyThreadState_Get()->py_recursion_remaining < ENOUGH;
#endif
}

/* ----------------------------------------------------------------------------------------------------------
 * The collector. */

#define FACTS_GENERATIONS NUM_GENERATIONS

/* The generations, youngest first. They follow `debug` in every version, under one name or another. */
static inline struct gc_generation *facts_generations(void) {
        uintptr_t behind = (uintptr_t)(&PyInterpreterState_Get()->gc.debug + 1);

        return (struct gc_generation *)((behind + _Alignof(struct gc_generation) - 1) /
                                        _Alignof(struct gc_generation) * _Alignof(struct gc_generation));
}

/* The words of an object's head hold more in their low bits, which is left alone. */
#define FACTS_GC_BITS ((uintptr_t)3)

static inline PyGC_Head *facts_gc_next(const PyGC_Head *head) {
        return (PyGC_Head *)(head->_gc_next & ~FACTS_GC_BITS);
}

static inline PyGC_Head *facts_gc_last(const PyGC_Head *list) {
        return (PyGC_Head *)(list->_gc_prev & ~FACTS_GC_BITS);
}

static inline void facts_gc_link(PyGC_Head *before, PyGC_Head *after) {
        before->_gc_next = (before->_gc_next & FACTS_GC_BITS) | (uintptr_t)after;
        after->_gc_prev = (after->_gc_prev & FACTS_GC_BITS) | (uintptr_t)before;
}

static inline void facts_gc_init(PyGC_Head *list) {
        list->_gc_next = list->_gc_prev = (uintptr_t)list;
}

/* Moves all objects of a list to the end of another one. */
static inline void facts_gc_move(PyGC_Head *from, PyGC_Head *to) {
        PyGC_Head *first = facts_gc_next(from), *last = facts_gc_last(from);

        if (first == from)
                return;
        facts_gc_link(facts_gc_last(to), first);
        facts_gc_link(last, to);
        facts_gc_init(from);
}

/* May objects be moved from generation to generation? 3.14.0 to 3.14.4 have generations of another kind, and mark the objects
 * of each; and while a collection runs, objects are in lists of its own. */
static inline bool facts_gc_may_move(void) {
#if FACTS_IS(14)
        if (Py_Version < 0x030E0500)
                return false;
#endif
        return !PyInterpreterState_Get()->gc.collecting;
}

/* Objects that are of the oldest generation since the last collection of that. */
static inline void facts_gc_count_old(int n) {
        PyInterpreterState_Get()->gc.long_lived_pending += n;
}

/* About how many objects are alive that are not frozen, by what the collector counts itself. Of the middle generation it counts
 * the collections that moved objects there, of @each at most. */
static inline Py_ssize_t facts_gc_alive(Py_ssize_t each) {
        const struct gc_generation *generations = facts_generations();
        Py_ssize_t alive = generations[0].count + generations[1].count * each;

        alive += PyInterpreterState_Get()->gc.long_lived_total;
        return alive + PyInterpreterState_Get()->gc.long_lived_pending;
}

#else

static inline bool facts_is_observed(void) {
        return true;
}

static inline void facts_interrupted(bool interrupted) {
        (void)interrupted;
}

static inline void facts_file_name(PyObject **name) {
        (void)name;
}

static inline bool facts_recursion_is_short(void) {
        return true;
}

static inline void facts_call_not_counted(void) {
}

static inline void facts_call_counted(void) {
}

#endif
#endif
