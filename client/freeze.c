/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <marshal.h>

#include "block.h"
#include "freeze.h"
#include "freeze_external.h"
#include "freeze_sets.h"
#include "freeze_stays.h"
#include "freeze_texts.h"
#include "words.h"

#if FACTS_KNOWN

/* Constants nest a few levels deep; what nests deeper is no compiler's work. */
#define DEPTH_MAX 100
#define HASHED_DEPTH_MAX 16

struct Freezer {
        Facts facts;
        FreezeTexts *texts;
};

/* One module on its way. */
typedef struct Freeze {
        Freezer *freezer;
        PyObject *stays; /* set: addresses of all objects that functions need */
        PyObject *seen;  /* dict: an object's address to its reference, for all that live through this */
        PyObject *filename;
        Words externals, records;
        uint32_t objects;
        uint64_t memory; /* in BLOCK_UNITs */
        const char *declined;
} Freeze;

static int freeze_object(Freeze *freeze, PyObject *object, PyObject *twin, unsigned depth,
                         int32_t *ret_reference);

static int decline(Freeze *freeze, const char *why) {
        freeze->declined = why;
        return FREEZE_E_DECLINED;
}

/* Adding words, with MemoryError where there is no memory. */
static int freeze_add(Words *words, const void *bytes, size_t size) {
        if (words_add_bytes(words, bytes, size) < 0) {
                PyErr_NoMemory();
                return -ENOMEM;
        }
        return 0;
}

/* ----------------------------------------------------------------------------------------------------------
 * Records. */

static int record_begin(Freeze *freeze, PyObject *object, BlockKind kind, uint64_t count, uint64_t memory) {
        uint32_t head;
        bool stays;
        int r;

        if (count > BLOCK_COUNT_MAX || freeze->records.n > BLOCK_WORDS_MAX / 2)
                return decline(freeze, "it is too large");
        r = freeze_stays_has(freeze->stays, object, &stays);
        if (r < 0)
                return r;
        if (stays)
                freeze->memory += (memory + BLOCK_UNIT - 1) / BLOCK_UNIT;
        freeze->objects++;
        head = (uint32_t)count << BLOCK_KIND_BITS | (stays ? 0 : BLOCK_PASSING) | kind;
        return freeze_add(&freeze->records, &head, sizeof(head));
}

static int record_bytes(Freeze *freeze, PyObject *object, BlockKind kind, uint64_t count, uint64_t memory,
                        const void *bytes, size_t size) {
        int r;

        r = record_begin(freeze, object, kind, count, memory);
        if (r)
                return r;
        return freeze_add(&freeze->records, bytes, size);
}

static int freeze_string(Freeze *freeze, PyObject *string) {
        size_t n = (size_t)PyUnicode_GET_LENGTH(string), width = (size_t)PyUnicode_KIND(string);
        bool ascii = PyUnicode_IS_ASCII(string);
        size_t head = ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject);
        BlockKind kind = ascii        ? BLOCK_ASCII
                         : width == 1 ? BLOCK_LATIN1
                         : width == 2 ? BLOCK_UCS2
                                      : BLOCK_UCS4;

        return record_bytes(freeze, string, kind, n, head + (n + 1) * width, PyUnicode_DATA(string),
                            n * width);
}

static int freeze_int(Freeze *freeze, PyObject *object) {
        const digit *digits;
        bool negative;
        size_t n;

        digits = facts_int_digits((PyLongObject *)object, &n, &negative);
        if (n == 0)
                return decline(freeze, "a zero is not the interpreter's");
        return record_bytes(freeze, object, BLOCK_INT, (uint64_t)n << 1 | negative,
                            FACTS_INT_SIZE + n * sizeof(digit), digits, n * sizeof(digit));
}

static int freeze_references(Freeze *freeze, PyObject *object, BlockKind kind, const int32_t *references,
                             size_t n, uint64_t memory) {
        return record_bytes(freeze, object, kind, n, memory, references, n * sizeof(*references));
}

