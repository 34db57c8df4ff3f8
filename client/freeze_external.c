/* SPDX-License-Identifier: MIT */

#include "freeze_external.h"

#include <errno.h>

#include "block.h"

/* Whether a string is the one that the interpreter keeps for its only character, or for none. */
static int is_kept_string(PyObject *string, bool *ret_kept) {
        PyObject *kept;

        if (PyUnicode_GET_LENGTH(string) > 1 || PyUnicode_KIND(string) != PyUnicode_1BYTE_KIND) {
                *ret_kept = false;
                return 0;
        }
        kept = PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, PyUnicode_DATA(string),
                                         PyUnicode_GET_LENGTH(string));
        if (!kept)
                return -ENOMEM;
        *ret_kept = kept == string;
        Py_DECREF(kept);
        return 0;
}

static int is_kept_bytes(PyObject *bytes, bool *ret_kept) {
        PyObject *kept;

        if (PyBytes_GET_SIZE(bytes) > 1) {
                *ret_kept = false;
                return 0;
        }
        kept = PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
        if (!kept)
                return -ENOMEM;
        *ret_kept = kept == bytes;
        Py_DECREF(kept);
        return 0;
}

static int is_kept_int(PyObject *number, bool *ret_kept, long *ret_value) {
        PyObject *kept;
        int overflow;
        long value;

        *ret_kept = false;
        value = PyLong_AsLongAndOverflow(number, &overflow);
        if (overflow || value < INT16_MIN || value > INT16_MAX)
                return 0;
        kept = PyLong_FromLong(value);
        if (!kept)
                return -ENOMEM;
        *ret_kept = kept == number;
        *ret_value = value;
        Py_DECREF(kept);
        return 0;
}

static inline uint32_t external(BlockExternal kind, uint32_t payload) {
        return (uint32_t)kind << BLOCK_PAYLOAD_BITS | (payload & BLOCK_PAYLOAD_MAX);
}

int freeze_external(FreezeTexts *texts, PyObject *object, bool *ret_external, uint32_t *ret_word) {
        uint32_t number = 0;
        bool kept = true;
        long value = 0;
        int r = 0;

        if (object == Py_None)
                *ret_word = external(BLOCK_EXTERNAL_NONE, 0);
        else if (object == Py_True)
                *ret_word = external(BLOCK_EXTERNAL_TRUE, 0);
        else if (object == Py_False)
                *ret_word = external(BLOCK_EXTERNAL_FALSE, 0);
        else if (object == Py_Ellipsis)
                *ret_word = external(BLOCK_EXTERNAL_ELLIPSIS, 0);
        else if (object == PyExc_StopIteration)
                *ret_word = external(BLOCK_EXTERNAL_STOP_ITERATION, 0);
        else if (PyTuple_CheckExact(object) && PyTuple_GET_SIZE(object) == 0)
                *ret_word = external(BLOCK_EXTERNAL_EMPTY_TUPLE, 0);
        else if (PyLong_CheckExact(object)) {
                r = is_kept_int(object, &kept, &value);
                if (r == 0 && kept)
                        *ret_word = external(BLOCK_EXTERNAL_INT, (uint32_t)value);
        } else if (PyBytes_CheckExact(object)) {
                r = is_kept_bytes(object, &kept);
                if (r == 0 && kept && PyBytes_GET_SIZE(object) == 0)
                        *ret_word = external(BLOCK_EXTERNAL_EMPTY_BYTES, 0);
                else if (r == 0 && kept)
                        *ret_word = external(BLOCK_EXTERNAL_BYTE, (uint8_t)PyBytes_AS_STRING(object)[0]);
        } else if (PyUnicode_CheckExact(object)) {
                kept = PyUnicode_CHECK_INTERNED(object);
                if (!kept)
                        r = is_kept_string(object, &kept);
                if (r == 0 && kept)
                        r = freeze_texts_number(texts, object, &number);
                if (r == 0 && kept)
                        *ret_word = external(BLOCK_EXTERNAL_TEXT, number);
        } else
                kept = false;
        if (r == 0)
                *ret_external = kept;
        return r;
}
