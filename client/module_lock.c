/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "module_lock.h"

#include <pythread.h>

#include "sieve.h"
#include "util.h"

/* ---- what locks are made of ---- */

static PyObject *thread_id(void) {
        return PyLong_FromUnsignedLong(PyThread_get_thread_ident());
}

/* A count is a number or a list of so many items. */
static bool is_count(PyObject *count, Py_ssize_t n) {
        if (PyList_CheckExact(count))
                return PyList_GET_SIZE(count) == n;
        return PyLong_CheckExact(count) && PyLong_AsLong(count) == n;
}

/* Return: new, of the kind of another. */
static PyObject *count_new(PyObject *like, Py_ssize_t n) {
        PyObject *list;

        if (!PyList_CheckExact(like))
                return PyLong_FromSsize_t(n);
        list = PyList_New(n);
        for (Py_ssize_t i = 0; list && i < n; i++)
                PyList_SET_ITEM(list, i, Py_NewRef(Py_True));
        return list;
}

/* @held: by this thread. Return: new, or NULL with an exception. */
static PyObject *lock_new(const ModuleLocks *locks, PyObject *name, bool held) {
        PyObject *lock = instance_new(locks->type);

        for (size_t i = 0; lock && i < locks->n; i++) {
                PyObject *attribute = locks->names[i], *value;

                value = attribute == locks->name      ? Py_NewRef(name)
                        : attribute == locks->owner   ? (held ? thread_id() : Py_NewRef(Py_None))
                        : attribute == locks->count   ? count_new(locks->values[i], held)
                        : attribute == locks->waiters ? count_new(locks->values[i], 0)
                                                      : PyObject_CallNoArgs(locks->values[i]);
                if (!value || PyObject_GenericSetAttr(lock, attribute, value) < 0)
                        Py_CLEAR(lock);
                Py_XDECREF(value);
        }
        return lock;
}

/* ---- what is spliced ---- */

/* The callback of a lock's weak reference: self is _module_locks and the name. */
static PyObject *forget_call(PyObject *self, PyObject *reference) {
        PyObject *all = PyTuple_GET_ITEM(self, 0), *name = PyTuple_GET_ITEM(self, 1);
        PyObject *now = PyDict_GetItemWithError(all, name);

        if (now == reference ? PyDict_DelItem(all, name) < 0 : PyErr_Occurred() != NULL)
                return NULL;
        Py_RETURN_NONE;
}

/* Return: new, or NULL with an exception. */
static PyObject *reference_new(const ModuleLocks *locks, PyObject *name, PyObject *lock) {
        static PyMethodDef call = { "forget", forget_call, METH_O, NULL };
        PyObject *self = PyTuple_Pack(2, locks->all, name);
        PyObject *callback = self ? PyCFunction_New(&call, self) : NULL;
        PyObject *reference = callback ? PyWeakref_NewRef(lock, callback) : NULL;

        Py_XDECREF(self);
        Py_XDECREF(callback);
        return reference;
}

/* May somebody else be about to make a lock of that name, or have one? With an exception, if there is one. */
static bool may_be_wanted(const ModuleLocks *locks, PyObject *name) {
        PyObject *held = PyObject_CallNoArgs(locks->lock_held);

        Py_XDECREF(held);
        return held != Py_False || PyDict_Contains(locks->all, name) != 0;
}

/* Put a new lock into _module_locks. Return: 1; 0 if somebody else may have done so for that name; -1 with an exception. */
static int lock_put(const ModuleLocks *locks, PyObject *name, PyObject *lock) {
        PyObject *reference = reference_new(locks, name, lock);
        int r = reference ? 0 : -1;

        /* Making them may have run anything: the collector's finalisers. */
        if (r == 0 && !may_be_wanted(locks, name))
                r = PyDict_SetItem(locks->all, name, reference) < 0 ? -1 : 1;
        Py_XDECREF(reference);
        return r == 0 && PyErr_Occurred() ? -1 : r;
}

