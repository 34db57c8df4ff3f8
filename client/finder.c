/* SPDX-License-Identifier: MIT */

#include "finder.h"

#include <string.h>

#include "audit.h"
#include "entry.h"
#include "lookup.h"
#include "place.h"
#include "root.h"
#include "stock.h"
#include "util.h"
#include "validate.h"

/* ---- FileFinder's find_spec ---- */

/* Arguments of stock's methods, self with them. */
#define ARGUMENTS_MAX 8

/* What the class has by that name, called with a self of ours. It takes no memory that stock would not take. */
static PyObject *stock_call(PyTypeObject *stock, PyObject *method_name, PyObject *self, PyObject *const *args,
                            Py_ssize_t n, PyObject *keywords) {
        size_t all = (size_t)n + (keywords ? (size_t)PyTuple_GET_SIZE(keywords) : 0);
        PyObject *arguments[ARGUMENTS_MAX] = { self };
        PyObject *function, *result;

        if (all > ARGUMENTS_MAX - 1)
                return PyErr_Format(PyExc_TypeError, "%U() takes fewer arguments", method_name);
        function = PyObject_GetAttr((PyObject *)stock, method_name);
        if (!function)
                return NULL;
        for (size_t i = 0; i < all; i++)
                arguments[i + 1] = args[i];
        result = PyObject_Vectorcall(function, arguments, (size_t)n + 1, keywords);
        Py_DECREF(function);
        return result;
}

