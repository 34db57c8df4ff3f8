/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ROOT_H
#define SHIMPORT_ROOT_H

/*
 * What the daemon knows of one root for one interpreter tag: whether there is an image, and if not, why not.
 *
 *      SEEN ──> BUILDING ──> SERVED ──> STALE ──> REBUILDING ──> SERVED ...
 *                  │                      ^            │
 *                  │                      └────────────┘ (it failed, or something changed meanwhile)
 *                  └──> FAILED ──> BUILDING (asked for again, after a while)
 *
 * The store owns roots; a root owns its image, the watches that the image depends on, and its builder. A change
 * sets bits in the state beside the image (change.h) and makes it STALE: it is handed out all the same, and
 * processes pass over what the bits say. After a pause that grows while the changes do not stop another image is
 * built, and takes its place in one step: nobody waits for it. What changes while a builder is at work is logged,
 * and replayed into the state of the image that comes of it.
 *
 * A root holds no descriptor of its directory but while it is being built, so it keeps nothing from being
 * unmounted: the watches pin the inode for as long as the image is served.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder.h"
#include "change.h"
#include "config.h"
#include "image_file.h"
#include "list.h"
#include "patterns.h"
#include "queue.h"
#include "shimport.pb-c.h"
#include "wanted.h"
#include "watch.h"

typedef struct Store Store;
typedef struct Root Root;
typedef struct RootWaiter RootWaiter;
typedef struct KeptNote KeptNote;

/* The numbers are those of the messages, for those states that a message can tell. */
typedef enum RootState {
        ROOT_SERVED = SHIMPORT__ROOT_STATE__SERVED,
        ROOT_BUILDING = SHIMPORT__ROOT_STATE__BUILDING,
        ROOT_STALE = SHIMPORT__ROOT_STATE__STALE, /* has an image, and another is due */
        ROOT_FAILED = SHIMPORT__ROOT_STATE__FAILED,
        ROOT_REFUSED = SHIMPORT__ROOT_STATE__REFUSED, /* an answer only, never a root's state */
        ROOT_SEEN = SHIMPORT__ROOT_STATE__SEEN,
        ROOT_REBUILDING, /* has an image, and another is being built */
} RootState;

typedef struct RootKey {
        uint64_t dev, ino;
        const void *path, *tag;
        size_t path_size, tag_size;
} RootKey;

/* A report names no more modules of one root than this; more are passed over. */
#define ROOT_WANTED_MAX 1024u

/* One option character each, and no more kinds than these: see shimport.proto. */
#define ROOT_OPTIONS_MAX 7

#define ROOT_REASON_MAX 512

/* Somebody who wants to know how a build goes on. Embedded; unlinked once settled or by its owner. */
struct RootWaiter {
        List link;
        void (*progress)(RootWaiter *waiter, uint32_t done, uint32_t total);
        /* The root may be gone after it. */
        void (*settled)(RootWaiter *waiter, bool served, const char *reason);
};

struct Root {
        Store *store;
        List link; /* in the store's, the least recently attached first */
        RootKey key;
        uid_t owner;
        User *user; /* who asked for it first, and whose share it takes */
        RootState state;
        char reason[ROOT_REASON_MAX];
        List waiters;

        /* how to build it */
        char *executable;
        char options[ROOT_OPTIONS_MAX + 1];

        /* the build that waits or runs */
        QueueTicket ticket;
        Builder *builder;
        int fd;
        WatchSet watching;
        ChangeLog changes; /* since its directories were listed */
        Validate validate;
        char unwatched[128];    /* why some directories are not watched, or "" */
        uint64_t build_started; /* loop's milliseconds */
        uint64_t build_generation;
        bool builds_whole; /* takes over nothing */

        /* the image */
        ImageFile image;
        WatchSet watched;
        uint64_t texts_when_whole; /* bytes of the texts of the last image that took over nothing */
        uint64_t generation;
        List same_generation; /* in the store's */
        uint64_t built_ms;
        uint64_t built_at, last_attach; /* seconds since the epoch */
        uint64_t attaches;
        uint32_t declined;
        bool is_public;      /* everybody may go to where it lies */
        char validated[128]; /* why some of its directories are validated by stat, or "" */

