/* SPDX-License-Identifier: MIT */

#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "builder.pb-c.h"
#include "packet.h"
#include "raise.h"
#include "util.h"

typedef struct Channel {
        PyObject_HEAD
        int fd; /* owned */
} Channel;

/* When the daemon ends, however it ends, nobody waits for the image: a builder ends with it, whatever it is at. */
static void *hangup_wait(void *fd) {
        struct pollfd channel = { .fd = (int)(intptr_t)fd }; /* no events: a hangup is always told */

        while (poll(&channel, 1, -1) < 0 && errno == EINTR)
                ;
        if (channel.revents & POLLHUP)
                _exit(EXIT_FAILURE);
        return NULL;
}

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
        pthread_t thread;
        Channel *self;
        int fd, r;

        if (!PyArg_ParseTuple(args, "i:Channel", &fd))
                return NULL;
        (void)kwargs;
        r = pthread_create(&thread, NULL, hangup_wait, (void *)(intptr_t)fd);
        if (r) {
                raise_errno(-r);
                return NULL;
        }
        pthread_detach(thread);
        (void)setrlimit(RLIMIT_NPROC, &(struct rlimit){ 0 }); /* there is nothing else to start */
        self = (Channel *)type->tp_alloc(type, 0);
        if (self)
                self->fd = fd;
        return (PyObject *)self;
}

static void channel_dealloc(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        fd_close(((Channel *)self)->fd);
        type->tp_free(self);
        Py_DECREF(type);
}

static int channel_send(Channel *self, const Shimport__FromBuilder *message, const int *fds, size_t n_fds) {
        _cleanup_free_ uint8_t *data = malloc(shimport__from_builder__get_packed_size(message));
        int r;

        if (!data) {
                PyErr_NoMemory();
                return -1;
        }
        r = packet_send(self->fd, data, shimport__from_builder__pack(message, data), fds, n_fds);
        if (r < 0) {
                raise_errno(r);
                return -1;
        }
        return 0;
}

/* Wait for the daemon's next word. Return: 0, or -1 with an exception. */
static int channel_recv(Channel *self, Packet *packet, Shimport__ToBuilder **ret_message) {
        int r;

        do {
                Py_BEGIN_ALLOW_THREADS
                r = syscalls_poll(self->fd, POLLIN, -1);
                Py_END_ALLOW_THREADS
                r = r >= 0 ? packet_recv(self->fd, packet) : r;
        } while (r == -EAGAIN || r == -EINTR);
        if (r != 0) {
                raise_errno(r < 0 ? r : -ECONNRESET);
                return -1;
        }
        *ret_message = shimport__to_builder__unpack(NULL, packet->size, packet->data);
        if (!*ret_message) {
                packet_done(packet);
                PyErr_SetString(PyExc_ValueError, "not a message to a builder");
                return -1;
        }
        return 0;
}

PyDoc_STRVAR(job_doc, "job()\n--\n\n"
                      "Wait for the job, as a dict: path (bytes), generation, shared, max_entries, validate "
                      "(one of VALIDATE_*),\n"
                      "preload (bytes), preload_max, supplement; and the descriptors root, image (to "
                      "replace) and state, or -1,\n"
                      "and wanted, or -1; and patterns, a list of (text as bytes, width of a character or 0, "
                      "flags, list of "
                      "files as bytes).");

static PyObject *bytes_of(const ProtobufCBinaryData *data) {
        return PyBytes_FromStringAndSize((const char *)data->data, (Py_ssize_t)data->len);
}

static PyObject *files_of(const Shimport__BuildPattern *pattern) {
        PyObject *files = PyList_New((Py_ssize_t)pattern->n_files);

        for (size_t i = 0; files && i < pattern->n_files; i++) {
                PyObject *file = bytes_of(&pattern->files[i]);

                if (file)
                        PyList_SET_ITEM(files, (Py_ssize_t)i, file);
                else
                        Py_CLEAR(files);
        }
        return files;
}

