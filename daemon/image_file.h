/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_IMAGE_FILE_H
#define SHIMPORT_IMAGE_FILE_H

/*
 * A sealed image as the daemon holds it: the memfd that processes are handed, and a mapping of its own, to
 * read the header, what was left out, and what `explain` asks for. Its content is a builder's word: looked at
 * through the checked reader, and trusted for nothing but what the processes check themselves.
 *
 * Beside it stands its state, which the daemon makes, and vouches for as long as the image is handed out. What
 * processes get of it is another open of the same file, for reading alone: see linger.h.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "image.h"
#include "staleness.h"
#include "user.h"

typedef struct ImageFile {
        int fd; /* -1: none */
        uid_t owner;
        Image image;
        int state_fd;  /* -1: it has no state yet */
        int handed_fd; /* the state as processes get it; -1: not to be told from ours */
        int former_fd; /* the state that processes got from the daemon before us, if they may have it still; or -1 */
        Staleness state;
        User *user; /* whose memory it is; NULL: it is not counted */
} ImageFile;

#define IMAGE_FILE_NONE ((ImageFile){ .fd = -1, .state_fd = -1, .handed_fd = -1, .former_fd = -1 })

/* What an image must be to be taken. */
typedef struct ImageExpected {
        bool any; /* whatever root, tag and owner it is of: who asks looks for itself */
        uid_t owner;
        uint64_t dev, ino;
        const void *tag;
        size_t tag_size;
} ImageExpected;

enum {
        _IMAGE_FILE_E_0,
        IMAGE_FILE_E_REFUSED, /* *ret_reason says why */
        _IMAGE_FILE_E_N
};

/**
 * image_file_open_consume() - take a memfd as an image
 * @fd:         closed if it is not taken
 * @ret_reason: for a person, static, set with IMAGE_FILE_E_REFUSED only
 *
 * Return: 0, IMAGE_FILE_E_REFUSED or a negative errno.
 */
int image_file_open_consume(int fd, const ImageExpected *expected, ImageFile *ret_file,
                            const char **ret_reason);

/* Make its state, with nothing stale and room for a note, and vouch for it. Return: 0 or a negative errno. */
int image_file_vouch(ImageFile *file, uint32_t note_size);

/* Have all of it in the page table: it is in memory anyhow, and so it counts as shared from the first process on. */
void image_file_populate(const ImageFile *file);

/* Let go of it for the next daemon to take over: who has it mapped learns only that nobody keeps its state. */
void image_file_leave(ImageFile *file);

/* The state, to hand out. */
static inline int image_file_state(const ImageFile *file) {
        return file->handed_fd >= 0 ? file->handed_fd : file->state_fd;
}

/* Does a process have it mapped? False as well if it cannot be told. */
bool image_file_is_mapped(ImageFile *file);

/* Let go of it: whoever has it mapped learns that it is superseded, and that nobody keeps its state. */
void image_file_done(ImageFile *file);

/* Does the string of the image have these bytes? */
bool image_file_string_is(const ImageFile *file, ImageString string, const void *bytes, size_t size);

#endif
