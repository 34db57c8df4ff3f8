/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "linger.h"
#include "util.h"

typedef struct Linger {
        List link;
        int fd;
        uint64_t size;
} Linger;

void lingers_init(Lingers *lingers) {
        *lingers = (Lingers){ 0 };
        list_init(&lingers->list);
}

int linger_open(int fd) {
        char path[32];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return syscalls_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

/* A lease that was granted is given back at once. */
static bool has_other_readers(int fd) {
        if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
                return errno == EAGAIN;
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
}

bool linger_probe_consume(int fd, int *ret_fd) {
        int again = fd < 0 ? -1 : linger_open(fd);

        fd_close(fd); /* it is what processes were given: theirs alone from here on */
        *ret_fd = again < 0 ? -1 : again;
        return again >= 0 && has_other_readers(again);
}

static void linger_free(Lingers *lingers, Linger *linger) {
        list_unlink(&linger->link);
        lingers->n--;
        lingers->memory -= linger->size;
        fd_close(linger->fd);
        free(linger);
}

void lingers_add_consume(Lingers *lingers, int fd, uint64_t size) {
        Linger *linger = lingers->n < LINGERS_MAX ? calloc(1, sizeof(*linger)) : NULL;

        if (!linger) {
                fd_close(fd);
                return;
        }
        *linger = (Linger){ .fd = fd, .size = size };
        list_append(&lingers->list, &linger->link);
        lingers->n++;
        lingers->memory += size;
}

void lingers_sweep(Lingers *lingers) {
        list_for_each(link, &lingers->list) {
                Linger *linger = list_entry(link, Linger, link);

                if (!has_other_readers(linger->fd))
                        linger_free(lingers, linger);
        }
}

void lingers_clear(Lingers *lingers) {
        list_for_each(link, &lingers->list) {
                linger_free(lingers, list_entry(link, Linger, link));
        }
}
