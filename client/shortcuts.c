/* SPDX-License-Identifier: MIT */

#include "shortcuts.h"

#include "create.h"
#include "meta_path.h"
#include "module_lock.h"
#include "path_finder.h"
#include "sieve.h"

/* To make them takes what they save in some ten imports: not for what site imports at every start. */
#define WORTH_FROM 4

int shortcuts_consider(ModuleState *state) {
        if (state->sieve || state->counters.served < WORTH_FROM)
                return 0;
        return sieve_install(state) < 0 || path_finder_install(state) < 0 || meta_path_install(state) < 0 ||
                               create_install(state) < 0 || module_lock_install(state) < 0
                       ? -1
                       : 0;
}

void shortcuts_forget(ModuleState *state) {
        sieve_forget(state);
        create_forget(state);
        meta_path_forget(state);
        module_lock_forget(&state->locks);
        Py_CLEAR(state->search_type);
}
