/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_USER_H
#define SHIMPORT_USER_H

/*
 * What one user takes of the daemon: whatever is limited for each user is counted here. A record is held by each
 * connection, root, image and build of that user, and is kept for a moment after the last of them, so that nobody
 * gets a fresh allowance by hanging up.
 *
 * Root and the user who runs the daemon are limited by what there is in all, and by no limit of a user's: they could
 * change those.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "list.h"

typedef struct User {
        uid_t uid;
        size_t refs;
        List link; /* in Users.list, those let go last at the end */

        /* peer.c */
        size_t peers;
        List ready, turn; /* its connections that have something to say; its place in the round */
        size_t n_ready;
        uint64_t allowance;    /* requests, in billionths */
        uint64_t allowance_at; /* nanoseconds */

        /* store.c */
        size_t roots;
        uint64_t memory; /* bytes of images, those that linger included */

        /* queue.c */
        size_t building, waiting;
        List tickets, queue_turn;
} User;

typedef struct Users {
        void *tree; /* tsearch(3) tree of User */
        List list;
        size_t n;
} Users;

void users_init(Users *users);

/* Nobody may hold any. */
void users_done(Users *users);

/* The record of a user, to be held until users_put(). Return: 0 or -ENOMEM. */
int users_get(Users *users, uid_t uid, User **ret_user);
User *user_hold(User *user);

/* NULL is nobody. Return: NULL. */
User *users_put(Users *users, User *user);

/* Do the limits of a user apply? */
bool user_is_limited(const User *user);

/**
 * user_may() - may it ask for something, when it may so often a second?
 * @now:        nanoseconds
 *
 * What it does not use is saved up for one second.
 */
bool user_may(User *user, uint64_t now, uint64_t per_second);

/* It has asked. */
void user_spend(User *user);

#endif