static PyObject *patterns_of(const Shimport__BuildJob *job) {
        PyObject *patterns = PyList_New((Py_ssize_t)job->n_patterns);

        for (size_t i = 0; patterns && i < job->n_patterns; i++) {
                const Shimport__BuildPattern *pattern = job->patterns[i];
                PyObject *item = Py_BuildValue("NIIN", bytes_of(&pattern->text), (unsigned)pattern->width,
                                               (unsigned)pattern->flags, files_of(pattern));

                if (item)
                        PyList_SET_ITEM(patterns, (Py_ssize_t)i, item);
                else
                        Py_CLEAR(patterns);
        }
        return patterns;
}

static PyObject *channel_job(PyObject *self, PyObject *args) {
        Shimport__ToBuilder *message = NULL;
        PyObject *job = NULL;
        Packet *packet = malloc(sizeof(*packet));
        bool has_image;

        (void)args;
        if (!packet)
                return PyErr_NoMemory();
        packet->n_fds = 0;
        if (channel_recv((Channel *)self, packet, &message) < 0)
                goto finish;
        if (message->body_case != SHIMPORT__TO_BUILDER__BODY_JOB || packet->n_fds < 1 || packet->n_fds > 4) {
                PyErr_SetString(PyExc_ValueError, "not a job with its root");
                goto finish;
        }
        has_image = packet->n_fds >= 3;
        job = Py_BuildValue("{s:y#,s:K,s:O,s:I,s:I,s:y#,s:I,s:O,s:N,s:i,s:i,s:i,s:i}", "path",
                            message->job->path.data, (Py_ssize_t)message->job->path.len, "generation",
                            (unsigned long long)message->job->generation, "shared",
                            message->job->shared ? Py_True : Py_False, "max_entries",
                            message->job->max_entries, "validate", (unsigned)message->job->validate,
                            "preload", message->job->preload.len ? (char *)message->job->preload.data : "",
                            (Py_ssize_t)message->job->preload.len, "preload_max", message->job->preload_max,
                            "supplement", message->job->supplement ? Py_True : Py_False, "patterns",
                            patterns_of(message->job), "root", packet->fds[0], "image",
                            has_image ? packet->fds[1] : -1, "state", has_image ? packet->fds[2] : -1,
                            "wanted", packet->n_fds % 2 == 0 ? packet->fds[packet->n_fds - 1] : -1);
        if (job)
                packet->n_fds = 0; /* the caller's now */
finish:
        if (message)
                shimport__to_builder__free_unpacked(message, NULL);
        packet_done(packet);
        free(packet);
        return job;
}

PyDoc_STRVAR(
        scan_doc,
        "scan(directories)\n--\n\n"
        "Have directories watched before they are listed: a list of (path as bytes, descriptor), at most\n"
        "SCAN_MAX. For each whether it is.");

#define SCAN_MAX 200

static PyObject *flags_new(const protobuf_c_boolean *flags, Py_ssize_t n) {
        PyObject *list = PyList_New(n);

        for (Py_ssize_t i = 0; list && i < n; i++)
                PyList_SET_ITEM(list, i, PyBool_FromLong(flags[i]));
        return list;
}

static PyObject *channel_scan(PyObject *self, PyObject *list) {
        Shimport__FromBuilder message = SHIMPORT__FROM_BUILDER__INIT;
        Shimport__BuildScan scan = SHIMPORT__BUILD_SCAN__INIT;
        Shimport__ToBuilder *answer = NULL;
        ProtobufCBinaryData paths[SCAN_MAX];
        PyObject *watched = NULL;
        int fds[SCAN_MAX];
        Packet *packet;
        Py_ssize_t n;

        if (!PyList_Check(list) || (n = PyList_GET_SIZE(list)) > SCAN_MAX) {
                PyErr_SetString(PyExc_ValueError, "scan() takes a list of at most SCAN_MAX directories");
                return NULL;
        }
        for (Py_ssize_t i = 0; i < n; i++) {
                char *path;
                Py_ssize_t length;

                if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "y#i", &path, &length, &fds[i]))
                        return NULL;
                paths[i] = (ProtobufCBinaryData){ (size_t)length, (uint8_t *)path };
        }
        scan.paths = paths;
        scan.n_paths = (size_t)n;
        message.body_case = SHIMPORT__FROM_BUILDER__BODY_SCAN;
        message.scan = &scan;
        packet = malloc(sizeof(*packet));
        if (!packet)
                return PyErr_NoMemory();
        packet->n_fds = 0;
        if (channel_send((Channel *)self, &message, fds, (size_t)n) == 0 &&
            channel_recv((Channel *)self, packet, &answer) == 0) {
                if (answer->body_case == SHIMPORT__TO_BUILDER__BODY_SCANNED && packet->n_fds == 0 &&
                    answer->scanned->n_watched == (size_t)n)
                        watched = flags_new(answer->scanned->watched, n);
                else
                        PyErr_SetString(PyExc_ValueError, "not the answer to a scan");
                shimport__to_builder__free_unpacked(answer, NULL);
        }
        packet_done(packet);
        free(packet);
        return watched;
}

