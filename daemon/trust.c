/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trust.h"
#include "util.h"

#define WRITABLE_BY_OTHERS (S_IWGRP | S_IWOTH)

/* Return: TRUST_E_UNTRUSTED or -ENOMEM. */
static int untrusted(const char *path, const char *why, char **ret_reason) {
        char *reason;

        if (asprintf(&reason, "%s %s", path, why) < 0)
                return -ENOMEM;
        *ret_reason = reason;
        return TRUST_E_UNTRUSTED;
}

static const char *part_distrust(const struct stat *st, uid_t uid, bool last) {
        if (st->st_uid != 0 && st->st_uid != uid)
                return "belongs to another user";
        if (!last && !S_ISDIR(st->st_mode))
                return "is not a directory";
        if (last && !S_ISREG(st->st_mode))
                return "is not a regular file";
        if (last && !(st->st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
                return "is not executable";
        if (!(st->st_mode & WRITABLE_BY_OTHERS))
                return NULL;
        if (!last && (st->st_mode & S_ISVTX) && st->st_uid == 0)
                return NULL; /* what the next name stands for is looked at anyway */
        return "is writable by others than its owner";
}

int trust_executable(const char *path, uid_t uid, char **ret_path, char **ret_reason) {
        _cleanup_free_ char *real = NULL;
        const char *why;
        struct stat st;

        if (*path != '/')
                return untrusted(path, "is not an absolute path", ret_reason);
        real = realpath(path, NULL);
        if (!real)
                return errno == ENOMEM ? -ENOMEM : untrusted(path, strerror(errno), ret_reason);

        /* "/", then "/usr", "/usr/bin", and the file: each cut short in place for its lstat. */
        for (char *slash = real; slash; slash = strchr(slash + 1, '/')) {
                char *end = slash == real ? real + 1 : slash;
                char kept = *end;

                *end = '\0';
                why = lstat(real, &st) < 0 ? strerror(errno) : part_distrust(&st, uid, false);
                if (why)
                        return untrusted(real, why, ret_reason);
                *end = kept;
        }
        why = lstat(real, &st) < 0 ? strerror(errno) : part_distrust(&st, uid, true);
        if (why)
                return untrusted(real, why, ret_reason);
        *ret_path = steal_pointer(&real);
        return 0;
}

int trust_interpreter(const char *path, uid_t uid, char **ret_path, char **ret_reason) {
        _cleanup_free_ char *real = NULL;
        int r;

        r = trust_executable(path, uid, &real, ret_reason);
        if (r)
                return r;
        if (strncmp(strrchr(real, '/'), "/python", strlen("/python")) != 0)
                return untrusted(real, "is not called python", ret_reason);
        *ret_path = steal_pointer(&real);
        return 0;
}
