/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SPLICE_H
#define SHIMPORT_SPLICE_H

/*
 * A call put into a Python function's own code: once its variable N has been given a value (by the first statement that
 * assigns to it; it may be an argument's default, or an import of a name), it becomes CALLABLE(variable 0, ...,
 * variable N), and the function goes on as it always did. Variables count from the arguments on. The function stays the
 * same object, with the same signature, line numbers, frames and traces: the new instructions are of the line of the statement
 * that follows. Likewise at the start of a function.
 */

#include <Python.h>

/* One of the three below. */
typedef int (*Splice)(PyObject *function, unsigned arguments, PyObject *callable);

/**
 * splice_call() - have a function's variable looked at
 * @function:   a Python function; where the call comes no exception is handled
 * @arguments:  so many of its variables are given to the callable; the last becomes what it returns
 * @callable:   the code object refers to it from then on
 *
 * Return: 0; 1 if nothing was done, because the function or this version's bytecode is not as expected; -1 with an
 * exception.
 */
int splice_call(PyObject *function, unsigned arguments, PyObject *callable);

/**
 * splice_answer() - have a function answered for
 *
 * The callable is asked at the function's start. What it returns is what the function returns, unless it is None: then the
 * function runs.
 *
 * Return: as splice_call().
 */
int splice_answer(PyObject *function, unsigned arguments, PyObject *callable);

/**
 * splice_deed() - have done what a function does
 *
 * Likewise, for a function that returns nothing: the callable returns something other than None if there is no more to do.
 *
 * Return: as splice_call().
 */
int splice_deed(PyObject *function, unsigned arguments, PyObject *callable);

#endif
