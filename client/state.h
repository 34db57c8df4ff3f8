/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_STATE_H
#define SHIMPORT_STATE_H

/*
 * What one interpreter's `_shimport` knows. It is the state of the module, so each subinterpreter has its own;
 * all of it is touched with the GIL held. The module owns everything here.
 */

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "arena.h"
#include "attach.h"
#include "collect.h"
#include "guard.h"
#include "module_lock.h"
#include "noted.h"
#include "regex.h"
#include "snippets.h"
#include "sys_dict.h"
#include "wanted.h"

typedef struct Root Root;
typedef struct Metadata Metadata;

/* Attribute names, interned once. */
#define NAMES(X)                      \
        X(name)                       \
        X(loader)                     \
        X(origin)                     \
        X(submodule_search_locations) \
        X(_cached)                    \
        X(_cache_bytecode)            \
        X(path)                       \
        X(_loaders)                   \
        X(get_code)                   \
        X(exec_module)                \
        X(get_data)                   \
        X(path_stats)                 \
        X(source_to_code)             \
        X(find_spec)                  \
        X(invalidate_caches)          \
        X(_get_spec)                  \
        X(_path_hooks)                \
        X(_path_importer_cache)       \
        X(__dict__)                   \
        X(__loader__)                 \
        X(value)                      \
        X(group)                      \
        X(dist)                       \
        X(_match)                     \
        X(__spec__)                   \
        X(__package__)                \
        X(__path__)                   \
        X(__name__)                   \
        X(__file__)                   \
        X(__cached__)                 \
        X(_set_fileattr)              \
        X(create_module)              \
        X(__init__)                   \
        X(get_filename)               \
        X(parent)                     \
        X(cached)                     \
        X(has_location)

typedef struct Names {
#define X(name) PyObject *name;
        NAMES(X)
#undef X
} Names;

/* A stock spec's attributes, in stock's order: what they are, or which of those that each spec has its own of. */
#define SPEC_ATTRIBUTES_MAX 16

typedef enum SpecOwn {
        SPEC_SAME,
        SPEC_NAME,
        SPEC_LOADER,
        SPEC_ORIGIN,
        SPEC_LOCATIONS,
        _SPEC_OWN_N
} SpecOwn;

typedef struct SpecShape {
        size_t n;
        PyObject *names[SPEC_ATTRIBUTES_MAX];
        PyObject *values[SPEC_ATTRIBUTES_MAX]; /* NULL: each spec's own; a list: a fresh one each */
        SpecOwn own[SPEC_ATTRIBUTES_MAX];
} SpecShape;

/* What stock makes of a new module, see create.h. */
typedef struct Created {
        enum {
                CREATED_UNKNOWN,
                CREATED_KNOWN,
                CREATED_OTHERWISE
        } learnt;
        bool package, cached; /* whether it sets these attributes */
        Guard guards[2];      /* of the functions that do it */
} Created;

/* The modules that are in no file, see meta_path.h. */
typedef struct Tables {
        PyObject *names;                       /* of all of them, a set */
        PyObject *acquire_lock, *release_lock; /* of _imp: the import lock */
        const void *builtin, *frozen;
} Tables;

/* Stock's classes that a program may put methods of its own into. */
typedef enum StockClass {
        STOCK_FINDER,
        STOCK_LOADER,
        STOCK_PATH_FINDER,
        STOCK_BUILTIN_IMPORTER,
        STOCK_FROZEN_IMPORTER,
        STOCK_SPEC,
        _STOCK_CLASS_N
} StockClass;

/* Stock's methods as they were at activation: where a program has put its own in their place, stock answers. */
#define STOCK_METHODS 9
#define STOCK_CLASS_METHODS 10
#define STOCK_FUNCTIONS 3

/* What the names of pycs are made of: sys.flags, sys.implementation, and the cache_tag of that. */
#define STOCK_PYC_NAMES 3

typedef struct Counters {
        uint64_t served, fallback, stale, unmarshalled, thawed;
} Counters;

struct ModuleState {
        PyObject *module; /* borrowed: the state is the module's */
        Names names;

