/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CHANNEL_H
#define SHIMPORT_CHANNEL_H

/*
 * The builder's end of its socket, as a Python type: takes a job, asks for directories to be watched, tells how far
 * it is, hands back the image. proto/builder.proto has the messages.
 */

#include <Python.h>

/* Return: the type `Channel`, or NULL with an exception. */
PyObject *channel_type_new(PyObject *module);

#endif
