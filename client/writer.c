/* SPDX-License-Identifier: MIT */

#include "writer.h"

#include <errno.h>

#include "image_writer.h"
#include "previous.h"
#include "raise.h"
#include "util.h"

typedef struct Writer {
        PyObject_HEAD
        ImageWriter *writer;
} Writer;

static PyObject *writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
        _cleanup_(image_writer_freep) ImageWriter *writer = NULL;
        Writer *self;
        int r;

        if (!PyArg_ParseTuple(args, ":ImageWriter"))
                return NULL;
        (void)kwargs;
        r = image_writer_new(&writer);
        if (r < 0)
                return raise_errno(r);
        self = (Writer *)type->tp_alloc(type, 0);
        if (self)
                self->writer = steal_pointer(&writer);
        return (PyObject *)self;
}

static void writer_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        image_writer_free(((Writer *)self)->writer);
        type->tp_free(self);
        Py_DECREF(type);
}

PyDoc_STRVAR(
        add_directory_doc,
        "add_directory(path, complete, stat=None, validate=True, metadata=False)\n--\n\n"
        "Add a directory, relative to the root; its number. With stat, (mtime in ns, inode, device), and\n"
        "validate, processes compare it; metadata: it holds files, no modules.");

static PyObject *writer_add_directory(PyObject *self, PyObject *args) {
        unsigned long long mtime = 0, ino = 0, dev = 0;
        PyObject *stat = Py_None;
        const char *path;
        int complete, validate = 1, metadata = 0, r;
        uint32_t number;

        if (!PyArg_ParseTuple(args, "sp|Opp:add_directory", &path, &complete, &stat, &validate, &metadata))
                return NULL;
        if (stat != Py_None && !PyArg_ParseTuple(stat, "KKK", &mtime, &ino, &dev))
                return NULL;
        r = image_writer_add_directory(((Writer *)self)->writer, path,
                                       (complete ? IMAGE_DIRECTORY_COMPLETE : 0) |
                                               (stat != Py_None && validate ? IMAGE_DIRECTORY_VALIDATE : 0) |
                                               (metadata ? IMAGE_DIRECTORY_METADATA : 0),
                                       &number);
        if (r < 0)
                return raise_errno(r);
        if (stat != Py_None)
                image_writer_stat_directory(((Writer *)self)->writer, number, mtime, ino, dev);
        return PyLong_FromUnsignedLong(number);
}

PyDoc_STRVAR(
        add_entry_doc,
        "add_entry(directory, name, kind, *, file='', cached='', reason='', package=False,\n"
        "          child=None, code=b'', frozen=b'', stat=None, validate=False, uncached=False,\n"
        "          text=None)\n--\n\n"
        "Add what can be imported by a name; stat is (size, mtime in ns, inode, device), by which processes\n"
        "validate it if told so; uncached: it has no valid pyc; text: of a file, UTF-8.");

static PyObject *writer_add_entry(PyObject *self, PyObject *args, PyObject *kwargs) {
        static char *keywords[] = { "directory", "name",     "kind",     "file", "cached",
                                    "reason",    "package",  "child",    "code", "frozen",
                                    "stat",      "validate", "uncached", "text", NULL };
        ImageWriterEntry entry = { .file = "", .cached = "", .reason = "", .child = IMAGE_NONE };
        Py_buffer code = { 0 }, frozen = { 0 }, text = { 0 };
        unsigned long long size = 0, mtime = 0, ino = 0, dev = 0;
        PyObject *child = Py_None, *stat = Py_None;
        int kind, package = 0, validate = 0, uncached = 0, r = -1;

        if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Isi|$ssspOy*y*Oppz*:add_entry", keywords,
                                         &entry.directory, &entry.name, &kind, &entry.file, &entry.cached,
                                         &entry.reason, &package, &child, &code, &frozen, &stat, &validate,
                                         &uncached, &text))
                return NULL;
        if (stat != Py_None && !PyArg_ParseTuple(stat, "KKKK", &size, &mtime, &ino, &dev))
                goto finish;
        if (child != Py_None) {
                unsigned long number = PyLong_AsUnsignedLong(child);

                if (PyErr_Occurred())
                        goto finish;
                entry.child = (uint32_t)number;
        }
        entry.kind = (ImageKind)kind;
        entry.flags = (package ? IMAGE_ENTRY_PACKAGE : 0) | (validate ? IMAGE_ENTRY_VALIDATE : 0) |
                      (uncached ? IMAGE_ENTRY_UNCACHED : 0) | (text.buf ? IMAGE_ENTRY_TEXT : 0);
        entry.code = text.buf ? text.buf : code.buf;
        entry.code_size = text.buf ? (size_t)text.len : code.buf ? (size_t)code.len : 0;
        entry.frozen = frozen.buf;
        entry.frozen_size = frozen.buf ? (size_t)frozen.len : 0;
        entry.file_size = size;
        entry.file_mtime = mtime;
        entry.file_ino = ino;
        entry.file_dev = dev;
        r = image_writer_add_entry(((Writer *)self)->writer, &entry);
        if (r < 0)
                raise_errno(r);
