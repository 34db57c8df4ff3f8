/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "splice.h"

#if FACTS_KNOWN

#include <opcode.h>

#define ARGUMENTS_MAX 8
#define UNIT sizeof(_Py_CODEUNIT)
#define CALL_SIZE_MAX (UNIT * (16 + ARGUMENTS_MAX + FACTS_CALL_CACHES))

/* Of a location table, see Objects/locations.md: an entry's first byte has bit 7 set, its kind, and how many units it is of.
 * Kinds of the same line; of that, the next and the one after; of one that a number tells, without and with columns. */
#define LOCATION_START 0x80u
#define LOCATION_KIND(byte) ((byte) >> 3 & 15u)
#define LOCATION_SHORT_LAST 9u
#define LOCATION_ONE_LINE 10u
#define LOCATION_NO_COLUMNS 13u
#define LOCATION_LONG 14u
#define LOCATION_UNITS_MAX 8u
#define LOCATION_MORE 0x40u    /* of a number's byte: another follows */
#define LOCATION_NUMBER_MAX 6u /* bytes */

static size_t emit(uint8_t *code, size_t at, unsigned opcode, unsigned argument, unsigned caches) {
        code[at++] = (uint8_t)opcode;
        code[at++] = (uint8_t)argument;
        while (caches--) {
                code[at++] = CACHE;
                code[at++] = 0;
        }
        return at;
}

/* As `CONSTANT(0, 1, ..., LAST)` is compiled: it leaves the result on the stack. */
static size_t emit_call(uint8_t *code, size_t at, unsigned arguments, unsigned constant) {
#if FACTS_CALL_NULL_FIRST
        at = emit(code, at, PUSH_NULL, 0, 0);
        at = emit(code, at, LOAD_CONST, constant, 0);
#else
        at = emit(code, at, LOAD_CONST, constant, 0);
        at = emit(code, at, PUSH_NULL, 0, 0);
#endif
        for (unsigned i = 0; i < arguments; i++)
                at = emit(code, at, LOAD_FAST, i, 0);
#if FACTS_HAVE_PRECALL
        at = emit(code, at, PRECALL, arguments, FACTS_PRECALL_CACHES);
#endif
        return emit(code, at, CALL, arguments, FACTS_CALL_CACHES);
}

/* As `LAST = CONSTANT(0, 1, ..., LAST)` is compiled. Return: its size. */
static size_t assignment_write(uint8_t code[static CALL_SIZE_MAX], unsigned arguments, unsigned constant) {
        size_t at = emit_call(code, 0, arguments, constant);

        return emit(code, at, STORE_FAST, arguments - 1, 0);
}

/* `if (answer := CONSTANT(0, 1, ..., LAST)) is not None: return answer`. Return: its size. */
static size_t answer_write(uint8_t code[static CALL_SIZE_MAX], unsigned arguments, unsigned constant) {
        size_t at = emit_call(code, 0, arguments, constant);

        at = emit(code, at, COPY, 1, 0);
        at = emit(code, at, FACTS_JUMP_IF_NONE, 1 + FACTS_HAVE_NOT_TAKEN, FACTS_JUMP_CACHES);
#if FACTS_HAVE_NOT_TAKEN
        at = emit(code, at, NOT_TAKEN, 0, 0);
#endif
        at = emit(code, at, RETURN_VALUE, 0, 0);
        return emit(code, at, POP_TOP, 0, 0);
}

/* `if CONSTANT(0, 1, ..., LAST) is not None: return None`. Return: its size. */
static size_t deed_write(uint8_t code[static CALL_SIZE_MAX], unsigned arguments, unsigned constant) {
        size_t at = emit_call(code, 0, arguments, constant);

        at = emit(code, at, FACTS_JUMP_IF_NONE, 2 + FACTS_HAVE_NOT_TAKEN, FACTS_JUMP_CACHES);
#if FACTS_HAVE_NOT_TAKEN
        at = emit(code, at, NOT_TAKEN, 0, 0);
#endif
        at = emit(code, at, LOAD_CONST, constant + 1, 0);
        return emit(code, at, RETURN_VALUE, 0, 0);
}

/* Where the statement ends that first assigns to a local variable, be it an import of a name. Caches are zero here, and so
 * is their opcode. Return: 0: there is none. */