/* Return: 1; 0 if nothing was done; -1 with an exception. */
static int enter(const ModuleLocks *locks, PyObject *manager) {
        PyObject *name = PyObject_GenericGetAttr(manager, locks->manager_name);
        PyObject *lock = NULL;
        int r = name ? 0 : -1;

        if (name && PyUnicode_CheckExact(name) && !may_be_wanted(locks, name)) {
                lock = lock_new(locks, name, true);
                r = lock ? PyObject_GenericSetAttr(manager, locks->manager_lock, lock) : -1;
                if (r == 0)
                        r = lock_put(locks, name, lock);
        }
        if (r == 0 && PyErr_Occurred())
                r = -1;
        Py_XDECREF(name);
        Py_XDECREF(lock);
        return r;
}

/* Return: 1 if an attribute is such a count, 0, or -1 with an exception. */
static int has_count(PyObject *lock, PyObject *name, Py_ssize_t n) {
        PyObject *count = PyObject_GenericGetAttr(lock, name);
        int r = count ? is_count(count, n) : -1;

        Py_XDECREF(count);
        return r;
}

/* Is nobody holding it? Return: 1, 0, or -1 with an exception. */
static int is_free(const ModuleLocks *locks, PyObject *lock) {
        PyObject *owner = PyObject_GenericGetAttr(lock, locks->owner);
        int r = owner ? owner == Py_None : -1;

        Py_XDECREF(owner);
        return r > 0 ? has_count(lock, locks->count, 0) : r;
}

/* Is the lock held once, by this thread, and nobody waiting? Return: 1, 0, or -1 with an exception. */
static int is_held_alone(const ModuleLocks *locks, PyObject *lock) {
        PyObject *owner = PyObject_GenericGetAttr(lock, locks->owner);
        PyObject *own = owner ? thread_id() : NULL;
        int r = own ? PyObject_RichCompareBool(owner, own, Py_EQ) : -1;

        Py_XDECREF(owner);
        Py_XDECREF(own);
        if (r > 0)
                r = has_count(lock, locks->count, 1);
        return r > 0 ? has_count(lock, locks->waiters, 0) : r;
}

/* Have it held by this thread, or by nobody. Return: 0, or -1 with an exception. */
static int lock_set(const ModuleLocks *locks, PyObject *lock, bool held) {
        PyObject *like = PyObject_GenericGetAttr(lock, locks->count);
        PyObject *count = like ? count_new(like, held) : NULL;
        PyObject *owner = count && held ? thread_id() : Py_NewRef(Py_None);
        int r = count && owner ? PyObject_GenericSetAttr(lock, locks->owner, owner) : -1;

        if (r == 0)
                r = PyObject_GenericSetAttr(lock, locks->count, count);
        Py_XDECREF(like);
        Py_XDECREF(count);
        Py_XDECREF(owner);
        return r;
}

/* Return: as enter(). */
static int leave(const ModuleLocks *locks, PyObject *manager) {
        PyObject *lock = PyObject_GenericGetAttr(manager, locks->manager_lock);
        int r = lock ? 0 : -1;

        /* The manager's reference and this one. */
        if (lock && Py_IS_TYPE(lock, locks->type) && Py_REFCNT(lock) == 2)
                r = is_held_alone(locks, lock);
        if (r > 0)
                r = lock_set(locks, lock, false) < 0 ? -1 : 1;
        Py_XDECREF(lock);
        return r;
}

/* The lock within, under which _ModuleLock looks at its attributes and changes them. Return: whether it is taken; with an
 * exception, if there is one. */
static bool inner_take(const ModuleLocks *locks, PyObject *lock) {
        PyObject *inner = PyObject_GenericGetAttr(lock, locks->inner);
        PyObject *taken = inner ? PyObject_CallMethodOneArg(inner, locks->acquire, Py_False) : NULL;

        Py_XDECREF(inner);
        Py_XDECREF(taken);
        return taken == Py_True;
}

static int inner_release(const ModuleLocks *locks, PyObject *lock) {
        PyObject *inner = PyObject_GenericGetAttr(lock, locks->inner);
        PyObject *result = inner ? PyObject_CallMethodNoArgs(inner, locks->release) : NULL;

        Py_XDECREF(inner);
        Py_XDECREF(result);
        return result ? 0 : -1;
}

