/* SPDX-License-Identifier: MIT */

#include "distribution.h"

#include <string.h>
#include <structmember.h>

#include "lookup.h"
#include "place.h"
#include "points.h"
#include "util.h"
#include "validate.h"

/* Where a distribution comes from: what its hidden slot refers to. */
typedef struct Record {
        PyObject_HEAD
        Root *root;       /* lives as long as the module's state */
        Mapping *mapping; /* owned: what the number counts in */
        uint32_t number;
        PyObject *entry; /* the path entry */
        PyObject *path;  /* the distribution's _path as it was made, NULL before */
        bool touched;    /* somebody may have given it another */
} Record;

static void record_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        mapping_unref(((Record *)self)->mapping);
        Py_XDECREF(((Record *)self)->entry);
        Py_XDECREF(((Record *)self)->path);
        type->tp_free(self);
        Py_DECREF(type);
}

PyTypeObject *distribution_record_type_new(void) {
        static PyType_Slot slots[] = {
                { Py_tp_dealloc, record_dealloc },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport.Record",
                .basicsize = sizeof(Record),
                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                .slots = slots,
        };

        return (PyTypeObject *)PyType_FromSpec(&spec);
}

/* Borrowed; NULL without an exception if it is none of ours. */
static Record *record_of(const Metadata *metadata, PyObject *self) {
        return Py_IS_TYPE(self, metadata->type) ? *(Record **)((char *)self + metadata->slot) : NULL;
}

PyObject *distribution_new(Metadata *metadata, Root *root, Mapping *mapping, uint32_t number,
                           PyObject *entry) {
        PyTypeObject *type = metadata->state->record_type;
        Record *record = (Record *)type->tp_alloc(type, 0);
        PyObject *self;

        if (!record)
                return NULL;
        record->root = root;
        record->mapping = mapping_ref(mapping);
        record->number = number;
        record->entry = Py_NewRef(entry);
        self = instance_new(metadata->type);
        if (self)
                *(Record **)((char *)self + metadata->slot) = record;
        else
                Py_DECREF((PyObject *)record);
        return self;
}

/* ---- its path ---- */

static const ImageDistribution *record_distribution(const Record *record) {
        return image_distribution(&record->mapping->image, record->number);
}

/* The name in the root, borrowed from the image; NULL: the image makes no sense. */
static const char *record_name(const Record *record, size_t *ret_length) {
        const ImageDistribution *distribution = record_distribution(record);

        return distribution ? image_string(&record->mapping->image, distribution->name, ret_length) : NULL;
}

/* As Lookup has FastPath make it. */
static PyObject *record_path_new(const Metadata *metadata, const Record *record) {
        PyObject *fast_path, *path;
        const char *name;
        size_t length;

        name = record_name(record, &length);
        if (!name || !metadata->fast_path) {
                PyErr_SetString(PyExc_AttributeError, "_path");
                return NULL;
        }
        fast_path = PyObject_CallOneArg(metadata->fast_path, record->entry);
        path = fast_path ? PyObject_CallMethod(fast_path, "joinpath", "s#", name, (Py_ssize_t)length) : NULL;
        Py_XDECREF(fast_path);
        return path;
}

/* Has it the path it was found with? */
static bool record_is_as_found(Record *record, PyObject *self) {
        PyObject *dict, *path;

        if (!record->touched)
                return true;
        dict = PyObject_GenericGetDict(self, NULL);
        path = dict ? lookup(dict, "_path") : NULL;
        Py_XDECREF(dict);
        PyErr_Clear();
        return path && path == record->path;
}

/* Put its path where PathDistribution has it, unless it has been. Return: 0, or -1 with an exception. */
static int path_settle(const Metadata *metadata, PyObject *self, PyObject *dict) {
        Record *record = record_of(metadata, self);
        PyObject *path;
        int r;

        if (!record || record->path)
                return 0;
        path = record_path_new(metadata, record);
        if (!path)
                return -1;
        r = PyDict_SetItemString(dict, "_path", path);
        if (r == 0 && !record->path)
                record->path = Py_NewRef(path);
        Py_DECREF(path);
        return r;
}

static PyObject *get_dict(PyObject *metadata, PyObject *self) {
        Record *record = record_of((Metadata *)metadata, self);
        PyObject *dict = PyObject_GenericGetDict(self, NULL);

        if (dict && path_settle((Metadata *)metadata, self, dict) < 0)
                Py_CLEAR(dict);
        if (dict && record)
                record->touched = true;
        return dict;
}

