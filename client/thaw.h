/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_THAW_H
#define SHIMPORT_THAW_H

/*
 * Thaw: a module's code object, built from a frozen block without unmarshalling.
 *
 * One pass reads the block, checks it and writes the objects into the arena. What is checked: that every
 * record lies within the block and every object within the memory the block asks for, that every reference is
 * to an object made before and, where the interpreter relies on it, of the right type, that the counts a code
 * object holds fit each other. What is content, and trusted to the image's owner as a .pyc is: the bytecode,
 * the line and exception tables, the characters of strings. A block that fails a check is refused, and
 * nothing of it is published.
 *
 * Functions and what they refer to are laid into the arena and live as long as the process. What runs once,
 * the code of the module and of its classes, is made of ordinary objects that are freed after use, as they
 * always were. So a block should be thawed once in a process, and a module that is loaded again have its code
 * from elsewhere.
 *
 * The main interpreter only; the GIL is held.
 */

#include <Python.h>

#include <stddef.h>
#include <stdint.h>

#include "arena.h"

/* Return: NULL, or why this interpreter cannot thaw. Learns it at the first call. */
const char *thaw_supported(void);

/* What thaws the blocks of one image. */
typedef struct Thawer Thawer;

/**
 * thawer_new() - make ready to thaw an image's blocks
 * @arena:      where the objects go; it may be shared by many images, and must outlive the thawer
 * @texts:      the image's table of texts, borrowed
 *
 * Return: 0, -ENOTSUP where thaw_supported() says why, -EINVAL if the table cannot be one, or -ENOMEM.
 */
int thawer_new(Arena *arena, const void *texts, size_t size, uint32_t count, Thawer **ret_thawer);
Thawer *thawer_free(Thawer *thawer);

/**
 * thawer_thaw() - build a code object
 * @block:      aligned to 4
 * @filename:   becomes the co_filename of the code object and of those in it
 *
 * Return: a new reference; NULL with MemoryError; NULL without an exception if the block is damaged, or if
 * the interpreter has to make the code object itself because somebody watches for new ones.
 */
PyObject *thawer_thaw(Thawer *thawer, const void *block, size_t size, PyObject *filename);

#endif
