/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "latency.h"

#define STEP_BITS 3
#define STEPS (1u << STEP_BITS)

/* 0 to 7 are themselves; above, the exponent and the three bits below the leading one. */
static unsigned bucket_of(uint64_t value) {
        unsigned exponent, bucket;

        if (value < STEPS)
                return (unsigned)value;
        exponent = 63 - (unsigned)__builtin_clzll(value);
        bucket = (exponent - STEP_BITS + 1) * STEPS +
                 ((unsigned)(value >> (exponent - STEP_BITS)) & (STEPS - 1));
        return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_top(unsigned bucket) {
        unsigned exponent;

        if (bucket < STEPS)
                return bucket;
        exponent = bucket / STEPS - 1;
        return ((uint64_t)(STEPS + bucket % STEPS + 1) << exponent) - 1;
}

void latency_add(Latency *latency, uint64_t microseconds, uint64_t second) {
        if (second - latency->second >= LATENCY_SECONDS) {
                memset(latency->seconds, 0, sizeof(latency->seconds));
                latency->second = second;
        }
        while (latency->second < second)
                latency->seconds[++latency->second % LATENCY_SECONDS] = 0;
        latency->seconds[second % LATENCY_SECONDS]++;
        latency->count++;
        latency->sum += microseconds;
        latency->buckets[bucket_of(microseconds)]++;
}

uint64_t latency_recent(const Latency *latency, uint64_t second) {
        uint64_t recent = 0;

        for (uint64_t ago = second - latency->second; ago < LATENCY_SECONDS && ago <= second; ago++)
                recent += latency->seconds[(second - ago) % LATENCY_SECONDS];
        return recent;
}

uint64_t latency_quantile(const Latency *latency, unsigned percent) {
        uint64_t wanted = (latency->count * percent + 99) / 100;
        uint64_t seen = 0;

        if (!latency->count)
                return 0;
        for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
                seen += latency->buckets[i];
                if (seen >= wanted && seen)
                        return bucket_top(i);
        }
        return bucket_top(LATENCY_BUCKETS - 1);
}
