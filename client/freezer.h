/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FREEZER_H
#define SHIMPORT_FREEZER_H

/* Freeze (freeze.h) as a Python type, for the builder. */

#include <Python.h>

/* Return: the type `Freezer`, or NULL with an exception. */
PyObject *freezer_type_new(PyObject *module);

#endif
