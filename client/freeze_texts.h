/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FREEZE_TEXTS_H
#define SHIMPORT_FREEZE_TEXTS_H

/*
 * The table of texts as it is written: the strings that all blocks of an image share, each once. Texts are
 * numbered in the order in which they come. The GIL is held; -ENOMEM comes with MemoryError.
 */

#include <Python.h>

#include <stdint.h>

typedef struct FreezeTexts FreezeTexts;

/* Return: 0 or -ENOMEM. */
int freeze_texts_new(FreezeTexts **ret_texts);
FreezeTexts *freeze_texts_free(FreezeTexts *texts);

/**
 * freeze_texts_preload() - begin with a table as freeze_texts_table() gave it, in the same order
 * @texts:      an empty one
 *
 * Return: 0; -EBADMSG with ValueError if it is damaged; -ENOMEM.
 */
int freeze_texts_preload(FreezeTexts *texts, const void *table, size_t size, uint32_t count);

/* The number of a string, which is exactly a str. Return: 0 or -ENOMEM. */
int freeze_texts_number(FreezeTexts *texts, PyObject *string, uint32_t *ret_number);

/* The table so far. Return: a new bytes object, or NULL with MemoryError. */
PyObject *freeze_texts_table(const FreezeTexts *texts, uint32_t *ret_count);

#endif