finish:
        PyBuffer_Release(&code);
        PyBuffer_Release(&frozen);
        PyBuffer_Release(&text);
        return r < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(take_index_doc,
             "take_index(previous)\n--\n\n"
             "Begin with the directories and entries of an image, without their code: how many there "
             "are of both.");

static PyObject *writer_take_index(PyObject *self, PyObject *previous) {
        const Image *image = previous_image(previous);
        int r;

        if (!image)
                return NULL;
        r = image_writer_take_index(((Writer *)self)->writer, image);
        if (r < 0)
                return raise_errno(r);
        return Py_BuildValue("II", image->header->directory_count, image->header->entry_count);
}

PyDoc_STRVAR(set_code_doc, "set_code(number, *, code=b'', frozen=b'', reason='', uncached=False)\n--\n\n"
                           "Give an entry of a taken index its code, or say why it has none.");

static PyObject *writer_set_code(PyObject *self, PyObject *args, PyObject *kwargs) {
        static char *keywords[] = { "number", "code", "frozen", "reason", "uncached", NULL };
        ImageWriterEntry entry = { .reason = "" };
        Py_buffer code = { 0 }, frozen = { 0 };
        int uncached = 0, r;
        unsigned number;

        if (!PyArg_ParseTupleAndKeywords(args, kwargs, "I|$y*y*sp:set_code", keywords, &number, &code,
                                         &frozen, &entry.reason, &uncached))
                return NULL;
        entry.flags = uncached ? IMAGE_ENTRY_UNCACHED : 0;
        entry.code = code.buf;
        entry.code_size = code.buf ? (size_t)code.len : 0;
        entry.frozen = frozen.buf;
        entry.frozen_size = frozen.buf ? (size_t)frozen.len : 0;
        r = image_writer_set_code(((Writer *)self)->writer, number, &entry);
        PyBuffer_Release(&code);
        PyBuffer_Release(&frozen);
        return r < 0 ? raise_errno(r) : Py_NewRef(Py_None);
}

PyDoc_STRVAR(
        add_distribution_doc,
        "add_distribution(name, key, normalized, points)\n--\n\n"
        "Add a distribution that importlib.metadata finds, in its order: the name of its entry in the root,\n"
        "what it is looked up by, its normalized name or '', and its entry points, a list of (name, value,\n"
        "group, module, attr, extras), the last three '' where they are not split; None: not known.");

static PyObject *writer_add_distribution(PyObject *self, PyObject *args) {
        ImageWriter *writer = ((Writer *)self)->writer;
        ImageWriterDistribution distribution;
        PyObject *points;
        int r;

        if (!PyArg_ParseTuple(args, "sssO:add_distribution", &distribution.name, &distribution.key,
                              &distribution.normalized, &points))
                return NULL;
        if (points != Py_None && !PyList_Check(points)) {
                PyErr_SetString(PyExc_TypeError, "points must be a list or None");
                return NULL;
        }
        distribution.has_points = points != Py_None;
        r = image_writer_add_distribution(writer, &distribution);
        for (Py_ssize_t i = 0; r >= 0 && distribution.has_points && i < PyList_GET_SIZE(points); i++) {
                ImageWriterPoint point;

                if (!PyArg_ParseTuple(PyList_GET_ITEM(points, i), "ssssss", &point.name, &point.value,
                                      &point.group, &point.module, &point.attr, &point.extras))
                        return NULL;
                r = image_writer_add_point(writer, &point);
        }
        return r < 0 ? raise_errno(r) : Py_NewRef(Py_None);
}

PyDoc_STRVAR(has_distributions_doc,
             "has_distributions()\n--\n\nTell that those added are all that the root has.");

static PyObject *writer_has_distributions(PyObject *self, PyObject *args) {
        (void)args;
        image_writer_has_distributions(((Writer *)self)->writer);
        Py_RETURN_NONE;
}

PyDoc_STRVAR(set_texts_doc,
             "set_texts(texts, count)\n--\n\nSet the table of strings that the frozen blocks share.");

static PyObject *writer_set_texts(PyObject *self, PyObject *args) {
        const char *texts;
        Py_ssize_t size;
        unsigned count;
        int r;

        if (!PyArg_ParseTuple(args, "y#I:set_texts", &texts, &size, &count))
                return NULL;
        r = image_writer_set_texts(((Writer *)self)->writer, texts, (size_t)size, count);
        return r < 0 ? raise_errno(r) : Py_NewRef(Py_None);
}

PyDoc_STRVAR(
        add_pattern_doc,
        "add_pattern(text, asked, flags, code, groups, names, names_count, file)\n--\n\n"
        "Add a compiled pattern: str or bytes, the flags of re.compile() and of the program, the program\n"
        "and the names of its groups as they lie in an image, and the module they come from.\n"
        "Whether it is a new one.");

