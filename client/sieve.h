/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SIEVE_H
#define SHIMPORT_SIEVE_H

/*
 * What the calls know that are spliced into importlib's functions, see splice.h: the module's state, for as long as it
 * lives. A function's code outlives it, and so does this.
 */

#include <Python.h>

#include "splice.h"
#include "state.h"

typedef struct Sieve {
        PyObject_HEAD
        ModuleState *state; /* NULL once that is gone */
} Sieve;

/* state->sieve from here on. Return: 0, or -1 with an exception. */
int sieve_install(ModuleState *state);

/**
 * sieve_splice() - put a call into a function
 * @splice: how, see splice.h
 * @call:   static; its function gets the Sieve as self, and does nothing where state is NULL or inactive
 *
 * Return: as splice_call().
 */
int sieve_splice(const ModuleState *state, PyObject *function, Splice splice, unsigned arguments,
                 PyMethodDef *call);

/* Likewise, into an attribute. */
int sieve_splice_into(const ModuleState *state, PyObject *where, const char *name, Splice splice,
                      unsigned arguments, PyMethodDef *call);

/* The state goes away: importlib is on its own from here on. */
void sieve_forget(ModuleState *state);

#endif
