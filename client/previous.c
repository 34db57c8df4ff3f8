/* SPDX-License-Identifier: MIT */

#include "previous.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image.h"
#include "memfd.h"
#include "staleness.h"
#include "util.h"

typedef struct Previous {
        PyObject_HEAD
        Image image; /* base is NULL until it is mapped */
        Staleness staleness;
} Previous;

/* What must agree with the job at hand. */
typedef struct Expected {
        const char *tag, *root;
        unsigned long long dev, ino;
} Expected;

static bool string_is(const Image *image, ImageString string, const char *expected) {
        size_t length;
        const char *found = image_string(image, string, &length);

        return found && strcmp(found, expected) == 0;
}

/* Return: NULL, or why it is not taken. */
static const char *previous_map(Previous *self, int image_fd, int state_fd, const Expected *expected) {
        const ImageHeader *header;
        const void *base;
        MemfdInfo info;

        if (memfd_check(image_fd, sizeof(ImageHeader), &info) != 0)
                return "it is not sealed";
        if (info.owner != geteuid())
                return "another user made it";
        if (memfd_map(image_fd, info.size, &base) < 0)
                return "it cannot be mapped";
        self->image = (Image){ .base = base, .size = info.size };
        if (image_open(base, info.size, &self->image) != 0)
                return "it is no image";
        header = self->image.header;
        if (header->root_dev != expected->dev || header->root_ino != expected->ino ||
            !string_is(&self->image, header->root_path, expected->root))
                return "it is of another root";
        if (!string_is(&self->image, header->tag, expected->tag))
                return "it is of another interpreter";
        if (staleness_map(state_fd, header->generation, header->directory_count, header->entry_count,
                          &self->staleness) != 0)
                return "its state is not of this image";
        return NULL;
}

static PyObject *previous_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
        Expected expected;
        const char *refusal;
        int image_fd, state_fd;
        Previous *self;

        if (!PyArg_ParseTuple(args, "iisyKK:Previous", &image_fd, &state_fd, &expected.tag, &expected.root,
                              &expected.dev, &expected.ino))
                return NULL;
        (void)kwargs;
        self = (Previous *)type->tp_alloc(type, 0);
        if (!self)
                return NULL;
        refusal = previous_map(self, image_fd, state_fd, &expected);
        if (refusal) {
                PyErr_SetString(PyExc_ValueError, refusal);
                Py_CLEAR(self);
        }
        return (PyObject *)self;
}

static void previous_dealloc(PyObject *object) {
        Previous *self = (Previous *)object;
        PyTypeObject *type = Py_TYPE(self);

        if (self->image.base)
                munmap((void *)self->image.base, self->image.size);
        staleness_done(&self->staleness);
        type->tp_free(self);
        Py_DECREF(type);
}

const Image *previous_image(PyObject *object) {
        if (Py_TYPE(object)->tp_dealloc != previous_dealloc) {
                PyErr_SetString(PyExc_TypeError, "not a Previous");
                return NULL;
        }
        return &((Previous *)object)->image;
}

static PyObject *view(const void *bytes, size_t size) {
        return PyMemoryView_FromMemory((char *)(bytes ? bytes : ""), bytes ? (Py_ssize_t)size : 0,
                                       PyBUF_READ);
}

PyDoc_STRVAR(texts_doc,
             "texts()\n--\n\n"
             "The strings that all frozen blocks share: (view of the bytes, count). The view is valid for\n"
             "as long as this object.");

static PyObject *previous_texts(PyObject *object, PyObject *args) {
        const Image *image = &((Previous *)object)->image;

        (void)args;
        return Py_BuildValue("NI", view(image->base + image->header->texts.offset, image->header->texts.size),
                             (unsigned)image->header->text_count);
}

PyDoc_STRVAR(directory_doc, "directory(path)\n--\n\nThe number of a directory, or None.");

static PyObject *previous_directory(PyObject *object, PyObject *args) {
        const char *path;
        Py_ssize_t length;
        uint32_t number;

        if (!PyArg_ParseTuple(args, "s#:directory", &path, &length))
                return NULL;
        number = image_walk(&((Previous *)object)->image, path, (size_t)length);
        return number == IMAGE_NONE ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(number);
}

PyDoc_STRVAR(
        take_doc,
        "take(directory, name, file, size, mtime, inode)\n--\n\n"
        "What is known of a source that has not changed: (code, frozen, reason, uncached), the first two as\n"
        "views that are valid for as long as this object; or None if it has changed, or there is nothing.");

