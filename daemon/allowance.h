/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ALLOWANCE_H
#define SHIMPORT_ALLOWANCE_H

/*
 * How much of something that costs work a user may still ask for: a stock that is used up and comes back with time. It
 * outlives the user's connections. Of more users than there are places the one is forgotten whose stock is the fullest.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ALLOWANCE_USERS 64

typedef struct Allowance {
        bool taken;
        uid_t uid;
        uint64_t at;           /* when it was looked at last, milliseconds */
        uint64_t count, bytes; /* what is left, in thousandths */
} Allowance;

typedef struct Allowances {
        Allowance users[ALLOWANCE_USERS];
} Allowances;

/* New regular expressions of one user, each reported twice: at once many times what importing a whole standard library
 * takes, and then ten each second. */
#define ALLOWANCE_COUNT 16384u
#define ALLOWANCE_BYTES (2048u * 1024)
#define ALLOWANCE_COUNT_PER_S 10u
#define ALLOWANCE_BYTES_PER_S 1024u

/* May one more of that size be taken? If so, it is. */
bool allowance_take(Allowances *allowances, uid_t uid, size_t bytes, uint64_t now_ms);

#endif