const char *finder_tail(PyObject *name, size_t *ret_length) {
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
        return length > 0 ? bytes : NULL;
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

typedef enum Answer {
        ANSWER_STOCK,  /* stock must look */
        ANSWER_STALE,  /* likewise, since something has changed */
        ANSWER_ABSENT, /* there is no such name */
        ANSWER_FOUND,
} Answer;

static Answer place_look(ModuleState *state, Place *place, Mapping *mapping, const char *tail, size_t length,
                         bool may_stat, uint32_t *ret_number) {
        const ImageDirectory *directory;
        const ImageEntry *entry;
        uint32_t number;

        if (mapping != place->mapping)
                place_move(place, mapping);
        directory = image_directory(&mapping->image, place->number);
        if (!directory)
                return ANSWER_STOCK;
        if (staleness_directory(&mapping->staleness, place->number))
                return ANSWER_STALE;
        if ((directory->flags & IMAGE_DIRECTORY_VALIDATE) &&
            (!may_stat || !directory_is_valid(place, directory) || place->mapping != mapping))
                goto outdated;
        number = image_find(&mapping->image, place->number, tail, length);
        if (number == IMAGE_NONE)
                return directory->flags & IMAGE_DIRECTORY_COMPLETE ? ANSWER_ABSENT : ANSWER_STOCK;
        entry = image_entry(&mapping->image, number);
        if (staleness_entry(&mapping->staleness, number))
                return ANSWER_STALE;
        if (!entry || entry->kind == IMAGE_KIND_STOCK || entry->kind > IMAGE_KIND_NAMESPACE)
                return ANSWER_STOCK;
        if ((entry->flags & IMAGE_ENTRY_VALIDATE) &&
            (!may_stat || !entry_is_valid(place, entry) || place->mapping != mapping))
                goto outdated;
        *ret_number = number;
        return ANSWER_FOUND;
outdated:
        if (may_stat && place->mapping == mapping)
                root_outdated(state, mapping);
        return ANSWER_STALE;
}

/* @may_stat: where the watch does not see everything, look; otherwise stock does. With ANSWER_STOCK there may be an
 * exception, for a lack of memory. */
static Answer place_ask(ModuleState *state, Place *place, const char *tail, size_t length, bool may_stat,
                        uint32_t *ret_number) {
        Mapping *mapping = root_current(state, place->root);
        Answer answer;

        if (!mapping)
                return PyErr_Occurred() ? ANSWER_STOCK : ANSWER_STALE;
        mapping_ref(mapping); /* what runs meanwhile may have the root get another */
        answer = place_look(state, place, mapping, tail, length, may_stat, ret_number);
        mapping_unref(mapping);
        return answer;
}

/* Has nobody given the finder another path, or other suffixes? */
static bool is_as_made(ModuleState *state, PyObject *self, const Place *place) {
        PyObject *path, *loaders;
        bool same;

        if (!place->loaders || PyList_GET_SIZE(place->loaders) != place->n_loaders)
                return false;
        if (!place->touched)
                return true;
        path = PyObject_GetAttr(self, state->names.path);
        loaders = path ? PyObject_GetAttr(self, state->names._loaders) : NULL;
        same = path == place->path && loaders == place->loaders;
        PyErr_Clear();
        Py_XDECREF(path);
        Py_XDECREF(loaders);
        return same;
}

/* Return: what find_spec() returns; NULL, without an exception if stock must answer. */
static PyObject *find_in_image(ModuleState *state, PyObject *self, Place *place, PyObject *name,
                               bool *ret_stale) {
        Mapping *mapping;
        const char *tail;
        uint32_t number;
        PyObject *spec;
        size_t length;

        tail = finder_tail(name, &length);
        if (!tail || !state->active || stock_pycs_are_moved(state) || stock_is_patched(state) ||
            !is_as_made(state, self, place))
                return NULL;
        if (!place->listed && audit_listing(state, self, place) != 0)
                return NULL;
        switch (place_ask(state, place, tail, length, true, &number)) {
        case ANSWER_ABSENT:
                Py_RETURN_NONE;
        case ANSWER_FOUND:
                mapping = mapping_ref(place->mapping);
                spec = entry_spec(state, place, mapping, image_entry(&mapping->image, number), number, name);
                mapping_unref(mapping);
                if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
                        PyErr_Clear();
                return spec;
        case ANSWER_STALE:
                *ret_stale = true;
                return NULL;
        default:
                return NULL;
        }
}

/* Whatever is not the usual call is stock's to refuse or to understand. */
static PyObject *finder_find_spec(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t n,
                                  PyObject *keywords) {
        ModuleState *state = PyType_GetModuleState(defining);
        PyObject *spec = NULL;
        bool stale = false;
        Place *place;

        if (!state)
                return NULL;
        place = place_at(self, state->finder_slot);
        if (place && !keywords && (n == 1 || n == 2))
                spec = find_in_image(state, self, place, args[0], &stale);
        if (spec || (PyErr_Occurred() && !memory_was_short()))
                return spec;
        state->counters.stale += stale;
        state->counters.fallback += place != NULL;
        return stock_call(defining->tp_base, state->names.find_spec, self, args, n, keywords);
}

/* A program may have given the class, which it finds by a finder's type(), a method of its own. */
static bool class_is_patched(ModuleState *state) {
        PyTypeObject *type = state->finder_type;
        PyObject *method;

        if (state->finder_version != 0 && type->tp_version_tag == state->finder_version)
                return false;
        method = PyObject_GetAttr((PyObject *)type, state->names.find_spec);
        if (!method)
                PyErr_Clear();
        Py_XDECREF(method);
        if (!method || method != state->finder_method)
                return true;
        state->finder_version = type->tp_version_tag;
        return false;
}

PyObject *finder_find(ModuleState *state, PyObject *finder, PyObject *name) {
        Place *place = Py_IS_TYPE(finder, state->finder_type) ? place_at(finder, state->finder_slot) : NULL;
        PyObject *spec, *loader;
        bool stale;

        if (!place || place->touched || class_is_patched(state))
                return NULL;
        spec = find_in_image(state, finder, place, name, &stale);
        if (!spec || spec == Py_None)
                return spec;
        loader = PyObject_GenericGetAttr(spec, state->names.loader);
        if (!loader || loader == Py_None) /* a portion of a namespace */
                Py_CLEAR(spec);
        Py_XDECREF(loader);
        return spec;
}

int finder_lacks(ModuleState *state, PyObject *finder, const char *tail, size_t length) {
        Place *place = place_at(finder, state->finder_slot);
        uint32_t number;

        if (!place || place->touched || !is_as_made(state, finder, place) || class_is_patched(state))
                return 0;
        if (!place->listed && audit_is_on())
                return 0;
        place->listed = true;
        if (place_ask(state, place, tail, length, false, &number) == ANSWER_ABSENT)
                return 1;
        return PyErr_Occurred() && !memory_was_short() ? -1 : 0;
}

/* FileFinder's own, and a barrier before the next answer: PEP 451 has it called when files have been made. */
static PyObject *finder_invalidate_caches(PyObject *self, PyObject *args) {
        ModuleState *state = state_of(self);
        PyObject *result =
                state ? stock_call(state->stock_finder, state->names.invalidate_caches, self, NULL, 0, NULL)
                      : NULL;

        (void)args;
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

/* ---- making one ---- */

/* Ask for a path, and in the same breath for whatever else is new in sys.path. Return: 0, or -1 with an exception. */
static int path_attach(ModuleState *state, PyObject *path) {
        PyObject *entries = sys_dict_get(&state->sys, SYS_path);
        PyObject *list = PyList_New(0);
        int r = list ? PyList_Append(list, path) : -1;

        if (r == 0 && entries && PyList_CheckExact(entries))
                r = PyList_SetSlice(list, 1, 1, entries);
        if (r == 0)
                r = root_attach(state, list, true);
        Py_XDECREF(list);
        return r;
}

/* Which directory of an image is the path? Return: its root, or NULL if there is none. */
static Root *path_root(ModuleState *state, PyObject *path, bool ask, uint32_t *ret_directory) {
        uint32_t directory = IMAGE_NONE;
        const char *bytes;
        Py_ssize_t length;
        Root *root;

        bytes = PyUnicode_CheckExact(path) ? PyUnicode_AsUTF8AndSize(path, &length) : NULL;
        if (!bytes) {
                PyErr_Clear();
                return NULL;
        }
        if (length == 0 || *bytes != '/')
                return NULL;
        root = root_find(state, bytes, (size_t)length, &directory);
        /* A directory that no image holds, of a root that has one or of none, may be a root of its own. */
        if (ask && directory == IMAGE_NONE && !state->deaf && (!root || root->mapping) &&
            !root_known(state, bytes, (size_t)length)) {
                if (path_attach(state, path) < 0) {
                        PyErr_Clear();
                        return NULL;
                }
                root = root_find(state, bytes, (size_t)length, &directory);
        }
        *ret_directory = directory;
        return directory == IMAGE_NONE ? NULL : root;
}

/* As _path_join() does: trailing slashes fall away before a name is added. */
static PyObject *path_prefix(PyObject *path) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(path);
        PyObject *trimmed, *prefix;

        while (length > 0 && PyUnicode_READ_CHAR(path, length - 1) == '/')
                length--;
        trimmed = PyUnicode_Substring(path, 0, length);
        prefix = trimmed ? PyUnicode_FromFormat("%U/", trimmed) : NULL;
        Py_XDECREF(trimmed);
        return prefix;
}

/* Finders of other suffixes or loaders than usual are not what images stand for. */
static bool is_usual(const ModuleState *state, PyObject *args, PyObject *kwargs) {
        Py_ssize_t n = PyTuple_GET_SIZE(state->loader_details);

        if (PyTuple_GET_SIZE(args) != n + 1 || (kwargs && PyDict_GET_SIZE(kwargs) > 0))
                return false;
        for (Py_ssize_t i = 0; i < n; i++)
                if (PyTuple_GET_ITEM(args, i + 1) != PyTuple_GET_ITEM(state->loader_details, i))
                        return false;
        return true;
}

/* FileFinder(path, *loader_details): ours if an image has that directory, and stock's otherwise. */
static PyObject *finder_make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
        PyObject *module = PyType_GetModuleByDef(type, &shimport_module);
        ModuleState *state = module ? PyModule_GetState(module) : NULL;
        PyObject *prefix = NULL, *place = NULL, *self = NULL;
        uint32_t directory;
        Root *root = NULL;

        if (!state)
                return NULL;
        if (state->active && is_usual(state, args, kwargs))
                root = path_root(state, PyTuple_GET_ITEM(args, 0), true, &directory);
        if (!root && type == state->finder_type)
                return PyObject_Call((PyObject *)state->stock_finder, args, kwargs);
        if (root) {
                prefix = path_prefix(PyTuple_GET_ITEM(args, 0));
                place = prefix ? place_new(state, root, root->mapping, directory, prefix) : NULL;
                Py_XDECREF(prefix);
                if (!place && !memory_was_short())
                        return NULL;
                if (!place && type == state->finder_type)
                        return PyObject_Call((PyObject *)state->stock_finder, args, kwargs);
        }
        self = instance_new(type);
        if (self)
                place_put(self, state->finder_slot, place);
        else
                Py_XDECREF(place);
        if (!self && type == state->finder_type && memory_was_short())
                return PyObject_Call((PyObject *)state->stock_finder, args, kwargs);
        return self;
}

