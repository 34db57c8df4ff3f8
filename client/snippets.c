/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "snippets.h"

#include <marshal.h>
#include <string.h>

#include "audit.h"
#include "lookup.h"
#include "noted.h"
#include "root.h"
#include "state.h"
#include "util.h"

#define ARGUMENTS_MAX 6

/* The future statements' flags, as they stand in a key. */
#define FUTURES_SHIFT 17
#define FUTURES 0xffu

typedef PyObject *(*WithKeywords)(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords);
typedef PyObject *(*Plain)(PyObject *self, PyObject *const *args, Py_ssize_t n);

/* ---- a snippet's code ---- */

/* Return: false if no image has texts under such flags. */
static bool futures_of(int flags, uint32_t *ret_futures) {
        uint32_t futures = (uint32_t)flags >> FUTURES_SHIFT;

        *ret_futures = futures;
        return flags >= 0 && futures <= FUTURES && (futures << FUTURES_SHIFT) == (uint32_t)flags &&
               (flags & ~PyCF_MASK) == 0;
}

/* Return: new; NULL, without an exception, if the image has none, or does not tell the truth about it. */
static PyObject *code_from(Mapping *mapping, const ImagePatternKey *key, uint64_t hash) {
        const ImagePattern *pattern = image_pattern_find(&mapping->image, key, hash);
        const void *bytes = pattern ? image_pattern_code(&mapping->image, pattern) : NULL;
        PyObject *code;

        if (!bytes)
                return NULL;
        mapping_ref(mapping); /* what the collector runs may have the root get another */
        code = PyMarshal_ReadObjectFromString(bytes,
                                              (Py_ssize_t)((size_t)pattern->code_count * sizeof(uint32_t)));
        mapping_unref(mapping);
        if (code && PyCode_Check(code))
                return code;
        Py_XDECREF(code);
        PyErr_Clear();
        return NULL;
}

/* The code of a text from whatever image has it. Return: new; NULL, without an exception, if stock must compile it. */
static PyObject *code_of(ModuleState *state, PyObject *text, Py_ssize_t from, uint32_t mode, int flags) {
        ImagePatternKey key = { .width = (uint32_t)PyUnicode_KIND(text) };
        uint64_t hash;

        if (!futures_of(flags, &key.flags))
                return NULL;
        key.flags |= IMAGE_PATTERN_SNIPPET | mode;
        key.text = (const uint8_t *)PyUnicode_DATA(text) + (size_t)from * key.width;
        key.text_size = (size_t)(PyUnicode_GET_LENGTH(text) - from) * key.width;
        if (key.text_size == 0 || key.text_size > NOTED_TEXT_MAX)
                return NULL;
        hash = image_pattern_hash(&key);
        for (const Root *root = state->roots; root; root = root->next) {
                PyObject *code = root->mapping && root->mapping->everywhere
                                         ? code_from(root->mapping, &key, hash)
                                         : NULL;

                if (code) {
                        state->snippets.hits++;
                        return code;
                }
        }
        state_debug(state, "no image has the snippet '%.*s'",
                    key.width == 1 && key.text_size < 200 ? (int)key.text_size : 0, (const char *)key.text);
        noted_add(state, &key, 0, NULL);
        return NULL;
}

/* The code under the file name that it is compiled for. Return: the code; NULL, without an exception. */
static PyObject *code_named(PyObject *consume_code, ModuleState *state, PyObject *name) {
        PyObject *fixed;

        Py_INCREF(name);
        facts_file_name(&name);
        fixed = PyObject_CallFunctionObjArgs(state->fix_co_filename, consume_code, name, NULL);
        Py_DECREF(name);
        if (!fixed) {
                PyErr_Clear();
                Py_CLEAR(consume_code);
        }
        Py_XDECREF(fixed);
        return consume_code;
}

/* ---- the three functions ---- */

/* Of the main interpreter, the only one where they are replaced. NULL: they do what they always did. */
static ModuleState *owner;

static bool may_serve(PyObject *text) {
        return owner && owner->active && !owner->snippets.on_off.off && PyUnicode_CheckExact(text) &&
               !audit_is_on() && !facts_recursion_is_short();
}

