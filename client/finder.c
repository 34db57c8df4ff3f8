/* SPDX-License-Identifier: MIT */

#include "finder.h"

#include <string.h>

#include "audit.h"
#include "loader.h"
#include "place.h"
#include "root.h"
#include "spec.h"
#include "stock.h"
#include "util.h"
#include "validate.h"

/* ---- FileFinder's find_spec ---- */

static PyObject *stock_find_spec(ModuleState *state, PyObject *self, PyObject *name, PyObject *target) {
        PyObject *method = PyObject_GetAttr((PyObject *)state->stock_finder, state->names.find_spec);
        PyObject *spec = method ? PyObject_CallFunctionObjArgs(method, self, name, target, NULL) : NULL;

        Py_XDECREF(method);
        return spec;
}

/* [path of the package's directory]: "json" of "json/__init__.py". NULL without an exception: it has none. */
static PyObject *package_locations(const Place *place, const char *file, size_t length) {
        const char *slash = memchr(file, '/', length);
        PyObject *path = slash ? place_join(place, file, (size_t)(slash - file)) : NULL;
        PyObject *list = path ? PyList_New(1) : NULL;

        if (list)
                PyList_SET_ITEM(list, 0, Py_NewRef(path));
        Py_XDECREF(path);
        return list;
}

static PyObject *entry_loader(ModuleState *state, const Place *place, const ImageEntry *entry,
                              uint32_t number, PyObject *name, PyObject *origin) {
        switch (entry->kind) {
        case IMAGE_KIND_SOURCE:
                return loader_new(state, place->root, place->mapping, number, name, origin);
        case IMAGE_KIND_SOURCELESS:
                return PyObject_CallFunctionObjArgs(state->sourceless_loader, name, origin, NULL);
        default:
                return PyObject_CallFunctionObjArgs(state->extension_loader, name, origin, NULL);
        }
}

/* What spec.cached would compute, see _get_cached() in _bootstrap_external.py. */
static PyObject *entry_cached(const Place *place, const ImageEntry *entry, PyObject *origin) {
        size_t length;
        const char *cached = image_string(&place->mapping->image, entry->cached, &length);

        if (entry->kind == IMAGE_KIND_SOURCELESS)
                return Py_NewRef(origin);
        if (entry->kind != IMAGE_KIND_SOURCE || !cached || !length)
                return Py_NewRef(Py_None);
        return place_join(place, cached, length);
}

/* Return: a new spec, or NULL: without an exception if the entry makes no sense. */
static PyObject *entry_spec(ModuleState *state, const Place *place, const ImageEntry *entry, uint32_t number,
                            PyObject *name) {
        PyObject *origin = NULL, *loader = NULL, *cached = NULL, *locations = NULL, *spec = NULL;
        size_t length;
        const char *file = image_string(&place->mapping->image, entry->file, &length);

        if (!file)
                return NULL;
        if (entry->kind == IMAGE_KIND_NAMESPACE) {
                locations = PyList_New(1);
                origin = locations ? place_join(place, file, length) : NULL;
                if (origin) {
                        PyList_SET_ITEM(locations, 0, Py_NewRef(origin));
                        spec = spec_new_namespace(state, name, locations);
                }
                goto finish;
        }
        origin = place_join(place, file, length);
        locations = entry->flags & IMAGE_ENTRY_PACKAGE ? package_locations(place, file, length)
                                                       : Py_NewRef(Py_None);
        if (!origin || !locations)
                goto finish;
        loader = entry_loader(state, place, entry, number, name, origin);
        cached = loader ? entry_cached(place, entry, origin) : NULL;
        if (cached)
                spec = spec_new(state, name, loader, origin, cached, locations);
finish:
        Py_XDECREF(origin);
        Py_XDECREF(loader);
        Py_XDECREF(cached);
        Py_XDECREF(locations);
        return spec;
}

/* sys.pycache_prefix moves every pyc elsewhere, maybe to ones with other content. */
static bool pycaches_moved(void) {
        PyObject *prefix = PySys_GetObject("pycache_prefix");

        return prefix && prefix != Py_None;
}

/* The last part of a dotted name. Return: UTF-8, or NULL without an exception for a name that has none. */
static const char *name_tail(PyObject *name, size_t *ret_length) {
        Py_ssize_t length;
        const char *bytes = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &length) : NULL;
        const char *dot;

        if (!bytes) {
                PyErr_Clear();
                return NULL;
        }
        dot = memrchr(bytes, '.', (size_t)length);
        if (dot) {
                length -= dot + 1 - bytes;
                bytes = dot + 1;
        }
        *ret_length = (size_t)length;
        return bytes;
}

