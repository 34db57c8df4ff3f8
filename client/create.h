/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CREATE_H
#define SHIMPORT_CREATE_H

/*
 * Modules, created with the attributes that importlib is about to give them.
 *
 * _init_module_attrs() of importlib/_bootstrap.py asks a new module for each attribute first, and sets those that are
 * not there: each question that fails is an exception with a message, more than the rest of creating a module takes.
 * Where they are there already nothing is left to set. Our loader's create_module() gives such a module to
 * module_from_spec() of importlib/_bootstrap.py alone; to anybody else who calls it, it says what stock's says, None.
 */

#include <Python.h>

#include "state.h"

/* create_module(). Return: new: a module, or None for importlib's own; NULL with an exception. */
PyObject *create_module(ModuleState *state, PyObject *spec);

/* Learn from a module that stock has created, with all its attributes and before its code runs, which these are. */
int create_learn(ModuleState *state, PyObject *module, PyObject *spec);

#endif
