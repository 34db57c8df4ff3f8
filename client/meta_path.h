/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_META_PATH_H
#define SHIMPORT_META_PATH_H

/*
 * importlib's loop over sys.meta_path, without the finders that have nothing to say.
 *
 * sys.meta_path stays what it is. A call is spliced into _find_spec() of importlib/_bootstrap.py, see splice.h, that puts an
 * Inquiry in the place of the list. That is an iterator over the same list which passes over BuiltinImporter and
 * FrozenImporter where these have no module of the name, and gives itself in the place of PathFinder if a served entry has
 * it. Every other finder is asked as ever, in its turn and under the import lock, by importlib's own code, which does all the
 * rest as well.
 *
 * Where these three come first nobody else is asked before them, and what they would give is given at once.
 *
 * An Inquiry looks at everything at the moment when it comes to it, as importlib does. What is not the usual call passes
 * through: a sys.meta_path without PathFinder, a program that traces or has put methods of its own into these classes.
 */

#include <Python.h>

#include "state.h"

/* Return: 0, or -1 with an exception. Bytecode that is not as expected is left alone, which is no error. */
int meta_path_install(ModuleState *state);

void meta_path_forget(ModuleState *state);

#endif
