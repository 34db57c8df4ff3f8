/* SPDX-License-Identifier: MIT */

#include "metadata.h"

#include <string.h>

#include "audit.h"
#include "distribution.h"
#include "lookup.h"
#include "root.h"
#include "splice.h"
#include "util.h"

/* ---- what importlib.metadata was ---- */

#define ATTRIBUTES_MAX 8

/* The classes that take part, and which of their attributes are called. */
static const struct {
        const char *class, *attributes[ATTRIBUTES_MAX];
} classes[] = {
        { "MetadataPathFinder", { "find_distributions", "_search_paths" } },
        { "FastPath", { "__new__", "__init__", "search", "children", "joinpath", "mtime", "lookup" } },
        { "Lookup", { "__new__", "__init__", "search" } },
        { "Prepared", { "__new__", "__init__", "__bool__", "normalize", "legacy_normalize" } },
        { "PathDistribution",
          { "__init__", "read_text", "_normalized_name", "_name_from_stem", "entry_points" } },
        { "EntryPoint", { "__new__", "__init__", "__setattr__", "_for" } },
        { "EntryPoints", { "__new__", "__init__", "_from_text_for", "_from_text" } },
        { "Sectioned", { "section_pairs", "read", "valid" } },
        { "Pair", { "__new__", "parse" } },
};

static const char *const path_attributes[ATTRIBUTES_MAX] = { "__new__", "__init__", "joinpath", "read_text",
                                                             "open" };
static const char *const module_attributes[] = { "FastPath",   "Lookup",      "Prepared",
                                                 "EntryPoint", "EntryPoints", "PathDistribution",
                                                 "Sectioned",  "Pair",        "os",
                                                 "pathlib",    "suppress",    "map",
                                                 "itertools",  "re",          "MetadataPathFinder" };
static const char *const os_attributes[] = { "listdir", "stat" };
static const char *const io_attributes[] = { "open" };

/* As a class has it or inherits it, and not bound to anything. Borrowed; NULL without an exception: there is none. */
static PyObject *class_find(PyTypeObject *type, PyObject *name) {
        PyObject *mro = type->tp_mro, *found = NULL;

        for (Py_ssize_t i = 0; mro && !found && i < PyTuple_GET_SIZE(mro); i++) {
                PyObject *dict = ((PyTypeObject *)PyTuple_GET_ITEM(mro, i))->tp_dict;

                found = dict ? PyDict_GetItemWithError(dict, name) : NULL;
        }
        if (!found)
                PyErr_Clear();
        return found;
}

static PyObject *holder_find(PyObject *object, PyObject *name) {
        PyObject *found;

        if (PyType_Check(object))
                return class_find((PyTypeObject *)object, name);
        found = PyDict_GetItemWithError(object, name);
        if (!found)
                PyErr_Clear();
        return found;
}

/* Return: 0, or -1 with an exception. */
static int holder_learn(Metadata *metadata, PyObject *object, const char *const *names, size_t n) {
        MetadataHolder *holder = &metadata->holders[metadata->n_holders];

        if (metadata->n_holders == METADATA_HOLDERS_MAX || metadata->n_values + n > METADATA_VALUES_MAX) {
                PyErr_SetString(PyExc_SystemError,
                                "importlib.metadata has more to it than there is room for");
                return -1;
        }
        *holder = (MetadataHolder){ .object = Py_NewRef(object), .first = metadata->n_values };
        metadata->n_holders++;
        for (size_t i = 0; i < n && names[i]; i++) {
                MetadataValue *value = &metadata->values[metadata->n_values];

                value->name = PyUnicode_InternFromString(names[i]);
                if (!value->name)
                        return -1;
                value->value = Py_XNewRef(holder_find(object, value->name));
                metadata->n_values++;
                holder->n++;
        }
        return 0;
}

/* CPython gives a class another version when it or one of its bases changes; 0 is none. */
static bool holder_is_unchanged(const Metadata *metadata, MetadataHolder *holder) {
        PyTypeObject *type = PyType_Check(holder->object) ? (PyTypeObject *)holder->object : NULL;
        PyObject *found;

        if (type && holder->version != 0 && type->tp_version_tag == holder->version)
                return true;
        for (size_t i = holder->first; i < holder->first + holder->n; i++)
                if (holder_find(holder->object, metadata->values[i].name) != metadata->values[i].value)
                        return false;
        if (type && holder->n > 0) {
                found = PyObject_GetAttr(holder->object, metadata->values[holder->first].name);
                if (found) /* and by that it has a version */
                        holder->version = type->tp_version_tag;
                else
                        PyErr_Clear();
                Py_XDECREF(found);
        }
        return true;
}

