/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_AUDIT_H
#define SHIMPORT_AUDIT_H

/*
 * Auditing (PEP 578): audit hooks, and the hook that replaces io.open_code(). Whoever has one wants to see, and maybe
 * to refuse, each file that code is loaded from. So where one is set, stock finds and loads: the events come in its
 * order, with its arguments, from the file that was indeed opened.
 */

#include <Python.h>

#include <stdbool.h>

/* Is any such hook set? A few loads where none is. */
bool audit_is_on(void);

#endif
