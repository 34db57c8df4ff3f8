/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_STORE_H
#define SHIMPORT_STORE_H

/*
 * The registry of roots, and the rules for them: which are built, for whom, when again, and which go first when
 * memory is short. It owns the roots, and borrows the watch, the queue and the configuration.
 *
 * Roots lie in a balanced tree, so that no peer can make a lookup slow by choosing its paths, and in a list
 * from the least to the most recently attached.
 *
 * MemoryMax= is for all images that take memory: those that are handed out, and those that are not any more but
 * that processes have mapped (linger.h).
 */

#include "config.h"
#include "root.h"

/* Records of roots, with an image or without. A late-asked root without an image gives way first. */
#define STORE_ROOTS_MAX 4096

/* When the daemon dies the kernel lets go of so many robust mutexes (ROBUST_LIST_LIMIT, 2048), one for the state of
 * each image: the processes that hold one more would never learn of it. */
#define STORE_IMAGES_MAX 2000

#define STORE_ERROR_MAX 768

typedef struct StoreStatus {
        uint64_t builds, builds_failed;
        uint64_t memory;           /* bytes of all images, those below included */
        uint64_t memory_lingering; /* those that are handed out no more, and that processes have mapped */
        size_t images, lingering;
        bool full;             /* there was no room for an image, and still is none */
        char full_reason[192]; /* if so */
        char last_error[STORE_ERROR_MAX];
} StoreStatus;

typedef enum StoreAsking {
        STORE_ATTACH, /* at start-up: build what is missing */
        STORE_LATE,   /* while running: build what is asked for again */
        STORE_WARM,   /* somebody waits: build now, whatever failed before */
} StoreAsking;

typedef struct StoreQuestion {
        RootKey key;
        User *user; /* who asks */
        int fd;     /* the directory, borrowed */
        uid_t owner;
        const void *executable; /* to build with */
        size_t executable_size; /* 0: none */
        char options[ROOT_OPTIONS_MAX + 1];
        StoreAsking asking;
} StoreQuestion;

typedef struct StoreAnswer {
        RootState state;
        const char *reason; /* NULL, static or the root's */
        Root *root;         /* NULL: no record of it */
        bool limited;       /* a limit of the user's is the reason */
} StoreAnswer;

/* Return: 0 or a negative errno. */
int store_new(uv_loop_t *loop, Watch *watch, Queue *queue, Users *users, const Config *config,
              const char *client_path, Store **ret_store);

/* Frees all roots at once and the store in the loop, by the close callback. Return: NULL. */
Store *store_free(Store *store);

/**
 * store_ask() - what is there for this root, and see to it that there will be
 *
 * Makes no system call unless it queues a build.
 *
 * Return: 0, or -ENOMEM.
 */
int store_ask(Store *store, const StoreQuestion *question, StoreAnswer *ret_answer);

/* A process has imported modules of a root without code in its image: as root_want(). */
void store_want(Store *store, const RootKey *key, uid_t uid, const ProtobufCBinaryData *names, size_t n);

/* A process found something changed in the image of this generation, which the watch cannot see. */
void store_outdated(Store *store, uint64_t generation);

/* A process of that user compiled regular expressions that no image had. */
void store_learn(Store *store, uid_t uid, Shimport__Pattern *const *patterns, size_t n);

/* A root has an image of this generation now, by which store_outdated() and store_learn() find it. */
void store_set_generation(Store *store, Root *root, uint64_t generation);

/* The record of a root, or NULL. */
Root *store_find(Store *store, const RootKey *key);

/* Free every root: images are withdrawn, builds stopped. */
void store_drop(Store *store);

/* Likewise, but leave the images to the next daemon, if there is a service manager to keep them. */
void store_leave(Store *store);

/**
 * store_adopt() - serve an image from before a restart; as root_adopt()
 *
 * Return: 0, IMAGE_FILE_E_REFUSED or a negative errno.
 */
int store_adopt(Store *store, ImageFile *file, const Staleness *state, const KeptNote *note,
                const char **ret_reason);

/* What a changed configuration asks for. */
void store_reconfigure(Store *store, const char *client_path);

/* As it is now. */
const StoreStatus *store_status(Store *store);

/* The roots, the least recently attached first. */
const List *store_roots(const Store *store);

/* For roots. */
uv_loop_t *store_loop(const Store *store);
uint64_t store_now(const Store *store);
Watch *store_watch(const Store *store);
Queue *store_queue(const Store *store);
Users *store_users(const Store *store);
const Config *store_config(const Store *store);
const char *store_client_path(const Store *store);
WantedTotal *store_wanted_total(Store *store);
uint64_t store_next_generation(Store *store);

/* Who builds a root of this owner: the owner, if we serve all users; else ourselves. */
uid_t store_builder_uid(const Store *store, uid_t owner);

/* An image is handed out from now on, or it no longer is, and is let go. */
void store_account(Store *store, ImageFile *image, User *user);
void store_withdraw(Store *store, ImageFile *image);
void store_count_build(Store *store, const Root *root, bool built);

/* What a builder at work holds: its place in the queue, and the user whose it is. store_builder_gone() ends it, or
 * store_dismiss() if none came to work. */
typedef struct StoreEmployer StoreEmployer;

/* Return: NULL if there is no memory. */
StoreEmployer *store_employ(Store *store, User *user);
void store_dismiss(StoreEmployer *employer);
void store_builder_gone(void *employer);

/* See to the root when it is due. */
void store_schedule(Store *store, const Root *root);

/**
 * store_make_room() - let go of images until another one fits into MemoryMax, and they are not too many
 * @root:       who has the new image in place of its own, or NULL
 * @size:       of the new image
 *
 * The least recently attached go first; none that a process has mapped goes: that would give back nothing.
 *
 * Return: whether there is room.
 */
bool store_make_room(Store *store, Root *root, uint64_t size);

/* Likewise, into what the root's user may have; only images of that user go. */
bool store_make_user_room(Store *store, Root *root, uint64_t size);

/* What all images that a user has had made may take. */
uint64_t store_user_memory_max(const Store *store);

#endif
