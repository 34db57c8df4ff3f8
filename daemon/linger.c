/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "linger.h"
#include "util.h"

typedef struct Linger {
        List link;
        int fd, former_fd;
        uint64_t size;
        User *user;
} Linger;

void lingers_init(Lingers *lingers, Users *users) {
        *lingers = (Lingers){ .users = users };
        list_init(&lingers->list);
}

int linger_open(int fd) {
        char path[32];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return syscalls_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

/* A lease that was granted is given back at once. Who opens the file in between makes the kernel send a SIGIO, which
 * main() has ignored: a process can, by an O_PATH descriptor of its state. */
bool linger_has_readers(int fd) {
        int r;

        if (fd < 0)
                return false;
        r = syscalls_set_lease(fd, F_WRLCK);
        if (r < 0)
                return r == -EAGAIN || r == -ENOMEM;
        syscalls_set_lease(fd, F_UNLCK);
        return false;
}

bool linger_probe_consume(int fd, int *ret_fd) {
        int again = fd < 0 ? -1 : linger_open(fd);

        if (again < 0) {
                *ret_fd = fd;
                return fd >= 0;
        }
        fd_close(fd); /* it is what processes were given: theirs alone from here on */
        *ret_fd = again;
        return linger_has_readers(again);
}

static void linger_free(Lingers *lingers, Linger *linger) {
        list_unlink(&linger->link);
        lingers->n--;
        lingers->memory -= linger->size;
        linger->user->memory -= linger->size;
        users_put(lingers->users, linger->user);
        fd_close(linger->fd);
        fd_close(linger->former_fd);
        free(linger);
}

void lingers_add_consume(Lingers *lingers, int fd, int former_fd, uint64_t size, User *user) {
        Linger *linger = lingers->n < LINGERS_MAX ? calloc(1, sizeof(*linger)) : NULL;

        if (!linger) {
                fd_close(fd);
                fd_close(former_fd);
                user->memory -= size;
                users_put(lingers->users, user);
                return;
        }
        *linger = (Linger){ .fd = fd, .former_fd = former_fd, .size = size, .user = user };
        list_append(&lingers->list, &linger->link);
        lingers->n++;
        lingers->memory += size;
}

void lingers_sweep(Lingers *lingers) {
        list_for_each(link, &lingers->list) {
                Linger *linger = list_entry(link, Linger, link);

                if (!linger_has_readers(linger->fd) && !linger_has_readers(linger->former_fd))
                        linger_free(lingers, linger);
        }
}

void lingers_clear(Lingers *lingers) {
        list_for_each(link, &lingers->list) {
                linger_free(lingers, list_entry(link, Linger, link));
        }
}