static PyObject *writer_add_pattern(PyObject *self, PyObject *args) {
        ImageWriterPattern pattern = { 0 };
        Py_buffer code = { 0 }, names = { 0 };
        PyObject *text;
        int r;

        if (!PyArg_ParseTuple(args, "OIIy*Iy*Is:add_pattern", &text, &pattern.key.flags, &pattern.flags,
                              &code, &pattern.groups, &names, &pattern.names_count, &pattern.file))
                return NULL;
        if (PyUnicode_Check(text)) {
                pattern.key.text = PyUnicode_DATA(text);
                pattern.key.width = (uint32_t)PyUnicode_KIND(text);
                pattern.key.text_size = (size_t)PyUnicode_GET_LENGTH(text) * pattern.key.width;
        } else if (PyBytes_Check(text)) {
                pattern.key.text = PyBytes_AS_STRING(text);
                pattern.key.text_size = (size_t)PyBytes_GET_SIZE(text);
        }
        pattern.code = code.buf;
        pattern.code_count = (uint32_t)((size_t)code.len / sizeof(uint32_t));
        pattern.names = names.buf;
        pattern.names_size = (uint32_t)names.len;
        r = pattern.key.text ? image_writer_add_pattern(((Writer *)self)->writer, &pattern) : -EINVAL;
        PyBuffer_Release(&code);
        PyBuffer_Release(&names);
        if (r < 0 && r != -EEXIST)
                return raise_errno(r);
        return PyBool_FromLong(r == 0);
}

PyDoc_STRVAR(set_compiler_doc,
             "set_compiler(compiler, here)\n--\n\n"
             "Say which `re` the programs are made by, and whether it lies below this root.");

static PyObject *writer_set_compiler(PyObject *self, PyObject *args) {
        unsigned long long compiler;
        int here;

        if (!PyArg_ParseTuple(args, "Kp:set_compiler", &compiler, &here))
                return NULL;
        image_writer_set_compiler(((Writer *)self)->writer, compiler, here);
        Py_RETURN_NONE;
}

PyDoc_STRVAR(seal_doc, "seal(tag, root, generation, dev, ino, seed, fd=-1)\n--\n\n"
                       "Write the image into an empty memfd, or a new one, and seal it; its descriptor.");

static PyObject *writer_seal(PyObject *self, PyObject *args) {
        unsigned long long generation, dev, ino, seed;
        ImageIdentity identity;
        int fd = -1, r;

        if (!PyArg_ParseTuple(args, "syKKKK|i:seal", &identity.tag, &identity.root_path, &generation, &dev,
                              &ino, &seed, &fd))
                return NULL;
        identity.generation = generation;
        identity.root_dev = dev;
        identity.root_ino = ino;
        identity.hash_seed = seed;
        Py_BEGIN_ALLOW_THREADS
        r = fd < 0 ? image_writer_seal(((Writer *)self)->writer, &identity, &fd)
                   : image_writer_write(((Writer *)self)->writer, &identity, fd);
        Py_END_ALLOW_THREADS
        return r < 0 ? raise_errno(r) : PyLong_FromLong(fd);
}

PyObject *writer_type_new(PyObject *module) {
        static PyMethodDef methods[] = {
                { "add_directory", writer_add_directory, METH_VARARGS, add_directory_doc },
                { "add_entry", (PyCFunction)(void (*)(void))writer_add_entry, METH_VARARGS | METH_KEYWORDS,
                  add_entry_doc },
                { "take_index", writer_take_index, METH_O, take_index_doc },
                { "set_code", (PyCFunction)(void (*)(void))writer_set_code, METH_VARARGS | METH_KEYWORDS,
                  set_code_doc },
                { "add_distribution", writer_add_distribution, METH_VARARGS, add_distribution_doc },
                { "has_distributions", writer_has_distributions, METH_NOARGS, has_distributions_doc },
                { "set_texts", writer_set_texts, METH_VARARGS, set_texts_doc },
                { "add_pattern", writer_add_pattern, METH_VARARGS, add_pattern_doc },
                { "set_compiler", writer_set_compiler, METH_VARARGS, set_compiler_doc },
                { "seal", writer_seal, METH_VARARGS, seal_doc },
                { 0 },
        };
        static PyType_Slot slots[] = {
                { Py_tp_doc,
                  (void *)"ImageWriter()\n--\n\nCollects directories and entries, then seals an image." },
                { Py_tp_new, writer_new },
                { Py_tp_dealloc, writer_dealloc },
                { Py_tp_methods, methods },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport_build.ImageWriter",
                .basicsize = sizeof(Writer),
                .flags = Py_TPFLAGS_DEFAULT,
                .slots = slots,
        };

        return PyType_FromModuleAndSpec(module, &spec, NULL);
}
