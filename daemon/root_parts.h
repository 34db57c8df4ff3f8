/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ROOT_PARTS_H
#define SHIMPORT_ROOT_PARTS_H

/*
 * What the parts of a root ask of each other: its life (root.c), what is to be held of it (root_preload.c,
 * root_patterns.c), and its image from before a restart (root_adopt.c). For nobody else.
 */

#include "root.h"

/* Changes come in bursts (an editor's save, pip install): the pause before building again, doubled for each
 * build in a row that was overtaken by the next change. */
#define STALE_PAUSE_MS 100
#define STALE_DOUBLINGS_MAX 7

/* What is validated by stat can only be told from its next change when the clock has gone on: two seconds is the
 * coarsest time stamp that a file system has. */
#define AGAIN_PAUSE_MS 3000

static inline const char *root_path(const Root *root) {
        return root->key.path;
}

static inline uint64_t root_pause(uint64_t pause, unsigned times, unsigned most) {
        return pause << (times < most ? times : most);
}

/* The one place where the state changes. */
void root_enter(Root *root, RootState state);

/* STALE by what processes do without: nothing is gained by building too soon. */
void root_enter_stale_patiently(Root *root, uint64_t pause);

/* Watch a directory of it, as BuilderEvents.scan. */
bool root_watch_directory(void *root, int fd, const void *path, size_t path_size);

/* Heed the configuration as it is now, for the image to be built. Return: 0 or -ENOMEM. */
int root_configure(Root *root);

/* Build again, some time, if another Preload= is in force by now: nothing of the image is wrong for it. */
void root_check_preload(Root *root);

/* Build again for what is wanted and new. */
void root_enter_supplement(Root *root);

/* SERVED, and patterns are waiting: build again some time. */
void root_learn(Root *root);

/* It is built again for patterns alone. */
void root_count_lesson(Root *root);

#endif
