/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ATTACH_H
#define SHIMPORT_ATTACH_H

/*
 * The one request a process makes: here are my roots, hand me images. Plain C that touches no Python object, so
 * that it runs without the GIL.
 *
 * What the daemon hands over is believed only as far as it proves itself: sealed, whole, of the root and the tag
 * asked for, and made by somebody whom the process trusts anyway when it imports from that root (root, its own
 * user, the root directory's owner). The state beside an image is the daemon's own: at worst it hides a change. All of it has a budget of time; whatever goes wrong, the answer is
 * "stock".
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "endpoint.h"
#include "image.h"
#include "packet.h"
#include "staleness.h"
#include "wanted.h"

/* How long a process waits for the daemon, in all; $SHIMPORT_BUDGET_MS overrides it. */
#define ATTACH_BUDGET_MS 50

typedef struct AttachRoot {
        const char *path; /* borrowed */
        int fd;           /* owned: O_RDONLY|O_DIRECTORY, or -1 */
        dev_t dev;
        ino_t ino;
        uid_t owner;

        /* Answered. */
        int daemon; /* by which, a number of endpoint_list(); -1: by none */
        int state;  /* Shimport__RootState */
        uint64_t generation;
        char reason[160];

        bool everywhere; /* see mapping.h */

        /* Mapped, and the caller's then: base and header are NULL unless they were handed over and accepted. */
        Image image;
        Staleness staleness;
} AttachRoot;

typedef struct AttachRequest {
        const char *tag;
        size_t tag_length;
        const char *executable;
        const char *options;
        bool late;
        unsigned budget_ms;
        const bool *deaf; /* of each of endpoint_list(): it failed once, and is not asked */
} AttachRequest;

/* Opens the directory. Return: 0, or a negative errno: -ENOTDIR, -ENOENT, ... */
int attach_root_open(AttachRoot *root, const char *path);

/* Closes the directory; the mapping stays. */
void attach_root_close(AttachRoot *root);

/* Whom there was to ask, and what came of it. */
typedef struct AttachDaemon {
        Endpoint endpoints[ENDPOINTS_MAX];
        int results
                [ENDPOINTS_MAX]; /* of each: 0 if it answered, a negative errno, or 1 if it was not asked */
        int gc;                  /* Shimport__GcPolicy: what it would have processes do */
        bool no_patterns;        /* likewise: compile all regular expressions themselves */
        bool no_snippets;        /* and whatever they give to exec(), eval() and compile() */
        char refusal[160];       /* why it would not, or "" */
} AttachDaemon;

/**
 * attach_run() - ask the daemons for the images of some roots
 * @roots:      opened; each gets its answer. At most PACKET_ROOTS_MAX.
 *
 * Where there are two, the user's own instance is asked for what the user owns, and the system's for all else, which it
 * shares with everybody; and each for what the other is not there for, or does not serve.
 *
 * Return: 0; a negative errno if no daemon answered: -ENOENT or -ECONNREFUSED (none there), -EPERM (not one to
 * trust), -EBUSY (it refuses, and says why), -ETIMEDOUT or -EAGAIN (too slow), -EPROTO (not what it should be).
 */
int attach_run(const AttachRequest *request, AttachRoot *roots, size_t n_roots, AttachDaemon *ret_daemon);

/* Nobody listens, or who did is gone: known at once, and another time somebody may. */
bool attach_is_absence(int error);

/* The clock that budgets are counted by. */
uint64_t attach_now_ms(void);

/**
 * attach_barrier() - have the daemon take note of all changes that are complete by now
 *
 * Return: 0, or a negative errno as attach_run().
 */
int attach_barrier(const char *socket_path, unsigned budget_ms);

/* A regular expression that no image had: proto/shimport.proto has the meaning. */
#define ATTACH_PATTERN_FILES_MAX 4

typedef struct AttachPattern {
        int daemon; /* whose image it is about */
        uint64_t generation;
        uint32_t width, flags;
        char *text;
        size_t text_size;
        char *files[ATTACH_PATTERN_FILES_MAX];
        size_t n_files;
} AttachPattern;

typedef struct AttachReport {
        uint64_t served, fallback, stale;
        uint64_t outdated; /* generation of an image, or 0 */
        const char *tag;   /* of the interpreter, with `wanted` */
        size_t tag_length;
        const Wanted *wanted;          /* or NULL */
        const AttachPattern *patterns; /* those of other daemons' images are left out */
        size_t n_patterns;
        int daemon; /* who it is for, with `patterns` */
} AttachReport;

/* Tell the daemon how it went: one packet, no waiting, no answer, no matter if it is lost. */
void attach_report(const char *socket_path, const AttachReport *report);

#endif
