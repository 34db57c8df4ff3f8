/* SPDX-License-Identifier: MIT */

/* The image's reader and writer: what goes in comes out, and nothing that is wrong is believed. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "image.h"
#include "image_writer.h"
#include "memfd.h"
#include "util.h"

#define MANY 3000

static const ImageIdentity identity = {
        .generation = 7,
        .root_dev = 1,
        .root_ino = 2,
        .hash_seed = 0x1234,
        .root_path = "/usr/lib/python3",
        .tag = "tag",
};

static void add(ImageWriter *writer, uint32_t directory, const char *name, ImageKind kind, uint32_t child,
                const char *code) {
        ImageWriterEntry entry = {
                .directory = directory,
                .child = child,
                .kind = kind,
                .flags = child == IMAGE_NONE ? 0 : IMAGE_ENTRY_PACKAGE,
                .name = name,
                .file = name,
                .code = code,
                .code_size = code ? strlen(code) : 0,
                .file_size = 42,
        };

        if (kind == IMAGE_KIND_FILE)
                entry.flags = code ? IMAGE_ENTRY_TEXT : 0;
        assert_int_equal(image_writer_add_entry(writer, &entry), 0);
}

/* Two distributions, the second of which says nothing of itself, in an order of their own. */
static void add_distributions(ImageWriter *writer, uint32_t root) {
        const ImageWriterDistribution full = { "z-1.dist-info", "z", "z", true },
                                      bare = { "a.egg-info", "a", "", false };
        const ImageWriterPoint points[] = { { "one", "json:one", "group", "", "", "" },
                                            { "two", "json:two", "group", "json", "two", NULL } };
        uint32_t directory;

        assert_int_equal(image_writer_add_point(writer, &points[0]), -EINVAL); /* nobody's */
        assert_int_equal(
                image_writer_add_directory(writer, "z-1.dist-info", IMAGE_DIRECTORY_METADATA, &directory), 0);
        add(writer, root, "z-1.dist-info", IMAGE_KIND_METADATA, directory, NULL);
        add(writer, root, "a.egg-info", IMAGE_KIND_FILE, IMAGE_NONE, "");
        add(writer, directory, "METADATA", IMAGE_KIND_FILE, IMAGE_NONE, "Name: z");
        add(writer, directory, "LICENSE", IMAGE_KIND_FILE, IMAGE_NONE, NULL);
        add(writer, directory, "entry_points.txt", IMAGE_KIND_FILE, IMAGE_NONE, "[group]");
        assert_int_equal(image_writer_add_distribution(writer, &full), 0);
        assert_int_equal(image_writer_add_point(writer, &points[0]), 0);
        assert_int_equal(image_writer_add_point(writer, &points[1]), 0);
        assert_int_equal(image_writer_add_distribution(writer, &bare), 0);
        image_writer_has_distributions(writer);
}

/* A root with a module, a package with a module in it, distributions, and many others. */
static ImageWriter *writer_fill(void) {
        ImageWriter *writer;
        uint32_t root, package;
        char name[32];

        assert_int_equal(image_writer_new(&writer), 0);
        assert_int_equal(image_writer_add_directory(writer, "", IMAGE_DIRECTORY_COMPLETE, &root), 0);
        assert_int_equal(image_writer_add_directory(writer, "json", 0, &package), 0);
        add(writer, root, "zlib", IMAGE_KIND_EXTENSION, IMAGE_NONE, NULL);
        add(writer, root, "json", IMAGE_KIND_SOURCE, package, "package");
        add(writer, package, "decoder", IMAGE_KIND_SOURCE, IMAGE_NONE, "decode");
        add(writer, root, "abc", IMAGE_KIND_SOURCE, IMAGE_NONE, "code of abc");
        add_distributions(writer, root);
        for (int i = 0; i < MANY; i++) {
                snprintf(name, sizeof(name), "module%d", i);
                add(writer, root, name, IMAGE_KIND_STOCK, IMAGE_NONE, NULL);
        }
        return writer;
}

