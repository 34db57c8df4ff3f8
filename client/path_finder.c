/* SPDX-License-Identifier: MIT */

#include "path_finder.h"

#include "finder.h"
#include "sieve.h"
#include "stock.h"

typedef struct Search {
        PyObject_HEAD
        Sieve *sieve;
        PyObject *path; /* a list */
        PyObject *name; /* str; tail is its last part */
        const char *tail;
        size_t length;
        Py_ssize_t at;
} Search;

/* As _path_hooks() would come to FileFinder's hook: zipimport's, which takes no directory, may stand before it. */
static bool hooks_are_usual(ModuleState *state) {
        PyObject *hooks = sys_dict_get(&state->sys, SYS_path_hooks);

        if (!hooks || !PyList_CheckExact(hooks))
                return false;
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(hooks); i++) {
                PyObject *hook = PyList_GET_ITEM(hooks, i);

                if (hook == state->file_hook)
                        return true;
                if (hook != state->zip_importer)
                        return false;
        }
        return false;
}

/* What _path_importer_cache() gives for an entry. Return: new; NULL if it must be asked itself. */
static PyObject *entry_finder(ModuleState *state, PyObject *entry) {
        PyObject *cache = sys_dict_get(&state->sys, SYS_path_importer_cache);
        PyObject *finder;

        if (!cache || !PyDict_CheckExact(cache) || !PyUnicode_CheckExact(entry))
                return NULL;
        finder = Py_XNewRef(PyDict_GetItemWithError(cache, entry));
        if (finder || PyErr_Occurred() || !hooks_are_usual(state))
                return finder;
        Py_INCREF(cache);
        finder = finder_for(state, entry);
        if (finder && PyDict_SetItem(cache, entry, finder) < 0)
                Py_CLEAR(finder);
        Py_DECREF(cache);
        return finder;
}

/* Return: 1 if the entry has nothing to say, 0 if it may have, -1 with an exception. */
static int entry_lacks(ModuleState *state, PyObject *entry, const char *tail, size_t length) {
        PyObject *finder = entry_finder(state, entry);
        int r = finder == Py_None;

        if (!finder)
                return PyErr_Occurred() && !memory_was_short() ? -1 : 0;
        if (Py_IS_TYPE(finder, state->finder_type))
                r = finder_lacks(state, finder, tail, length);
        Py_DECREF(finder);
        return r;
}

/* What _get_spec() has of the entries before the first one that is not served, and of that nothing. */
static PyObject *find_in_list(ModuleState *state, PyObject *name, PyObject *path) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(path); i++) {
                PyObject *entry = Py_NewRef(PyList_GET_ITEM(path, i));
                PyObject *finder = entry_finder(state, entry), *spec = NULL;
                bool passed = finder == Py_None;

                if (finder && !passed) {
                        spec = finder_find(state, finder, name);
                        passed = spec == Py_None;
                }
                Py_DECREF(entry);
                Py_XDECREF(finder);
                if (!passed)
                        return spec;
                Py_XDECREF(spec);
        }
        return NULL;
}

PyObject *path_finder_find(ModuleState *state, PyObject *name, PyObject *path) {
        PyObject *spec;

        if (path == Py_None)
                path = sys_dict_get(&state->sys, SYS_path);
        if (!path || !PyList_CheckExact(path) || stock_is_patched(state) || stock_search_is_patched(state))
                return NULL;
        Py_INCREF(path);
        spec = find_in_list(state, name, path);
        Py_DECREF(path);
        return spec;
}

static PyObject *search_next(PyObject *self) {
        Search *search = (Search *)self;

        while (search->at < PyList_GET_SIZE(search->path)) {
                PyObject *entry = Py_NewRef(PyList_GET_ITEM(search->path, search->at++));
                ModuleState *state = search->sieve->state;
                int r;

                if (!state || !state->active || stock_is_patched(state) || stock_search_is_patched(state))
                        return entry;
                r = entry_lacks(state, entry, search->tail, search->length);
                if (r == 0)
                        return entry;
                Py_DECREF(entry);
                if (r < 0)
                        break;
        }
        return NULL;
}

static PyObject *search_repr(PyObject *self) {
        return PyObject_Repr(((Search *)self)->path);
}

static void search_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        Py_XDECREF((PyObject *)((Search *)self)->sieve);
        Py_XDECREF(((Search *)self)->path);
        Py_XDECREF(((Search *)self)->name);
        type->tp_free(self);
        Py_DECREF(type);
}

static PyTypeObject *search_type_new(void) {
        static PyType_Slot slots[] = {
                { Py_tp_iter, PyObject_SelfIter },
                { Py_tp_iternext, search_next },
                { Py_tp_repr, search_repr },
                { Py_tp_dealloc, search_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.Search",
                .basicsize = sizeof(Search),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}

static PyObject *search_new(Sieve *sieve, PyObject *path, PyObject *name, const char *tail, size_t length) {
        Search *search = (Search *)sieve->state->search_type->tp_alloc(sieve->state->search_type, 0);

        if (search) {
                search->sieve = (Sieve *)Py_NewRef(sieve);
                search->path = Py_NewRef(path);
                search->name = Py_NewRef(name);
                search->tail = tail;
                search->length = length;
        }
        return (PyObject *)search;
}

/* What is spliced into find_spec(): cls, fullname and path give the path to search. */
static PyObject *sieve_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        ModuleState *state = ((Sieve *)self)->state;
        PyObject *path;
        const char *tail;
        size_t length;

        if (n != 3)
                return PyErr_Format(PyExc_TypeError, "three arguments, not %zd", n);
        if (!state || !state->active || args[0] != (PyObject *)state->path_finder)
                goto stock;
        path = args[2];
        if (!PyList_CheckExact(path) || PyList_GET_SIZE(path) == 0 || stock_is_patched(state) ||
            stock_search_is_patched(state))
                goto stock;
        if (PyList_GET_SIZE(path) == 1) {
                PyObject *entry = Py_NewRef(PyList_GET_ITEM(path, 0));

                Py_XDECREF(entry_finder(state, entry)); /* nothing to pass over, but no hooks to ask either */
                Py_DECREF(entry);
                goto stock;
        }
        tail = finder_tail(args[1], &length);
        if (tail) {
                PyObject *search = search_new((Sieve *)self, path, args[1], tail, length);

                if (search)
                        return search;
        }
stock:
        return PyErr_Occurred() && !memory_was_short() ? NULL : Py_NewRef(args[2]);
}

int path_finder_install(ModuleState *state) {
        static PyMethodDef call = { "sieve", (PyCFunction)(void (*)(void))sieve_call, METH_FASTCALL, NULL };
        PyObject *method;
        int r = -1;

        if (!(state->search_type = search_type_new()))
                return -1;
        method = PyObject_GetAttr((PyObject *)state->path_finder, state->names.find_spec);
        if (method)
                r = PyMethod_Check(method)
                            ? sieve_splice(state, PyMethod_GET_FUNCTION(method), splice_call, 3, &call)
                            : 1;
        Py_XDECREF(method);
        return r < 0 ? -1 : 0;
}
