/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PREVIOUS_H
#define SHIMPORT_PREVIOUS_H

/*
 * The image that is to be replaced, with its state, as a Python type for the builder: what has not changed since
 * is taken over from it.
 *
 * It comes from the daemon and what it holds goes into an image that processes believe. So it is taken only from a
 * memfd that the builder's own user made, that is sealed, and that is of the same root and interpreter.
 */

#include <Python.h>

#include "image.h"

/* The image of a Previous, borrowed. Return: NULL with TypeError if it is none. */
const Image *previous_image(PyObject *object);

/* Return: the type `Previous`, or NULL with an exception. */
PyObject *previous_type_new(PyObject *module);

#endif
