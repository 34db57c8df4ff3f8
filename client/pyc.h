/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PYC_H
#define SHIMPORT_PYC_H

/*
 * The pyc of a module that had no valid one when its image was built (IMAGE_ENTRY_UNCACHED): stock would write it, so
 * the process does. No watch tells whether there is one by now, so this looks, each time. Modules that had one cost
 * nothing here.
 */

#include <Python.h>

#include "place.h"
#include "state.h"

typedef enum PycLook {
        PYC_ERROR = -1, /* with an exception */
        PYC_VALID,      /* it is of the source that the image has the code of */
        PYC_MISSING,    /* or not valid: stock would compile, and then write one */
        PYC_OTHER, /* one that is told by a hash, or sys does not say whether to write one: stock must look */
} PycLook;

/**
 * pyc_look() - see what there is
 * @path:       of the source
 * @ret_pyc:    the path of the pyc, new; None if it can have none
 */
PycLook pyc_look(ModuleState *state, const Place *place, PyObject *path, PyObject **ret_pyc);

/**
 * pyc_write() - write it, as get_code() in importlib/_bootstrap_external.py ends
 * @loader:     whose _cache_bytecode() is called
 *
 * Return: 0, or -1 with an exception; that it cannot be written is none, as with stock.
 */
int pyc_write(ModuleState *state, PyObject *loader, const Place *place, PyObject *code, PyObject *path,
              PyObject *pyc);

#endif