bool metadata_is_served(Metadata *metadata) {
        if (!metadata->state || !metadata->state->active || metadata->n_holders == 0 || audit_is_on())
                return false;
        for (size_t i = 0; i < metadata->n_holders; i++)
                if (!holder_is_unchanged(metadata, &metadata->holders[i]))
                        return false;
        return true;
}

/* ---- learning it ---- */

static void metadata_clear(Metadata *metadata) {
        for (size_t i = 0; i < metadata->n_holders; i++)
                Py_CLEAR(metadata->holders[i].object);
        metadata->n_holders = 0;
        for (size_t i = 0; i < metadata->n_values; i++) {
                Py_CLEAR(metadata->values[i].name);
                Py_CLEAR(metadata->values[i].value);
        }
        metadata->n_values = 0;
        Py_CLEAR(metadata->finder);
        Py_CLEAR(metadata->context);
        Py_CLEAR(metadata->fast_path);
        Py_CLEAR(metadata->prepared);
        Py_CLEAR(metadata->point);
        Py_CLEAR(metadata->points);
        Py_CLEAR(metadata->match);
        Py_CLEAR(metadata->stock);
        Py_CLEAR(metadata->type);
}

/* A class of the module. Return: new; NULL with an exception if it is none. */
static PyObject *class_in(PyObject *dict, const char *name) {
        PyObject *found = lookup(dict, name);

        if (found && PyType_Check(found))
                return Py_NewRef(found);
        PyErr_Format(PyExc_AttributeError, "importlib.metadata has no class %s", name);
        return NULL;
}

/* A module's dict that was imported by another. Borrowed; NULL with an exception if there is none. */
static PyObject *dict_of(const char *name) {
        PyObject *dict = lookup_variables(lookup_module(name));

        if (!dict)
                PyErr_Format(PyExc_AttributeError, "importlib.metadata has not imported %s", name);
        return dict;
}

static int learn_classes(Metadata *metadata, PyObject *dict) {
        PyObject *finder;

        if (!(metadata->finder = class_in(dict, "MetadataPathFinder")) ||
            !(metadata->fast_path = class_in(dict, "FastPath")) ||
            !(metadata->prepared = class_in(dict, "Prepared")) ||
            !(metadata->point = class_in(dict, "EntryPoint")) ||
            !(metadata->points = class_in(dict, "EntryPoints")) ||
            !(metadata->stock = (PyTypeObject *)class_in(dict, "PathDistribution")) ||
            !(finder = class_in(dict, "DistributionFinder")))
                return -1;
        metadata->context = PyObject_GetAttrString(finder, "Context");
        Py_DECREF(finder);
        if (lookup(dict, "_EntryPointMatch"))
                metadata->match = class_in(dict, "_EntryPointMatch");
        if (!metadata->context || PyErr_Occurred())
                return -1;
        if (((PyTypeObject *)metadata->point)->tp_new != PyBaseObject_Type.tp_new)
                PyErr_SetString(PyExc_TypeError, "entry points are not made as expected");
        return PyErr_Occurred() ? -1 : 0;
}

static int learn_holders(Metadata *metadata, PyObject *dict) {
        PyObject *path, *class, *paths = dict_of("pathlib"), *os = dict_of("os"), *io = dict_of("io");
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(classes) && r == 0; i++) {
                class = class_in(dict, classes[i].class);
                r = class ? holder_learn(metadata, class, classes[i].attributes, ATTRIBUTES_MAX) : -1;
                Py_XDECREF(class);
        }
        path = paths ? lookup(paths, "PosixPath") : NULL;
        if (r < 0 || !path || !PyType_Check(path) || !os || !io)
                return -1;
        if (holder_learn(metadata, path, path_attributes, ATTRIBUTES_MAX) < 0 ||
            holder_learn(metadata, dict, module_attributes, ELEMENTSOF(module_attributes)) < 0 ||
            holder_learn(metadata, os, os_attributes, ELEMENTSOF(os_attributes)) < 0)
                return -1;
        return holder_learn(metadata, io, io_attributes, ELEMENTSOF(io_attributes));
}

/* Is it find_distributions(*args, **kwargs) with MetadataPathFinder as its third variable? */
static bool function_is_expected(PyObject *function) {
        PyObject *names = PyFunction_Check(function)
                                  ? PyObject_GetAttrString(PyFunction_GET_CODE(function), "co_varnames")
                                  : NULL;
        PyObject *expected = names ? Py_BuildValue("(sss)", "args", "kwargs", "MetadataPathFinder") : NULL;
        bool same = expected && PyObject_RichCompareBool(names, expected, Py_EQ) > 0;

        PyErr_Clear();
        Py_XDECREF(names);
        Py_XDECREF(expected);
        return same;
}

