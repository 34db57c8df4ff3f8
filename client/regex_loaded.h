/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_REGEX_LOADED_H
#define SHIMPORT_REGEX_LOADED_H

/*
 * Where `re` was imported before shimport was there, by a .pth line that comes first, or from 3.15 on by site itself: is it
 * the one that an image stands for? It is if each of its files is what the builder has read, and has not been touched since
 * before this process began: then stock has loaded the same.
 */

#include <Python.h>

#include <stdint.h>

#include "state.h"

/* Return: the image's pattern_compiler, or 0 if it cannot be told. No exception is left. */
uint64_t regex_loaded_compiler(ModuleState *state);

#endif