/* FileFinder.__init__(self, *args, **kwargs); not by its tp_init, which would look for ours again. */
static int stock_init(ModuleState *state, PyObject *self, PyObject *args, PyObject *kwargs) {
        PyObject *function = NULL, *method = NULL, *result = NULL;

        if (!state->stock_finder)
                PyErr_SetString(PyExc_ImportError, "Python is shutting down");
        else if (!kwargs && PyTuple_GET_SIZE(args) < ARGUMENTS_MAX)
                result = stock_call(state->stock_finder, state->names.__init__, self,
                                    &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args), NULL);
        else
                function = PyObject_GetAttr((PyObject *)state->stock_finder, state->names.__init__);
        method = function ? PyMethod_New(function, self) : NULL;
        if (method)
                result = PyObject_Call(method, args, kwargs);
        Py_XDECREF(function);
        Py_XDECREF(method);
        Py_XDECREF(result);
        return result ? 0 : -1;
}

/* The lists of suffixes are importlib.machinery's: a program may have changed them. Return: 1, 0, or -1. */
static int loaders_are_usual(ModuleState *state, PyObject *loaders) {
        if (!PyList_CheckExact(loaders))
                return 0;
        if (!state->loaders) /* the first are those of the activation */
                state->loaders = PyList_GetSlice(loaders, 0, PyList_GET_SIZE(loaders));
        return state->loaders ? PyObject_RichCompareBool(loaders, state->loaders, Py_EQ) : -1;
}

