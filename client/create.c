/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "create.h"

#include "entry.h"
#include "place.h"
#include "sieve.h"
#include "stock.h"
#include "util.h"

/* spec.parent. Return: new, or NULL with an exception. */
static PyObject *parent_of(PyObject *name, PyObject *locations) {
        Py_ssize_t dot;

        if (locations != Py_None)
                return Py_NewRef(name);
        dot = PyUnicode_FindChar(name, '.', 0, PyUnicode_GET_LENGTH(name), -1);
        return dot < -1 ? NULL : PyUnicode_Substring(name, 0, dot < 0 ? 0 : dot);
}

/* Sets an attribute that is consumed. */
static int put(PyObject *dict, PyObject *name, PyObject *consume_value) {
        int r = consume_value ? PyDict_SetItem(dict, name, consume_value) : -1;

        Py_XDECREF(consume_value);
        return r;
}

/* In the order in which stock sets them: the first of these are there in every new module. */
static int fill(ModuleState *state, PyObject *dict, PyObject *spec, PyObject *name, PyObject *locations,
                PyObject *cached) {
        const Names *names = &state->names;

        if ((state->created.package && put(dict, names->__package__, parent_of(name, locations)) < 0) ||
            put(dict, names->__loader__, PyObject_GenericGetAttr(spec, names->loader)) < 0 ||
            PyDict_SetItem(dict, names->__spec__, spec) < 0 ||
            (locations != Py_None && PyDict_SetItem(dict, names->__path__, locations) < 0) ||
            put(dict, names->__file__, PyObject_GenericGetAttr(spec, names->origin)) < 0)
                return -1;
        return state->created.cached ? PyDict_SetItem(dict, names->__cached__, cached) : 0;
}

/* Works spec.cached out where it is not yet, as that does. Return: new; None if importlib is to do so; NULL with an exception. */
static PyObject *cached_new(ModuleState *state, PyObject *spec) {
        PyObject *loader = PyObject_GenericGetAttr(spec, state->names.loader), *origin = NULL, *cached = NULL;
        const Place *place = NULL;
        const ImageEntry *entry = NULL;

        if (loader && Py_IS_TYPE(loader, state->loader_type))
                place = place_at(loader, state->loader_slot);
        if (place)
                entry = image_entry(&place->mapping->image, place->number);
        if (loader)
                origin = PyObject_GenericGetAttr(spec, state->names.origin);
        if (origin)
                cached = entry ? entry_cached(&place->mapping->image, entry, origin) : Py_NewRef(Py_None);
        if (cached && cached != Py_None && PyObject_GenericSetAttr(spec, state->names._cached, cached) < 0)
                Py_CLEAR(cached);
        Py_XDECREF(loader);
        Py_XDECREF(origin);
        return cached;
}

/* Return: new; None for a spec that is not as ours are; NULL with an exception. */
static PyObject *module_new(ModuleState *state, PyObject *spec) {
        const Names *names = &state->names;
        PyObject *name = NULL, *locations = NULL, *located = NULL, *cached = NULL, *module = NULL;

        if (!Py_IS_TYPE(spec, state->spec_type))
                Py_RETURN_NONE;
        name = PyObject_GenericGetAttr(spec, names->name);
        locations = name ? PyObject_GenericGetAttr(spec, names->submodule_search_locations) : NULL;
        located = locations ? PyObject_GenericGetAttr(spec, names->_set_fileattr) : NULL;
        cached = located ? PyObject_GenericGetAttr(spec, names->_cached) : NULL;
        if (!cached)
                goto finish;
        module = located != Py_True || !PyUnicode_CheckExact(name) ? Py_NewRef(Py_None) : NULL;
        if (module)
                goto finish;
        if (cached == Py_None && state->created.cached) {
                Py_SETREF(cached, cached_new(state, spec));
                if (!cached || cached == Py_None) {
                        module = Py_XNewRef(cached);
                        goto finish;
                }
        }
        module = PyModule_NewObject(name);
        if (module && fill(state, PyModule_GetDict(module), spec, name, locations, cached) < 0)
                Py_CLEAR(module);
finish:
        Py_XDECREF(name);
        Py_XDECREF(locations);
        Py_XDECREF(located);
        Py_XDECREF(cached);
        return module;
}

