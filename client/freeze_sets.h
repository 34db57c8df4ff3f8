/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FREEZE_SETS_H
#define SHIMPORT_FREEZE_SETS_H

/*
 * The order of frozensets. How a set iterates depends on the order in which its items were added, and
 * marshalled code adds them in the order in which they are written. A set does not tell that order, so the
 * marshalled code is asked: a copy of it in which every frozenset has become a tuple gives, unmarshalled, a
 * twin of the code that differs in nothing else.
 */

#include <Python.h>

#include <stddef.h>

/* No marshalled code as far as is known here. */
#define FREEZE_SETS_E_UNKNOWN 1

/**
 * freeze_sets_twin() - turn the frozensets of marshalled code into tuples
 * @marshalled:         the code, as marshal wrote it
 * @ret_twin:           a new bytes object, or NULL if there are no frozensets
 *
 * Return: 0, FREEZE_SETS_E_UNKNOWN, or -ENOMEM with MemoryError.
 */
int freeze_sets_twin(const void *marshalled, size_t size, PyObject **ret_twin);

#endif
