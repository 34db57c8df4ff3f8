/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "regex.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lookup.h"
#include "regex_loaded.h"
#include "root.h"
#include "splice.h"
#include "state.h"
#include "util.h"

#if FACTS_KNOWN

/* The modules that a program is made by. */
enum {
        SERVED_CONSTANTS = 1,
        SERVED_CASEFIX = 2,
        SERVED_PARSER = 4,
        SERVED_COMPILER = 8,
        SERVED_ALL = 15,
};

/* Flags of re.compile() that are left to stock: TEMPLATE, LOCALE, DEBUG (see re/_constants.py). */
#define FLAGS_STOCK (1 | 4 | 128)

/* Namespaces that must be as they were: those of re._compiler, re._parser and _sre. */
#define NAMESPACES 3

struct RegexHook {
        PyObject_HEAD
        ModuleState *state; /* NULL once that is gone, or another hook is in force */
        PyObject *sre_compile;
        uint64_t compiler; /* 0: it has not been looked at, or is none that an image stands for */
        bool looked;
        bool bytes_are_stocks; /* see codecs_are_checked() */
#if !FACTS_HAVE_WATCHERS
        /* Borrowed: the first is that of the function which the hook is in, and as long as that has not changed it keeps the
         * others alive. */
        PyObject *namespaces[NAMESPACES];
        uint64_t versions[NAMESPACES];
#endif
};

/* ---- whether `re` is as it was ---- */

#if FACTS_HAVE_WATCHERS

/* Of the main interpreter, which alone has a hook. */
static bool touched;
static int watcher = -1;

static int on_touched(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value) {
        (void)event;
        (void)dict;
        (void)key;
        (void)value;
        touched = true;
        return 0;
}

#define WATCHERS_MAX 8 /* DICT_MAX_WATCHERS */

/* The last place there is: who counts on the first, as CPython's own tests do, finds it free. Return: it, or -1. */
static int watcher_take(void) {
        int places[WATCHERS_MAX];
        size_t n = 0;

        while (n < WATCHERS_MAX && (places[n] = PyDict_AddWatcher(on_touched)) >= 0)
                n++;
        PyErr_Clear();
        for (size_t i = 0; i + 1 < n; i++)
                if (PyDict_ClearWatcher(places[i]) < 0)
                        PyErr_Clear();
        return n > 0 ? places[n - 1] : -1;
}

static void unwatch(void) {
        if (watcher >= 0 && PyDict_ClearWatcher(watcher) < 0)
                PyErr_Clear();
        watcher = -1;
}

static bool hook_watch(RegexHook *hook, PyObject *const namespaces[NAMESPACES]) {
        (void)hook;
        unwatch();
        watcher = watcher_take();
        for (size_t i = 0; watcher >= 0 && i < NAMESPACES; i++)
                if (PyDict_Watch(watcher, namespaces[i]) < 0)
                        unwatch();
        PyErr_Clear();
        touched = false;
        return watcher >= 0;
}

static bool hook_is_touched(const RegexHook *hook) {
        (void)hook;
        return touched;
}

#else

static void unwatch(void) {
}

static bool hook_watch(RegexHook *hook, PyObject *const namespaces[NAMESPACES]) {
        for (size_t i = 0; i < NAMESPACES; i++) {
                hook->namespaces[i] = namespaces[i];
                hook->versions[i] = guard_dict_version(namespaces[i]);
        }
        return true;
}

static bool hook_is_touched(const RegexHook *hook) {
        for (size_t i = 0; i < NAMESPACES; i++)
                if (guard_dict_version(hook->namespaces[i]) != hook->versions[i])
                        return true;
        return false;
}

#endif

/* A pattern that stock is about to compile. */
static void wanted_add(ModuleState *state, const ImagePatternKey *key) {
        state_debug(state, "no image has the pattern '%.*s'%s",
                    key->width <= 1 && key->text_size < 200 ? (int)key->text_size : 0,
                    (const char *)key->text, state->collect.depth == 0 ? ", compiled after the imports" : "");
        noted_add(state, key, state->regex.compiler, "re");
}

/* ---- the answer ---- */

