/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_TEXTS_H
#define SHIMPORT_TEXTS_H

/*
 * The texts of an image, as strings of this process: each is made when a block first asks for it, and once.
 *
 * Almost all are interned names, so a text is the very object that the process knows by that name already, if
 * it does. The strings live as long as the process; the table itself borrows the image. The GIL is held.
 */

#include "facts.h"

#include <stddef.h>
#include <stdint.h>

#include "arena.h"

#if FACTS_KNOWN

typedef struct Texts Texts;

/**
 * texts_new() - make ready for the texts of an image
 * @facts, @arena:      borrowed, like the table
 *
 * Return: 0, -EINVAL if so many texts do not fit into the table, or -ENOMEM.
 */
int texts_new(const Facts *facts, Arena *arena, const void *table, size_t size, uint32_t count,
              Texts **ret_texts);

/* Frees the table, and leaves the strings to the objects that refer to them. */
Texts *texts_free(Texts *texts);

/* Make the processor fetch what texts_get() will look at soon: most of its time is spent waiting for that. */
void texts_expect(const Texts *texts, uint32_t number);

/**
 * texts_get() - the string of a number
 *
 * Return: borrowed; NULL with MemoryError; NULL without an exception if the table is damaged there.
 */
PyObject *texts_get(Texts *texts, uint32_t number);

#endif

#endif
