/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_REGEX_H
#define SHIMPORT_REGEX_H

/*
 * Regular expressions whose programs lie in an image.
 *
 * What re.compile() makes of a text and flags depends on nothing but the sources of `re` and the interpreter. A builder
 * has compiled the patterns that processes report, with its own `re`; here the parser and the compiler are passed over:
 * a call spliced into re._compiler.compile() (splice.h) looks the pattern up, and has _sre.compile() make the same
 * Pattern of the program. All that is around it is stock's: re's caches, purge(), flags, and whoever calls compile().
 *
 * Programs are taken from any image that the same `re` was used for, by number, as the one that this process has loaded.
 * It need not be fresh: the text says it all. Stock compiles what no image has; what is no plain str or bytes; with LOCALE,
 * DEBUG or TEMPLATE; while somebody traces or profiles; and everything once a program has put something of its own into
 * re._compiler, re._parser or _sre. What a builder leaves out (what does not compile, or warns) is never found here.
 *
 * What was compiled by a module that is being imported is noted (noted.h).
 */

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "switch.h"

typedef struct ModuleState ModuleState;
typedef struct Mapping Mapping;
typedef struct RegexHook RegexHook;

/* One interpreter's. All zeros: on, and nothing is known. */
typedef struct Regex {
        Switch on_off;
        unsigned served;     /* which modules of `re` came from the image below, bits of regex.c */
        uint64_t generation; /* the image */
        uint64_t compiler;   /* its pattern_compiler */
        PyTypeObject *hook_type;
        RegexHook *hook; /* in force; owned */
        uint64_t hits;   /* patterns whose programs came from an image */
} Regex;

/* The code of a module is taken from an image. */
void regex_served(ModuleState *state, const Mapping *mapping, PyObject *name);

/* A module has been executed. */
void regex_executed(ModuleState *state, PyObject *module);

/* The interpreter is being activated: `re` may have been imported before. */
void regex_activated(ModuleState *state);

void regex_forget(ModuleState *state);

#endif