static PyObject *metadata_gate(PyObject *self, PyObject *const *args, Py_ssize_t n);

/* Return: 0; 1 if PathFinder is not as expected; -1 with an exception. */
static int gate_install(ModuleState *state) {
        static PyMethodDef call = { "gate", (PyCFunction)(void (*)(void))metadata_gate, METH_FASTCALL, NULL };
        PyObject *function = PyObject_GetAttrString((PyObject *)state->path_finder, "find_distributions");
        PyObject *callable = NULL;
        int r = function ? 1 : -1;

        if (function && function_is_expected(function)) {
                callable = PyCFunction_New(&call, (PyObject *)state->metadata);
                r = callable ? splice_call(function, 3, callable) : -1;
        }
        Py_XDECREF(function);
        Py_XDECREF(callable);
        return r;
}

static PyTypeObject *metadata_type_new(void);
static PyTypeObject *discovery_type_new(void);

static int types_begin(ModuleState *state) {
        if (!state->metadata_type)
                state->metadata_type = metadata_type_new();
        if (!state->discovery_type)
                state->discovery_type = discovery_type_new();
        if (!state->record_type)
                state->record_type = distribution_record_type_new();
        return state->metadata_type && state->discovery_type && state->record_type ? 0 : -1;
}

/* Return: 0; 1 if something is not as expected; -1 with an exception. */
static int metadata_begin(ModuleState *state, PyObject *dict) {
        Metadata *metadata;
        int r;

        if (types_begin(state) < 0)
                return -1;
        metadata = (Metadata *)state->metadata_type->tp_alloc(state->metadata_type, 0);
        if (!metadata)
                return -1;
        metadata->state = state;
        metadata->previous = state->metadata;
        state->metadata = metadata;
        if (learn_classes(metadata, dict) < 0 || learn_holders(metadata, dict) < 0 ||
            distribution_type_new(metadata) < 0) {
                metadata_clear(metadata);
                return -1;
        }
        r = state->gated ? 0 : gate_install(state);
        state->gated = r == 0;
        return r;
}

void metadata_learn(ModuleState *state, PyObject *module) {
        PyObject *dict = lookup_variables(module);
        PyObject *name = dict ? PyDict_GetItemWithError(dict, state->names.__name__) : NULL;

        if (!name || !PyUnicode_Check(name) || PyUnicode_CompareWithASCIIString(name, "importlib.metadata"))
                PyErr_Clear();
        else if (metadata_begin(state, dict) != 0) {
                PyErr_Clear();
                state_debug(state, "importlib.metadata is left to stock: it is not as expected");
        }
}

void metadata_forget(ModuleState *state) {
        for (Metadata *metadata = state->metadata; metadata; metadata = metadata->previous) {
                metadata->state = NULL;
                metadata_clear(metadata);
        }
        Py_CLEAR(state->metadata);
        Py_CLEAR(state->metadata_type);
        Py_CLEAR(state->discovery_type);
        Py_CLEAR(state->record_type);
}

/* ---- a search ---- */

/* What MetadataPathFinder._search_paths() gives: through the path, entry by entry, as somebody asks for more. */
typedef struct Discovery {
        PyObject_HEAD
        Metadata *metadata;
        PyObject *prepared; /* Prepared(name) */
        PyObject *key;      /* its normalized name, or NULL: all distributions */
        PyObject *path;     /* an iterator */
        PyObject *stock;    /* what FastPath found in the entry at hand, an iterator; or NULL */

        /* What an image has of the entry at hand, or NULL. */
        Mapping *mapping;
        Root *root;
        PyObject *entry;
        uint32_t next; /* the distribution's number */
} Discovery;

static void discovery_leave(Discovery *discovery) {
        discovery->mapping = mapping_unref(discovery->mapping);
        Py_CLEAR(discovery->entry);
}

static void discovery_dealloc(PyObject *self) {
        Discovery *discovery = (Discovery *)self;
        PyTypeObject *type = Py_TYPE(self);

        discovery_leave(discovery);
        Py_XDECREF(discovery->prepared);
        Py_XDECREF(discovery->key);
        Py_XDECREF(discovery->path);
        Py_XDECREF(discovery->stock);
        Py_XDECREF((PyObject *)discovery->metadata);
        type->tp_free(self);
        Py_DECREF(type);
}