/* Is the spec's loader ours, and its create_module() stock's? Return: 1, 0, or -1. */
static int is_served(ModuleState *state, PyObject *spec) {
        PyObject *loader, *method = NULL;
        int r = -1;

        if (!Py_IS_TYPE(spec, state->spec_type))
                return 0;
        loader = PyObject_GenericGetAttr(spec, state->names.loader);
        if (loader && !Py_IS_TYPE(loader, state->loader_type)) {
                Py_DECREF(loader);
                return 0;
        }
        if (loader)
                method = PyObject_GetAttr(loader, state->names.create_module);
        if (method)
                r = PyMethod_Check(method) && stock_is_create_module(state, PyMethod_GET_FUNCTION(method));
        Py_XDECREF(loader);
        Py_XDECREF(method);
        return r;
}

/* What is spliced into module_from_spec(). */
static PyObject *create_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        ModuleState *state = ((Sieve *)self)->state;
        PyObject *module = NULL;
        int r;

        if (n != 1)
                return PyErr_Format(PyExc_TypeError, "one argument, not %zd", n);
        if (!state || !state->active || state->created.learnt != CREATED_KNOWN || facts_is_observed() ||
            stock_is_patched(state) || !guards_hold(state->created.guards, ELEMENTSOF(state->created.guards)))
                Py_RETURN_NONE;
        r = is_served(state, args[0]);
        if (r > 0)
                module = module_new(state, args[0]);
        /* importlib makes one; or fails, at a line of its own, for want of an attribute. */
        if (r == 0 || (!module && (memory_was_short() || PyErr_ExceptionMatches(PyExc_AttributeError)))) {
                PyErr_Clear();
                Py_RETURN_NONE;
        }
        return module;
}

int create_install(ModuleState *state) {
        static PyMethodDef call = { "create", (PyCFunction)(void (*)(void))create_call, METH_FASTCALL, NULL };

        if (guard_learn(&state->created.guards[0], state->bootstrap, "_init_module_attrs") < 0 ||
            guard_learn(&state->created.guards[1], state->bootstrap, "_new_module") < 0)
                return -1;
        return sieve_splice_into(state, state->bootstrap, "module_from_spec", splice_answer, 1, &call) < 0
                       ? -1
                       : 0;
}

void create_forget(ModuleState *state) {
        guards_forget(state->created.guards, ELEMENTSOF(state->created.guards));
}

/* Are two dicts equal, in their order as well? Return: 1, 0, or -1. */
static int same_dicts(PyObject *one, PyObject *other) {
        PyObject *keys = PyDict_Keys(one), *others = keys ? PyDict_Keys(other) : NULL;
        int r = others ? PyObject_RichCompareBool(keys, others, Py_EQ) : -1;

        Py_XDECREF(keys);
        Py_XDECREF(others);
        return r > 0 ? PyObject_RichCompareBool(one, other, Py_EQ) : r;
}

int create_learn(ModuleState *state, PyObject *module, PyObject *spec) {
        const Names *names = &state->names;
        PyObject *dict, *package, *made;
        int r;

        if (state->created.learnt != CREATED_UNKNOWN || !PyModule_CheckExact(module) || !spec)
                return 0;
        dict = PyModule_GetDict(module);
        package = PyDict_GetItemWithError(dict, names->__package__);
        if (!package && PyErr_Occurred())
                return -1;
        r = PyDict_Contains(dict, names->__cached__);
        if (r < 0)
                return -1;
        state->created.package = package && package != Py_None;
        state->created.cached = r;
        made = module_new(state, spec);
        if (!made)
                return -1;
        r = made == Py_None ? 0 : same_dicts(PyModule_GetDict(made), dict);
        Py_XDECREF(made);
        if (r < 0)
                return -1;
        state->created.learnt = r ? CREATED_KNOWN : CREATED_OTHERWISE;
        return 0;
}