typedef struct Fixture {
        void *bytes; /* a writable copy of a good image */
        size_t size;
} Fixture;

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));
        ImageWriter *writer = writer_fill();
        MemfdInfo info;
        const void *base;
        int fd;

        assert_int_equal(image_writer_seal(writer, &identity, &fd), 0);
        image_writer_free(writer);
        assert_int_equal(memfd_check(fd, sizeof(ImageHeader), &info), 0);
        assert_int_equal(memfd_map(fd, info.size, &base), 0);
        fixture->bytes = aligned_alloc(16, (info.size + 15) / 16 * 16);
        fixture->size = info.size;
        memcpy(fixture->bytes, base, info.size);
        munmap((void *)base, info.size);
        fd_close(fd);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        free(fixture->bytes);
        free(fixture);
        return 0;
}

static Image fixture_open(Fixture *fixture) {
        Image image;

        assert_int_equal(image_open(fixture->bytes, fixture->size, &image), 0);
        return image;
}

static void an_index_is_taken_with_its_numbers_and_without_its_code(void **state) {
        const ImageWriterEntry code = { .reason = "late", .code = "other", .code_size = 5 };
        _cleanup_(image_writer_freep) ImageWriter *writer = NULL;
        Image old = fixture_open(*state), image;
        _cleanup_close_ int fd = -1;
        const void *base;
        MemfdInfo info;
        uint32_t number = image_find(&old, 0, "abc", 3);
        size_t size;

        assert_int_equal(image_writer_new(&writer), 0);
        assert_int_equal(image_writer_take_index(writer, &old), 0);
        assert_int_equal(image_writer_set_code(writer, number, &code), 0);
        assert_int_equal(image_writer_set_code(writer, old.header->entry_count, &code), -EINVAL);
        assert_int_equal(image_writer_seal(writer, &identity, &fd), 0);
        assert_int_equal(memfd_check(fd, sizeof(ImageHeader), &info), 0);
        assert_int_equal(memfd_map(fd, info.size, &base), 0);
        assert_int_equal(image_open(base, info.size, &image), 0);

        assert_int_equal(image.header->entry_count, old.header->entry_count);
        assert_int_equal(image.header->left_out_count, old.header->left_out_count);
        assert_int_equal(image.header->module_count, 1);
        assert_int_equal(image_find(&image, 0, "abc", 3), number);
        assert_string_equal(image_string(&image, image_entry(&image, number)->reason, NULL), "late");
        assert_memory_equal(image_code(&image, image_entry(&image, number), &size), "other", 5);
        number = image_find(&image, image_walk(&image, "json", 4), "decoder", 7);
        assert_non_null(image_entry(&image, number));
        assert_null(image_code(&image, image_entry(&image, number), &size));
        assert_int_equal(image_entry(&image, number)->file_size, 42);
        assert_int_equal(image_directory(&image, 0)->entry_count, image_directory(&old, 0)->entry_count);
        assert_int_equal(image.header->flags, old.header->flags);
        assert_int_equal(image.header->point_count, old.header->point_count);
        number = image_distribution(&image, 0)->points_entry;
        assert_int_equal(number, image_distribution(&old, 0)->points_entry);
        assert_memory_equal(image_text(&image, image_entry(&image, number), &size), "[group]", 7);
        munmap((void *)base, info.size);
}

