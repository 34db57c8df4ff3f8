/* SPDX-License-Identifier: MIT */

#include "create.h"

/* Is it importlib's module_from_spec() that calls? */
static bool asked_by_importlib(const ModuleState *state) {
        PyFrameObject *frame = PyEval_GetFrame();
        PyCodeObject *code = frame ? PyFrame_GetCode(frame) : NULL;

        Py_XDECREF((PyObject *)code);
        return code && (PyObject *)code == state->module_from_spec;
}

/* spec.parent. Return: new, or NULL with an exception. */
static PyObject *parent_of(PyObject *name, PyObject *locations) {
        Py_ssize_t dot;

        if (locations != Py_None)
                return Py_NewRef(name);
        dot = PyUnicode_FindChar(name, '.', 0, PyUnicode_GET_LENGTH(name), -1);
        return dot < -1 ? NULL : PyUnicode_Substring(name, 0, dot < 0 ? 0 : dot);
}

/* Sets an attribute that is consumed. */
static int put(PyObject *dict, PyObject *name, PyObject *consume_value) {
        int r = consume_value ? PyDict_SetItem(dict, name, consume_value) : -1;

        Py_XDECREF(consume_value);
        return r;
}

/* In the order in which stock sets them: the first of these are there in every new module. */
static int fill(ModuleState *state, PyObject *dict, PyObject *spec, PyObject *name, PyObject *locations) {
        const Names *names = &state->names;
        PyObject *cached;

        if ((state->created.package && put(dict, names->__package__, parent_of(name, locations)) < 0) ||
            put(dict, names->__loader__, PyObject_GenericGetAttr(spec, names->loader)) < 0 ||
            PyDict_SetItem(dict, names->__spec__, spec) < 0 ||
            (locations != Py_None && PyDict_SetItem(dict, names->__path__, locations) < 0) ||
            put(dict, names->__file__, PyObject_GenericGetAttr(spec, names->origin)) < 0)
                return -1;
        if (!state->created.cached)
                return 0;
        cached = PyObject_GenericGetAttr(spec, names->_cached);
        if (cached == Py_None) { /* then there is no such attribute */
                Py_DECREF(cached);
                return 0;
        }
        return put(dict, names->__cached__, cached);
}

/* Return: new; None for a spec that is not as ours are; NULL with an exception. */
static PyObject *module_new(ModuleState *state, PyObject *spec) {
        const Names *names = &state->names;
        PyObject *name = NULL, *locations = NULL, *located = NULL, *module = NULL;

        if (!Py_IS_TYPE(spec, state->spec_type))
                Py_RETURN_NONE;
        name = PyObject_GenericGetAttr(spec, names->name);
        locations = name ? PyObject_GenericGetAttr(spec, names->submodule_search_locations) : NULL;
        located = locations ? PyObject_GenericGetAttr(spec, names->_set_fileattr) : NULL;
        if (!located)
                goto finish;
        if (located != Py_True || !PyUnicode_CheckExact(name)) {
                module = Py_NewRef(Py_None);
                goto finish;
        }
        module = PyModule_NewObject(name);
        if (module && fill(state, PyModule_GetDict(module), spec, name, locations) < 0)
                Py_CLEAR(module);
finish:
        Py_XDECREF(name);
        Py_XDECREF(locations);
        Py_XDECREF(located);
        return module;
}

PyObject *create_module(ModuleState *state, PyObject *spec) {
        PyObject *module;

        if (state->created.learnt != CREATED_KNOWN || !asked_by_importlib(state))
                Py_RETURN_NONE;
        module = module_new(state, spec);
        if (!module && memory_was_short())
                Py_RETURN_NONE; /* importlib makes one */
        return module;
}

/* Are two dicts equal, in their order as well? Return: 1, 0, or -1. */
static int same_dicts(PyObject *one, PyObject *other) {
        PyObject *keys = PyDict_Keys(one), *others = keys ? PyDict_Keys(other) : NULL;
        int r = others ? PyObject_RichCompareBool(keys, others, Py_EQ) : -1;

        Py_XDECREF(keys);
        Py_XDECREF(others);
        return r > 0 ? PyObject_RichCompareBool(one, other, Py_EQ) : r;
}

int create_learn(ModuleState *state, PyObject *module, PyObject *spec) {
        const Names *names = &state->names;
        PyObject *dict, *package, *made;
        int r;

        if (state->created.learnt != CREATED_UNKNOWN || !PyModule_CheckExact(module) || !spec)
                return 0;
        dict = PyModule_GetDict(module);
        package = PyDict_GetItemWithError(dict, names->__package__);
        if (!package && PyErr_Occurred())
                return -1;
        r = PyDict_Contains(dict, names->__cached__);
        if (r < 0)
                return -1;
        state->created.package = package && package != Py_None;
        state->created.cached = r;
        made = module_new(state, spec);
        if (!made)
                return -1;
        r = made == Py_None ? 0 : same_dicts(PyModule_GetDict(made), dict);
        Py_XDECREF(made);
        if (r < 0)
                return -1;
        state->created.learnt = r ? CREATED_KNOWN : CREATED_OTHERWISE;
        return 0;
}
