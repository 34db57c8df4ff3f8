/* SPDX-License-Identifier: MIT */

#include "thaw_external.h"

#if FACTS_KNOWN

#include <errno.h>

#include "block.h"

void thaw_external_expect(const Texts *texts, uint32_t word) {
        if (word >> BLOCK_PAYLOAD_BITS == BLOCK_EXTERNAL_TEXT)
                texts_expect(texts, word & BLOCK_PAYLOAD_MAX);
}

int thaw_external(Texts *texts, uint32_t word, PyObject **ret_object, uint8_t *ret_kind) {
        uint32_t payload = word & BLOCK_PAYLOAD_MAX;
        uint8_t kind = IS_OTHER;
        PyObject *object;
        char byte;

        switch (word >> BLOCK_PAYLOAD_BITS) {
        case BLOCK_EXTERNAL_TEXT:
                object = texts_get(texts, payload);
                kind = IS_STRING;
                break;
        case BLOCK_EXTERNAL_INT:
                object = PyLong_FromLong((int32_t)(payload << (32 - BLOCK_PAYLOAD_BITS)) >>
                                         (32 - BLOCK_PAYLOAD_BITS));
                break;
        case BLOCK_EXTERNAL_BYTE:
                byte = (char)payload;
                object = PyBytes_FromStringAndSize(&byte, 1);
                kind = IS_BYTES;
                break;
        case BLOCK_EXTERNAL_EMPTY_BYTES:
                object = PyBytes_FromStringAndSize(NULL, 0);
                kind = IS_BYTES;
                break;
        case BLOCK_EXTERNAL_EMPTY_TUPLE:
                object = PyTuple_New(0);
                kind = IS_TUPLE | IS_NAMES;
                break;
        case BLOCK_EXTERNAL_NONE:
                object = Py_NewRef(Py_None);
                break;
        case BLOCK_EXTERNAL_TRUE:
                object = Py_NewRef(Py_True);
                break;
        case BLOCK_EXTERNAL_FALSE:
                object = Py_NewRef(Py_False);
                break;
        case BLOCK_EXTERNAL_ELLIPSIS:
                object = Py_NewRef(Py_Ellipsis);
                break;
        case BLOCK_EXTERNAL_STOP_ITERATION:
                object = Py_NewRef(PyExc_StopIteration);
                break;
        default:
                return THAW_E_DAMAGED;
        }
        if (!object)
                return PyErr_Occurred() ? -ENOMEM : THAW_E_DAMAGED;

        *ret_object = object;
        *ret_kind = kind;
        return 0;
}

#endif