static void equal_blocks_are_stored_once(void **state) {
        _cleanup_(image_writer_freep) ImageWriter *writer = NULL;
        _cleanup_close_ int fd = -1;
        const void *base;
        MemfdInfo info;
        uint32_t root;
        char name[32], code[32];
        Image image;

        (void)state;
        assert_int_equal(image_writer_new(&writer), 0);
        assert_int_equal(image_writer_add_directory(writer, "", IMAGE_DIRECTORY_COMPLETE, &root), 0);
        for (int i = 0; i < MANY; i++) {
                snprintf(name, sizeof(name), "module%d", i);
                snprintf(code, sizeof(code), "code %d", i % 1000);
                add(writer, root, name, IMAGE_KIND_SOURCE, IMAGE_NONE, code);
        }
        assert_int_equal(image_writer_seal(writer, &identity, &fd), 0);
        assert_int_equal(memfd_check(fd, sizeof(ImageHeader), &info), 0);
        assert_int_equal(memfd_map(fd, info.size, &base), 0);
        assert_int_equal(image_open(base, info.size, &image), 0);
        assert_int_equal(image.header->code.size, 1000 * 16);
        assert_int_equal(image.header->module_count, MANY);
        for (int i = 0; i < MANY; i++) {
                const ImageEntry *entry;
                size_t size;

                snprintf(name, sizeof(name), "module%d", i);
                snprintf(code, sizeof(code), "code %d", i % 1000);
                entry = image_entry(&image, image_find(&image, 0, name, strlen(name)));
                assert_memory_equal(image_code(&image, entry, &size), code, strlen(code));
                assert_int_equal(size, strlen(code));
        }
        munmap((void *)base, info.size);
}

static void an_index_that_lies_is_not_taken(void **state) {
        _cleanup_(image_writer_freep) ImageWriter *writer = NULL;
        Image image = fixture_open(*state);
        ImageEntry *entry = (ImageEntry *)image_entry(&image, 3);

        assert_int_equal(image_writer_new(&writer), 0);
        entry->directory = image.header->directory_count;
        assert_int_equal(image_writer_take_index(writer, &image), -EBADMSG);
        entry->directory = 0;
        entry->name.offset = UINT32_MAX;
        assert_int_equal(image_writer_take_index(writer, &image), -EBADMSG);
        entry->name.offset = 0;
        ((ImageDistribution *)image_distribution(&image, 1))->name.offset = UINT32_MAX;
        assert_int_equal(image_writer_take_index(writer, &image), -EBADMSG);
}

static ImageHeader *fixture_header(Fixture *fixture) {
        return fixture->bytes;
}

static void what_was_added_is_found(void **state) {
        Image image = fixture_open(*state);
        const ImageEntry *entry;
        const uint8_t *code;
        char name[32];
        size_t size;

        entry = image_entry(&image, image_find(&image, 0, "abc", 3));
        assert_non_null(entry);
        assert_int_equal(entry->kind, IMAGE_KIND_SOURCE);
        assert_int_equal(entry->file_size, 42);
        code = image_code(&image, entry, &size);
        assert_int_equal(size, strlen("code of abc"));
        assert_memory_equal(code, "code of abc", size);
        for (int i = 0; i < MANY; i++) {
                snprintf(name, sizeof(name), "module%d", i);
                assert_int_not_equal(image_find(&image, 0, name, strlen(name)), IMAGE_NONE);
        }
        assert_string_equal(image_string(&image, image.header->tag, NULL), "tag");
        assert_string_equal(image_string(&image, image.header->root_path, &size), "/usr/lib/python3");
        assert_int_equal(image.header->module_count, 3);
        assert_int_equal(image.header->left_out_count, MANY);
}

static const ImageWriterPattern patterns[] = {
        { .key = { .text = "(?P<name>a)", .text_size = 11, .width = 1, .flags = 2 },
          .flags = 34,
          .groups = 1,
          .code = (const uint32_t[]){ 1, 2, 3 },
          .code_count = 3,
          .names = "\1\0\0\0\4\0\0\0name",
          .names_size = 12,
          .names_count = 1,
          .file = "abc.py" },
        { .key = { .text = "(?P<name>a)", .text_size = 11, .width = 0 },
          .code = (const uint32_t[]){ 4 },
          .code_count = 1 },
        { .key = { .text = "", .text_size = 0, .width = 1 },
          .code = (const uint32_t[]){ 5 },
          .code_count = 1 },
};

