/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SHORTCUTS_H
#define SHIMPORT_SHORTCUTS_H

/*
 * The calls spliced into importlib's own functions, see splice.h. Most are worth their making only in a process that imports
 * more than a few modules.
 */

#include "state.h"

/* The one that every process has use for: a path entry that has nothing need not be asked. Return: 0, or -1 with an exception. */
int shortcuts_install(ModuleState *state);

/* The others, after each module that was served. Return: 0, or -1 with an exception that is to end the program, as KeyboardInterrupt. */
int shortcuts_consider(ModuleState *state);

void shortcuts_forget(ModuleState *state);

#endif
