/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SHORTCUTS_H
#define SHIMPORT_SHORTCUTS_H

/*
 * The calls spliced into importlib's own functions, see splice.h: they are worth their making in a process that imports more
 * than a few modules.
 */

#include "state.h"

/* After each module that was served. Return: 0, or -1 with an exception. */
int shortcuts_consider(ModuleState *state);

void shortcuts_forget(ModuleState *state);

#endif
