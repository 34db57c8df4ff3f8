/* SPDX-License-Identifier: MIT */

/* What processes ask for: taken only if it is there, and nobody loses anything to somebody who asks for all. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "image_writer.h"
#include "memfd.h"
#include "util.h"
#include "wanted.h"

#define MODULES (WANTED_MAX + 2000)

static void add(ImageWriter *writer, uint32_t directory, const char *name, ImageKind kind, uint32_t child,
                const char *code) {
        ImageWriterEntry entry = { .directory = directory,
                                   .child = child,
                                   .kind = kind,
                                   .name = name,
                                   .file = name,
                                   .code = code,
                                   .code_size = strlen(code) };

        assert_int_equal(image_writer_add_entry(writer, &entry), 0);
}

/* package, package.m0 ..., extension; the code of m0 and m1 is held. */
static int setup(void **state) {
        const ImageIdentity identity = { .generation = 1, .root_path = "/x", .tag = "tag" };
        _cleanup_(image_writer_freep) ImageWriter *writer = NULL;
        Image *image = calloc(1, sizeof(*image));
        uint32_t root, package;
        const void *base;
        MemfdInfo info;
        char name[16];
        int fd;

        assert_int_equal(image_writer_new(&writer), 0);
        assert_int_equal(image_writer_add_directory(writer, "", IMAGE_DIRECTORY_COMPLETE, &root), 0);
        assert_int_equal(image_writer_add_directory(writer, "package", IMAGE_DIRECTORY_COMPLETE, &package),
                         0);
        add(writer, root, "package", IMAGE_KIND_SOURCE, package, "");
        add(writer, root, "extension", IMAGE_KIND_EXTENSION, IMAGE_NONE, "");
        for (unsigned i = 0; i < MODULES; i++) {
                snprintf(name, sizeof(name), "m%u", i);
                add(writer, package, name, IMAGE_KIND_SOURCE, IMAGE_NONE, i < 2 ? "code" : "");
        }
        assert_int_equal(image_writer_seal(writer, &identity, &fd), 0);
        assert_int_equal(memfd_check(fd, 0, &info), 0);
        assert_int_equal(memfd_map(fd, info.size, &base), 0);
        close(fd);
        assert_int_equal(image_open(base, info.size, image), 0);
        *state = image;
        return 0;
}

static int teardown(void **state) {
        Image *image = *state;

        munmap((void *)image->base, image->size);
        free(image);
        return 0;
}

static void ask(WantedSet *set, const Image *image, uid_t uid, const char *name, uint64_t now) {
        assert_int_equal(wanted_add(set, image, uid, name, strlen(name), now), 0);
}

static void ask_for_many(WantedSet *set, const Image *image, uid_t uid, unsigned from, unsigned n,
                         uint64_t now) {
        char name[32];

        for (unsigned i = from; i < from + n; i++) {
                snprintf(name, sizeof(name), "package.m%u", i);
                ask(set, image, uid, name, now);
        }
}

/* Is the name among those written? */
static bool writes(WantedSet *set, const char *name) {
        static char names[WANTED_BYTES_MAX];
        size_t length = strlen(name) + 1;
        bool found = false;
        ssize_t size;
        int fd;

        assert_int_equal(wanted_write(set, &fd), 0);
        size = pread(fd, names, sizeof(names), 0);
        close(fd);
        assert_true(size >= 0);
        for (const char *at = names; at < names + size; at += strlen(at) + 1)
                found |= strlen(at) + 1 == length && memcmp(at, name, length) == 0;
        return found;
}

static void what_is_there_is_taken_once(void **state) {
        WantedTotal total = { 0 };
        WantedSet set;

        wanted_init(&set, &total);
        ask(&set, *state, 1000, "package", 1);
        ask(&set, *state, 1000, "package.m7", 1);
        ask(&set, *state, 1001, "package.m7", 2);
        assert_int_equal(set.n, 2);
        assert_int_equal(set.n_new, 2);
        assert_true(writes(&set, "package"));
        assert_true(writes(&set, "package.m7"));
        assert_false(writes(&set, "package.m8"));
        assert_int_equal(set.n_new, 0);
        wanted_clear(&set);
        assert_int_equal(total.n, 0);
}

