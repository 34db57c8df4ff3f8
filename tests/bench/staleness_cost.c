/* SPDX-License-Identifier: MIT */

/*
 * What it costs to test for staleness at a lookup: the loads that a process makes of the state beside an image, on a
 * state as the daemon makes it. Prints nanoseconds, the least of several runs.
 *
 *      staleness_cost DIRECTORIES ENTRIES
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "staleness.h"

#define LOOKUPS (1u << 9)
#define ROUNDS 64
#define RUNS 999

static double now_ns(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* As root_current() and find_in_image() in client/ ask. */
static bool lookup_is_fresh(const Staleness *staleness, uint32_t directory, uint32_t entry) {
        return !staleness_is_superseded(staleness) && staleness_is_vouched(staleness) &&
               !staleness_directory(staleness, directory) && !staleness_entry(staleness, entry);
}

typedef struct Lookup {
        uint32_t directory, entry;
} Lookup;

static double measure(const Staleness *staleness, const Lookup *lookups) {
        uint32_t fresh = 0;
        double began = now_ns();

        for (uint32_t i = 0; i < ROUNDS; i++)
                for (uint32_t j = 0; j < LOOKUPS; j++)
                        fresh += lookup_is_fresh(staleness, lookups[j].directory, lookups[j].entry);
        if (fresh != LOOKUPS * ROUNDS)
                exit(EXIT_FAILURE);
        return (now_ns() - began) / LOOKUPS / ROUNDS;
}

int main(int argc, char **argv) {
        uint32_t directories = argc == 3 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
        uint32_t entries = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
        static Lookup lookups[LOOKUPS];
        Staleness made, seen;
        double best = 0;
        int fd;

        if (!directories || !entries) {
                fprintf(stderr, "usage: %s DIRECTORIES ENTRIES\n", argv[0]);
                return 2;
        }
        if (staleness_new(1, directories, entries, 0, &fd, &made) < 0 || staleness_vouch(&made) < 0 ||
            staleness_map(fd, 1, directories, entries, &seen) != 0)
                return EXIT_FAILURE;
        for (uint32_t i = 0; i < LOOKUPS; i++)
                lookups[i] = (Lookup){ (uint32_t)random() % directories, (uint32_t)random() % entries };
        for (unsigned i = 0; i < RUNS; i++) {
                double taken = measure(&seen, lookups);

                if (!i || taken < best)
                        best = taken;
        }
        printf("%.2f\n", best);
        staleness_disown(&made);
        staleness_done(&seen);
        staleness_done(&made);
        return 0;
}
