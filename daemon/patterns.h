/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PATTERNS_H
#define SHIMPORT_PATTERNS_H

/*
 * The regular expressions that processes compiled and that a root's image does not have: those that the next builder is to
 * be given, and, by their hashes, those that have been reported once, and those that a builder has been given. Whatever
 * came of these, a program or a refusal, they are not wanted again until the root has changed. What is reported once is
 * not worth a build: some texts are made of sets, and are others in each process.
 *
 * Anybody may report anything: so all is bounded, and a report changes nothing but what a builder is asked to look at.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder.pb-c.h"
#include "list.h"
#include "shimport.pb-c.h"

/* Of one root, until a builder gets them: the standard library and all that is installed compile less. */
#define PATTERNS_WAITING_MAX 1024
#define PATTERNS_BYTES_MAX (256u * 1024)

/* Of one pattern: processes report no more. */
#define PATTERN_TEXT_MAX 8192u
#define PATTERN_FILES_MAX 4

/* What one builder is given: with the job it fits into a packet. */
#define PATTERNS_GIVEN_BYTES_MAX (100u * 1024)

/* Hashes, of which the oldest are forgotten: when the first set is full it becomes the second. */
typedef struct PatternSet {
        uint64_t *slots[2]; /* NULL until there is one */
        size_t n;           /* in the first */
} PatternSet;

typedef struct Patterns {
        List waiting; /* of Pattern, in the order reported */
        size_t n_waiting, bytes;
        PatternSet seen;  /* reported once */
        PatternSet known; /* waiting, or given to a builder */
} Patterns;

typedef enum PatternNews {
        PATTERN_KNOWN, /* it waits, or has been given, or is unsound */
        PATTERN_NEW,   /* nobody has reported it */
        PATTERN_SEEN,  /* it has been reported once */
} PatternNews;

typedef struct Pattern Pattern;

void patterns_init(Patterns *patterns);

/* Let go of all. */
void patterns_clear(Patterns *patterns);

PatternNews patterns_look(const Patterns *patterns, const Shimport__Pattern *message);

/* PATTERN_NEW: it has been reported once. */
void patterns_see(Patterns *patterns, const Shimport__Pattern *message);

/* PATTERN_SEEN: have it wait for a builder. Return: 0, -ENOSPC (enough are waiting) or -ENOMEM. */
int patterns_add(Patterns *patterns, const Shimport__Pattern *message);

/**
 * patterns_give() - what a builder is to look at
 *
 * They wait no longer, but last until patterns_given_free().
 *
 * Return: 0 or -ENOMEM.
 */
int patterns_give(Patterns *patterns, Shimport__BuildPattern ***ret_list, size_t *ret_n);
void patterns_given_free(Shimport__BuildPattern **list, size_t n);

/* What has been given may be wanted again. */
void patterns_forget_given(Patterns *patterns);

static inline bool patterns_are_waiting(const Patterns *patterns) {
        return patterns->n_waiting > 0;
}

#endif
