/* SPDX-License-Identifier: MIT */

/* The watch: after a drain every change that was complete is known, to all who depend on the directory. */

#include <sys/inotify.h>

#include "scratch.h"
#include "util.h"
#include "watch.h"

typedef struct Set {
        WatchSet set;
        unsigned told;
        char directory[64], name[64];
        uint32_t mask;
} Set;

typedef struct Fixture {
        Scratch scratch;
        uv_loop_t loop;
        Watch *watch;
        Set a, b;
} Fixture;

static void on_event(WatchSet *set, const WatchEvent *event) {
        Set *told = list_entry(set, Set, set);

        told->told++;
        snprintf(told->directory, sizeof(told->directory), "%s", event->directory ?: "(any)");
        snprintf(told->name, sizeof(told->name), "%s", event->name);
        told->mask |= event->mask;
}

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        scratch_new(&fixture->scratch);
        assert_int_equal(uv_loop_init(&fixture->loop), 0);
        assert_int_equal(watch_new(&fixture->loop, &fixture->watch), 0);
        watch_set_init(&fixture->a.set, fixture->watch, on_event, NULL);
        watch_set_init(&fixture->b.set, fixture->watch, on_event, fixture->scratch.path);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        watch_set_done(&fixture->a.set);
        watch_set_done(&fixture->b.set);
        assert_int_equal(watch_count(fixture->watch), 0);
        watch_free(fixture->watch);
        loop_ends_empty(&fixture->loop);
        scratch_done(&fixture->scratch);
        free(fixture);
        return 0;
}

static int add(Fixture *fixture, Set *set, const char *directory) {
        int fd = scratch_open(&fixture->scratch, directory);
        int r = watch_set_add(&set->set, fd, directory, strlen(directory));

        close(fd);
        return r;
}

/* How often the set has been told since the last time. */
static unsigned told(Fixture *fixture, Set *set) {
        unsigned told;

        watch_drain(fixture->watch);
        told = set->told;
        set->told = 0;
        return told;
}

static void every_kind_of_change_is_told(void **state) {
        Fixture *fixture = *state;
        Scratch *scratch = &fixture->scratch;
        Set *set = &fixture->a;
        const char *path = scratch_path(scratch, "sub/module.py");

        scratch_mkdir(scratch, "sub", 0755);
        assert_int_equal(add(fixture, set, "sub"), 0);
        assert_int_equal(told(fixture, set), 0);

        scratch_write(scratch, "sub/module.py", "x = 1");
        assert_true(told(fixture, set) > 0);
        assert_string_equal(set->directory, "sub");
        assert_string_equal(set->name, "module.py");
        scratch_write(scratch, "sub/module.py", "x = 2");
        assert_true(told(fixture, set) > 0);
        assert_int_equal(chmod(path, 0), 0);
        assert_true(told(fixture, set) > 0);
        assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
        assert_true(told(fixture, set) > 0);
        assert_int_equal(rename(path, scratch_path(scratch, "sub/other.py")), 0);
        assert_true(told(fixture, set) >= 2);
        assert_int_equal(unlink(scratch_path(scratch, "sub/other.py")), 0);
        assert_true(told(fixture, set) > 0);
        scratch_mkdir(scratch, "sub/package", 0755);
        assert_true(told(fixture, set) > 0);
        assert_int_equal(symlink("package", scratch_path(scratch, "sub/link")), 0);
        assert_true(told(fixture, set) > 0);
        assert_int_equal(chmod(scratch_path(scratch, "sub"), 0700), 0);
        assert_true(told(fixture, set) > 0);
        assert_string_equal(set->name, "");
        assert_int_equal(rename(scratch_path(scratch, "sub"), scratch_path(scratch, "moved")), 0);
        assert_true(told(fixture, set) > 0);
}

