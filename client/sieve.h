/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SIEVE_H
#define SHIMPORT_SIEVE_H

/*
 * What the calls know that are spliced into importlib's functions, see splice.h: the module's state, for as long as it
 * lives. A function's code outlives it, and so does this.
 */

#include <Python.h>

#include "state.h"

typedef struct Sieve {
        PyObject_HEAD
        ModuleState *state; /* NULL once that is gone */
} Sieve;

/* state->sieve from here on. Return: 0, or -1 with an exception. */
int sieve_install(ModuleState *state);

/**
 * sieve_callable() - what is spliced
 * @call: static; its functions get the Sieve as self, and have it do nothing where state is NULL or inactive
 *
 * Return: new, or NULL with an exception.
 */
PyObject *sieve_callable(const ModuleState *state, PyMethodDef *call);

/* The state goes away: importlib is on its own from here on. */
void sieve_forget(ModuleState *state);

#endif
