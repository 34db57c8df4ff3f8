/* SPDX-License-Identifier: MIT */

#include "entry.h"

#include <string.h>

#include "join.h"
#include "loader.h"
#include "spec.h"

/* [path of the package's directory]: "json" of "json/__init__.py". NULL without an exception: it has none. */
static PyObject *package_locations(const Place *place, const char *file, size_t length) {
        const char *slash = memchr(file, '/', length);
        PyObject *path = slash ? place_join(place, file, (size_t)(slash - file)) : NULL;
        PyObject *list = path ? PyList_New(1) : NULL;

        if (list)
                PyList_SET_ITEM(list, 0, Py_NewRef(path));
        Py_XDECREF(path);
        return list;
}

static PyObject *entry_loader(ModuleState *state, const Place *place, Mapping *mapping,
                              const ImageEntry *entry, uint32_t number, PyObject *name, PyObject *origin) {
        switch (entry->kind) {
        case IMAGE_KIND_SOURCE:
                return loader_new(state, place->root, mapping, number, name, origin);
        case IMAGE_KIND_SOURCELESS:
                return PyObject_CallFunctionObjArgs(state->sourceless_loader, name, origin, NULL);
        default:
                return PyObject_CallFunctionObjArgs(state->extension_loader, name, origin, NULL);
        }
}

PyObject *entry_spec(ModuleState *state, const Place *place, Mapping *mapping, const ImageEntry *entry,
                     uint32_t number, PyObject *name) {
        PyObject *origin = NULL, *loader = NULL, *locations = NULL, *spec = NULL;
        size_t length;
        const char *file = image_string(&mapping->image, entry->file, &length);

        if (!file)
                return NULL;
        if (entry->kind == IMAGE_KIND_NAMESPACE) {
                locations = PyList_New(1);
                origin = locations ? place_join(place, file, length) : NULL;
                if (origin) {
                        PyList_SET_ITEM(locations, 0, Py_NewRef(origin));
                        spec = spec_new_namespace(state, name, locations);
                }
                goto finish;
        }
        origin = place_join(place, file, length);
        locations = entry->flags & IMAGE_ENTRY_PACKAGE ? package_locations(place, file, length)
                                                       : Py_NewRef(Py_None);
        if (!origin || !locations)
                goto finish;
        loader = entry_loader(state, place, mapping, entry, number, name, origin);
        if (loader)
                spec = spec_new(state, name, loader, origin, locations);
finish:
        Py_XDECREF(origin);
        Py_XDECREF(loader);
        Py_XDECREF(locations);
        return spec;
}

/* Does an origin that ends with a file name of so many characters say a directory and one slash before it, as paths that finders
 * join do? Of others importlib makes something else. */
static bool is_in_directory(PyObject *origin, Py_ssize_t file_length) {
        Py_ssize_t at = PyUnicode_GET_LENGTH(origin) - file_length;

        return at > 1 && PyUnicode_READ_CHAR(origin, at - 1) == '/' &&
               PyUnicode_READ_CHAR(origin, at - 2) != '/';
}

PyObject *entry_cached(const Image *image, const ImageEntry *entry, PyObject *origin) {
        size_t file_length, length;
        const char *file = image_string(image, entry->file, &file_length);
        const char *below = image_string(image, entry->cached, &length);
        PyObject *end = NULL, *directory = NULL, *rest = NULL, *cached = NULL;

        if (entry->kind != IMAGE_KIND_SOURCE || !file || !below || !length || !PyUnicode_CheckExact(origin))
                Py_RETURN_NONE;
        if (PyUnicode_IS_ASCII(origin) && join_is_ascii(below, length)) {
                if (!join_ends_with(origin, file, file_length) ||
                    !is_in_directory(origin, (Py_ssize_t)file_length))
                        Py_RETURN_NONE;
                return join_ascii(origin, PyUnicode_GET_LENGTH(origin) - (Py_ssize_t)file_length, below,
                                  length);
        }
        end = PyUnicode_DecodeUTF8(file, (Py_ssize_t)file_length, "surrogateescape");
        if (end && (PyUnicode_Tailmatch(origin, end, 0, PY_SSIZE_T_MAX, 1) != 1 ||
                    !is_in_directory(origin, PyUnicode_GET_LENGTH(end)))) {
                Py_DECREF(end);
                Py_RETURN_NONE;
        }
        if (end)
                directory = PyUnicode_Substring(origin, 0,
                                                PyUnicode_GET_LENGTH(origin) - PyUnicode_GET_LENGTH(end));
        if (directory)
                rest = PyUnicode_DecodeUTF8(below, (Py_ssize_t)length, "surrogateescape");
        if (rest)
                cached = PyUnicode_Concat(directory, rest);
        Py_XDECREF(end);
        Py_XDECREF(directory);
        Py_XDECREF(rest);
        return cached;
}