/* The image's answer for an entry, if it has one. */
static Mapping *entry_mapping(ModuleState *state, PyObject *entry, Root **ret_root) {
        const char *bytes;
        Mapping *mapping;
        uint32_t directory;
        Py_ssize_t length;
        Root *root;

        bytes = PyUnicode_CheckExact(entry) ? PyUnicode_AsUTF8AndSize(entry, &length) : NULL;
        root = bytes && *bytes == '/' ? root_find(state, bytes, (size_t)length, &directory) : NULL;
        mapping = root && directory == 0 ? root_current(state, root) : NULL;
        if (mapping && (!(mapping->image.header->flags & IMAGE_HAS_DISTRIBUTIONS) ||
                        !distribution_root_is_valid(state, root, mapping)))
                mapping = NULL;
        *ret_root = root;
        return mapping;
}

/* Begin with the next entry of the path. Return: 0, or -1 with an exception. */
static int discovery_enter(Discovery *discovery, PyObject *entry) {
        Metadata *metadata = discovery->metadata;
        ModuleState *state = metadata->state;
        PyObject *fast_path, *found;

        if (metadata_is_served(metadata)) {
                Mapping *mapping = entry_mapping(state, entry, &discovery->root);

                if (mapping) {
                        discovery->mapping = mapping_ref(mapping);
                        discovery->entry = Py_NewRef(entry);
                        discovery->next = 0;
                        return 0;
                }
                if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_MemoryError))
                        return -1;
                PyErr_Clear();
        }
        if (!metadata->fast_path) {
                PyErr_SetString(PyExc_ImportError, "Python is shutting down");
                return -1;
        }
        fast_path = PyObject_CallOneArg(metadata->fast_path, entry);
        found = fast_path ? PyObject_CallMethod(fast_path, "search", "O", discovery->prepared) : NULL;
        discovery->stock = found ? PyObject_GetIter(found) : NULL;
        Py_XDECREF(fast_path);
        Py_XDECREF(found);
        return discovery->stock ? 0 : -1;
}

static bool string_is(const Image *image, ImageString string, PyObject *text) {
        Py_ssize_t length;
        const char *bytes = PyUnicode_AsUTF8AndSize(text, &length);
        size_t found_length;
        const char *found = bytes ? image_string(image, string, &found_length) : NULL;

        return found && found_length == (size_t)length && memcmp(found, bytes, found_length) == 0;
}

/* Return: the next one of the image; NULL if there is none left, or with an exception. */
static PyObject *discovery_served(Discovery *discovery) {
        const Image *image = &discovery->mapping->image;
        const ImageDistribution *distribution;

        while ((distribution = image_distribution(image, discovery->next))) {
                uint32_t number = discovery->next++;

                if (!discovery->key || string_is(image, distribution->key, discovery->key))
                        return distribution_new(discovery->metadata, discovery->root, discovery->mapping,
                                                number, discovery->entry);
        }
        return NULL;
}

static PyObject *discovery_next(PyObject *self) {
        Discovery *discovery = (Discovery *)self;

        for (;;) {
                PyObject *found, *entry;
                int r;

                if (discovery->mapping) {
                        found = discovery_served(discovery);
                        if (found || PyErr_Occurred())
                                return found;
                        discovery_leave(discovery);
                } else if (discovery->stock) {
                        found = PyIter_Next(discovery->stock);
                        if (found || PyErr_Occurred())
                                return found;
                        Py_CLEAR(discovery->stock);
                }
                entry = PyIter_Next(discovery->path);
                r = entry ? discovery_enter(discovery, entry) : -1;
                Py_XDECREF(entry);
                if (r < 0)
                        return NULL;
        }
}

