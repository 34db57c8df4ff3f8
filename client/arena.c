/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arena.h"

/* Addresses are reserved by regions. What is left of one when the next begins has never been touched. */
#define REGION ((size_t)8 << 20)

/* Pages are asked for in batches of a part of what is in use already, within these bounds: so much may be in vain. */
#define BATCH_PART 16
#define BATCH_MIN ((size_t)16 << 10)
#define BATCH_MAX ((size_t)512 << 10)

struct Arena {
        uint8_t *top;       /* the next free byte, NULL before the first region */
        uint8_t *populated; /* the kernel has been asked for the pages up to here */
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

static int arena_reserve(Arena *arena, size_t size) {
        size_t region = size > REGION ? round_up(size, BATCH_MIN) : REGION;
        uint8_t *memory;

        memory = mmap(NULL, region, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
        if (memory == MAP_FAILED)
                return -ENOMEM;
        (void)madvise(memory, region, MADV_NOHUGEPAGE);
        arena->top = arena->populated = memory;
        arena->end = memory + region;
        return 0;
}

/* Ask for the pages of the next batch at once: a fault for each would cost more. Advice, so it may fail. */
static void arena_populate(Arena *arena) {
        size_t needed = arena->top - arena->populated, batch = arena->taken / BATCH_PART;

        if (batch > BATCH_MAX)
                batch = BATCH_MAX;
        if (batch < needed)
                batch = needed;
        batch = round_up(batch, BATCH_MIN);
        if (batch > (size_t)(arena->end - arena->populated))
                batch = arena->end - arena->populated;
        (void)madvise(arena->populated, batch, MADV_POPULATE_WRITE);
        arena->populated += batch;
}

void *arena_take(Arena *arena, size_t size) {
        void *memory;

        if ((!arena->top || size > (size_t)(arena->end - arena->top)) && arena_reserve(arena, size) < 0)
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
