/* SPDX-License-Identifier: MIT */

#include <Python.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "freeze_sets.h"

/* marshal's own limit of nesting is 2000. */
#define DEPTH_MAX 2000

#define FLAG_REF 0x80

/* The fields of a code object: five numbers, eight objects, the line number, two objects. */
#define CODE_NUMBERS 20u
#define CODE_OBJECTS 10u
#define CODE_OBJECTS_AFTER_LINE 2u

typedef struct Level {
        uint32_t left; /* objects still to come */
        bool code;
} Level;

typedef struct Walk {
        const uint8_t *bytes;
        size_t size, at;
        uint8_t *twin; /* a copy, once a frozenset was seen */
        PyObject *twin_bytes;
        unsigned depth;
        Level levels[DEPTH_MAX];
} Walk;

static bool walk_skip(Walk *walk, uint64_t n) {
        if (n > walk->size - walk->at)
                return false;
        walk->at += n;
        return true;
}

static bool walk_number(Walk *walk, size_t width, uint32_t *ret_number) {
        uint32_t number = 0;

        if (width > walk->size - walk->at)
                return false;
        memcpy(&number, walk->bytes + walk->at, width);
        walk->at += width;
        *ret_number = number;
        return true;
}

/* Bytes, after their length. */
static bool walk_counted(Walk *walk, size_t width) {
        uint32_t n;

        return walk_number(walk, width, &n) && walk_skip(walk, n);
}

static bool walk_enter(Walk *walk, uint32_t left, bool code) {
        if (walk->depth == DEPTH_MAX)
                return false;
        walk->levels[walk->depth++] = (Level){ .left = left, .code = code };
        return true;
}

static bool walk_container(Walk *walk, size_t width) {
        uint32_t n;

        return walk_number(walk, width, &n) && walk_enter(walk, n, false);
}

/* A frozenset and a tuple are written alike, but for the letter. */
static int walk_frozenset(Walk *walk, size_t letter) {
        if (!walk->twin_bytes) {
                walk->twin_bytes =
                        PyBytes_FromStringAndSize((const char *)walk->bytes, (Py_ssize_t)walk->size);
                if (!walk->twin_bytes)
                        return -ENOMEM;
                walk->twin = (uint8_t *)PyBytes_AS_STRING(walk->twin_bytes);
        }
        walk->twin[letter] = '(' | (walk->twin[letter] & FLAG_REF);
        return walk_container(walk, 4) ? 0 : FREEZE_SETS_E_UNKNOWN;
}

static bool walk_plain(Walk *walk, uint8_t letter) {
        uint32_t n;

        switch (letter) {
        case 'N': /* None, False, True, StopIteration, Ellipsis */
        case 'F':
        case 'T':
        case 'S':
        case '.':
                return true;
        case 'i': /* int, and a reference to an object before */
        case 'r':
                return walk_skip(walk, 4);
        case 'l': /* int of many digits, two bytes each; a negative count is that of a negative number */
                return walk_number(walk, 4, &n) &&
                       walk_skip(walk, ((int32_t)n < 0 ? -(uint64_t)(int32_t)n : (uint64_t)n) * 2);
        case 'g': /* float, complex */
                return walk_skip(walk, 8);
        case 'y':
                return walk_skip(walk, 16);
        case 's': /* bytes, strings in their several spellings */
        case 't':
        case 'u':
        case 'a':
        case 'A':
                return walk_counted(walk, 4);
        case 'z':
        case 'Z':
                return walk_counted(walk, 1);
        case ')': /* tuples, slice, code */
                return walk_container(walk, 1);
        case '(':
                return walk_container(walk, 4);
        case ':':
                return walk_enter(walk, 3, false);
        case 'c':
                return walk_skip(walk, CODE_NUMBERS) && walk_enter(walk, CODE_OBJECTS, true);
        default:
                return false;
        }
}

static int walk_object(Walk *walk) {
        size_t at = walk->at;
        uint32_t letter;

        if (!walk_number(walk, 1, &letter))
                return FREEZE_SETS_E_UNKNOWN;
        letter &= ~(uint32_t)FLAG_REF;
        if (letter == '>')
                return walk_frozenset(walk, at);
        return walk_plain(walk, (uint8_t)letter) ? 0 : FREEZE_SETS_E_UNKNOWN;
}

/* Goes through all objects; containers stand open in `levels` until all they hold has come by. */
static int walk_run(Walk *walk) {
        int r;

        (void)walk_enter(walk, 1, false);
        while (walk->depth > 0) {
                Level *level = &walk->levels[walk->depth - 1];

                if (level->code && level->left == CODE_OBJECTS_AFTER_LINE && !walk_skip(walk, 4))
                        return FREEZE_SETS_E_UNKNOWN;
                if (level->left == 0) {
                        walk->depth--;
                        continue;
                }
                level->left--;
                r = walk_object(walk);
                if (r)
                        return r;
        }
        return walk->at == walk->size ? 0 : FREEZE_SETS_E_UNKNOWN;
}

int freeze_sets_twin(const void *marshalled, size_t size, PyObject **ret_twin) {
        Walk *walk;
        int r;

        walk = PyMem_Calloc(1, sizeof(*walk));
        if (!walk) {
                PyErr_NoMemory();
                return -ENOMEM;
        }
        walk->bytes = marshalled;
        walk->size = size;
        r = walk_run(walk);
        if (r == 0)
                *ret_twin = walk->twin_bytes;
        else
                Py_XDECREF(walk->twin_bytes);
        PyMem_Free(walk);
        return r;
}