static void a_move_above_is_told_and_nothing_else_there(void **state) {
        Fixture *fixture = *state;
        Scratch *scratch = &fixture->scratch;
        Set *root = &fixture->a, *other = &fixture->b;
        int fd;

        scratch_mkdir(scratch, "above", 0755);
        scratch_mkdir(scratch, "above/between", 0755);
        scratch_mkdir(scratch, "above/between/root", 0755);
        assert_int_equal(add(fixture, other, "above"), 0);
        assert_int_equal(add(fixture, root, "above/between/root"), 0);
        fd = scratch_open(scratch, "above/between/root");
        watch_set_add_above(&root->set, fd);
        close(fd);
        assert_int_equal(told(fixture, root), 0);

        scratch_write(scratch, "above/module.py", "x = 1");
        scratch_write(scratch, "above/between/module.py", "x = 1");
        assert_int_equal(chmod(scratch_path(scratch, "above"), 0700), 0);
        assert_int_equal(told(fixture, root), 0);
        assert_true(told(fixture, other) > 0); /* who has claimed it for its own sake loses nothing */

        assert_int_equal(rename(scratch_path(scratch, "above"), scratch_path(scratch, "moved")), 0);
        assert_int_equal(told(fixture, root), 1);
        assert_string_equal(root->directory, "");
        assert_string_equal(root->name, "");
        assert_int_equal(rename(scratch_path(scratch, "moved/between"), scratch_path(scratch, "away")), 0);
        assert_int_equal(told(fixture, root), 1);
}

static void what_no_import_looks_at_is_not_told(void **state) {
        Fixture *fixture = *state;
        int fd;

        scratch_write(&fixture->scratch, "module.py", "x = 1");
        assert_int_equal(add(fixture, &fixture->a, ""), 0);
        scratch_mkdir(&fixture->scratch, "__pycache__", 0755);
        scratch_write(&fixture->scratch, "README.txt", "");
        scratch_write(&fixture->scratch, ".module.py.swp", "");
        scratch_mkdir(&fixture->scratch, "thing-1.0.data", 0755);
        fd = open(scratch_path(&fixture->scratch, "module.py"), O_RDONLY);
        assert_int_equal(read(fd, &(char){ 0 }, 1), 1);
        close(fd);
        assert_int_equal(told(fixture, &fixture->a), 0);
}

static void what_is_written_matters_in_files_of_code_only(void **state) {
        Fixture *fixture = *state;

        scratch_write(&fixture->scratch, "LICENSE", "");
        scratch_write(&fixture->scratch, "log", "");
        assert_int_equal(add(fixture, &fixture->a, ""), 0);
        scratch_write(&fixture->scratch, "log", "a line");
        assert_int_equal(chmod(scratch_path(&fixture->scratch, "LICENSE"), 0600), 0);
        assert_int_equal(told(fixture, &fixture->a), 0);
        scratch_write(&fixture->scratch, "another", ""); /* it might have been a link to a package */
        assert_int_equal(told(fixture, &fixture->a), 1);
}

static void names_matter_when_a_finder_could_take_them(void **state) {
        (void)state;
        assert_true(watch_name_matters("", "module.py"));
        assert_true(watch_name_matters("", "module.pyc"));
        assert_true(watch_name_matters("", "module.cpython-311-x86_64-linux-gnu.so"));
        assert_true(watch_name_matters("", "module.abi3.so"));
        assert_true(watch_name_matters("", "package"));
        assert_false(watch_name_matters("", "__pycache__"));
        assert_false(watch_name_matters("", "module.py~"));
        assert_false(watch_name_matters("", "data.json"));
        assert_false(watch_name_matters("", "libx.so.1"));
        assert_false(watch_name_matters("", ".git"));
}

