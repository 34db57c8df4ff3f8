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

#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"

static Control nothing;
Control *fault_control = &nothing;
const char *fault_within = "MAIN";
__thread bool fault_is_busy;

/* ---- who calls, and does it fail ---- */

bool fault_is_named(const char *object, const char *names) {
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

const char *fault_object_of(const void *address) {
        struct dl_find_object found;

        if (_dl_find_object((void *)address, &found) < 0)
                return "?";
        return found.dlfo_link_map->l_name;
}

bool fault_fails_now(const char *name) {
        uint64_t count = __atomic_add_fetch(&fault_control->count, 1, __ATOMIC_RELAXED);
        uint64_t at = fault_control->at;
        bool fails = count == at || (count > at && at && fault_control->mode == MODE_EVER) ||
                     (count > at && at && fault_control->mode == MODE_OTHER && (count - at) % 2 == 0);

        if (fails) {
                __atomic_add_fetch(&fault_control->failed, 1, __ATOMIC_RELAXED);
                strncpy(fault_control->last, name, sizeof(fault_control->last) - 1);
        }
        return fails;
}

bool fault_call_fails(const char *name, const void *caller, uint32_t kind, const int *errors) {
        const char *object;
        bool fails;

        if (!fault_control->armed || !(fault_control->kinds & kind) || fault_is_busy)
                return false;
        if (fault_control->mode == MODE_SHORT)
                return false;
        while (*errors && *errors != fault_control->error)
                errors++;
        if (!*errors)
                return false;
        fault_is_busy = true;
        object = fault_object_of(caller);
        fails = fault_is_named(object, fault_within) && fault_fails_now(name);
        fault_is_busy = false;
        return fails;
}

bool fault_call_is_short(const char *name, const void *caller) {
        bool is_short;

        if (!fault_control->armed || !(fault_control->kinds & KIND_SYSTEM) || fault_is_busy ||
            fault_control->mode != MODE_SHORT)
                return false;
        fault_is_busy = true;
        is_short = fault_is_named(fault_object_of(caller), fault_within) &&
                   !strstr(fault_object_of(caller), "libuv") && fault_fails_now(name);
        fault_is_busy = false;
        return is_short;
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

        fault_resolve();
        if (getenv("FAULT_WITHIN"))
                fault_within = variable_new("", getenv("FAULT_WITHIN")) + 1;
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
                        fault_control = mapped;
                if (strcmp(program_invocation_short_name, "shimport-builder") ==
                    0) /* above what it has a use for */
                        control_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 64);
                REAL(close)(fd);
        }
}