static PyObject *previous_take(PyObject *object, PyObject *args) {
        const Previous *self = (Previous *)object;
        unsigned long long size, mtime, ino;
        const char *name, *file, *reason;
        const uint8_t *code, *frozen;
        size_t code_size = 0, frozen_size = 0;
        const ImageEntry *entry;
        Py_ssize_t length;
        uint32_t directory, number;

        if (!PyArg_ParseTuple(args, "Is#sKKK:take", &directory, &name, &length, &file, &size, &mtime, &ino))
                return NULL;
        number = image_find(&self->image, directory, name, (size_t)length);
        entry = number == IMAGE_NONE ? NULL : image_entry(&self->image, number);
        if (!entry || entry->kind != IMAGE_KIND_SOURCE || staleness_entry(&self->staleness, number) ||
            entry->file_size != size || entry->file_mtime != mtime || entry->file_ino != ino ||
            !string_is(&self->image, entry->file, file))
                Py_RETURN_NONE;
        code = image_code(&self->image, entry, &code_size);
        frozen = image_frozen(&self->image, entry, &frozen_size);
        reason = image_string(&self->image, entry->reason, NULL);
        if (!code || !reason)
                Py_RETURN_NONE;
        return Py_BuildValue("NNsO", view(code, code_size), view(frozen, frozen_size), reason,
                             entry->flags & IMAGE_ENTRY_UNCACHED ? Py_True : Py_False);
}

PyDoc_STRVAR(number_doc,
             "number(path, name)\n--\n\n"
             "The number of what a name is in the directory at a path, if that is a source; or None.");

static PyObject *previous_number(PyObject *object, PyObject *args) {
        const Image *image = &((Previous *)object)->image;
        const char *path, *name;
        Py_ssize_t path_length, length;
        const ImageEntry *entry;
        uint32_t number;

        if (!PyArg_ParseTuple(args, "s#s#:number", &path, &path_length, &name, &length))
                return NULL;
        number = image_walk(image, path, (size_t)path_length);
        if (number != IMAGE_NONE)
                number = image_find(image, number, name, (size_t)length);
        entry = number == IMAGE_NONE ? NULL : image_entry(image, number);
        return entry && entry->kind == IMAGE_KIND_SOURCE ? PyLong_FromUnsignedLong(number)
                                                         : Py_NewRef(Py_None);
}

PyDoc_STRVAR(coded_doc,
             "coded()\n--\n\nAll that there is code of: a list of (number, name below the root, with dots).");

static PyObject *previous_coded(PyObject *object, PyObject *args) {
        const Image *image = &((Previous *)object)->image;
        PyObject *list = PyList_New(0);

        (void)args;
        for (uint32_t i = 0; list && i < image->header->entry_count; i++) {
                const ImageEntry *entry = image_entry(image, i);
                const ImageDirectory *directory =
                        entry->code_size ? image_directory(image, entry->directory) : NULL;
                const char *path = directory ? image_string(image, directory->path, NULL) : NULL;
                const char *name = path ? image_string(image, entry->name, NULL) : NULL;
                PyObject *joined, *dotted, *item;

                if (!name || entry->kind != IMAGE_KIND_SOURCE)
                        continue;
                joined = PyUnicode_FromFormat("%s%s%s", path, *path ? "/" : "", name);
                dotted = joined ? PyObject_CallMethod(joined, "replace", "ss", "/", ".") : NULL;
                item = dotted ? Py_BuildValue("IO", (unsigned)i, dotted) : NULL;
                if (!item || PyList_Append(list, item) < 0)
                        Py_CLEAR(list);
                Py_XDECREF(item);
                Py_XDECREF(dotted);
                Py_XDECREF(joined);
        }
        return list;
}

PyDoc_STRVAR(entry_doc, "entry(number)\n--\n\n"
                        "(path of the directory, file and cached below it, (size, mtime, inode, device), "
                        "code, frozen, reason,\n"
                        "uncached), code and frozen as views that are valid for as long as this object.");

