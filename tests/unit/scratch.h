/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_TESTS_SCRATCH_H
#define SHIMPORT_TESTS_SCRATCH_H

/* A directory of a test's own, and what the tests of the daemon's parts do in it. */

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

typedef struct Scratch {
        char path[64];
} Scratch;

static inline void scratch_new(Scratch *scratch) {
        strcpy(scratch->path, "/tmp/shimport-unit-XXXXXX");
        assert_non_null(mkdtemp(scratch->path));
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
        (void)st;
        (void)type;
        (void)at;
        return remove(path);
}

static inline void scratch_done(Scratch *scratch) {
        nftw(scratch->path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path in it, in one of a few static buffers that take turns. */
static inline const char *scratch_path(const Scratch *scratch, const char *name) {
        static char buffers[8][256];
        static unsigned turn;
        char *buffer = buffers[turn++ % 8];

        snprintf(buffer, sizeof(buffers[0]), "%s%s%s", scratch->path, *name ? "/" : "", name);
        return buffer;
}

static inline const char *scratch_write_bytes(const Scratch *scratch, const char *name, const void *data,
                                              size_t size) {
        const char *path = scratch_path(scratch, name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        close(fd);
        return path;
}

static inline const char *scratch_write(const Scratch *scratch, const char *name, const char *text) {
        return scratch_write_bytes(scratch, name, text, strlen(text));
}

static inline const char *scratch_mkdir(const Scratch *scratch, const char *name, mode_t mode) {
        const char *path = scratch_path(scratch, name);

        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(chmod(path, mode), 0);
        return path;
}

static inline int scratch_open(const Scratch *scratch, const char *name) {
        int fd = open(scratch_path(scratch, name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

/* Turn the loop until the condition holds; fail after turns of ten seconds. They are counted, since a machine that
 * stands still for a while lets no time pass for what is waited for. */
#define TURN_US 500
#define TURNS_MAX (10 * 1000 * 1000 / TURN_US)

#define turn_until(loop, condition)                       \
        do {                                              \
                unsigned turns = 0;                       \
                while (!(condition)) {                    \
                        assert_true(turns++ < TURNS_MAX); \
                        uv_run(loop, UV_RUN_NOWAIT);      \
                        usleep(TURN_US);                  \
                }                                         \
        } while (0)

/* What has been closed goes, and nothing else is left. */
static inline void loop_ends_empty(uv_loop_t *loop) {
        uv_run(loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(loop), 0);
}

#endif
