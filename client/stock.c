/* SPDX-License-Identifier: MIT */

#include "stock.h"

#include "lookup.h"
#include "spec.h"
#include "util.h"

typedef struct StockMethod {
        PyTypeObject *type;
        PyObject *name;
} StockMethod;

static void stock_methods(const ModuleState *state, StockMethod ret_methods[STOCK_METHODS]) {
        const Names *names = &state->names;
        const StockMethod methods[] = {
                { state->stock_finder, names->find_spec },     { state->stock_finder, names->_get_spec },
                { state->stock_loader, names->get_code },      { state->stock_loader, names->get_data },
                { state->stock_loader, names->path_stats },    { state->stock_loader, names->source_to_code },
                { state->stock_loader, names->__init__ },      { state->stock_loader, names->get_filename },
                { state->stock_loader, names->create_module },
        };

        _Static_assert(ELEMENTSOF(methods) == STOCK_METHODS, "each method has its place in the state");
        for (size_t i = 0; i < STOCK_METHODS; i++)
                ret_methods[i] = methods[i];
}

/* CPython gives a class another version when it or one of its bases changes; 0 is none. */
static bool is_version(const PyTypeObject *type, unsigned version) {
        return version != 0 && type->tp_version_tag == version;
}

bool stock_is_create_module(const ModuleState *state, PyObject *function) {
        return function == state->stock_methods[STOCK_METHODS - 1];
}

static void class_methods(const ModuleState *state, StockMethod ret_methods[STOCK_CLASS_METHODS]) {
        const Names *names = &state->names;
        const StockMethod methods[] = {
                { state->path_finder, names->_get_spec },
                { state->path_finder, names->_path_hooks },
                { state->path_finder, names->_path_importer_cache },
                { state->path_finder, names->find_spec },
                { state->builtin_importer, names->find_spec },
                { state->frozen_importer, names->find_spec },
                { state->spec_type, names->__init__ },
                { state->spec_type, names->parent },
                { state->spec_type, names->cached },
                { state->spec_type, names->has_location },
        };

        _Static_assert(ELEMENTSOF(methods) == STOCK_CLASS_METHODS, "each method has its place in the state");
        for (size_t i = 0; i < STOCK_CLASS_METHODS; i++)
                ret_methods[i] = methods[i];
}

/* As it is in the class: what is got from it is a new object each time. Borrowed. */
static PyObject *class_method(StockMethod method) {
        return PyDict_GetItemWithError(method.type->tp_dict, method.name);
}

/* Has a class got other methods, of those in the table that are its own? */
static bool class_is_patched(ModuleState *state, PyTypeObject *type, unsigned *version) {
        StockMethod methods[STOCK_CLASS_METHODS];
        PyObject *method;

        if (is_version(type, *version))
                return false;
        class_methods(state, methods);
        for (size_t i = 0; i < STOCK_CLASS_METHODS; i++)
                if (methods[i].type == type && (class_method(methods[i]) != state->class_methods[i] ||
                                                (!state->class_methods[i] && type != state->spec_type)))
                        return true;
        /* So that it has a version. */
        method = PyObject_GetAttr((PyObject *)type, state->names.__init__);
        if (method)
                *version = type->tp_version_tag;
        else
                PyErr_Clear();
        Py_XDECREF(method);
        return false;
}

/* Specs are made here as ModuleSpec() makes them. */
static bool spec_is_patched(ModuleState *state) {
        return state->spec_type->tp_setattro != PyObject_GenericSetAttr ||
               class_is_patched(state, state->spec_type, &state->stock_versions[STOCK_SPEC]);
}

bool stock_is_patched(ModuleState *state) {
        StockMethod methods[STOCK_METHODS];

        if (!guards_hold(state->stock_functions, STOCK_FUNCTIONS) || spec_is_patched(state))
                return true;
        if (is_version(state->stock_finder, state->stock_versions[STOCK_FINDER]) &&
            is_version(state->stock_loader, state->stock_versions[STOCK_LOADER]))
                return false;
        stock_methods(state, methods);
        for (size_t i = 0; i < STOCK_METHODS; i++) {
                PyObject *now = PyObject_GetAttr((PyObject *)methods[i].type, methods[i].name);

                if (!now)
                        PyErr_Clear();
                Py_XDECREF(now);
                if (now != state->stock_methods[i])
                        return true;
        }
        state->stock_versions[STOCK_FINDER] = state->stock_finder->tp_version_tag;
        state->stock_versions[STOCK_LOADER] = state->stock_loader->tp_version_tag;
        return false;
}

