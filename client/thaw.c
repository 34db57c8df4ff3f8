/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "texts.h"
#include "thaw.h"
#include "thaw_external.h"
#include "thaw_pass.h"

#if FACTS_KNOWN

/* Tuples in a frozenset are hashed, by recursion. Freeze declines deeper ones. */
#define HASHED_DEPTH_MAX 16

#define UNICODE_MAX 0x10ffffu

/* Externals between asking the processor for one and looking at it. */
#define EXPECT_AHEAD 8

struct Thawer {
        Arena *arena;
        Texts *texts;
        PyObject **scratch; /* room for a pass's table, between passes */
        size_t scratch_size;
};

static Facts facts;

const char *thaw_supported(void) {
        static const char *why;
        static bool learnt;

        if (!learnt) {
                why = facts_learn(&facts);
                learnt = true;
        }
        return why;
}

/* ----------------------------------------------------------------------------------------------------------
 * Externals and records. */

static int pass_externals(Pass *pass) {
        const uint32_t *words;
        int r;

        if (!pass_read(pass, pass->externals, &words))
                return THAW_E_DAMAGED;
        for (int32_t i = 0; i < (int32_t)pass->externals; i++) {
                if (i + EXPECT_AHEAD < (int32_t)pass->externals)
                        thaw_external_expect(pass->texts, words[i + EXPECT_AHEAD]);
                r = thaw_external(pass->texts, words[i], &pass->table[-1 - i], &pass->kinds[-1 - i]);
                if (r)
                        return r;
        }
        return 0;
}

static int tuple_fill(Pass *pass, PyTupleObject *tuple, const uint32_t *words, uint32_t n, bool names) {
        for (uint32_t i = 0; i < n; i++) {
                int32_t reference = (int32_t)words[i];

                if (!pass_refers(pass, reference) || (names && !(pass->kinds[reference] & IS_STRING)))
                        return THAW_E_DAMAGED;
                tuple->ob_item[i] = pass_use(pass, reference);
        }
        return 0;
}

static int thaw_tuple(Pass *pass, uint32_t n, bool names) {
        uint8_t kind = names ? IS_TUPLE | IS_NAMES : IS_TUPLE;
        PyTupleObject *tuple;
        const uint32_t *words;
        int r;

        if (n == 0 || !pass_read(pass, n, &words))
                return THAW_E_DAMAGED;
        if (pass->passing) {
                tuple = (PyTupleObject *)PyTuple_New(n);
                if (!tuple)
                        return -ENOMEM;
                r = tuple_fill(pass, tuple, words, n, names);
                if (r == 0)
                        pass_made_freeable(pass, (PyObject *)tuple, kind);
                else
                        pass->freeable++; /* the collector knows it already */
                return r;
        }

        tuple = pass_take(pass, sizeof(PyGC_Head), FACTS_TUPLE_SIZE + (uint64_t)n * sizeof(PyObject *));
        if (!tuple)
                return THAW_E_DAMAGED;
        r = tuple_fill(pass, tuple, words, n, names);
        if (r)
                return r;
        *((PyGC_Head *)tuple - 1) = (PyGC_Head){}; /* not tracked: there is nothing in it to collect */
        facts_tuple_init(tuple);
        pass_made(pass, tuple, &PyTuple_Type, kind);
        Py_SET_SIZE(tuple, n);
        return 0;
}

static int thaw_bytes(Pass *pass, uint32_t n) {
        PyBytesObject *bytes;
        const uint32_t *words;
        int r;

        if (!pass_read(pass, block_words(n), &words))
                return THAW_E_DAMAGED;
        r = pass_place(pass, FACTS_BYTES_SIZE + (uint64_t)n + 1, (void **)&bytes);
        if (r)
                return r;

        pass_made(pass, bytes, &PyBytes_Type, IS_BYTES);
        Py_SET_SIZE(bytes, n);
        facts_bytes_init(bytes);
        memcpy(bytes->ob_sval, words, n);
        bytes->ob_sval[n] = '\0';
        return 0;
}

#if FACTS_STRINGS_MAY_STAY