        /* From importlib. */
        PyTypeObject *spec_type;     /* ModuleSpec */
        PyTypeObject *stock_finder;  /* FileFinder */
        PyTypeObject *stock_loader;  /* SourceFileLoader */
        PyObject *sourceless_loader; /* SourcelessFileLoader */
        PyObject *extension_loader;  /* ExtensionFileLoader */
        PyTypeObject *path_finder;   /* PathFinder */
        PyObject *zip_importer;      /* the path hook before FileFinder's, NULL if there is none */
        PyObject *file_hook;         /* FileFinder's in sys.path_hooks, which calls our finder's type */
        PyObject *loader_details;    /* what that gives to FileFinder after the path, a tuple */
        PyObject *loaders;           /* what FileFinder makes of them: its suffixes in turn */
        PyObject *fix_co_filename;   /* _imp._fix_co_filename */
        PyObject *bootstrap;         /* _frozen_importlib */
        PyTypeObject *builtin_importer, *frozen_importer;
        PyObject *stock_methods[STOCK_METHODS];
        PyObject *class_methods[STOCK_CLASS_METHODS]; /* of the finders in sys.meta_path, and of ModuleSpec */
        Guard stock_functions[STOCK_FUNCTIONS];       /* of importlib._bootstrap_external */
        Guard pyc_names[STOCK_PYC_NAMES];
        unsigned stock_versions[_STOCK_CLASS_N]; /* as they were when last looked at */
        SysDict sys;
        SpecShape shape;
        Created created;
        Tables tables;

        PyTypeObject *place_type, *finder_type, *loader_type, *search_type, *inquiry_type;
        struct Sieve *sieve; /* see sieve.h */
        bool shortcuts_considered;
        Metadata
                *metadata; /* see metadata.h; NULL until importlib.metadata is loaded, and so are its types */
        PyTypeObject *metadata_type, *discovery_type, *record_type;
        bool gated;
        PyObject *finder_method; /* finder_type's find_spec, and the version it was looked at */
        unsigned finder_version;
        Py_ssize_t finder_slot, loader_slot; /* where their instances keep their Place */

        /* The conversation with the daemon. */
        PyObject *tag, *executable; /* str, bytes */
        const char *options;
        bool unmarshal; /* SHIMPORT_THAW=0: to see what thawing brings */
        unsigned budget_ms;
        bool debug;
        Endpoint endpoints[ENDPOINTS_MAX]; /* see endpoint_list() */
        bool answered[ENDPOINTS_MAX];
        bool deaf_to[ENDPOINTS_MAX]; /* it failed us while another answered */
        pid_t pid; /* of the activation: a forked child does not report what its parent will */

        bool active;
        bool deaf; /* a daemon failed us once, and not by being absent: not asked again by this process */
        bool recovering;                    /* one is asked that may be just starting */
        uint64_t recover_at, recover_pause; /* when it is asked again, in milliseconds */
        uint64_t doubts, settled;           /* if they differ a barrier is due before the next answer */
        char reason[200];
        Root *roots;  /* those asked for, by whatever outcome */
        Arena *arena; /* of thawed code; NULL until there is some */
        Counters counters;
        Wanted wanted;
        Collect collect;
        ModuleLocks locks;
        Regex regex;
        Snippets snippets;
        Noted noted;
};

extern PyModuleDef shimport_module;

/* The state behind an instance of one of our types, or of a subclass; NULL with an exception. */
static inline ModuleState *state_of(PyObject *self) {
        PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &shimport_module);

        return module ? PyModule_GetState(module) : NULL;
}

/* Ours came to an end for want of memory: that is no reason to fail an import, stock may do with what there is, or will
 * say so itself. Return: whether that was so, and there is no exception any more. */
static inline bool memory_was_short(void) {
        if (!PyErr_Occurred() || !PyErr_ExceptionMatches(PyExc_MemoryError))
                return false;
        PyErr_Clear();
        return true;
}

/* object.__new__(type): not tp_alloc alone, which leaves a Python class's attributes unprepared in 3.11. */
static inline PyObject *instance_new(PyTypeObject *type) {
        PyObject *none = PyTuple_New(0);
        PyObject *instance = none ? PyBaseObject_Type.tp_new(type, none, NULL) : NULL;

        Py_XDECREF(none);
        return instance;
}

/*
 * An instance's dict, in a new reference, that the instance keeps, but does not share its values with: by having another for
 * a moment. Where one that shares them ends, CPython 3.13 and later need memory, and write of it if there is none:
 * PyObject_ClearManagedDict(), Objects/dictobject.c. PyObject_GenericSetDict() of 3.13 would leave them shared.
 */
static inline PyObject *instance_dict(const Names *names, PyObject *instance) {
        PyObject *dict = PyObject_GetAttr(instance, names->__dict__);
#if PY_VERSION_HEX >= 0x030D0000
        PyObject *other = dict ? PyDict_New() : NULL;

        if (!other || PyObject_SetAttr(instance, names->__dict__, other) < 0 ||
            PyObject_SetAttr(instance, names->__dict__, dict) < 0)
                Py_CLEAR(dict);
        Py_XDECREF(other);
#endif
        return dict;
}

/* One line to stderr if SHIMPORT_DEBUG=1. */
void state_debug(const ModuleState *state, const char *format, ...) __attribute__((__format__(printf, 2, 3)));

#endif
