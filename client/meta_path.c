/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "meta_path.h"

#include "audit.h"
#include "lookup.h"
#include "path_finder.h"
#include "sieve.h"
#include "stock.h"

typedef struct Inquiry {
        PyObject_HEAD
        Sieve *sieve;
        PyObject *finders; /* a list */
        PyObject *name;    /* str */
        PyObject *path;
        PyObject *spec; /* what PathFinder would find, once it is its turn */
        Py_ssize_t at;
} Inquiry;

/* ---- modules that are in no file ---- */

/* Are the tables of these those that were looked at? */
static bool tables_are_known(const ModuleState *state) {
        return state->tables.builtin == PyImport_Inittab && state->tables.frozen == PyImport_FrozenModules;
}

static bool lists_os(const ModuleState *state) {
        PyObject *name = PyUnicode_FromString("os");
        bool listed = name && PySet_Contains(state->tables.names, name) > 0;

        Py_XDECREF(name);
        return listed;
}

/* A set of all names. Return: 0; 1 if there is no telling; -1 with an exception. */
static int tables_learn(ModuleState *state) {
        PyObject *builtin = lookup_sys("builtin_module_names"), *imp = PyImport_ImportModule("_imp");
        PyObject *frozen = imp ? PyObject_CallMethod(imp, "_frozen_module_names", NULL) : NULL;
        int r = -1;

        if (frozen) {
                state->tables.acquire_lock = PyObject_GetAttrString(imp, "acquire_lock");
                state->tables.release_lock = PyObject_GetAttrString(imp, "release_lock");
                if (!state->tables.acquire_lock || !state->tables.release_lock)
                        Py_CLEAR(frozen);
        }
        Py_XDECREF(imp);
        if (!frozen && PyErr_ExceptionMatches(PyExc_AttributeError)) {
                PyErr_Clear();
                return 1;
        }
        if (frozen && (!builtin || !PyTuple_Check(builtin) || !PyList_Check(frozen)))
                r = 1;
        else if (frozen)
                state->tables.names = PySet_New(builtin);
        if (state->tables.names)
                r = 0;
        for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(frozen); i++)
                r = PySet_Add(state->tables.names, PyList_GET_ITEM(frozen, i));
        /* With -X frozen_modules=off most are not among them, but may be asked for later. */
        if (r == 0 && !lists_os(state))
                r = PyErr_Occurred() ? -1 : 1;
        Py_XDECREF(frozen);
        state->tables.builtin = PyImport_Inittab;
        state->tables.frozen = PyImport_FrozenModules;
        return r;
}

/* Do BuiltinImporter and FrozenImporter have nothing of that name? */
static bool tables_lack(const ModuleState *state, PyObject *name) {
        bool lack = state->tables.names && tables_are_known(state) &&
                    PySet_Contains(state->tables.names, name) == 0;

        PyErr_Clear(); /* then they will say so themselves */
        return lack;
}

/* ---- a search ---- */

/* Does somebody see what runs? An audit hook sees who lists a directory. */
static bool is_looked_at(void) {
        return facts_is_observed() || audit_is_on();
}

/* What PathFinder would find, under the import lock, as importlib has it looked for. Return: as path_finder_find(). */
static PyObject *find(ModuleState *state, PyObject *name, PyObject *path) {
        PyObject *held = PyObject_CallNoArgs(state->tables.acquire_lock), *spec, *type, *value, *traceback,
                 *released;

        if (!held)
                return NULL;
        Py_DECREF(held);
        spec = path_finder_find(state, name, path);
        PyErr_Fetch(&type, &value, &traceback);
        released = PyObject_CallNoArgs(state->tables.release_lock);
        if (!released) {
                Py_XDECREF(type);
                Py_XDECREF(value);
                Py_XDECREF(traceback);
                Py_CLEAR(spec);
                return NULL;
        }
        Py_DECREF(released);
        PyErr_Restore(type, value, traceback);
        return spec;
}

