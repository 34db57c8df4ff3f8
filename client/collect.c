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
static bool counts_sets(const int *count) {
        int before = *count;
        PyObject *set = PySet_New(NULL);
        bool counted = *count == before + 1;

        if (!set)
                PyErr_Clear();
        Py_XDECREF(set);
        return counted;
}

void collect_learn(Collect *collect) {
        const int *count = &facts_generations()->count;

        /* Once more, if there was a collection just then. */
        collect->known = counts_sets(count) || counts_sets(count);
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

/* gc.freeze(), without leaving the module behind where the program has not imported it. */
static PyObject *freeze_new(void) {
        PyObject *modules = lookup_sys("modules"), *name = PyUnicode_FromString("gc");
        int imported = name && modules && PyDict_Check(modules) ? PyDict_Contains(modules, name) : -1;
        PyObject *module = imported < 0 ? NULL : PyImport_Import(name);
        PyObject *freeze = module ? PyObject_GetAttrString(module, "freeze") : NULL;

        if (freeze && !imported && PyDict_DelItem(modules, name) < 0)
                Py_CLEAR(freeze);
        Py_XDECREF(name);
        Py_XDECREF(module);
        return freeze;
}

static void collect_freeze(Collect *collect) {
        PyObject *type, *value, *traceback, *result = NULL;

        PyErr_Fetch(&type, &value, &traceback);
        if (!collect->freeze)
                collect->freeze = freeze_new();
        if (collect->freeze)
                result = PyObject_CallNoArgs(collect->freeze);
        if (!result)
                PyErr_Clear();
        Py_XDECREF(result);
        PyErr_Restore(type, value, traceback);
}

static void hold(Collect *collect) {
        struct gc_generation *youngest = facts_generations();

        collect->held = true;
        collect->count = youngest->count;
        youngest->count -= LOAN;
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

void collect_pause(Collect *collect) {
        if (collect->depth++ == 0 && collect->known)
                hold(collect);
}

void collect_resume(Collect *collect) {
        if (--collect->depth == 0 && collect->held)
                release(collect);
}

/* Is what there will be at the end of what begins now to be frozen? */
static bool may_freeze(Collect *collect) {
        if (collect->policy != COLLECT_FREEZE || collect->late)
                return false;
        collect->late = !few_are_alive();
        return !collect->late;
}

void collect_activated(Collect *collect) {
        if (collect->depth == 0 && collect->known && may_freeze(collect))
                collect_freeze(collect);
}

void collect_begin(Collect *collect) {
        if (collect->depth++ > 0 || !collect->known || collect->policy == COLLECT_STOCK)
                return;
        collect->freezes = may_freeze(collect);
        hold(collect);
}

void collect_end(Collect *collect) {
        if (--collect->depth > 0 || !collect->held)
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

void collect_resume(Collect *collect) {
        (void)collect;
}

void collect_activated(Collect *collect) {
        (void)collect;
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
