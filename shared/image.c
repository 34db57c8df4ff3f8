/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

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
            !table_fits(&image, &h->code, 0, 0) || !table_fits(&image, &h->frozen, 0, 0))
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
