/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FINDER_H
#define SHIMPORT_FINDER_H

/*
 * The path entry finder: a FileFinder whose find_spec() answers from an image, and the path hook that makes one
 * for each directory of an attached root.
 *
 * It is a subclass of stock's FileFinder and calls itself one (__class__, repr, pickle), so that whatever a program
 * does with FileFinders it does with these. Where the image has no answer, FileFinder's own find_spec() gives it.
 */

#include <Python.h>

#include "state.h"

/* Return: a type, or NULL with an exception. */
PyTypeObject *finder_type_new(ModuleState *state);
PyTypeObject *finder_hook_type_new(PyObject *module);

/**
 * finder_install() - serve path entries from here on
 *
 * Puts the hook in front of sys.path_hooks, and our finders in the place of stock's in sys.path_importer_cache.
 *
 * Return: 0, or -1 with an exception.
 */
int finder_install(ModuleState *state);

#endif