static PyObject *code_list(const uint32_t *code, uint32_t n) {
        PyObject *list = PyList_New(n);

        for (uint32_t i = 0; list && i < n; i++) {
                PyObject *word = PyLong_FromUnsignedLong(code[i]);

                if (word)
                        PyList_SET_ITEM(list, i, word);
                else
                        Py_CLEAR(list);
        }
        return list;
}

/* The names of the groups, in both directions. Return: 0, -1 with an exception, or 1 if the image lies. */
static int names_of(const ImagePattern *pattern, const uint8_t *names, PyObject *groupindex,
                    PyObject *indexgroup) {
        ImagePatternName name;
        size_t at = 0;

        for (uint32_t i = 0; i < pattern->names_count; i++) {
                const char *bytes = image_pattern_name(pattern, names, &at, &name);
                PyObject *text, *group;
                int r;

                if (!bytes || name.group == 0 || name.group > pattern->groups)
                        return 1;
                text = PyUnicode_DecodeUTF8(bytes, name.length, NULL);
                group = text ? PyLong_FromUnsignedLong(name.group) : NULL;
                r = group ? PyDict_SetItem(groupindex, text, group) : -1;
                Py_XDECREF(group);
                if (r < 0) {
                        Py_XDECREF(text);
                        return -1;
                }
                Py_XSETREF(((PyTupleObject *)indexgroup)->ob_item[name.group], text);
        }
        return 0;
}

static PyObject *indexgroup_new(uint32_t groups) {
        PyObject *tuple = PyTuple_New((Py_ssize_t)groups + 1);

        for (Py_ssize_t i = 0; tuple && i <= (Py_ssize_t)groups; i++)
                PyTuple_SET_ITEM(tuple, i, Py_NewRef(Py_None));
        return tuple;
}

/* As the end of re._compiler.compile(). Return: a new Pattern; NULL, with an exception maybe, if the image lies or there is
 * no memory. */
static PyObject *pattern_new(const RegexHook *hook, const Image *image, const ImagePattern *pattern,
                             PyObject *text) {
        const uint32_t *code = image_pattern_code(image, pattern);
        const uint8_t *names = image_pattern_names(image, pattern);
        PyObject *args[6] = { text }, *result = NULL;
        int r = 1;

        if (!code || !names || pattern->groups > INT_MAX / 2 || pattern->groups > pattern->code_count)
                return NULL;
        args[1] = PyLong_FromUnsignedLong(pattern->flags);
        args[2] = args[1] ? code_list(code, pattern->code_count) : NULL;
        args[3] = args[2] ? PyLong_FromUnsignedLong(pattern->groups) : NULL;
        args[4] = args[3] ? PyDict_New() : NULL;
        args[5] = args[4] ? indexgroup_new(pattern->groups) : NULL;
        if (args[5])
                r = names_of(pattern, names, args[4], args[5]);
        if (args[5] && r == 0)
                result = PyObject_Vectorcall(hook->sre_compile, args, ELEMENTSOF(args), NULL);
        for (size_t i = 1; i < ELEMENTSOF(args); i++)
                Py_XDECREF(args[i]);
        return result;
}

/* What was given to re._compiler.compile(), if it is such as images have. */
static bool key_of(PyObject *text, PyObject *flags, ImagePatternKey *ret_key) {
        long value;
        int overflow;

        if (!PyLong_CheckExact(flags))
                return false;
        value = PyLong_AsLongAndOverflow(flags, &overflow);
        if (overflow || value < 0 || value > INT_MAX || (value & FLAGS_STOCK))
                return false;
        *ret_key = (ImagePatternKey){ .flags = (uint32_t)value };
        if (PyUnicode_CheckExact(text)) {
                ret_key->text = PyUnicode_DATA(text);
                ret_key->width = (uint32_t)PyUnicode_KIND(text);
                ret_key->text_size = (size_t)PyUnicode_GET_LENGTH(text) * ret_key->width;
                return true;
        }
        if (!PyBytes_CheckExact(text))
                return false;
        ret_key->text = PyBytes_AS_STRING(text);
        ret_key->text_size = (size_t)PyBytes_GET_SIZE(text);
        return true;
}