bool stock_search_is_patched(ModuleState *state) {
        return class_is_patched(state, state->path_finder, &state->stock_versions[STOCK_PATH_FINDER]);
}

bool stock_importers_are_patched(ModuleState *state) {
        return class_is_patched(state, state->builtin_importer,
                                &state->stock_versions[STOCK_BUILTIN_IMPORTER]) ||
               class_is_patched(state, state->frozen_importer, &state->stock_versions[STOCK_FROZEN_IMPORTER]);
}

static PyObject *learn_class(PyObject *module, const char *name) {
        PyObject *class = PyObject_GetAttrString(module, name);

        if (class && !PyType_Check(class)) {
                PyErr_Format(PyExc_TypeError, "%s is no class", name);
                Py_CLEAR(class);
        }
        return class;
}

/* Is it path_hook_for_FileFinder(), a closure over FileFinder and these details? Return: 1, 0, or -1. */
static int is_file_hook(const ModuleState *state, PyObject *hook, PyObject *details) {
        PyObject *closure = PyFunction_Check(hook) ? PyFunction_GET_CLOSURE(hook) : NULL;
        PyObject *class, *own;
        int r;

        if (!closure || PyTuple_GET_SIZE(closure) != 2)
                return 0;
        class = PyCell_GET(PyTuple_GET_ITEM(closure, 0));
        own = PyCell_GET(PyTuple_GET_ITEM(closure, 1));
        if (class != (PyObject *)state->stock_finder || !own || !PyTuple_CheckExact(own))
                return 0;
        own = PySequence_List(own);
        r = own ? PyObject_RichCompareBool(own, details, Py_EQ) : -1;
        Py_XDECREF(own);
        return r;
}

/* Return: 0; 1 if FileFinder's is not among them; -1 with an exception. */
static int learn_hooks(ModuleState *state, PyObject *details) {
        PyObject *hooks = lookup_sys("path_hooks");
        PyObject *name = PyUnicode_FromString("zipimport");
        PyObject *zipimport = name ? PyImport_GetModule(name) : NULL;

        Py_XDECREF(name);
        if (zipimport)
                state->zip_importer = PyObject_GetAttrString(zipimport, "zipimporter");
        Py_XDECREF(zipimport);
        PyErr_Clear();
        for (Py_ssize_t i = 0; hooks && PyList_Check(hooks) && i < PyList_GET_SIZE(hooks); i++) {
                PyObject *hook = PyList_GET_ITEM(hooks, i);
                int r = is_file_hook(state, hook, details);

                if (r < 0)
                        return -1;
                if (r) {
                        state->file_hook = Py_NewRef(hook);
                        state->loader_details =
                                Py_NewRef(PyCell_GET(PyTuple_GET_ITEM(PyFunction_GET_CLOSURE(hook), 1)));
                        return 0;
                }
        }
        PyOS_snprintf(state->reason, sizeof(state->reason), "sys.path_hooks has no hook for FileFinder");
        return 1;
}

/* Return: 0, or -1 with an exception. */
static int learn_classes(ModuleState *state, PyObject *external) {
        const struct {
                PyObject **class;
                PyObject *module;
                const char *name;
        } classes[] = {
                { (PyObject **)&state->stock_finder, external, "FileFinder" },
                { (PyObject **)&state->stock_loader, external, "SourceFileLoader" },
                { &state->sourceless_loader, external, "SourcelessFileLoader" },
                { &state->extension_loader, external, "ExtensionFileLoader" },
                { (PyObject **)&state->path_finder, external, "PathFinder" },
                { (PyObject **)&state->builtin_importer, state->bootstrap, "BuiltinImporter" },
                { (PyObject **)&state->frozen_importer, state->bootstrap, "FrozenImporter" },
        };

        for (size_t i = 0; i < ELEMENTSOF(classes); i++)
                if (!(*classes[i].class = learn_class(classes[i].module, classes[i].name)))
                        return -1;
        return 0;
}

