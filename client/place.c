/* SPDX-License-Identifier: MIT */

#include "place.h"

#include <string.h>
#include <structmember.h>

#include "join.h"

#define PLACE "_place"

static void place_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        Py_XDECREF(((Place *)self)->prefix);
        Py_XDECREF(((Place *)self)->path);
        Py_XDECREF(((Place *)self)->loaders);
        mapping_unref(((Place *)self)->mapping);
        type->tp_free(self);
        Py_DECREF(type);
}

/* Without the module: places are not known to the garbage collector, so their type must not keep the module alive. */
PyTypeObject *place_type_new(void) {
        static PyType_Slot slots[] = {
                { Py_tp_dealloc, place_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.Place",
                .basicsize = sizeof(Place),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}

PyObject *place_new(ModuleState *state, Root *root, Mapping *mapping, uint32_t number, PyObject *prefix) {
        Place *place = (Place *)state->place_type->tp_alloc(state->place_type, 0);

        if (!place)
                return NULL;
        place->root = root;
        place->mapping = mapping_ref(mapping);
        place->number = number;
        place->prefix = Py_XNewRef(prefix);
        return (PyObject *)place;
}

void place_move(Place *place, Mapping *mapping) {
        size_t skip = place->root->path_length + 1;
        Py_ssize_t length;
        const char *prefix = PyUnicode_AsUTF8AndSize(place->prefix, &length);

        mapping_ref(mapping);
        mapping_unref(place->mapping);
        place->mapping = mapping;
        place->number = IMAGE_NONE;
        if (!prefix)
                PyErr_Clear();
        else if ((size_t)length == skip)
                place->number = 0;
        else if ((size_t)length > skip)
                place->number = image_walk(&mapping->image, prefix + skip, (size_t)length - skip - 1);
}

PyTypeObject *place_subtype_new(PyObject *module, PyTypeObject *stock, const char *name, PyMethodDef *methods,
                                PyGetSetDef *getsets, const PyType_Slot *more, Py_ssize_t *ret_offset) {
        /* Not read-only, or it would be kept when the instance goes: see clear_slots() in Objects/typeobject.c. */
        PyMemberDef members[] = {
                { .name = PLACE, .type = T_OBJECT_EX, .offset = stock->tp_basicsize },
                { 0 },
        };
        PyType_Slot slots[4 + PLACE_SLOTS_MAX] = {
                { Py_tp_methods, methods },
                { Py_tp_getset, getsets },
                { Py_tp_members, members },
        };
        PyType_Spec spec = {
                .name = name,
                .basicsize = (int)(stock->tp_basicsize + sizeof(PyObject *)),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                .slots = slots,
        };
        PyObject *type;

        for (size_t i = 0; more && more[i].slot; i++)
                slots[3 + i] = more[i];
        type = PyType_FromModuleAndSpec(module, &spec, (PyObject *)stock);
        /* No Python code is to see it. */
        if (type && PyDict_DelItemString(((PyTypeObject *)type)->tp_dict, PLACE) < 0)
                Py_CLEAR(type);
        if (type) {
                PyType_Modified((PyTypeObject *)type);
                /* Without the module, as a Python class has it: error messages show this. */
                ((PyTypeObject *)type)->tp_name = strrchr(((PyTypeObject *)type)->tp_name, '.') + 1;
                *ret_offset = stock->tp_basicsize;
        }
        return (PyTypeObject *)type;
}

PyObject *place_join(const Place *directory, const char *bytes, size_t length) {
        PyObject *prefix = directory->prefix, *joined, *name;

        if (PyUnicode_IS_ASCII(prefix) && join_is_ascii(bytes, length))
                return join_ascii(prefix, PyUnicode_GET_LENGTH(prefix), bytes, length);
        name = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)length, NULL);
        joined = name ? PyUnicode_Concat(prefix, name) : NULL;
        Py_XDECREF(name);
        return joined;
}

/* What object.__reduce_ex__(2) gives for the stock object: copyreg.__newobj__, (class,), its __dict__. */
PyObject *place_reduce_as(PyObject *self, PyTypeObject *stock) {
        PyObject *copyreg = PyImport_ImportModule("copyreg");
        PyObject *newobj = copyreg ? PyObject_GetAttrString(copyreg, "__newobj__") : NULL;
        PyObject *dict = newobj ? PyObject_GetAttrString(self, "__dict__") : NULL;
        PyObject *reduced = dict ? Py_BuildValue("(O(O)O)", newobj, stock, dict) : NULL;

        Py_XDECREF(copyreg);
        Py_XDECREF(newobj);
        Py_XDECREF(dict);
        return reduced;
}
