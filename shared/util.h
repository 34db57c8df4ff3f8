/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_UTIL_H
#define SHIMPORT_UTIL_H

/* Cleanup by attribute, explicit steal: the few helpers that every file needs. */

#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "syscalls.h"

#define _cleanup_(function) __attribute__((__cleanup__(function)))

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))

/* Hand over what a cleanup attribute would free. */
#define steal_pointer(pointer)                   \
        ({                                       \
                __auto_type stolen = *(pointer); \
                *(pointer) = NULL;               \
                stolen;                          \
        })

static inline int steal_fd(int *fd) {
        int stolen = *fd;

        *fd = -1;
        return stolen;
}

/* Closes unless negative, keeps errno. Return: -1. */
static inline int fd_close(int fd) {
        if (fd >= 0)
                syscalls_close(fd);
        return -1;
}

static inline void fd_closep(int *fd) {
        *fd = fd_close(*fd);
}

static inline void freep(void *pointer) {
        free(*(void **)pointer);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(fd_closep)

#endif
