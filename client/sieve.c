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

PyObject *sieve_callable(const ModuleState *state, PyMethodDef *call) {
        return PyCFunction_New(call, (PyObject *)state->sieve);
}

void sieve_forget(ModuleState *state) {
        if (state->sieve)
                state->sieve->state = NULL;
        Py_CLEAR(state->sieve);
}
