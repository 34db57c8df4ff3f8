/* SPDX-License-Identifier: MIT */

#include "freeze_stays.h"

#include <errno.h>

/* What nests deeper than this is no compiler's work. */
#define DEPTH_MAX 100

int freeze_stays_has(PyObject *stays, PyObject *object, bool *ret_has) {
        PyObject *address;
        int has;

        address = PyLong_FromVoidPtr(object);
        if (!address)
                return -ENOMEM;
        has = PySet_Contains(stays, address);
        Py_DECREF(address);
        if (has < 0)
                return -ENOMEM;
        *ret_has = has;
        return 0;
}

static int stays_add(PyObject *stays, PyObject *object) {
        PyObject *address;
        int r;

        address = PyLong_FromVoidPtr(object);
        if (!address)
                return -ENOMEM;
        r = PySet_Add(stays, address);
        Py_DECREF(address);
        return r < 0 ? -ENOMEM : 0;
}

static int stays_mark(PyObject *stays, PyObject *object, unsigned depth);

static int stays_mark_code(PyObject *stays, PyCodeObject *code, unsigned depth) {
        PyObject *parts[] = {
                code->co_consts, code->co_names,    code->co_exceptiontable, code->co_localsplusnames,
                code->co_name,   code->co_qualname, code->co_linetable,      code->co_localspluskinds,
        };
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
                r = stays_mark(stays, parts[i], depth);
        return r;
}

static int stays_mark(PyObject *stays, PyObject *object, unsigned depth) {
        bool has;
        int r;

        if (depth > DEPTH_MAX)
                return FREEZE_STAYS_E_DEEP;
        r = freeze_stays_has(stays, object, &has);
        if (r < 0 || has)
                return r;
        r = stays_add(stays, object);
        if (r == 0 && PyCode_Check(object))
                r = stays_mark_code(stays, (PyCodeObject *)object, depth + 1);
        if (PyTuple_CheckExact(object))
                for (Py_ssize_t i = 0; r == 0 && i < PyTuple_GET_SIZE(object); i++)
                        r = stays_mark(stays, PyTuple_GET_ITEM(object, i), depth + 1);
        return r;
}

/* Finds the functions in code that passes, and in what is nested in it. */
static int stays_find(PyObject *stays, PyCodeObject *code, unsigned depth) {
        int r = 0;

        if (code->co_flags & CO_OPTIMIZED)
                return stays_mark(stays, (PyObject *)code, depth);
        if (depth > DEPTH_MAX)
                return FREEZE_STAYS_E_DEEP;
        for (Py_ssize_t i = 0; r == 0 && i < PyTuple_GET_SIZE(code->co_consts); i++)
                if (PyCode_Check(PyTuple_GET_ITEM(code->co_consts, i)))
                        r = stays_find(stays, (PyCodeObject *)PyTuple_GET_ITEM(code->co_consts, i),
                                       depth + 1);
        return r;
}

int freeze_stays_find(PyCodeObject *code, PyObject **ret_stays) {
        PyObject *stays;
        int r;

        stays = PySet_New(NULL);
        if (!stays)
                return -ENOMEM;
        r = stays_find(stays, code, 0);
        if (r == 0)
                *ret_stays = stays;
        else
                Py_DECREF(stays);
        return r;
}
