/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_WANTED_H
#define SHIMPORT_WANTED_H

/*
 * What processes have asked for of one root: names of modules whose code its images are to hold (Preload=used).
 *
 * Anybody may report anything, so a name is taken only if the root's image has such a source, and there are limits by
 * count and bytes: for a root, for all roots, and of each the half for one user. Who is beyond it makes room by what he
 * himself asked for longest ago; nobody else loses anything to him. Users are told apart by the end of their uid: two
 * that share it share the half.
 *
 * What the image holds is reported no more, so that nobody can tell whether it is still in use: it is forgotten when it
 * was asked for so long ago, and the next process that needs it asks again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image.h"
#include "list.h"

/* The code of so many modules is some hundred MiB. */
#define WANTED_MAX 16384u
#define WANTED_BYTES_MAX ((size_t)1 << 20)

/* Of all roots: some 16 MiB of records. */
#define WANTED_ALL_MAX 131072u

#define WANTED_USERS 32u
#define WANTED_NAME_MAX 512u
#define WANTED_FORGOTTEN_S (UINT64_C(30) * 86400)

/* What all sets hold together. Zeroed is empty. */
typedef struct WantedTotal {
        size_t n, by_user[WANTED_USERS];
} WantedTotal;

typedef struct WantedUser {
        List names; /* the longest unasked-for first */
        size_t n, bytes;
} WantedUser;

typedef struct WantedSet {
        WantedTotal *total;
        void *tree; /* tsearch(3) tree of WantedName */
        WantedUser users[WANTED_USERS];
        size_t n, bytes;
        size_t n_new; /* of them, since wanted_write() */
} WantedSet;

void wanted_init(WantedSet *set, WantedTotal *total);
void wanted_clear(WantedSet *set);

/**
 * wanted_add() - somebody asks for a module
 * @image:      the root's
 * @name:       below the root, with dots
 * @now:        seconds since the epoch
 *
 * What the image has no source for, and what goes beyond a limit, is passed over.
 *
 * Return: 0 or -ENOMEM.
 */
int wanted_add(WantedSet *set, const Image *image, uid_t uid, const void *name, size_t size, uint64_t now);

/* Ask for all that an image holds the code of, in nobody's name. Return: 0 or -ENOMEM. */
int wanted_add_image(WantedSet *set, const Image *image, uint64_t now);

/* Forget what was asked for before `then` only. Return: whether there was any. */
bool wanted_forget(WantedSet *set, uint64_t then);

/* A file of the names, each with a NUL behind it. Return: 0 or a negative errno. */
int wanted_write(WantedSet *set, int *ret_fd);

#endif
