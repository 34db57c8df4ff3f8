/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ARENA_H
#define SHIMPORT_ARENA_H

/*
 * The arena: the memory that thawed objects live in.
 *
 * It only grows: what has been thawed lives as long as the process. Pages are asked for in batches that grow
 * with it, so that a process with a handful of modules pays for a handful of modules, and one with hundreds
 * does not pay a fault for each page. They are small ones: huge pages are cleared when they are handed out,
 * and where the host of a virtual machine has to find memory for them that takes longer than all the thawing,
 * while small pages come from those freed last, which are there and in the cache.
 * One thread: whoever holds the GIL.
 */

#include <stddef.h>

typedef struct Arena Arena;

/* Return: 0 or -ENOMEM. */
int arena_new(Arena **ret_arena);

/* Frees the record of the arena. Memory that was taken stays: objects in it are never given back. */
Arena *arena_free(Arena *arena);

/**
 * arena_take() - take memory
 * @size:       bytes, a multiple of 8
 *
 * Return: the memory, aligned to 8 and of unknown content, or NULL if there is none.
 */
void *arena_take(Arena *arena, size_t size);

/* Give back what was taken, if nothing was taken since; otherwise it stays taken. */
void arena_untake(Arena *arena, void *memory, size_t size);

#endif
