/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_GUARD_H
#define SHIMPORT_GUARD_H

/*
 * A module's variable that is to be as it was: where a program has put its own there, importlib's code must run, which looks
 * it up.
 */

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

typedef struct Guard {
        PyObject *dict, *name, *value; /* owned */
        uint64_t version; /* of the dict (PEP 509), when the variable was last seen to be as it was */
} Guard;

/* A number that is another after each change of the dict, or 0: 3.12 has deprecated it. */
static inline uint64_t guard_dict_version(PyObject *dict) {
#if PY_VERSION_HEX < 0x030C0000
        return ((PyDictObject *)dict)->ma_version_tag;
#else
        (void)dict;
        return 0;
#endif
}

/* Is the variable as it was? Otherwise there may be an exception. */
static inline bool guard_holds(Guard *guard) {
        uint64_t version = guard_dict_version(guard->dict);

        if (version != 0 && version == guard->version)
                return true;
        if (PyDict_GetItemWithError(guard->dict, guard->name) != guard->value)
                return false;
        guard->version = version;
        return true;
}

/* A variable of a namespace. Return: 0, or -1 with an exception, if there is no such variable as well. */
static inline int guard_learn_in(Guard *guard, PyObject *dict, const char *name) {
        if (!(guard->name = PyUnicode_InternFromString(name)))
                return -1;
        guard->value = Py_XNewRef(PyDict_GetItemWithError(dict, guard->name));
        if (!guard->value) {
                if (!PyErr_Occurred())
                        PyErr_SetObject(PyExc_AttributeError, guard->name);
                return -1;
        }
        guard->dict = Py_NewRef(dict);
        return 0;
}

static inline int guard_learn(Guard *guard, PyObject *module, const char *name) {
        return guard_learn_in(guard, PyModule_GetDict(module), name);
}

/* Guards that have learnt nothing hold. */
static inline bool guards_hold(Guard *guards, size_t n) {
        bool hold = true;

        for (size_t i = 0; hold && i < n; i++)
                hold = !guards[i].dict || guard_holds(&guards[i]);
        if (!hold)
                PyErr_Clear();
        return hold;
}

static inline void guards_forget(Guard *guards, size_t n) {
        for (size_t i = 0; i < n; i++) {
                Py_CLEAR(guards[i].dict);
                Py_CLEAR(guards[i].name);
                Py_CLEAR(guards[i].value);
        }
}

#endif
