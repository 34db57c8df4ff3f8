/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arena.h"

#define HUGE_PAGE ((size_t)2 << 20)

/*
 * Addresses are reserved in regions, and opened in chunks: the first is large enough for an ordinary program
 * and too small to become a huge page; all others are huge pages, if the kernel grants them. Objects do not
 * mind where one chunk ends and the next begins, so nothing is lost there.
 */
#define REGION ((size_t)64 << 20)
#define FIRST_CHUNK ((size_t)1 << 20)

/* Pages are asked for in batches: at first as many as are in use already, and within these bounds. */
#define BATCH_MIN ((size_t)64 << 10)
#define BATCH_MAX ((size_t)512 << 10)

struct Arena {
        uint8_t *top;       /* the next free byte, NULL before the first region */
        uint8_t *populated; /* the kernel has been asked for the pages up to here */
        uint8_t *open;      /* end of what may be written */
        uint8_t *end;       /* of the region */
        size_t taken;       /* bytes, of all regions */
};

int arena_new(Arena **ret_arena) {
        Arena *arena;

        arena = calloc(1, sizeof(*arena));
        if (!arena)
                return -ENOMEM;
        *ret_arena = arena;
        return 0;
}

Arena *arena_free(Arena *arena) {
        free(arena);
        return NULL;
}

static size_t round_up(size_t size, size_t unit) {
        return (size + unit - 1) / unit * unit;
}

static inline size_t min_size(size_t a, size_t b) {
        return a < b ? a : b;
}

/* Reserve a region for at least `size` bytes, all but its first chunk aligned to huge pages. */
static int arena_reserve(Arena *arena, size_t size) {
        size_t region = size + FIRST_CHUNK > REGION ? round_up(size + FIRST_CHUNK, HUGE_PAGE) : REGION;
        uint8_t *memory, *aligned;

        memory =
                mmap(NULL, region + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
                return -ENOMEM;
        aligned = (uint8_t *)round_up((uintptr_t)memory + FIRST_CHUNK, HUGE_PAGE);
        (void)madvise(aligned, memory + region + HUGE_PAGE - aligned, MADV_HUGEPAGE);

        arena->top = arena->populated = arena->open = aligned - FIRST_CHUNK;
        arena->end = arena->top + region;
        return 0;
}

/* Open chunks until so many bytes are free. */
static int arena_open(Arena *arena, size_t size) {
        size_t chunk, missing = size - (arena->open - arena->top);

        if ((uintptr_t)arena->open % HUGE_PAGE)
                chunk = missing <= FIRST_CHUNK ? FIRST_CHUNK
                                               : FIRST_CHUNK + round_up(missing - FIRST_CHUNK, HUGE_PAGE);
        else
                chunk = round_up(missing, HUGE_PAGE);
        chunk = min_size(chunk, arena->end - arena->open);

        if (mprotect(arena->open, chunk, PROT_READ | PROT_WRITE) < 0)
                return -ENOMEM;
        arena->open += chunk;
        return 0;
}

/* Ask for the pages of the next batch at once: a fault for each would cost more. Advice, so it may fail. */
static void arena_populate(Arena *arena) {
        size_t needed = arena->top - arena->populated, batch = arena->taken;

        if (batch < BATCH_MIN)
                batch = BATCH_MIN;
        if (batch > BATCH_MAX)
                batch = BATCH_MAX;
        if (batch < needed)
                batch = needed;
        batch = min_size(round_up(batch, BATCH_MIN), arena->open - arena->populated);
        (void)madvise(arena->populated, batch, MADV_POPULATE_WRITE);
        arena->populated += batch;
}

void *arena_take(Arena *arena, size_t size) {
        void *memory;

        if ((!arena->top || size > (size_t)(arena->end - arena->top)) && arena_reserve(arena, size) < 0)
                return NULL;
        if (size > (size_t)(arena->open - arena->top) && arena_open(arena, size) < 0)
                return NULL;
        memory = arena->top;
        arena->top += size;
        arena->taken += size;
        if (arena->top > arena->populated)
                arena_populate(arena);
        return memory;
}

void arena_untake(Arena *arena, void *memory, size_t size) {
        if ((uint8_t *)memory + size != arena->top)
                return;
        arena->top = memory;
        arena->taken -= size;
}
