/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PLACE_H
#define SHIMPORT_PLACE_H

/*
 * A place in an image: a directory for a finder, an entry for a loader. It is what distinguishes our finder and
 * loader from stock's, kept in a slot of theirs that no Python code sees.
 */

#include <Python.h>

#include "mapping.h"
#include "root.h"
#include "state.h"

typedef struct Place {
        PyObject_HEAD
        Root *root;       /* lives as long as the module, which whoever holds the place keeps alive */
        Mapping *mapping; /* owned: what the number counts in */
        uint32_t number;  /* of the directory or entry */
        PyObject *prefix; /* a directory's: its path and a slash, str; otherwise NULL */
        bool listed;      /* a directory's: stock would have listed it by now */

        /* A finder's: its attributes as FileFinder made them, NULL before; and whether somebody may have changed them. */
        PyObject *path, *loaders;
        Py_ssize_t n_loaders;
        bool touched;
} Place;

/* Return: the type, or NULL with an exception. */
PyTypeObject *place_type_new(void);

/* @mapping and @prefix are borrowed. Return: a new place, or NULL with an exception. */
PyObject *place_new(ModuleState *state, Root *root, Mapping *mapping, uint32_t number, PyObject *prefix);

#define PLACE_SLOTS_MAX 3

/**
 * place_subtype_new() - a subclass of a stock class, with one hidden slot for a Place
 * @more:       further slots, up to PLACE_SLOTS_MAX and a zero, or NULL
 * @ret_offset: where in an instance the slot lies
 *
 * No traverse, clear or dealloc of our own: CPython's subtype functions, which the stock class has because it is a
 * Python class, see to the slot as they see to a __slots__ member.
 *
 * Return: the type, or NULL with an exception.
 */
PyTypeObject *place_subtype_new(PyObject *module, PyTypeObject *stock, const char *name, PyMethodDef *methods,
                                PyGetSetDef *getsets, const PyType_Slot *more, Py_ssize_t *ret_offset);

/* Move a directory's place to another mapping of its root; its number becomes IMAGE_NONE if it is not there. */
void place_move(Place *place, Mapping *mapping);

/* The place in an instance's slot, borrowed, or NULL if it has none. */
static inline Place *place_at(PyObject *self, Py_ssize_t offset) {
        return *(Place **)((char *)self + offset);
}

static inline void place_put(PyObject *self, Py_ssize_t offset, PyObject *consume_place) {
        *(PyObject **)((char *)self + offset) = consume_place;
}

/* Join a directory's prefix and a name of the image. Return: a new str, or NULL with an exception. */
PyObject *place_join(const Place *directory, const char *bytes, size_t length);

/* Pickle and copy an instance as the stock object that it stands for: tp __reduce_ex__. */
PyObject *place_reduce_as(PyObject *self, PyTypeObject *stock);

#endif
