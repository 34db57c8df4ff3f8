/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LATENCY_H
#define SHIMPORT_LATENCY_H

/*
 * How long attaches take: a histogram of microseconds with eight steps to each power of two, so a quantile is
 * off by an eighth at most. It counts from the start of the daemon, and is a fixed 2 KiB.
 */

#include <stdint.h>

#define LATENCY_BUCKETS 256

typedef struct Latency {
        uint64_t count;
        uint64_t buckets[LATENCY_BUCKETS];
} Latency;

void latency_add(Latency *latency, uint64_t microseconds);

/* The value that `percent` of those added do not exceed, to the precision above; 0 when none was added. */
uint64_t latency_quantile(const Latency *latency, unsigned percent);

#endif