static void seal_patterns(const ImageWriterPattern *some, size_t n, Image *ret_image) {
        ImageWriter *writer = writer_fill();
        MemfdInfo info;
        const void *base;
        int fd;

        for (size_t i = 0; i < n; i++) {
                assert_int_equal(image_writer_add_pattern(writer, &some[i]), 0);
                assert_int_equal(image_writer_add_pattern(writer, &some[i]), -EEXIST);
        }
        image_writer_set_compiler(writer, 0x1234, true);
        assert_int_equal(image_writer_seal(writer, &identity, &fd), 0);
        image_writer_free(writer);
        assert_int_equal(memfd_check(fd, sizeof(ImageHeader), &info), 0);
        assert_int_equal(memfd_map(fd, info.size, &base), 0);
        assert_int_equal(image_open(base, info.size, ret_image), 0);
        fd_close(fd);
}

static void a_pattern_is_found_by_its_text_type_and_flags(void **state) {
        const ImagePattern *pattern;
        ImagePatternKey key = patterns[0].key;
        ImagePatternName name;
        size_t at = 0;
        Image image;

        (void)state;
        seal_patterns(patterns, ELEMENTSOF(patterns), &image);
        assert_int_equal(image.header->pattern_compiler, 0x1234);
        assert_int_equal(image.header->flags, IMAGE_HAS_COMPILER | IMAGE_HAS_DISTRIBUTIONS);
        pattern = image_pattern_find(&image, &key, image_pattern_hash(&key));
        assert_ptr_equal(pattern, image_pattern(&image, 0));
        assert_int_equal(pattern->flags, 34);
        assert_int_equal(pattern->code_count, 3);
        assert_int_equal(image_pattern_code(&image, pattern)[2], 3);
        assert_string_equal(image_string(&image, pattern->file, NULL), "abc.py");
        assert_memory_equal(image_pattern_name(pattern, image_pattern_names(&image, pattern), &at, &name),
                            "name", 4);
        assert_int_equal(name.group, 1);
        assert_null(image_pattern_name(pattern, image_pattern_names(&image, pattern), &at, &name));
        key.flags = 0;
        assert_null(image_pattern_find(&image, &key, image_pattern_hash(&key)));
        key.width = 0;
        assert_int_equal(
                image_pattern_code(&image, image_pattern_find(&image, &key, image_pattern_hash(&key)))[0], 4);
        assert_non_null(image_pattern_find(&image, &patterns[2].key, image_pattern_hash(&patterns[2].key)));
        assert_null(image_pattern(&image, ELEMENTSOF(patterns)));
        munmap((void *)image.base, image.size);
}

static void a_thousand_patterns_are_found(void **state) {
        ImageWriterPattern many[1000];
        char texts[1000][16];
        Image image;

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(many); i++) {
                snprintf(texts[i], sizeof(texts[i]), "pattern%zu", i);
                many[i] = patterns[1];
                many[i].key.text = texts[i];
                many[i].key.text_size = strlen(texts[i]);
        }
        seal_patterns(many, ELEMENTSOF(many), &image);
        for (uint32_t i = 0; i < ELEMENTSOF(many); i++)
                assert_ptr_equal(image_pattern_find(&image, &many[i].key, image_pattern_hash(&many[i].key)),
                                 image_pattern(&image, i));
        munmap((void *)image.base, image.size);
}

static void what_was_not_added_is_not_found(void **state) {
        Image image = fixture_open(*state);

        assert_int_equal(image_find(&image, 0, "ab", 2), IMAGE_NONE);
        assert_int_equal(image_find(&image, 0, "", 0), IMAGE_NONE);
        assert_int_equal(image_find(&image, 1, "abc", 3), IMAGE_NONE);
        assert_int_equal(image_find(&image, 99, "abc", 3), IMAGE_NONE);
        assert_null(image_entry(&image, IMAGE_NONE));
        assert_null(image_directory(&image, 3));
        assert_null(image_distribution(&image, 2));
        assert_null(image_point(&image, 2));
}

static void string_is(const Image *image, ImageString string, const char *expected) {
        assert_string_equal(image_string(image, string, NULL), expected);
}

