/* SPDX-License-Identifier: MIT */

#include <Python.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "freeze_texts.h"
#include "words.h"

struct FreezeTexts {
        PyObject *numbers; /* dict: string to its number */
        Words records;     /* BlockText of each, with the offset of its characters among all characters */
        Words characters;
};

int freeze_texts_new(FreezeTexts **ret_texts) {
        FreezeTexts *texts;

        texts = calloc(1, sizeof(*texts));
        if (!texts) {
                PyErr_NoMemory();
                return -ENOMEM;
        }
        texts->numbers = PyDict_New();
        if (!texts->numbers) {
                free(texts);
                return -ENOMEM;
        }
        *ret_texts = texts;
        return 0;
}

FreezeTexts *freeze_texts_free(FreezeTexts *texts) {
        if (!texts)
                return NULL;
        Py_XDECREF(texts->numbers);
        words_clear(&texts->records);
        words_clear(&texts->characters);
        free(texts);
        return NULL;
}

static int texts_add(FreezeTexts *texts, PyObject *string) {
        BlockText text = {
                .offset = (uint32_t)(texts->characters.n * 4),
                .length = (uint32_t)PyUnicode_GET_LENGTH(string),
                .width = (uint8_t)PyUnicode_KIND(string),
        };

        if (PyUnicode_IS_ASCII(string))
                text.flags |= BLOCK_TEXT_ASCII;
        if (PyUnicode_CHECK_INTERNED(string))
                text.flags |= BLOCK_TEXT_INTERNED;

        if (words_add_bytes(&texts->records, &text, sizeof(text)) < 0 ||
            words_add_bytes(&texts->characters, PyUnicode_DATA(string), (size_t)text.length * text.width) <
                    0) {
                PyErr_NoMemory();
                return -ENOMEM;
        }
        return 0;
}

int freeze_texts_number(FreezeTexts *texts, PyObject *string, uint32_t *ret_number) {
        PyObject *number;
        int r;

        number = PyDict_GetItemWithError(texts->numbers, string);
        if (number) {
                *ret_number = (uint32_t)PyLong_AsUnsignedLong(number);
                return 0;
        }
        if (PyErr_Occurred())
                return -ENOMEM;

        if (PyDict_GET_SIZE(texts->numbers) > BLOCK_PAYLOAD_MAX) {
                PyErr_NoMemory();
                return -ENOMEM;
        }
        number = PyLong_FromSsize_t(PyDict_GET_SIZE(texts->numbers));
        if (!number)
                return -ENOMEM;
        r = PyDict_SetItem(texts->numbers, string, number) < 0 ? -ENOMEM : texts_add(texts, string);
        if (r == 0)
                *ret_number = (uint32_t)PyLong_AsUnsignedLong(number);
        Py_DECREF(number);
        return r;
}

/* The string that a record stands for. Return: new, or NULL with MemoryError; NULL without one if it is damaged. */
static PyObject *text_new(const uint8_t *table, size_t size, const BlockText *text) {
        PyObject *string;

        if ((text->width != 1 && text->width != 2 && text->width != 4) || text->offset % 4 ||
            text->offset > size || text->length > (size - text->offset) / text->width)
                return NULL;
        string = PyUnicode_FromKindAndData(text->width, table + text->offset, (Py_ssize_t)text->length);
        if (string && (text->flags & BLOCK_TEXT_INTERNED))
                PyUnicode_InternInPlace(&string);
        return string;
}

int freeze_texts_preload(FreezeTexts *texts, const void *table, size_t size, uint32_t count) {
        const BlockText *records = table;

        for (uint32_t i = 0; i < count && i < size / sizeof(*records); i++) {
                PyObject *string = text_new(table, size, &records[i]);
                uint32_t number;
                int r;

                if (!string)
                        break;
                r = freeze_texts_number(texts, string, &number);
                Py_DECREF(string);
                if (r < 0)
                        return r;
        }
        if (PyErr_Occurred())
                return -ENOMEM;
        if (PyDict_GET_SIZE(texts->numbers) == (Py_ssize_t)count)
                return 0;
        PyErr_SetString(PyExc_ValueError, "the table of texts is damaged");
        return -EBADMSG;
}

PyObject *freeze_texts_table(const FreezeTexts *texts, uint32_t *ret_count) {
        size_t records = texts->records.n * 4, characters = texts->characters.n * 4;
        PyObject *table;
        BlockText *text;
        char *at;

        table = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(records + characters));
        if (!table)
                return NULL;
        at = PyBytes_AS_STRING(table);
        if (records > 0)
                memcpy(at, texts->records.words, records);
        if (characters > 0)
                memcpy(at + records, texts->characters.words, characters);

        /* The characters come after the records, however many those have become. */
        text = (BlockText *)at;
        for (size_t i = 0; i < records / sizeof(*text); i++)
                text[i].offset += (uint32_t)records;
        *ret_count = (uint32_t)(records / sizeof(*text));
        return table;
}