/* The parser decodes a pattern of bytes as latin1. A debug build, or development mode, imports that codec to look at the
 * name of it (unicode_check_encoding_errors() in Objects/unicodeobject.c), and so changes sys.modules. Debian's headers of
 * a debug build do not say that they are. */
static bool codecs_are_checked(void) {
        PyObject *flags = lookup_sys("flags");
        PyObject *mode = flags ? PyObject_GetAttrString(flags, "dev_mode") : NULL;
        bool checked = lookup_sys("gettotalrefcount") || !mode || PyObject_IsTrue(mode) != 0;

        Py_XDECREF(mode);
        PyErr_Clear();
        return checked;
}

/* Is `re` the one of an image? Where stock has imported it that is found out when it is first needed. */
static bool hook_knows_compiler(ModuleState *state, RegexHook *hook) {
        if (!hook->looked) {
                hook->looked = true;
                hook->compiler = state->regex.compiler = regex_loaded_compiler(state);
        }
        return hook->compiler != 0;
}

/* Return: a new Pattern; NULL where stock is to compile, with an exception maybe. */
static PyObject *hook_answer(RegexHook *hook, PyObject *const *args, Py_ssize_t n) {
        ModuleState *state = hook->state;
        ImagePatternKey key;
        uint64_t hash;

        if (n != 2 || !state || state->regex.on_off.off || !state->active || hook_is_touched(hook) ||
            facts_is_observed() || facts_recursion_is_short() || !key_of(args[0], args[1], &key) ||
            !hook_knows_compiler(state, hook) || (hook->bytes_are_stocks && PyBytes_Check(args[0])))
                return NULL;
        hash = image_pattern_hash(&key);
        for (const Root *root = state->roots; root; root = root->next) {
                Mapping *mapping = root->mapping;
                const ImagePattern *pattern;
                PyObject *result;

                if (!mapping || !mapping->everywhere ||
                    mapping->image.header->pattern_compiler != hook->compiler)
                        continue;
                pattern = image_pattern_find(&mapping->image, &key, hash);
                if (!pattern)
                        continue;
                mapping_ref(mapping); /* what the collector runs may have the root get another */
                result = pattern_new(hook, &mapping->image, pattern, args[0]);
                mapping_unref(mapping);
                if (result)
                        state->regex.hits++;
                if (result || PyErr_Occurred())
                        return result;
        }
        wanted_add(state, &key);
        return NULL;
}

/* What is spliced into re._compiler.compile(p, flags). Nothing that goes wrong here is the program's to hear of, and least
 * of all that there was no memory: stock may do with less. */
static PyObject *hook_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        PyObject *pattern = hook_answer((RegexHook *)self, args, n);

        if (pattern)
                return pattern;
        PyErr_Clear();
        Py_RETURN_NONE;
}

/* ---- into service ---- */

static void hook_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        Py_XDECREF(((RegexHook *)self)->sre_compile);
        type->tp_free(self);
        Py_DECREF(type);
}

