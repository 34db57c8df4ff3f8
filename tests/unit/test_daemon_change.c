/* SPDX-License-Identifier: MIT */

/* What each kind of change sets in an image's state: a bit too many at times, and never one too few. */

#include <sys/inotify.h>
#include <sys/mman.h>

#include "change.h"
#include "image_writer.h"
#include "memfd.h"
#include "scratch.h"
#include "util.h"

/* The root holds `module`, the package `pkg` and a distribution; pkg holds `module` and `sub`; that holds `deep`. */
enum {
        ROOT,
        PKG,
        SUB,
        INFO,
        DIRECTORIES
};

typedef struct Fixture {
        Image image;
        int image_fd, fd;
        Staleness staleness;
        ChangeLog log;
} Fixture;

static void add(ImageWriter *writer, uint32_t directory, const char *name, uint32_t child) {
        ImageWriterEntry entry = {
                .directory = directory, .child = child, .kind = IMAGE_KIND_SOURCE, .name = name, .file = name
        };

        assert_int_equal(image_writer_add_entry(writer, &entry), 0);
}

static int setup(void **state) {
        static const char *const paths[DIRECTORIES] = { "", "pkg", "pkg/sub", "d-1.dist-info" };
        Fixture *fixture = calloc(1, sizeof(*fixture));
        ImageIdentity identity = { .root_path = "/root", .tag = "tag", .hash_seed = 7 };
        const void *base;
        ImageWriter *writer;
        MemfdInfo info;

        assert_int_equal(image_writer_new(&writer), 0);
        for (uint32_t i = 0; i < DIRECTORIES; i++) {
                uint32_t number;

                assert_int_equal(image_writer_add_directory(writer, paths[i], 0, &number), 0);
                assert_int_equal(number, i);
        }
        add(writer, ROOT, "module", IMAGE_NONE);
        add(writer, ROOT, "pkg", PKG);
        add(writer, PKG, "module", IMAGE_NONE);
        add(writer, PKG, "sub", SUB);
        add(writer, SUB, "deep", IMAGE_NONE);
        add(writer, ROOT, "d-1.dist-info", INFO);
        add(writer, INFO, "top_level.txt", IMAGE_NONE);
        add(writer, ROOT, "e.egg-info", IMAGE_NONE);
        assert_int_equal(image_writer_seal(writer, &identity, &fixture->image_fd), 0);
        image_writer_free(writer);
        assert_int_equal(memfd_check(fixture->image_fd, sizeof(ImageHeader), &info), 0);
        assert_int_equal(memfd_map(fixture->image_fd, info.size, &base), 0);
        assert_int_equal(image_open(base, info.size, &fixture->image), 0);
        assert_int_equal(staleness_new(1, DIRECTORIES, 8, 0, &fixture->fd, &fixture->staleness), 0);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        staleness_done(&fixture->staleness);
        munmap((void *)fixture->image.base, fixture->image.size);
        close(fixture->image_fd);
        close(fixture->fd);
        change_log_clear(&fixture->log);
        free(fixture);
        return 0;
}

/* The bits that are set, "pkg pkg:module": directories by their path ("/" is the root), entries after a colon. */
static const char *marked(Fixture *fixture) {
        static char text[512];
        const Image *image = &fixture->image;
        size_t used = 0;

        *text = '\0';
        for (uint32_t i = 0; i < image->header->directory_count; i++) {
                const ImageDirectory *directory = image_directory(image, i);
                const char *path = image_string(image, directory->path, NULL);

                if (staleness_directory(&fixture->staleness, i))
                        used += snprintf(text + used, sizeof(text) - used, "%s%s", used ? " " : "",
                                         *path ? path : "/");
                for (uint32_t j = 0; j < directory->entry_count; j++)
                        if (staleness_entry(&fixture->staleness, directory->first_entry + j))
                                used += snprintf(
                                        text + used, sizeof(text) - used, "%s%s:%s", used ? " " : "", path,
                                        image_string(image,
                                                     image_entry(image, directory->first_entry + j)->name,
                                                     NULL));
        }
        return text;
}

static void expect(void **state, uint32_t mask, const char *directory, const char *name,
                   const char *expected) {
        WatchEvent event = { .directory = directory, .name = name, .mask = mask };
        Fixture *fixture;

        assert_int_equal(setup(state), 0);
        fixture = *state;
        change_mark(&event, &fixture->image, &fixture->staleness);
        assert_string_equal(marked(fixture), expected);
        teardown(state);

        /* and the same by way of a log */
        assert_int_equal(setup(state), 0);
        fixture = *state;
        change_log_add(&fixture->log, &event);
        change_log_add(&fixture->log, &event);
        change_log_replay(&fixture->log, &fixture->image, &fixture->staleness);
        assert_string_equal(marked(fixture), expected);
        teardown(state);
}

