/* SPDX-License-Identifier: MIT */

#include "spec.h"

/* The attributes that each spec has its own of, by the place of their name in Names. */
static PyObject *own_value(const ModuleState *state, PyObject *attribute, PyObject *name, PyObject *loader,
                           PyObject *origin, PyObject *locations) {
        const Names *names = &state->names;

        return attribute == names->name                         ? name
               : attribute == names->loader                     ? loader
               : attribute == names->origin                     ? origin
               : attribute == names->submodule_search_locations ? locations
                                                                : NULL;
}

static bool is_constant(PyObject *value) {
        return value == Py_None || PyBool_Check(value);
}

int spec_learn(ModuleState *state, PyObject *bootstrap_external) {
        PyObject *spec = NULL, *dict = NULL, *key, *value, *attribute;
        Py_ssize_t at = 0;
        int r = -1;

        spec = PyObject_CallMethod(bootstrap_external, "spec_from_file_location", "ss", "m", "/m.py");
        dict = spec ? PyObject_GetAttr(spec, state->names.__dict__) : NULL;
        if (!dict)
                goto finish;
        r = 1;
        state->spec_type = (PyTypeObject *)Py_NewRef(Py_TYPE(spec));
        while (PyDict_Next(dict, &at, &key, &value)) {
                SpecShape *shape = &state->shape;

                if (shape->n == SPEC_ATTRIBUTES_MAX || !PyUnicode_CheckExact(key))
                        goto finish;
                attribute = Py_NewRef(key);
                PyUnicode_InternInPlace(&attribute);
                shape->names[shape->n] = attribute;
                if (own_value(state, attribute, Py_None, Py_None, Py_None, Py_None))
                        value = NULL;
                else if (!is_constant(value) && !(PyList_CheckExact(value) && PyList_GET_SIZE(value) == 0))
                        goto finish;
                shape->values[shape->n++] = Py_XNewRef(value);
        }
        r = 0;
finish:
        Py_XDECREF(spec);
        Py_XDECREF(dict);
        return r;
}

void spec_forget(ModuleState *state) {
        for (size_t i = 0; i < SPEC_ATTRIBUTES_MAX; i++) {
                Py_CLEAR(state->shape.names[i]);
                Py_CLEAR(state->shape.values[i]);
        }
        state->shape.n = 0;
}

PyObject *spec_new(ModuleState *state, PyObject *name, PyObject *loader, PyObject *origin,
                   PyObject *locations) {
        const SpecShape *shape = &state->shape;
        PyObject *spec = instance_new(state->spec_type);

        for (size_t i = 0; spec && i < shape->n; i++) {
                PyObject *value = shape->values[i];
                int r;

                if (value && PyList_CheckExact(value))
                        value = PyList_New(0);
                else if (value)
                        value = Py_NewRef(value);
                else
                        value = Py_XNewRef(
                                own_value(state, shape->names[i], name, loader, origin, locations));
                r = value ? PyObject_GenericSetAttr(spec, shape->names[i], value) : -1;
                Py_XDECREF(value);
                if (r < 0)
                        Py_CLEAR(spec);
        }
        return spec;
}

PyObject *spec_new_namespace(ModuleState *state, PyObject *name, PyObject *locations) {
        PyObject *spec = PyObject_CallFunctionObjArgs((PyObject *)state->spec_type, name, Py_None, NULL);

        if (spec && PyObject_SetAttr(spec, state->names.submodule_search_locations, locations) < 0)
                Py_CLEAR(spec);
        return spec;
}