PyDoc_STRVAR(progress_doc, "progress(done, total)\n--\n\nTell how many modules are done.");

static PyObject *channel_progress(PyObject *self, PyObject *args) {
        Shimport__FromBuilder message = SHIMPORT__FROM_BUILDER__INIT;
        Shimport__BuildProgress progress = SHIMPORT__BUILD_PROGRESS__INIT;

        if (!PyArg_ParseTuple(args, "II:progress", &progress.done, &progress.total))
                return NULL;
        message.body_case = SHIMPORT__FROM_BUILDER__BODY_PROGRESS;
        message.progress = &progress;
        return channel_send((Channel *)self, &message, NULL, 0) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(finish_doc,
             "finish(tag, error, image, directories, entries, modules, declined, again, learns)\n--\n\n"
             "Hand back the sealed image, a descriptor, or -1 and an error.");

static PyObject *channel_finish(PyObject *self, PyObject *args) {
        Shimport__FromBuilder message = SHIMPORT__FROM_BUILDER__INIT;
        Shimport__BuildResult result = SHIMPORT__BUILD_RESULT__INIT;
        char *tag, *error;
        Py_ssize_t tag_length, error_length;
        int image, again, learns;

        if (!PyArg_ParseTuple(args, "s#s#iIIIIpp:finish", &tag, &tag_length, &error, &error_length, &image,
                              &result.directories, &result.entries, &result.modules, &result.declined, &again,
                              &learns))
                return NULL;
        result.again = again;
        result.learns = learns;
        result.tag = (ProtobufCBinaryData){ (size_t)tag_length, (uint8_t *)tag };
        result.error = (ProtobufCBinaryData){ (size_t)error_length, (uint8_t *)error };
        message.body_case = SHIMPORT__FROM_BUILDER__BODY_RESULT;
        message.result = &result;
        return channel_send((Channel *)self, &message, &image, image >= 0) < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *channel_type_new(PyObject *module) {
        static PyMethodDef methods[] = {
                { "job", channel_job, METH_NOARGS, job_doc },
                { "scan", channel_scan, METH_O, scan_doc },
                { "progress", channel_progress, METH_VARARGS, progress_doc },
                { "finish", channel_finish, METH_VARARGS, finish_doc },
                { 0 },
        };
        static PyType_Slot slots[] = {
                { Py_tp_doc,
                  (void *)"Channel(fd)\n--\n\nA builder's end of its socket; takes over the descriptor.\n\n"
                          "The process ends when the other end is closed." },
                { Py_tp_new, channel_new },
                { Py_tp_dealloc, channel_dealloc },
                { Py_tp_methods, methods },
                { 0, NULL },
        };
        static PyType_Spec spec = {
                .name = "_shimport_build.Channel",
                .basicsize = sizeof(Channel),
                .flags = Py_TPFLAGS_DEFAULT,
                .slots = slots,
        };

        if (PyModule_AddIntConstant(module, "SCAN_MAX", SCAN_MAX) < 0 ||
            PyModule_AddIntConstant(module, "VALIDATE_AUTO", SHIMPORT__VALIDATE__AUTO) < 0 ||
            PyModule_AddIntConstant(module, "VALIDATE_WATCH", SHIMPORT__VALIDATE__WATCH) < 0 ||
            PyModule_AddIntConstant(module, "VALIDATE_STAT", SHIMPORT__VALIDATE__STAT) < 0 ||
            PyModule_AddIntConstant(module, "VALIDATE_NEVER", SHIMPORT__VALIDATE__NEVER) < 0)
                return NULL;
        return PyType_FromModuleAndSpec(module, &spec, NULL);
}
