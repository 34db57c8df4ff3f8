/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ROOT_H
#define SHIMPORT_ROOT_H

/*
 * The roots of a process: each path entry that was asked for, with its image if there is one. A root is found
 * by the path it was opened under, and lives as long as the module.
 *
 * root_current() is where freshness is kept: whoever wants to read from an image asks there first.
 */

#include <Python.h>

#include "mapping.h"
#include "state.h"

struct Root {
        Root *next;
        char *path; /* as in sys.path, without trailing slashes */
        size_t path_length;
        int daemon; /* who answered: in ModuleState.endpoints; -1: nobody */
        int state;  /* Shimport__RootState */
        uint64_t generation;
        char *reason;
        dev_t dev; /* of the directory that was opened */
        ino_t ino;
        Mapping *mapping; /* owned; NULL: stock */
        bool attaching;   /* somebody waits for the daemon's answer, without the GIL */
        uint64_t served;
};

/**
 * root_attach() - ask the daemon for roots
 * @paths:      a list; what is not an absolute str, or was asked for before, is passed over
 * @late:       while running, not at start-up
 *
 * A daemon that does not answer makes the state deaf, which is no error.
 *
 * Return: 0, or -1 with an exception.
 */
int root_attach(ModuleState *state, PyObject *paths, bool late);

/**
 * root_find() - which attached root, and which directory of it, does a path name?
 *
 * The longest root that the path lies under.
 *
 * Return: the root, even if it has no image; NULL if the path lies under none that was asked for.
 */
Root *root_find(ModuleState *state, const char *path, size_t length, uint32_t *ret_directory);

/**
 * root_current() - what may be read now
 *
 * Asks the daemon only if it has a newer image, if the one that gave the image has ended, or after root_doubt().
 *
 * Return: the root's mapping, borrowed until the GIL is given up, or NULL if stock must answer; with an exception
 * only for a lack of memory.
 */
Mapping *root_current(ModuleState *state, Root *root);

/* importlib.invalidate_caches() was called: before the next answer the daemon shall have seen all changes. Then
 * it is also asked for the roots that have no image. */
void root_doubt(ModuleState *state);

/* Something that is validated by stat has changed: nobody but us could tell the daemon. */
void root_outdated(ModuleState *state, Mapping *mapping);

/* A module was imported whose code its image does not hold: the daemon is told, some time. */
void root_wanted(ModuleState *state, Mapping *mapping, const ImageEntry *entry);

/* Tell the daemons how it went, and what was wanted. */
void root_report(ModuleState *state);

/* Whether this very path was asked for. */
bool root_known(const ModuleState *state, const char *path, size_t length);

void root_free_all(ModuleState *state);

#endif
