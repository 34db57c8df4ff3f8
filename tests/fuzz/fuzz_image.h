/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_TESTS_FUZZ_IMAGE_H
#define SHIMPORT_TESTS_FUZZ_IMAGE_H

/* Mutation of images that knows their structure: a word of the header or of a record is changed, and what would have the
 * whole refused at once is put right again. */

#include "fuzz.h"
#include "image.h"

static inline void fuzz_image_change(uint8_t *data, size_t size, unsigned *seed) {
        ImageHeader header;
        const ImageTable *const tables[] = { &header.directories,   &header.entries,
                                             &header.buckets,       &header.strings,
                                             &header.texts,         &header.frozen,
                                             &header.patterns,      &header.pattern_buckets,
                                             &header.distributions, &header.points };
        const ImageTable *table;

        if (size < sizeof(header) || fuzz_random(seed) % 4 == 0) {
                fuzz_change_word(data, size,
                                 fuzz_random(seed) % sizeof(header) / sizeof(uint32_t) * sizeof(uint32_t),
                                 seed);
                return;
        }
        memcpy(&header, data, sizeof(header));
        table = tables[fuzz_random(seed) % (sizeof(tables) / sizeof(*tables))];
        if (table->offset > size || table->size == 0 || table->size > size - table->offset)
                return;
        fuzz_change_word(
                data, size,
                table->offset + fuzz_random(seed) % table->size / sizeof(uint32_t) * sizeof(uint32_t), seed);
}

/* Return: the size, a multiple of 16. */
static inline size_t fuzz_image_repair(uint8_t *data, size_t size, size_t most, unsigned *seed) {
        ImageHeader header = { 0 };

        if (size % 16 && size + 16 <= most) {
                memset(data + size, 0, 16 - size % 16);
                size += 16 - size % 16;
        }
        size -= size % 16;
        if (size < sizeof(header))
                return size;
        memcpy(&header, data, sizeof(header));
        memcpy(header.magic, IMAGE_MAGIC, sizeof(header.magic));
        header.version = IMAGE_VERSION;
        header.header_size = sizeof(header);
        header.total_size = size;
        if (fuzz_random(seed) % 2) { /* counts that fit their tables */
                header.directory_count = (uint32_t)(header.directories.size / sizeof(ImageDirectory));
                header.directories.size = header.directory_count * sizeof(ImageDirectory);
                header.entry_count = (uint32_t)(header.entries.size / sizeof(ImageEntry));
                header.entries.size = header.entry_count * sizeof(ImageEntry);
                header.bucket_count = (uint32_t)(header.buckets.size / sizeof(uint32_t));
                header.pattern_count = (uint32_t)(header.patterns.size / sizeof(ImagePattern));
                header.patterns.size = header.pattern_count * sizeof(ImagePattern);
                header.pattern_bucket_count = (uint32_t)(header.pattern_buckets.size / sizeof(uint32_t));
                header.distribution_count = (uint32_t)(header.distributions.size / sizeof(ImageDistribution));
                header.distributions.size = header.distribution_count * sizeof(ImageDistribution);
                header.point_count = (uint32_t)(header.points.size / sizeof(ImagePoint));
                header.points.size = header.point_count * sizeof(ImagePoint);
        }
        memcpy(data, &header, sizeof(header));
        return size;
}

#endif
