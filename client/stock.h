/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_STOCK_H
#define SHIMPORT_STOCK_H

/*
 * Stock's import system as it stood at activation: the classes to build on, and the methods which programs replace
 * when they want to change what is found or loaded. Where one of these has been replaced, stock answers.
 */

#include <Python.h>

#include "state.h"

/* Return: 0; 1 if stock is not as expected, and then state->reason says how; -1 with an exception. */
int stock_learn(ModuleState *state);

void stock_forget(ModuleState *state);

bool stock_is_patched(const ModuleState *state);

#endif
