/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SPEC_H
#define SHIMPORT_SPEC_H

/*
 * Module specs as stock makes them, without running its Python. What attributes a spec has, in which order and with
 * which values, is learnt once from one that stock made, see importlib/_bootstrap.py (ModuleSpec) and
 * _bootstrap_external.py (spec_from_file_location).
 */

#include <Python.h>

#include "state.h"

/* Learn the shape. Return: 0; 1 if this version's specs hold something unexpected; -1 with an exception. */
int spec_learn(ModuleState *state, PyObject *bootstrap_external);

void spec_forget(ModuleState *state);

/**
 * spec_new() - the spec of a module found in a file
 * @locations:  submodule_search_locations, or None
 *
 * Return: a new spec, or NULL with an exception.
 */
PyObject *spec_new(ModuleState *state, PyObject *name, PyObject *loader, PyObject *origin,
                   PyObject *locations);

/* The spec of a namespace portion. Return: a new spec, or NULL with an exception. */
PyObject *spec_new_namespace(ModuleState *state, PyObject *name, PyObject *locations);

#endif
