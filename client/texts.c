/* SPDX-License-Identifier: MIT */

#include "texts.h"

#if FACTS_KNOWN

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"

/* Strings are kept in small pages, so that a process that uses few of many texts pays for few. */
#define PAGE_TEXTS 16u

typedef struct Page {
        PyObject *strings[PAGE_TEXTS];
} Page;

struct Texts {
        const Facts *facts;
        Arena *arena;
        const uint8_t *table;
        size_t size;
        uint32_t count;
        Page *pages[];
};

int texts_new(const Facts *facts, Arena *arena, const void *table, size_t size, uint32_t count,
              Texts **ret_texts) {
        Texts *texts;

        if (count > size / sizeof(BlockText))
                return -EINVAL;
        texts = calloc(1, sizeof(*texts) + ((size_t)count / PAGE_TEXTS + 1) * sizeof(Page *));
        if (!texts)
                return -ENOMEM;
        texts->facts = facts;
        texts->arena = arena;
        texts->table = table;
        texts->size = size;
        texts->count = count;
        *ret_texts = texts;
        return 0;
}

Texts *texts_free(Texts *texts) {
        if (!texts)
                return NULL;
        for (uint32_t i = 0; i <= texts->count / PAGE_TEXTS; i++)
                free(texts->pages[i]);
        free(texts);
        return NULL;
}

/* A name, put beside the code that uses it; or the string that the process has for it already. */
static PyObject *text_make_name(const Texts *texts, const uint8_t *bytes, uint32_t length) {
        size_t size = (sizeof(PyASCIIObject) + length + 1 + 7) / 8 * 8;
        PyASCIIObject *memory;
        PyObject *string;
        char *characters;

        memory = arena_take(texts->arena, size);
        if (!memory)
                return PyErr_NoMemory();
        characters = facts_ascii_init(texts->facts, memory, length);
        memcpy(characters, bytes, length);
        characters[length] = '\0';

        string = Py_NewRef((PyObject *)memory); /* that one is never given back, for the memory is not */
        facts_intern(&string);
        if (string != (PyObject *)memory)
                arena_untake(texts->arena, memory, size);
        return string;
}

static PyObject *text_make(const Texts *texts, uint32_t number) {
        const BlockText *text = (const BlockText *)texts->table + number;
        const uint8_t *bytes;
        PyObject *string;
        uint64_t size;

        if (text->width != 1 && text->width != 2 && text->width != 4)
                return NULL;
        size = (uint64_t)text->length * text->width;
        if (text->offset % 4 || text->offset > texts->size || size > texts->size - text->offset)
                return NULL;
        bytes = texts->table + text->offset;

        if (FACTS_STRINGS_MAY_STAY && text->length > 1 && text->width == 1 &&
            (text->flags & BLOCK_TEXT_NAME) == BLOCK_TEXT_NAME)
                return text_make_name(texts, bytes, text->length);

        string = PyUnicode_FromKindAndData(text->width, bytes, text->length);
        if (!string) {
                if (!PyErr_ExceptionMatches(PyExc_MemoryError))
                        PyErr_Clear();
                return NULL;
        }
        if (text->flags & BLOCK_TEXT_INTERNED)
                facts_intern(&string);
        return string;
}

void texts_expect(const Texts *texts, uint32_t number) {
        const Page *page;

        if (number >= texts->count)
                return;
        page = texts->pages[number / PAGE_TEXTS];
        if (page)
                __builtin_prefetch(&page->strings[number % PAGE_TEXTS]);
        else
                __builtin_prefetch((const BlockText *)texts->table + number);
}

PyObject *texts_get(Texts *texts, uint32_t number) {
        PyObject *string;
        Page *page;

        if (number >= texts->count)
                return NULL;
        page = texts->pages[number / PAGE_TEXTS];
        if (!page) {
                page = calloc(1, sizeof(*page));
                if (!page) {
                        PyErr_NoMemory();
                        return NULL;
                }
                texts->pages[number / PAGE_TEXTS] = page;
        }
        string = page->strings[number % PAGE_TEXTS];
        if (!string) {
                string = text_make(texts, number);
                page->strings[number % PAGE_TEXTS] = string;
        }
        return string;
}

#endif
