/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "image.h"

/* The one checked dereference: `size` bytes at `offset` of a table that image_open() has found to lie inside. */
static const void *table_at(const Image *image, const ImageTable *table, uint64_t offset, uint64_t size) {
        if (offset > table->size || size > table->size - offset)
                return NULL;
        return image->base + table->offset + offset;
}

static bool table_fits(const Image *image, const ImageTable *table, uint64_t count, uint64_t record) {
        if (table->offset % 16 || table->offset > image->size || table->size > image->size - table->offset)
                return false;
        return record == 0 || table->size == count * record;
}

int image_open(const void *base, size_t size, Image *ret_image) {
        Image image = { .base = base, .size = size, .header = base };
        const ImageHeader *h = base;

        if (size < sizeof(ImageHeader))
                return IMAGE_E_SHORT;
        if (memcmp(h->magic, IMAGE_MAGIC, sizeof(h->magic)) != 0)
                return IMAGE_E_MAGIC;
        if (h->version != IMAGE_VERSION || h->header_size != sizeof(ImageHeader))
                return IMAGE_E_VERSION;
        if (h->total_size != size)
                return IMAGE_E_SHORT;
        if (h->bucket_count == 0 || (h->bucket_count & (h->bucket_count - 1)) ||
            h->bucket_count <= h->entry_count || h->directory_count == 0)
                return IMAGE_E_TABLE;
        if (!table_fits(&image, &h->directories, h->directory_count, sizeof(ImageDirectory)) ||
            !table_fits(&image, &h->entries, h->entry_count, sizeof(ImageEntry)) ||
            !table_fits(&image, &h->buckets, h->bucket_count, sizeof(uint32_t)) ||
            !table_fits(&image, &h->strings, 0, 0) || !table_fits(&image, &h->texts, 0, 0) ||
            !table_fits(&image, &h->code, 0, 0) || !table_fits(&image, &h->frozen, 0, 0) ||
            !table_fits(&image, &h->distributions, h->distribution_count, sizeof(ImageDistribution)) ||
            !table_fits(&image, &h->points, h->point_count, sizeof(ImagePoint)) ||
            !table_fits(&image, &h->files, 0, 0))
                return IMAGE_E_TABLE;
        if (h->pattern_bucket_count == 0 || (h->pattern_bucket_count & (h->pattern_bucket_count - 1)) ||
            h->pattern_bucket_count <= h->pattern_count ||
            !table_fits(&image, &h->patterns, h->pattern_count, sizeof(ImagePattern)) ||
            !table_fits(&image, &h->pattern_buckets, h->pattern_bucket_count, sizeof(uint32_t)) ||
            !table_fits(&image, &h->pattern_data, 0, 0))
                return IMAGE_E_TABLE;

        *ret_image = image;
        return 0;
}

const char *image_strerror(int error) {
        switch (error) {
        case IMAGE_E_SHORT:
                return "its size is not what its header says";
        case IMAGE_E_MAGIC:
                return "it is no image";
        case IMAGE_E_VERSION:
                return "it is of another format version";
        case IMAGE_E_TABLE:
                return "one of its tables does not fit";
        default:
                return strerror(error < 0 ? -error : EBADMSG);
        }
}

const char *image_string(const Image *image, ImageString string, size_t *ret_length) {
        const char *bytes =
                table_at(image, &image->header->strings, string.offset, (uint64_t)string.length + 1);

        if (!bytes || bytes[string.length] != '\0')
                return NULL;
        if (ret_length)
                *ret_length = string.length;
        return bytes;
}

const ImageDirectory *image_directory(const Image *image, uint32_t number) {
        return table_at(image, &image->header->directories, (uint64_t)number * sizeof(ImageDirectory),
                        sizeof(ImageDirectory));
}

const ImageEntry *image_entry(const Image *image, uint32_t number) {
        return table_at(image, &image->header->entries, (uint64_t)number * sizeof(ImageEntry),
                        sizeof(ImageEntry));
}

