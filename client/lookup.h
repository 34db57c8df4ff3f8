/* SPDX-License-Identifier: MIT */

/*
 * Borrowed references to what dicts have, or NULL, and never an exception: what is looked up here need not be there.
 * PyDict_GetItemString() and PySys_GetObject() are not for that: from CPython 3.13 on they tell on stderr of the memory that
 * they could not get for the name.
 */

#ifndef LOOKUP_H
#define LOOKUP_H

#include <Python.h>

static inline PyObject *lookup(PyObject *dict, const char *name) {
        PyObject *key = PyUnicode_FromString(name);
        PyObject *item = key ? PyDict_GetItemWithError(dict, key) : NULL;

        Py_XDECREF(key);
        if (!item)
                PyErr_Clear();
        return item;
}

/* A module's variables. */
static inline PyObject *lookup_variables(PyObject *module) {
        return module && PyModule_Check(module) ? PyModule_GetDict(module) : NULL;
}

/* A variable of a module. */
static inline PyObject *lookup_variable(PyObject *module, const char *name) {
        PyObject *variables = lookup_variables(module);

        return variables ? lookup(variables, name) : NULL;
}

/* A variable of the module sys. */
static inline PyObject *lookup_sys(const char *name) {
        PyObject *modules = PyImport_GetModuleDict();
        PyObject *sys = modules && PyDict_Check(modules) ? lookup(modules, "sys") : NULL;

        return lookup_variable(sys, name);
}

/* What sys.modules has. */
static inline PyObject *lookup_module(const char *name) {
        PyObject *modules = lookup_sys("modules");

        return modules && PyDict_Check(modules) ? lookup(modules, name) : NULL;
}

#endif
