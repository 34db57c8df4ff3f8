/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_DISTRIBUTION_H
#define SHIMPORT_DISTRIBUTION_H

/*
 * A distribution: a PathDistribution that is read from an image.
 *
 * It is an instance of a subclass of stock's PathDistribution and calls itself one (__class__, repr, pickle). Its path is
 * made when somebody asks for it. What read_text() gives, the entry points and the normalized name come from the image,
 * as long as that is fresh and nobody has given it another path; all else is PathDistribution's own.
 */

#include <Python.h>

#include "mapping.h"
#include "metadata.h"
#include "root.h"

/* Return: 0, or -1 with an exception. Sets metadata's type and slot. */
int distribution_type_new(Metadata *metadata);

/* Return: the type of the records in its slot, or NULL with an exception. */
PyTypeObject *distribution_record_type_new(void);

/**
 * distribution_new() - the distribution of a number in an image
 * @entry:  the path entry, str; borrowed like the others
 *
 * Return: new, or NULL with an exception.
 */
PyObject *distribution_new(Metadata *metadata, Root *root, Mapping *mapping, uint32_t number,
                           PyObject *entry);

/* May the root's own directory be believed: which distributions there are? It may take a stat, without the GIL. */
bool distribution_root_is_valid(ModuleState *state, Root *root, Mapping *mapping);

#endif
