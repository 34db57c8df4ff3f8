/* SPDX-License-Identifier: MIT */

#include "allowance.h"

static uint64_t refilled(uint64_t left, uint64_t elapsed_ms, uint64_t per_s, uint64_t most) {
        uint64_t room = most * 1000 - left;

        return elapsed_ms > room / per_s ? most * 1000 : left + elapsed_ms * per_s;
}

static void allowance_refill(Allowance *allowance, uint64_t now_ms) {
        uint64_t elapsed = now_ms > allowance->at ? now_ms - allowance->at : 0;

        allowance->count = refilled(allowance->count, elapsed, ALLOWANCE_COUNT_PER_S, ALLOWANCE_COUNT);
        allowance->bytes = refilled(allowance->bytes, elapsed, ALLOWANCE_BYTES_PER_S, ALLOWANCE_BYTES);
        allowance->at = now_ms;
}

static Allowance *allowance_of(Allowances *allowances, uid_t uid, uint64_t now_ms) {
        Allowance *place = &allowances->users[0];

        for (size_t i = 0; i < ALLOWANCE_USERS; i++) {
                Allowance *user = &allowances->users[i];

                if (user->taken && user->uid == uid) {
                        allowance_refill(user, now_ms);
                        return user;
                }
                if (user->taken)
                        allowance_refill(user, now_ms);
                if (place->taken && (!user->taken || user->count > place->count))
                        place = user;
        }
        *place = (Allowance){
                .taken = true,
                .uid = uid,
                .at = now_ms,
                .count = ALLOWANCE_COUNT * 1000ull,
                .bytes = ALLOWANCE_BYTES * 1000ull,
        };
        return place;
}

bool allowance_take(Allowances *allowances, uid_t uid, size_t bytes, uint64_t now_ms) {
        Allowance *user = allowance_of(allowances, uid, now_ms);

        if (user->count < 1000 || user->bytes / 1000 < bytes)
                return false;
        user->count -= 1000;
        user->bytes -= bytes * 1000ull;
        return true;
}
