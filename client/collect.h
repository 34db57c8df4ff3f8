/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_COLLECT_H
#define SHIMPORT_COLLECT_H

/*
 * The cyclic garbage collector during imports.
 *
 * What imports make lives until the process ends, for the most part, and a quarter of an import-heavy process is
 * the collector walking over it: again and again while it grows, and once more at the end. Policies:
 *
 *      stock       nothing is changed
 *      hold        no collection starts by itself while the outermost served import runs
 *      freeze      that, and what the import made is moved to the permanent generation, as gc.freeze() does with all, so
 *                  that nothing walks over it again, at the end of the process neither. Likewise what there is when
 *                  site activates us, but for the variables of __main__. What the program makes itself, between
 *                  imports, stays where it is: at exit it is finalised as ever, and its files are flushed
 *
 * A hold lends the youngest generation a number of allocations before its threshold counts. So whatever a module
 * sees or sets (gc.isenabled(), thresholds, callbacks, gc.collect()) is as it was; a collection that it asks for
 * itself ends the hold; and a module whose body never ends is collected again when the loan is used up. What the
 * import made is then of the oldest generation, where collections would have moved what is still alive, and what was
 * young before is of the middle one. It counts for the next collections. Of a module that a program executes itself, or
 * again, what it made stays young.
 */

#include <Python.h>

#include <stdbool.h>

typedef enum CollectPolicy {
        COLLECT_STOCK,
        COLLECT_HOLD,
        COLLECT_FREEZE,
        _COLLECT_N
} CollectPolicy;

/* One interpreter's. All zeros: nothing is known, and stock is the policy. */
typedef struct Collect {
        CollectPolicy policy;
        bool chosen;      /* by the environment or the program */
        bool known;       /* where the interpreter counts has been found, and seen to count */
        bool paused;      /* by activation, that runs */
        unsigned depth;   /* of served imports that run */
        bool held;        /* by activation, or the outermost of them */
        bool lasting;     /* and what that makes is a module's that is there to stay */
        bool freezes;     /* and is to be frozen */
        int count;        /* before the hold */
        PyObject *freeze; /* gc.freeze(), NULL until it is needed */
} Collect;

/* Return: the policy of a name, or -1. */
int collect_policy_from_name(const char *name);
const char *collect_policy_name(CollectPolicy policy);

/* Choose for good, or until the program does so again. */
void collect_choose(Collect *collect, CollectPolicy policy);

/* What is in force unless somebody has chosen. */
void collect_suggest(Collect *collect, CollectPolicy policy);

/* Look whether this interpreter can hold. An import that runs goes on under the policy that it began with. */
void collect_learn(Collect *collect);

/* Before and after activation, which is our doing and none of the program's: no collection starts by it, nor earlier for it.
 * @active: it came to something, so that what there is by then is frozen as well, if it is site that runs. */
void collect_pause(Collect *collect);
void collect_resume(Collect *collect, bool active);

/* Before the execution of each served @module, without an exception, and after it, with whatever is set. */
void collect_begin(Collect *collect, PyObject *module);
void collect_end(Collect *collect, PyObject *module);

/* In a child that was forked: it has none of the imports of other threads, and nothing is held in it. */
void collect_forked(Collect *collect);

void collect_forget(Collect *collect);

#endif
