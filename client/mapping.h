/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_MAPPING_H
#define SHIMPORT_MAPPING_H

/*
 * An image as this process has it mapped, with its state beside it. A root has the newest that it was given; finders
 * and loaders made from an older one keep that, until the last of them is gone. Counted under the GIL.
 */

#include <stdbool.h>
#include <stdint.h>

#include "image.h"
#include "staleness.h"

struct RootCode;

typedef struct Mapping Mapping;

struct Mapping {
        unsigned references;
        Image image;
        Staleness staleness; /* header is NULL: the daemon gave none, and nothing of the image is believed */
        struct RootCode *code; /* what thawing keeps, see code.h; NULL until something is thawed */
        bool everywhere; /* what it has of texts counts for all modules: it is root's or this user's. Others' are believed for
                          * what is imported from their directories, and for nothing else. */
        bool unthawable;    /* in this interpreter */
        bool told_outdated; /* to the daemon */
};

/* Takes over the mappings of both. Return: one reference; NULL with MemoryError, and then both are unmapped. */
Mapping *mapping_new_consume(Image image, Staleness staleness);

static inline Mapping *mapping_ref(Mapping *mapping) {
        mapping->references++;
        return mapping;
}

/* Return: NULL. */
Mapping *mapping_unref(Mapping *mapping);

/* May anything be read from it? The daemon lives and keeps its bits. */
static inline bool mapping_is_live(const Mapping *mapping) {
        return mapping->staleness.header && staleness_is_vouched(&mapping->staleness);
}

static inline bool mapping_is_superseded(const Mapping *mapping) {
        return mapping->staleness.header && staleness_is_superseded(&mapping->staleness);
}

#endif
