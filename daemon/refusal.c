/* SPDX-License-Identifier: MIT */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "refusal.h"

static bool goes_before(const Refusal *one, const Refusal *other) {
        return !other || one->order < other->order;
}

/* The record to write to: the one of this reason, a free one, or the oldest that may go. */
static Refusal *refusals_slot(Refusals *refusals, uid_t uid, const char *reason) {
        Refusal *oldest = NULL, *own = NULL, *unused = NULL;
        size_t n_own = 0;

        for (size_t i = 0; i < REFUSALS_MAX; i++) {
                Refusal *refusal = &refusals->list[i];

                if (!refusal->count) {
                        unused = refusal;
                        continue;
                }
                if (goes_before(refusal, oldest))
                        oldest = refusal;
                if (refusal->uid != uid)
                        continue;
                if (strncmp(refusal->reason, reason, REFUSAL_REASON_MAX - 1) == 0)
                        return refusal;
                n_own++;
                if (goes_before(refusal, own))
                        own = refusal;
        }
        if (n_own >= REFUSALS_PER_USER)
                return own;
        return unused ? unused : oldest;
}

void refusals_add(Refusals *refusals, uid_t uid, pid_t pid, const char *reason) {
        Refusal *refusal = refusals_slot(refusals, uid, reason);

        if (!refusal->count || refusal->uid != uid ||
            strncmp(refusal->reason, reason, REFUSAL_REASON_MAX - 1) != 0) {
                *refusal = (Refusal){ .uid = uid };
                snprintf(refusal->reason, sizeof(refusal->reason), "%s", reason);
        }
        refusal->pid = pid;
        refusal->count++;
        refusal->last = (uint64_t)time(NULL);
        refusal->order = ++refusals->total;
}
