/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "shortcuts.h"

#include "audit.h"
#include "create.h"
#include "meta_path.h"
#include "module_lock.h"
#include "path_finder.h"
#include "sieve.h"

/* To make them takes what they save in some ten imports: not for what site imports at every start. */
#define WORTH_FROM 4

int shortcuts_install(ModuleState *state) {
        return sieve_install(state) < 0 ? -1 : path_finder_install(state);
}

int shortcuts_consider(ModuleState *state) {
        /* An audit hook sees that functions are given other code, and a tool may have asked for what happens in the old. */
        if (state->shortcuts_considered || state->counters.served < WORTH_FROM || audit_is_on() ||
            facts_is_observed())
                return 0;
        state->shortcuts_considered = true;
        if (meta_path_install(state) == 0 && create_install(state) == 0 && module_lock_install(state) == 0)
                return 0;
        /* It works without those that are missing; what interrupts the program is none of ours. */
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception))
                return -1;
        PyErr_Clear();
        return 0;
}

void shortcuts_forget(ModuleState *state) {
        sieve_forget(state);
        create_forget(state);
        meta_path_forget(state);
        module_lock_forget(&state->locks);
        Py_CLEAR(state->search_type);
}
