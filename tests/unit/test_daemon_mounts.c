/* SPDX-License-Identifier: MIT */

/* The table of mounts: what has been mounted or taken away is told by its path, once. */

#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>

#include "mounts.h"
#include "scratch.h"
#include "util.h"

typedef struct Fixture {
        Scratch scratch;
        Mounts *mounts;
        bool alone;
        unsigned told;
        char path[256];
} Fixture;

static void on_mount(void *userdata, const char *path) {
        Fixture *fixture = userdata;

        fixture->told++;
        snprintf(fixture->path, sizeof(fixture->path), "%s", path);
}

/* How much was told since the last time. */
static unsigned told(Fixture *fixture) {
        unsigned told;

        mounts_drain(fixture->mounts, on_mount, fixture);
        told = fixture->told;
        fixture->told = 0;
        return told;
}

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        /* in a namespace of our own, to which nothing comes and from which nothing goes */
        fixture->alone =
                unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
        scratch_new(&fixture->scratch);
        assert_int_equal(mounts_new(&fixture->mounts), 0);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        mounts_free(fixture->mounts);
        scratch_done(&fixture->scratch);
        free(fixture);
        return 0;
}

static void nothing_is_told_of_what_was_there(void **state) {
        assert_int_equal(told(*state), 0);
}

static void what_is_mounted_and_taken_away_is_told(void **state) {
        Fixture *fixture = *state;
        const char *odd = scratch_mkdir(&fixture->scratch, "with space\\and\ttab", 0755);
        const char *plain = scratch_mkdir(&fixture->scratch, "plain", 0755);

        if (!fixture->alone || mount("none", odd, "tmpfs", 0, NULL) < 0)
                skip(); /* only root may, and in a chroot "/" need not be a mount of its own */
        assert_int_equal(told(fixture), 1);
        assert_string_equal(fixture->path, odd);
        assert_int_equal(told(fixture), 0);
        assert_int_equal(mount(odd, plain, NULL, MS_BIND, NULL), 0);
        assert_int_equal(told(fixture), 1);
        assert_string_equal(fixture->path, plain);
        assert_int_equal(mount("none", plain, "tmpfs", 0, NULL), 0); /* over the other */
        assert_int_equal(told(fixture), 1);
        assert_int_equal(umount(plain), 0);
        assert_int_equal(umount(plain), 0);
        assert_int_equal(umount2(odd, MNT_DETACH), 0);
        assert_int_equal(told(fixture), 3);
        assert_int_equal(told(fixture), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(nothing_is_told_of_what_was_there, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_mounted_and_taken_away_is_told, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
