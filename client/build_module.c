/* SPDX-License-Identifier: MIT */

/* `_shimport_build`, the extension of builders; no other process loads it. */

#include <Python.h>

#include "channel.h"
#include "freezer.h"
#include "image.h"
#include "previous.h"
#include "tag.h"
#include "writer.h"

static PyObject *build_tag(PyObject *module, PyObject *args) {
        const char *options;

        (void)module;
        (void)args;
        return tag_new(&options);
}

static int add_type(PyObject *module, const char *name, PyObject *consume_type) {
        int r = consume_type ? PyModule_AddObjectRef(module, name, consume_type) : -1;

        Py_XDECREF(consume_type);
        return r;
}

static int build_exec(PyObject *module) {
        static const struct {
                const char *name;
                long value;
        } kinds[] = {
                { "KIND_STOCK", IMAGE_KIND_STOCK },
                { "KIND_SOURCE", IMAGE_KIND_SOURCE },
                { "KIND_SOURCELESS", IMAGE_KIND_SOURCELESS },
                { "KIND_EXTENSION", IMAGE_KIND_EXTENSION },
                { "KIND_NAMESPACE", IMAGE_KIND_NAMESPACE },
                { "KIND_METADATA", IMAGE_KIND_METADATA },
                { "KIND_FILE", IMAGE_KIND_FILE },
        };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (PyModule_AddIntConstant(module, kinds[i].name, kinds[i].value) < 0)
                        return -1;
        if (add_type(module, "Channel", channel_type_new(module)) < 0)
                return -1;
        if (add_type(module, "Freezer", freezer_type_new(module)) < 0)
                return -1;
        if (add_type(module, "Previous", previous_type_new(module)) < 0)
                return -1;
        return add_type(module, "ImageWriter", writer_type_new(module));
}

static PyMethodDef build_methods[] = {
        { "tag", build_tag, METH_NOARGS, "tag()\n--\n\nThe interpreter tag." },
        { 0 },
};

static PyModuleDef_Slot build_slots[] = {
        { Py_mod_exec, build_exec },
#ifdef Py_GIL_DISABLED
        { Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
        { 0, NULL },
};

static PyModuleDef build_definition = {
        PyModuleDef_HEAD_INIT,
        .m_name = "_shimport_build",
        .m_doc = "The builder side of shimport: see shimport/builder.py.",
        .m_methods = build_methods,
        .m_slots = build_slots,
};

PyMODINIT_FUNC PyInit__shimport_build(void) {
        return PyModuleDef_Init(&build_definition);
}
