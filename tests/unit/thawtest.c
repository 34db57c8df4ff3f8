/* SPDX-License-Identifier: MIT */

/*
 * Freeze and thaw in one process, without a daemon: the vehicle of the thaw tests.
 *
 *      freeze(codes)                   freeze a list of marshalled codes: a list of blocks or, where freeze
 *                                      declined, reasons; the texts; their count
 *      Thawer(texts, count)            what a process makes of an image's texts
 *      Thawer.thaw(block, filename)    a code object, or None where the block is refused
 *      supported()                     None, or why not
 *      code_bytes(code)                the bytecode as it lies in memory, with what the specialiser did to it
 *      code_version(code)              co_version, or None
 *      is_interned(string)             how, as PyUnicode_CHECK_INTERNED() says; -1 for anything else
 *      local_names(code)               co_localsplusnames and co_localspluskinds
 *      set_extra(code, index, number)  co_extra
 */

#include "../../client/facts.h"

#include <errno.h>
#include <string.h>

#include "../../client/freeze.h"
#include "../../client/thaw.h"

typedef struct ThawerObject {
        PyObject_HEAD
        PyObject *texts;
        Thawer *thawer;
} ThawerObject;

static Arena *arena;

static void thawer_object_dealloc(PyObject *self) {
        ThawerObject *object = (ThawerObject *)self;
        PyTypeObject *type = Py_TYPE(self);

        thawer_free(object->thawer);
        Py_XDECREF(object->texts);
        type->tp_free(self);
        Py_DECREF(type);
}

static PyObject *thawer_object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
        ThawerObject *self;
        PyObject *texts;
        unsigned count;
        int r = 0;

        (void)kwargs;
        if (!PyArg_ParseTuple(args, "SI:Thawer", &texts, &count))
                return NULL;
        self = (ThawerObject *)type->tp_alloc(type, 0);
        if (!self)
                return NULL;
        self->texts = Py_NewRef(texts);
        if (!arena)
                r = arena_new(&arena);
        if (r == 0)
                r = thawer_new(arena, PyBytes_AS_STRING(texts), (size_t)PyBytes_GET_SIZE(texts), count,
                               &self->thawer);
        if (r < 0) {
                Py_DECREF(self);
                errno = -r;
                return PyErr_SetFromErrno(PyExc_OSError);
        }
        return (PyObject *)self;
}

static PyObject *thawer_object_thaw(PyObject *self, PyObject *args) {
        PyObject *filename, *code;
        Py_buffer block;

        if (!PyArg_ParseTuple(args, "y*U:thaw", &block, &filename))
                return NULL;
        code = thawer_thaw(((ThawerObject *)self)->thawer, block.buf, (size_t)block.len, filename);
        PyBuffer_Release(&block);
        if (!code && !PyErr_Occurred())
                Py_RETURN_NONE;
        return code;
}

static PyMethodDef thawer_object_methods[] = {
        { "thaw", thawer_object_thaw, METH_VARARGS, NULL },
        {},
};

static PyType_Slot thawer_object_slots[] = {
        { Py_tp_new, thawer_object_new },
        { Py_tp_dealloc, thawer_object_dealloc },
        { Py_tp_methods, thawer_object_methods },
        {},
};

static PyType_Spec thawer_object_spec = {
        .name = "_thawtest.Thawer",
        .basicsize = sizeof(ThawerObject),
        .flags = Py_TPFLAGS_DEFAULT,
        .slots = thawer_object_slots,
};

static PyObject *freeze_one(Freezer *freezer, PyObject *marshalled) {
        const char *declined;
        PyObject *block;
        char *bytes;
        Py_ssize_t size;
        int r;

        if (PyBytes_AsStringAndSize(marshalled, &bytes, &size) < 0)
                return NULL;
        r = freezer_add(freezer, bytes, (size_t)size, &block, &declined);
        if (r > 0)
                return PyUnicode_FromString(declined);
        return r < 0 ? NULL : block;
}

