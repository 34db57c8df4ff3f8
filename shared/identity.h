/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_IDENTITY_H
#define SHIMPORT_IDENTITY_H

/*
 * Whom a number of a user means. In a user namespace every user who has no number there is told by the same one, 65534
 * (/proc/sys/kernel/overflowuid, see user_namespaces(7)): files and sockets of strangers, and of the host's root, look
 * as if they were all of one user, who may have the same number as we. Such a number proves nothing.
 */

#include <stdbool.h>
#include <sys/types.h>

#define IDENTITY_OVERFLOW 65534u

/* Does the number mean one user, and no other? */
bool identity_is_known(uid_t uid);

/* Is it the user that this process acts for? */
bool identity_is_own(uid_t uid);

#endif
