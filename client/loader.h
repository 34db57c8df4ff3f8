/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LOADER_H
#define SHIMPORT_LOADER_H

/*
 * The loader: a SourceFileLoader whose get_code() takes the code out of the image, without a system call and without
 * a Python frame. All else about it is stock's: it reads sources, resources and metadata from the files, which exist.
 * It calls itself a SourceFileLoader (__class__, repr, pickle, ==).
 */

#include <Python.h>

#include "root.h"
#include "state.h"

/* Return: a type, or NULL with an exception. */
PyTypeObject *loader_type_new(ModuleState *state);

/* A loader for an entry of a root's image. Return: new, or NULL with an exception. */
PyObject *loader_new(ModuleState *state, Root *root, Mapping *mapping, uint32_t entry, PyObject *name,
                     PyObject *path);

#endif
