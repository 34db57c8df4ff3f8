/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FREEZE_STAYS_H
#define SHIMPORT_FREEZE_STAYS_H

/*
 * What stays of a module's code: its functions, and all that they refer to. The code of the module itself and
 * of its classes runs once; it passes, and gives its memory back.
 */

#include <Python.h>

#include <stdbool.h>

/* Constants nest too deeply to be followed. */
#define FREEZE_STAYS_E_DEEP 1

/**
 * freeze_stays_find() - find all objects that stay
 * @ret_stays:  a new set of their addresses: valid while the code lives
 *
 * Return: 0, FREEZE_STAYS_E_DEEP, or -ENOMEM with MemoryError.
 */
int freeze_stays_find(PyCodeObject *code, PyObject **ret_stays);

/* Return: 0 or -ENOMEM. */
int freeze_stays_has(PyObject *stays, PyObject *object, bool *ret_has);

#endif
