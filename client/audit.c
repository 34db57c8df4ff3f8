/* SPDX-License-Identifier: MIT */

#include "facts.h"

#include "audit.h"

#if FACTS_KNOWN
#include "internal/pycore_runtime.h"
#endif

/* Has PySys_Audit() make an event's arguments, then somebody is to be told; and since they cannot be made, nobody is. */
static PyObject *refuse(void *seen) {
        *(bool *)seen = true;
        PyErr_SetNone(PyExc_RuntimeError);
        return NULL;
}

bool audit_is_on(void) {
        bool seen = false;

#if FACTS_KNOWN
        if (_PyRuntime.open_code_hook)
                return true;
#endif
        if (PySys_Audit("shimport", "O&", refuse, &seen) < 0)
                PyErr_Clear();
        return seen;
}
