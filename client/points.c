/* SPDX-License-Identifier: MIT */

#include "points.h"

#include "util.h"

static int put_string(PyObject *dict, PyObject *key, const Image *image, ImageString string) {
        const char *bytes;
        PyObject *text;
        size_t length;
        int r;

        bytes = image_string(image, string, &length);
        if (!bytes) {
                PyErr_SetString(PyExc_ValueError, "an image that makes no sense");
                return -1;
        }
        text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)length, NULL);
        r = text ? PyDict_SetItem(dict, key, text) : -1;
        Py_XDECREF(text);
        return r;
}

/* What this version keeps of a value that it has split. Return: 0, or -1 with an exception. */
static int put_match(const Metadata *metadata, PyObject *dict, const Image *image, const ImagePoint *point) {
        static const char *const keys[] = { "module", "attr", "extras" };
        const ImageString strings[] = { point->module, point->attr, point->extras };
        PyObject *parts = PyDict_New(), *none = parts ? PyTuple_New(0) : NULL, *match = NULL;
        int r = none ? 0 : -1;

        for (size_t i = 0; i < ELEMENTSOF(keys) && r == 0; i++) {
                PyObject *key = PyUnicode_InternFromString(keys[i]);

                if (!key)
                        r = -1;
                else if (strings[i].length)
                        r = put_string(parts, key, image, strings[i]);
                else
                        r = PyDict_SetItem(parts, key, Py_None);
                Py_XDECREF(key);
        }
        if (r == 0)
                match = PyObject_Call(metadata->match, none, parts);
        r = match ? PyDict_SetItem(dict, metadata->state->names._match, match) : -1;
        Py_XDECREF(parts);
        Py_XDECREF(none);
        Py_XDECREF(match);
        return r;
}

/* An EntryPoint as its __init__() and _for() leave it. */
static PyObject *point_new(const Metadata *metadata, const Image *image, const ImagePoint *point,
                           PyObject *distribution) {
        const Names *names = &metadata->state->names;
        PyObject *self = instance_new((PyTypeObject *)metadata->point);
        PyObject *dict = self ? PyObject_GenericGetDict(self, NULL) : NULL;

        if (!dict || put_string(dict, names->name, image, point->name) < 0 ||
            put_string(dict, names->value, image, point->value) < 0 ||
            put_string(dict, names->group, image, point->group) < 0 ||
            (metadata->match && put_match(metadata, dict, image, point) < 0) ||
            PyDict_SetItem(dict, names->dist, distribution) < 0)
                Py_CLEAR(self);
        Py_XDECREF(dict);
        return self;
}

PyObject *points_new(const Metadata *metadata, const Image *image, const ImageDistribution *found,
                     PyObject *distribution) {
        PyObject *list, *points = NULL;

        if (!(found->flags & IMAGE_DISTRIBUTION_POINTS) || found->point_count > image->header->point_count)
                return NULL;
        list = PyList_New(found->point_count);
        for (uint32_t i = 0; list && i < found->point_count; i++) {
                const ImagePoint *point = image_point(image, found->first_point + i);
                bool is_split = point && point->module.length > 0;
                PyObject *item = NULL;

                if (point && is_split == (metadata->match != NULL))
                        item = point_new(metadata, image, point, distribution);
                if (item)
                        PyList_SET_ITEM(list, i, item);
                else
                        Py_CLEAR(list);
        }
        if (list)
                points = PyObject_CallOneArg(metadata->points, list);
        Py_XDECREF(list);
        return points;
}
