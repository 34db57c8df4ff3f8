/* SPDX-License-Identifier: MIT */

/*
 * `_shimport`, the extension that each process loads at start-up: activation, status, and the module itself.
 *
 * activate() is called once for each interpreter, from a .pth line, a .start file or our sitecustomize. Whatever
 * goes wrong in it leaves stock as it was and says so only under SHIMPORT_DEBUG=1; no exception comes out.
 */

#include <Python.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit.h"
#include "finder.h"
#include "loader.h"
#include "lookup.h"
#include "metadata.h"
#include "place.h"
#include "root.h"
#include "shimport.pb-c.h"
#include "shortcuts.h"
#include "sieve.h"
#include "state.h"
#include "stock.h"
#include "tag.h"
#include "util.h"

#define BUDGET_MS_MAX 10000

void state_debug(const ModuleState *state, const char *format, ...) {
        va_list arguments;

        if (!state->debug)
                return;
        va_start(arguments, format);
        fputs("shimport: ", stderr);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        va_end(arguments);
}

/* ---- activation ---- */

static int names_learn(Names *names) {
#define X(name)                                                 \
        if (!(names->name = PyUnicode_InternFromString(#name))) \
                return -1;
        NAMES(X)
#undef X
        return 0;
}

static void names_forget(Names *names) {
#define X(name) Py_CLEAR(names->name);
        NAMES(X)
#undef X
}

static bool flag_is_set(const char *name) {
        PyObject *flags = lookup_sys("flags");
        PyObject *flag = flags ? PyObject_GetAttrString(flags, name) : NULL;
        bool set = flag && PyObject_IsTrue(flag) > 0;

        if (!flag)
                PyErr_Clear();
        Py_XDECREF(flag);
        return set;
}

/* --check-hash-based-pycs other than "default" makes stock look at files that the image stands for. */
static bool hash_pycs_are_default(void) {
        PyObject *imp = PyImport_ImportModule("_imp");
        PyObject *mode = imp ? PyObject_GetAttrString(imp, "check_hash_based_pycs") : NULL;
        bool is_default =
                mode && PyUnicode_Check(mode) && PyUnicode_CompareWithASCIIString(mode, "default") == 0;

        if (!mode)
                PyErr_Clear();
        Py_XDECREF(imp);
        Py_XDECREF(mode);
        return is_default;
}

/* Why this process had better stay with stock, or NULL. */
static const char *reason_to_decline(void) {
        const char *disable = getenv("SHIMPORT_DISABLE");

        if (disable && *disable && strcmp(disable, "0") != 0)
                return "SHIMPORT_DISABLE is set";
#ifdef Py_GIL_DISABLED
        return "free-threaded Python is left to stock";
#endif
        if (flag_is_set("verbose"))
                return "-v wants stock's own messages";
        if (!hash_pycs_are_default())
                return "--check-hash-based-pycs is set";
        return NULL;
}

static unsigned budget_from_environment(void) {
        const char *text = getenv("SHIMPORT_BUDGET_MS");
        char *end;
        unsigned long value;

        if (!text || !*text)
                return ATTACH_BUDGET_MS;
        value = strtoul(text, &end, 10);
        return *end || value > BUDGET_MS_MAX ? ATTACH_BUDGET_MS : (unsigned)value;
}

static void policy_from_environment(Collect *collect) {
        const char *name = getenv("SHIMPORT_GC");
        int policy = name ? collect_policy_from_name(name) : -1;

        if (policy >= 0)
                collect_choose(collect, (CollectPolicy)policy);
}

/* The interpreter to build with: in a venv the one it was made from. */
static PyObject *executable_new(void) {
        PyObject *path = lookup_sys("_base_executable");

        if (!path || !PyUnicode_Check(path) || PyUnicode_GET_LENGTH(path) == 0)
                path = lookup_sys("executable");
        if (!path || !PyUnicode_Check(path))
                return PyBytes_FromString("");
        return PyUnicode_EncodeFSDefault(path);
}

static PyObject *forked_call(PyObject *self, PyObject *args) {
        ModuleState *state = ((Sieve *)self)->state;

        (void)args;
        if (state)
                collect_forked(&state->collect);
        Py_RETURN_NONE;
}

/* To be called in children, see os.register_at_fork(). */
static int forks_install(ModuleState *state) {
        static PyMethodDef call = { "shimport_forked", forked_call, METH_NOARGS, NULL };
        PyObject *posix = lookup_module("posix"),
                 *callable = PyCFunction_New(&call, (PyObject *)state->sieve);
        PyObject *none = PyTuple_New(0), *keywords = Py_BuildValue("{s:O}", "after_in_child", callable);
        PyObject *function = posix ? PyObject_GetAttrString(posix, "register_at_fork") : NULL;
        PyObject *result = function && none && keywords ? PyObject_Call(function, none, keywords) : NULL;

        Py_XDECREF(callable);
        Py_XDECREF(none);
        Py_XDECREF(keywords);
        Py_XDECREF(function);
        Py_XDECREF(result);
        return result || !posix ? 0 : -1;
}

static int activate(ModuleState *state) {
        PyObject *path;
        int r;

        state->tag = tag_new(&state->options);
        state->executable = state->tag ? executable_new() : NULL;
        if (!state->executable)
                return -1;
        r = stock_learn(state);
        if (r != 0)
                return r;
        if (!(state->finder_type = finder_type_new(state)) || !(state->loader_type = loader_type_new(state)))
                return -1;
        path = lookup_sys("path");
        if (!path || !PyList_Check(path)) {
                PyErr_SetString(PyExc_ImportError, "sys.path is no list");
                return -1;
        }
        if (root_attach(state, path, false) < 0)
                return -1;
        if (state->deaf)
                return 1;
        state->active = true;
        state->reason[0] = '\0';
        if (finder_install(state) < 0 || shortcuts_install(state) < 0 || forks_install(state) < 0) {
                state->active = false;
                return -1;
        }
        regex_activated(state);
        snippets_install(state);
        return 0;
}

/* Makes a reason of the exception, which is no more then. */
static void failure_say(ModuleState *state) {
        PyObject *type, *value, *traceback, *text;
        const char *bytes;

        PyErr_Fetch(&type, &value, &traceback);
        text = value ? PyObject_Str(value) : NULL;
        bytes = text ? PyUnicode_AsUTF8(text) : NULL;
        PyOS_snprintf(state->reason, sizeof(state->reason), "activation failed: %s", bytes ? bytes : "?");
        Py_XDECREF(text);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        PyErr_Clear();
}

PyDoc_STRVAR(activate_doc, "activate()\n--\n\n"
                           "Serve imports of this interpreter from images, as far as a daemon has them.\n\n"
                           "Never raises: status()['reason'] says why nothing is served.");

static PyObject *module_activate(PyObject *module, PyObject *args) {
        ModuleState *state = PyModule_GetState(module);
        const char *decline;
        bool failed = false;

        (void)args;
        if (state->tag) /* once is enough */
                Py_RETURN_NONE;
        decline = reason_to_decline();
        if (decline) {
                PyOS_snprintf(state->reason, sizeof(state->reason), "%s", decline);
        } else {
                collect_learn(&state->collect);
                collect_pause(&state->collect);
                failed = activate(state) < 0;
                collect_resume(&state->collect, state->active);
        }
        if (failed)
                failure_say(state);
        if (!state->active)
                state_debug(state, "not active: %s", state->reason);
        Py_RETURN_NONE;
}

/* ---- what it says of itself ---- */

static const char *root_state_name(int state) {
        static const char *const names[] = {
                [SHIMPORT__ROOT_STATE__UNKNOWN] = "unknown",   [SHIMPORT__ROOT_STATE__SERVED] = "served",
                [SHIMPORT__ROOT_STATE__BUILDING] = "building", [SHIMPORT__ROOT_STATE__STALE] = "stale",
                [SHIMPORT__ROOT_STATE__FAILED] = "failed",     [SHIMPORT__ROOT_STATE__REFUSED] = "refused",
                [SHIMPORT__ROOT_STATE__SEEN] = "seen",
        };

        return state >= 0 && (size_t)state < ELEMENTSOF(names) ? names[state] : "unknown";
}

static PyObject *roots_list(const ModuleState *state) {
        PyObject *list = PyList_New(0);

        for (const Root *root = state->roots; list && root; root = root->next) {
                PyObject *path = PyUnicode_DecodeFSDefault(root->path);
                PyObject *item =
                        path ? Py_BuildValue(
                                       "{s:N,s:s,s:s,s:z,s:K,s:I,s:K,s:K}", "path", path, "state",
                                       root_state_name(root->state), "reason", root->reason, "socket",
                                       root->daemon < 0 ? NULL
                                                        : state->endpoints[root->daemon].address.sun_path,
                                       "generation", (unsigned long long)root->generation, "modules",
                                       root->mapping ? root->mapping->image.header->module_count : 0u,
                                       "bytes",
                                       (unsigned long long)(root->mapping ? root->mapping->image.size : 0),
                                       "served", (unsigned long long)root->served)
                             : NULL;

                if (!item || PyList_Insert(list, 0, item) < 0)
                        Py_CLEAR(list);
                Py_XDECREF(item);
        }
        return list;
}

PyDoc_STRVAR(status_doc,
             "status()\n--\n\n"
             "What shimport does in this process, as a dict: active, reason (why not), socket, tag,\n"
             "roots (a list of dicts), and counts of served, fallback, stale, thawed, unmarshalled,\n"
             "patterns, snippets.");

/* Who answers: the user's own daemon before the system's. */
static const char *state_socket(const ModuleState *state) {
        for (int i = 0; i < ENDPOINTS_MAX; i++)
                if (state->answered[i])
                        return state->endpoints[i].address.sun_path;
        return NULL;
}

static PyObject *module_status(PyObject *module, PyObject *args) {
        ModuleState *state = PyModule_GetState(module);
        PyObject *roots = roots_list(state);

        (void)args;
        if (!roots)
                return NULL;
        return Py_BuildValue("{s:O,s:s,s:z,s:O,s:N,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "active",
                             state->active ? Py_True : Py_False, "reason", state->reason, "socket",
                             state_socket(state), "tag", state->tag ? state->tag : Py_None, "roots", roots,
                             "served", (unsigned long long)state->counters.served, "fallback",
                             (unsigned long long)state->counters.fallback, "stale",
                             (unsigned long long)state->counters.stale, "thawed",
                             (unsigned long long)state->counters.thawed, "unmarshalled",
                             (unsigned long long)state->counters.unmarshalled, "patterns",
                             (unsigned long long)state->regex.hits, "snippets",
                             (unsigned long long)state->snippets.hits);
}

PyDoc_STRVAR(gc_policy_doc, "gc_policy(policy=None, /)\n--\n\n"
                            "What becomes of the cyclic garbage collector during served imports: \"stock\", "
                            "\"hold\" or \"freeze\".\n"
                            "Sets it, if one is given. Returns the one that was in force.");

static PyObject *module_gc_policy(PyObject *module, PyObject *args) {
        ModuleState *state = PyModule_GetState(module);
        CollectPolicy before = state->collect.policy;
        const char *name = NULL;
        int policy;

        if (!PyArg_ParseTuple(args, "|z:gc_policy", &name))
                return NULL;
        if (name) {
                policy = collect_policy_from_name(name);
                if (policy < 0)
                        return PyErr_Format(PyExc_ValueError,
                                            "gc_policy() takes \"stock\", \"hold\" or \"freeze\", not \"%s\"",
                                            name);
                collect_choose(&state->collect, (CollectPolicy)policy);
        }
        return PyUnicode_FromString(collect_policy_name(before));
}

PyDoc_STRVAR(tag_doc, "tag()\n--\n\n"
                      "The interpreter tag, and the options that a builder needs to run with the same one.");

static PyObject *module_tag(PyObject *module, PyObject *args) {
        const char *options;
        PyObject *tag = tag_new(&options);

        (void)module;
        (void)args;
        return tag ? Py_BuildValue("Ns", tag, options) : NULL;
}

/* What keeps all images from answering at the moment, or NULL. */
static const char *reason_for_stock(ModuleState *state) {
        if (!state->active)
                return state->reason;
        if (stock_is_patched(state))
                return "the program has put methods of its own in the place of FileFinder's or "
                       "SourceFileLoader's";
        if (stock_pycs_are_moved(state))
                return "sys.pycache_prefix is set, or sys.flags or sys.implementation has been changed";
        if (audit_is_on())
                return "an audit hook is set, and is to see what is opened";
        return NULL;
}

PyDoc_STRVAR(lookup_doc,
             "lookup(directory, name)\n--\n\n"
             "What an image says of a name in a directory: None if no root that was asked for holds the\n"
             "directory, else a dict with the root's path and state, and the entry's kind and reason; and\n"
             "hindrance: why stock answers nevertheless, or None.");

static PyObject *module_lookup(PyObject *module, PyObject *args) {
        static const char *const kinds[] = { "stock",     "source",   "sourceless", "extension",
                                             "namespace", "metadata", "file" };
        ModuleState *state = PyModule_GetState(module);
        const char *path, *name, *kind = "absent", *reason = "";
        Py_ssize_t path_length, name_length;
        uint32_t directory, number = IMAGE_NONE;
        const ImageEntry *entry = NULL;
        const Image *image;
        bool stale = false;
        Root *root;

        if (!PyArg_ParseTuple(args, "s#s#:lookup", &path, &path_length, &name, &name_length))
                return NULL;
        root = root_find(state, path, (size_t)path_length, &directory);
        if (!root)
                Py_RETURN_NONE;
        image = root->mapping ? &root->mapping->image : NULL;
        if (!image || directory == IMAGE_NONE) {
                kind = image ? "no directory" : "no image";
        } else {
                number = image_find(image, directory, name, (size_t)name_length);
                stale = !mapping_is_live(root->mapping) ||
                        staleness_directory(&root->mapping->staleness, directory);
        }
        if (image && number != IMAGE_NONE)
                entry = image_entry(image, number);
        if (image && entry) {
                kind = entry->kind < ELEMENTSOF(kinds) ? kinds[entry->kind] : "unknown";
                reason = image_string(image, entry->reason, NULL);
                stale |= staleness_entry(&root->mapping->staleness, number);
        }
        return Py_BuildValue("{s:s,s:s,s:s,s:K,s:s,s:z,s:O,s:O,s:z}", "root", root->path, "state",
                             root_state_name(root->state), "root_reason", root->reason, "generation",
                             (unsigned long long)root->generation, "kind", kind, "reason", reason, "code",
                             entry && (entry->code_size || entry->frozen_size) ? Py_True : Py_False, "stale",
                             stale ? Py_True : Py_False, "hindrance", reason_for_stock(state));
}

/* ---- the module ---- */

static int module_exec(PyObject *module) {
        ModuleState *state = PyModule_GetState(module);
        const char *debug = getenv("SHIMPORT_DEBUG"), *thaw = getenv("SHIMPORT_THAW");

        state->module = module;
        state->options = "";
        state->pid = getpid();
        state->debug = debug && *debug && strcmp(debug, "0") != 0;
        state->budget_ms = budget_from_environment();
        policy_from_environment(&state->collect);
        switch_choose(&state->regex.on_off, getenv("SHIMPORT_REGEX"));
        switch_choose(&state->snippets.on_off, getenv("SHIMPORT_SNIPPETS"));
        state->unmarshal = thaw && strcmp(thaw, "0") == 0;
        PyOS_snprintf(state->reason, sizeof(state->reason), "not activated");
        if (names_learn(&state->names) < 0)
                return -1;
        state->place_type = place_type_new();
        return state->place_type ? 0 : -1;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
        ModuleState *state = PyModule_GetState(module);

        Py_VISIT(state->spec_type);
        Py_VISIT(state->path_finder);
        Py_VISIT(state->bootstrap);
        Py_VISIT(state->builtin_importer);
        Py_VISIT(state->frozen_importer);
        Py_VISIT(state->zip_importer);
        Py_VISIT(state->file_hook);
        Py_VISIT(state->sys.dict);
        Py_VISIT(state->stock_finder);
        Py_VISIT(state->stock_loader);
        Py_VISIT(state->sourceless_loader);
        Py_VISIT(state->extension_loader);
        Py_VISIT(state->loader_details);
        Py_VISIT(state->loaders);
        Py_VISIT(state->fix_co_filename);
        for (size_t i = 0; i < STOCK_METHODS; i++)
                Py_VISIT(state->stock_methods[i]);
        Py_VISIT(state->collect.freeze);
        for (size_t i = 0; i < STOCK_CLASS_METHODS; i++)
                Py_VISIT(state->class_methods[i]);
        Py_VISIT(state->place_type);
        Py_VISIT(state->finder_type);
        Py_VISIT(state->finder_method);
        Py_VISIT(state->loader_type);
        return module_lock_traverse(&state->locks, visit, arg);
}

static int module_clear(PyObject *module) {
        ModuleState *state = PyModule_GetState(module);

        state->active = false;
        shortcuts_forget(state);
        metadata_forget(state);
        stock_forget(state);
        collect_forget(&state->collect);
        regex_forget(state);
        snippets_forget(state);
        Py_CLEAR(state->place_type);
        Py_CLEAR(state->finder_type);
        Py_CLEAR(state->finder_method);
        Py_CLEAR(state->loader_type);
        return 0;
}

static void module_free(void *module) {
        ModuleState *state = PyModule_GetState(module);

        if (!state->deaf && state->pid == getpid())
                root_report(state);
        wanted_clear(&state->wanted);
        noted_clear(&state->noted);
        module_clear(module);
        root_free_all(state);
        names_forget(&state->names);
        Py_CLEAR(state->tag);
        Py_CLEAR(state->executable);
}

static PyMethodDef module_methods[] = {
        { "activate", module_activate, METH_NOARGS, activate_doc },
        { "status", module_status, METH_NOARGS, status_doc },
        { "gc_policy", module_gc_policy, METH_VARARGS, gc_policy_doc },
        { "tag", module_tag, METH_NOARGS, tag_doc },
        { "lookup", module_lookup, METH_VARARGS, lookup_doc },
        { 0 },
};

static PyModuleDef_Slot module_slots[] = {
        { Py_mod_exec, module_exec },
#if PY_VERSION_HEX >= 0x030C0000
        { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
#ifdef Py_GIL_DISABLED
        { Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
        { 0, NULL },
};

PyModuleDef shimport_module = {
        PyModuleDef_HEAD_INIT,
        .m_name = "_shimport",
        .m_doc = "The process side of shimport: see the package shimport.",
        .m_size = sizeof(ModuleState),
        .m_methods = module_methods,
        .m_slots = module_slots,
        .m_traverse = module_traverse,
        .m_clear = module_clear,
        .m_free = module_free,
};

PyMODINIT_FUNC PyInit__shimport(void) {
        return PyModuleDef_Init(&shimport_module);
}