/* Who is to be asked in a finder's place. Return: borrowed; NULL: nobody, with an exception maybe. */
static PyObject *stand_in(ModuleState *state, Inquiry *inquiry, PyObject *finder) {
        if (finder == (PyObject *)state->builtin_importer || finder == (PyObject *)state->frozen_importer)
                return tables_lack(state, inquiry->name) ? NULL : finder;
        if (finder != (PyObject *)state->path_finder)
                return finder;
        Py_XSETREF(inquiry->spec, find(state, inquiry->name, inquiry->path));
        if (!inquiry->spec && PyErr_Occurred() && !memory_was_short())
                return NULL;
        return inquiry->spec ? (PyObject *)inquiry : finder;
}

static PyObject *inquiry_next(PyObject *self) {
        Inquiry *inquiry = (Inquiry *)self;

        while (inquiry->at < PyList_GET_SIZE(inquiry->finders)) {
                PyObject *finder = Py_NewRef(PyList_GET_ITEM(inquiry->finders, inquiry->at++)), *asked;
                ModuleState *state = inquiry->sieve->state;

                if (!state || !state->active || is_looked_at() || stock_importers_are_patched(state))
                        return finder;
                asked = Py_XNewRef(stand_in(state, inquiry, finder));
                Py_DECREF(finder);
                if (asked || PyErr_Occurred())
                        return asked;
        }
        return NULL;
}

/* In PathFinder's place, as importlib calls its find_spec(). */
static PyObject *inquiry_find_spec(PyObject *self, PyObject *args) {
        PyObject *spec = ((Inquiry *)self)->spec;

        (void)args;
        return Py_NewRef(spec ? spec : Py_None);
}

static PyObject *inquiry_repr(PyObject *self) {
        return PyObject_Repr(((Inquiry *)self)->finders);
}

static void inquiry_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        Py_XDECREF((PyObject *)((Inquiry *)self)->sieve);
        Py_XDECREF(((Inquiry *)self)->finders);
        Py_XDECREF(((Inquiry *)self)->name);
        Py_XDECREF(((Inquiry *)self)->path);
        Py_XDECREF(((Inquiry *)self)->spec);
        type->tp_free(self);
        Py_DECREF(type);
}

static PyTypeObject *inquiry_type_new(void) {
        static PyMethodDef methods[] = {
                { "find_spec", inquiry_find_spec, METH_VARARGS, NULL },
                { 0 },
        };
        static PyType_Slot slots[] = {
                { Py_tp_iter, PyObject_SelfIter },  { Py_tp_iternext, inquiry_next },
                { Py_tp_methods, methods },         { Py_tp_repr, inquiry_repr },
                { Py_tp_dealloc, inquiry_dealloc }, { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.Inquiry",
                .basicsize = sizeof(Inquiry),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}

/* Without PathFinder the finders may be none that are left, and importlib would warn of that. */
static bool has_path_finder(const ModuleState *state, PyObject *finders) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(finders); i++)
                if (PyList_GET_ITEM(finders, i) == (PyObject *)state->path_finder)
                        return true;
        return false;
}

/* Are the first that are asked those three of importlib's own, as they were? */
static bool are_usual(ModuleState *state, PyObject *finders) {
        return finders && PyList_CheckExact(finders) && PyList_GET_SIZE(finders) >= 3 &&
               PyList_GET_ITEM(finders, 0) == (PyObject *)state->builtin_importer &&
               PyList_GET_ITEM(finders, 1) == (PyObject *)state->frozen_importer &&
               PyList_GET_ITEM(finders, 2) == (PyObject *)state->path_finder &&
               !stock_importers_are_patched(state);
}

