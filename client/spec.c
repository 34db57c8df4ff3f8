/* SPDX-License-Identifier: MIT */

#include "spec.h"

static SpecOwn own_of(const Names *names, PyObject *attribute) {
        return attribute == names->name                         ? SPEC_NAME
               : attribute == names->loader                     ? SPEC_LOADER
               : attribute == names->origin                     ? SPEC_ORIGIN
               : attribute == names->submodule_search_locations ? SPEC_LOCATIONS
                                                                : SPEC_SAME;
}

static bool is_constant(PyObject *value) {
        return value == Py_None || PyBool_Check(value);
}

int spec_learn(ModuleState *state, PyObject *bootstrap_external) {
        PyObject *spec = NULL, *dict = NULL, *key, *value, *attribute;
        Py_ssize_t at = 0;
        int r = -1;

        spec = PyObject_CallMethod(bootstrap_external, "spec_from_file_location", "ss", "m", "/m.py");
        dict = spec ? instance_dict(&state->names, spec) : NULL;
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
                shape->own[shape->n] = own_of(&state->names, attribute);
                if (shape->own[shape->n] != SPEC_SAME)
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
        PyObject *const own[_SPEC_OWN_N] = { [SPEC_NAME] = name,
                                             [SPEC_LOADER] = loader,
                                             [SPEC_ORIGIN] = origin,
                                             [SPEC_LOCATIONS] = locations };
        const SpecShape *shape = &state->shape;
        PyObject *spec = instance_new(state->spec_type);

        for (size_t i = 0; spec && i < shape->n; i++) {
                PyObject *same = shape->values[i], *value;
                int r;

                if (!same)
                        value = Py_NewRef(own[shape->own[i]]);
                else
                        value = PyList_CheckExact(same) ? PyList_New(0) : Py_NewRef(same);
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
