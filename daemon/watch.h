/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_WATCH_H
#define SHIMPORT_WATCH_H

/*
 * The directories that are watched for changes, by one inotify instance.
 *
 * The kernel queues an event inside the system call that makes the change. So after watch_drain() every
 * change that was complete before the call has been told to its handler: that is what an attach is answered
 * after. What the queue could not hold (IN_Q_OVERFLOW) is told to every set as a change of all it watches.
 *
 * A file system that is mounted over a directory, or no longer is, makes no such event (mounts.h). It is told alike, as
 * a change of the directory there, to the sets of whose root it is a part.
 *
 * A WatchSet is what one image depends on. Two sets may claim one directory, the kernel watches it once. A set
 * is owned by its embedder and must be done before it goes; a handler must not add to or clear any set.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "list.h"

typedef struct Watch Watch;
typedef struct WatchSet WatchSet;

enum {
        _WATCH_E_0,
        WATCH_E_LIMIT,  /* the limit that was set is reached */
        WATCH_E_KERNEL, /* the kernel's for this user is, of which other programs have their share */
        _WATCH_E_N
};

typedef struct WatchEvent {
        const char *directory; /* as it was named when added; NULL: any */
        const char *name;      /* in the directory; "": the directory itself */
        uint32_t mask;         /* IN_* */
} WatchEvent;

typedef void (*WatchHandler)(WatchSet *set, const WatchEvent *event);

struct WatchSet {
        Watch *watch;
        WatchHandler handler;
        const char *root; /* the path of what is claimed, borrowed, or NULL */
        List claims;
        List link; /* in the watch's sets */
};

/* Return: 0 or a negative errno. */
int watch_new(uv_loop_t *loop, Watch **ret_watch);

/* All sets must be done. Freed in the loop, by the close callback. Return: NULL. */
Watch *watch_free(Watch *watch);

/* 0: three quarters of fs.inotify.max_user_watches. Takes nothing away from what is watched already. */
void watch_set_limit(Watch *watch, size_t limit);

size_t watch_count(const Watch *watch);
size_t watch_limit(const Watch *watch);

/* Read what is queued and tell the handlers. */
void watch_drain(Watch *watch);

void watch_set_init(WatchSet *set, Watch *watch, WatchHandler handler, const char *root);

/* Give up all claims; the set may be added to again. */
void watch_set_clear(WatchSet *set);

/* Give up all claims and leave the watch. */
void watch_set_done(WatchSet *set);

/* Take over what `from` claims; what `to` had claimed is given up. */
void watch_set_move(WatchSet *to, WatchSet *from);

/**
 * watch_set_add() - claim a directory
 * @fd:         the directory, borrowed
 * @name:       what events are to call it
 *
 * Return: 0, WATCH_E_LIMIT, WATCH_E_KERNEL or a negative errno.
 */
int watch_set_add(WatchSet *set, int fd, const void *name, size_t name_size);

/**
 * watch_set_add_above() - claim the directories above one, for when they are moved and it with them
 * @fd:         the directory, borrowed
 *
 * What becomes of them is told as an event of the directory "". As far as they may be watched, and the limit allows.
 */
void watch_set_add_above(WatchSet *set, int fd);

/* Could a file or directory of this name change what an import, or importlib.metadata, finds? The directory is relative to
 * its root. */
bool watch_name_matters(const char *directory, const char *name);

#endif