        unsigned restless, failures, outdated; /* in a row */
        uint64_t outdated_at;                  /* loop's milliseconds */
        unsigned evictions;                    /* so often it has given way to others */
        bool roomless;                         /* FAILED, STALE: there was no room for its image */
        uint64_t due;                          /* STALE, FAILED: when to build again, loop's milliseconds */
        Patterns patterns;                     /* that its image does not have */
        bool builds_lesson;                    /* for them alone: what is served is as good */
        bool lesson_due;                       /* SERVED, and to be built again at `due`, for the patterns */
        unsigned lessons;                      /* builds for patterns alone, in a row */
        uint64_t lesson_at;                    /* the last of them, loop's milliseconds */
        bool patient; /* STALE, and a change that the watch sees need not wait so long */

        /* Preload= */
        char *preload;          /* in force for the image, or for the one that is being built */
        WantedSet wanted;       /* empty unless the image learns */
        bool learns;            /* the image holds what is wanted, and no more */
        bool supplement;        /* STALE, REBUILDING: nothing but what is wanted is new */
        unsigned supplements;   /* in a row */
        uint64_t supplement_at; /* when there was one last, loop's milliseconds */
};

/* Return: 0 or -ENOMEM. */
int root_new(Store *store, const RootKey *key, uid_t owner, User *user, Root **ret_root);

/* Stops its build and tells its waiters that it was dropped. Return: NULL. */
Root *root_free(Root *root);

/* Name the interpreter to build with. Return: 0 or -ENOMEM. */
int root_set_executable(Root *root, const void *executable, size_t size, const char *options);
bool root_executable_is(const Root *root, const void *executable, size_t size);

/**
 * root_build_consume() - queue a build
 * @fd:         the directory, O_RDONLY
 * @user:       whose turn it takes
 *
 * Return: 0, QUEUE_E_FULL or QUEUE_E_USER, and then the state has not changed.
 */
int root_build_consume(Root *root, int fd, User *user);

/* Another user wants it as well: if it waits behind what the first has asked for, it takes a turn of this one's. */
void root_hurry(Root *root, User *user);

/* A process compiled a regular expression that the image does not have: is that news? And if so, take note of it. */
PatternNews root_look_pattern(const Root *root, const Shimport__Pattern *pattern);
void root_add_pattern(Root *root, const Shimport__Pattern *pattern, PatternNews news);

/* A process found by stat that something has changed: build again, unless that is due anyway. */
void root_outdated(Root *root);

/* The configuration has been read again: what was built under another Validate= is stale, and built again, and so is,
 * without being stale, what was built under another Preload=. */
void root_reconfigure(Root *root);

/* A process has imported modules whose code the image does not hold: names as in wanted_add(). */
void root_want(Root *root, uid_t uid, const ProtobufCBinaryData *names, size_t n);

/* Let go of its image, so that there is room for others within a limit of that name: it is built again when it is asked
 * for, and the more often that has happened, the later. */
void root_evict(Root *root, const char *limit, uint64_t most);

/* There is room again. */
void root_retry(Root *root);

/**
 * root_adopt() - go on with an image from before a restart
 * @file:       without a state; stolen when it is adopted
 * @state:      the last daemon's
 * @note:       what that daemon noted of it, checked
 * @ret_reason: set with IMAGE_FILE_E_REFUSED only
 *
 * Return: 0, IMAGE_FILE_E_REFUSED or a negative errno.
 */
int root_adopt(Root *root, ImageFile *file, const Staleness *state, const KeptNote *note,
               const char **ret_reason);

/* Open the directory again at its path. Return: a descriptor, or -ESTALE if another directory is there now, or
 * a negative errno. */
int root_reopen(const Root *root);

/* Is there an image to hand out? */
static inline bool root_is_served(const Root *root) {
        return root->image.fd >= 0;
}

/* Its state for a person. */
Shimport__RootState root_told_state(const Root *root);

/* The image's size, 0 without one. */
static inline uint64_t root_size(const Root *root) {
        return root->image.image.size;
}

#endif
