/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_STALENESS_H
#define SHIMPORT_STALENESS_H

/*
 * The state beside an image: the only shared memory that ever changes. The daemon writes it, processes map it
 * read-only and test it with plain atomic loads at each lookup, without a system call.
 *
 * It says whether the daemon lives, whether a newer image stands in this one's place, and which directories and
 * entries have changed since they were read. Bits go from 0 to 1 only: a load that comes a moment too early errs
 * only about a change that was not yet complete. Liveness is a robust process-shared mutex that the daemon's
 * thread holds; the kernel sets FUTEX_OWNER_DIED in its word when the thread ends, however it ends
 * (set_robust_list(2)), so nobody has to ask.
 *
 * The memfd is sealed against resizing, so that a mapping cannot fault, and by F_SEAL_FUTURE_WRITE against every
 * writer but the mapping that its maker already has. Any thread may read; one thread, the maker's, writes.
 *
 * Behind the bits lies a note of the daemon's to the next one, which gives the image a state of its own, with the bits
 * of this one. The note means nothing to a process.
 */

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STALENESS_MAGIC "SHIMSTAT"
#define STALENESS_VERSION 2u

typedef struct StalenessHeader {
        uint8_t magic[8];
        uint32_t version;
        uint32_t header_size;
        uint64_t total_size;
        uint64_t generation; /* of the image it belongs to */
        uint32_t directory_count;
        uint32_t entry_count;
        _Atomic uint32_t superseded;
        _Atomic uint32_t stale_count; /* bits set so far */
        pthread_mutex_t alive;
        uint32_t note_size;
        uint32_t reserved;
} StalenessHeader;
/* Then the bits of the directories, and those of the entries, each from a word's start; then the note, 8-aligned. */

_Static_assert(offsetof(StalenessHeader, alive) == 48, "format");
_Static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0, "the futex word comes first, as in glibc");
_Static_assert(sizeof(_Atomic uint32_t) == 4, "format");

typedef struct Staleness {
        StalenessHeader *header; /* read-only for all but the maker */
        size_t size;
        _Atomic uint32_t *directories, *entries;
        void *note;
} Staleness;

/* A note is a few strings. */
#define STALENESS_NOTE_MAX 8192u

/**
 * staleness_new() - make the state of an image; nothing is stale and nobody holds the mutex
 * @note_size:  room for a note, all zero
 * @ret_fd:     the memfd, to hand out
 *
 * Return: 0 or a negative errno.
 */
int staleness_new(uint64_t generation, uint32_t directory_count, uint32_t entry_count, uint32_t note_size,
                  int *ret_fd, Staleness *ret_staleness);

/* It is no state, or not that of an image with these numbers. */
#define STALENESS_E_OTHER 1

/**
 * staleness_map() - look at a state that was handed over
 * @fd:         borrowed
 *
 * Return: 0, STALENESS_E_OTHER, or a negative errno.
 */
int staleness_map(int fd, uint64_t generation, uint32_t directory_count, uint32_t entry_count,
                  Staleness *ret_staleness);

/* Unmap, if mapped. Its maker must have disowned it. */
void staleness_done(Staleness *staleness);

/* From here on this thread vouches for the bits. Return: 0 or a negative errno. */
int staleness_vouch(Staleness *staleness);
void staleness_disown(Staleness *staleness);

void staleness_supersede(Staleness *staleness);

/* A number out of range is passed over. */
void staleness_mark_directory(Staleness *staleness, uint32_t number);
void staleness_mark_entry(Staleness *staleness, uint32_t number);
void staleness_mark_all(Staleness *staleness);

/* Set what is set in another state of the same image. */
void staleness_copy(Staleness *to, const Staleness *from);

/* Does somebody vouch for the bits? */
static inline bool staleness_is_vouched(const Staleness *staleness) {
        uint32_t word =
                __atomic_load_n((const uint32_t *)&staleness->header->alive.__data.__lock, __ATOMIC_ACQUIRE);

        return (word & FUTEX_TID_MASK) && !(word & FUTEX_OWNER_DIED);
}

static inline bool staleness_is_superseded(const Staleness *staleness) {
        return atomic_load_explicit(&staleness->header->superseded, memory_order_acquire);
}

static inline uint32_t staleness_count(const Staleness *staleness) {
        return atomic_load_explicit(&staleness->header->stale_count, memory_order_relaxed);
}

static inline bool staleness_bit(const _Atomic uint32_t *bits, uint32_t count, uint32_t number) {
        return number >= count ||
               (atomic_load_explicit(&bits[number / 32], memory_order_acquire) >> (number % 32) & 1);
}

/* Is it stale? What is out of range is. */
static inline bool staleness_directory(const Staleness *staleness, uint32_t number) {
        return staleness_bit(staleness->directories, staleness->header->directory_count, number);
}

static inline bool staleness_entry(const Staleness *staleness, uint32_t number) {
        return staleness_bit(staleness->entries, staleness->header->entry_count, number);
}

#endif