static size_t assignment_end(PyObject *code, unsigned local) {
        const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(code);
        size_t size = (size_t)PyBytes_GET_SIZE(code);

        for (size_t at = 0; at + UNIT <= size; at += UNIT)
                if (bytes[at] == STORE_FAST && bytes[at + 1] == local) {
                        at += UNIT;
                        return at + UNIT <= size && bytes[at] == POP_TOP ? at + UNIT : at;
                }
        return 0;
}

/* Where a function begins that has neither cells nor free variables. Return: 0: not as expected. */
static size_t first_end(PyObject *code) {
        const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(code);
        size_t size = (size_t)PyBytes_GET_SIZE(code), at = UNIT;

        if (size < UNIT || bytes[0] != RESUME)
                return 0;
        while (at + UNIT <= size && bytes[at] == CACHE)
                at += UNIT;
        return at;
}

/* Where in the table the entry starts that starts with that unit. Return: 0: none does. */
static size_t locations_at(PyObject *table, size_t unit) {
        const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(table);
        size_t size = (size_t)PyBytes_GET_SIZE(table);

        for (size_t at = 0, units = 0; at < size; at++) {
                if (!(bytes[at] & LOCATION_START))
                        continue;
                if (units == unit)
                        return at;
                units += (bytes[at] & (LOCATION_UNITS_MAX - 1)) + 1;
        }
        return 0;
}

static PyObject *bytes_cut(PyObject *bytes, size_t at, size_t size) {
        size_t length = (size_t)PyBytes_GET_SIZE(bytes);
        PyObject *rest = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(length - size));

        if (rest) {
                const uint8_t *from = (const uint8_t *)PyBytes_AS_STRING(bytes);
                uint8_t *to = (uint8_t *)PyBytes_AS_STRING(rest);

                memcpy(to, from, at);
                memcpy(to + at, from + at + size, length - at - size);
        }
        return rest;
}

static PyObject *bytes_insert(PyObject *bytes, size_t at, const uint8_t *middle, size_t size) {
        size_t length = (size_t)PyBytes_GET_SIZE(bytes);
        PyObject *whole = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(length + size));

        if (whole) {
                uint8_t *to = (uint8_t *)PyBytes_AS_STRING(whole);
                const uint8_t *from = (const uint8_t *)PyBytes_AS_STRING(bytes);

                memcpy(to, from, at);
                memcpy(to + at, middle, size);
                memcpy(to + at + size, from + at, length - at);
        }
        return whole;
}

/* How far an entry's line is from that of the one before, as the table has numbers, and the entry's start as one of the same
 * line has it. Return: how long that start was; 0: of no line. */
static size_t location_read(const uint8_t *bytes, size_t left, uint8_t ret_delta[static LOCATION_NUMBER_MAX],
                            size_t *ret_size, uint8_t ret_start[static 2], size_t *ret_start_size) {
        unsigned kind = LOCATION_KIND(bytes[0]);
        size_t n = 0;

        *ret_size = *ret_start_size = 1;
        ret_delta[0] = 0;
        ret_start[0] = bytes[0];
        if (kind <= LOCATION_SHORT_LAST)
                return 1;
        if (kind < LOCATION_NO_COLUMNS) {
                ret_delta[0] = (uint8_t)((kind - LOCATION_ONE_LINE) << 1); /* its sign is bit 0 */
                ret_start[0] = (uint8_t)(bytes[0] - ((kind - LOCATION_ONE_LINE) << 3));
                return 1;
        }
        if (kind > LOCATION_LONG)
                return 0;
        do {
                if (1 + n >= left || n == LOCATION_NUMBER_MAX)
                        return 0;
                ret_delta[n] = bytes[1 + n];
        } while (ret_delta[n++] & LOCATION_MORE);
        *ret_size = n;
        ret_start[1] = 0;
        *ret_start_size = 2;
        return 1 + n;
}

/* Units of the line of the statement that follows, be it jumped to: a trace is as it was, and whoever looks at a frame there
 * sees a line. Return: new; NULL, without an exception if that statement is of none. */