/* FNV-1a with a seed and a final mix: short names, one multiplication a byte, and no need to be secret. */
uint64_t image_hash(uint64_t seed, uint32_t directory, const char *name, size_t length) {
        uint64_t hash = seed ^ 0xcbf29ce484222325u ^ ((uint64_t)directory * 0x9e3779b97f4a7c15u);

        for (size_t i = 0; i < length; i++)
                hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3u;
        hash ^= hash >> 32;
        hash *= 0x9e3779b97f4a7c15u;
        return hash ^ (hash >> 29);
}

uint32_t image_find(const Image *image, uint32_t directory, const char *name, size_t length) {
        uint32_t mask = image->header->bucket_count - 1;
        uint32_t at = (uint32_t)image_hash(image->header->hash_seed, directory, name, length) & mask;

        for (uint32_t probes = 0; probes <= mask; probes++, at = (at + 1) & mask) {
                const uint32_t *bucket = table_at(image, &image->header->buckets,
                                                  (uint64_t)at * sizeof(uint32_t), sizeof(uint32_t));
                const ImageEntry *entry;
                const char *bytes;
                size_t bytes_length;

                if (!bucket || *bucket == 0)
                        return IMAGE_NONE;
                entry = image_entry(image, *bucket - 1);
                if (!entry)
                        return IMAGE_NONE;
                if (entry->directory != directory || entry->name.length != length)
                        continue;
                bytes = image_string(image, entry->name, &bytes_length);
                if (bytes && memcmp(bytes, name, length) == 0)
                        return *bucket - 1;
        }
        return IMAGE_NONE;
}

uint32_t image_walk(const Image *image, const char *path, size_t length) {
        const char *end = path + length;
        uint32_t directory = 0;

        while (path < end) {
                const char *slash = memchr(path, '/', end - path);
                const char *stop = slash ? slash : end;
                const ImageEntry *entry;
                uint32_t number;

                number = image_find(image, directory, path, stop - path);
                if (number == IMAGE_NONE)
                        return IMAGE_NONE;
                entry = image_entry(image, number);
                if (!entry || entry->child >= image->header->directory_count)
                        return IMAGE_NONE;
                directory = entry->child;
                path = slash ? slash + 1 : end;
        }
        return directory;
}

static const uint8_t *area(const Image *image, const ImageTable *table, uint64_t offset, uint64_t size,
                           size_t *ret_size) {
        const uint8_t *bytes = size ? table_at(image, table, offset, size) : NULL;

        if (bytes)
                *ret_size = size;
        return bytes;
}

const uint8_t *image_code(const Image *image, const ImageEntry *entry, size_t *ret_size) {
        return area(image, &image->header->code, entry->code_offset, entry->code_size, ret_size);
}

const uint8_t *image_frozen(const Image *image, const ImageEntry *entry, size_t *ret_size) {
        if (entry->frozen_offset % 16)
                return NULL;
        return area(image, &image->header->frozen, entry->frozen_offset, entry->frozen_size, ret_size);
}

const ImagePattern *image_pattern(const Image *image, uint32_t number) {
        return table_at(image, &image->header->patterns, (uint64_t)number * sizeof(ImagePattern),
                        sizeof(ImagePattern));
}

const void *image_pattern_text(const Image *image, const ImagePattern *pattern) {
        return table_at(image, &image->header->pattern_data, pattern->text_offset, pattern->text_size);
}

const uint32_t *image_pattern_code(const Image *image, const ImagePattern *pattern) {
        if (pattern->code_offset % 4)
                return NULL;
        return table_at(image, &image->header->pattern_data, pattern->code_offset,
                        (uint64_t)pattern->code_count * sizeof(uint32_t));
}

const uint8_t *image_pattern_names(const Image *image, const ImagePattern *pattern) {
        if (pattern->names_offset % 4)
                return NULL;
        return table_at(image, &image->header->pattern_data, pattern->names_offset, pattern->names_size);
}