static PyTypeObject *discovery_type_new(void) {
        static PyType_Slot slots[] = {
                { Py_tp_iter, PyObject_SelfIter },
                { Py_tp_iternext, discovery_next },
                { Py_tp_dealloc, discovery_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.Discovery",
                .basicsize = sizeof(Discovery),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}

/* ---- the calls ---- */

/* A name that can be looked for in an image: str; None is all. */
static bool name_is_usual(PyObject *name) {
        bool usual = name == Py_None ||
                     (PyUnicode_CheckExact(name) && PyUnicode_GET_LENGTH(name) > 0 && PyUnicode_AsUTF8(name));

        PyErr_Clear();
        return usual;
}

/* Is it a call of one Context with a usual name and a list of entries? */
static bool call_is_usual(const Metadata *metadata, PyObject *args, PyObject *kwargs) {
        PyObject *context, *name, *path;
        bool usual;

        if (!PyTuple_CheckExact(args) || PyTuple_GET_SIZE(args) != 1 || !PyDict_CheckExact(kwargs) ||
            PyDict_GET_SIZE(kwargs) != 0)
                return false;
        context = PyTuple_GET_ITEM(args, 0);
        if ((PyObject *)Py_TYPE(context) != metadata->context)
                return false;
        name = PyObject_GetAttrString(context, "name");
        path = name ? PyObject_GetAttrString(context, "path") : NULL;
        usual = path && PyList_CheckExact(path) && name_is_usual(name);
        PyErr_Clear();
        Py_XDECREF(name);
        Py_XDECREF(path);
        return usual;
}

/* What is spliced into PathFinder.find_distributions(): args, kwargs and the finder to call with them give that finder.
 * Self is the first that was known of the module, its state knows the newest. */
static PyObject *metadata_gate(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        ModuleState *state = ((Metadata *)self)->state;
        Metadata *metadata = state ? state->metadata : NULL;

        if (n != 3)
                return PyErr_Format(PyExc_TypeError, "three arguments, not %zd", n);
        if (metadata && args[2] == metadata->finder && metadata_is_served(metadata) &&
            call_is_usual(metadata, args[0], args[1]))
                return Py_NewRef((PyObject *)metadata);
        return Py_NewRef(args[2]);
}

/* From what a search gives to distributions, as map(PathDistribution, found). */
static PyObject *metadata_make(PyObject *self, PyObject *found) {
        Metadata *metadata = (Metadata *)self;

        if (!metadata->stock) {
                PyErr_SetString(PyExc_ImportError, "Python is shutting down");
                return NULL;
        }
        return Py_IS_TYPE(found, metadata->type) ? Py_NewRef(found)
                                                 : PyObject_CallOneArg((PyObject *)metadata->stock, found);
}

static PyObject *discovery_new(Metadata *metadata, PyObject *name, PyObject *path) {
        ModuleState *state = metadata->state;
        Discovery *discovery = (Discovery *)state->discovery_type->tp_alloc(state->discovery_type, 0);

        if (!discovery)
                return NULL;
        discovery->metadata = (Metadata *)Py_NewRef((PyObject *)metadata);
        discovery->prepared = PyObject_CallOneArg(metadata->prepared, name);
        if (discovery->prepared && name != Py_None)
                discovery->key = PyObject_GetAttrString(discovery->prepared, "normalized");
        if (discovery->key && !PyUnicode_Check(discovery->key))
                PyErr_SetString(PyExc_TypeError, "a normalized name that is no str");
        else if (!PyErr_Occurred())
                discovery->path = PyObject_GetIter(path);
        if (!discovery->path) {
                Py_DECREF((PyObject *)discovery);
                return NULL;
        }
        return (PyObject *)discovery;
}

/* MetadataPathFinder's, of a call that is usual. */
static PyObject *metadata_find_distributions(PyObject *self, PyObject *context) {
        static PyMethodDef make_method = { "PathDistribution", metadata_make, METH_O, NULL };
        Metadata *metadata = (Metadata *)self;
        PyObject *name = NULL, *path = NULL, *discovery = NULL, *make = NULL, *result = NULL;

        if (!metadata->state) {
                PyErr_SetString(PyExc_ImportError, "Python is shutting down");
                return NULL;
        }
        name = PyObject_GetAttrString(context, "name");
        path = name ? PyObject_GetAttrString(context, "path") : NULL;
        discovery = path ? discovery_new(metadata, name, path) : NULL;
        make = discovery ? PyCFunction_New(&make_method, self) : NULL;
        if (make)
                result = PyObject_CallFunctionObjArgs((PyObject *)&PyMap_Type, make, discovery, NULL);
        Py_XDECREF(name);
        Py_XDECREF(path);
        Py_XDECREF(discovery);
        Py_XDECREF(make);
        return result;
}

static void metadata_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        metadata_clear((Metadata *)self);
        Py_XDECREF((PyObject *)((Metadata *)self)->previous);
        type->tp_free(self);
        Py_DECREF(type);
}

/* Without the module, like the sieve of path_finder.c: code objects, which refer to it, are not known to the garbage
 * collector. */
static PyTypeObject *metadata_type_new(void) {
        static PyMethodDef methods[] = {
                { "find_distributions", metadata_find_distributions, METH_O, NULL },
                { 0 },
        };
        static PyType_Slot slots[] = {
                { Py_tp_methods, methods },
                { Py_tp_dealloc, metadata_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.Metadata",
                .basicsize = sizeof(Metadata),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}
