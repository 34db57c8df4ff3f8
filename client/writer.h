/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_WRITER_H
#define SHIMPORT_WRITER_H

/* The image writer of shared/image_writer.h as a Python type, for the builder. */

#include <Python.h>

/* Return: the type `ImageWriter`, or NULL with an exception. */
PyObject *writer_type_new(PyObject *module);

#endif
