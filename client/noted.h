/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_NOTED_H
#define SHIMPORT_NOTED_H

/*
 * Texts that this process compiled while a served module was imported, and that no image had: remembered until they are
 * reported, at the end of the process, with the modules that might show where they come from.
 */

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "attach.h"
#include "image.h"

typedef struct ModuleState ModuleState;

/* Longer ones are neither noted nor looked for. */
#define NOTED_TEXT_MAX 8192u

/* One interpreter's. Zeroed is empty. */
typedef struct Noted {
        AttachPattern *patterns;
        size_t n, bytes;
} Noted;

/**
 * noted_add() - note a text that stock is about to compile
 * @compiler:   only for images whose `pattern_compiler` is that one; 0: for all
 * @passed:     a package whose modules are passed over, or NULL
 *
 * For each image that a module on the stack came from, from the caller to the import that runs; nothing outside of
 * imports. What there is no memory or no room for is not noted.
 */
void noted_add(ModuleState *state, const ImagePatternKey *key, uint64_t compiler, const char *passed);

/* After the report. */
void noted_clear(Noted *noted);

#endif
