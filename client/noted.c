/* SPDX-License-Identifier: MIT */

#include "noted.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "root.h"
#include "state.h"

/* Of one report: an import of the whole standard library compiles some 200 regular expressions, of 100 bytes each. Together
 * they fit into a packet. */
#define NOTED_MAX 512
#define NOTED_BYTES_MAX (96u * 1024)
#define OVERHEAD 48 /* bytes of a message beside the text and the files */

/* How far up the stack somebody is looked for who compiles. */
#define FRAMES_MAX 24

static bool ends_with(const char *bytes, size_t length, const char *end) {
        size_t n = strlen(end);

        return length >= n && memcmp(bytes + length - n, end, n) == 0;
}

/* Has the image got a module of that file? What it leaves to stock may be for its owner's eyes only. */
static bool has_module(const Image *image, const char *path) {
        size_t length = strlen(path), above;
        const ImageEntry *entry;
        uint32_t directory;
        bool package;

        if (!ends_with(path, length, ".py"))
                return false;
        length -= strlen(".py");
        package = ends_with(path, length, "/__init__");
        if (package)
                length -= strlen("/__init__");
        for (above = length; above > 0 && path[above - 1] != '/'; above--)
                ;
        directory = above > 0 ? image_walk(image, path, above - 1) : 0;
        entry = directory == IMAGE_NONE
                        ? NULL
                        : image_entry(image, image_find(image, directory, path + above, length - above));
        return entry && entry->kind == IMAGE_KIND_SOURCE &&
               package == ((entry->flags & IMAGE_ENTRY_PACKAGE) != 0);
}

/* A module's file as an image names it, and the image's root. Return: false if there is none. */
static bool module_place(ModuleState *state, PyObject *globals, uint64_t compiler, const Root **ret_root,
                         const char **ret_path) {
        PyObject *file = PyDict_GetItemWithError(globals, state->names.__file__);
        const char *path;
        Py_ssize_t length;
        uint32_t directory;
        Root *root;

        path = file && PyUnicode_CheckExact(file) ? PyUnicode_AsUTF8AndSize(file, &length) : NULL;
        root = path ? root_find(state, path, (size_t)length, &directory) : NULL;
        if (!root || !root->mapping || (size_t)length <= root->path_length + 1 || length > PATH_MAX ||
            (compiler && root->mapping->image.header->pattern_compiler != compiler) ||
            !has_module(&root->mapping->image, path + root->path_length + 1)) {
                PyErr_Clear();
                return false;
        }
        *ret_root = root;
        *ret_path = path + root->path_length + 1;
        return true;
}

static bool is_module_of(PyObject *globals, PyObject *key, const char *package) {
        PyObject *name = PyDict_GetItemWithError(globals, key);
        const char *text = name && PyUnicode_CheckExact(name) ? PyUnicode_AsUTF8(name) : NULL;
        size_t length = strlen(package);

        PyErr_Clear();
        return text && strncmp(text, package, length) == 0 && (text[length] == '\0' || text[length] == '.');
}

/* Return: the note of that root's image, a new one if there is none yet; NULL if it is full. */
static AttachPattern *noted_of(Noted *noted, size_t first, const ImagePatternKey *key, const Root *root) {
        uint64_t generation = root->mapping->image.header->generation;
        AttachPattern *pattern;

        for (size_t i = first; i < noted->n; i++)
                if (noted->patterns[i].daemon == root->daemon && noted->patterns[i].generation == generation)
                        return &noted->patterns[i];
        if (noted->n == NOTED_MAX || noted->bytes + key->text_size + OVERHEAD > NOTED_BYTES_MAX)
                return NULL;
        if (!noted->patterns)
                noted->patterns = malloc(NOTED_MAX * sizeof(*noted->patterns));
        if (!noted->patterns)
                return NULL;
        pattern = &noted->patterns[noted->n];
        *pattern = (AttachPattern){
                .daemon = root->daemon,
                .generation = generation,
                .width = key->width,
                .flags = key->flags,
                .text = malloc(key->text_size + 1),
                .text_size = key->text_size,
        };
        if (!pattern->text)
                return NULL;
        memcpy(pattern->text, key->text, key->text_size);
        noted->n++;
        noted->bytes += key->text_size + OVERHEAD;
        return pattern;
}

static void noted_add_file(Noted *noted, AttachPattern *pattern, const char *path) {
        size_t length = strlen(path);

        for (size_t i = 0; i < pattern->n_files; i++)
                if (strcmp(pattern->files[i], path) == 0)
                        return;
        if (pattern->n_files == ATTACH_PATTERN_FILES_MAX || noted->bytes + length > NOTED_BYTES_MAX)
                return;
        pattern->files[pattern->n_files] = strdup(path);
        if (pattern->files[pattern->n_files]) {
                pattern->n_files++;
                noted->bytes += length;
        }
}

/* A process reports a text once: what two of them report is taken for worth its while. */
static bool noted_has(const Noted *noted, const ImagePatternKey *key) {
        for (size_t i = 0; i < noted->n; i++) {
                const AttachPattern *pattern = &noted->patterns[i];

                if (pattern->text_size == key->text_size && pattern->flags == key->flags &&
                    pattern->width == key->width && memcmp(pattern->text, key->text, key->text_size) == 0)
                        return true;
        }
        return false;
}

void noted_add(ModuleState *state, const ImagePatternKey *key, uint64_t compiler, const char *passed) {
        Noted *noted = &state->noted;
        size_t first = noted->n;
        PyFrameObject *frame;

        if (state->collect.depth == 0 || key->text_size == 0 || key->text_size > NOTED_TEXT_MAX ||
            noted_has(noted, key))
                return;
        frame = PyThreadState_GetFrame(PyThreadState_Get()); /* new, as those below */
        for (unsigned i = 0; frame && i < FRAMES_MAX; i++) {
                PyObject *globals = PyFrame_GetGlobals(frame);
                bool ends = is_module_of(globals, state->names.__name__, "importlib._bootstrap") ||
                            is_module_of(globals, state->names.__name__, "_frozen_importlib");
                const Root *root;
                const char *path;

                if (!ends && !(passed && is_module_of(globals, state->names.__name__, passed)) &&
                    module_place(state, globals, compiler, &root, &path)) {
                        AttachPattern *pattern = noted_of(noted, first, key, root);

                        if (pattern)
                                noted_add_file(noted, pattern, path);
                }
                Py_DECREF(globals);
                Py_SETREF(frame, ends ? NULL : PyFrame_GetBack(frame));
        }
        Py_XDECREF(frame);
}

void noted_clear(Noted *noted) {
        for (size_t i = 0; i < noted->n; i++) {
                free(noted->patterns[i].text);
                for (size_t j = 0; j < noted->patterns[i].n_files; j++)
                        free(noted->patterns[i].files[j]);
        }
        free(noted->patterns);
        *noted = (Noted){ 0 };
}