/* Does what the watch cannot see look as it did? Whether or not, the place may be elsewhere afterwards. */
static bool directory_is_valid(const Place *place, const ImageDirectory *directory) {
        PyObject *prefix = Py_NewRef(place->prefix);
        bool valid = validate_directory(directory, prefix);

        Py_DECREF(prefix);
        return valid;
}

static bool entry_is_valid(const Place *place, const ImageEntry *entry) {
        size_t length;
        const char *file = image_string(&place->mapping->image, entry->file, &length);
        PyObject *path = file ? place_join(place, file, length) : NULL;
        bool valid = path && validate_entry(entry, path);

        PyErr_Clear();
        Py_XDECREF(path);
        return valid;
}

/*
 * Stock lists a directory when it first looks for something there. Whoever audits is told so.
 * Return: 0; 1 if stock had better answer; -1 with an exception.
 */
static int audit_listing(ModuleState *state, PyObject *self, Place *place) {
        PyObject *path;
        int r;

        place->listed = true;
        if (!audit_is_on())
                return 0;
        path = PyObject_GetAttr(self, state->names.path);
        r = path ? PySys_Audit("os.listdir", "O", path) : -1;
        Py_XDECREF(path);
        if (r == 0)
                return 0;
        /* Those that _fill_cache() takes for an empty directory. */
        if (!PyErr_ExceptionMatches(PyExc_FileNotFoundError) &&
            !PyErr_ExceptionMatches(PyExc_NotADirectoryError) &&
            !PyErr_ExceptionMatches(PyExc_PermissionError))
                return -1;
        PyErr_Clear();
        place->listed = false;
        return 1;
}

static PyObject *find_in_image(ModuleState *state, PyObject *self, Place *place, PyObject *name,
                               PyObject *target) {
        const ImageDirectory *directory;
        const ImageEntry *entry;
        const Image *image;
        Mapping *mapping;
        const char *tail;
        PyObject *spec;
        uint32_t number;
        size_t length;
        int r;

        tail = name_tail(name, &length);
        if (!tail || !length || !state->active || pycaches_moved() || stock_is_patched(state))
                goto stock;
        if (!place->listed) {
                r = audit_listing(state, self, place);
                if (r < 0)
                        return NULL;
                if (r > 0)
                        goto stock;
        }
        mapping = root_current(state, place->root);
        if (!mapping) {
                if (PyErr_Occurred())
                        return NULL;
                goto stale;
        }
        if (mapping != place->mapping)
                place_move(place, mapping);
        image = &mapping->image;
        directory = image_directory(image, place->number);
        if (!directory)
                goto stock;
        if (staleness_directory(&mapping->staleness, place->number))
                goto stale;
        if ((directory->flags & IMAGE_DIRECTORY_VALIDATE) &&
            (!directory_is_valid(place, directory) || place->mapping != mapping))
                goto outdated;
        number = image_find(image, place->number, tail, length);
        if (number == IMAGE_NONE) {
                if (directory->flags & IMAGE_DIRECTORY_COMPLETE)
                        Py_RETURN_NONE;
                goto stock;
        }
        entry = image_entry(image, number);
        if (staleness_entry(&mapping->staleness, number))
                goto stale;
        if (!entry || entry->kind == IMAGE_KIND_STOCK || entry->kind >= _IMAGE_KIND_N)
                goto stock;
        if ((entry->flags & IMAGE_ENTRY_VALIDATE) &&
            (!entry_is_valid(place, entry) || place->mapping != mapping))
                goto outdated;
        spec = entry_spec(state, place, entry, number, name);
        if (spec || (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)))
                return spec;
        PyErr_Clear();
        goto stock;
outdated:
        if (place->mapping == mapping)
                root_outdated(state, mapping);
stale:
        state->counters.stale++;
stock:
        state->counters.fallback++;
        return stock_find_spec(state, self, name, target);
}