/* acquire() of a lock that nobody has, or release() of one that nobody waits for. Return: as enter(). */
static int lock_change(const ModuleLocks *locks, PyObject *lock, bool held) {
        int r;

        if (!Py_IS_TYPE(lock, locks->type) || !inner_take(locks, lock))
                return PyErr_Occurred() ? -1 : 0;
        r = held ? is_free(locks, lock) : is_held_alone(locks, lock);
        if (r > 0)
                r = lock_set(locks, lock, held) < 0 ? -1 : 1;
        if (r < 0)
                PyErr_Clear(); /* importlib's own code says so, if it is so */
        return inner_release(locks, lock) < 0 ? -1 : r > 0;
}

/* Do importlib's locks do what they did, and does nobody look on? */
static bool locks_are_usual(ModuleLocks *locks) {
        return locks->version != 0 && locks->type->tp_version_tag == locks->version && !facts_is_observed() &&
               guards_hold(locks->guards, ELEMENTSOF(locks->guards));
}

/* What a call knows. Return: NULL: importlib's own code is to run. */
static const ModuleLocks *locks_of(PyObject *sieve) {
        ModuleState *state = ((Sieve *)sieve)->state;

        return state && state->active && locks_are_usual(&state->locks) ? &state->locks : NULL;
}

/* True if all is done, None if importlib's own code is to run: that will say what it lacks, memory or a lock. */
static PyObject *answer_new(int r) {
        if (r < 0) {
                if (!PyErr_ExceptionMatches(PyExc_Exception))
                        return NULL;
                PyErr_Clear();
        }
        return Py_NewRef(r > 0 ? Py_True : Py_None);
}

static PyObject *manager_call(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              int (*call)(const ModuleLocks *locks, PyObject *manager)) {
        const ModuleLocks *locks = locks_of(self);

        return answer_new(locks && n == 1 && Py_IS_TYPE(args[0], locks->manager) ? call(locks, args[0]) : 0);
}

static PyObject *get_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        const ModuleLocks *locks = locks_of(self);
        PyObject *lock = NULL;
        int r = 0;

        if (locks && n == 1 && PyUnicode_CheckExact(args[0]) && !may_be_wanted(locks, args[0])) {
                lock = lock_new(locks, args[0], false);
                r = lock ? lock_put(locks, args[0], lock) : -1;
        }
        if (r > 0)
                return lock;
        Py_XDECREF(lock);
        return answer_new(PyErr_Occurred() ? -1 : 0);
}

static PyObject *acquire_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        const ModuleLocks *locks = locks_of(self);

        return answer_new(locks && n == 1 ? lock_change(locks, args[0], true) : 0);
}

static PyObject *release_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        const ModuleLocks *locks = locks_of(self);

        return answer_new(locks && n == 1 ? lock_change(locks, args[0], false) : 0);
}

static PyObject *enter_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        return manager_call(self, args, n, enter);
}

static PyObject *leave_call(PyObject *self, PyObject *const *args, Py_ssize_t n) {
        return manager_call(self, args, n, leave);
}

/* ---- into service ---- */

/* What an attribute of a fresh lock is. Return: 0; 1 if it is not as expected; -1 with an exception. */
static int attribute_learn(ModuleLocks *locks, PyObject *name, PyObject *value, PyObject *const makers[2]) {
        const struct {
                const char *name;
                PyObject **learnt;
                bool usual;
        } known[] = {
                { "name", &locks->name, PyUnicode_CheckExact(value) },
                { "owner", &locks->owner, value == Py_None },
                { "count", &locks->count, is_count(value, 0) },
                { "waiters", &locks->waiters, is_count(value, 0) },
        };
        size_t i = locks->n;

        if (i == MODULE_LOCK_ATTRIBUTES_MAX || !PyUnicode_CheckExact(name))
                return 1;
        name = Py_NewRef(name);
        PyUnicode_InternInPlace(&name);
        locks->names[i] = name;
        locks->n++;
        for (size_t k = 0; k < ELEMENTSOF(known); k++)
                if (PyUnicode_CompareWithASCIIString(name, known[k].name) == 0) {
                        *known[k].learnt = name;
                        locks->values[i] = Py_NewRef(value);
                        return known[k].usual ? 0 : 1;
                }
        for (size_t m = 0; m < 2; m++) {
                PyObject *made = PyObject_CallNoArgs(makers[m]);
                bool same = made && Py_IS_TYPE(value, Py_TYPE(made));

                Py_XDECREF(made);
                if (!made)
                        return -1;
                if (same) {
                        locks->values[i] = Py_NewRef(makers[m]);
                        if (PyUnicode_CompareWithASCIIString(name, "lock") == 0)
                                locks->inner = name;
                        return 0;
                }
        }
        return 1;
}