static void names_matter_when_they_are_a_distributions(void **state) {
        (void)state;
        assert_true(watch_name_matters("", "json-1.0.dist-info"));
        assert_true(watch_name_matters("", "Json.EGG-INFO"));
        assert_false(watch_name_matters("", "json-1.0.dist-info.txt"));
        assert_true(watch_name_matters("json-1.0.dist-info", "entry_points.txt"));
        assert_true(watch_name_matters("json-1.0.dist-info", "METADATA"));
        assert_false(watch_name_matters("json", "entry_points.txt"));
}

static void what_is_written_into_metadata_is_told(void **state) {
        Fixture *fixture = *state;

        scratch_mkdir(&fixture->scratch, "json-1.0.dist-info", 0755);
        scratch_write(&fixture->scratch, "json-1.0.dist-info/METADATA", "");
        scratch_write(&fixture->scratch, "old.egg-info", "");
        scratch_write(&fixture->scratch, "data.txt", "");
        assert_int_equal(add(fixture, &fixture->a, ""), 0);
        assert_int_equal(add(fixture, &fixture->b, "json-1.0.dist-info"), 0);
        scratch_write(&fixture->scratch, "json-1.0.dist-info/METADATA", "x");
        assert_true(told(fixture, &fixture->b) > 0);
        assert_int_equal(told(fixture, &fixture->a), 0);
        scratch_write(&fixture->scratch, "old.egg-info", "x");
        assert_true(told(fixture, &fixture->a) > 0);
        scratch_write(&fixture->scratch, "data.txt", "x");
        assert_int_equal(told(fixture, &fixture->a), 0);
        scratch_mkdir(&fixture->scratch, "thing-1.0.dist-info", 0755);
        assert_true(told(fixture, &fixture->a) > 0);
}

static void all_sets_of_a_directory_are_told_and_it_counts_once(void **state) {
        Fixture *fixture = *state;

        assert_int_equal(add(fixture, &fixture->a, ""), 0);
        assert_int_equal(add(fixture, &fixture->b, ""), 0);
        assert_int_equal(watch_count(fixture->watch), 1);
        scratch_write(&fixture->scratch, "module.py", "");
        assert_true(told(fixture, &fixture->a) > 0);
        assert_true(told(fixture, &fixture->b) > 0);
        watch_set_clear(&fixture->a.set);
        assert_int_equal(watch_count(fixture->watch), 1);
        scratch_write(&fixture->scratch, "module.py", "x");
        assert_int_equal(told(fixture, &fixture->a), 0);
        assert_true(told(fixture, &fixture->b) > 0);
        watch_set_clear(&fixture->b.set);
        assert_int_equal(watch_count(fixture->watch), 0);
        scratch_write(&fixture->scratch, "module.py", "xy");
        assert_int_equal(told(fixture, &fixture->b), 0);
}

static void claims_move_from_set_to_set(void **state) {
        Fixture *fixture = *state;

        scratch_mkdir(&fixture->scratch, "old", 0755);
        scratch_mkdir(&fixture->scratch, "new", 0755);
        assert_int_equal(add(fixture, &fixture->a, "old"), 0);
        assert_int_equal(add(fixture, &fixture->b, "new"), 0);
        watch_set_move(&fixture->a.set, &fixture->b.set);
        assert_int_equal(watch_count(fixture->watch), 1);
        scratch_write(&fixture->scratch, "old/module.py", "");
        assert_int_equal(told(fixture, &fixture->a), 0);
        scratch_write(&fixture->scratch, "new/module.py", "");
        assert_true(told(fixture, &fixture->a) > 0);
        assert_int_equal(told(fixture, &fixture->b), 0);
}

static void the_loop_drains_by_itself(void **state) {
        Fixture *fixture = *state;

        assert_int_equal(add(fixture, &fixture->a, ""), 0);
        scratch_write(&fixture->scratch, "module.py", "");
        turn_until(&fixture->loop, fixture->a.told);
}

