/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_VALIDATE_H
#define SHIMPORT_VALIDATE_H

/*
 * Validation by stat, for what the daemon's watch cannot see: the file or directory must still look as it did when
 * the image was built. The GIL is given up meanwhile, so what was borrowed from a root before must be looked at anew.
 */

#include <Python.h>

#include <stdbool.h>

#include "image.h"

/* A path that cannot be encoded, or looked at, is not the same. No exception is left. */
bool validate_directory(const ImageDirectory *directory, PyObject *path);
bool validate_entry(const ImageEntry *entry, PyObject *path);

#endif
