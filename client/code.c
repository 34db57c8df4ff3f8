/* SPDX-License-Identifier: MIT */

#include "code.h"

#include <errno.h>
#include <marshal.h>
#include <stdlib.h>

#include "root.h"
#include "thaw.h"

struct RootCode {
        Thawer *thawer;
        uint8_t thawed[]; /* a bit for each entry */
};

RootCode *root_code_free(RootCode *code) {
        if (!code)
                return NULL;
        thawer_free(code->thawer);
        free(code);
        return NULL;
}

/* Return: 0, or a negative errno: -ENOTSUP where code is to be unmarshalled. */
static int root_code_new(ModuleState *state, const Image *image, RootCode **ret_code) {
        const ImageHeader *header = image->header;
        RootCode *code;
        int r;

        if (state->unmarshal || PyInterpreterState_Get() != PyInterpreterState_Main() || thaw_supported())
                return -ENOTSUP;
        if (!state->arena) {
                r = arena_new(&state->arena);
                if (r < 0)
                        return r;
        }
        code = calloc(1, sizeof(*code) + (header->entry_count + 7) / 8);
        if (!code)
                return -ENOMEM;
        r = thawer_new(state->arena, image->base + header->texts.offset, header->texts.size,
                       header->text_count, &code->thawer);
        if (r < 0) {
                root_code_free(code);
                return r;
        }
        *ret_code = code;
        return 0;
}

/* Return: new, or NULL: without an exception if the block is not to be thawed, or again, or is damaged. */
static PyObject *code_thaw(ModuleState *state, Mapping *mapping, uint32_t number, const ImageEntry *entry,
                           PyObject *path) {
        uint8_t bit = (uint8_t)(1u << (number % 8));
        const uint8_t *block;
        PyObject *code;
        size_t size;

        block = image_frozen(&mapping->image, entry, &size);
        if (!block)
                return NULL;
        if (!mapping->code && !mapping->unthawable)
                mapping->unthawable = root_code_new(state, &mapping->image, &mapping->code) < 0;
        if (!mapping->code || mapping->code->thawed[number / 8] & bit)
                return NULL;
        code = thawer_thaw(mapping->code->thawer, block, size, path);
        if (code) {
                mapping->code->thawed[number / 8] |= bit;
                state->counters.thawed++;
        }
        return code;
}

/* With the module's file name in it, as _compile_bytecode() in importlib/_bootstrap_external.py leaves it. */
static PyObject *code_unmarshal(ModuleState *state, const Image *image, const ImageEntry *entry,
                                PyObject *path) {
        size_t size;
        const uint8_t *bytes = image_code(image, entry, &size);
        PyObject *code, *result;

        if (!bytes)
                return NULL;
        code = PyMarshal_ReadObjectFromString((const char *)bytes, (Py_ssize_t)size);
        if (code && !PyCode_Check(code))
                Py_CLEAR(code);
        if (!code) {
                if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_MemoryError))
                        PyErr_Clear();
                return NULL;
        }
        if (PyUnicode_Compare(((PyCodeObject *)code)->co_filename, path) != 0) {
                result = PyObject_CallFunctionObjArgs(state->fix_co_filename, code, path, NULL);
                if (!result)
                        Py_CLEAR(code);
                Py_XDECREF(result);
        }
        state->counters.unmarshalled += code != NULL;
        return code;
}

PyObject *code_load(ModuleState *state, Mapping *mapping, uint32_t number, PyObject *path) {
        const ImageEntry *entry = image_entry(&mapping->image, number);
        PyObject *code;

        if (!entry)
                return NULL;
        if (!entry->code_size && !entry->frozen_size) {
                root_wanted(state, mapping, entry);
                return NULL;
        }
        code = code_thaw(state, mapping, number, entry, path);
        if (!code && !PyErr_Occurred())
                code = code_unmarshal(state, &mapping->image, entry, path);
        return code;
}