/* FileFinder's own, and then what it made is remembered. */
static int finder_init(PyObject *self, PyObject *args, PyObject *kwargs) {
        ModuleState *state = state_of(self);
        PyObject *path, *loaders;
        Place *place;
        int r;

        if (!state || stock_init(state, self, args, kwargs) < 0)
                return -1;
        place = place_at(self, state->finder_slot);
        if (!place)
                return 0;
        path = PyObject_GetAttr(self, state->names.path);
        loaders = path ? PyObject_GetAttr(self, state->names._loaders) : NULL;
        r = loaders ? loaders_are_usual(state, loaders) : -1;
        if (r > 0) {
                place->n_loaders = PyList_GET_SIZE(loaders);
                place->touched = false;
                Py_XSETREF(place->path, Py_NewRef(path));
                Py_XSETREF(place->loaders, Py_NewRef(loaders));
        }
        Py_XDECREF(path);
        Py_XDECREF(loaders);
        return r < 0 && !memory_was_short() ? -1 : 0;
}

static void finder_touch(PyObject *self, ModuleState *state) {
        Place *place = place_at(self, state->finder_slot);

        if (place)
                place->touched = true;
}

static int finder_setattr(PyObject *self, PyObject *name, PyObject *value) {
        ModuleState *state = state_of(self);

        if (!state)
                return -1;
        if (name == state->names.path || name == state->names._loaders || name == state->names.find_spec)
                finder_touch(self, state);
        return PyObject_GenericSetAttr(self, name, value);
}

