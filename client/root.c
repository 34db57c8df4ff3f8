/* SPDX-License-Identifier: MIT */

#include "root.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "code.h"
#include "shimport.pb-c.h"
#include "util.h"

/* A packet holds many short paths; longer ones than this each are left to stock. */
#define ROOT_PATH_MAX 1024

static size_t path_trim(const char *path, size_t length) {
        while (length > 1 && path[length - 1] == '/')
                length--;
        return length;
}

bool root_known(const ModuleState *state, const char *path, size_t length) {
        length = path_trim(path, length);
        for (const Root *root = state->roots; root; root = root->next)
                if (root->path_length == length && memcmp(root->path, path, length) == 0)
                        return true;
        return false;
}

Root *root_find(ModuleState *state, const char *path, size_t length, uint32_t *ret_directory) {
        Root *best = NULL;

        for (Root *root = state->roots; root; root = root->next)
                if (root->path_length <= length && memcmp(root->path, path, root->path_length) == 0 &&
                    (root->path_length == length || path[root->path_length] == '/') &&
                    (!best || best->path_length < root->path_length))
                        best = root;
        if (!best)
                return NULL;
        *ret_directory = IMAGE_NONE;
        if (best->image.base) {
                if (length == best->path_length)
                        *ret_directory = 0;
                else
                        *ret_directory = image_walk(&best->image, path + best->path_length + 1,
                                                    length - best->path_length - 1);
        }
        return best;
}

static int root_add(ModuleState *state, const AttachRoot *answer) {
        Root *root = PyMem_Calloc(1, sizeof(*root));

        if (root) {
                root->path = strdup(answer->path);
                root->reason = strdup(answer->reason);
        }
        if (!root || !root->path || !root->reason) {
                if (root) {
                        free(root->path);
                        free(root->reason);
                }
                PyMem_Free(root);
                PyErr_NoMemory();
                return -1;
        }
        root->path_length = path_trim(root->path, strlen(root->path));
        root->path[root->path_length] = '\0';
        root->state = answer->state;
        root->generation = answer->generation;
        root->image = answer->image;
        root->next = state->roots;
        state->roots = root;
        return 0;
}

void root_free_all(ModuleState *state) {
        while (state->roots) {
                Root *root = state->roots;

                state->roots = root->next;
                root_code_free(root->code);
                if (root->image.base)
                        munmap((void *)root->image.base, root->image.size);
                free(root->path);
                free(root->reason);
                PyMem_Free(root);
        }
        state->arena = arena_free(state->arena);
}

/* Asks for up to PACKET_ROOTS_MAX roots that are open, and keeps what comes of it. */
static int attach_batch(ModuleState *state, AttachRoot *roots, size_t n, bool late) {
        AttachRequest request = {
                .executable = PyBytes_AS_STRING(state->executable),
                .options = state->options,
                .late = late,
                .budget_ms = state->budget_ms,
        };
        Py_ssize_t length;
        int r = 0;

        request.tag = PyUnicode_AsUTF8AndSize(state->tag, &length);
        if (!request.tag)
                return -1;
        request.tag_length = (size_t)length;
        if (!state->deaf) {
                Py_BEGIN_ALLOW_THREADS r = attach_run(&request, roots, n, state->socket);
                Py_END_ALLOW_THREADS
        }
        if (r < 0) {
                state->deaf = true;
                state_debug(state, "no daemon to attach to: %s", strerror(-r));
                PyOS_snprintf(state->reason, sizeof(state->reason), "no daemon answered: %s", strerror(-r));
        }
        for (size_t i = 0; i < n; i++) {
                if (state->deaf) {
                        roots[i].state = SHIMPORT__ROOT_STATE__UNKNOWN;
                        PyOS_snprintf(roots[i].reason, sizeof(roots[i].reason), "%s", state->reason);
                }
                state_debug(state, "%s: %s%s%s", roots[i].path, roots[i].image.base ? "served" : "stock",
                            roots[i].reason[0] ? ", " : "", roots[i].reason);
                if (root_add(state, &roots[i]) < 0) {
                        for (; i < n; i++)
                                if (roots[i].image.base)
                                        munmap((void *)roots[i].image.base, roots[i].image.size);
                        return -1;
                }
        }
        return 0;
}

int root_attach(ModuleState *state, PyObject *paths, bool late) {
        AttachRoot *batch = PyMem_Calloc(PACKET_ROOTS_MAX, sizeof(*batch));
        PyObject *borrowed = PySequence_List(paths); /* a copy: sys.path may change while we wait */
        size_t n = 0;
        int r = -1;

        if (!batch || !borrowed) {
                if (!batch)
                        PyErr_NoMemory();
                goto finish;
        }
        r = 0;
        for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(borrowed); i++) {
                PyObject *item = PyList_GET_ITEM(borrowed, i);
                const char *path;
                Py_ssize_t length;
                bool twice = false;

                if (!PyUnicode_CheckExact(item))
                        continue;
                path = PyUnicode_AsUTF8AndSize(item, &length);
                if (!path) {
                        PyErr_Clear(); /* surrogates: left to stock */
                        continue;
                }
                for (size_t j = 0; j < n; j++)
                        twice |= strcmp(batch[j].path, path) == 0;
                if (twice || *path != '/' || length > ROOT_PATH_MAX || strlen(path) != (size_t)length ||
                    root_known(state, path, (size_t)length) || attach_root_open(&batch[n], path) < 0)
                        continue;
                if (++n == PACKET_ROOTS_MAX) {
                        r = attach_batch(state, batch, n, late);
                        while (n > 0)
                                attach_root_close(&batch[--n]);
                }
        }
        if (r == 0 && n > 0)
                r = attach_batch(state, batch, n, late);
        while (n > 0)
                attach_root_close(&batch[--n]);
finish:
        PyMem_Free(batch);
        Py_XDECREF(borrowed);
        return r;
}