static PyObject *locations_insert(PyObject *table, size_t at, size_t units) {
        uint8_t entries[CALL_SIZE_MAX + LOCATION_NUMBER_MAX + 2], delta[LOCATION_NUMBER_MAX], start[2];
        size_t left = (size_t)PyBytes_GET_SIZE(table) - at, n = 0, delta_size, start_size, was;
        PyObject *cut, *whole;

        was = location_read((const uint8_t *)PyBytes_AS_STRING(table) + at, left, delta, &delta_size, start,
                            &start_size);
        if (was == 0)
                return NULL;
        while (units > 0) {
                size_t some = units < LOCATION_UNITS_MAX ? units : LOCATION_UNITS_MAX;

                entries[n++] = (uint8_t)(LOCATION_START | LOCATION_NO_COLUMNS << 3 | (some - 1));
                memcpy(entries + n, delta, delta_size);
                n += delta_size;
                units -= some;
                delta[0] = 0;
                delta_size = 1;
        }
        memcpy(entries + n, start, start_size);
        n += start_size;
        cut = bytes_cut(table, at, was);
        whole = cut ? bytes_insert(cut, at, entries, n) : NULL;
        Py_XDECREF(cut);
        return whole;
}

/* Of an exception table, see Objects/exception_handling_notes.txt in CPython's sources: numbers of six bits a byte, the
 * highest first; of the bytes of a number all but the last have bit 6 set. An entry is four numbers, and its first byte has
 * bit 7 set. */
#define EXCEPTION_START 0x80u
#define EXCEPTION_MORE 0x40u
#define EXCEPTION_BITS 6
#define EXCEPTION_NUMBERS 4
#define EXCEPTION_NUMBER_MAX 6 /* bytes */

/* Return: where the next number begins, or 0: there is none. */
static size_t exception_read(const uint8_t *bytes, size_t size, size_t at, size_t *ret_number) {
        size_t number = 0;

        for (size_t n = 0; at < size && n < EXCEPTION_NUMBER_MAX; n++) {
                unsigned byte = bytes[at++];

                number = number << EXCEPTION_BITS | (byte & (EXCEPTION_MORE - 1));
                if (!(byte & EXCEPTION_MORE)) {
                        *ret_number = number;
                        return at;
                }
        }
        return 0;
}

static size_t exception_write(uint8_t *bytes, size_t at, size_t number, bool starts) {
        size_t first = at;
        unsigned shift = 0;

        while (number >> shift >> EXCEPTION_BITS && shift < EXCEPTION_BITS * (EXCEPTION_NUMBER_MAX - 1))
                shift += EXCEPTION_BITS;
        for (;; shift -= EXCEPTION_BITS) {
                bytes[at++] =
                        (uint8_t)((number >> shift & (EXCEPTION_MORE - 1)) | (shift ? EXCEPTION_MORE : 0));
                if (shift == 0)
                        break;
        }
        if (starts)
                bytes[first] |= EXCEPTION_START;
        return at;
}

/* The table of a function into which units have been put at a unit that no handler protects.
 * Return: new; NULL, without an exception if the table is not as expected. */
static PyObject *exceptions_shift(PyObject *table, size_t unit, size_t units) {
        const uint8_t *from = (const uint8_t *)PyBytes_AS_STRING(table);
        size_t size = (size_t)PyBytes_GET_SIZE(table), at = 0, written = 0;
        /* No number grows by more than a byte. */
        PyObject *shifted = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(2 * size));
        uint8_t *to = shifted ? (uint8_t *)PyBytes_AS_STRING(shifted) : NULL;

        while (shifted && at < size) {
                size_t numbers[EXCEPTION_NUMBERS]; /* start, size, where to go, depth of the stack */

                for (size_t i = 0; i < EXCEPTION_NUMBERS; i++) {
                        at = exception_read(from, size, at, &numbers[i]);
                        if (at == 0)
                                break;
                }
                if (at == 0 || (numbers[0] < unit && numbers[0] + numbers[1] > unit)) {
                        Py_CLEAR(shifted);
                        return NULL;
                }
                if (numbers[0] >= unit)
                        numbers[0] += units;
                if (numbers[2] >= unit)
                        numbers[2] += units;
                for (size_t i = 0; i < EXCEPTION_NUMBERS; i++)
                        written = exception_write(to, written, numbers[i], i == 0);
        }
        if (shifted)
                (void)_PyBytes_Resize(&shifted, (Py_ssize_t)written);
        return shifted;
}