static int freeze_tuple(Freeze *freeze, PyObject *tuple, PyObject *twin, unsigned depth) {
        size_t n = (size_t)PyTuple_GET_SIZE(tuple);
        bool names = true;
        int32_t *references;
        int r = 0;

        if (!PyTuple_CheckExact(twin) || PyTuple_GET_SIZE(twin) != (Py_ssize_t)n)
                return decline(freeze, "it does not unmarshal alike twice");
        references = PyMem_New(int32_t, n);
        if (!references) {
                PyErr_NoMemory();
                return -ENOMEM;
        }
        for (size_t i = 0; r == 0 && i < n; i++) {
                names = names && PyUnicode_CheckExact(PyTuple_GET_ITEM(tuple, i));
                r = freeze_object(freeze, PyTuple_GET_ITEM(tuple, i), PyTuple_GET_ITEM(twin, i), depth,
                                  &references[i]);
        }
        if (r == 0)
                r = freeze_references(freeze, tuple, names ? BLOCK_NAMES : BLOCK_TUPLE, references, n,
                                      sizeof(PyGC_Head) + FACTS_TUPLE_SIZE + n * sizeof(PyObject *));
        PyMem_Free(references);
        return r;
}

/* Whether thaw will hash it. */
static bool is_hashed(PyObject *object, unsigned depth) {
        if (depth > HASHED_DEPTH_MAX || PyCode_Check(object) || PySlice_Check(object))
                return false;
        if (PyTuple_CheckExact(object))
                for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++)
                        if (!is_hashed(PyTuple_GET_ITEM(object, i), depth + 1))
                                return false;
        return true;
}

/* Maps each item of a set to itself: the twin has equal ones, but the block needs those of the set. */
static int set_items(PyObject *set, PyObject **ret_items) {
        PyObject *items, *iterator, *item;
        int r = 0;

        items = PyDict_New();
        iterator = items ? PyObject_GetIter(set) : NULL;
        while (iterator && r == 0 && (item = PyIter_Next(iterator))) {
                r = PyDict_SetItem(items, item, item);
                Py_DECREF(item);
        }
        Py_XDECREF(iterator);
        if (!iterator || r < 0 || PyErr_Occurred()) {
                Py_XDECREF(items);
                return -ENOMEM;
        }
        *ret_items = items;
        return 0;
}

static int freeze_frozenset(Freeze *freeze, PyObject *set, PyObject *twin, unsigned depth) {
        size_t n = (size_t)PySet_GET_SIZE(set);
        PyObject *items, *item;
        int32_t *references;
        int r;

        if (!PyTuple_CheckExact(twin) || PyTuple_GET_SIZE(twin) != (Py_ssize_t)n)
                return decline(freeze, "a frozenset is not as it was marshalled");
        r = set_items(set, &items);
        if (r < 0)
                return r;
        references = PyMem_New(int32_t, n);
        if (!references) {
                PyErr_NoMemory();
                r = -ENOMEM;
        }
        for (size_t i = 0; r == 0 && i < n; i++) {
                item = PyDict_GetItemWithError(items, PyTuple_GET_ITEM(twin, i));
                if (!item || !is_hashed(item, 0)) {
                        PyErr_Clear();
                        r = decline(freeze, "a frozenset holds more than plain constants");
                } else
                        r = freeze_object(freeze, item, PyTuple_GET_ITEM(twin, i), depth, &references[i]);
        }
        if (r == 0)
                r = freeze_references(freeze, set, BLOCK_FROZENSET, references, n, 0);
        PyMem_Free(references);
        Py_DECREF(items);
        return r;
}

static int freeze_slice(Freeze *freeze, PySliceObject *slice, PyObject *twin, unsigned depth) {
        PySliceObject *other = (PySliceObject *)twin;
        int32_t references[3];
        int r;

        if (!PySlice_Check(twin))
                return decline(freeze, "it does not unmarshal alike twice");
        r = freeze_object(freeze, slice->start, other->start, depth, &references[0]);
        if (r == 0)
                r = freeze_object(freeze, slice->stop, other->stop, depth, &references[1]);
        if (r == 0)
                r = freeze_object(freeze, slice->step, other->step, depth, &references[2]);
        if (r)
                return r;
        return freeze_references(freeze, (PyObject *)slice, BLOCK_SLICE, references, 3, 0);
}

