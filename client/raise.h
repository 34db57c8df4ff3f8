/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_RAISE_H
#define SHIMPORT_RAISE_H

/* From the errors of C code to Python's. */

#include <Python.h>

#include <errno.h>

/* Raise OSError for a negative errno. Return: NULL. */
static inline PyObject *raise_errno(int r) {
        errno = -r;
        return PyErr_SetFromErrno(PyExc_OSError);
}

#endif