static void a_limit_is_kept(void **state) {
        Fixture *fixture = *state;

        scratch_mkdir(&fixture->scratch, "one", 0755);
        scratch_mkdir(&fixture->scratch, "two", 0755);
        watch_set_limit(fixture->watch, 1);
        assert_int_equal(add(fixture, &fixture->a, "one"), 0);
        assert_int_equal(add(fixture, &fixture->a, "two"), WATCH_E_LIMIT);
        assert_int_equal(add(fixture, &fixture->b, "one"), 0); /* takes no more of the kernel */
        assert_int_equal(watch_count(fixture->watch), 1);
        scratch_write(&fixture->scratch, "two/module.py", "");
        assert_int_equal(told(fixture, &fixture->a), 0);
}

static void a_file_cannot_be_watched(void **state) {
        Fixture *fixture = *state;
        int fd = open(scratch_write(&fixture->scratch, "file", ""), O_RDONLY | O_CLOEXEC);

        assert_int_equal(watch_set_add(&fixture->a.set, fd, "", 0), -ENOTDIR);
        close(fd);
        assert_int_equal(watch_count(fixture->watch), 0);
}

static void a_deleted_directory_is_told_and_given_up(void **state) {
        Fixture *fixture = *state;

        assert_int_equal(rmdir(scratch_mkdir(&fixture->scratch, "gone", 0755)), 0);
        scratch_mkdir(&fixture->scratch, "gone", 0755);
        assert_int_equal(add(fixture, &fixture->a, "gone"), 0);
        assert_int_equal(add(fixture, &fixture->b, "gone"), 0);
        assert_int_equal(rmdir(scratch_path(&fixture->scratch, "gone")), 0);
        assert_true(told(fixture, &fixture->a) > 0);
        assert_true(fixture->a.mask & IN_DELETE_SELF);
        assert_true(told(fixture, &fixture->b) > 0);
        assert_int_equal(watch_count(fixture->watch), 0);
}

static void an_overflow_is_told_to_every_set(void **state) {
        Fixture *fixture = *state;
        const char *one = scratch_write(&fixture->scratch, "one.py", "");
        const char *two = scratch_write(&fixture->scratch, "two.py", "");
        unsigned queue = 0;
        FILE *file;

        file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
        if (!file || fscanf(file, "%u", &queue) != 1 || queue > 1u << 17)
                skip();
        fclose(file);
        scratch_mkdir(&fixture->scratch, "quiet", 0755);
        assert_int_equal(add(fixture, &fixture->a, ""), 0);
        assert_int_equal(add(fixture, &fixture->b, "quiet"), 0);
        for (unsigned i = 0; i <= queue; i++)
                assert_int_equal(chmod(i % 2 ? one : two, 0600 + i % 3), 0);
        watch_drain(fixture->watch);
        assert_true(fixture->a.mask & IN_Q_OVERFLOW);
        assert_int_equal(fixture->b.told, 1);
        assert_true(fixture->b.mask & IN_Q_OVERFLOW);
        assert_string_equal(fixture->b.directory, "(any)");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(every_kind_of_change_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(a_move_above_is_told_and_nothing_else_there, setup, teardown),
                cmocka_unit_test_setup_teardown(what_no_import_looks_at_is_not_told, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_written_matters_in_files_of_code_only, setup,
                                                teardown),
                cmocka_unit_test(names_matter_when_a_finder_could_take_them),
                cmocka_unit_test(names_matter_when_they_are_a_distributions),
                cmocka_unit_test_setup_teardown(what_is_written_into_metadata_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(all_sets_of_a_directory_are_told_and_it_counts_once, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(claims_move_from_set_to_set, setup, teardown),
                cmocka_unit_test_setup_teardown(the_loop_drains_by_itself, setup, teardown),
                cmocka_unit_test_setup_teardown(a_limit_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(a_file_cannot_be_watched, setup, teardown),
                cmocka_unit_test_setup_teardown(a_deleted_directory_is_told_and_given_up, setup, teardown),
                cmocka_unit_test_setup_teardown(an_overflow_is_told_to_every_set, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
