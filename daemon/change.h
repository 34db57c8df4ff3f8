/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CHANGE_H
#define SHIMPORT_CHANGE_H

/*
 * A change that the watch tells of, and what it means for an image: which bits of its state are set.
 *
 * What changed in a file sets the bit of the entry that the file is; for a package's __init__ that entry stands
 * in the directory above. A name that came, went or moved sets the bit of its directory as well. What became of a
 * directory itself is said of all that lies below it. A change that no entry answers for is its directory's; one
 * that cannot even be told apart is everything's. So a bit too many may be set, and none too few: entries whose
 * bits are clear may be taken over into the next image.
 *
 * While a builder is at work its image has no state yet: a log keeps the changes, and they are replayed into it.
 */

#include <stdbool.h>
#include <stddef.h>

#include "image.h"
#include "staleness.h"
#include "watch.h"

/* Set the bits. */
void change_mark(const WatchEvent *event, const Image *image, Staleness *staleness);

/* What one log keeps; after that it only knows that much has changed. */
#define CHANGE_LOG_SIZE_MAX (64u * 1024)

/* Zero is an empty one. */
typedef struct ChangeLog {
        char *bytes; /* of each change its mask, then directory and name, each with its NUL */
        size_t size, room;
        size_t last; /* where the last change begins: most come several times */
        bool overflow;
} ChangeLog;

void change_log_add(ChangeLog *log, const WatchEvent *event);

void change_log_replay(const ChangeLog *log, const Image *image, Staleness *staleness);

void change_log_clear(ChangeLog *log);

static inline bool change_log_is_empty(const ChangeLog *log) {
        return log->size == 0 && !log->overflow;
}

/* "changed: json/decoder.py" */
void change_describe(const WatchEvent *event, char *buffer, size_t size);

#endif
