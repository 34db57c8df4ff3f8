/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "loader.h"

#include "audit.h"
#include "code.h"
#include "create.h"
#include "lookup.h"
#include "metadata.h"
#include "place.h"
#include "pyc.h"
#include "shortcuts.h"
#include "stock.h"
#include "validate.h"

/* What the class has by that name now: a program may have put its own there. */
static PyObject *stock_call(ModuleState *state, PyObject *method_name, PyObject *self, PyObject *argument) {
        PyObject *method = PyObject_GetAttr((PyObject *)state->stock_loader, method_name);
        PyObject *result = method ? PyObject_CallFunctionObjArgs(method, self, argument, NULL) : NULL;

        Py_XDECREF(method);
        return result;
}

/* A loader of either type, as SourceFileLoader.__init__() leaves it. */
static PyObject *loader_of_type(ModuleState *state, PyTypeObject *type, PyObject *name, PyObject *path) {
        PyObject *self = instance_new(type);

        if (self && (PyObject_GenericSetAttr(self, state->names.name, name) < 0 ||
                     PyObject_GenericSetAttr(self, state->names.path, path) < 0))
                Py_CLEAR(self);
        return self;
}

/* Since it was found the file may have changed, or the daemon died. */
static bool loader_is_stale(const Place *place) {
        const ImageEntry *entry = image_entry(&place->mapping->image, place->number);

        return !entry || !mapping_is_live(place->mapping) ||
               staleness_entry(&place->mapping->staleness, place->number) ||
               staleness_directory(&place->mapping->staleness, entry->directory);
}

/* A loader's place never moves: its image stays mapped. */
static bool loader_is_valid(const Place *place, PyObject *path) {
        const ImageEntry *entry = image_entry(&place->mapping->image, place->number);

        return entry && (!(entry->flags & IMAGE_ENTRY_VALIDATE) || validate_entry(entry, path));
}

static bool loader_is_uncached(const Place *place) {
        const ImageEntry *entry = image_entry(&place->mapping->image, place->number);

        return entry && (entry->flags & IMAGE_ENTRY_UNCACHED);
}

static PyObject *loader_get_code(PyObject *self, PyObject *fullname) {
        ModuleState *state = state_of(self);
        PyObject *name = NULL, *path = NULL, *code = NULL, *pyc = NULL;
        PycLook look = PYC_VALID;
        Place *place;

        if (!state)
                return NULL;
        place = place_at(self, state->loader_slot);
        if (!place || !state->active || stock_pycs_are_moved(state) || stock_is_patched(state) ||
            audit_is_on())
                goto stock;
        if (loader_is_stale(place)) {
                state->counters.stale++;
                goto stock;
        }
        /* A program may have given the loader another name or path, or ask for another module. */
        name = PyObject_GetAttr(self, state->names.name);
        path = name ? PyObject_GetAttr(self, state->names.path) : NULL;
        if (!path)
                goto failed;
        if (!PyUnicode_CheckExact(name) || !PyUnicode_CheckExact(path) || !PyUnicode_CheckExact(fullname) ||
            (name != fullname && PyUnicode_Compare(name, fullname) != 0))
                goto stock;
        if (!loader_is_valid(place, path)) {
                root_outdated(state, place->mapping);
                state->counters.stale++;
                goto stock;
        }
        if (loader_is_uncached(place)) {
                look = pyc_look(state, place, path, &pyc);
                if (look < 0)
                        goto failed;
                if (look == PYC_OTHER)
                        goto stock;
        }
        code = code_load(state, place->mapping, place->number, path);
        if (code) {
                place->root->served++;
                state->counters.served++;
                regex_served(state, place->mapping, fullname);
                if (look == PYC_MISSING && pyc_write(state, self, place, code, path, pyc) < 0)
                        Py_CLEAR(code);
        }
        if (code)
                goto finish;
failed:
        if (PyErr_Occurred() && !memory_was_short())
                goto finish;
stock:
        state->counters.fallback++;
        code = stock_call(state, state->names.get_code, self, fullname);
finish:
        Py_XDECREF(name);
        Py_XDECREF(path);
        Py_XDECREF(pyc);
        return code;
}