static int thaw_string(Pass *pass, uint32_t n, const void *model, size_t head, size_t width) {
        uint64_t size = (uint64_t)n * width;
        PyASCIIObject *string;
        const uint32_t *words;
        uint8_t *characters;
        int r;

        if (!pass_read(pass, block_words(size), &words))
                return THAW_E_DAMAGED;
        for (uint32_t i = 0; width == 4 && i < n; i++)
                if (words[i] > UNICODE_MAX)
                        return THAW_E_DAMAGED;
        r = pass_place(pass, head + size + width, (void **)&string);
        if (r)
                return r;

        memcpy(string, model, head);
        if (pass->passing)
                facts_string_may_go(string);
        pass_made(pass, string, &PyUnicode_Type, IS_STRING);
        string->length = n;
        characters = (uint8_t *)string + head;
        memcpy(characters, words, size);
        memset(characters + size, 0, width);
        if (width == 4)
                facts_ucs4_init((PyCompactUnicodeObject *)string, n);
        return 0;
}

#else

static int thaw_string(Pass *pass, uint32_t n, const void *model, size_t head, size_t width) {
        uint64_t size = (uint64_t)n * width;
        const uint32_t *words;
        PyObject *string;

        (void)model;
        if (!pass_read(pass, block_words(size), &words))
                return THAW_E_DAMAGED;
        if (!pass->passing && !pass_take(pass, 0, head + size + width))
                return THAW_E_DAMAGED;
        string = PyUnicode_FromKindAndData((int)width, words, n);
        if (!string) {
                if (PyErr_ExceptionMatches(PyExc_MemoryError))
                        return -ENOMEM;
                PyErr_Clear();
                return THAW_E_DAMAGED;
        }
        pass_made_freeable(pass, string, IS_STRING);
        return 0;
}

#endif

static int thaw_int(Pass *pass, uint32_t n, bool negative) {
        PyLongObject *number;
        const uint32_t *words;
        int r;

        if (n == 0 || !pass_read(pass, n, &words) || words[n - 1] == 0)
                return THAW_E_DAMAGED;
        for (uint32_t i = 0; i < n; i++)
                if (words[i] > PyLong_MASK)
                        return THAW_E_DAMAGED;
        r = pass_place(pass, FACTS_INT_SIZE + (uint64_t)n * sizeof(digit), (void **)&number);
        if (r)
                return r;

        pass_made(pass, number, &PyLong_Type, IS_OTHER);
        memcpy(facts_int_init(number, n, negative), words, n * sizeof(digit));
        return 0;
}

static int thaw_float(Pass *pass) {
        const uint32_t *words;
        PyFloatObject *number;
        int r;

        if (!pass_read(pass, 2, &words))
                return THAW_E_DAMAGED;
        r = pass_place(pass, sizeof(*number), (void **)&number);
        if (r)
                return r;
        pass_made(pass, number, &PyFloat_Type, IS_OTHER);
        memcpy(&number->ob_fval, words, sizeof(number->ob_fval));
        return 0;
}

static int thaw_complex(Pass *pass) {
        const uint32_t *words;
        PyComplexObject *number;
        int r;

        if (!pass_read(pass, 4, &words))
                return THAW_E_DAMAGED;
        r = pass_place(pass, sizeof(*number), (void **)&number);
        if (r)
                return r;
        pass_made(pass, number, &PyComplex_Type, IS_OTHER);
        memcpy(&number->cval, words, sizeof(number->cval));
        return 0;
}

/* Whether an object may be hashed: that neither fails nor recurses deeply. */
static bool hashable(PyObject *object, unsigned depth) {
        if (PyCode_Check(object) || Py_IS_TYPE(object, &PySlice_Type) || depth > HASHED_DEPTH_MAX)
                return false;
        if (PyTuple_CheckExact(object))
                for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++)
                        if (!hashable(PyTuple_GET_ITEM(object, i), depth + 1))
                                return false;
        return true;
}

/* The set takes a reference and may give it back, if the item is there already: that must not be the last. */
static int set_add(PyObject *set, PyObject *item) {
        int r;

        Py_INCREF(item);
        r = PySet_Add(set, item);
        Py_SET_REFCNT(item, Py_REFCNT(item) - 1);
        return r < 0 ? -ENOMEM : 0;
}

