/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include <string.h>

#include "collect.h"
#include "lookup.h"
#include "util.h"

/* Allocations of containers that a hold lends: some four times what importing the whole standard library takes. */
#define LOAN 2000000

/* More objects than that, alive before an import and not frozen, are the program's own: they are not frozen. */
#define ALIVE_MAX 50000u

static const char *const names[] = {
        [COLLECT_STOCK] = "stock",
        [COLLECT_HOLD] = "hold",
        [COLLECT_FREEZE] = "freeze",
};

int collect_policy_from_name(const char *name) {
        for (int i = 0; i < _COLLECT_N; i++)
                if (strcmp(name, names[i]) == 0)
                        return i;
        return -1;
}

const char *collect_policy_name(CollectPolicy policy) {
        return names[policy];
}

void collect_choose(Collect *collect, CollectPolicy policy) {
        collect->policy = policy;
        collect->chosen = true;
        collect->late = false;
}

void collect_suggest(Collect *collect, CollectPolicy policy) {
        if (!collect->chosen)
                collect->policy = policy;
}

#if FACTS_KNOWN

/* A set is made without a free list, so it is counted. */
void collect_learn(Collect *collect) {
        int *count = &facts_generations()->count, before = *count;
        PyObject *set;

        *count = 0; /* no collection is due then */
        set = PySet_New(NULL);
        collect->known = set && *count == 1;
        if (!set)
                PyErr_Clear();
        Py_XDECREF(set);
        *count = before;
}

/* Whether so few objects are alive that freezing them with those of an import does no harm. */
static bool few_are_alive(void) {
        const struct gc_generation *generations = facts_generations();
        unsigned n = 0;

        for (unsigned i = 0; i < FACTS_GENERATIONS; i++) {
                const PyGC_Head *head = &generations[i].head;

                for (const PyGC_Head *at = facts_gc_next(head); at != head; at = facts_gc_next(at))
                        if (++n > ALIVE_MAX)
                                return false;
        }
        return true;
}

/* gc.freeze(), of a module of our own: an import is seen by whoever looks on, and leaves the module behind. */
static PyObject *freeze_new(void) {
        PyObject *imp = lookup_module("_imp"), *implementation = lookup_sys("implementation");
        PyObject *none = PyTuple_New(0), *names = Py_BuildValue("{s:s}", "name", "gc"), *spec = NULL,
                 *module = NULL, *done = NULL, *freeze = NULL;

        if (imp && implementation && none && names) /* a types.SimpleNamespace */
                spec = PyObject_Call((PyObject *)Py_TYPE(implementation), none, names);
        module = spec ? PyObject_CallMethod(imp, "create_builtin", "O", spec) : NULL;
        done = module ? PyObject_CallMethod(imp, "exec_builtin", "O", module) : NULL;
        freeze = done ? PyObject_GetAttrString(module, "freeze") : NULL;
        Py_XDECREF(none);
        Py_XDECREF(names);
        Py_XDECREF(spec);
        Py_XDECREF(module);
        Py_XDECREF(done);
        return freeze;
}

/* The program's own variables: functions of its lead back to them, and what they hold is to be finalised at exit. */
static void unfreeze_main(void) {
        PyObject *module = lookup_module("__main__");
        PyObject *dict = module && PyModule_Check(module) ? PyModule_GetDict(module) : NULL;

        if (dict && PyObject_GC_IsTracked(dict) && !PyInterpreterState_Get()->gc.collecting) {
                PyObject_GC_UnTrack(dict);
                PyObject_GC_Track(dict);
        }
}

static void collect_freeze(Collect *collect) {
        PyObject *type, *value, *traceback, *result = NULL;

        PyErr_Fetch(&type, &value, &traceback);
        if (!collect->freeze)
                collect->freeze = freeze_new();
        if (collect->freeze)
                result = PyObject_CallNoArgs(collect->freeze);
        if (result)
                unfreeze_main();
        else
                PyErr_Clear();
        Py_XDECREF(result);
        PyErr_Restore(type, value, traceback);
}

static void hold(Collect *collect) {
        struct gc_generation *youngest = facts_generations();

        collect->held = true;
        collect->count = youngest->count;
        youngest->count = -LOAN;
}

/* Return: whether it has not ended by itself. */
static bool release(Collect *collect) {
        struct gc_generation *youngest = facts_generations();

        collect->held = false;
        if (youngest->count >= 0)
                return false;
        youngest->count = collect->count;
        return true;
}

/* Is the program to have frozen what is alive? If it once was not, it is late. Not in subinterpreters: at their end 3.11 leaves
 * what is frozen in lists that are gone. */
static bool freezes_now(Collect *collect) {
        if (collect->policy != COLLECT_FREEZE || collect->late)
                return false;
        collect->late = PyInterpreterState_Get() != PyInterpreterState_Main() || !few_are_alive();
        return !collect->late;
}

void collect_pause(Collect *collect) {
        collect->paused = true;
        if (collect->known)
                hold(collect);
}

void collect_resume(Collect *collect, bool active) {
        collect->paused = false;
        if (collect->held)
                release(collect);
        if (active && collect->known && freezes_now(collect))
                collect_freeze(collect);
}

void collect_begin(Collect *collect) {
        if (collect->depth++ > 0 || collect->paused || !collect->known || collect->policy == COLLECT_STOCK)
                return;
        collect->freezes = freezes_now(collect);
        hold(collect);
}

void collect_end(Collect *collect) {
        if (--collect->depth > 0 || collect->paused || !collect->held)
                return;
        if (release(collect))
                facts_gc_age();
        if (collect->freezes)
                collect_freeze(collect);
}

#else

void collect_learn(Collect *collect) {
        (void)collect;
}

void collect_pause(Collect *collect) {
        (void)collect;
}

void collect_resume(Collect *collect, bool active) {
        (void)collect;
        (void)active;
}

void collect_begin(Collect *collect) {
        (void)collect;
}

void collect_end(Collect *collect) {
        (void)collect;
}

#endif

void collect_forget(Collect *collect) {
        Py_CLEAR(collect->freeze);
}
