/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ENTRY_H
#define SHIMPORT_ENTRY_H

/* What an entry of an image means to an importer: the module's spec, with its loader, as stock would make them. */

#include <Python.h>

#include "image.h"
#include "place.h"
#include "state.h"

/**
 * entry_spec() - the spec of a module
 * @place:      the directory's
 * @mapping:    the image that the entry is in, which the caller keeps
 * @number:     the entry's
 * @name:       the module's, with its packages'
 *
 * Return: a new spec, or NULL: without an exception if the entry makes no sense.
 */
PyObject *entry_spec(ModuleState *state, const Place *place, Mapping *mapping, const ImageEntry *entry,
                     uint32_t number, PyObject *name);

/**
 * entry_cached() - what spec.cached is to be, see _get_cached() in importlib/_bootstrap_external.py
 * @origin:     the module's file
 *
 * Return: new; None if importlib is to work it out; NULL with an exception.
 */
PyObject *entry_cached(const Image *image, const ImageEntry *entry, PyObject *origin);

#endif
