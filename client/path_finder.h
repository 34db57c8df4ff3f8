/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PATH_FINDER_H
#define SHIMPORT_PATH_FINDER_H

/*
 * PathFinder's loop over sys.path or a __path__, without the entries that have nothing to say.
 *
 * PathFinder itself stays what it is and where it is in sys.meta_path. A call is spliced into its find_spec(), see
 * splice.h, that puts a Search in the place of the path. That is an iterator over the same list which passes over, in C and
 * without a system call, each entry whose image says that the name is not there; PathFinder's own code does all the
 * rest: unserved, relative and empty entries, path hooks, namespace portions, and the entry that has the module.
 *
 * A Search looks at everything at the moment when it comes to it, as PathFinder does: list, cache, finder, image.
 *
 * What is not the usual call passes through: a subclass, a path that is no list, a PathFinder or FileFinder with methods of
 * a program's own.
 */

#include <Python.h>

#include "state.h"

/* Return: 0, or -1 with an exception. Bytecode that is not as expected is left alone, which is no error. */
int path_finder_install(ModuleState *state);

/**
 * path_finder_find() - what PathFinder.find_spec() would give, if entries that are served say so
 * @path: as find_spec() takes it: None for sys.path
 *
 * Return: new: a spec with a loader; NULL, without an exception if PathFinder must be asked.
 */
PyObject *path_finder_find(ModuleState *state, PyObject *name, PyObject *path);

#endif
