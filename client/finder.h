/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FINDER_H
#define SHIMPORT_FINDER_H

/*
 * The path entry finder: a FileFinder whose find_spec() answers from an image.
 *
 * It is a subclass of stock's FileFinder and calls itself one (__class__, repr, pickle), so that whatever a program
 * does with FileFinders it does with these. Where the image has no answer, FileFinder's own find_spec() gives it.
 *
 * sys.path_hooks stays as it is: FileFinder's own path hook, a closure over the class it makes finders of, is given
 * this class in its place, which makes a FileFinder of any directory that no image has.
 */

#include <Python.h>

#include "state.h"

/* Return: a type, or NULL with an exception. */
PyTypeObject *finder_type_new(ModuleState *state);

/**
 * finder_install() - serve path entries from here on
 *
 * Has the path hook make our finders, and puts them in the place of stock's in sys.path_importer_cache.
 *
 * Return: 0, or -1 with an exception.
 */
int finder_install(ModuleState *state);

/**
 * finder_for() - the finder that the path hook would make, without a system call
 *
 * Return: new; NULL if stock's hooks must be asked, with an exception only if something went wrong.
 */
PyObject *finder_for(ModuleState *state, PyObject *path);

/* The last part of a dotted name. Return: UTF-8, or NULL without an exception for a name that has none. */
const char *finder_tail(PyObject *name, size_t *ret_length);

/* Is it certain, without a system call, that a finder of ours would find nothing? Return: 1, 0, or -1. */
int finder_lacks(ModuleState *state, PyObject *finder, const char *tail, size_t length);

/**
 * finder_find() - what a finder's find_spec() would give, from an image alone
 * @finder: anything
 *
 * Return: new: a spec with a loader, or None; NULL, without an exception if it must be asked itself.
 */
PyObject *finder_find(ModuleState *state, PyObject *finder, PyObject *name);

#endif
