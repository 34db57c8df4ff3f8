/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_REFUSAL_H
#define SHIMPORT_REFUSAL_H

/*
 * Who was refused or dropped, and why: for the status, when the log has long gone on. The same reason of the same
 * user is one record with a count. There are few records, and no user has more than its part of them: the
 * oldest gives way.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define REFUSALS_MAX 32
#define REFUSALS_PER_USER 8
#define REFUSAL_REASON_MAX 160

typedef struct Refusal {
        uid_t uid;
        pid_t pid;      /* the last one's */
        uint64_t count; /* 0: no record */
        uint64_t last;  /* seconds since the epoch */
        uint64_t order; /* the higher the later */
        char reason[REFUSAL_REASON_MAX];
} Refusal;

/* Zero is an empty one. */
typedef struct Refusals {
        Refusal list[REFUSALS_MAX];
        uint64_t total;
} Refusals;

void refusals_add(Refusals *refusals, uid_t uid, pid_t pid, const char *reason);

#endif
