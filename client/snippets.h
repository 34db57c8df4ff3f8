/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SNIPPETS_H
#define SHIMPORT_SNIPPETS_H

/*
 * Snippets: texts that modules give to exec(), eval() and compile() while they are imported.
 *
 * namedtuple(), dataclasses, attrs, SQLAlchemy and many others write Python and have it compiled, in each process anew: a
 * fifth of what importing pytest takes. What a text compiles to depends on nothing but the text, the mode, the future
 * statements in force and the interpreter tag. So builders compile those that processes report, and the code comes out of
 * the image, marshalled; the file name it is compiled for is put in here. exec() and eval() then run code where they would
 * have run a text, by their own code.
 *
 * The three functions stay the objects that they are, and look as they did: what they call in C is replaced (the method
 * definition that a PyCFunctionObject points to), for as long as the module lives, in the main interpreter.
 *
 * Stock compiles what no image has; what is no plain str; with other flags than those of future statements, keywords or an
 * optimisation level; what the recursion limit may be too near for; and everything where an audit hook is set, which is to see
 * the text. What does not compile, or warns,
 * is in no image.
 *
 * What was compiled by a module that is being imported is noted (noted.h).
 */

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "switch.h"

typedef struct ModuleState ModuleState;

/* One interpreter's. All zeros: on, and nothing is replaced. */
typedef struct Snippets {
        Switch on_off;
        uint64_t hits;       /* whose code came from an image */
        PyObject *anonymous; /* the file name of what exec() and eval() compile, NULL until it is needed */
} Snippets;

/* The interpreter is being activated. */
void snippets_install(ModuleState *state);

void snippets_forget(ModuleState *state);

#endif