static void distributions_are_in_their_order_with_their_texts_and_points(void **state) {
        Image image = fixture_open(*state);
        const ImageDistribution *z = image_distribution(&image, 0), *a = image_distribution(&image, 1);
        uint32_t directory = image_walk(&image, "z-1.dist-info", 13);
        const ImageEntry *entry;
        size_t size;

        assert_int_equal(image.header->distribution_count, 2);
        assert_true(image.header->flags & IMAGE_HAS_DISTRIBUTIONS);
        string_is(&image, z->name, "z-1.dist-info");
        string_is(&image, a->name, "a.egg-info");
        string_is(&image, a->normalized, "");
        string_is(&image, image_entry(&image, z->entry)->name, "z-1.dist-info");
        assert_int_equal(image_entry(&image, z->entry)->child, directory);
        assert_int_equal(z->points_entry, image_find(&image, directory, "entry_points.txt", 16));
        assert_int_equal(z->point_count, 2);
        string_is(&image, image_point(&image, z->first_point + 1)->name, "two");
        string_is(&image, image_point(&image, z->first_point + 1)->module, "json");
        string_is(&image, image_point(&image, z->first_point)->extras, "");
        assert_int_equal(a->points_entry, IMAGE_NONE);
        assert_false(a->flags & IMAGE_DISTRIBUTION_POINTS);

        entry = image_entry(&image, image_find(&image, directory, "METADATA", 8));
        assert_memory_equal(image_text(&image, entry, &size), "Name: z", 7);
        assert_int_equal(size, 7);
        assert_non_null(image_text(&image, image_entry(&image, a->entry), &size)); /* an empty one */
        assert_int_equal(size, 0);
        assert_null(
                image_text(&image, image_entry(&image, image_find(&image, directory, "LICENSE", 7)), &size));
        assert_null(image_text(&image, image_entry(&image, image_find(&image, 0, "abc", 3)), &size));
}

static void a_text_outside_the_image_gives_nothing(void **state) {
        Image image = fixture_open(*state);
        uint32_t directory = image_walk(&image, "z-1.dist-info", 13);
        ImageEntry *entry = (ImageEntry *)image_entry(&image, image_find(&image, directory, "METADATA", 8));
        size_t size;

        entry->code_size = image.header->files.size + 1;
        assert_null(image_text(&image, entry, &size));
        entry->code_size = 0;
        entry->code_offset = image.header->files.size + 1;
        assert_null(image_text(&image, entry, &size));
}

static void a_distribution_of_nothing_is_refused_by_the_writer(void **state) {
        const ImageWriterDistribution none = { .name = "none.dist-info" }, unnamed = { .name = NULL };
        ImageWriter *writer = writer_fill();
        int fd;

        (void)state;
        assert_int_equal(image_writer_add_distribution(writer, &unnamed), -EINVAL);
        assert_int_equal(image_writer_add_distribution(writer, &none), 0);
        assert_int_equal(image_writer_seal(writer, &identity, &fd), -EINVAL);
        image_writer_free(writer);
}

static void names_of_metadata_are_known_by_their_end(void **state) {
        static const char *const are[] = { "a-1.dist-info", "A.EGG-INFO", ".dist-info" };
        static const char *const are_not[] = { "dist-info", "EGG-INFO", "a.dist-info.py", "", "a" };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(are); i++)
                assert_true(image_name_is_metadata(are[i], strlen(are[i])));
        for (size_t i = 0; i < ELEMENTSOF(are_not); i++)
                assert_false(image_name_is_metadata(are_not[i], strlen(are_not[i])));
}

static void packages_are_walked_and_modules_are_not(void **state) {
        Image image = fixture_open(*state);
        uint32_t directory = image_walk(&image, "json", 4);

        assert_int_equal(directory, 1);
        assert_int_not_equal(image_find(&image, directory, "decoder", 7), IMAGE_NONE);
        assert_int_equal(image_walk(&image, "", 0), 0);
        assert_int_equal(image_walk(&image, "abc", 3), IMAGE_NONE);
        assert_int_equal(image_walk(&image, "json/decoder", 12), IMAGE_NONE);
        assert_int_equal(image_walk(&image, "json//", 6), IMAGE_NONE);
        assert_int_equal(image_walk(&image, "..", 2), IMAGE_NONE);
}