const char *image_pattern_name(const ImagePattern *pattern, const uint8_t *names, size_t *at,
                               ImagePatternName *ret_name) {
        size_t left = pattern->names_size - *at;
        const char *bytes;

        if (*at > pattern->names_size || left < sizeof(*ret_name))
                return NULL;
        memcpy(ret_name, names + *at, sizeof(*ret_name));
        if (ret_name->length > left - sizeof(*ret_name))
                return NULL;
        bytes = (const char *)names + *at + sizeof(*ret_name);
        *at += sizeof(*ret_name) + ((size_t)ret_name->length + 3) / 4 * 4;
        return bytes;
}

/* Of texts that are some 50 to 5000 bytes long: a multiplication for eight bytes each. Who could make them collide is who
 * makes the image, and only in its own. */
uint64_t image_pattern_hash(const ImagePatternKey *key) {
        uint64_t hash = 0xcbf29ce484222325u ^ key->text_size ^ ((uint64_t)key->flags << 32) ^
                        ((uint64_t)key->width << 56);
        const uint8_t *bytes = key->text;
        size_t left = key->text_size;

        while (left > 0) {
                size_t some = left < sizeof(uint64_t) ? left : sizeof(uint64_t);
                uint64_t word = 0;

                memcpy(&word, bytes, some);
                hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
                hash ^= hash >> 32;
                bytes += some;
                left -= some;
        }
        hash *= 0x9e3779b97f4a7c15u;
        return hash ^ (hash >> 29);
}

const ImagePattern *image_pattern_find(const Image *image, const ImagePatternKey *key, uint64_t hash) {
        uint32_t mask = image->header->pattern_bucket_count - 1;
        uint32_t at = (uint32_t)hash & mask;

        for (uint32_t probes = 0; probes <= mask; probes++, at = (at + 1) & mask) {
                const uint32_t *bucket = table_at(image, &image->header->pattern_buckets,
                                                  (uint64_t)at * sizeof(uint32_t), sizeof(uint32_t));
                const ImagePattern *pattern;
                const void *text;

                if (!bucket || *bucket == 0)
                        return NULL;
                pattern = image_pattern(image, *bucket - 1);
                if (!pattern)
                        return NULL;
                if (pattern->flags_asked != key->flags || pattern->width != key->width ||
                    pattern->text_size != key->text_size)
                        continue;
                text = image_pattern_text(image, pattern);
                if (text && memcmp(text, key->text, key->text_size) == 0)
                        return pattern;
        }
        return NULL;
}

const char *image_text(const Image *image, const ImageEntry *entry, size_t *ret_size) {
        const char *bytes;

        if (entry->kind != IMAGE_KIND_FILE || !(entry->flags & IMAGE_ENTRY_TEXT))
                return NULL;
        bytes = table_at(image, &image->header->files, entry->code_offset, entry->code_size);
        if (bytes)
                *ret_size = entry->code_size;
        return bytes;
}

const ImageDistribution *image_distribution(const Image *image, uint32_t number) {
        return table_at(image, &image->header->distributions, (uint64_t)number * sizeof(ImageDistribution),
                        sizeof(ImageDistribution));
}

const ImagePoint *image_point(const Image *image, uint32_t number) {
        return table_at(image, &image->header->points, (uint64_t)number * sizeof(ImagePoint),
                        sizeof(ImagePoint));
}

/* As importlib.metadata compares them: whatever else lower() makes of other letters, it is none of these. */
bool image_name_is_metadata(const char *name, size_t length) {
        static const char *const suffixes[] = { ".dist-info", ".egg-info" };

        for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
                size_t suffix = strlen(suffixes[i]);

                if (length >= suffix && strncasecmp(name + length - suffix, suffixes[i], suffix) == 0)
                        return true;
        }
        return false;
}
