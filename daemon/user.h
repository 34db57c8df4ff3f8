/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_USER_H
#define SHIMPORT_USER_H

/*
 * What one user takes of the daemon: whatever is limited for each user is counted here. A record lives as long
 * as somebody of that user is connected.
 */

#include <stddef.h>
#include <sys/types.h>

typedef struct User {
        uid_t uid;
        size_t peers;
} User;

typedef struct Users {
        void *tree; /* tsearch(3) tree of User */
} Users;

enum {
        _USER_E_0,
        USER_E_PEERS, /* has as many connections as it may */
        _USER_E_N
};

/* One more connection. Return: 0, USER_E_PEERS or -ENOMEM. */
int users_connect(Users *users, uid_t uid, size_t peers_max, User **ret_user);

/* One connection less; the record may go. NULL is nobody. Return: NULL. */
User *users_disconnect(Users *users, User *user);

#endif
