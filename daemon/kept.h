/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_KEPT_H
#define SHIMPORT_KEPT_H

/*
 * Images that outlive the daemon. The service manager holds two descriptors of each, the image and its state, under
 * one name, for as long as the image is handed out; and hands them to the next daemon, whether this one was told to
 * stop, was replaced by a newer build, or died. What else is to be known of the root stands in the state's note.
 *
 * The next daemon believes nothing of it untried: the image must be one that it could have taken from a builder, the
 * interpreter must still be there, and what changed in the file system meanwhile is marked stale (recheck.h). The image
 * gets a state of the new daemon's own, with the bits of the old one and these. Processes that run on learn from the
 * old one that its daemon has gone, and attach again.
 */

#include <stdint.h>

#include "manager.h"
#include "root.h"

#define KEPT_NOTE_VERSION 2u

/* Written by the daemon that has the image, in the state's memory itself; read by the next one. */
typedef struct KeptNote {
        uint32_t version;
        uint32_t owner; /* of the directory */
        uint32_t validate;
        uint32_t declined;
        uint64_t texts_when_whole;
        uint64_t built_ms, built_at, last_attach, attaches;
        uint32_t patient; /* something is to be built again that is validated by stat */
        uint32_t learns;
        uint64_t preload; /* hash of what was in force */
        char options[ROOT_OPTIONS_MAX + 1];
        char validated[128];
        char executable[];
} KeptNote;

_Static_assert(offsetof(KeptNote, executable) == 208, "format");

/* What tells one Preload= from another. */
uint64_t kept_preload(const Root *root);

/* How long a root's note is. */
uint32_t kept_note_size(const Root *root);

/* Write the note of a root whose image has been published. */
void kept_note_write(const Root *root);

/* It has been attached. */
void kept_note_touch(const Root *root);

/* Give the image to the service manager, and take it back. */
void kept_add(const ImageFile *file);
void kept_remove(const ImageFile *file);

/**
 * kept_restore() - take over what was handed over
 * @fds:        all of it is taken; what is of no use is dropped, with a line in the log
 *
 * Return: how many images there are.
 */
size_t kept_restore(Store *store, ManagerFds *fds);

#endif