/* Without the module, as a Sieve is made: code objects refer to it. */
static PyTypeObject *hook_type_new(void) {
        static PyType_Slot slots[] = {
                { Py_tp_dealloc, hook_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.RegexHook",
                .basicsize = sizeof(RegexHook),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}

static void hook_release(Regex *regex) {
        if (regex->hook)
                regex->hook->state = NULL;
        Py_CLEAR(regex->hook);
        unwatch();
}

/* Return: the dict of a module that is a global variable in a namespace, borrowed, or NULL. */
static PyObject *namespace_in(PyObject *namespace, const char *name) {
        return lookup_variables(lookup(namespace, name));
}

/* Return: 0, 1 if `re` is not as expected, or -1 with an exception. */
static int hook_install(ModuleState *state, PyObject *compiler) {
        static PyMethodDef call = { "compile", (PyCFunction)(void (*)(void))hook_call, METH_FASTCALL, NULL };
        PyObject *namespaces[NAMESPACES] = { compiler, namespace_in(compiler, "_parser"),
                                             namespace_in(compiler, "_sre") };
        PyObject *function = lookup(compiler, "compile"), *sre_compile, *callable;
        RegexHook *hook;
        int r;

        sre_compile = namespaces[2] ? lookup(namespaces[2], "compile") : NULL;
        if (!function || !namespaces[1] || !sre_compile || !PyCFunction_Check(sre_compile))
                return 1;
        if (!state->regex.hook_type && !(state->regex.hook_type = hook_type_new()))
                return -1;
        hook_release(&state->regex);
        hook = (RegexHook *)state->regex.hook_type->tp_alloc(state->regex.hook_type, 0);
        callable = hook ? PyCFunction_New(&call, (PyObject *)hook) : NULL;
        if (!callable) {
                Py_XDECREF(hook);
                return -1;
        }
        hook->sre_compile = Py_NewRef(sre_compile);
        hook->compiler = state->regex.compiler;
        hook->looked = hook->compiler != 0;
        hook->bytes_are_stocks = codecs_are_checked();
        r = hook_watch(hook, namespaces) ? splice_answer(function, 2, callable) : 1;
        Py_DECREF(callable);
        if (r == 0) {
                hook->state = state;
                state->regex.hook = hook;
        } else {
                Py_DECREF(hook);
                unwatch();
        }
        return r;
}

void regex_served(ModuleState *state, const Mapping *mapping, PyObject *name) {
        static const struct {
                const char *name;
                unsigned bit;
        } modules[] = {
                { "re._constants", SERVED_CONSTANTS },
                { "re._casefix", SERVED_CASEFIX },
                { "re._parser", SERVED_PARSER },
                { "re._compiler", SERVED_COMPILER },
        };
        const ImageHeader *header = mapping->image.header;
        Py_ssize_t length = PyUnicode_GET_LENGTH(name);

        if (length < 10 || length > 13 || PyUnicode_READ_CHAR(name, 2) != '.' ||
            PyUnicode_READ_CHAR(name, 3) != '_')
                return;
        if (state->regex.generation != header->generation) {
                state->regex.served = 0;
                state->regex.generation = header->generation;
                state->regex.compiler = header->flags & IMAGE_HAS_COMPILER ? header->pattern_compiler : 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(modules); i++)
                if (PyUnicode_CompareWithASCIIString(name, modules[i].name) == 0)
                        state->regex.served |= modules[i].bit;
}

void regex_executed(ModuleState *state, PyObject *module) {
        PyObject *dict, *name;

        if (state->regex.served != SERVED_ALL || !PyModule_Check(module))
                return;
        dict = PyModule_GetDict(module);
        name = PyDict_GetItemWithError(dict, state->names.__name__);
        if (!name || !PyUnicode_Check(name) || PyUnicode_CompareWithASCIIString(name, "re._compiler") != 0)
                return;
        state->regex.served = 0; /* once more if it is loaded once more, whole */
        if (state->regex.compiler && PyInterpreterState_Get() == PyInterpreterState_Main() &&
            hook_install(state, dict) != 0)
                PyErr_Clear(); /* stock compiles */
}

void regex_activated(ModuleState *state) {
        PyObject *module = lookup_module("re._compiler");

        if (!module || !PyModule_Check(module) || PyInterpreterState_Get() != PyInterpreterState_Main())
                return;
        if (hook_install(state, PyModule_GetDict(module)) != 0) {
                PyErr_Clear();
                return;
        }
        if (state->regex.on_off.off)
                return;
        /* Better now than amid an import; but if its image is still to come, when it is first needed. */
        state->regex.hook->looked = hook_knows_compiler(state, state->regex.hook);
}

void regex_forget(ModuleState *state) {
        hook_release(&state->regex);
        Py_CLEAR(state->regex.hook_type);
}

#else

void regex_served(ModuleState *state, const Mapping *mapping, PyObject *name) {
        (void)state;
        (void)mapping;
        (void)name;
}

void regex_executed(ModuleState *state, PyObject *module) {
        (void)state;
        (void)module;
}

void regex_activated(ModuleState *state) {
        (void)state;
}

void regex_forget(ModuleState *state) {
        (void)state;
}

#endif
