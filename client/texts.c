/* SPDX-License-Identifier: MIT */

#include "texts.h"

#if FACTS_KNOWN

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "block.h"

/*
 * Strings are kept in small pages, so that a process that uses few of many texts pays for few. There is room for a page
 * for each run of texts; they are taken in turn, as they are needed, and memory that is not is never touched.
 */
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
        uint32_t used;    /* pages, 0 is none */
        size_t room;      /* bytes, of both that follow */
        Page *pages;      /* first the pages */
        uint32_t *places; /* which page has the texts from i * PAGE_TEXTS on */
};

int texts_new(const Facts *facts, Arena *arena, const void *table, size_t size, uint32_t count,
              Texts **ret_texts) {
        Texts *texts;
        size_t runs;

        if (count > size / sizeof(BlockText))
                return -EINVAL;
        texts = calloc(1, sizeof(*texts));
        if (!texts)
                return -ENOMEM;
        runs = (size_t)count / PAGE_TEXTS + 1;
        texts->room = (runs + 1) * sizeof(Page) + runs * sizeof(uint32_t);
        texts->pages = mmap(NULL, texts->room, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (texts->pages == MAP_FAILED) {
                free(texts);
                return -ENOMEM;
        }
        texts->places = (uint32_t *)(texts->pages + runs + 1);
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
        munmap(texts->pages, texts->room);
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
        uint32_t page;

        if (number >= texts->count)
                return;
        page = texts->places[number / PAGE_TEXTS];
        if (page)
                __builtin_prefetch(&texts->pages[page].strings[number % PAGE_TEXTS]);
        else
                __builtin_prefetch((const BlockText *)texts->table + number);
}

PyObject *texts_get(Texts *texts, uint32_t number) {
        PyObject **string;
        uint32_t *page;

        if (number >= texts->count)
                return NULL;
        page = &texts->places[number / PAGE_TEXTS];
        if (!*page)
                *page = ++texts->used;
        string = &texts->pages[*page].strings[number % PAGE_TEXTS];
        if (!*string)
                *string = text_make(texts, number);
        return *string;
}

#endif