static PyObject *finder_find_spec(PyObject *self, PyObject *args, PyObject *kwargs) {
        static char *keywords[] = { "fullname", "target", NULL };
        ModuleState *state = state_of(self);
        PyObject *name, *target = Py_None;
        Place *place;

        if (!state || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:find_spec", keywords, &name, &target))
                return NULL;
        place = place_at(self, state->finder_slot);
        if (!place)
                return stock_find_spec(state, self, name, target);
        return find_in_image(state, self, place, name, target);
}

/* FileFinder's own, and a barrier before the next answer: PEP 451 has it called when files have been made. */
static PyObject *finder_invalidate_caches(PyObject *self, PyObject *args) {
        ModuleState *state = state_of(self);
        PyObject *method =
                state ? PyObject_GetAttr((PyObject *)state->stock_finder, state->names.invalidate_caches)
                      : NULL;
        PyObject *result = method ? PyObject_CallOneArg(method, self) : NULL;

        (void)args;
        Py_XDECREF(method);
        if (result)
                root_doubt(state);
        return result;
}

static PyObject *finder_reduce(PyObject *self, PyObject *protocol) {
        ModuleState *state = state_of(self);

        (void)protocol;
        return state ? place_reduce_as(self, state->stock_finder) : NULL;
}

static PyObject *finder_class(PyObject *self, void *closure) {
        ModuleState *state = state_of(self);

        (void)closure;
        return state ? Py_NewRef(state->stock_finder) : NULL;
}

PyTypeObject *finder_type_new(ModuleState *state) {
        static PyMethodDef methods[] = {
                { "find_spec", (PyCFunction)(void (*)(void))finder_find_spec, METH_VARARGS | METH_KEYWORDS,
                  "Try to find a spec for the specified module.\n\nReturns the matching spec, or None if not "
                  "found." },
                { "invalidate_caches", finder_invalidate_caches, METH_NOARGS,
                  "Invalidate the directory mtime." },
                { "__reduce_ex__", finder_reduce, METH_O, NULL },
                { 0 },
        };
        static PyGetSetDef getsets[] = {
                { "__class__", finder_class, NULL, NULL, NULL },
                { 0 },
        };

        return place_subtype_new(state->module, state->stock_finder, "_frozen_importlib_external.FileFinder",
                                 methods, getsets, &state->finder_slot);
}

/* FileFinder(path, *loader_details), with a place. */
static PyObject *finder_new(ModuleState *state, Root *root, uint32_t directory, PyObject *path) {
        PyObject *self = NULL, *init = NULL, *args = NULL, *result = NULL, *own = NULL, *prefix = NULL,
                 *place = NULL;
        Py_ssize_t n = PyTuple_GET_SIZE(state->loader_details);
        bool done = false;

        self = instance_new(state->finder_type);
        init = self ? PyObject_GetAttr((PyObject *)state->stock_finder, state->names.__init__) : NULL;
        args = init ? PyTuple_New(2 + n) : NULL;
        if (!args)
                goto finish;
        PyTuple_SET_ITEM(args, 0, Py_NewRef(self));
        PyTuple_SET_ITEM(args, 1, Py_NewRef(path));
        for (Py_ssize_t i = 0; i < n; i++)
                PyTuple_SET_ITEM(args, 2 + i, Py_NewRef(PyTuple_GET_ITEM(state->loader_details, i)));
        result = PyObject_CallObject(init, args);
        own = result ? PyObject_GetAttr(self, state->names.path) : NULL;
        if (!own)
                goto finish;
        /* As _path_join() does: trailing slashes fall away before the name is added. */
        Py_SETREF(own, PyObject_CallMethod(own, "rstrip", "s", "/"));
        prefix = own ? PyUnicode_FromFormat("%U/", own) : NULL;
        place = prefix ? place_new(state, root, root->mapping, directory, prefix) : NULL;
        if (!place)
                goto finish;
        place_put(self, state->finder_slot, place);
        done = true;
finish:
        Py_XDECREF(init);
        Py_XDECREF(args);
        Py_XDECREF(result);
        Py_XDECREF(own);
        Py_XDECREF(prefix);
        if (!done)
                Py_CLEAR(self);
        return self;
}

/* ---- the path hook ---- */

typedef struct Hook {
        PyObject_HEAD
        PyObject *module;
} Hook;

/* The finder for a path, or NULL, without an exception if the path is not ours. */
static PyObject *hook_find(ModuleState *state, PyObject *path) {
        uint32_t directory = IMAGE_NONE;
        const char *bytes;
        Py_ssize_t length;
        Root *root;

        if (!PyUnicode_CheckExact(path))
                return NULL;
        bytes = PyUnicode_AsUTF8AndSize(path, &length);
        if (!bytes) {
                PyErr_Clear();
                return NULL;
        }
        if (length == 0 || *bytes != '/')
                return NULL;
        root = root_find(state, bytes, (size_t)length, &directory);
        /* A directory that no image holds, of a root that has one or of none, may be a root of its own. */
        if (directory == IMAGE_NONE && !state->deaf && (!root || root->mapping) &&
            !root_known(state, bytes, (size_t)length)) {
                PyObject *list = PyList_New(1);
                int r;

                if (!list)
                        return NULL;
                PyList_SET_ITEM(list, 0, Py_NewRef(path));
                r = root_attach(state, list, true);
                Py_DECREF(list);
                if (r < 0)
                        return NULL;
                root = root_find(state, bytes, (size_t)length, &directory);
        }
        if (!root || directory == IMAGE_NONE)
                return NULL;
        return finder_new(state, root, directory, path);
}

static PyObject *hook_call(PyObject *self, PyObject *args, PyObject *kwargs) {
        ModuleState *state = state_of(self);
        PyObject *path, *finder;

        if (!state || !PyArg_ParseTuple(args, "O:path_hook_for_FileFinder", &path))
                return NULL;
        (void)kwargs;
        finder = state->active ? hook_find(state, path) : NULL;
        if (!finder && !PyErr_Occurred())
                PyErr_SetNone(PyExc_ImportError); /* the next hook's turn */
        return finder;
}

static int hook_traverse(PyObject *self, visitproc visit, void *arg) {
        Py_VISIT(Py_TYPE(self));
        Py_VISIT(((Hook *)self)->module);
        return 0;
}

static int hook_clear(PyObject *self) {
        Py_CLEAR(((Hook *)self)->module);
        return 0;
}

static void hook_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        PyObject_GC_UnTrack(self);
        hook_clear(self);
        type->tp_free(self);
        Py_DECREF(type);
}

