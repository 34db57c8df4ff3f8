/* SPDX-License-Identifier: MIT */

#include "sieve.h"

static void sieve_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        type->tp_free(self);
        Py_DECREF(type);
}

/* Without the module, like a place's: code objects, which refer to the sieve, are not known to the garbage collector. */
static PyTypeObject *sieve_type_new(void) {
        static PyType_Slot slots[] = {
                { Py_tp_dealloc, sieve_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.Sieve",
                .basicsize = sizeof(Sieve),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}

int sieve_install(ModuleState *state) {
        PyTypeObject *type = sieve_type_new();

        state->sieve = type ? (Sieve *)type->tp_alloc(type, 0) : NULL;
        Py_XDECREF((PyObject *)type); /* the sieve has its own */
        if (!state->sieve)
                return -1;
        state->sieve->state = state;
        return 0;
}

int sieve_splice(const ModuleState *state, PyObject *function, Splice splice, unsigned arguments,
                 PyMethodDef *call) {
        PyObject *callable = PyCFunction_New(call, (PyObject *)state->sieve);
        int r = callable ? splice(function, arguments, callable) : -1;

        Py_XDECREF(callable);
        return r;
}

int sieve_splice_into(const ModuleState *state, PyObject *where, const char *name, Splice splice,
                      unsigned arguments, PyMethodDef *call) {
        PyObject *function = PyObject_GetAttrString(where, name);
        int r = function ? sieve_splice(state, function, splice, arguments, call) : -1;

        Py_XDECREF(function);
        return r;
}

void sieve_forget(ModuleState *state) {
        if (state->sieve)
                state->sieve->state = NULL;
        Py_CLEAR(state->sieve);
}
