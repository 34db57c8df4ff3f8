/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_TRUST_H
#define SHIMPORT_TRUST_H

/*
 * May this file be executed as that user, though a stranger named it? Only if nobody but root and the user
 * could have put it there: the file and every directory on the way to it are owned by one of the two, and
 * writable by nobody else.
 */

#include <sys/types.h>

enum {
        _TRUST_E_0,
        TRUST_E_UNTRUSTED, /* *ret_reason says which part of the path and why */
        _TRUST_E_N
};

/**
 * trust_executable() - may the file be executed as the user?
 * @path:       absolute; symbolic links are followed
 * @uid:        who would execute it
 * @ret_path:   the path without symbolic links, to be executed in place of @path
 * @ret_reason: for a person, allocated, set with TRUST_E_UNTRUSTED only
 *
 * In a sticky directory of root's (/tmp) a name is safe if what it names is root's or the user's.
 *
 * Return: 0, TRUST_E_UNTRUSTED or -ENOMEM.
 */
int trust_executable(const char *path, uid_t uid, char **ret_path, char **ret_reason);

/* Likewise, and is it called as a Python interpreter is? What else root may have in its directories knows nothing of
 * the arguments that a builder is given. */
int trust_interpreter(const char *path, uid_t uid, char **ret_path, char **ret_reason);

#endif
