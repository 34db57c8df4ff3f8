/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_TESTS_FUZZ_DAEMON_H
#define SHIMPORT_TESTS_FUZZ_DAEMON_H

/*
 * A daemon for one input: all of its parts on a loop of their own, as a system instance has them, with two differences.
 * It has no socket, but peers that the target joins to it; and where it would connect to a builder service, the target
 * gets the other end. At the end everything is closed, and nothing may be left: neither handles nor descriptors.
 */

#include "daemon.h"
#include "fuzz.h"

#define FUZZ_BUILDERS 4

typedef struct FuzzDaemon {
        Daemon daemon;
        int builders[FUZZ_BUILDERS]; /* the ends of those who build, -1: none */
        unsigned connected;
        int first_fd; /* the lowest that was free */
} FuzzDaemon;

/* The directories that roots are of: one with modules, one empty. Made once, not writable by others. */
extern char fuzz_root[], fuzz_empty_root[];

/* Once in a process. */
void fuzz_daemon_prepare(void);

FuzzDaemon *fuzz_daemon_new(void);
void fuzz_daemon_free(FuzzDaemon *fuzz);

/* Turn the loop: what is ready is handled. */
void fuzz_daemon_turn(FuzzDaemon *fuzz);

/* Give an image in memory the identity of a directory, where it has room for a header. */
void fuzz_image_of(uint8_t *image, size_t size, const char *root);

/* A memory file with these bytes, sealed as an image is, or not at all. */
int fuzz_memfd(const void *data, size_t size, int seals);

#endif
