/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_STOCK_H
#define SHIMPORT_STOCK_H

/*
 * Stock's import system as it stood at activation: the classes to build on, and the methods which programs replace
 * when they want to change what is found or loaded. Where one of these has been replaced, stock answers.
 */

#include <Python.h>

#include "state.h"

/* Return: 0; 1 if stock is not as expected, and then state->reason says how; -1 with an exception. */
int stock_learn(ModuleState *state);

void stock_forget(ModuleState *state);

/* FileFinder's and SourceFileLoader's. Cheap: a class that has not been touched since it was looked at is as it was. */
bool stock_is_patched(ModuleState *state);

/* Are pycs elsewhere, or of other names, than at activation? Then they may be of other content. */
bool stock_pycs_are_moved(ModuleState *state);

/* Is it SourceFileLoader's create_module(), as it was? */
bool stock_is_create_module(const ModuleState *state, PyObject *function);

/* PathFinder's. */
bool stock_search_is_patched(ModuleState *state);

/* BuiltinImporter's and FrozenImporter's. */
bool stock_importers_are_patched(ModuleState *state);

#endif