static PyObject *set_dict(PyObject *metadata, PyObject *args) {
        PyObject *self, *value;
        Record *record;

        if (!PyArg_UnpackTuple(args, "__dict__", 2, 2, &self, &value))
                return NULL;
        Py_XDECREF(get_dict(metadata, self));
        PyErr_Clear();
        record = record_of((Metadata *)metadata, self);
        if (record)
                record->touched = true;
        return PyObject_GenericSetDict(self, value, NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *get_path(PyObject *metadata, PyObject *self) {
        PyObject *dict = PyObject_GenericGetDict(self, NULL);
        PyObject *path = NULL;

        if (dict && path_settle((Metadata *)metadata, self, dict) == 0) {
                path = Py_XNewRef(lookup(dict, "_path"));
                if (!path)
                        PyErr_SetString(PyExc_AttributeError,
                                        "'PathDistribution' object has no attribute '_path'");
        }
        Py_XDECREF(dict);
        return path;
}

static PyObject *change_path(PyObject *metadata, PyObject *self, PyObject *value) {
        PyObject *dict = get_dict(metadata, self);
        int r = -1;

        if (dict)
                r = value ? PyDict_SetItemString(dict, "_path", value) : PyDict_DelItemString(dict, "_path");
        if (dict && r < 0 && PyErr_ExceptionMatches(PyExc_KeyError))
                PyErr_SetString(PyExc_AttributeError, "_path");
        Py_XDECREF(dict);
        return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* Its path is the first attribute that it has. */
static PyObject *set_attribute(PyObject *metadata, PyObject *args) {
        PyObject *self, *name, *value;

        if (!PyArg_UnpackTuple(args, "__setattr__", 3, 3, &self, &name, &value))
                return NULL;
        Py_XDECREF(get_path(metadata, self));
        PyErr_Clear();
        return PyObject_GenericSetAttr(self, name, value) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *set_path(PyObject *metadata, PyObject *args) {
        PyObject *self, *value;

        if (!PyArg_UnpackTuple(args, "_path", 2, 2, &self, &value))
                return NULL;
        return change_path(metadata, self, value);
}

static PyObject *delete_path(PyObject *metadata, PyObject *self) {
        return change_path(metadata, self, NULL);
}

/* ---- asking the image ---- */

/* A distribution's files in an image that may be believed. */
typedef struct Files {
        Mapping *mapping; /* owned */
        const ImageDistribution *distribution;
        const ImageEntry *entry; /* the one in the root */
} Files;

static void files_done(Files *files) {
        mapping_unref(files->mapping);
}

/* ENTRY/NAME or ENTRY/NAME/FILE. */
static PyObject *record_join(const Record *record, const char *file) {
        const char *name;
        size_t length;

        name = record_name(record, &length);
        if (!name)
                return NULL;
        return file ? PyUnicode_FromFormat("%U/%s/%s", record->entry, name, file)
                    : PyUnicode_FromFormat("%U/%s", record->entry, name);
}

/* Does what the watch cannot see look as it did? Lets go of the path that was looked at, or NULL, whatever came of it. */
static bool looked_at(PyObject *path, bool valid) {
        PyErr_Clear();
        Py_XDECREF(path);
        return valid;
}

/* The metadata directory itself. */
static bool directory_is_valid(const Record *record, const ImageDirectory *directory) {
        PyObject *path = record_join(record, NULL);

        return looked_at(path, path && validate_directory(directory, path));
}

/* A file in it; or, if @file is NULL, the file that it is. */
static bool file_is_valid(const Record *record, const char *file, const ImageEntry *entry) {
        PyObject *path = record_join(record, file);

        return looked_at(path, path && validate_entry(entry, path));
}

bool distribution_root_is_valid(ModuleState *state, Root *root, Mapping *mapping) {
        const ImageDirectory *directory = image_directory(&mapping->image, 0);
        PyObject *path;
        bool valid;

        if (!directory || staleness_directory(&mapping->staleness, 0))
                return false;
        if (!(directory->flags & IMAGE_DIRECTORY_VALIDATE))
                return true;
        mapping_ref(mapping);
        path = PyUnicode_DecodeFSDefault(root->path);
        valid = looked_at(path, path && validate_directory(directory, path));
        if (!valid && root->mapping == mapping)
                root_outdated(state, mapping);
        valid = valid && root->mapping == mapping;
        mapping_unref(mapping);
        return valid;
}

/* Have the record follow its root to another image. */
static void record_move(Record *record, Mapping *mapping) {
        const char *name, *other;
        size_t length, other_length;
        uint32_t number;

        name = record_name(record, &length);
        for (number = 0; number < mapping->image.header->distribution_count; number++) {
                const ImageDistribution *distribution = image_distribution(&mapping->image, number);

                other = distribution ? image_string(&mapping->image, distribution->name, &other_length)
                                     : NULL;
                if (!name || (other && other_length == length && memcmp(name, other, length) == 0))
                        break;
        }
        if (!name || number == mapping->image.header->distribution_count)
                return; /* it is there no more: the record stays what it is, and stock is asked */
        mapping_ref(mapping);
        mapping_unref(record->mapping);
        record->mapping = mapping;
        record->number = number;
}

/* Return: whether the image may say what the metadata directory holds. */
static bool files_are_fresh(ModuleState *state, Record *record, Files *files) {
        const Image *image = &files->mapping->image;
        const Staleness *staleness = &files->mapping->staleness;
        const ImageDirectory *child;

        files->distribution = record_distribution(record);
        files->entry = files->distribution ? image_entry(image, files->distribution->entry) : NULL;
        if (!files->entry || !(image->header->flags & IMAGE_HAS_DISTRIBUTIONS) ||
            staleness_entry(staleness, files->distribution->entry) ||
            !distribution_root_is_valid(state, record->root, files->mapping))
                return false;
        if (files->entry->kind == IMAGE_KIND_FILE)
                return true;
        child = files->entry->kind == IMAGE_KIND_METADATA ? image_directory(image, files->entry->child)
                                                          : NULL;
        if (!child || staleness_directory(staleness, files->entry->child))
                return false;
        if ((child->flags & IMAGE_DIRECTORY_VALIDATE) && !directory_is_valid(record, child)) {
                root_outdated(state, files->mapping);
                return false;
        }
        return true;
}

/* Ask for what the image has of a distribution. Return: whether it may be believed. */
static bool files_open(Metadata *metadata, Record *record, PyObject *self, Files *ret_files) {
        Files files = { 0 };
        Mapping *mapping;
        bool fresh;

        if (!record || !metadata_is_served(metadata) || !record_is_as_found(record, self))
                return false;
        mapping = root_current(metadata->state, record->root);
        if (mapping && mapping != record->mapping)
                record_move(record, mapping);
        PyErr_Clear();
        if (!mapping || mapping != record->mapping)
                return false;
        files.mapping = mapping_ref(mapping);
        fresh = files_are_fresh(metadata->state, record, &files);
        if (!fresh || record->mapping != mapping || record->root->mapping != mapping) {
                files_done(&files);
                return false;
        }
        *ret_files = files;
        return true;
}

/* Is a file what it was, by bit or by stat? */
static bool file_is_fresh(Metadata *metadata, const Record *record, const Files *files, uint32_t number) {
        const ImageEntry *entry = image_entry(&files->mapping->image, number);
        const char *name;

        if (!entry || staleness_entry(&files->mapping->staleness, number))
                return false;
        if (!(entry->flags & IMAGE_ENTRY_VALIDATE))
                return true;
        name = entry == files->entry ? NULL : image_string(&files->mapping->image, entry->file, NULL);
        if ((name || entry == files->entry) && file_is_valid(record, name, entry))
                return record->root->mapping == files->mapping;
        root_outdated(metadata->state, files->mapping);
        return false;
}

/* ---- what it says of itself ---- */

/* The class to be asked instead: PathDistribution, if it is a distribution at all. */
static PyTypeObject *stock_of(const Metadata *metadata, PyObject *self) {
        return metadata->stock ? metadata->stock : Py_TYPE(self)->tp_base;
}

/* PathDistribution's own attribute, as it is looked up in an instance of it. */
static PyObject *stock_attribute(const Metadata *metadata, PyObject *self, const char *name) {
        PyTypeObject *base = stock_of(metadata, self);
        PyObject *attribute = PyObject_GetAttrString((PyObject *)base, name), *result;

        if (!attribute || !Py_TYPE(attribute)->tp_descr_get)
                return attribute;
        result = Py_TYPE(attribute)->tp_descr_get(attribute, self, (PyObject *)base);
        Py_DECREF(attribute);
        return result;
}

/* Could a file of this name be somewhere else than in the metadata directory? */
static bool name_is_plain(const char *name, size_t length) {
        return strlen(name) == length && !strchr(name, '/') && strcmp(name, ".") != 0 &&
               strcmp(name, "..") != 0;
}

/* Return: what read_text() gives; NULL, without an exception if stock must read. */
static PyObject *files_read(Metadata *metadata, const Record *record, const Files *files, const char *name,
                            size_t length) {
        const Image *image = &files->mapping->image;
        uint32_t number = files->distribution->entry;
        const char *text;
        size_t size;

        if (files->entry->kind == IMAGE_KIND_FILE) {
                if (length > 0) /* nothing is below a file */
                        Py_RETURN_NONE;
        } else if (length == 0) { /* the directory itself */
                Py_RETURN_NONE;
        } else {
                number = image_find(image, files->entry->child, name, length);
                if (number == IMAGE_NONE) {
                        const ImageDirectory *child = image_directory(image, files->entry->child);

                        return child && (child->flags & IMAGE_DIRECTORY_COMPLETE) ? Py_NewRef(Py_None) : NULL;
                }
        }
        text = image_text(image, image_entry(image, number), &size);
        if (!text || !file_is_fresh(metadata, record, files, number))
                return NULL;
        return PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, NULL);
}

static PyObject *read_text(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
        Metadata *metadata = (Metadata *)self;
        PyObject *result = NULL, *method;
        const char *name = NULL;
        Record *record = NULL;
        Py_ssize_t length;
        Files files;

        if (n == 2 && !keywords && PyUnicode_CheckExact(args[1])) {
                name = PyUnicode_AsUTF8AndSize(args[1], &length);
                record = record_of(metadata, args[0]);
        }
        PyErr_Clear();
        if (name && name_is_plain(name, (size_t)length) && files_open(metadata, record, args[0], &files)) {
                result = files_read(metadata, record, &files, name, (size_t)length);
                files_done(&files);
        }
        if (result || PyErr_Occurred())
                return result;
        if (n == 0) {
                PyErr_SetString(PyExc_TypeError,
                                "read_text() missing 1 required positional argument: 'self'");
                return NULL;
        }
        method = PyObject_GetAttrString((PyObject *)stock_of(metadata, args[0]), "read_text");
        if (method)
                result = PyObject_Vectorcall(method, args, (size_t)n, keywords);
        Py_XDECREF(method);
        return result;
}

static PyObject *get_normalized_name(PyObject *self, PyObject *distribution) {
        Metadata *metadata = (Metadata *)self;
        Record *record = record_of(metadata, distribution);
        const char *name = NULL;
        size_t length = 0;

        if (record && metadata_is_served(metadata) && record_is_as_found(record, distribution))
                name = image_string(&record->mapping->image, record_distribution(record)->normalized,
                                    &length);
        if (length > 0)
                return PyUnicode_DecodeUTF8(name, (Py_ssize_t)length, NULL);
        return stock_attribute(metadata, distribution, "_normalized_name");
}

/* Return: the entry points; NULL, without an exception if stock must read them. */
static PyObject *files_points(Metadata *metadata, const Record *record, const Files *files,
                              PyObject *distribution) {
        uint32_t entry = files->distribution->points_entry;

        if (entry != IMAGE_NONE && !file_is_fresh(metadata, record, files, entry))
                return NULL;
        return points_new(metadata, &files->mapping->image, files->distribution, distribution);
}

static PyObject *get_entry_points(PyObject *self, PyObject *distribution) {
        Metadata *metadata = (Metadata *)self;
        Record *record = record_of(metadata, distribution);
        PyObject *points = NULL;
        Files files;

        if (files_open(metadata, record, distribution, &files)) {
                points = files_points(metadata, record, &files, distribution);
                files_done(&files);
        }
        if (points || PyErr_Occurred())
                return points;
        return stock_attribute(metadata, distribution, "entry_points");
}

/* ---- the type ---- */

static PyObject *get_class(PyObject *metadata, PyObject *self) {
        (void)metadata;
        return Py_NewRef((PyObject *)Py_TYPE(self)->tp_base);
}

static PyObject *reduce(PyObject *metadata, PyObject *args) {
        PyObject *self, *protocol;

        (void)metadata;
        if (!PyArg_UnpackTuple(args, "__reduce_ex__", 2, 2, &self, &protocol))
                return NULL;
        return place_reduce_as(self, Py_TYPE(self)->tp_base);
}

typedef struct Property {
        const char *name;
        PyMethodDef get, set, delete;
} Property;

static int add_consumed(PyObject *dict, const char *name, PyObject *consume_value) {
        int r = consume_value ? PyDict_SetItemString(dict, name, consume_value) : -1;

        Py_XDECREF(consume_value);
        return r;
}

/* A function with the metadata as its own self; None for one that there is not. */
static PyObject *function_new(PyMethodDef *method, Metadata *metadata) {
        return method->ml_meth ? PyCFunction_New(method, (PyObject *)metadata) : Py_NewRef(Py_None);
}

static int add_property(PyObject *dict, Property *property, Metadata *metadata) {
        PyObject *get = function_new(&property->get, metadata);
        PyObject *set = function_new(&property->set, metadata);
        PyObject *delete = function_new(&property->delete, metadata);
        PyObject *value = NULL;

        if (get && set && delete)
                value = PyObject_CallFunctionObjArgs((PyObject *)&PyProperty_Type, get, set, delete, NULL);
        Py_XDECREF(get);
        Py_XDECREF(set);
        Py_XDECREF(delete);
        return add_consumed(dict, property->name, value);
}

static int add_method(PyObject *dict, PyMethodDef *method, Metadata *metadata) {
        PyObject *function = function_new(method, metadata);
        int r = add_consumed(dict, method->ml_name, function ? PyInstanceMethod_New(function) : NULL);

        Py_XDECREF(function);
        return r;
}

/* What the class is made of, as a class statement would have collected it. */
static PyObject *namespace_new(Metadata *metadata) {
        static PyMethodDef methods[] = {
                { "read_text", (PyCFunction)(void (*)(void))read_text, METH_FASTCALL | METH_KEYWORDS,
                  "Attempt to load metadata file given by the name." },
                { "__reduce_ex__", reduce, METH_VARARGS, NULL },
                { "__setattr__", set_attribute, METH_VARARGS, NULL },
        };
        static Property properties[] = {
                { .name = "_path",
                  .get = { "_path", get_path, METH_O, NULL },
                  .set = { "_path", set_path, METH_VARARGS, NULL },
                  .delete = { "_path", delete_path, METH_O, NULL } },
                { .name = "__dict__",
                  .get = { "__dict__", get_dict, METH_O, NULL },
                  .set = { "__dict__", set_dict, METH_VARARGS, NULL } },
                { .name = "__class__", .get = { "__class__", get_class, METH_O, NULL } },
                { .name = "entry_points", .get = { "entry_points", get_entry_points, METH_O, NULL } },
                { .name = "_normalized_name",
                  .get = { "_normalized_name", get_normalized_name, METH_O, NULL } },
        };
        PyObject *dict = Py_BuildValue("{s:s,s:s,s:(s)}", "__module__", "importlib.metadata", "__qualname__",
                                       "PathDistribution", "__slots__", "_record");
        int r = dict ? 0 : -1;

        for (size_t i = 0; i < ELEMENTSOF(methods) && r == 0; i++)
                r = add_method(dict, &methods[i], metadata);
        for (size_t i = 0; i < ELEMENTSOF(properties) && r == 0; i++)
                r = add_property(dict, &properties[i], metadata);
        if (r < 0)
                Py_CLEAR(dict);
        return dict;
}

/* Have the slot be nobody's but ours. Return: 0, or -1 with an exception. */
static int slot_hide(Metadata *metadata) {
        PyObject *type = (PyObject *)metadata->type;
        PyObject *member = PyObject_GetAttrString(type, "_record");
        int r = -1;

        if (member && Py_IS_TYPE(member, &PyMemberDescr_Type)) {
                metadata->slot = ((PyMemberDescrObject *)member)->d_member->offset;
                r = PyObject_DelAttrString(type, "_record");
                if (r == 0)
                        r = PyObject_DelAttrString(type, "__slots__");
        } else if (member) {
                PyErr_SetString(PyExc_TypeError, "a slot that is no member");
        }
        Py_XDECREF(member);
        return r;
}

/* By calling the metaclass, as a class statement does: stock's may be ABCMeta. */
int distribution_type_new(Metadata *metadata) {
        PyObject *namespace = namespace_new(metadata), *type = NULL;

        if (namespace)
                type = PyObject_CallFunction((PyObject *)Py_TYPE(metadata->stock), "s(O)O",
                                             "PathDistribution", (PyObject *)metadata->stock, namespace);
        Py_XDECREF(namespace);
        if (type && !PyType_Check(type)) {
                PyErr_SetString(PyExc_TypeError, "a class that is none");
                Py_CLEAR(type);
        }
        if (!type)
                return -1;
        metadata->type = (PyTypeObject *)type;
        return slot_hide(metadata);
}
