/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FREEZE_H
#define SHIMPORT_FREEZE_H

/*
 * Freeze: marshalled code, turned into blocks that processes of the same interpreter thaw.
 *
 * The code is unmarshalled here and never run, so what is frozen is what every process would have
 * unmarshalled. Objects that are one object in it are one object in the block. What freeze does not know to
 * the last field it declines, and the module is unmarshalled in each process as it always was.
 *
 * One freezer for one image: its blocks share a table of texts. A builder uses it, with the GIL held.
 */

#include <Python.h>

#include <stddef.h>
#include <stdint.h>

typedef struct Freezer Freezer;

/* The code cannot be frozen; a reason is given. */
#define FREEZE_E_DECLINED 1

/* Return: 0; FREEZE_E_DECLINED where no code can be; -ENOMEM with MemoryError. */
int freezer_new(Freezer **ret_freezer, const char **ret_declined);

/* Begin with the texts of another image, so that its blocks are good in this one too. Return: 0; -EBADMSG with
 * ValueError if they are damaged; -ENOMEM with MemoryError. */
int freezer_preload(Freezer *freezer, const void *texts, size_t size, uint32_t count);

Freezer *freezer_free(Freezer *freezer);

static inline void freezer_freep(Freezer **freezer) {
        freezer_free(*freezer);
}

/**
 * freezer_add() - freeze a module's code
 * @marshalled:         as in a .pyc after its header, or as marshal.dumps() gives it
 * @ret_block:          a new bytes object
 * @ret_declined:       why not, for a person; static
 *
 * Return: 0, FREEZE_E_DECLINED, or -ENOMEM with MemoryError.
 */
int freezer_add(Freezer *freezer, const void *marshalled, size_t size, PyObject **ret_block,
                const char **ret_declined);

/* The texts of all blocks so far, for the image. Return: a new bytes object, or NULL with MemoryError. */
PyObject *freezer_texts(const Freezer *freezer, uint32_t *ret_count);

#endif