/* The flags that the caller's future statements set. */
static int inherited_flags(void) {
        PyCompilerFlags flags = { 0, PY_MINOR_VERSION };

        (void)PyEval_MergeCompilerFlags(&flags);
        return flags.cf_flags;
}

/* What compile() was asked for: source, filename, mode, and then maybe flags, dont_inherit, optimize. Return: likewise. */
static PyObject *code_to_give(PyObject *const *args, Py_ssize_t n) {
        long flags = 0, alone = 0;
        uint32_t mode = 0;
        PyObject *code;

        if (n < 3 || n > 5 || !may_serve(args[0]) || !PyUnicode_CheckExact(args[1]) ||
            !PyUnicode_CheckExact(args[2]) ||
            PyUnicode_FindChar(args[1], 0, 0, PyUnicode_GET_LENGTH(args[1]), 1) >= 0)
                return NULL;
        if (PyUnicode_CompareWithASCIIString(args[2], "eval") == 0)
                mode = IMAGE_PATTERN_EVAL;
        else if (PyUnicode_CompareWithASCIIString(args[2], "exec") != 0)
                return NULL;
        if ((n > 3 && !PyLong_CheckExact(args[3])) || (n > 4 && !PyBool_Check(args[4])))
                return NULL;
        if (n > 3)
                flags = PyLong_AsLong(args[3]);
        if (n > 4)
                alone = args[4] == Py_True;
        if (flags < 0 || flags > PyCF_MASK) {
                PyErr_Clear();
                return NULL;
        }
        code = code_of(owner, args[0], 0, mode, (int)flags | (alone ? 0 : inherited_flags()));
        return code ? code_named(code, owner, args[1]) : NULL;
}

static PyObject *exec_call(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords);
static PyObject *eval_call(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords);
static PyObject *eval_call_plain(PyObject *self, PyObject *const *args, Py_ssize_t n);
static PyObject *compile_call(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords);

enum {
        EXEC,
        EVAL,
        COMPILE,
        _FUNCTIONS_N
};

static struct Function {
        const char *name;
        WithKeywords call;
        Plain call_plain;        /* where it takes no keywords */
        PyCFunctionObject *self; /* owned; NULL: not replaced */
        PyMethodDef *stock, ours;
} functions[_FUNCTIONS_N] = {
        [EXEC] = { .name = "exec", .call = exec_call },
        [EVAL] = { .name = "eval", .call = eval_call, .call_plain = eval_call_plain },
        [COMPILE] = { .name = "compile", .call = compile_call },
};

static PyObject *stock_call(const struct Function *function, PyObject *self, PyObject *const *args,
                            Py_ssize_t n, PyObject *keywords) {
        if (function->stock->ml_flags & METH_KEYWORDS)
                return ((WithKeywords)(void (*)(void))function->stock->ml_meth)(self, args, n, keywords);
        return ((Plain)(void (*)(void))function->stock->ml_meth)(self, args, n);
}

/* What code that eval() compiles has for a file name: the interpreter's own object. Return: new, or NULL with an exception. */
static PyObject *anonymous_new(void) {
        PyObject *text = PyUnicode_FromString("lambda: 0"), *globals = PyDict_New(), *function = NULL,
                 *name = NULL;
        PyObject *arguments[] = { text, globals };

        if (text && globals && functions[EVAL].self)
                function = stock_call(&functions[EVAL], functions[EVAL].self->m_self, arguments, 2, NULL);
        if (function && PyFunction_Check(function))
                name = Py_NewRef(((PyCodeObject *)PyFunction_GET_CODE(function))->co_filename);
        Py_XDECREF(text);
        Py_XDECREF(globals);
        Py_XDECREF(function);
        return name;
}