/* Whether a code object holds in every field what thaw will give it. */
static bool code_is_known(const Facts *facts, const PyCodeObject *code) {
        size_t after = offsetof(PyCodeObject, co_extra); /* where it is defined again */
        union {
                PyCodeObject code;
                uint8_t bytes[FACTS_CODE_SIZE];
        } thawed;

        if (!PyBytes_CheckExact(code->co_localspluskinds) || !PyTuple_CheckExact(code->co_localsplusnames) ||
            PyBytes_GET_SIZE(code->co_localspluskinds) != PyTuple_GET_SIZE(code->co_localsplusnames))
                return false;

        memcpy(thawed.bytes, facts->code_bytes, FACTS_CODE_SIZE);
        memcpy(&thawed.code, code, sizeof(PyVarObject));
        thawed.code.co_consts = code->co_consts;
        thawed.code.co_names = code->co_names;
        thawed.code.co_exceptiontable = code->co_exceptiontable;
        thawed.code.co_localsplusnames = code->co_localsplusnames;
        thawed.code.co_localspluskinds = code->co_localspluskinds;
        thawed.code.co_filename = code->co_filename;
        thawed.code.co_name = code->co_name;
        thawed.code.co_qualname = code->co_qualname;
        thawed.code.co_linetable = code->co_linetable;
        thawed.code.co_flags = code->co_flags;
        thawed.code.co_argcount = code->co_argcount;
        thawed.code.co_posonlyargcount = code->co_posonlyargcount;
        thawed.code.co_kwonlyargcount = code->co_kwonlyargcount;
        thawed.code.co_stacksize = code->co_stacksize;
        thawed.code.co_firstlineno = code->co_firstlineno;
        if (!facts_code_derive(facts, &thawed.code,
                               (const uint8_t *)PyBytes_AS_STRING(code->co_localspluskinds),
                               PyTuple_GET_SIZE(code->co_localsplusnames)))
                return false;
        facts_code_copy_number(&thawed.code, code);

        return memcmp(&thawed, code, FACTS_CODE_UNDEFINED) == 0 &&
               memcmp(thawed.bytes + after, (const uint8_t *)code + after, FACTS_CODE_SIZE - after) == 0;
}

static int freeze_code(Freeze *freeze, PyCodeObject *code, PyObject *twin, unsigned depth) {
        size_t units = (size_t)Py_SIZE(code), size = units * sizeof(_Py_CODEUNIT);
        PyCodeObject *other = (PyCodeObject *)twin;
        BlockCode record = {
                .flags = code->co_flags,
                .argcount = code->co_argcount,
                .posonlyargcount = code->co_posonlyargcount,
                .kwonlyargcount = code->co_kwonlyargcount,
                .stacksize = code->co_stacksize,
                .firstlineno = code->co_firstlineno,
                .firsttraceable = code->_co_firsttraceable,
        };
        int r;

        if (!PyCode_Check(twin))
                return decline(freeze, "it does not unmarshal alike twice");
        if (!code_is_known(&freeze->freezer->facts, code))
                return decline(freeze, "its code objects hold more than is known of them");
        r = PyUnicode_Compare(code->co_filename, freeze->filename);
        if (r != 0)
                return decline(freeze, "its code comes from more than one file");

        const struct {
                PyObject *object, *twin;
                int32_t *reference;
        } slots[] = {
                { code->co_consts, other->co_consts, &record.consts },
                { code->co_names, code->co_names, &record.names },
                { code->co_exceptiontable, code->co_exceptiontable, &record.exceptiontable },
                { code->co_localsplusnames, code->co_localsplusnames, &record.localsplusnames },
                { code->co_localspluskinds, code->co_localspluskinds, &record.localspluskinds },
                { code->co_name, code->co_name, &record.name },
                { code->co_qualname, code->co_qualname, &record.qualname },
                { code->co_linetable, code->co_linetable, &record.linetable },
        };
        for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
                r = freeze_object(freeze, slots[i].object, slots[i].twin, depth, slots[i].reference);
                if (r)
                        return r;
        }

        r = record_bytes(freeze, (PyObject *)code, BLOCK_CODE, units, FACTS_CODE_SIZE + size, &record,
                         sizeof(record));
        if (r)
                return r;
        return freeze_add(&freeze->records, code->co_code_adaptive, size);
}