/* As marshal makes it, item by item, for the order in which a set iterates depends on it. */
static int thaw_frozenset(Pass *pass, uint32_t n) {
        const uint32_t *words;
        PyObject *set;
        int r;

        if (!pass_read(pass, n, &words))
                return THAW_E_DAMAGED;
        set = PyFrozenSet_New(NULL);
        if (!set)
                return -ENOMEM;
        pass_made_freeable(pass, set, IS_OTHER);

        for (uint32_t i = 0; i < n; i++) {
                int32_t reference = (int32_t)words[i];

                if (!pass_refers(pass, reference) || pass->table[reference] == set ||
                    !hashable(pass->table[reference], 0))
                        return THAW_E_DAMAGED;
                r = set_add(set, pass->table[reference]);
                if (r < 0)
                        return r;
                pass_keep(pass, reference);
        }
        return 0;
}

static int thaw_slice(Pass *pass) {
        const uint32_t *words;
        PyObject *slice;

        if (!pass_read(pass, 3, &words))
                return THAW_E_DAMAGED;
        for (uint32_t i = 0; i < 3; i++)
                if (!pass_refers(pass, (int32_t)words[i]))
                        return THAW_E_DAMAGED;
        slice = PySlice_New(pass->table[(int32_t)words[0]], pass->table[(int32_t)words[1]],
                            pass->table[(int32_t)words[2]]);
        if (!slice)
                return -ENOMEM;
        for (uint32_t i = 0; i < 3; i++)
                pass_keep(pass, (int32_t)words[i]);
        pass_made_freeable(pass, slice, IS_OTHER);
        return 0;
}

static inline bool pass_slot(Pass *pass, int32_t reference, uint8_t kind, PyObject **ret_slot) {
        if (!pass_refers(pass, reference) || !(pass->kinds[reference] & kind))
                return false;
        *ret_slot = pass_use(pass, reference);
        return true;
}

/* What _PyCode_Validate() asks for, and the fields that no constructor takes. */
static bool code_is_valid(const PyCodeObject *code, uint32_t units) {
        int64_t arguments = (int64_t)code->co_argcount + code->co_kwonlyargcount +
                            !!(code->co_flags & CO_VARARGS) + !!(code->co_flags & CO_VARKEYWORDS);

        return code->co_posonlyargcount >= 0 && code->co_argcount >= code->co_posonlyargcount &&
               code->co_kwonlyargcount >= 0 && code->co_stacksize >= 0 &&
               code->co_stacksize < INT32_MAX / 16 && code->co_flags >= 0 && arguments <= code->co_nlocals &&
               code->_co_firsttraceable >= 0 && (uint32_t)code->_co_firsttraceable <= units;
}

static int thaw_code(Pass *pass, uint32_t units) {
        uint64_t size = (uint64_t)units * sizeof(_Py_CODEUNIT);
        const BlockCode *record;
        const uint32_t *words;
        PyCodeObject *code;
        int r;

        if (units == 0 || !pass_read(pass, sizeof(BlockCode) / 4 + block_words(size), &words))
                return THAW_E_DAMAGED;
        r = pass_place(pass, FACTS_CODE_SIZE + size, (void **)&code);
        if (r)
                return r;
        record = (const BlockCode *)words;

        memcpy(code, facts.code_bytes, FACTS_CODE_SIZE);
        if (!pass_slot(pass, record->consts, IS_TUPLE, &code->co_consts) ||
            !pass_slot(pass, record->names, IS_NAMES, &code->co_names) ||
            !pass_slot(pass, record->exceptiontable, IS_BYTES, &code->co_exceptiontable) ||
            !pass_slot(pass, record->localsplusnames, IS_NAMES, &code->co_localsplusnames) ||
            !pass_slot(pass, record->localspluskinds, IS_BYTES, &code->co_localspluskinds) ||
            !pass_slot(pass, record->name, IS_STRING, &code->co_name) ||
            !pass_slot(pass, record->qualname, IS_STRING, &code->co_qualname) ||
            !pass_slot(pass, record->linetable, IS_BYTES, &code->co_linetable) ||
            PyTuple_GET_SIZE(code->co_localsplusnames) != PyBytes_GET_SIZE(code->co_localspluskinds))
                return THAW_E_DAMAGED;

        code->co_flags = record->flags;
        code->co_argcount = record->argcount;
        code->co_posonlyargcount = record->posonlyargcount;
        code->co_kwonlyargcount = record->kwonlyargcount;
        code->co_stacksize = record->stacksize;
        code->co_firstlineno = record->firstlineno;
        code->_co_firsttraceable = record->firsttraceable;
        if (!facts_code_derive(&facts, code, (const uint8_t *)PyBytes_AS_STRING(code->co_localspluskinds),
                               PyTuple_GET_SIZE(code->co_localsplusnames)) ||
            !code_is_valid(code, units))
                return THAW_E_DAMAGED;
        facts_code_number(&facts, code);

        pass_made(pass, code, &PyCode_Type, IS_CODE);
        Py_SET_SIZE(code, units);
        code->co_filename = Py_NewRef(pass->filename);
        memcpy(code->co_code_adaptive, words + sizeof(BlockCode) / 4, size);
        return 0;
}