static void entries_of_a_directory_are_in_a_row_and_sorted(void **state) {
        Image image = fixture_open(*state);
        const ImageDirectory *root = image_directory(&image, 0);
        const char *last = "";

        assert_int_equal(root->entry_count, MANY + 5);
        for (uint32_t i = 0; i < root->entry_count; i++) {
                const ImageEntry *entry = image_entry(&image, root->first_entry + i);
                const char *name = image_string(&image, entry->name, NULL);

                assert_int_equal(entry->directory, 0);
                assert_true(strcmp(last, name) < 0);
                last = name;
        }
}

static void a_header_that_lies_is_refused(void **state) {
        Fixture *fixture = *state;
        ImageHeader *header = fixture_header(fixture), good = *header;
        Image image;

        assert_int_equal(image_open(fixture->bytes, sizeof(ImageHeader) - 1, &image), IMAGE_E_SHORT);
        assert_int_equal(image_open(fixture->bytes, fixture->size - 1, &image), IMAGE_E_SHORT);
        header->magic[0] ^= 1;
        assert_int_equal(image_open(fixture->bytes, fixture->size, &image), IMAGE_E_MAGIC);
        *header = good;
        header->version++;
        assert_int_equal(image_open(fixture->bytes, fixture->size, &image), IMAGE_E_VERSION);
        *header = good;
        header->bucket_count = 3;
        assert_int_equal(image_open(fixture->bytes, fixture->size, &image), IMAGE_E_TABLE);
        *header = good;
        header->entry_count = header->bucket_count;
        assert_int_equal(image_open(fixture->bytes, fixture->size, &image), IMAGE_E_TABLE);
        *header = good;
        header->directory_count = 0;
        assert_int_equal(image_open(fixture->bytes, fixture->size, &image), IMAGE_E_TABLE);
        *header = good;
}

static void a_table_outside_the_image_is_refused(void **state) {
        Fixture *fixture = *state;
        ImageHeader *header = fixture_header(fixture), good = *header;
        ImageTable *tables[] = { &header->directories, &header->entries,       &header->buckets,
                                 &header->strings,     &header->texts,         &header->code,
                                 &header->frozen,      &header->distributions, &header->points,
                                 &header->files };
        const uint64_t offsets[] = { UINT64_MAX, UINT64_MAX - 15, 1, (fixture->size + 31) / 16 * 16 };
        Image image;

        for (size_t i = 0; i < ELEMENTSOF(tables); i++) {
                for (size_t j = 0; j < ELEMENTSOF(offsets); j++) {
                        tables[i]->offset = offsets[j];
                        assert_int_equal(image_open(fixture->bytes, fixture->size, &image), IMAGE_E_TABLE);
                        *header = good;
                }
                tables[i]->size = UINT64_MAX - 3;
                assert_int_equal(image_open(fixture->bytes, fixture->size, &image), IMAGE_E_TABLE);
                *header = good;
        }
}

static void an_entry_that_lies_gives_nothing(void **state) {
        Fixture *fixture = *state;
        Image image = fixture_open(fixture);
        uint32_t number = image_find(&image, 0, "abc", 3);
        ImageEntry *entry = (ImageEntry *)image_entry(&image, number), good = *entry;
        size_t size;

        entry->code_offset = UINT64_MAX;
        assert_null(image_code(&image, entry, &size));
        *entry = good;
        entry->code_size = UINT64_MAX;
        assert_null(image_code(&image, entry, &size));
        *entry = good;
        entry->frozen_size = 16;
        assert_null(image_frozen(&image, entry, &size));
        *entry = good;
        entry->name.offset = UINT32_MAX;
        assert_int_equal(image_find(&image, 0, "abc", 3), IMAGE_NONE);
        *entry = good;
        entry->name.length = UINT32_MAX;
        assert_null(image_string(&image, entry->name, NULL));
        *entry = good;
        entry->file.length -= 1; /* no NUL there */
        assert_null(image_string(&image, entry->file, NULL));
}