static int freeze_record(Freeze *freeze, PyObject *object, PyObject *twin, unsigned depth) {
        if (PyUnicode_CheckExact(object))
                return freeze_string(freeze, object);
        if (PyBytes_CheckExact(object))
                return record_bytes(freeze, object, BLOCK_BYTES, (uint64_t)PyBytes_GET_SIZE(object),
                                    FACTS_BYTES_SIZE + (uint64_t)PyBytes_GET_SIZE(object) + 1,
                                    PyBytes_AS_STRING(object), (size_t)PyBytes_GET_SIZE(object));
        if (PyLong_CheckExact(object))
                return freeze_int(freeze, object);
        if (PyFloat_CheckExact(object))
                return record_bytes(freeze, object, BLOCK_FLOAT, 1, sizeof(PyFloatObject),
                                    &((PyFloatObject *)object)->ob_fval, sizeof(double));
        if (PyComplex_CheckExact(object))
                return record_bytes(freeze, object, BLOCK_COMPLEX, 2, sizeof(PyComplexObject),
                                    &((PyComplexObject *)object)->cval, sizeof(Py_complex));
        if (PyTuple_CheckExact(object))
                return freeze_tuple(freeze, object, twin, depth);
        if (PyFrozenSet_CheckExact(object))
                return freeze_frozenset(freeze, object, twin, depth);
        if (PySlice_Check(object))
                return freeze_slice(freeze, (PySliceObject *)object, twin, depth);
        if (PyCode_Check(object))
                return freeze_code(freeze, (PyCodeObject *)object, twin, depth);
        return decline(freeze, "it has a constant of a type that is not known");
}

static int seen_reference(Freeze *freeze, PyObject *address, bool *ret_seen, int32_t *ret_reference) {
        PyObject *known;

        known = PyDict_GetItemWithError(freeze->seen, address);
        if (!known) {
                *ret_seen = false;
                return PyErr_Occurred() ? -ENOMEM : 0;
        }
        *ret_seen = true;
        *ret_reference = (int32_t)PyLong_AsLong(known);
        return 0;
}

static int seen_add(Freeze *freeze, PyObject *address, int32_t reference) {
        PyObject *number;
        int r;

        number = PyLong_FromLong(reference);
        if (!number)
                return -ENOMEM;
        r = PyDict_SetItem(freeze->seen, address, number);
        Py_DECREF(number);
        return r < 0 ? -ENOMEM : 0;
}

/* Freezes an object unless it is frozen already, and says how to refer to it. */
static int freeze_object(Freeze *freeze, PyObject *object, PyObject *twin, unsigned depth,
                         int32_t *ret_reference) {
        PyObject *address;
        bool seen, is_external;
        int32_t reference = 0;
        uint32_t word;
        int r;

        if (depth > DEPTH_MAX)
                return decline(freeze, "its constants nest too deeply");
        address = PyLong_FromVoidPtr(object);
        if (!address)
                return -ENOMEM;

        r = seen_reference(freeze, address, &seen, &reference);
        if (r == 0 && !seen) {
                r = freeze_external(freeze->freezer->texts, object, &is_external, &word);
                if (r == 0 && is_external) {
                        r = freeze_add(&freeze->externals, &word, sizeof(word));
                        reference = -(int32_t)freeze->externals.n;
                } else if (r == 0) {
                        r = freeze_record(freeze, object, twin, depth + 1);
                        reference = (int32_t)freeze->objects - 1;
                }
                if (r == 0)
                        r = seen_add(freeze, address, reference);
        }
        Py_DECREF(address);
        if (r == 0)
                *ret_reference = reference;
        return r;
}

/* ----------------------------------------------------------------------------------------------------------
 * Modules. */

static int freeze_finish(Freeze *freeze, PyObject **ret_block) {
        size_t words = sizeof(BlockHeader) / 4 + freeze->externals.n + freeze->records.n;
        BlockHeader header = {
                .magic = BLOCK_MAGIC,
                .words = (uint32_t)words,
                .externals = (uint32_t)freeze->externals.n,
                .objects = freeze->objects,
                .memory = (uint32_t)freeze->memory,
                .flags = PyUnicode_CHECK_INTERNED(freeze->filename) ? BLOCK_FILENAME_INTERNED : 0,
        };
        PyObject *block;
        char *at;

        if (words > BLOCK_WORDS_MAX || freeze->memory > words * BLOCK_UNITS_PER_WORD)
                return decline(freeze, "it is too large");
        block = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)words * 4);
        if (!block)
                return -ENOMEM;
        at = mempcpy(PyBytes_AS_STRING(block), &header, sizeof(header));
        if (freeze->externals.n > 0)
                at = mempcpy(at, freeze->externals.words, freeze->externals.n * 4);
        memcpy(at, freeze->records.words, freeze->records.n * 4);
        *ret_block = block;
        return 0;
}

