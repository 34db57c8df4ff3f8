/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_GUARD_H
#define SHIMPORT_GUARD_H

/*
 * A module's variable that is to be as it was: where a program has put its own there, importlib's code must run, which looks
 * it up.
 */

#include <Python.h>

#include <stdbool.h>

typedef struct Guard {
        PyObject *dict, *name, *value; /* owned */
} Guard;

/* Return: 0, or -1 with an exception, if there is no such variable as well. */
static inline int guard_learn(Guard *guard, PyObject *module, const char *name) {
        if (!(guard->name = PyUnicode_InternFromString(name)) ||
            !(guard->value = PyObject_GetAttr(module, guard->name)))
                return -1;
        guard->dict = Py_NewRef(PyModule_GetDict(module));
        return 0;
}

/* Guards that have learnt nothing hold. */
static inline bool guards_hold(const Guard *guards, size_t n) {
        bool hold = true;

        for (size_t i = 0; hold && i < n; i++)
                hold = !guards[i].dict ||
                       PyDict_GetItemWithError(guards[i].dict, guards[i].name) == guards[i].value;
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