static int thaw_record(Pass *pass) {
        const uint32_t *head;
        uint32_t n;

        if (!pass_read(pass, 1, &head))
                return THAW_E_DAMAGED;
        n = *head >> BLOCK_KIND_BITS;
        pass->passing = *head & BLOCK_PASSING;

        switch (*head & (BLOCK_PASSING - 1)) {
        case BLOCK_TUPLE:
                return thaw_tuple(pass, n, false);
        case BLOCK_NAMES:
                return thaw_tuple(pass, n, true);
        case BLOCK_BYTES:
                return thaw_bytes(pass, n);
        case BLOCK_ASCII:
                return thaw_string(pass, n, &facts.ascii, sizeof(facts.ascii), 1);
        case BLOCK_LATIN1:
                return thaw_string(pass, n, &facts.latin1, sizeof(facts.latin1), 1);
        case BLOCK_UCS2:
                return thaw_string(pass, n, &facts.ucs2, sizeof(facts.ucs2), 2);
        case BLOCK_UCS4:
                return thaw_string(pass, n, &facts.ucs4, sizeof(facts.ucs4), 4);
        case BLOCK_INT:
                return thaw_int(pass, n >> 1, n & 1);
        case BLOCK_FLOAT:
                return thaw_float(pass);
        case BLOCK_COMPLEX:
                return thaw_complex(pass);
        case BLOCK_FROZENSET:
                return thaw_frozenset(pass, n);
        case BLOCK_SLICE:
                return thaw_slice(pass);
        case BLOCK_CODE:
                return thaw_code(pass, n);
        default:
                return THAW_E_DAMAGED;
        }
}

static int pass_run(Pass *pass, uint32_t objects, PyObject **ret_code) {
        PyObject *code;
        int r;

        r = pass_externals(pass);
        while (r == 0 && pass->made < objects)
                r = thaw_record(pass);
        if (r)
                return r;
        if (pass->at != pass->end || pass->memory != pass->memory_end ||
            !(pass->kinds[objects - 1] & IS_CODE))
                return THAW_E_DAMAGED;

        /* The caller gets a reference. Code that stays keeps one, which is never given back. */
        code = Py_NewRef(pass->table[objects - 1]);
        if (!(pass->kinds[objects - 1] & IS_FREEABLE))
                Py_INCREF(code);

        /* Ordinary objects belong to those that refer to them, now that somebody does. */
        for (uint32_t i = 0; pass->freeable > 0; i++)
                if (pass->kinds[i] & IS_FREEABLE) {
                        if (Py_REFCNT(pass->table[i]) > 1)
                                Py_DECREF(pass->table[i]);
                        pass->freeable--;
                }
        *ret_code = code;
        return 0;
}

/* ------------------------------------------------------------------------------------------------------- */

