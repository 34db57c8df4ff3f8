/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mounts.h"
#include "util.h"

#define TABLE "/proc/self/mountinfo"
#define TABLE_STEP (64u * 1024)
#define TABLE_SIZE_MAX (64u << 20)

/* "36 35 98:0 /inner/path /mount/point ...": what is before the point's end tells mounts apart. */
#define FIELDS_BEFORE_POINT 4
#define FIELDS 5

typedef struct Table {
        char *text; /* its lines are cut off after the point */
        char **lines;
        size_t n;
} Table;

/* A poll is told of each change once, and there are two who poll: we, and the loop. */
struct Mounts {
        int fd, wake_fd;
        Table table;
};

static void table_done(Table *table) {
        free(table->text);
        free(table->lines);
        *table = (Table){ 0 };
}

static int line_compare(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Past so many fields, or where the text ends. */
static char *fields_skip(char *at, unsigned n) {
        for (; n > 0; n--) {
                at += strcspn(at, " \n");
                if (n > 1 && *at == ' ')
                        at++;
        }
        return at;
}

/* Return: a NUL-terminated text, or NULL. */
static char *table_read(int fd) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        ssize_t more;

        do {
                char *larger = size > TABLE_SIZE_MAX ? NULL : realloc(text, size + TABLE_STEP + 1);

                if (!larger)
                        return NULL;
                text = larger;
                more = pread(fd, text + size, TABLE_STEP, (off_t)size);
                if (more < 0)
                        return NULL;
                size += (size_t)more;
        } while (more > 0);
        text[size] = '\0';
        return steal_pointer(&text);
}

/* Return: 0 or a negative errno. */
static int table_load(int fd, Table *ret_table) {
        _cleanup_free_ char *text = table_read(fd);
        _cleanup_free_ char **lines = NULL;
        size_t room = 0, n = 0;

        if (!text)
                return -ENOMEM;
        for (const char *at = text; (at = strchr(at, '\n')); at++)
                room++;
        lines = calloc(room + 1, sizeof(*lines));
        if (!lines)
                return -ENOMEM;
        for (char *at = text; *at && n < room;) {
                char *next = at + strcspn(at, "\n"), *end = fields_skip(at, FIELDS);

                lines[n++] = at;
                at = *next ? next + 1 : next;
                *end = '\0';
        }
        qsort(lines, n, sizeof(*lines), line_compare);
        *ret_table = (Table){ .text = steal_pointer(&text), .lines = steal_pointer(&lines), .n = n };
        return 0;
}

/* Undo the kernel's "\040" for a space and the like, in place. */
static char *point_of(char *line) {
        char *point = fields_skip(line, FIELDS_BEFORE_POINT), *to;

        point += *point == ' ';
        to = point;
        for (const char *from = point; *from; to++) {
                if (*from == '\\' && strspn(from + 1, "01234567") >= 3) {
                        *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
                        from += 4;
                } else {
                        *to = *from++;
                }
        }
        *to = '\0';
        return point;
}

static int table_open(void) {
        return syscalls_openat(AT_FDCWD, TABLE, O_RDONLY | O_CLOEXEC);
}

int mounts_new(Mounts **ret_mounts) {
        Mounts *mounts = calloc(1, sizeof(*mounts));
        int r;

        if (!mounts)
                return -ENOMEM;
        mounts->fd = table_open();
        mounts->wake_fd = table_open();
        r = mounts->fd < 0 ? mounts->fd : mounts->wake_fd;
        if (r >= 0)
                r = table_load(mounts->fd, &mounts->table);
        if (r < 0) {
                mounts_free(mounts);
                return r;
        }
        *ret_mounts = mounts;
        return 0;
}

Mounts *mounts_free(Mounts *mounts) {
        if (mounts) {
                fd_close(mounts->fd);
                fd_close(mounts->wake_fd);
                table_done(&mounts->table);
                free(mounts);
        }
        return NULL;
}

int mounts_wake_fd(const Mounts *mounts) {
        return mounts->wake_fd;
}

/* A table that cannot be told from the last one is as if everything had been mounted anew. */
static void tell_all(MountsHandler handler, void *userdata) {
        handler(userdata, "/");
}

static void tell(MountsHandler handler, void *userdata, const char *line) {
        _cleanup_free_ char *copy = strdup(line);

        if (copy)
                handler(userdata, point_of(copy));
        else
                tell_all(handler, userdata);
}

void mounts_drain(Mounts *mounts, MountsHandler handler, void *userdata) {
        _cleanup_(table_done) Table old = { 0 };
        Table new;
        size_t i = 0, j = 0;

        if (syscalls_poll(mounts->fd, POLLPRI, 0) <= 0)
                return;
        if (table_load(mounts->fd, &new) < 0) {
                tell_all(handler, userdata);
                return;
        }
        old = mounts->table;
        mounts->table = new;
        while (i < old.n || j < new.n) {
                int order = i == old.n ? 1 : j == new.n ? -1 : strcmp(old.lines[i], new.lines[j]);

                if (order)
                        tell(handler, userdata, order < 0 ? old.lines[i] : new.lines[j]);
                i += order <= 0;
                j += order >= 0;
        }
}
