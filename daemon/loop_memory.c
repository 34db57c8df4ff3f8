/* SPDX-License-Identifier: MIT */

#include <stdlib.h>
#include <uv.h>

#include "loop_memory.h"

static void *table[LOOP_FDS_MAX + 2];

/* Nothing else that the daemon has libuv do is reallocated. */
static void *loop_realloc(void *memory, size_t size) {
        if ((!memory || memory == table) && size <= sizeof(table))
                return table;
        return memory == table ? NULL : realloc(memory, size);
}

static void loop_free(void *memory) {
        if (memory != table)
                free(memory);
}

void loop_memory_reserve(void) {
        (void)uv_replace_allocator(malloc, loop_realloc, calloc, loop_free);
}
