/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include <string.h>

#include "collect.h"
#include "lookup.h"
#include "util.h"

/* Allocations of containers that a hold lends: some four times what importing the whole standard library takes. */
#define LOAN 2000000

/* A program that has more objects than that, alive before an import and not frozen, imports late: it is left alone. */
#define ALIVE_MAX 50000

/* So many objects make any collection due. */
#define COUNTED_MAX 2000

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
}

void collect_suggest(Collect *collect, CollectPolicy policy) {
        if (!collect->chosen)
                collect->policy = policy;
}

#if FACTS_KNOWN

/* Served imports of this thread that run. */
static _Thread_local unsigned running;

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

/* gc.freeze(), of a module of our own: an import is seen by whoever looks on, and leaves the module behind. */
static PyObject *freeze_new(void) {
        PyObject *imp = lookup_module("_imp"), *implementation = lookup_sys("implementation");
        PyObject *none = PyTuple_New(0), *names = Py_BuildValue("{s:s}", "name", "gc"), *spec = NULL,
                 *module = NULL, *done = NULL, *freeze = NULL;

        if (implementation && Py_TYPE(implementation)->tp_flags & Py_TPFLAGS_HEAPTYPE)
                implementation = NULL; /* a program's own: a types.SimpleNamespace is not */
        if (imp && implementation && none && names)
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

/* As if the object had just been made. */
static void rejuvenate(PyObject *object) {
        if (object && PyObject_IS_GC(object) && PyObject_GC_IsTracked(object)) {
                PyObject_GC_UnTrack(object);
                PyObject_GC_Track(object);
        }
}

/* Is it importlib that makes the module? Of one that a program makes or executes again, what was made may be garbage soon. */
static bool is_imported(PyObject *module) {
        PyObject *spec = Py_XNewRef(lookup_variable(module, "__spec__"));
        PyObject *initializing = spec ? PyObject_GetAttrString(spec, "_initializing") : NULL;

        if (!initializing)
                PyErr_Clear();
        Py_XDECREF(spec);
        Py_XDECREF(initializing);
        return initializing == Py_True;
}

/* Return: whether there is a gc.freeze() to call. */
static bool freeze_learn(Collect *collect) {
        if (!collect->freeze && !(collect->freeze = freeze_new()))
                PyErr_Clear();
        return collect->freeze;
}

/* gc.freeze() counts from 0 again, which would keep the next collection away, of what is not frozen. */
static void freeze_all(Collect *collect) {
        struct gc_generation *generations = facts_generations();
        int counts[FACTS_GENERATIONS];
        PyObject *result;

        for (size_t i = 0; i < ELEMENTSOF(counts); i++)
                counts[i] = generations[i].count;
        result = PyObject_CallNoArgs(collect->freeze);
        for (size_t i = 0; i < ELEMENTSOF(counts); i++)
                generations[i].count = counts[i];
        if (!result)
                PyErr_Clear();
        Py_XDECREF(result);
}

/* Freeze what an import has made: the module, which there was before it was executed, and what is of the youngest generation.
 * What is older is out of sight meanwhile. */
static void freeze_made(Collect *collect, PyObject *module) {
        struct gc_generation *older = facts_generations() + 1;
        PyGC_Head aside[FACTS_GENERATIONS - 1];

        rejuvenate(module);
        rejuvenate(lookup_variables(module));
        rejuvenate(lookup_variable(module, "__spec__"));
        for (size_t i = 0; i < ELEMENTSOF(aside); i++) {
                facts_gc_init(&aside[i]);
                facts_gc_move(&older[i].head, &aside[i]);
        }
        freeze_all(collect);
        for (size_t i = 0; i < ELEMENTSOF(aside); i++)
                facts_gc_move(&aside[i], &older[i].head);
}

/* What there is when site runs is the interpreter's, but the variables of the program to come: functions of its lead back to
 * them, and what they hold is to be finalised at exit. */
static void freeze_start(Collect *collect) {
        if (!is_imported(lookup_module("site")) || !freeze_learn(collect) || !facts_gc_may_move())
                return;
        freeze_all(collect);
        rejuvenate(lookup_variables(lookup_module("__main__")));
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

/* Not in subinterpreters: at their end 3.11 leaves what is frozen in lists that are gone. */
static bool freezes(const Collect *collect) {
        return collect->policy == COLLECT_FREEZE && PyInterpreterState_Get() == PyInterpreterState_Main();
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
        if (active && collect->known && freezes(collect))
                freeze_start(collect);
}

/* Have what has been made count for the next collection, up to one's worth, as without a hold. Return: how much. */
static int count_made(void) {
        struct gc_generation *youngest = &facts_generations()[0];
        int n = 0;

        for (PyGC_Head *at = facts_gc_next(&youngest->head); at != &youngest->head && n < COUNTED_MAX;
             at = facts_gc_next(at))
                n++;
        youngest->count += n;
        return n;
}

/* Age what an import has made, as the collections would have done that have not been. */
static void age_made(void) {
        struct gc_generation *generations = facts_generations();

        facts_gc_count_old(count_made());
        facts_gc_move(&generations[0].head, &generations[FACTS_GENERATIONS - 1].head);
}

/* Is so little alive that what the import makes is most of it? */
static bool is_early(void) {
        int threshold = facts_generations()->threshold;

        return facts_gc_alive(threshold < COUNTED_MAX ? threshold : COUNTED_MAX) <= ALIVE_MAX;
}

/* What there is is moved out of the youngest generation, so that what is in it at the end has been made meanwhile. */
void collect_begin(Collect *collect, PyObject *module) {
        bool movable;

        running++;
        if (collect->depth++ > 0 || collect->paused || !collect->known || collect->policy == COLLECT_STOCK)
                return;
        movable = facts_gc_may_move();
        collect->lasting = is_imported(module);
        collect->freezes = movable && collect->lasting && freezes(collect) && is_early();
        if (movable)
                facts_gc_move(&facts_generations()[0].head, &facts_generations()[1].head);
        hold(collect);
}

void collect_end(Collect *collect, PyObject *module) {
        PyObject *type, *value, *traceback;
        bool unbroken;

        running--;
        if (--collect->depth > 0 || collect->paused || !collect->held)
                return;
        unbroken = release(collect);
        if (!facts_gc_may_move())
                return;
        PyErr_Fetch(&type, &value, &traceback);
        if (collect->freezes && freeze_learn(collect))
                freeze_made(collect, module);
        else if (unbroken && collect->lasting)
                age_made();
        else if (unbroken)
                count_made();
        PyErr_Restore(type, value, traceback);
}

/* Its import, if it is in one, may well be the program. */
void collect_forked(Collect *collect) {
        collect->depth = running;
        if (collect->held)
                release(collect);
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

void collect_begin(Collect *collect, PyObject *module) {
        (void)collect;
        (void)module;
}

void collect_end(Collect *collect, PyObject *module) {
        (void)collect;
        (void)module;
}

void collect_forked(Collect *collect) {
        (void)collect;
}

#endif

void collect_forget(Collect *collect) {
        Py_CLEAR(collect->freeze);
}
