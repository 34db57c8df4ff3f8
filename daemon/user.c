/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <search.h>

#include "user.h"
#include "util.h"

static int user_compare(const void *a, const void *b) {
        uid_t left = ((const User *)a)->uid, right = ((const User *)b)->uid;

        return left < right ? -1 : left > right;
}

static int users_get(Users *users, uid_t uid, User **ret_user) {
        _cleanup_free_ User *user = NULL;
        User key = { .uid = uid };
        User **found;

        found = tfind(&key, &users->tree, user_compare);
        if (!found) {
                user = calloc(1, sizeof(*user));
                if (!user)
                        return -ENOMEM;
                user->uid = uid;
                found = tsearch(user, &users->tree, user_compare);
                if (!found)
                        return -ENOMEM;
                steal_pointer(&user);
        }
        *ret_user = *found;
        return 0;
}

int users_connect(Users *users, uid_t uid, size_t peers_max, User **ret_user) {
        User *user;
        int r;

        r = users_get(users, uid, &user);
        if (r < 0)
                return r;
        if (user->peers >= peers_max)
                return USER_E_PEERS;
        user->peers++;
        *ret_user = user;
        return 0;
}

User *users_disconnect(Users *users, User *user) {
        if (user && --user->peers == 0) {
                tdelete(user, &users->tree, user_compare);
                free(user);
        }
        return NULL;
}