/* What is spliced into _find_spec(): name, path and target, and the list of finders. */
static PyObject *inquiry_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        ModuleState *state = ((Sieve *)self)->state;
        PyObject *finders;
        Inquiry *inquiry;

        if (n != 4)
                return PyErr_Format(PyExc_TypeError, "four arguments, not %zd", n);
        finders = args[3];
        /* Where they are the usual ones, the answer below has been asked for. */
        if (!state || !state->active || !PyUnicode_CheckExact(args[0]) || !PyList_CheckExact(finders) ||
            !has_path_finder(state, finders) || are_usual(state, finders) || is_looked_at() ||
            stock_importers_are_patched(state))
                return Py_NewRef(finders);
        inquiry = (Inquiry *)state->inquiry_type->tp_alloc(state->inquiry_type, 0);
        if (!inquiry)
                return memory_was_short() ? Py_NewRef(finders) : NULL;
        inquiry->sieve = (Sieve *)Py_NewRef(self);
        inquiry->finders = Py_NewRef(finders);
        inquiry->name = Py_NewRef(args[0]);
        inquiry->path = Py_NewRef(args[1]);
        return (PyObject *)inquiry;
}

/* Return: 1 if a module of that name is there, which is then to be looked at; 0, or -1 with an exception. */
static int is_loaded(ModuleState *state, PyObject *name) {
        PyObject *modules = sys_dict_get(&state->sys, SYS_modules);

        return !modules ? -1 : PyDict_CheckExact(modules) ? PyDict_Contains(modules, name) : 1;
}

/* As _find_spec() ends where a module of that name has come meanwhile. Return: new; NULL with an exception. */
static PyObject *spec_of_loaded(ModuleState *state, PyObject *name, PyObject *consume_spec) {
        PyObject *modules = sys_dict_get(&state->sys, SYS_modules);
        PyObject *module = modules ? PyObject_GetItem(modules, name) : NULL;
        PyObject *spec = module ? PyObject_GetAttr(module, state->names.__spec__) : NULL;

        if (!spec && module && PyErr_ExceptionMatches(PyExc_AttributeError))
                PyErr_Clear();
        else if (spec != Py_None)
                Py_CLEAR(consume_spec);
        Py_XDECREF(module);
        if (!consume_spec)
                return spec;
        Py_XDECREF(spec);
        return consume_spec;
}

/* What is spliced into _find_spec() as well: where no finder of a program's own is asked first, the spec at once. */
static PyObject *answer_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        ModuleState *state = ((Sieve *)self)->state;
        PyObject *spec = NULL;
        int r = 1;

        if (n != 2)
                return PyErr_Format(PyExc_TypeError, "two arguments, not %zd", n);
        if (state && state->active && PyUnicode_CheckExact(args[0]) && !is_looked_at() &&
            are_usual(state, sys_dict_get(&state->sys, SYS_meta_path)) && tables_lack(state, args[0]))
                r = is_loaded(state, args[0]);
        if (r == 0) {
                spec = find(state, args[0], args[1]);
                r = spec ? is_loaded(state, args[0]) : 0;
                if (r > 0)
                        spec = spec_of_loaded(state, args[0], spec);
        }
        if (r < 0)
                Py_CLEAR(spec);
        if (spec || (PyErr_Occurred() && !memory_was_short()))
                return spec;
        Py_RETURN_NONE;
}

int meta_path_install(ModuleState *state) {
        static PyMethodDef inquiry = { "inquiry", (PyCFunction)(void (*)(void))inquiry_call, METH_FASTCALL,
                                       NULL };
        static PyMethodDef answer = { "answer", (PyCFunction)(void (*)(void))answer_call, METH_FASTCALL,
                                      NULL };
        int r = tables_learn(state);

        if (r == 0)
                r = (state->inquiry_type = inquiry_type_new()) ? 0 : -1;
        if (r == 0)
                r = sieve_splice_into(state, state->bootstrap, "_find_spec", splice_call, 4, &inquiry);
        if (r == 0)
                r = sieve_splice_into(state, state->bootstrap, "_find_spec", splice_answer, 2, &answer);
        return r < 0 ? -1 : 0;
}

void meta_path_forget(ModuleState *state) {
        Py_CLEAR(state->inquiry_type);
        Py_CLEAR(state->tables.names);
        Py_CLEAR(state->tables.acquire_lock);
        Py_CLEAR(state->tables.release_lock);
}