PyTypeObject *finder_hook_type_new(PyObject *module) {
        static PyType_Slot slots[] = {
                { Py_tp_call, hook_call },
                { Py_tp_traverse, hook_traverse },
                { Py_tp_clear, hook_clear },
                { Py_tp_dealloc, hook_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.PathHook",
                .basicsize = sizeof(Hook),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}

/* What a finder of stock's knows of its directory, so that it is not listed twice. */
static int finder_inherit(ModuleState *state, PyObject *self, PyObject *old) {
        static const char *const attributes[] = { "_path_mtime", "_path_cache", "_relaxed_path_cache" };

        for (size_t i = 0; i < ELEMENTSOF(attributes); i++) {
                PyObject *value = PyObject_GetAttrString(old, attributes[i]);
                int r = value ? PyObject_SetAttrString(self, attributes[i], value) : -1;

                Py_XDECREF(value);
                if (r < 0)
                        return -1;
        }
        place_at(self, state->finder_slot)->listed = true;
        return 0;
}

/* Give the directories that stock has already made finders for to ours. */
static int cache_take_over(ModuleState *state) {
        PyObject *cache = PySys_GetObject("path_importer_cache");
        PyObject *paths = cache && PyDict_Check(cache) ? PyDict_Keys(cache) : NULL;
        int r = 0;

        if (!paths)
                return PyErr_Occurred() ? -1 : 0;
        for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(paths); i++) {
                PyObject *path = PyList_GET_ITEM(paths, i);
                PyObject *old = PyDict_GetItemWithError(cache, path);
                PyObject *finder;

                if (!old || !Py_IS_TYPE(old, state->stock_finder))
                        continue;
                finder = hook_find(state, path);
                if (finder)
                        r = finder_inherit(state, finder, old) < 0 ? -1 : PyDict_SetItem(cache, path, finder);
                else if (PyErr_Occurred())
                        r = -1;
                Py_XDECREF(finder);
        }
        Py_DECREF(paths);
        return r;
}

int finder_install(ModuleState *state) {
        PyObject *hooks = PySys_GetObject("path_hooks");
        Hook *hook;
        int r;

        if (!hooks || !PyList_Check(hooks)) {
                PyErr_SetString(PyExc_ImportError, "sys.path_hooks is no list");
                return -1;
        }
        hook = (Hook *)state->hook_type->tp_alloc(state->hook_type, 0);
        if (!hook)
                return -1;
        hook->module = Py_NewRef(state->module);
        r = PyList_Insert(hooks, 0, (PyObject *)hook);
        Py_DECREF(hook);
        return r < 0 ? -1 : cache_take_over(state);
}
