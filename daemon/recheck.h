/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_RECHECK_H
#define SHIMPORT_RECHECK_H

/*
 * What changed while nobody watched: an image that was kept over a restart is compared with the file system, and the
 * bits of its state are set for what differs. Each directory is watched again before it is looked at, so what changes
 * from then on is heard of.
 *
 * A file is unchanged if it has the inode, the size and the time stamp that it was read with, and if nothing at all has
 * happened to it since the image was made, by its ctime, which nobody can set. A moment before counts as after: time
 * stamps of some file systems are coarse. A directory likewise; but one whose time stamps have changed is listed, for
 * it may be no more than a __pycache__ that was made in it: a name that came or was replaced has a young ctime, and of
 * one that went there is an entry. What is not explained by that is taken for a change of everything. So a bit too
 * many may be set, and none too few.
 *
 * What processes compare by stat before each use is passed over, and not even opened: it may lie on a network file
 * system that does not answer.
 */

#include <stdbool.h>
#include <stddef.h>

#include "image.h"
#include "staleness.h"

typedef struct Recheck {
        int root_fd;
        const Image *image;
        int image_fd; /* tells when it was made */
        Staleness *staleness;
        /* Watch a directory of the image. Return: whether its changes will be seen. */
        bool (*watch)(void *userdata, int fd, const void *path, size_t path_size);
        void *userdata;
} Recheck;

enum {
        _RECHECK_E_0,
        RECHECK_E_UNSEEN, /* a directory that was watched cannot be any more */
        RECHECK_E_IMAGE,  /* the image lies about its records */
        _RECHECK_E_N
};

/* Does anything of the image depend on a watch? Return: 1 or 0, or -ENOMEM. */
int recheck_is_needed(const Image *image);

/* Return: 0, RECHECK_E_* or a negative errno. */
int recheck_run(const Recheck *recheck);

#endif