/* Whoever holds the dict may change it. */
static PyObject *finder_dict(PyObject *self, void *closure) {
        ModuleState *state = state_of(self);

        if (!state)
                return NULL;
        finder_touch(self, state);
        return PyObject_GenericGetDict(self, closure);
}

static int finder_set_dict(PyObject *self, PyObject *value, void *closure) {
        ModuleState *state = state_of(self);

        if (!state)
                return -1;
        finder_touch(self, state);
        return PyObject_GenericSetDict(self, value, closure);
}

static PyObject *finder_new(ModuleState *state, PyObject *path) {
        PyObject *one = PyTuple_Pack(1, path);
        PyObject *args = one ? PySequence_Concat(one, state->loader_details) : NULL;
        PyObject *finder = args ? PyObject_Call((PyObject *)state->finder_type, args, NULL) : NULL;

        Py_XDECREF(one);
        Py_XDECREF(args);
        return finder;
}

PyObject *finder_for(ModuleState *state, PyObject *path) {
        const ImageDirectory *directory;
        uint32_t number;
        Mapping *mapping;
        Root *root;

        root = path_root(state, path, false, &number);
        mapping = root ? root_current(state, root) : NULL;
        /* What came of that may be another image. */
        if (!mapping || path_root(state, path, false, &number) != root)
                goto none;
        directory = image_directory(&mapping->image, number);
        if (directory && !(directory->flags & IMAGE_DIRECTORY_VALIDATE) &&
            !staleness_directory(&mapping->staleness, number))
                return finder_new(state, path);
none:
        return NULL;
}

PyTypeObject *finder_type_new(ModuleState *state) {
        static PyMethodDef methods[] = {
                { "find_spec", (PyCFunction)(void (*)(void))finder_find_spec,
                  METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
                  "Try to find a spec for the specified module.\n\nReturns the matching spec, or None if not "
                  "found." },
                { "invalidate_caches", finder_invalidate_caches, METH_NOARGS,
                  "Invalidate the directory mtime." },
                { "__reduce_ex__", finder_reduce, METH_O, NULL },
                { 0 },
        };
        static PyGetSetDef getsets[] = {
                { "__class__", finder_class, NULL, NULL, NULL },
                { "__dict__", finder_dict, finder_set_dict, NULL, NULL },
                { 0 },
        };
        static const PyType_Slot slots[] = {
                { Py_tp_new, finder_make },
                { Py_tp_init, finder_init },
                { Py_tp_setattro, finder_setattr },
                { 0, NULL },
        };

        return place_subtype_new(state->module, state->stock_finder, "_frozen_importlib_external.FileFinder",
                                 methods, getsets, slots, &state->finder_slot);
}

/* ---- into service ---- */

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
        PyObject *cache = lookup_sys("path_importer_cache");
        PyObject *paths = cache && PyDict_Check(cache) ? PyDict_Keys(cache) : NULL;
        int r = 0;

        if (!paths)
                return PyErr_Occurred() ? -1 : 0;
        for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(paths); i++) {
                PyObject *path = PyList_GET_ITEM(paths, i);
                PyObject *old = PyDict_GetItemWithError(cache, path);
                PyObject *finder;
                uint32_t directory;

                if (!old || !Py_IS_TYPE(old, state->stock_finder) ||
                    !path_root(state, path, false, &directory))
                        continue;
                finder = finder_new(state, path);
                if (finder && Py_IS_TYPE(finder, state->finder_type))
                        r = finder_inherit(state, finder, old);
                if (r == 0)
                        r = finder ? PyDict_SetItem(cache, path, finder) : -1;
                Py_XDECREF(finder);
        }
        Py_DECREF(paths);
        return r;
}

int finder_install(ModuleState *state) {
        PyObject *closure = PyFunction_GET_CLOSURE(state->file_hook);

        state->finder_method = PyObject_GetAttr((PyObject *)state->finder_type, state->names.find_spec);
        if (!state->finder_method)
                return -1;
        if (PyCell_Set(PyTuple_GET_ITEM(closure, 0), (PyObject *)state->finder_type) < 0)
                return -1;
        return cache_take_over(state);
}
