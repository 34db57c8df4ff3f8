/* SPDX-License-Identifier: MIT */

#include "facts.h"

#if FACTS_KNOWN

#include <string.h>

static bool type_is(const PyTypeObject *type, size_t size, size_t item, bool gc) {
        return type->tp_basicsize == (Py_ssize_t)size && type->tp_itemsize == (Py_ssize_t)item &&
               !!(type->tp_flags & Py_TPFLAGS_HAVE_GC) == gc;
}

static bool layouts_fit(void) {
        /* Variable objects of one character or item count it in their basic size, or one byte for the NUL. */
        return type_is(&PyCode_Type, FACTS_CODE_SIZE, sizeof(_Py_CODEUNIT), false) &&
               type_is(&PyTuple_Type, FACTS_TUPLE_SIZE, sizeof(PyObject *), true) &&
               type_is(&PyBytes_Type, FACTS_BYTES_SIZE + 1, 1, false) &&
               type_is(&PyLong_Type, FACTS_INT_SIZE, sizeof(digit), false) &&
               type_is(&PyFloat_Type, sizeof(PyFloatObject), 0, false) &&
               type_is(&PyComplex_Type, sizeof(PyComplexObject), 0, false) &&
               type_is(&PyUnicode_Type, sizeof(PyUnicodeObject), 0, false);
}

/* Copies the head of a fresh string, for strings that cannot be freed. */
static bool learn_string(Py_UCS4 character, void *ret_head, size_t size) {
        PyObject *string;

        string = PyUnicode_New(2, character);
        if (!string)
                return false;
        memcpy(ret_head, string, size);
        Py_DECREF(string);
#if FACTS_FROM(14)
        ((PyASCIIObject *)ret_head)->state.statically_allocated = 1;
#endif
        return true;
}

#if FACTS_FROM(12)

static int watch_nothing(PyCodeEvent event, PyCodeObject *code) {
        (void)event;
        (void)code;
        return 0;
}

/* Finds the interpreter's mask of code watchers, and sees it change. */
static const char *learn_watchers(Facts *facts) {
        const uint8_t *mask = &PyInterpreterState_Get()->active_code_watchers;
        int watcher;
        bool seen;

        watcher = PyCode_AddWatcher(watch_nothing);
        if (watcher < 0) {
                PyErr_Clear();
                return "all places for code watchers are taken";
        }
        seen = *mask & 1u << watcher;
        if (PyCode_ClearWatcher(watcher) < 0) {
                PyErr_Clear();
                return "a code watcher cannot be taken away";
        }
        if (!seen || *mask & 1u << watcher)
                return "the interpreter keeps its code watchers in another place";

        facts->code_watchers = mask;
        return NULL;
}

#endif

#if FACTS_FROM(15)

#include "internal/pycore_backoff.h"

/* Builders run in a clean environment, so fresh bytecode has these in its counters. */
static bool specialises_as_usual(void) {
        const _PyOptimizationConfig *config = &PyInterpreterState_Get()->opt_config;

        return config->specialization_enabled &&
               config->jump_backward_initial_value == JUMP_BACKWARD_INITIAL_VALUE &&
               config->jump_backward_initial_backoff == JUMP_BACKWARD_INITIAL_BACKOFF &&
               config->resume_initial_value == RESUME_INITIAL_VALUE &&
               config->resume_initial_backoff == RESUME_INITIAL_BACKOFF;
}

#else

static bool specialises_as_usual(void) {
        return true;
}

#endif

/*
 * The counter for co_version. 3.12 keeps it where it cannot be found; there thawed code has numbers of its
 * own, which the interpreter's counter will not reach: it would have to make two thousand million code
 * objects first.
 */
#if FACTS_FROM(13)

static const char *learn_counter(Facts *facts) {
        facts->next_version = &PyInterpreterState_Get()->func_state.next_version;
        if (facts->code.co_version == 0 || *facts->next_version != facts->code.co_version + 1)
                return "the interpreter keeps its counter for co_version in another place, or it ran out";
        return NULL;
}

#elif FACTS_IS(12)

#define OWN_VERSIONS 0x80000000u

static const char *learn_counter(Facts *facts) {
        static uint32_t own = OWN_VERSIONS;

        facts->next_version = &own;
        if (facts->code.co_version == 0 || facts->code.co_version >= OWN_VERSIONS / 2)
                return "the interpreter's counter for co_version ran out";
        return NULL;
}

#endif

/* Makes code objects, and sees what they hold and what becomes of the counter. */
static const char *learn_code(Facts *facts) {
#if FACTS_FROM(12)
        const char *why;
#endif

        for (unsigned i = 0; i < 2; i++) {
                PyCodeObject *code;

                code = PyCode_NewEmpty("", "", 1);
                if (!code) {
                        PyErr_Clear();
                        return "no memory";
                }
                memcpy(facts->code_bytes, code, FACTS_CODE_SIZE);
                Py_DECREF(code);

#if FACTS_FROM(12)
                why = learn_counter(facts);
                if (why)
                        return why;
                facts->frame_specials =
                        facts->code.co_framesize - facts->code.co_stacksize - facts->code.co_nlocalsplus;
#endif
        }
        return NULL;
}

const char *facts_learn(Facts *ret_facts) {
        Facts learnt = {};
        const char *why;

        if (!layouts_fit())
                return "its objects are not laid out as its headers say";
        if (!specialises_as_usual())
                return "its specialiser is configured by the environment";

        why = learn_code(&learnt);
        if (why)
                return why;
#if FACTS_FROM(12)
        why = learn_watchers(&learnt);
        if (why)
                return why;
#endif
        if (!learn_string(0x7f, &learnt.ascii, sizeof(PyASCIIObject)) ||
            !learn_string(0xff, &learnt.latin1, sizeof(PyCompactUnicodeObject)) ||
            !learn_string(0xffff, &learnt.ucs2, sizeof(PyCompactUnicodeObject)) ||
            !learn_string(0x10ffff, &learnt.ucs4, sizeof(PyCompactUnicodeObject))) {
                PyErr_Clear();
                return "no memory";
        }
        *ret_facts = learnt;
        return NULL;
}

#endif
