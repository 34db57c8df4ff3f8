/* SPDX-License-Identifier: MIT */

#include "stock.h"

#include "spec.h"
#include "util.h"

typedef struct StockMethod {
        PyTypeObject *type;
        PyObject *name;
} StockMethod;

static void stock_methods(const ModuleState *state, StockMethod ret_methods[STOCK_METHODS]) {
        const Names *names = &state->names;
        const StockMethod methods[] = {
                { state->stock_finder, names->find_spec },      { state->stock_loader, names->get_code },
                { state->stock_loader, names->get_data },       { state->stock_loader, names->path_stats },
                { state->stock_loader, names->source_to_code },
        };

        _Static_assert(ELEMENTSOF(methods) == STOCK_METHODS, "each method has its place in the state");
        for (size_t i = 0; i < STOCK_METHODS; i++)
                ret_methods[i] = methods[i];
}

bool stock_is_patched(const ModuleState *state) {
        StockMethod methods[STOCK_METHODS];

        stock_methods(state, methods);
        for (size_t i = 0; i < STOCK_METHODS; i++) {
                PyObject *now = PyObject_GetAttr((PyObject *)methods[i].type, methods[i].name);

                if (!now)
                        PyErr_Clear();
                Py_XDECREF(now);
                if (now != state->stock_methods[i])
                        return true;
        }
        return false;
}

static PyObject *learn_class(PyObject *module, const char *name) {
        PyObject *class = PyObject_GetAttrString(module, name);

        if (class && !PyType_Check(class)) {
                PyErr_Format(PyExc_TypeError, "%s is no class", name);
                Py_CLEAR(class);
        }
        return class;
}

int stock_learn(ModuleState *state) {
        PyObject *external = PyImport_ImportModule("_frozen_importlib_external");
        PyObject *imp = external ? PyImport_ImportModule("_imp") : NULL;
        PyObject *details = NULL;
        StockMethod methods[STOCK_METHODS];
        int r = -1;

        if (!imp)
                goto finish;
        state->stock_finder = (PyTypeObject *)learn_class(external, "FileFinder");
        state->stock_loader = (PyTypeObject *)learn_class(external, "SourceFileLoader");
        state->sourceless_loader = learn_class(external, "SourcelessFileLoader");
        state->extension_loader = learn_class(external, "ExtensionFileLoader");
        state->fix_co_filename = PyObject_GetAttrString(imp, "_fix_co_filename");
        details = PyObject_CallMethod(external, "_get_supported_file_loaders", NULL);
        state->loader_details = details ? PySequence_Tuple(details) : NULL;
        if (!state->stock_finder || !state->stock_loader || !state->sourceless_loader ||
            !state->extension_loader || !state->fix_co_filename || !state->loader_details)
                goto finish;

        stock_methods(state, methods);
        for (size_t i = 0; i < STOCK_METHODS; i++) {
                state->stock_methods[i] = PyObject_GetAttr((PyObject *)methods[i].type, methods[i].name);
                if (!state->stock_methods[i])
                        goto finish;
        }
        r = spec_learn(state, external);
        if (r > 0)
                PyOS_snprintf(state->reason, sizeof(state->reason), "this Python's module specs are unknown");
finish:
        Py_XDECREF(external);
        Py_XDECREF(imp);
        Py_XDECREF(details);
        return r;
}

void stock_forget(ModuleState *state) {
        Py_CLEAR(state->spec_type);
        Py_CLEAR(state->stock_finder);
        Py_CLEAR(state->stock_loader);
        Py_CLEAR(state->sourceless_loader);
        Py_CLEAR(state->extension_loader);
        Py_CLEAR(state->fix_co_filename);
        Py_CLEAR(state->loader_details);
        for (size_t i = 0; i < STOCK_METHODS; i++)
                Py_CLEAR(state->stock_methods[i]);
        spec_forget(state);
}