/* Learn from a fresh lock. Return: as attribute_learn(). */
static int attributes_learn(ModuleLocks *locks, const Names *names, PyObject *lock) {
        PyObject *const makers[2] = { locks->guards[0].value, locks->guards[1].value };
        PyObject *dict = instance_dict(names, lock), *key, *value;
        Py_ssize_t at = 0;
        int r = dict ? 0 : -1;

        while (r == 0 && PyDict_Next(dict, &at, &key, &value))
                r = attribute_learn(locks, key, value, makers);
        if (r == 0 && (!locks->name || !locks->owner || !locks->count || !locks->waiters || !locks->inner))
                r = 1;
        Py_XDECREF(dict);
        return r;
}

/* The variables that importlib looks up when it makes, acquires and releases locks. Those that make locks come first. */
static int guards_learn(ModuleLocks *locks, PyObject *bootstrap) {
        PyObject *thread = PyImport_ImportModule("_thread");
        int r = !thread || guard_learn(&locks->guards[0], thread, "allocate_lock") < 0 ||
                                guard_learn(&locks->guards[1], thread, "RLock") < 0 ||
                                guard_learn(&locks->guards[2], thread, "get_ident") < 0 ||
                                guard_learn(&locks->guards[3], bootstrap, "_get_module_lock") < 0 ||
                                guard_learn(&locks->guards[4], bootstrap, "_ModuleLock") < 0 ||
                                guard_learn(&locks->guards[5], bootstrap, "_thread") < 0 ||
                                guard_learn(&locks->guards[6], bootstrap, "_imp") < 0 ||
                                guard_learn(&locks->guards[7], bootstrap, "_module_locks") < 0
                        ? -1
                        : 0;

        Py_XDECREF(thread);
        return r;
}

/* Are the attributes of one those of the other, but for the locks within? Return: 1, 0, or -1 with an exception. */
static int are_alike(const ModuleLocks *locks, PyObject *one, PyObject *other) {
        int r = 1;

        for (size_t i = 0; r > 0 && i < locks->n; i++) {
                PyObject *mine = PyObject_GenericGetAttr(one, locks->names[i]);
                PyObject *theirs = mine ? PyObject_GenericGetAttr(other, locks->names[i]) : NULL;

                if (!theirs)
                        r = -1;
                else if (PyCallable_Check(locks->values[i]))
                        r = Py_IS_TYPE(mine, Py_TYPE(theirs));
                else
                        r = PyObject_RichCompareBool(mine, theirs, Py_EQ);
                Py_XDECREF(mine);
                Py_XDECREF(theirs);
        }
        return r;
}

/* Learn how locks are made, and that one which this thread has acquired is as those that are made here. Return: 0; 1 if
 * not; -1 with an exception. */
static int learn(ModuleLocks *locks, const Names *names, PyObject *name) {
        PyObject *lock = PyObject_CallOneArg((PyObject *)locks->type, name), *acquired = NULL, *made = NULL;
        int r = lock ? attributes_learn(locks, names, lock) : -1;

        if (r == 0) {
                acquired = PyObject_CallMethod(lock, "acquire", NULL);
                made = acquired ? lock_new(locks, name, true) : NULL;
                r = made ? are_alike(locks, made, lock) : -1;
                r = r < 0 ? -1 : !r;
        }
        Py_XDECREF(lock);
        Py_XDECREF(acquired);
        Py_XDECREF(made);
        return r;
}

static int splice_manager(ModuleState *state) {
        static PyMethodDef enter_def = { "enter", (PyCFunction)(void (*)(void))enter_call, METH_FASTCALL,
                                         NULL };
        static PyMethodDef leave_def = { "leave", (PyCFunction)(void (*)(void))leave_call, METH_FASTCALL,
                                         NULL };
        PyObject *manager = (PyObject *)state->locks.manager;
        int r = sieve_splice_into(state, manager, "__exit__", splice_deed, 1, &leave_def);

        return r == 0 ? sieve_splice_into(state, manager, "__enter__", splice_deed, 1, &enter_def) : r;
}

