/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_TAG_H
#define SHIMPORT_TAG_H

/*
 * The interpreter tag: one line of text that differs whenever bytecode, or the layout of objects, or what the
 * compiler leaves in code could differ. Process and builder make it the same way; everybody else compares it
 * as bytes.
 */

#include <Python.h>

/**
 * tag_new() - the tag of the running interpreter
 * @ret_options: the options that a builder needs to run with the same tag, one character each: 'O' for -O, 'o' for
 *               -OO, 'R' for -X no_debug_ranges; borrowed, static
 *
 * Return: a new str, or NULL with an exception.
 */
PyObject *tag_new(const char **ret_options);

#endif
