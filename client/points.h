/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_POINTS_H
#define SHIMPORT_POINTS_H

/* A distribution's entry points, which an image has parsed, as importlib.metadata's own objects. */

#include <Python.h>

#include "image.h"
#include "metadata.h"

/**
 * points_new() - what PathDistribution.entry_points gives
 * @found:          the distribution in the image
 * @distribution:   the object, which the points refer to
 *
 * Return: EntryPoints, new; NULL, without an exception if the image does not have them.
 */
PyObject *points_new(const Metadata *metadata, const Image *image, const ImageDistribution *found,
                     PyObject *distribution);

#endif