static void what_is_not_there_is_passed_over(void **state) {
        static const char *const names[] = { "",           "missing",     "package.missing", "extension",
                                             "package/m7", "package.m7.", ".package.m7",     "package..m7",
                                             ".",          "m7" };
        char much[WANTED_NAME_MAX * 2];
        WantedTotal total = { 0 };
        WantedSet set;

        wanted_init(&set, &total);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                ask(&set, *state, 1000, names[i], 1);
        memset(much, 'a', sizeof(much));
        assert_int_equal(wanted_add(&set, *state, 1000, much, sizeof(much), 1), 0);
        assert_int_equal(wanted_add(&set, *state, 1000, "package\0m7", 10, 1), 0);
        assert_int_equal(set.n, 0);
}

static void one_user_has_the_half_at_most(void **state) {
        WantedTotal total = { 0 };
        WantedSet set;

        wanted_init(&set, &total);
        ask(&set, *state, 1000, "package.m0", 1);
        ask_for_many(&set, *state, 1001, 1, MODULES - 1, 2);
        assert_int_equal(set.n, 1 + WANTED_MAX / 2);
        assert_true(writes(&set, "package.m0"));
        assert_false(writes(&set, "package.m1")); /* the first of his own made room */
        wanted_clear(&set);
        assert_int_equal(total.n, 0);
}

static void nobody_loses_anything_to_two_who_ask_for_all(void **state) {
        WantedTotal total = { 0 };
        WantedSet set;

        wanted_init(&set, &total);
        ask_for_many(&set, *state, 1000, 0, 50, 1);
        ask_for_many(&set, *state, 1001, 50, MODULES / 2, 2);
        ask_for_many(&set, *state, 1002, 50 + MODULES / 2, MODULES / 2 - 50, 3);
        ask_for_many(&set, *state, 1000, 0, 50, 4);
        assert_true(set.n <= WANTED_MAX);
        assert_true(set.bytes <= WANTED_BYTES_MAX);
        assert_int_equal(set.users[1000 % WANTED_USERS].n, 50);
        wanted_clear(&set);
        assert_int_equal(total.n, 0);
}

static void all_roots_together_have_a_limit(void **state) {
        WantedTotal total = { 0 };
        static WantedSet sets[20];

        for (size_t i = 0; i < ELEMENTSOF(sets); i++) {
                wanted_init(&sets[i], &total);
                ask_for_many(&sets[i], *state, 1000, 0, WANTED_MAX / 2, 1);
        }
        assert_int_equal(total.n, WANTED_ALL_MAX / 2);
        ask(&sets[ELEMENTSOF(sets) - 1], *state, 1001, "package.m9000", 1);
        assert_int_equal(total.n, WANTED_ALL_MAX / 2 + 1);
        for (size_t i = 0; i < ELEMENTSOF(sets); i++)
                wanted_clear(&sets[i]);
        assert_int_equal(total.n, 0);
}

static void what_nobody_asks_for_is_forgotten(void **state) {
        WantedTotal total = { 0 };
        WantedSet set;

        wanted_init(&set, &total);
        ask(&set, *state, 1000, "package.m2", 10);
        ask(&set, *state, 1000, "package.m3", 20);
        ask(&set, *state, 1000, "package.m2", 30);
        assert_true(wanted_forget(&set, 25));
        assert_false(wanted_forget(&set, 25));
        assert_true(writes(&set, "package.m2"));
        assert_false(writes(&set, "package.m3"));
        wanted_clear(&set);
}

static void what_an_image_holds_is_asked_for_again(void **state) {
        WantedTotal total = { 0 };
        WantedSet set;

        wanted_init(&set, &total);
        assert_int_equal(wanted_add_image(&set, *state, 5), 0);
        assert_int_equal(set.n, 2);
        assert_int_equal(set.n_new, 0);
        assert_true(writes(&set, "package.m0"));
        assert_true(writes(&set, "package.m1"));
        wanted_clear(&set);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_there_is_taken_once),
                cmocka_unit_test(what_is_not_there_is_passed_over),
                cmocka_unit_test(one_user_has_the_half_at_most),
                cmocka_unit_test(nobody_loses_anything_to_two_who_ask_for_all),
                cmocka_unit_test(all_roots_together_have_a_limit),
                cmocka_unit_test(what_nobody_asks_for_is_forgotten),
                cmocka_unit_test(what_an_image_holds_is_asked_for_again),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