int thawer_new(Arena *arena, const void *texts, size_t size, uint32_t count, Thawer **ret_thawer) {
        Thawer *thawer;
        int r;

        if (thaw_supported())
                return -ENOTSUP;
        thawer = calloc(1, sizeof(*thawer));
        if (!thawer)
                return -ENOMEM;
        r = texts_new(&facts, arena, texts, size, count, &thawer->texts);
        if (r < 0) {
                free(thawer);
                return r;
        }
        thawer->arena = arena;
        *ret_thawer = thawer;
        return 0;
}

Thawer *thawer_free(Thawer *thawer) {
        if (!thawer)
                return NULL;
        texts_free(thawer->texts);
        free(thawer->scratch);
        free(thawer);
        return NULL;
}

/* The interpreter may collect garbage amid a pass, and so import: each pass has a table of its own. */
static PyObject **scratch_take(Thawer *thawer, size_t size, size_t *ret_size) {
        PyObject **scratch = thawer->scratch;

        thawer->scratch = NULL;
        if (scratch && thawer->scratch_size >= size) {
                *ret_size = thawer->scratch_size;
                return scratch;
        }
        free(scratch);
        *ret_size = size;
        return malloc(size);
}

static void scratch_give(Thawer *thawer, PyObject **scratch, size_t size) {
        free(thawer->scratch);
        thawer->scratch = scratch;
        thawer->scratch_size = size;
}

PyObject *thawer_thaw(Thawer *thawer, const void *block, size_t size, PyObject *filename) {
        const BlockHeader *header = block;
        size_t entries, scratch_size, memory_size;
        PyObject **scratch, *code = NULL;
        void *memory;
        Pass pass;
        int r;

        if (size < sizeof(*header) || header->magic != BLOCK_MAGIC || header->words > size / 4 ||
            header->words < sizeof(*header) / 4 || header->words > BLOCK_WORDS_MAX ||
            header->externals > header->words || header->objects > header->words || header->objects == 0 ||
            header->memory > header->words * BLOCK_UNITS_PER_WORD || facts_code_is_watched(&facts))
                return NULL;
        memory_size = (size_t)header->memory * BLOCK_UNIT;

        entries = (size_t)header->externals + header->objects;
        scratch = scratch_take(thawer, entries * (sizeof(PyObject *) + 1), &scratch_size);
        memory = arena_take(thawer->arena, memory_size);
        if (!scratch || !memory) {
                scratch_give(thawer, scratch, scratch_size);
                return PyErr_NoMemory();
        }

        Py_INCREF(filename);
        if (header->flags & BLOCK_FILENAME_INTERNED)
                facts_intern(&filename);

        pass = (Pass){
                .texts = thawer->texts,
                .filename = filename,
                .table = scratch + header->externals,
                .kinds = (uint8_t *)(scratch + entries) + header->externals,
                .externals = header->externals,
                .at = (const uint32_t *)(header + 1),
                .end = (const uint32_t *)block + header->words,
                .memory = memory,
                .memory_end = (uint8_t *)memory + memory_size,
        };
        r = pass_run(&pass, header->objects, &code);

        scratch_give(thawer, scratch, scratch_size);
        Py_DECREF(filename);
        if (r == 0)
                return code;
        /* Ordinary objects refer to those in the arena, and the collector knows some: what was made stays. */
        if (pass.freeable)
                memory = pass.memory;
        arena_untake(thawer->arena, memory, pass.memory_end - (uint8_t *)memory);
        if (r == -ENOMEM && !PyErr_Occurred())
                PyErr_NoMemory();
        return NULL;
}

#else

const char *thaw_supported(void) {
        return "the objects of this build of CPython are not known";
}

int thawer_new(Arena *arena, const void *texts, size_t size, uint32_t count, Thawer **ret_thawer) {
        (void)arena;
        (void)texts;
        (void)size;
        (void)count;
        (void)ret_thawer;
        return -ENOTSUP;
}

Thawer *thawer_free(Thawer *thawer) {
        free(thawer);
        return NULL;
}

PyObject *thawer_thaw(Thawer *thawer, const void *block, size_t size, PyObject *filename) {
        (void)thawer;
        (void)block;
        (void)size;
        (void)filename;
        return NULL;
}

#endif