#define ALL                                                                         \
        "/ :d-1.dist-info :e.egg-info :module :pkg pkg pkg:module pkg:sub pkg/sub " \
        "pkg/sub:deep d-1.dist-info d-1.dist-info:top_level.txt"

static void content_is_its_entrys(void **state) {
        expect(state, IN_MODIFY, "", "module.py", ":module");
        expect(state, IN_CLOSE_WRITE, "pkg/sub", "deep.py", "pkg/sub:deep");
        expect(state, IN_ATTRIB, "pkg", "module.cpython-311-x86_64-linux-gnu.so", "pkg:module");
}

static void content_of_an_init_is_the_packages_entry_too(void **state) {
        expect(state, IN_MODIFY, "pkg", "__init__.py", ":pkg pkg");
        expect(state, IN_MODIFY, "pkg/sub", "__init__.py", "pkg:sub pkg/sub");
        expect(state, IN_MODIFY, "", "__init__.py", "/");
}

static void names_are_their_directorys(void **state) {
        expect(state, IN_CREATE, "", "new.py", "/");
        expect(state, IN_CREATE, "", "module.so", "/ :module");
        expect(state, IN_DELETE, "pkg", "module.py", "pkg pkg:module");
        expect(state, IN_MOVED_TO, "pkg/sub", "deep.py", "pkg/sub pkg/sub:deep");
        expect(state, IN_CREATE, "pkg", "__init__.so", ":pkg pkg");
}

static void what_becomes_of_a_directory_is_said_of_all_below(void **state) {
        expect(state, IN_MOVED_FROM | IN_ISDIR, "", "pkg",
               "/ :pkg pkg pkg:module pkg:sub pkg/sub pkg/sub:deep");
        expect(state, IN_ATTRIB | IN_ISDIR, "pkg", "sub", "pkg:sub pkg/sub pkg/sub:deep");
        expect(state, IN_DELETE_SELF, "pkg/sub", "", "pkg:sub pkg/sub pkg/sub:deep");
        expect(state, IN_MOVE_SELF, "", "", ALL);
        expect(state, IN_ATTRIB | IN_ISDIR, "", "", ALL);
}

static void a_distributions_files_are_known_by_their_whole_names(void **state) {
        expect(state, IN_MODIFY, "d-1.dist-info", "top_level.txt", "d-1.dist-info:top_level.txt");
        expect(state, IN_DELETE, "d-1.dist-info", "top_level.txt",
               "d-1.dist-info d-1.dist-info:top_level.txt");
        expect(state, IN_CREATE, "d-1.dist-info", "top_level", "d-1.dist-info");
        expect(state, IN_MODIFY, "", "e.egg-info", ":e.egg-info");
        expect(state, IN_CREATE, "", "d-2.dist-info", "/");
        expect(state, IN_MOVED_FROM | IN_ISDIR, "", "d-1.dist-info",
               "/ :d-1.dist-info d-1.dist-info d-1.dist-info:top_level.txt");
        expect(state, IN_ATTRIB | IN_ISDIR, "d-1.dist-info", "",
               ":d-1.dist-info d-1.dist-info d-1.dist-info:top_level.txt");
}

static void an_overflow_is_everythings(void **state) {
        expect(state, IN_Q_OVERFLOW, NULL, "", ALL);
}

static void what_the_image_does_not_hold_marks_nothing(void **state) {
        expect(state, IN_MODIFY, "other", "module.py", "");
        expect(state, IN_MODIFY, "module/below", "x.py", "");
}

static void a_log_that_is_full_is_everything(void **state) {
        Fixture *fixture = *state;
        char name[32];

        assert_true(change_log_is_empty(&fixture->log));
        for (unsigned i = 0; i < 100000; i++) {
                WatchEvent event = { .directory = "", .name = name, .mask = IN_CREATE };

                snprintf(name, sizeof(name), "name%u.py", i);
                change_log_add(&fixture->log, &event);
                assert_true(fixture->log.size <= CHANGE_LOG_SIZE_MAX);
        }
        assert_true(fixture->log.overflow);
        change_log_replay(&fixture->log, &fixture->image, &fixture->staleness);
        assert_string_equal(marked(fixture), ALL);
        change_log_clear(&fixture->log);
        assert_true(change_log_is_empty(&fixture->log));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(content_is_its_entrys),
                cmocka_unit_test(content_of_an_init_is_the_packages_entry_too),
                cmocka_unit_test(names_are_their_directorys),
                cmocka_unit_test(what_becomes_of_a_directory_is_said_of_all_below),
                cmocka_unit_test(a_distributions_files_are_known_by_their_whole_names),
                cmocka_unit_test(an_overflow_is_everythings),
                cmocka_unit_test(what_the_image_does_not_hold_marks_nothing),
                cmocka_unit_test_setup_teardown(a_log_that_is_full_is_everything, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
