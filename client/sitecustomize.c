/* SPDX-License-Identifier: MIT */

/*
 * `sitecustomize`, for `shimportctl run`: the same shared object under another name, in a directory of its own that
 * `run` puts first on PYTHONPATH. It activates shimport, takes that directory off sys.path again, and then imports
 * the sitecustomize that would have been found without it, see execsitecustomize() in site.py. The client's own
 * directory goes to the end of sys.path, so that `import shimport` works.
 */

#include <Python.h>

#include <string.h>

#include "lookup.h"

/* Up to the last slash. Return: a new str, or NULL with an exception. */
static PyObject *parent_of(PyObject *path) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(path);
        Py_ssize_t slash = PyUnicode_FindChar(path, '/', 0, length, -1);

        if (slash < 0) {
                PyErr_SetString(PyExc_ImportError, "sitecustomize was not imported by an absolute path");
                return NULL;
        }
        return PyUnicode_Substring(path, 0, slash);
}

static int path_move(PyObject *run_directory, PyObject *client_directory) {
        PyObject *path = lookup_sys("path"), *cache = lookup_sys("path_importer_cache");

        if (!path || !PyList_Check(path)) {
                PyErr_SetString(PyExc_ImportError, "sys.path is no list");
                return -1;
        }
        for (Py_ssize_t i = PyList_GET_SIZE(path); i-- > 0;) {
                int equal = PyObject_RichCompareBool(PyList_GET_ITEM(path, i), run_directory, Py_EQ);

                if (equal < 0 || (equal && PySequence_DelItem(path, i) < 0))
                        return -1;
        }
        if (cache && PyDict_Check(cache) && PyDict_DelItem(cache, run_directory) < 0)
                PyErr_Clear();
        return PyList_Append(path, client_directory);
}

/* What the .pth line of `shimportctl enable` does, see shimport/describe.py. */
static int load_and_activate(PyObject *client_directory) {
        PyObject *bootstrap = NULL, *external = NULL, *path = NULL, *loader = NULL, *spec = NULL,
                 *module = NULL, *done = NULL;

        if (lookup_module("_shimport"))
                return 0; /* a .pth line came first */
        path = PyUnicode_FromFormat("%U/_shimport.%s.so", client_directory, SHIMPORT_SOABI);
        bootstrap = path ? PyImport_ImportModule("_frozen_importlib") : NULL;
        external = bootstrap ? PyImport_ImportModule("_frozen_importlib_external") : NULL;
        loader = external ? PyObject_CallMethod(external, "ExtensionFileLoader", "sO", "_shimport", path)
                          : NULL;
        spec = loader ? PyObject_CallMethod(bootstrap, "spec_from_loader", "sO", "_shimport", loader) : NULL;
        module = spec ? PyObject_CallMethod(bootstrap, "_load", "O", spec) : NULL;
        done = module ? PyObject_CallMethod(module, "activate", NULL) : NULL;
        Py_XDECREF(path);
        Py_XDECREF(bootstrap);
        Py_XDECREF(external);
        Py_XDECREF(loader);
        Py_XDECREF(spec);
        Py_XDECREF(module);
        Py_XDECREF(done);
        return done ? 0 : -1;
}

static int sitecustomize_exec(PyObject *self) {
        PyObject *spec = PyObject_GetAttrString(self, "__spec__");
        PyObject *origin = spec ? PyObject_GetAttrString(spec, "origin") : NULL;
        PyObject *run_directory = origin && PyUnicode_Check(origin) ? parent_of(origin) : NULL;
        PyObject *client_directory = run_directory ? parent_of(run_directory) : NULL;
        PyObject *modules = lookup_sys("modules"), *real = NULL;

        if (client_directory && path_move(run_directory, client_directory) == 0)
                load_and_activate(client_directory);
        PyErr_Clear(); /* stock then, and no word of it */
        Py_XDECREF(spec);
        Py_XDECREF(origin);
        Py_XDECREF(run_directory);
        Py_XDECREF(client_directory);

        if (!modules || PyDict_DelItemString(modules, "sitecustomize") < 0)
                return -1;
        real = PyImport_ImportModule("sitecustomize"); /* not found: the exception that site.py expects */
        Py_XDECREF(real);
        return real ? 0 : -1;
}

static PyModuleDef_Slot slots[] = {
        { Py_mod_exec, sitecustomize_exec },
#if PY_VERSION_HEX >= 0x030C0000
        { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
#ifdef Py_GIL_DISABLED
        { Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
        { 0, NULL },
};

static PyModuleDef definition = {
        PyModuleDef_HEAD_INIT,
        .m_name = "sitecustomize",
        .m_slots = slots,
};

PyMODINIT_FUNC PyInit_sitecustomize(void) {
        return PyModuleDef_Init(&definition);
}
