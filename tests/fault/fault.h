/* SPDX-License-Identifier: MIT */

/* What the parts of the library in front of the C library share; see fault.c. */

#ifndef FAULT_H
#define FAULT_H

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

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

extern Control *fault_control;
extern const char *fault_within;    /* FAULT_WITHIN */
extern __thread bool fault_is_busy; /* our own calls do not count */

/* Does the object of this path (empty: the program) have one of the names? */
bool fault_is_named(const char *object, const char *names);

/* The path of the object that this address is in. */
const char *fault_object_of(const void *address);

/* Counts a call of this name. Is it one that fails? */
bool fault_fails_now(const char *name);

/* Is this call, of this kind, from this caller, one that counts, and fails? @errors: those that it may fail with, ended by 0. */
bool fault_call_fails(const char *name, const void *caller, uint32_t kind, const int *errors);

/* Likewise: is it one that does a part of what it was asked for? */
bool fault_call_is_short(const char *name, const void *caller);

/* Looks the C library's allocator up. */
void fault_resolve(void);

#pragma GCC visibility pop

#define ERRORS(...) ((const int[]){ __VA_ARGS__, 0 })
#define CALLER __builtin_return_address(0)
#define REAL(name)                                                         \
        ({                                                                 \
                static __typeof__(&name) real;                             \
                if (!real)                                                 \
                        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
                real;                                                      \
        })

#define FAIL_IF(name, failure, ...)                                              \
        if (fault_call_fails(#name, CALLER, KIND_SYSTEM, ERRORS(__VA_ARGS__))) { \
                errno = fault_control->error;                                    \
                return failure;                                                  \
        }

#endif