static PyObject *freeze(PyObject *module, PyObject *list) {
        PyObject *blocks, *texts = NULL;
        const char *declined;
        Freezer *freezer;
        uint32_t count = 0;
        int r;

        (void)module;
        if (!PyList_Check(list))
                return PyErr_Format(PyExc_TypeError, "a list");
        r = freezer_new(&freezer, &declined);
        if (r > 0)
                return PyErr_Format(PyExc_RuntimeError, "%s", declined);
        if (r < 0)
                return NULL;
        blocks = PyList_New(0);
        for (Py_ssize_t i = 0; blocks && i < PyList_GET_SIZE(list); i++) {
                PyObject *block = freeze_one(freezer, PyList_GET_ITEM(list, i));

                if (!block || PyList_Append(blocks, block) < 0)
                        Py_CLEAR(blocks);
                Py_XDECREF(block);
        }
        if (blocks)
                texts = freezer_texts(freezer, &count);
        freezer_free(freezer);
        if (!texts) {
                Py_XDECREF(blocks);
                return NULL;
        }
        return Py_BuildValue("NNI", blocks, texts, count);
}

static PyObject *supported(PyObject *module, PyObject *args) {
        const char *why = thaw_supported();

        (void)module;
        (void)args;
        return why ? PyUnicode_FromString(why) : Py_NewRef(Py_None);
}

#if FACTS_KNOWN

static PyObject *code_bytes(PyObject *module, PyObject *object) {
        PyCodeObject *code = (PyCodeObject *)object;

        (void)module;
        if (!PyCode_Check(object))
                return PyErr_Format(PyExc_TypeError, "a code object");
        return PyBytes_FromStringAndSize(code->co_code_adaptive,
                                         Py_SIZE(code) * (Py_ssize_t)sizeof(_Py_CODEUNIT));
}

static PyObject *code_version(PyObject *module, PyObject *object) {
        (void)module;
#if FACTS_FROM(12)
        if (PyCode_Check(object))
                return PyLong_FromUnsignedLong(((PyCodeObject *)object)->co_version);
#else
        (void)object;
#endif
        Py_RETURN_NONE;
}

static PyObject *is_interned(PyObject *module, PyObject *object) {
        (void)module;
        return PyLong_FromLong(PyUnicode_CheckExact(object) ? (long)PyUnicode_CHECK_INTERNED(object) : -1);
}

static PyObject *local_names(PyObject *module, PyObject *object) {
        PyCodeObject *code = (PyCodeObject *)object;

        (void)module;
        if (!PyCode_Check(object))
                return PyErr_Format(PyExc_TypeError, "a code object");
        return Py_BuildValue("OO", code->co_localsplusnames, code->co_localspluskinds);
}

static PyObject *set_extra(PyObject *module, PyObject *args) {
        static Py_ssize_t index = -1;
        PyObject *code;
        void *found;
        size_t number;

        (void)module;
        if (!PyArg_ParseTuple(args, "O!n:set_extra", &PyCode_Type, &code, (Py_ssize_t *)&number))
                return NULL;
#if FACTS_IS(11)
        if (index < 0)
                index = _PyEval_RequestCodeExtraIndex(NULL);
        if (_PyCode_SetExtra(code, index, (void *)number) < 0 || _PyCode_GetExtra(code, index, &found) < 0)
                return NULL;
#else
        if (index < 0)
                index = PyUnstable_Eval_RequestCodeExtraIndex(NULL);
        if (PyUnstable_Code_SetExtra(code, index, (void *)number) < 0 ||
            PyUnstable_Code_GetExtra(code, index, &found) < 0)
                return NULL;
#endif
        return PyLong_FromVoidPtr(found);
}

#endif

static PyMethodDef methods[] = {
        { "freeze", freeze, METH_O, NULL },
        { "supported", supported, METH_NOARGS, NULL },
#if FACTS_KNOWN
        { "code_bytes", code_bytes, METH_O, NULL },
        { "code_version", code_version, METH_O, NULL },
        { "is_interned", is_interned, METH_O, NULL },
        { "local_names", local_names, METH_O, NULL },
        { "set_extra", set_extra, METH_VARARGS, NULL },
#endif
        {},
};

static int execute(PyObject *module) {
        PyObject *type;
        int r;

        type = PyType_FromSpec(&thawer_object_spec);
        if (!type)
                return -1;
        r = PyModule_AddObjectRef(module, "Thawer", type);
        Py_DECREF(type);
        return r;
}

static PyModuleDef_Slot slots[] = {
        { Py_mod_exec, execute },
        {},
};

static PyModuleDef definition = {
        PyModuleDef_HEAD_INIT,
        .m_name = "_thawtest",
        .m_methods = methods,
        .m_slots = slots,
};

PyMODINIT_FUNC PyInit__thawtest(void) {
        return PyModuleDef_Init(&definition);
}