static int splice_locks(ModuleState *state) {
        static PyMethodDef get = { "get", (PyCFunction)(void (*)(void))get_call, METH_FASTCALL, NULL };
        static PyMethodDef acquire = { "acquire", (PyCFunction)(void (*)(void))acquire_call, METH_FASTCALL,
                                       NULL };
        static PyMethodDef release = { "release", (PyCFunction)(void (*)(void))release_call, METH_FASTCALL,
                                       NULL };
        PyObject *type = (PyObject *)state->locks.type;
        int r = sieve_splice_into(state, state->bootstrap, "_get_module_lock", splice_answer, 1, &get);

        if (r == 0)
                r = sieve_splice_into(state, type, "acquire", splice_answer, 1, &acquire);
        return r == 0 ? sieve_splice_into(state, type, "release", splice_deed, 1, &release) : r;
}

/* Is it the manager that importlib locks with? From 3.15 on it calls the locks themselves. Return: 1, 0, or -1. */
static int manager_is_used(PyObject *bootstrap, PyObject *name) {
        PyObject *function = PyObject_GetAttrString(bootstrap, "_find_and_load");
        PyObject *code = function ? PyObject_GetAttrString(function, "__code__") : NULL;
        PyObject *names = code ? PyObject_GetAttrString(code, "co_names") : NULL;
        int r = names ? PySequence_Contains(names, name) : -1;

        Py_XDECREF(function);
        Py_XDECREF(code);
        Py_XDECREF(names);
        return r;
}

int module_lock_install(ModuleState *state) {
        ModuleLocks *locks = &state->locks;
        PyObject *imp = PyImport_ImportModule("_imp"), *name;
        int r, used;

        locks->lock_held = imp ? PyObject_GetAttrString(imp, "lock_held") : NULL;
        Py_XDECREF(imp);
        if (!locks->lock_held ||
            !(locks->type = (PyTypeObject *)PyObject_GetAttrString(state->bootstrap, "_ModuleLock")) ||
            !(locks->manager =
                      (PyTypeObject *)PyObject_GetAttrString(state->bootstrap, "_ModuleLockManager")) ||
            !(locks->all = PyObject_GetAttrString(state->bootstrap, "_module_locks")) ||
            !(locks->manager_name = PyUnicode_InternFromString("_name")) ||
            !(locks->manager_lock = PyUnicode_InternFromString("_lock")) ||
            !(locks->acquire = PyUnicode_InternFromString("acquire")) ||
            !(locks->release = PyUnicode_InternFromString("release")))
                return -1;
        if (!PyType_Check(locks->type) || !PyType_Check(locks->manager) || !PyDict_CheckExact(locks->all))
                return 0;
        name = PyUnicode_FromString("_ModuleLockManager");
        used = name ? manager_is_used(state->bootstrap, name) : -1;
        Py_XDECREF(name);
        r = used < 0 ? -1 : guards_learn(locks, state->bootstrap);
        if (r == 0)
                r = learn(locks, &state->names, locks->manager_name);
        if (r == 0)
                r = used ? splice_manager(state) : splice_locks(state);
        if (r == 0)
                locks->version = locks->type->tp_version_tag;
        return r < 0 ? -1 : 0;
}

int module_lock_traverse(const ModuleLocks *locks, visitproc visit, void *arg) {
        Py_VISIT(locks->type);
        Py_VISIT(locks->manager);
        Py_VISIT(locks->all);
        Py_VISIT(locks->lock_held);
        for (size_t i = 0; i < locks->n; i++)
                Py_VISIT(locks->values[i]);
        return 0;
}

void module_lock_forget(ModuleLocks *locks) {
        Py_CLEAR(locks->type);
        Py_CLEAR(locks->manager);
        Py_CLEAR(locks->all);
        Py_CLEAR(locks->lock_held);
        Py_CLEAR(locks->manager_name);
        Py_CLEAR(locks->manager_lock);
        Py_CLEAR(locks->acquire);
        Py_CLEAR(locks->release);
        guards_forget(locks->guards, ELEMENTSOF(locks->guards));
        locks->name = locks->owner = locks->count = locks->waiters = locks->inner = NULL;
        for (size_t i = 0; i < locks->n; i++) {
                Py_CLEAR(locks->names[i]);
                Py_CLEAR(locks->values[i]);
        }
        locks->n = 0;
}
