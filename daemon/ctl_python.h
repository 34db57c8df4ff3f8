/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CTL_PYTHON_H
#define SHIMPORT_CTL_PYTHON_H

/* An interpreter, as it describes itself when it runs shimport/describe.py. */

#include <jansson.h>

#include "ctl.h"

typedef struct Python {
        const char *name; /* as it was given */
        const char *version;
        const char *executable, *options, *tag; /* what to build with, see python_check_extension() */
        json_t *description;
} Python;

/**
 * python_describe() - have an interpreter describe itself
 *
 * Return: 0; or CTL_FAILED if it does not run, is too old or is not CPython, which has been said.
 */
int python_describe(const char *name, Python *ret_python);

/* Can it be served? Return: 0; or CTL_FAILED if the client has no extension for it, which has been said. */
int python_check_extension(const Python *python);

/* A string of the description, or NULL. */
const char *python_string(const Python *python, const char *key);

/**
 * python_options() - the command line options --python PY... and --help of a command
 * @ret_names:  the interpreters
 *
 * Return: -1 to go on, or the status to exit with.
 */
int python_options(const CtlCommand *command, int argc, char **argv, const char ***ret_names, size_t *ret_n);

#endif
