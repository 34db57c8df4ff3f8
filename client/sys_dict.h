/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SYS_DICT_H
#define SHIMPORT_SYS_DICT_H

/*
 * Variables of the module sys, which importlib asks for in every import. Where dicts have a version, what they were is
 * remembered for as long as that is the same.
 */

#include <Python.h>

#include <string.h>

#include "guard.h"

#define SYS_VARIABLES(X)       \
        X(dont_write_bytecode) \
        X(meta_path)           \
        X(modules)             \
        X(path)                \
        X(path_hooks)          \
        X(path_importer_cache) \
        X(pycache_prefix)

typedef enum SysVariable {
#define X(name) SYS_##name,
        SYS_VARIABLES(X)
#undef X
        _SYS_VARIABLE_N
} SysVariable;

typedef struct SysDict {
        PyObject *dict, *names[_SYS_VARIABLE_N]; /* owned */
        PyObject *values[_SYS_VARIABLE_N]; /* borrowed from the dict of that version; NULL: not looked up */
        uint64_t version;
} SysDict;

/* Return: 0, or -1 with an exception. */
static inline int sys_dict_learn(SysDict *sys, PyObject *module) {
        static const char *const names[_SYS_VARIABLE_N] = {
#define X(name) #name,
                SYS_VARIABLES(X)
#undef X
        };

        for (int i = 0; i < _SYS_VARIABLE_N; i++)
                if (!(sys->names[i] = PyUnicode_InternFromString(names[i])))
                        return -1;
        sys->dict = Py_XNewRef(PyModule_GetDict(module));
        return sys->dict ? 0 : -1;
}

/* Return: borrowed, or NULL if there is none, maybe with an exception. */
static inline PyObject *sys_dict_get(SysDict *sys, SysVariable variable) {
        uint64_t version = sys->dict ? guard_dict_version(sys->dict) : 0;

        if (version == 0)
                return sys->dict ? PyDict_GetItemWithError(sys->dict, sys->names[variable]) : NULL;
        if (version != sys->version) {
                memset(sys->values, 0, sizeof(sys->values));
                sys->version = version;
        }
        if (!sys->values[variable])
                sys->values[variable] = PyDict_GetItemWithError(sys->dict, sys->names[variable]);
        return sys->values[variable];
}

static inline void sys_dict_forget(SysDict *sys) {
        Py_CLEAR(sys->dict);
        for (int i = 0; i < _SYS_VARIABLE_N; i++)
                Py_CLEAR(sys->names[i]);
}

#endif
