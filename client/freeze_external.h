/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FREEZE_EXTERNAL_H
#define SHIMPORT_FREEZE_EXTERNAL_H

/*
 * Externals: the objects that a block does not hold, because every process has them or makes them for itself.
 * Interned strings are among them, and whatever the interpreter keeps one of: what is None, the empty tuple
 * or a small int here must be the very same there. The GIL is held.
 */

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "freeze_texts.h"

/**
 * freeze_external() - see whether an object is an external
 * @ret_word:   the word of the block that stands for it, if it is one
 *
 * Return: 0, or -ENOMEM with MemoryError.
 */
int freeze_external(FreezeTexts *texts, PyObject *object, bool *ret_external, uint32_t *ret_word);

#endif
