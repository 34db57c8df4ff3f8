/* SPDX-License-Identifier: MIT */

#include <Python.h>

#include "mapping.h"

#include <sys/mman.h>

#include "code.h"

Mapping *mapping_new_consume(Image image, Staleness staleness) {
        Mapping *mapping = PyMem_Calloc(1, sizeof(*mapping));

        if (!mapping) {
                munmap((void *)image.base, image.size);
                staleness_done(&staleness);
                PyErr_NoMemory();
                return NULL;
        }
        *mapping = (Mapping){ .references = 1, .image = image, .staleness = staleness };
        return mapping;
}

Mapping *mapping_unref(Mapping *mapping) {
        if (mapping && --mapping->references == 0) {
                root_code_free(mapping->code);
                munmap((void *)mapping->image.base, mapping->image.size);
                staleness_done(&mapping->staleness);
                PyMem_Free(mapping);
        }
        return NULL;
}
