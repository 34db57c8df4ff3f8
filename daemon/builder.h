/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_BUILDER_H
#define SHIMPORT_BUILDER_H

/*
 * A builder and the conversation with it (proto/builder.proto): it gets one job over a packet socket and hands
 * back one sealed image, or the reason why not. It is the target interpreter, run without site packages and with
 * nothing open but the socket, as the owner of the root: a child of ours, if we may start one as that user; else
 * a process that the service manager starts when we connect to the owner's socket (shimport-builder, in
 * builder_service.c).
 *
 * The builder tells its employer through BuilderEvents, on the loop's thread: `end` exactly once, unless
 * builder_abandon() came first, and `gone` exactly once, when the process has been reaped and the memory is
 * about to go, or the connection has been closed. A child that is silent past its deadline is killed; the service
 * notices that we are gone. What a child writes to stderr goes to the log, a few lines of it; what the service
 * writes is the service manager's to keep.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "builder.pb-c.h"

typedef struct Builder Builder;

/* Where the builder services listen: each at the uid of the owner that it runs as. */
#define BUILDER_SERVICES "/run/shimport/builder"

/* Borrowed for the call of builder_new(). */
typedef struct BuilderJob {
        const char *executable;  /* trusted, see trust.h */
        const char *options;     /* "O", "o", "R": see shimport.proto */
        const char *client_path; /* where shimport/builder.py lies */
        uid_t uid;               /* who to run as: root as anybody, others as themselves or by the service */
        int root_fd;
        int image_fd, state_fd; /* what to take over from, or -1 */
        int wanted_fd;          /* the names of what processes have asked for, or -1 */
        const char *preload;
        uint32_t preload_max;
        bool supplement; /* of the image: see builder.proto */
        const void *path;
        size_t path_size;
        uint64_t generation;
        bool shared;
        uint32_t max_entries;
        int validate; /* Shimport__Validate */
        uint64_t timeout_ms;
        Shimport__BuildPattern **patterns; /* regular expressions that processes compile */
        size_t n_patterns;
} BuilderJob;

typedef struct BuilderOutcome {
        const char *error; /* NULL: there is an image */
        int image_fd;      /* to steal; closed otherwise */
        uint32_t declined;
        bool again;  /* something was too fresh to be validated by stat */
        bool learns; /* it holds what processes have asked for, and no more */
} BuilderOutcome;

typedef struct BuilderEvents {
        /* It is about to list a directory. Return: whether its changes will be seen. */
        bool (*scan)(void *userdata, int fd, const void *path, size_t path_size);
        void (*progress)(void *userdata, uint32_t done, uint32_t total);
        void (*end)(void *userdata, BuilderOutcome *outcome);
        void (*gone)(void *employer);
} BuilderEvents;

/**
 * builder_new() - start a builder
 * @events:     borrowed for as long as the builder lives
 * @userdata:   passed to all events but `gone`
 * @employer:   passed to `gone`
 *
 * Return: 0 or a negative errno, and then no event comes.
 */
int builder_new(uv_loop_t *loop, const BuilderJob *job, const BuilderEvents *events, void *userdata,
                void *employer, Builder **ret_builder);

/* Is a builder of this user a child of ours, or a service? */
bool builder_is_child(uid_t uid);

/* Kill it and want to hear no more of it but that it is gone. */
void builder_abandon(Builder *builder);

#endif
