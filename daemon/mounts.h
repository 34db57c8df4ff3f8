/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_MOUNTS_H
#define SHIMPORT_MOUNTS_H

/*
 * Where file systems are mounted, as this process sees it. What is mounted over a directory, or taken away, makes no
 * inotify event, although from then on its path leads to other files.
 *
 * The kernel tells by poll(2) that the table has changed, from within the system call that changes it, and not what.
 * So the table is kept, and compared.
 */

#include <stddef.h>

typedef struct Mounts Mounts;

/* Something was mounted there, or no longer is. */
typedef void (*MountsHandler)(void *userdata, const char *path);

/* Return: 0 or a negative errno. */
int mounts_new(Mounts **ret_mounts);

/* Return: NULL. */
Mounts *mounts_free(Mounts *mounts);

/* To be polled for priority events by whoever wants to know when to drain. */
int mounts_wake_fd(const Mounts *mounts);

/* Tell what has changed since the last time. One system call if nothing has. */
void mounts_drain(Mounts *mounts, MountsHandler handler, void *userdata);

#endif
