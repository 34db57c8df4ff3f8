/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_BUILDER_H
#define SHIMPORT_BUILDER_H

/*
 * A builder process and the conversation with it (proto/builder.proto): it gets one job over a packet socket
 * and hands back one sealed image, or the reason why not. It is the target interpreter, run without site
 * packages and with nothing open but the socket, as the owner of the root.
 *
 * The builder tells its employer through BuilderEvents, on the loop's thread: `end` exactly once, unless
 * builder_abandon() came first, and `gone` exactly once, when the process has been reaped and the memory is
 * about to go. A builder that is silent past its deadline is killed. What it writes to stderr goes to the log,
 * a few lines of it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

typedef struct Builder Builder;

/* Borrowed for the call of builder_new(). */
typedef struct BuilderJob {
        const char *executable;  /* trusted, see trust.h */
        const char *options;     /* "O", "o", "R": see shimport.proto */
        const char *client_path; /* where shimport/builder.py lies */
        uid_t uid;               /* who to run as */
        int root_fd;
        int image_fd, state_fd; /* what to take over from, or -1 */
        const void *path;
        size_t path_size;
        uint64_t generation;
        bool shared;
        uint32_t max_entries;
        int validate; /* Shimport__Validate */
        uint64_t timeout_ms;
} BuilderJob;

typedef struct BuilderOutcome {
        const char *error; /* NULL: there is an image */
        int image_fd;      /* to steal; closed otherwise */
        uint32_t declined;
        bool again; /* something was too fresh to be validated by stat */
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

/* Kill it and want to hear no more of it but that it is gone. */
void builder_abandon(Builder *builder);

#endif