static PyObject *constants_append(PyObject *constants, PyObject *callable) {
        PyObject *two = PyTuple_Pack(2, callable, Py_None);
        PyObject *all = two ? PySequence_Concat(constants, two) : NULL;

        Py_XDECREF(two);
        return all;
}

typedef struct Manner {
        size_t (*write)(uint8_t code[static CALL_SIZE_MAX], unsigned arguments, unsigned constant);
        bool first; /* at the function's start, not after an assignment */
} Manner;

static const Manner assignment = { assignment_write, false }, answer = { answer_write, true },
                    deed = { deed_write, true };

/* Return: a new code object; NULL, without an exception if this one is not as expected. */
static PyObject *code_splice(PyCodeObject *old, unsigned arguments, PyObject *callable,
                             const Manner *manner) {
        PyObject *code = NULL, *table = NULL, *exceptions = NULL, *constants = NULL, *replace = NULL,
                 *none = NULL, *changes = NULL, *result = NULL;
        Py_ssize_t constant = PyTuple_GET_SIZE(old->co_consts);
        int stack = (int)arguments + 2; /* and one copy of the result, which is less */
        uint8_t call[CALL_SIZE_MAX];
        size_t size, at, entry;

        if (arguments == 0 || arguments > ARGUMENTS_MAX || old->co_nlocals < (int)arguments ||
            constant >= UINT8_MAX)
                return NULL;
        code = PyCode_GetCode(old); /* without what the interpreter has specialised */
        if (!code)
                return NULL;
        at = manner->first ? first_end(code) : assignment_end(code, arguments - 1);
        entry = at ? locations_at(old->co_linetable, at / UNIT) : 0;
        if (!entry)
                goto finish;
        size = manner->write(call, arguments, (unsigned)constant);
        Py_SETREF(code, bytes_insert(code, at, call, size));
        table = code ? locations_insert(old->co_linetable, entry, size / UNIT) : NULL;
        exceptions = table ? exceptions_shift(old->co_exceptiontable, at / UNIT, size / UNIT) : NULL;
        constants = exceptions ? constants_append(old->co_consts, callable) : NULL;
        replace = constants ? PyObject_GetAttrString((PyObject *)old, "replace") : NULL;
        none = replace ? PyTuple_New(0) : NULL;
        if (none)
                changes =
                        Py_BuildValue("{s:O,s:O,s:O,s:O,s:i}", "co_code", code, "co_linetable", table,
                                      "co_exceptiontable", exceptions, "co_consts", constants, "co_stacksize",
                                      old->co_stacksize > stack ? old->co_stacksize : stack);
        result = changes ? PyObject_Call(replace, none, changes) : NULL;
finish:
        Py_XDECREF(code);
        Py_XDECREF(table);
        Py_XDECREF(exceptions);
        Py_XDECREF(constants);
        Py_XDECREF(replace);
        Py_XDECREF(none);
        Py_XDECREF(changes);
        return result;
}

static int splice(PyObject *function, unsigned arguments, PyObject *callable, const Manner *manner) {
        PyObject *code;
        int r;

        if (!PyFunction_Check(function))
                return 1;
        code = code_splice((PyCodeObject *)PyFunction_GET_CODE(function), arguments, callable, manner);
        if (!code)
                return PyErr_Occurred() ? -1 : 1;
        r = PyObject_SetAttrString(function, "__code__", code);
        Py_DECREF(code);
        return r;
}

int splice_call(PyObject *function, unsigned arguments, PyObject *callable) {
        return splice(function, arguments, callable, &assignment);
}

int splice_answer(PyObject *function, unsigned arguments, PyObject *callable) {
        return splice(function, arguments, callable, &answer);
}

int splice_deed(PyObject *function, unsigned arguments, PyObject *callable) {
        return splice(function, arguments, callable, &deed);
}

#else

int splice_call(PyObject *function, unsigned arguments, PyObject *callable) {
        (void)function;
        (void)arguments;
        (void)callable;
        return 1;
}

int splice_answer(PyObject *function, unsigned arguments, PyObject *callable) {
        return splice_call(function, arguments, callable);
}

int splice_deed(PyObject *function, unsigned arguments, PyObject *callable) {
        return splice_call(function, arguments, callable);
}

#endif
