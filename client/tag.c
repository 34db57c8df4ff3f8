/* SPDX-License-Identifier: MIT */

#include <Python.h>

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lookup.h"
#include "tag.h"

#ifdef Py_GIL_DISABLED
#define TAG_GIL 0
#else
#define TAG_GIL 1
#endif

#ifdef Py_DEBUG
#define TAG_DEBUG 1
#else
#define TAG_DEBUG 0
#endif

#ifndef SHIMPORT_SOABI
#error "the build names the SOABI"
#endif

#define BUILD_ID_MAX 20 /* SHA-1, what the linkers make by default; a longer one is cut */

typedef struct BuildId {
        uintptr_t inside; /* an address of the binary that holds the runtime */
        char hex[2 * BUILD_ID_MAX + 1];
} BuildId;

static void build_id_print(BuildId *id, const uint8_t *bytes, size_t size) {
        static const char digits[] = "0123456789abcdef";

        if (size > BUILD_ID_MAX)
                size = BUILD_ID_MAX;
        for (size_t i = 0; i < size; i++) {
                id->hex[2 * i] = digits[bytes[i] >> 4];
                id->hex[2 * i + 1] = digits[bytes[i] & 15];
        }
        id->hex[2 * size] = '\0';
}

/* Notes are padded to their segment's alignment, see elf(5). */
static void build_id_from_notes(BuildId *id, const uint8_t *notes, size_t size, size_t align) {
        if (align < 4)
                align = 4;
        while (size >= sizeof(ElfW(Nhdr))) {
                const ElfW(Nhdr) *note = (const void *)notes;
                size_t name = (note->n_namesz + align - 1) / align * align;
                size_t descriptor = (note->n_descsz + align - 1) / align * align;
                size_t whole = sizeof(*note) + name + descriptor;

                if (whole > size)
                        return;
                if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == sizeof("GNU") &&
                    memcmp(notes + sizeof(*note), "GNU", sizeof("GNU")) == 0) {
                        build_id_print(id, notes + sizeof(*note) + name, note->n_descsz);
                        return;
                }
                notes += whole;
                size -= whole;
        }
}

static int build_id_visit(struct dl_phdr_info *info, size_t size, void *userdata) {
        BuildId *id = userdata;
        bool holds = false;

        (void)size;
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

                holds |= segment->p_type == PT_LOAD &&
                         id->inside - (info->dlpi_addr + segment->p_vaddr) < segment->p_memsz;
        }
        if (!holds)
                return 0;
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

                if (segment->p_type == PT_NOTE && !id->hex[0])
                        build_id_from_notes(id, (const uint8_t *)(info->dlpi_addr + segment->p_vaddr),
                                            segment->p_memsz, segment->p_align);
        }
        return 1;
}

/* As Python/initconfig.c decides it: there is no public way to read the answer before PyConfig_GetInt(). */
static int debug_ranges(bool *ret_on) {
#if PY_VERSION_HEX >= 0x030E0000
        int on;

        if (PyConfig_GetInt("code_debug_ranges", &on) < 0)
                return -1;
        *ret_on = on;
#else
        PyObject *flags = lookup_sys("flags"), *options = lookup_sys("_xoptions");
        PyObject *ignore = flags ? PyObject_GetAttrString(flags, "ignore_environment") : NULL;
        PyObject *name = ignore ? PyUnicode_FromString("no_debug_ranges") : NULL;
        int off = name && options && PyDict_Check(options) ? PyDict_Contains(options, name) : -1;
        const char *variable;

        Py_XDECREF(name);
        if (off < 0) {
                Py_XDECREF(ignore);
                if (!PyErr_Occurred())
                        PyErr_NoMemory(); /* for what is looked up, and is there always */
                return -1;
        }
        variable = PyObject_IsTrue(ignore) ? NULL : getenv("PYTHONNODEBUGRANGES");
        Py_DECREF(ignore);
        *ret_on = !(variable && *variable) && !off;
#endif
        return 0;
}

PyObject *tag_new(const char **ret_options) {
        static const char *const options[2][3] = { { "R", "OR", "oR" }, { "", "O", "o" } };
        BuildId id = { .inside = (uintptr_t)&PyType_Type };
        PyObject *flags = lookup_sys("flags");
        PyObject *optimize;
        PyObject *tag;
        bool ranges;
        long level, magic;

        optimize = flags ? PyObject_GetAttrString(flags, "optimize") : PyErr_NoMemory();
        if (!optimize)
                return NULL;
        level = PyLong_AsLong(optimize);
        Py_DECREF(optimize);
        if (level < 0)
                level = 0;
        if (debug_ranges(&ranges) < 0)
                return NULL;
        magic = PyImport_GetMagicNumber();
        if (magic == -1 && PyErr_Occurred())
                return NULL;
        dl_iterate_phdr(build_id_visit, &id);

        /* The build's date and compiler stand in where the linker made no build-id. */
        tag = PyUnicode_FromFormat(
                "cpython %x compiled %x soabi %s magic %x opt %d ranges %d gil %d debug %d "
                "sizes %zd.%zd.%zd.%zd.%zd.%zd build %s%s%s",
                (unsigned)Py_Version, PY_VERSION_HEX, SHIMPORT_SOABI, (unsigned)magic, (int)level,
                (int)ranges, TAG_GIL, TAG_DEBUG, PyCode_Type.tp_basicsize, PyTuple_Type.tp_basicsize,
                PyUnicode_Type.tp_basicsize, PyLong_Type.tp_basicsize, PyBytes_Type.tp_basicsize,
                PyFloat_Type.tp_basicsize, id.hex[0] ? id.hex : Py_GetBuildInfo(), id.hex[0] ? "" : " ",
                id.hex[0] ? "" : Py_GetCompiler());
        if (tag)
                *ret_options = options[ranges][level > 2 ? 2 : level];
        return tag;
}
