/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_THAW_PASS_H
#define SHIMPORT_THAW_PASS_H

/*
 * The one pass over a block: where it is, the three checks that all else rests on (a word of the block, a
 * reference, a piece of the memory), and the counting of references.
 *
 * Objects that stay lie in the arena and are never freed: they give back none of their references, so they
 * need none to externals. Objects that pass are ordinary ones, whose references all count.
 */

#include "facts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "block.h"
#include "texts.h"
#include "thaw_external.h"

#if FACTS_KNOWN

/* One block on its way. References count from `table`: externals lie below it, objects above. */
typedef struct Pass {
        Texts *texts;
        PyObject *filename;
        PyObject **table;
        uint8_t *kinds;
        uint32_t externals, made;
        unsigned freeable; /* how many of those made are */
        bool passing;      /* the record at hand is */
        const uint32_t *at, *end;
        uint8_t *memory, *memory_end;
} Pass;

static inline bool pass_read(Pass *pass, uint64_t words, const uint32_t **ret_words) {
        if (words > (uint64_t)(pass->end - pass->at))
                return false;
        *ret_words = pass->at;
        pass->at += words;
        return true;
}

static inline bool pass_refers(const Pass *pass, int32_t reference) {
        return (uint32_t)reference + pass->externals < pass->externals + pass->made;
}

/* Room for an object that stays, behind `before` bytes of a header of the collector's. */
static inline void *pass_take(Pass *pass, size_t before, uint64_t size) {
        uint8_t *memory = pass->memory + before;
        uint64_t whole = (before + size + BLOCK_UNIT - 1) / BLOCK_UNIT * BLOCK_UNIT;

        if (whole > (uint64_t)(pass->memory_end - pass->memory))
                return NULL;
        pass->memory += whole;
        return memory;
}

/* Room for an object that the collector does not know. */
static inline int pass_place(Pass *pass, uint64_t size, void **ret_object) {
        *ret_object = pass->passing ? PyObject_Malloc(size) : pass_take(pass, 0, size);
        if (*ret_object)
                return 0;
        return pass->passing ? -ENOMEM : THAW_E_DAMAGED;
}

/* An object that stays has a reference more for each that passes and refers to it: for when that is gone. */
static inline void pass_keep(Pass *pass, int32_t reference) {
        if (pass->passing && reference >= 0 && !(pass->kinds[reference] & IS_PASSING))
                pass->table[reference]->ob_refcnt++;
}

/* The object of a reference that has been checked, for a slot. What stays has none to externals. */
static inline PyObject *pass_use(Pass *pass, int32_t reference) {
        PyObject *object = pass->table[reference];

        if (reference >= 0)
                object->ob_refcnt++;
        else if (pass->passing)
                Py_INCREF(object);
        pass_keep(pass, reference);
        return object;
}

/* An ordinary object is complete; the reference to it is the pass's. */
static inline void pass_made_freeable(Pass *pass, PyObject *object, uint8_t kind) {
        pass->kinds[pass->made] = kind | IS_FREEABLE | (pass->passing ? IS_PASSING : 0);
        pass->table[pass->made++] = object;
        pass->freeable++;
}

/* An object has its place, and gets its head. */
static inline void pass_made(Pass *pass, void *place, PyTypeObject *type, uint8_t kind) {
        PyObject *object = place;

        *object = (PyObject){ .ob_type = type };
        if (pass->passing) {
                object->ob_refcnt = 1;
                pass_made_freeable(pass, object, kind);
                return;
        }
        pass->kinds[pass->made] = kind;
        pass->table[pass->made++] = object;
}

#endif
#endif
