/* SPDX-License-Identifier: MIT */

#include "pyc.h"

#include <fcntl.h>
#include <marshal.h>
#include <string.h>
#include <unistd.h>

#include "lookup.h"
#include "util.h"

/* Magic number, flags, mtime and size of the source: PEP 552. */
typedef struct PycHeader {
        uint32_t magic, flags, mtime, size;
} PycHeader;

_Static_assert(sizeof(PycHeader) == 16, "format");

#define PYC_HASHED 1u
#define PYC_FLAGS 3u

/* A function of importlib's: not by an import, which tells of a lack of memory as of an error of its own. Where there is no
 * such module in sys.modules stock is to answer. */
static PyObject *external(const char *name) {
        PyObject *module = lookup_module("_frozen_importlib_external");

        return module ? PyObject_GetAttrString(module, name) : PyErr_NoMemory();
}

/* int(os.stat_result.st_mtime), rounded as that float is. */
static uint32_t mtime_seconds(uint64_t ns) {
        uint64_t seconds = ns / 1000000000u, rest = ns % 1000000000u;

        return (uint32_t)(int64_t)((double)seconds + 1e-9 * (double)rest);
}

/* Return: 0, or -1 with an exception. */
static int header_make(const ImageEntry *entry, PycHeader *ret_header) {
        long magic = PyImport_GetMagicNumber();

        if (magic == -1 && PyErr_Occurred())
                return -1;
        *ret_header = (PycHeader){
                .magic = (uint32_t)magic,
                .mtime = mtime_seconds(entry->file_mtime),
                .size = (uint32_t)entry->file_size,
        };
        return 0;
}

/* Return: the header's size, or less if there is no file, or not that much of one. */
static ssize_t header_read(const char *path, PycHeader *ret_header) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        return fd < 0 ? 0 : read(fd, ret_header, sizeof(*ret_header));
}

/* The path of the pyc, or None. Return: new, or NULL with an exception. */
static PyObject *pyc_path(PyObject *path) {
        PyObject *function = external("cache_from_source");
        PyObject *pyc = function ? PyObject_CallOneArg(function, path) : NULL;

        if (!pyc && PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
                PyErr_Clear();
                pyc = Py_NewRef(Py_None);
        }
        Py_XDECREF(function);
        return pyc;
}

PycLook pyc_look(ModuleState *state, const Place *place, PyObject *path, PyObject **ret_pyc) {
        const ImageEntry *entry = image_entry(&place->mapping->image, place->number);
        PycHeader wanted, found;
        PycLook look = PYC_MISSING;
        PyObject *pyc, *bytes;
        ssize_t size;

        if (header_make(entry, &wanted) < 0)
                return PYC_ERROR;
        pyc = pyc_path(path);
        if (!pyc)
                return PYC_ERROR;
        if (pyc != Py_None) {
                bytes = PyUnicode_EncodeFSDefault(pyc);
                if (!bytes) {
                        Py_DECREF(pyc);
                        return PYC_ERROR;
                }
                Py_BEGIN_ALLOW_THREADS
                size = header_read(PyBytes_AS_STRING(bytes), &found);
                Py_END_ALLOW_THREADS
                Py_DECREF(bytes);
                if (size == sizeof(found) && found.magic == wanted.magic && !(found.flags & ~PYC_FLAGS)) {
                        if (found.flags & PYC_HASHED)
                                look = PYC_OTHER;
                        else if (found.mtime == wanted.mtime && found.size == wanted.size)
                                look = PYC_VALID;
                }
        }
        if (look == PYC_MISSING && !sys_dict_get(&state->sys, SYS_dont_write_bytecode)) {
                PyErr_Clear();
                look = PYC_OTHER;
        }
        *ret_pyc = pyc;
        return look;
}

/* Was the image's code compiled under this very path, so that its bytes are those that stock would write? */
static bool is_compiled_as(const Image *image, const ImageEntry *entry, PyObject *path) {
        const ImageDirectory *directory = image_directory(image, entry->directory);
        const char *root = image_string(image, image->header->root_path, NULL);
        const char *below = directory ? image_string(image, directory->path, NULL) : NULL;
        const char *file = image_string(image, entry->file, NULL);
        PyObject *built;
        bool same;

        if (!root || !below || !file)
                return false;
        built = PyUnicode_FromFormat("%s/%s%s%s", strcmp(root, "/") == 0 ? "" : root, below,
                                     *below ? "/" : "", file);
        if (!built)
                PyErr_Clear();
        same = built && PyUnicode_Compare(built, path) == 0;
        Py_XDECREF(built);
        return same;
}

/* What the file is to hold. Return: new, or NULL with an exception. */
static PyObject *pyc_content(const Place *place, const ImageEntry *entry, PyObject *code, PyObject *path) {
        PycHeader header;
        const Image *image = &place->mapping->image;
        PyObject *marshalled = NULL, *content;
        const void *bytes = NULL;
        size_t size = 0;

        if (header_make(entry, &header) < 0)
                return NULL;
        if (is_compiled_as(image, entry, path))
                bytes = image_code(image, entry, &size);
        if (!bytes) {
                marshalled = PyMarshal_WriteObjectToString(code, Py_MARSHAL_VERSION);
                if (!marshalled)
                        return NULL;
                bytes = PyBytes_AS_STRING(marshalled);
                size = (size_t)PyBytes_GET_SIZE(marshalled);
        }
        content = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(sizeof(header) + size));
        if (content) {
                memcpy(PyByteArray_AS_STRING(content), &header, sizeof(header));
                memcpy(PyByteArray_AS_STRING(content) + sizeof(header), bytes, size);
        }
        Py_XDECREF(marshalled);
        return content;
}

int pyc_write(ModuleState *state, PyObject *loader, const Place *place, PyObject *code, PyObject *path,
              PyObject *pyc) {
        const ImageEntry *entry = image_entry(&place->mapping->image, place->number);
        PyObject *unwanted = sys_dict_get(&state->sys, SYS_dont_write_bytecode), *content, *result;
        int is_unwanted = unwanted ? PyObject_IsTrue(unwanted) : 1;

        if (is_unwanted || pyc == Py_None || !entry)
                return is_unwanted < 0 ? -1 : 0;
        content = pyc_content(place, entry, code, path);
        result = content ? PyObject_CallMethodObjArgs(loader, state->names._cache_bytecode, path, pyc,
                                                      content, NULL)
                         : NULL;
        Py_XDECREF(content);
        if (!result) {
                if (!PyErr_ExceptionMatches(PyExc_NotImplementedError))
                        return -1;
                PyErr_Clear();
        }
        Py_XDECREF(result);
        return 0;
}
