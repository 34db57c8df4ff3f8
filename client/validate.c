/* SPDX-License-Identifier: MIT */

#include "validate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who may not read it any more shall learn so from stock: of a permission only the kernel knows whether it is there. */
static bool path_look(PyObject *path, struct stat *ret_stat) {
        PyObject *bytes = PyUnicode_EncodeFSDefault(path);
        int r;

        if (!bytes) {
                PyErr_Clear();
                return false;
        }
        Py_BEGIN_ALLOW_THREADS
        r = stat(PyBytes_AS_STRING(bytes), ret_stat);
        if (r == 0)
                r = faccessat(AT_FDCWD, PyBytes_AS_STRING(bytes), R_OK, AT_EACCESS);
        Py_END_ALLOW_THREADS
        Py_DECREF(bytes);
        return r == 0;
}

static uint64_t mtime_of(const struct stat *st) {
        return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

bool validate_directory(const ImageDirectory *directory, PyObject *path) {
        uint64_t mtime = directory->mtime, ino = directory->ino; /* the image may go without the GIL */
        uint32_t dev = directory->dev;
        struct stat st;

        return path_look(path, &st) && S_ISDIR(st.st_mode) && st.st_ino == ino &&
               image_dev(st.st_dev) == dev && mtime_of(&st) == mtime;
}

bool validate_entry(const ImageEntry *entry, PyObject *path) {
        uint64_t size = entry->file_size, mtime = entry->file_mtime, ino = entry->file_ino;
        uint32_t dev = entry->file_dev;
        struct stat st;

        return path_look(path, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size &&
               st.st_ino == ino && image_dev(st.st_dev) == dev && mtime_of(&st) == mtime;
}
