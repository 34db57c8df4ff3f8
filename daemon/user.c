/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <search.h>
#include <unistd.h>

#include "identity.h"
#include "user.h"
#include "util.h"

#define SECOND UINT64_C(1000000000)

/* So many records are kept that nobody holds. */
#define IDLE_MAX 64

static int user_compare(const void *a, const void *b) {
        uid_t left = ((const User *)a)->uid, right = ((const User *)b)->uid;

        return left < right ? -1 : left > right;
}

static void user_free(Users *users, User *user) {
        tdelete(user, &users->tree, user_compare);
        list_unlink(&user->link);
        users->n--;
        free(user);
}

void users_init(Users *users) {
        *users = (Users){ 0 };
        list_init(&users->list);
}

void users_done(Users *users) {
        list_for_each(link, &users->list) {
                user_free(users, list_entry(link, User, link));
        }
}

static int users_add(Users *users, uid_t uid, User **ret_user) {
        _cleanup_free_ User *user = calloc(1, sizeof(*user));

        if (!user)
                return -ENOMEM;
        user->uid = uid;
        list_init(&user->link);
        list_init(&user->ready);
        list_init(&user->turn);
        list_init(&user->tickets);
        list_init(&user->queue_turn);
        if (!tsearch(user, &users->tree, user_compare))
                return -ENOMEM;
        list_append(&users->list, &user->link);
        users->n++;
        *ret_user = steal_pointer(&user);
        return 0;
}

int users_get(Users *users, uid_t uid, User **ret_user) {
        User key = { .uid = uid };
        User **found = tfind(&key, &users->tree, user_compare);
        User *user = found ? *found : NULL;
        int r;

        if (!user) {
                r = users_add(users, uid, &user);
                if (r < 0)
                        return r;
        }
        *ret_user = user_hold(user);
        return 0;
}

User *user_hold(User *user) {
        user->refs++;
        return user;
}

/* Of the records that nobody holds the one that was let go first goes. */
static void users_forget(Users *users) {
        User *oldest = NULL;
        size_t n = 0;

        list_for_each(link, &users->list) {
                User *user = list_entry(link, User, link);

                if (user->refs)
                        continue;
                oldest = oldest ?: user;
                n++;
        }
        if (n > IDLE_MAX)
                user_free(users, oldest);
}

User *users_put(Users *users, User *user) {
        if (!user || --user->refs)
                return NULL;
        list_unlink(&user->link);
        list_append(&users->list, &user->link);
        if (users->n > IDLE_MAX)
                users_forget(users);
        return NULL;
}

bool user_is_limited(const User *user) {
        return user->uid != 0 && !identity_is_own(user->uid);
}

bool user_may(User *user, uint64_t now, uint64_t per_second) {
        uint64_t passed = now - user->allowance_at;
        uint64_t most = per_second * SECOND;

        user->allowance_at = now;
        if (passed >= SECOND || user->allowance + passed * per_second > most)
                user->allowance = most;
        else
                user->allowance += passed * per_second;
        return user->allowance >= SECOND;
}

void user_spend(User *user) {
        user->allowance -= user->allowance < SECOND ? user->allowance : SECOND;
}
