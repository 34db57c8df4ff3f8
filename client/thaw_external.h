/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_THAW_EXTERNAL_H
#define SHIMPORT_THAW_EXTERNAL_H

/*
 * Externals: the objects that a block refers to and does not hold. Interned strings come from the texts, all
 * others from the interpreter, which keeps one of each.
 */

#include "facts.h"

#include <stdint.h>

#include "texts.h"

#if FACTS_KNOWN

/* What an object is, as far as those that refer to it have to know: one bit each. */
enum {
        IS_STRING = 1,
        IS_BYTES = 2,
        IS_TUPLE = 4, /* and IS_NAMES, if all its items are strings */
        IS_NAMES = 8,
        IS_CODE = 16,
        IS_OTHER = 32,
        IS_FREEABLE = 64, /* an ordinary object, to which the pass has a reference */
        IS_PASSING = 128, /* and does not stay unless somebody refers to it */
};

/* The one positive error: the block does not hold together. */
#define THAW_E_DAMAGED 1

/* Look ahead to a word: see texts_expect(). */
void thaw_external_expect(const Texts *texts, uint32_t word);

/**
 * thaw_external() - the object that a word of a block stands for
 * @ret_object: with a reference, which need not be given back
 * @ret_kind:   IS_*
 *
 * Return: 0, THAW_E_DAMAGED, or -ENOMEM with MemoryError.
 */
int thaw_external(Texts *texts, uint32_t word, PyObject **ret_object, uint8_t *ret_kind);

#endif
#endif
