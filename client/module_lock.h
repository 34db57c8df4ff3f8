/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_MODULE_LOCK_H
#define SHIMPORT_MODULE_LOCK_H

/*
 * importlib's locks, one for each module that is being imported, made and let go of where nobody else wants them.
 *
 * Whoever imports a module holds its lock meanwhile: importlib/_bootstrap.py makes a _ModuleLock, puts a weak reference to it
 * into _module_locks, acquires it, and releases it in the end, all of that in Python. Calls that are spliced into that, see
 * splice.h, do the same where that is sure to be all there is to do. Up to 3.14 it is done by a _ModuleLockManager:
 *
 *      __enter__()     nobody has a lock for that name, and nobody holds the import lock, under which importlib looks for one.
 *                      A new lock is held by this thread from the start, before others can see it.
 *      __exit__()      the lock is held once, by this thread, and nobody but the manager has a reference to it: so nobody
 *                      waits for it or is about to.
 *
 * From 3.15 on importlib calls the locks themselves:
 *
 *      _get_module_lock()      as above; nobody holds the new lock
 *      acquire()               nobody holds it, nor the lock within, under which a _ModuleLock is looked at
 *      release()               it is held once, by this thread, nobody waits, and nobody holds the lock within
 *
 * All run under the GIL without letting go of it. In every other case importlib's own code runs, with the same locks: these
 * are _ModuleLock's as they come, in the attributes that this version's have, and others wait for them, are woken up, and
 * find deadlocks as ever.
 *
 * Programs that put their own threads in the place of the interpreter's, as gevent does, replace the functions of _thread that
 * importlib calls: then its own code runs.
 */

#include <Python.h>

#include <stdbool.h>
#include <stddef.h>

#include "guard.h"

typedef struct ModuleState ModuleState;

#define MODULE_LOCK_ATTRIBUTES_MAX 8

/* One interpreter's. All zeros: nothing is known. */
typedef struct ModuleLocks {
        PyTypeObject *type, *manager; /* _ModuleLock, _ModuleLockManager */
        PyObject *all;                /* _module_locks: a dict, from names to weak references */
        PyObject *lock_held;          /* _imp.lock_held() */
        unsigned version;             /* of _ModuleLock, as it was learnt */
        Guard guards[8];

        /* A lock's attributes, in its order, and what each is where nobody holds it: of the locks within what makes them. */
        size_t n;
        PyObject *names[MODULE_LOCK_ATTRIBUTES_MAX];
        PyObject *values[MODULE_LOCK_ATTRIBUTES_MAX];
        PyObject *name, *owner, *count, *waiters, *inner; /* borrowed: the names that have a meaning here */
        PyObject *manager_name, *manager_lock;            /* attributes of a manager */
        PyObject *acquire, *release;                      /* methods of the lock within */
} ModuleLocks;

/* Return: 0, or -1 with an exception. Locks that are not as expected are left alone, which is no error. */
int module_lock_install(ModuleState *state);

int module_lock_traverse(const ModuleLocks *locks, visitproc visit, void *arg);
void module_lock_forget(ModuleLocks *locks);

#endif
