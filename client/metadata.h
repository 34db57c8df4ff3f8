/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_METADATA_H
#define SHIMPORT_METADATA_H

/*
 * importlib.metadata, served from images.
 *
 * PathFinder.find_distributions() imports importlib.metadata and has its MetadataPathFinder search the path. When that
 * module has been executed, and not before, a call is spliced into find_distributions(), see splice.h: it puts a Metadata in
 * the place of MetadataPathFinder, whose search goes through the same path, entry by entry and as lazily as stock, and answers
 * for the entries that an image has. All others are searched by stock's FastPath, and everything is stock's if the call is
 * not the usual one.
 *
 * What comes of it are the distributions of distribution.h. They, too, answer only while importlib.metadata, pathlib and
 * what these call are as they were when the module was executed: a program that puts something of its own there gets stock.
 */

#include <Python.h>

#include "state.h"

/* Names in importlib.metadata, of classes whose methods it calls, and of what else it looks up. */
#define METADATA_VALUES_MAX 96
#define METADATA_HOLDERS_MAX 16

/* Something that was found in a class or a module. */
typedef struct MetadataValue {
        PyObject *name;  /* interned */
        PyObject *value; /* owned; NULL: there was none */
} MetadataValue;

typedef struct MetadataHolder {
        PyObject *object; /* owned: a class, or a module's dict */
        unsigned version; /* of a class that was as it was when looked at; 0: look */
        size_t first, n;  /* its values */
} MetadataHolder;

/* What is known of importlib.metadata, as it was executed once. An object, since what it gives may outlive the module's
 * state. */
struct Metadata {
        PyObject_HEAD
        ModuleState *state; /* NULL once that is gone, and then all is stock's */
        Metadata *
                previous; /* owned: what was known of the module when it was executed the time before, or NULL */
        MetadataValue values[METADATA_VALUES_MAX];
        MetadataHolder holders[METADATA_HOLDERS_MAX];
        size_t n_values, n_holders;

        PyObject *finder;    /* MetadataPathFinder */
        PyObject *context;   /* DistributionFinder.Context */
        PyObject *fast_path; /* FastPath */
        PyObject *prepared;  /* Prepared */
        PyObject *point;     /* EntryPoint */
        PyObject *points;    /* EntryPoints */
        PyObject *match;     /* _EntryPointMatch, where values are split at once; or NULL */
        PyTypeObject *stock; /* PathDistribution */
        PyTypeObject *type;  /* ours, a subclass of it */
        Py_ssize_t slot;     /* where its instances keep their Record */
};

/**
 * metadata_learn() - a module was executed
 *
 * Of interest if it is importlib.metadata. It is left alone if it is not as expected, or memory is short.
 */
void metadata_learn(ModuleState *state, PyObject *module);

/* The state goes away: importlib.metadata is on its own from here on. */
void metadata_forget(ModuleState *state);

/* Is all of it as it was when the module was executed, and may an image answer? */
bool metadata_is_served(Metadata *metadata);

#endif