/* Return: new; NULL, without an exception, if exec() or eval() must look themselves. */
static PyObject *code_to_run(PyObject *const *args, Py_ssize_t n, uint32_t mode) {
        Py_ssize_t from = 0;
        PyObject *code;

        if (n < 1 || n > 3 || !may_serve(args[0]))
                return NULL;
        if (mode ==
            IMAGE_PATTERN_EVAL) /* which passes over blanks, see builtin_eval_impl() in Python/bltinmodule.c */
                while (from < PyUnicode_GET_LENGTH(args[0]) && (PyUnicode_READ_CHAR(args[0], from) == ' ' ||
                                                                PyUnicode_READ_CHAR(args[0], from) == '\t'))
                        from++;
        code = code_of(owner, args[0], from, mode, inherited_flags());
        if (code && !owner->snippets.anonymous)
                owner->snippets.anonymous = anonymous_new();
        if (code && !owner->snippets.anonymous) {
                PyErr_Clear();
                Py_CLEAR(code);
        }
        return code ? code_named(code, owner, owner->snippets.anonymous) : NULL;
}

/* exec() or eval() of the code in the text's place, which is consumed. */
__attribute__((noinline)) static PyObject *run(const struct Function *function, PyObject *consume_code,
                                               PyObject *self, PyObject *const *args, Py_ssize_t n) {
        PyObject *changed[3] = { consume_code }, *result;

        for (Py_ssize_t i = 1; i < n; i++)
                changed[i] = args[i];
        facts_interrupted(false);
        result = stock_call(function, self, changed, n, NULL);
        if (!result && PyErr_Occurred() == PyExc_KeyboardInterrupt)
                facts_interrupted(true);
        Py_DECREF(consume_code);
        return result;
}

/* Where there is nothing to serve these leave no frame of theirs on the stack: stock is called last. */

static PyObject *exec_call(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
        PyObject *code = keywords ? NULL : code_to_run(args, n, 0);

        return code ? run(&functions[EXEC], code, self, args, n)
                    : stock_call(&functions[EXEC], self, args, n, keywords);
}

static PyObject *eval_call(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
        PyObject *code = keywords ? NULL : code_to_run(args, n, IMAGE_PATTERN_EVAL);

        return code ? run(&functions[EVAL], code, self, args, n)
                    : stock_call(&functions[EVAL], self, args, n, keywords);
}

static PyObject *eval_call_plain(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        return eval_call(self, args, n, NULL);
}

static PyObject *compile_call(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
        PyObject *code = keywords ? NULL : code_to_give(args, n);

        return code ? code : stock_call(&functions[COMPILE], self, args, n, keywords);
}

/* ---- into service ---- */

static void function_replace(struct Function *function, PyObject *builtins) {
        PyObject *found = lookup(PyModule_GetDict(builtins), function->name);
        PyCFunctionObject *self = (PyCFunctionObject *)found;

        /* Of the vectorcall protocol, which is chosen by the flags once and for all. */
        if (!found || !PyCFunction_CheckExact(found) || self->m_self != builtins ||
            !(self->m_ml->ml_flags & METH_FASTCALL) ||
            (self->m_ml->ml_flags & ~(METH_FASTCALL | METH_KEYWORDS)) ||
            (!(self->m_ml->ml_flags & METH_KEYWORDS) && !function->call_plain))
                return;
        function->self = (PyCFunctionObject *)Py_NewRef(found);
        function->stock = self->m_ml;
        function->ours = *self->m_ml;
        function->ours.ml_meth = self->m_ml->ml_flags & METH_KEYWORDS
                                         ? (PyCFunction)(void (*)(void))function->call
                                         : (PyCFunction)(void (*)(void))function->call_plain;
        self->m_ml = &function->ours;
}

void snippets_install(ModuleState *state) {
        PyObject *builtins;

        if (owner || PyInterpreterState_Get() != PyInterpreterState_Main())
                return;
        builtins = lookup_module("builtins");
        if (!builtins || !PyModule_Check(builtins))
                return;
        owner = state;
        for (size_t i = 0; i < ELEMENTSOF(functions); i++)
                function_replace(&functions[i], builtins);
}

void snippets_forget(ModuleState *state) {
        if (owner != state)
                return;
        owner = NULL;
        Py_CLEAR(state->snippets.anonymous);
        for (size_t i = 0; i < ELEMENTSOF(functions); i++) {
                struct Function *function = &functions[i];

                if (function->self && function->self->m_ml == &function->ours)
                        function->self->m_ml = function->stock;
                Py_CLEAR(function->self);
        }
}
