/* SPDX-License-Identifier: MIT */

/* Who could have put an executable where it is decides whether it is trusted. */

#include "scratch.h"
#include "trust.h"
#include "util.h"

#define SOMEBODY 65533
#define ANOTHER 65532

static int setup(void **state) {
        Scratch *scratch = calloc(1, sizeof(*scratch));

        scratch_new(scratch);
        scratch_mkdir(scratch, "bin", 0755);
        assert_int_equal(chmod(scratch_write(scratch, "bin/python", "#!"), 0755), 0);
        *state = scratch;
        return 0;
}

static int teardown(void **state) {
        scratch_done(*state);
        free(*state);
        return 0;
}

static void is_trusted(const char *path, uid_t uid, const char *expected) {
        _cleanup_free_ char *real = NULL, *reason = NULL;

        assert_int_equal(trust_executable(path, uid, &real, &reason), 0);
        assert_string_equal(real, expected);
}

static void is_not_trusted(const char *path, uid_t uid, const char *expected) {
        _cleanup_free_ char *real = NULL, *reason = NULL;

        assert_int_equal(trust_executable(path, uid, &real, &reason), TRUST_E_UNTRUSTED);
        assert_null(real);
        assert_string_equal(reason, expected);
}

static void ones_own_is_trusted(void **state) {
        const char *python = scratch_path(*state, "bin/python");

        is_trusted(python, geteuid(), python);
}

static void roots_is_trusted_by_everybody(void **state) {
        _cleanup_free_ char *real = realpath("/bin/sh", NULL);

        (void)state;
        is_trusted("/bin/sh", 0, real);
        is_trusted("/bin/sh", SOMEBODY, real);
}

static void a_link_is_followed_to_its_target(void **state) {
        const char *link = scratch_path(*state, "link");

        assert_int_equal(symlink("bin/python", link), 0);
        is_trusted(link, geteuid(), scratch_path(*state, "bin/python"));
}

static void what_others_may_write_is_not_trusted(void **state) {
        const char *python = scratch_path(*state, "bin/python"), *bin = scratch_path(*state, "bin");
        char reason[256];

        snprintf(reason, sizeof(reason), "%s is writable by others than its owner", python);
        assert_int_equal(chmod(python, 0775), 0);
        is_not_trusted(python, geteuid(), reason);
        assert_int_equal(chmod(python, 0757), 0);
        is_not_trusted(python, geteuid(), reason);
        assert_int_equal(chmod(python, 0755), 0);
        assert_int_equal(chmod(bin, 0775), 0);
        snprintf(reason, sizeof(reason), "%s is writable by others than its owner", bin);
        is_not_trusted(python, geteuid(), reason);
}

static void another_users_is_not_trusted(void **state) {
        const char *python = scratch_path(*state, "bin/python");
        char reason[256];

        if (geteuid() != 0)
                skip();
        assert_int_equal(chown(python, SOMEBODY, SOMEBODY), 0);
        is_trusted(python, SOMEBODY, python);
        snprintf(reason, sizeof(reason), "%s belongs to another user", python);
        is_not_trusted(python, ANOTHER, reason);
        is_not_trusted(python, 0, reason);
}

static void in_a_sticky_directory_of_roots_the_owner_of_the_name_counts(void **state) {
        const char *bin = scratch_path(*state, "bin"), *python = scratch_path(*state, "bin/python");
        char reason[256];

        if (geteuid() != 0)
                skip();
        assert_int_equal(chmod(bin, 01777), 0);
        is_trusted(python, 0, python);
        assert_int_equal(chown(bin, SOMEBODY, SOMEBODY), 0); /* who may rename what is in it */
        snprintf(reason, sizeof(reason), "%s belongs to another user", bin);
        is_not_trusted(python, 0, reason);
        snprintf(reason, sizeof(reason), "%s is writable by others than its owner", bin);
        is_not_trusted(python, SOMEBODY, reason);
}

static void what_cannot_be_executed_is_not_trusted(void **state) {
        const char *python = scratch_path(*state, "bin/python"), *bin = scratch_path(*state, "bin");
        char reason[256];

        is_not_trusted("python3", geteuid(), "python3 is not an absolute path");
        snprintf(reason, sizeof(reason), "%s/missing No such file or directory", bin);
        is_not_trusted(scratch_path(*state, "bin/missing"), geteuid(), reason);
        snprintf(reason, sizeof(reason), "%s is not a regular file", bin);
        is_not_trusted(bin, geteuid(), reason);
        assert_int_equal(chmod(python, 0644), 0);
        snprintf(reason, sizeof(reason), "%s is not executable", python);
        is_not_trusted(python, geteuid(), reason);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(ones_own_is_trusted, setup, teardown),
                cmocka_unit_test_setup_teardown(roots_is_trusted_by_everybody, setup, teardown),
                cmocka_unit_test_setup_teardown(a_link_is_followed_to_its_target, setup, teardown),
                cmocka_unit_test_setup_teardown(what_others_may_write_is_not_trusted, setup, teardown),
                cmocka_unit_test_setup_teardown(another_users_is_not_trusted, setup, teardown),
                cmocka_unit_test_setup_teardown(in_a_sticky_directory_of_roots_the_owner_of_the_name_counts,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(what_cannot_be_executed_is_not_trusted, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