static void a_full_bucket_table_ends_the_search(void **state) {
        Fixture *fixture = *state;
        Image image = fixture_open(fixture);
        uint32_t *buckets = (uint32_t *)((uint8_t *)fixture->bytes + image.header->buckets.offset);

        for (uint32_t i = 0; i < image.header->bucket_count; i++)
                buckets[i] = 1;
        assert_int_equal(image_find(&image, 0, "nothing", 7), IMAGE_NONE);
        for (uint32_t i = 0; i < image.header->bucket_count; i++)
                buckets[i] = UINT32_MAX;
        assert_int_equal(image_find(&image, 0, "nothing", 7), IMAGE_NONE);
}

/* Every byte of the tables in turn, set to what hurts most: never a read outside (ASan watches). */
static void any_damaged_byte_is_survived(void **state) {
        Fixture *fixture = *state;
        uint8_t *bytes = fixture->bytes;
        size_t end = fixture_header(fixture)->buckets.offset;

        for (size_t at = 0; at < end; at += at < 4096 ? 1 : 97) {
                uint8_t good = bytes[at];
                Image image;

                bytes[at] = 0xff;
                if (image_open(fixture->bytes, fixture->size, &image) == 0) {
                        const ImageEntry *entry = image_entry(&image, image_find(&image, 0, "json", 4));
                        size_t size;

                        image_walk(&image, "json/decoder", 12);
                        for (uint32_t i = 0; i < 2; i++) {
                                const ImageDistribution *distribution = image_distribution(&image, i);

                                if (!distribution)
                                        continue;
                                image_string(&image, distribution->name, NULL);
                                image_point(&image, distribution->first_point);
                                if (image_entry(&image, distribution->entry))
                                        image_text(&image, image_entry(&image, distribution->entry), &size);
                        }
                        if (entry) {
                                image_code(&image, entry, &size);
                                image_string(&image, entry->file, NULL);
                        }
                }
                bytes[at] = good;
        }
}

static void a_name_twice_is_refused_by_the_writer(void **state) {
        ImageWriter *writer = writer_fill();
        const ImageWriterEntry no_directory = { .directory = 5, .name = "x", .child = IMAGE_NONE };
        int fd;

        (void)state;
        assert_int_equal(image_writer_add_entry(writer, &no_directory), -EINVAL);
        add(writer, 0, "abc", IMAGE_KIND_SOURCE, IMAGE_NONE, "again");
        assert_int_equal(image_writer_seal(writer, &identity, &fd), -EEXIST);
        image_writer_free(writer);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_was_added_is_found, setup, teardown),
                cmocka_unit_test_setup_teardown(what_was_not_added_is_not_found, setup, teardown),
                cmocka_unit_test_setup_teardown(a_pattern_is_found_by_its_text_type_and_flags, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_thousand_patterns_are_found, setup, teardown),
                cmocka_unit_test_setup_teardown(packages_are_walked_and_modules_are_not, setup, teardown),
                cmocka_unit_test_setup_teardown(entries_of_a_directory_are_in_a_row_and_sorted, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_header_that_lies_is_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(a_table_outside_the_image_is_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(an_entry_that_lies_gives_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(a_full_bucket_table_ends_the_search, setup, teardown),
                cmocka_unit_test_setup_teardown(any_damaged_byte_is_survived, setup, teardown),
                cmocka_unit_test_setup_teardown(an_index_is_taken_with_its_numbers_and_without_its_code,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(an_index_that_lies_is_not_taken, setup, teardown),
                cmocka_unit_test(equal_blocks_are_stored_once),
                cmocka_unit_test(a_name_twice_is_refused_by_the_writer),
                cmocka_unit_test_setup_teardown(distributions_are_in_their_order_with_their_texts_and_points,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(a_text_outside_the_image_gives_nothing, setup, teardown),
                cmocka_unit_test(a_distribution_of_nothing_is_refused_by_the_writer),
                cmocka_unit_test(names_of_metadata_are_known_by_their_end),
        };

        return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
