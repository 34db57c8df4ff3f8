/* SPDX-License-Identifier: MIT */

/* The image's reader, and what the daemon marks in the state beside an image: whatever the bytes say, nothing is read
 * outside of them, and every walk ends. */

#include <sys/inotify.h>
#include <unistd.h>

#include "change.h"
#include "fuzz.h"
#include "fuzz_image.h"
#include "staleness.h"
#include "util.h"

/* A sum of all bytes, so that reading them is no dead code, and the sanitizer sees each. */
static volatile unsigned sum;

static void touch(const void *bytes, size_t size) {
        for (size_t i = 0; bytes && i < size; i++)
                sum += ((const uint8_t *)bytes)[i];
}

static void look_at_string(const Image *image, ImageString string) {
        size_t length = 0;
        const char *bytes = image_string(image, string, &length);

        if (!bytes)
                return;
        FUZZ_CHECK(bytes[length] == '\0');
        touch(bytes, length + 1);
}

static void look_at_entry(const Image *image, const ImageEntry *entry) {
        const uint8_t *bytes;
        size_t size = 0, length;
        const char *name, *text;
        uint32_t found;

        text = image_text(image, entry, &size);
        touch(text, text ? size : 0);
        look_at_string(image, entry->file);
        look_at_string(image, entry->cached);
        look_at_string(image, entry->reason);
        bytes = image_code(image, entry, &size);
        touch(bytes, bytes ? size : 0);
        bytes = image_frozen(image, entry, &size);
        touch(bytes, bytes ? size : 0);
        name = image_string(image, entry->name, &length);
        if (!name)
                return;
        found = image_find(image, entry->directory, name, length);
        FUZZ_CHECK(found == IMAGE_NONE || image_entry(image, found));
}

static void look_at_directory(const Image *image, const ImageDirectory *directory) {
        size_t length;
        const char *path = image_string(image, directory->path, &length);
        uint32_t number;

        if (!path)
                return;
        touch(path, length + 1);
        number = image_walk(image, path, length);
        FUZZ_CHECK(number == IMAGE_NONE || image_directory(image, number));
}

static void look_at_pattern(const Image *image, const ImagePattern *pattern) {
        const void *text = image_pattern_text(image, pattern), *code = image_pattern_code(image, pattern);
        const uint8_t *names = image_pattern_names(image, pattern);
        ImagePatternName name;
        const char *bytes;
        size_t at = 0;

        look_at_string(image, pattern->file);
        touch(code, code ? pattern->code_count * sizeof(uint32_t) : 0);
        while (names && (bytes = image_pattern_name(pattern, names, &at, &name)))
                touch(bytes, name.length);
        if (text) {
                ImagePatternKey key = {
                        .text = text,
                        .text_size = pattern->text_size,
                        .width = pattern->width,
                        .flags = pattern->flags_asked,
                };

                image_pattern_find(image, &key, image_pattern_hash(&key));
        }
}

static void look_at_distribution(const Image *image, const ImageDistribution *distribution) {
        const ImageEntry *entry = image_entry(image, distribution->entry);

        look_at_string(image, distribution->name);
        look_at_string(image, distribution->key);
        look_at_string(image, distribution->normalized);
        if (entry)
                look_at_entry(image, entry);
}

static void look_at_point(const Image *image, const ImagePoint *point) {
        look_at_string(image, point->name);
        look_at_string(image, point->value);
        look_at_string(image, point->group);
        look_at_string(image, point->module);
        look_at_string(image, point->attr);
        look_at_string(image, point->extras);
}

static void mark_changes(const Image *image) {
        static const WatchEvent events[] = {
                { .directory = "", .name = "abc.py", .mask = IN_MODIFY },
                { .directory = "package", .name = "inner.py", .mask = IN_CREATE },
                { .directory = "", .name = "package", .mask = IN_MOVED_FROM | IN_ISDIR },
                { .directory = "package/below", .name = "", .mask = IN_DELETE_SELF },
                { .directory = "thing-1.dist-info", .name = "entry_points.txt", .mask = IN_MODIFY },
                { .directory = "", .name = "thing-1.dist-info", .mask = IN_MOVED_FROM | IN_ISDIR },
                { .directory = NULL, .name = "", .mask = IN_Q_OVERFLOW },
        };
        const ImageHeader *header = image->header;
        Staleness staleness;
        int fd;

        if (staleness_new(header->generation, header->directory_count, header->entry_count, 0, &fd,
                          &staleness) < 0)
                return;
        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                change_mark(&events[i], image, &staleness);
        staleness_done(&staleness);
        close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Image image;
        void *copy; /* aligned as mmap does it, and nothing beyond its end */

        FUZZ_CHECK(posix_memalign(&copy, 16, size ? size : 1) == 0);
        memcpy(copy, data, size);
        if (image_open(copy, size, &image) == 0) {
                look_at_string(&image, image.header->tag);
                look_at_string(&image, image.header->root_path);
                for (uint32_t i = 0; i < image.header->directory_count; i++)
                        look_at_directory(&image, image_directory(&image, i));
                for (uint32_t i = 0; i < image.header->entry_count; i++)
                        look_at_entry(&image, image_entry(&image, i));
                for (uint32_t i = 0; i < image.header->pattern_count; i++)
                        look_at_pattern(&image, image_pattern(&image, i));
                FUZZ_CHECK(!image_pattern(&image, image.header->pattern_count));
                for (uint32_t i = 0; i < image.header->distribution_count; i++)
                        look_at_distribution(&image, image_distribution(&image, i));
                for (uint32_t i = 0; i < image.header->point_count; i++)
                        look_at_point(&image, image_point(&image, i));
                FUZZ_CHECK(!image_distribution(&image, image.header->distribution_count));
                FUZZ_CHECK(!image_point(&image, image.header->point_count));
                FUZZ_CHECK(!image_directory(&image, image.header->directory_count));
                FUZZ_CHECK(!image_entry(&image, image.header->entry_count));
                FUZZ_CHECK(!image_entry(&image, IMAGE_NONE));
                image_find(&image, 0, "abc", 3);
                image_walk(&image, "package/below//x", 16);
                mark_changes(&image);
        }
        free(copy);
        return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
        if (fuzz_random(&seed) % 4 == 0)
                size = LLVMFuzzerMutate(data, size, most);
        else
                for (unsigned n = 1 + fuzz_random(&seed) % 3; n > 0; n--)
                        fuzz_image_change(data, size, &seed);
        if (fuzz_random(&seed) % 16)
                size = fuzz_image_repair(data, size, most, &seed);
        return size;
}