/* Return: 0, or -1 with an exception. */
static int learn_pyc_names(ModuleState *state, PyObject *sys) {
        Guard *guards = state->pyc_names;
        PyObject *variables;
        int r;

        if (guard_learn(&guards[0], sys, "flags") < 0 || guard_learn(&guards[1], sys, "implementation") < 0)
                return -1;
        variables = PyObject_GenericGetDict(guards[1].value, NULL);
        r = variables ? guard_learn_in(&guards[2], variables, "cache_tag") : -1;
        Py_XDECREF(variables);
        return r;
}

bool stock_pycs_are_moved(ModuleState *state) {
        PyObject *prefix = sys_dict_get(&state->sys, SYS_pycache_prefix);

        if (!prefix)
                PyErr_Clear();
        return prefix != Py_None || !guards_hold(state->pyc_names, STOCK_PYC_NAMES);
}

int stock_learn(ModuleState *state) {
        static const char *const functions[STOCK_FUNCTIONS] = { "cache_from_source", "_get_cached",
                                                                "spec_from_file_location" };
        PyObject *external = PyImport_ImportModule("_frozen_importlib_external");
        PyObject *imp = external ? PyImport_ImportModule("_imp") : NULL;
        PyObject *sys = imp ? PyImport_ImportModule("sys") : NULL;
        PyObject *details = NULL;
        StockMethod methods[STOCK_METHODS], others[STOCK_CLASS_METHODS];
        int r = -1;

        if (!sys)
                goto finish;
        state->bootstrap = PyImport_ImportModule("_frozen_importlib");
        if (!state->bootstrap || sys_dict_learn(&state->sys, sys) < 0 || learn_pyc_names(state, sys) < 0 ||
            learn_classes(state, external) < 0)
                goto finish;
        state->fix_co_filename = PyObject_GetAttrString(imp, "_fix_co_filename");
        details = state->fix_co_filename ? PyObject_CallMethod(external, "_get_supported_file_loaders", NULL)
                                         : NULL;
        if (!details)
                goto finish;
        r = learn_hooks(state, details);
        if (r != 0)
                goto finish;
        r = -1;

        stock_methods(state, methods);
        for (size_t i = 0; i < STOCK_METHODS; i++) {
                state->stock_methods[i] = PyObject_GetAttr((PyObject *)methods[i].type, methods[i].name);
                if (!state->stock_methods[i])
                        goto finish;
        }
        r = spec_learn(state, external);
        if (r > 0)
                PyOS_snprintf(state->reason, sizeof(state->reason), "this Python's module specs are unknown");
        if (r != 0)
                goto finish;
        class_methods(state, others);
        for (size_t i = 0; i < STOCK_CLASS_METHODS; i++)
                state->class_methods[i] = Py_XNewRef(class_method(others[i]));
        for (size_t i = 0; r == 0 && i < STOCK_FUNCTIONS; i++)
                r = guard_learn(&state->stock_functions[i], external, functions[i]);
finish:
        Py_XDECREF(external);
        Py_XDECREF(imp);
        Py_XDECREF(sys);
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
        Py_CLEAR(state->path_finder);
        Py_CLEAR(state->bootstrap);
        Py_CLEAR(state->builtin_importer);
        Py_CLEAR(state->frozen_importer);
        Py_CLEAR(state->zip_importer);
        Py_CLEAR(state->file_hook);
        Py_CLEAR(state->loader_details);
        Py_CLEAR(state->loaders);
        sys_dict_forget(&state->sys);
        for (size_t i = 0; i < STOCK_CLASS_METHODS; i++)
                Py_CLEAR(state->class_methods[i]);
        for (size_t i = 0; i < STOCK_METHODS; i++)
                Py_CLEAR(state->stock_methods[i]);
        guards_forget(state->stock_functions, STOCK_FUNCTIONS);
        guards_forget(state->pyc_names, STOCK_PYC_NAMES);
        spec_forget(state);
}
