/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LATENCY_H
#define SHIMPORT_LATENCY_H

/*
 * How long attaches take: a histogram of microseconds with eight steps to each power of two, so a quantile is
 * off by an eighth at most. It counts from the start of the daemon, and is a fixed 2 KiB. How many there were in the
 * last minute is counted by the second.
 */

#include <stdint.h>

#define LATENCY_BUCKETS 256
#define LATENCY_SECONDS 60

typedef struct Latency {
        uint64_t count;
        uint64_t sum; /* microseconds */
        uint64_t buckets[LATENCY_BUCKETS];
        uint64_t second; /* the last one in which any was added */
        uint32_t seconds[LATENCY_SECONDS];
} Latency;

/* `second` is of a clock that does not go back. */
void latency_add(Latency *latency, uint64_t microseconds, uint64_t second);

/* How many were added in this second and the LATENCY_SECONDS - 1 before it. */
uint64_t latency_recent(const Latency *latency, uint64_t second);

/* The value that `percent` of those added do not exceed, to the precision above; 0 when none was added. */
uint64_t latency_quantile(const Latency *latency, unsigned percent);

#endif