static PyObject *previous_entry(PyObject *object, PyObject *args) {
        const Image *image = &((Previous *)object)->image;
        const char *path, *file, *cached, *reason;
        const ImageDirectory *directory;
        const uint8_t *code, *frozen;
        size_t code_size = 0, frozen_size = 0;
        const ImageEntry *entry;
        unsigned number;

        if (!PyArg_ParseTuple(args, "I:entry", &number))
                return NULL;
        entry = image_entry(image, number);
        directory = entry ? image_directory(image, entry->directory) : NULL;
        path = directory ? image_string(image, directory->path, NULL) : NULL;
        file = path ? image_string(image, entry->file, NULL) : NULL;
        cached = file ? image_string(image, entry->cached, NULL) : NULL;
        reason = cached ? image_string(image, entry->reason, NULL) : NULL;
        if (!reason) {
                PyErr_SetString(PyExc_ValueError, "the image lies about its records");
                return NULL;
        }
        code = image_code(image, entry, &code_size);
        frozen = image_frozen(image, entry, &frozen_size);
        return Py_BuildValue("sss(KKKI)NNsO", path, file, cached, (unsigned long long)entry->file_size,
                             (unsigned long long)entry->file_mtime, (unsigned long long)entry->file_ino,
                             (unsigned)entry->file_dev, view(code, code_size), view(frozen, frozen_size),
                             reason, entry->flags & IMAGE_ENTRY_UNCACHED ? Py_True : Py_False);
}

/* Return: the text of a pattern, str or bytes, or NULL with an exception. */
static PyObject *pattern_text(const ImagePattern *pattern, const void *bytes) {
        if (pattern->width == 0)
                return PyBytes_FromStringAndSize(bytes, (Py_ssize_t)pattern->text_size);
        if ((pattern->width != 1 && pattern->width != 2 && pattern->width != 4) ||
            pattern->text_size % pattern->width)
                return PyErr_Format(PyExc_ValueError, "characters of %u bytes", pattern->width);
        return PyUnicode_FromKindAndData((int)pattern->width, bytes,
                                         (Py_ssize_t)(pattern->text_size / pattern->width));
}

PyDoc_STRVAR(
        pattern_doc,
        "pattern(number)\n--\n\n"
        "A compiled pattern as ImageWriter.add_pattern() takes it, with views that are valid for as long as\n"
        "this object; or None if there is none of that number.");

static PyObject *previous_pattern(PyObject *object, PyObject *args) {
        const Image *image = &((Previous *)object)->image;
        const ImagePattern *pattern;
        const void *bytes, *code, *names;
        const char *file;
        unsigned number;
        PyObject *text;

        if (!PyArg_ParseTuple(args, "I:pattern", &number))
                return NULL;
        pattern = image_pattern(image, number);
        bytes = pattern ? image_pattern_text(image, pattern) : NULL;
        code = bytes ? image_pattern_code(image, pattern) : NULL;
        names = code ? image_pattern_names(image, pattern) : NULL;
        file = names ? image_string(image, pattern->file, NULL) : NULL;
        if (!file)
                Py_RETURN_NONE;
        text = pattern_text(pattern, bytes);
        if (!text)
                return NULL;
        return Py_BuildValue("NIININIs", text, pattern->flags_asked, pattern->flags,
                             view(code, pattern->code_count * sizeof(uint32_t)), pattern->groups,
                             view(names, pattern->names_size), pattern->names_count, file);
}

PyDoc_STRVAR(compiler_doc, "compiler()\n--\n\nWhich `re` its patterns are made by.");

static PyObject *previous_compiler(PyObject *object, PyObject *args) {
        (void)args;
        return PyLong_FromUnsignedLongLong(((Previous *)object)->image.header->pattern_compiler);
}

PyObject *previous_type_new(PyObject *module) {
        static PyMethodDef methods[] = {
                { "texts", previous_texts, METH_NOARGS, texts_doc },
                { "directory", previous_directory, METH_VARARGS, directory_doc },
                { "pattern", previous_pattern, METH_VARARGS, pattern_doc },
                { "compiler", previous_compiler, METH_NOARGS, compiler_doc },
                { "take", previous_take, METH_VARARGS, take_doc },
                { "number", previous_number, METH_VARARGS, number_doc },
                { "coded", previous_coded, METH_NOARGS, coded_doc },
                { "entry", previous_entry, METH_VARARGS, entry_doc },
                { 0 },
        };
        static PyType_Slot slots[] = {
                { Py_tp_doc,
                  (void *)"Previous(image, state, tag, root, dev, ino)\n--\n\n"
                          "The image that is to be replaced. ValueError: it is not to be trusted." },
                { Py_tp_new, previous_new },
                { Py_tp_dealloc, previous_dealloc },
                { Py_tp_methods, methods },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport_build.Previous",
                .basicsize = sizeof(Previous),
                .flags = Py_TPFLAGS_DEFAULT,
                .slots = slots,
        };

        return PyType_FromModuleAndSpec(module, &spec, NULL);
}
