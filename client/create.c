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

/* What a spec says of its module. */
typedef struct Said {
        PyObject *loader, *name, *locations, *located, *origin, *cached; /* owned */
} Said;

static void said_forget(Said *said) {
        Py_XDECREF(said->loader);
        Py_XDECREF(said->name);
        Py_XDECREF(said->locations);
        Py_XDECREF(said->located);
        Py_XDECREF(said->origin);
        Py_XDECREF(said->cached);
}

/* Asks no more of a spec that is not as ours are. Return: 1; 0 if it is not; -1 with an exception. What it said is to be forgotten
 * in any case. */
static int said_get(const ModuleState *state, PyObject *spec, Said *ret_said) {
        const Names *names = &state->names;

        *ret_said = (Said){ 0 };
        if (!Py_IS_TYPE(spec, state->spec_type))
                return 0;
        if (!(ret_said->loader = PyObject_GenericGetAttr(spec, names->loader)))
                return -1;
        if (!Py_IS_TYPE(ret_said->loader, state->loader_type))
                return 0;
        if (!(ret_said->name = PyObject_GenericGetAttr(spec, names->name)) ||
            !(ret_said->locations = PyObject_GenericGetAttr(spec, names->submodule_search_locations)) ||
            !(ret_said->located = PyObject_GenericGetAttr(spec, names->_set_fileattr)))
                return -1;
        if (ret_said->located != Py_True || !PyUnicode_CheckExact(ret_said->name))
                return 0;
        if (!(ret_said->origin = PyObject_GenericGetAttr(spec, names->origin)) ||
            !(ret_said->cached = PyObject_GenericGetAttr(spec, names->_cached)))
                return -1;
        return 1;
}

/* In the order in which stock sets them: the first of these are there in every new module. */
static int fill(const ModuleState *state, PyObject *dict, PyObject *spec, const Said *said) {
        const Names *names = &state->names;

        if ((state->created.package &&
             put(dict, names->__package__, parent_of(said->name, said->locations)) < 0) ||
            PyDict_SetItem(dict, names->__loader__, said->loader) < 0 ||
            PyDict_SetItem(dict, names->__spec__, spec) < 0 ||
            (said->locations != Py_None && PyDict_SetItem(dict, names->__path__, said->locations) < 0) ||
            PyDict_SetItem(dict, names->__file__, said->origin) < 0)
                return -1;
        return state->created.cached ? PyDict_SetItem(dict, names->__cached__, said->cached) : 0;
}

/* What spec.cached works out where it is not yet known. Return: new; None if importlib is to do so; NULL with an exception. */
static PyObject *cached_new(ModuleState *state, const Said *said) {
        const Place *place = place_at(said->loader, state->loader_slot);
        const ImageEntry *entry = place ? image_entry(&place->mapping->image, place->number) : NULL;

        return entry && !stock_pycs_are_moved(state)
                       ? entry_cached(&place->mapping->image, entry, said->origin)
                       : Py_NewRef(Py_None);
}

/* Return: new; None if importlib is to make it; NULL with an exception. */
static PyObject *module_new(ModuleState *state, PyObject *spec, Said *said) {
        PyObject *module;

        if (said->cached == Py_None && state->created.cached) {
                PyObject *cached = cached_new(state, said);

                if (!cached || cached == Py_None)
                        return cached;
                Py_SETREF(said->cached, cached);
                if (PyObject_GenericSetAttr(spec, state->names._cached, cached) < 0)
                        return NULL;
        }
        module = PyModule_NewObject(said->name);
        if (module && fill(state, PyModule_GetDict(module), spec, said) < 0)
                Py_CLEAR(module);
        return module;
}

/* Is a loader's create_module() stock's? Return: 1, 0, or -1. */
static int creates_as_stock(const ModuleState *state, PyObject *loader) {
        PyObject *method = PyObject_GetAttr(loader, state->names.create_module);
        int r;

        if (!method)
                return -1;
        r = PyMethod_Check(method) && stock_is_create_module(state, PyMethod_GET_FUNCTION(method));
        Py_DECREF(method);
        return r;
}

/* What is spliced into module_from_spec(). */
static PyObject *create_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        ModuleState *state = ((Sieve *)self)->state;
        PyObject *module = NULL;
        Said said;
        int r;

        if (n != 1)
                return PyErr_Format(PyExc_TypeError, "one argument, not %zd", n);
        if (!state || !state->active || state->created.learnt != CREATED_KNOWN || facts_is_observed() ||
            stock_is_patched(state) || !guards_hold(state->created.guards, ELEMENTSOF(state->created.guards)))
                Py_RETURN_NONE;
        r = said_get(state, args[0], &said);
        if (r > 0)
                r = creates_as_stock(state, said.loader);
        if (r > 0)
                module = module_new(state, args[0], &said);
        said_forget(&said);
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
        PyObject *dict, *package, *made = NULL;
        Said said;
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
        r = said_get(state, spec, &said);
        if (r >= 0)
                made = r ? module_new(state, spec, &said) : Py_NewRef(Py_None);
        said_forget(&said);
        if (!made)
                return -1;
        r = made == Py_None ? 0 : same_dicts(PyModule_GetDict(made), dict);
        Py_XDECREF(made);
        if (r < 0)
                return -1;
        state->created.learnt = r ? CREATED_KNOWN : CREATED_OTHERWISE;
        return 0;
}