static PyObject *unmarshal(const char *bytes, size_t size) {
        PyObject *code;

        code = PyMarshal_ReadObjectFromString(bytes, (Py_ssize_t)size);
        if (!code && !PyErr_ExceptionMatches(PyExc_MemoryError))
                PyErr_Clear();
        return code;
}

static int freeze_module(Freeze *freeze, PyObject *code, PyObject *twin, PyObject **ret_block) {
        int32_t reference;
        int r;

        if (!code || !twin)
                return PyErr_Occurred() ? -ENOMEM : decline(freeze, "it cannot be unmarshalled");
        if (!PyCode_Check(code))
                return decline(freeze, "it is no code");

        freeze->filename = ((PyCodeObject *)code)->co_filename;
        r = freeze_stays_find((PyCodeObject *)code, &freeze->stays);
        if (r > 0)
                return decline(freeze, "its constants nest too deeply");
        if (r < 0)
                return r;
        freeze->seen = PyDict_New();
        if (!freeze->seen)
                return -ENOMEM;
        r = freeze_object(freeze, code, twin, 0, &reference);
        if (r)
                return r;
        return freeze_finish(freeze, ret_block);
}

int freezer_add(Freezer *freezer, const void *marshalled, size_t size, PyObject **ret_block,
                const char **ret_declined) {
        Freeze freeze = { .freezer = freezer };
        PyObject *twin_bytes, *code, *twin;
        int r;

        r = freeze_sets_twin(marshalled, size, &twin_bytes);
        if (r == FREEZE_SETS_E_UNKNOWN) {
                *ret_declined = "its marshalled code is not understood";
                return FREEZE_E_DECLINED;
        }
        if (r < 0)
                return r;

        code = unmarshal(marshalled, size);
        if (code && twin_bytes)
                twin = unmarshal(PyBytes_AS_STRING(twin_bytes), size);
        else
                twin = Py_XNewRef(code);
        r = freeze_module(&freeze, code, twin, ret_block);

        Py_XDECREF(twin_bytes);
        Py_XDECREF(code);
        Py_XDECREF(twin);
        Py_XDECREF(freeze.stays);
        Py_XDECREF(freeze.seen);
        words_clear(&freeze.externals);
        words_clear(&freeze.records);
        if (r > 0)
                *ret_declined = freeze.declined;
        return r;
}

int freezer_new(Freezer **ret_freezer, const char **ret_declined) {
        const char *why;
        Freezer *freezer;
        int r;

        freezer = calloc(1, sizeof(*freezer));
        if (!freezer) {
                PyErr_NoMemory();
                return -ENOMEM;
        }
        why = facts_learn(&freezer->facts);
        if (why) {
                free(freezer);
                *ret_declined = why;
                return FREEZE_E_DECLINED;
        }
        r = freeze_texts_new(&freezer->texts);
        if (r < 0) {
                free(freezer);
                return r;
        }
        *ret_freezer = freezer;
        return 0;
}

int freezer_preload(Freezer *freezer, const void *texts, size_t size, uint32_t count) {
        return freeze_texts_preload(freezer->texts, texts, size, count);
}

Freezer *freezer_free(Freezer *freezer) {
        if (!freezer)
                return NULL;
        freeze_texts_free(freezer->texts);
        free(freezer);
        return NULL;
}

PyObject *freezer_texts(const Freezer *freezer, uint32_t *ret_count) {
        return freeze_texts_table(freezer->texts, ret_count);
}

#else

int freezer_new(Freezer **ret_freezer, const char **ret_declined) {
        (void)ret_freezer;
        *ret_declined = "the objects of this build of CPython are not known";
        return FREEZE_E_DECLINED;
}

Freezer *freezer_free(Freezer *freezer) {
        free(freezer);
        return NULL;
}

int freezer_add(Freezer *freezer, const void *marshalled, size_t size, PyObject **ret_block,
                const char **ret_declined) {
        (void)freezer;
        (void)marshalled;
        (void)size;
        (void)ret_block;
        *ret_declined = "the objects of this build of CPython are not known";
        return FREEZE_E_DECLINED;
}

int freezer_preload(Freezer *freezer, const void *texts, size_t size, uint32_t count) {
        (void)freezer;
        (void)texts;
        (void)size;
        (void)count;
        return 0;
}

PyObject *freezer_texts(const Freezer *freezer, uint32_t *ret_count) {
        (void)freezer;
        *ret_count = 0;
        return PyBytes_FromStringAndSize(NULL, 0);
}

#endif
