/* SPDX-License-Identifier: MIT */

#include "freezer.h"

#include "freeze.h"
#include "util.h"

typedef struct FreezerObject {
        PyObject_HEAD
        Freezer *freezer; /* NULL where this Python's code cannot be frozen */
        const char *declined;
} FreezerObject;

static PyObject *freezer_object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
        _cleanup_(freezer_freep) Freezer *freezer = NULL;
        const char *declined = NULL;
        FreezerObject *self = NULL;
        Py_buffer texts = { 0 };
        unsigned count = 0;

        if (!PyArg_ParseTuple(args, "|y*I:Freezer", &texts, &count))
                return NULL;
        (void)kwargs;
        if (freezer_new(&freezer, &declined) < 0)
                goto finish;
        if (freezer && freezer_preload(freezer, texts.buf, (size_t)texts.len, count) < 0)
                goto finish;
        self = (FreezerObject *)type->tp_alloc(type, 0);
        if (self) {
                self->freezer = steal_pointer(&freezer);
                self->declined = declined;
        }
finish:
        PyBuffer_Release(&texts);
        return (PyObject *)self;
}

static void freezer_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        freezer_free(((FreezerObject *)self)->freezer);
        type->tp_free(self);
        Py_DECREF(type);
}

PyDoc_STRVAR(add_doc, "add(marshalled)\n--\n\n"
                      "Freeze a module's marshalled code: (block, ''), or (b'', why not).");

static PyObject *freezer_object_add(PyObject *object, PyObject *argument) {
        FreezerObject *self = (FreezerObject *)object;
        const char *declined = self->declined;
        PyObject *block = NULL;
        Py_buffer code;
        int r = FREEZE_E_DECLINED;

        if (PyObject_GetBuffer(argument, &code, PyBUF_SIMPLE) < 0)
                return NULL;
        if (self->freezer)
                r = freezer_add(self->freezer, code.buf, (size_t)code.len, &block, &declined);
        PyBuffer_Release(&code);
        if (r < 0)
                return NULL;
        return r == 0 ? Py_BuildValue("Ns", block, "") : Py_BuildValue("ys", "", declined);
}

PyDoc_STRVAR(texts_doc, "texts()\n--\n\nThe strings that all blocks share: (bytes, count).");

static PyObject *freezer_object_texts(PyObject *object, PyObject *args) {
        FreezerObject *self = (FreezerObject *)object;
        uint32_t count = 0;
        PyObject *texts;

        (void)args;
        texts = self->freezer ? freezer_texts(self->freezer, &count) : PyBytes_FromString("");
        return texts ? Py_BuildValue("NI", texts, (unsigned)count) : NULL;
}

PyObject *freezer_type_new(PyObject *module) {
        static PyMethodDef methods[] = {
                { "add", freezer_object_add, METH_O, add_doc },
                { "texts", freezer_object_texts, METH_NOARGS, texts_doc },
                { 0 },
        };
        static PyType_Slot slots[] = {
                { Py_tp_doc,
                  (void *)"Freezer(texts=b'', count=0)\n--\n\n"
                          "Freezes the code of one image's modules, the texts being those of the image\n"
                          "that blocks are taken over from." },
                { Py_tp_new, freezer_object_new },
                { Py_tp_dealloc, freezer_dealloc },
                { Py_tp_methods, methods },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport_build.Freezer",
                .basicsize = sizeof(FreezerObject),
                .flags = Py_TPFLAGS_DEFAULT,
                .slots = slots,
        };

        return PyType_FromModuleAndSpec(module, &spec, NULL);
}
