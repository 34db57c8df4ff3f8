/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CODE_H
#define SHIMPORT_CODE_H

/*
 * The code of an image's entry: thawed where that can be done, otherwise unmarshalled straight from the mapping.
 *
 * Thawed objects live as long as the process. So each block is thawed once, by the main interpreter; a module that
 * is loaded again, and any other interpreter, has its code unmarshalled.
 */

#include <Python.h>

#include "mapping.h"
#include "state.h"

/**
 * code_load() - make an entry's code object
 * @path:       what stock would leave in co_filename
 *
 * Return: new, or NULL: without an exception if the image has no usable code.
 */
PyObject *code_load(ModuleState *state, Mapping *mapping, uint32_t number, PyObject *path);

/* What code_load() keeps of an image; freed with its mapping. */
typedef struct RootCode RootCode;

RootCode *root_code_free(RootCode *code);

#endif