/* A loader of stock's for the same file. NULL: without an exception if a program has put more into ours. */
static PyObject *loader_as_stock(ModuleState *state, PyObject *self) {
        PyObject *dict = instance_dict(&state->names, self), *stock = NULL;
        PyObject *name, *path;

        if (!dict)
                return NULL;
        if (PyDict_Check(dict) && PyDict_GET_SIZE(dict) == 2) {
                name = PyDict_GetItemWithError(dict, state->names.name);
                path = name ? PyDict_GetItemWithError(dict, state->names.path) : NULL;
                stock = path ? loader_of_type(state, state->stock_loader, name, path) : NULL;
        }
        Py_DECREF(dict);
        return stock;
}

/*
 * Leave the module to be executed with a loader that is stock's in type as well: programs ask for type(loader), which
 * cannot be made to answer anything but the truth. What a program has changed stays as it is.
 */
static int loader_step_back(ModuleState *state, PyObject *self, PyObject *module) {
        PyObject *dict = lookup_variables(module);
        PyObject *spec = dict ? PyDict_GetItemWithError(dict, state->names.__spec__) : NULL;
        PyObject *own = spec ? PyDict_GetItemWithError(dict, state->names.__loader__) : NULL, *found, *stock;
        int r;

        if (own != self || !Py_IS_TYPE(self, state->loader_type) || !Py_IS_TYPE(spec, state->spec_type))
                return PyErr_Occurred() ? -1 : 0;
        found = PyObject_GenericGetAttr(spec, state->names.loader);
        Py_XDECREF(found);
        if (found != self)
                return found ? 0 : -1;
        if (create_learn(state, module, spec) < 0)
                return -1;
        stock = loader_as_stock(state, self);
        if (!stock)
                return PyErr_Occurred() ? -1 : 0;
        r = PyObject_GenericSetAttr(spec, state->names.loader, stock);
        if (r == 0)
                r = PyDict_SetItem(dict, state->names.__loader__, stock);
        Py_DECREF(stock);
        return r;
}

/* Stock's own, frames and all, with the collector held. */
static PyObject *loader_exec_module(PyObject *self, PyObject *module) {
        ModuleState *state = state_of(self);
        PyObject *result;

        if (!state || (loader_step_back(state, self, module) < 0 && !memory_was_short()))
                return NULL;
        collect_begin(&state->collect, module);
        facts_call_not_counted();
        result = stock_call(state, state->names.exec_module, self, module);
        facts_call_counted();
        if (result)
                metadata_learn(state, module);
        collect_end(&state->collect, module);
        if (result)
                regex_executed(state, module);
        if (result && shortcuts_consider(state) < 0)
                Py_CLEAR(result);
        return result;
}

static PyObject *loader_reduce(PyObject *self, PyObject *protocol) {
        ModuleState *state = state_of(self);

        (void)protocol;
        return state ? place_reduce_as(self, state->stock_loader) : NULL;
}

static PyObject *loader_class(PyObject *self, void *closure) {
        ModuleState *state = state_of(self);

        (void)closure;
        return state ? Py_NewRef(state->stock_loader) : NULL;
}

PyTypeObject *loader_type_new(ModuleState *state) {
        static PyMethodDef methods[] = {
                { "get_code", loader_get_code, METH_O, "Concrete implementation of InspectLoader.get_code." },
                { "exec_module", loader_exec_module, METH_O, "Execute the module." },
                { "__reduce_ex__", loader_reduce, METH_O, NULL },
                { 0 },
        };
        static PyGetSetDef getsets[] = {
                { "__class__", loader_class, NULL, NULL, NULL },
                { 0 },
        };

        return place_subtype_new(state->module, state->stock_loader,
                                 "_frozen_importlib_external.SourceFileLoader", methods, getsets, NULL,
                                 &state->loader_slot);
}

PyObject *loader_new(ModuleState *state, Root *root, Mapping *mapping, uint32_t entry, PyObject *name,
                     PyObject *path) {
        PyObject *self = loader_of_type(state, state->loader_type, name, path);
        PyObject *place = self ? place_new(state, root, mapping, entry, NULL) : NULL;

        if (place)
                place_put(self, state->loader_slot, place);
        else
                Py_CLEAR(self);
        return self;
}
