/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_JOIN_H
#define SHIMPORT_JOIN_H

/* Paths out of a text that the process has and bytes that an image has, of ASCII, as most are: without decoding. */

#include <Python.h>

#include <stdbool.h>
#include <string.h>

static inline bool join_is_ascii(const char *bytes, size_t length) {
        for (size_t i = 0; i < length; i++)
                if (bytes[i] & 0x80)
                        return false;
        return true;
}

/* The first @n characters of an ASCII text, and then ASCII bytes. Return: a new str, or NULL with an exception. */
static inline PyObject *join_ascii(PyObject *text, Py_ssize_t n, const char *bytes, size_t length) {
        PyObject *joined = PyUnicode_New(n + (Py_ssize_t)length, 127);

        if (joined) {
                memcpy(PyUnicode_1BYTE_DATA(joined), PyUnicode_1BYTE_DATA(text), (size_t)n);
                memcpy(PyUnicode_1BYTE_DATA(joined) + n, bytes, length);
        }
        return joined;
}

/* Does an ASCII text end with these bytes? */
static inline bool join_ends_with(PyObject *text, const char *bytes, size_t length) {
        size_t all = (size_t)PyUnicode_GET_LENGTH(text);

        return all >= length && memcmp(PyUnicode_1BYTE_DATA(text) + all - length, bytes, length) == 0;
}

#endif
