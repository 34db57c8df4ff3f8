/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CREATE_H
#define SHIMPORT_CREATE_H

/*
 * Modules, created with the attributes that importlib is about to give them.
 *
 * _init_module_attrs() of importlib/_bootstrap.py asks a new module for each attribute first, and sets those that are
 * not there: each question that fails is an exception with a message, more than the rest of creating a module takes.
 * So module_from_spec() of importlib/_bootstrap.py is answered for, see splice.h, where the spec is as ours are and its
 * loader is one of ours: with a module that has them all.
 */

#include <Python.h>

#include "state.h"

/* Return: 0, or -1 with an exception. Bytecode that is not as expected is left alone, which is no error. */
int create_install(ModuleState *state);

void create_forget(ModuleState *state);

/* Learn from a module that stock has created, with all its attributes and before its code runs, which these are. */
int create_learn(ModuleState *state, PyObject *module, PyObject *spec);

#endif
