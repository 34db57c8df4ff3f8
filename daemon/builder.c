/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "builder.h"
#include "builder_command.h"
#include "endpoint.h"
#include "log.h"
#include "message.h"
#include "packet.h"
#include "paths.h"
#include "util.h"

#define BUILDER_NICE 10

/* A builder in a hurry to tell something is not told more than this of; the log is the operator's. */
#define LINES_MAX 20

/* Of what a builder sends, so much is taken before the others on the loop have their turn. The result of one that has
 * exited lies behind no more than its socket holds. */
#define PACKETS_AT_ONCE 64
#define READS_AT_ONCE 16

/* A builder has no more directories than these watched: the daemon keeps their names until the image is built. An honest
 * one gives up at 500,000 entries (client/shimport/builder.py), some fifty bytes of name each. */
#define SCANNED_MAX 500000
#define SCANNED_BYTES_MAX (64u << 20)

/* After its result a builder has nothing left to do. */
#define EXIT_GRACE_MS 2000

typedef enum BuilderState {
        BUILDER_WORKING, /* has its job */
        BUILDER_ENDING,  /* has told its end, or been abandoned; will exit, or be killed */
        BUILDER_CLOSING, /* has exited, its handles are being closed */
} BuilderState;

struct Builder {
        BuilderState state;
        bool is_child; /* else it is the service's, and all there is of it is the channel */
        bool hung_up;  /* WORKING, and there will be no result */
        uv_process_t process;
        uv_poll_t channel, errors;
        uv_timer_t deadline;
        unsigned open_handles;
        int fd;        /* our end of the channel */
        int errors_fd; /* what comes out of its stderr */
        const BuilderEvents *events;
        void *userdata, *employer; /* userdata is NULL once nobody listens */
        unsigned lines;            /* of its stderr so far */
        char line[256];            /* the line at hand */
        char last_line[256];
        size_t line_size;
        size_t scanned, scanned_bytes; /* directories, and their names */
        uint64_t timeout_ms;
        Packet packet;
        MessageDecoder decoder;
};

static void builder_free(Builder *builder) {
        fd_close(builder->fd);
        fd_close(builder->errors_fd);
        free(builder);
}

static void on_closed(uv_handle_t *handle) {
        Builder *builder = handle->data;
        const BuilderEvents *events = builder->events;
        void *employer = builder->employer;

        if (--builder->open_handles)
                return;
        builder_free(builder);
        if (events)
                events->gone(employer);
}

/* Return: 0 once the handle is the loop's and must be closed; else what its initialisation returned. */
static int builder_own_handle(Builder *builder, void *handle, int result) {
        if (result < 0)
                return result;
        ((uv_handle_t *)handle)->data = builder;
        builder->open_handles++;
        return 0;
}

static void builder_close_handle(Builder *builder, void *handle) {
        if (((uv_handle_t *)handle)->data == builder)
                uv_close(handle, on_closed);
}

static void builder_enter(Builder *builder, BuilderState state) {
        builder->state = state;
        switch (state) {
        case BUILDER_WORKING:
                break;
        case BUILDER_ENDING:
                uv_poll_stop(&builder->channel);
                break;
        case BUILDER_CLOSING:
                builder_close_handle(builder, &builder->channel);
                builder_close_handle(builder, &builder->errors);
                builder_close_handle(builder, &builder->deadline);
                builder_close_handle(builder, &builder->process);
                break;
        }
}

static void on_deadline(uv_timer_t *timer);

/* Tell the end, once; the process is given a moment to exit by itself. */
static void builder_end(Builder *builder, BuilderOutcome *outcome) {
        void *userdata = steal_pointer(&builder->userdata);

        if (builder->state != BUILDER_WORKING)
                return;
        builder_enter(builder, BUILDER_ENDING);
        uv_timer_start(&builder->deadline, on_deadline, EXIT_GRACE_MS, 0);
        if (userdata)
                builder->events->end(userdata, outcome);
        fd_close(outcome->image_fd);
        if (!builder->is_child)
                builder_enter(builder, BUILDER_CLOSING);
}

static void builder_kill(Builder *builder) {
        if (builder->is_child)
                uv_process_kill(&builder->process, SIGKILL);
}

static void builder_fail(Builder *builder, const char *error) {
        BuilderOutcome outcome = { .error = error, .image_fd = -1 };

        builder_kill(builder);
        builder_end(builder, &outcome);
}

void builder_abandon(Builder *builder) {
        builder->userdata = NULL;
        builder_fail(builder, "abandoned");
}

static void on_deadline(uv_timer_t *timer) {
        Builder *builder = timer->data;
        char error[96];

        if (builder->state == BUILDER_ENDING) {
                builder_kill(builder);
                return;
        }
        snprintf(error, sizeof(error), "the builder was not ready within %llu seconds",
                 (unsigned long long)builder->timeout_ms / 1000);
        builder_fail(builder, builder->hung_up ? "the builder hung up without a result, and went on" : error);
}

static int builder_send(Builder *builder, const Shimport__ToBuilder *message, const int *fds, size_t n_fds) {
        _cleanup_free_ uint8_t *buffer = NULL;
        size_t room = protobuf_c_message_get_packed_size(&message->base), size;
        int r;

        buffer = malloc(room + 1);
        if (!buffer)
                return -ENOMEM;
        r = message_encode(&message->base, buffer, room, &size);
        if (r < 0)
                return r;
        return packet_send(builder->fd, buffer, size, fds, n_fds);
}

/* Return: NULL, or what is wrong with it. */
static const char *builder_count_scan(Builder *builder, const Shimport__BuildScan *scan) {
        if (scan->n_paths != builder->packet.n_fds)
                return "the builder broke the protocol: a scan without its descriptors";
        for (size_t i = 0; i < scan->n_paths; i++) {
                if (scan->paths[i].len && !message_is_path(&scan->paths[i]))
                        return "the builder broke the protocol: a scan of what is no path";
                builder->scanned_bytes += scan->paths[i].len;
        }
        builder->scanned += scan->n_paths;
        if (builder->scanned > SCANNED_MAX || builder->scanned_bytes > SCANNED_BYTES_MAX)
                return "the builder has more directories watched than an image may have";
        return NULL;
}

static void builder_scan(Builder *builder, const Shimport__BuildScan *scan) {
        Shimport__BuildScanned scanned = SHIMPORT__BUILD_SCANNED__INIT;
        Shimport__ToBuilder message = SHIMPORT__TO_BUILDER__INIT;
        protobuf_c_boolean watched[PACKET_FDS_MAX];
        const char *wrong = builder_count_scan(builder, scan);

        if (wrong) {
                builder_fail(builder, wrong);
                return;
        }
        for (size_t i = 0; i < scan->n_paths; i++)
                watched[i] = builder->events->scan(builder->userdata, builder->packet.fds[i],
                                                   scan->paths[i].data, scan->paths[i].len);
        scanned.watched = watched;
        scanned.n_watched = scan->n_paths;
        message.body_case = SHIMPORT__TO_BUILDER__BODY_SCANNED;
        message.scanned = &scanned;
        if (builder_send(builder, &message, NULL, 0) < 0)
                builder_fail(builder, "the builder does not listen");
}

static void builder_result(Builder *builder, const Shimport__BuildResult *result) {
        BuilderOutcome outcome = {
                .image_fd = -1, .declined = result->declined, .again = result->again, .learns = result->learns
        };
        char error[512];

        if (result->error.len || builder->packet.n_fds != 1) {
                if (result->error.len)
                        snprintf(error, sizeof(error), "%.*s", (int)result->error.len,
                                 (char *)result->error.data);
                else
                        snprintf(error, sizeof(error),
                                 "the builder broke the protocol: a result without an image");
                outcome.error = error;
        } else
                outcome.image_fd = steal_fd(&builder->packet.fds[0]);
        builder_end(builder, &outcome);
}

/* One packet. Return: 0, or -EAGAIN when there is no more for now. */
static int builder_receive(Builder *builder) {
        Shimport__FromBuilder *message;
        int r;

        r = packet_recv(builder->fd, &builder->packet);
        if (r == -EAGAIN)
                return r;
        if (r == PACKET_E_TRUNCATED) {
                builder_fail(builder, "the builder broke the protocol: a packet that is too long");
                return -EAGAIN;
        }
        if (r && !builder->is_child) {
                builder_fail(builder, "the builder service ended without a result: its log says more");
                return -EAGAIN;
        }
        if (r) { /* it ends without a result: its exit status says more */
                builder->hung_up = true;
                uv_poll_stop(&builder->channel);
                uv_timer_start(&builder->deadline, on_deadline, EXIT_GRACE_MS, 0);
                return -EAGAIN;
        }
        message = (Shimport__FromBuilder *)message_decode(&builder->decoder,
                                                          &shimport__from_builder__descriptor,
                                                          builder->packet.data, builder->packet.size);
        switch (message ? message->body_case : SHIMPORT__FROM_BUILDER__BODY__NOT_SET) {
        case SHIMPORT__FROM_BUILDER__BODY_SCAN:
                builder_scan(builder, message->scan);
                break;
        case SHIMPORT__FROM_BUILDER__BODY_PROGRESS:
                builder->events->progress(builder->userdata, message->progress->done,
                                          message->progress->total);
                break;
        case SHIMPORT__FROM_BUILDER__BODY_RESULT:
                builder_result(builder, message->result);
                break;
        default:
                builder_fail(builder, "the builder broke the protocol: not a message");
        }
        packet_done(&builder->packet);
        return builder->state == BUILDER_WORKING ? 0 : -EAGAIN;
}

/* As many packets as there are, or as have their turn: nobody but the builder's owner vouches for what it does. */
static void builder_converse(Builder *builder) {
        for (unsigned i = 0; i < PACKETS_AT_ONCE && builder_receive(builder) == 0; i++)
                ;
}

static void on_channel(uv_poll_t *poll, int status, int events) {
        (void)status;
        (void)events;
        builder_converse(poll->data);
}

static void builder_line(Builder *builder) {
        if (!builder->line_size)
                return;
        builder->line[builder->line_size] = '\0';
        memcpy(builder->last_line, builder->line, builder->line_size + 1);
        builder->line_size = 0;
        if (builder->lines++ < LINES_MAX)
                log_warning("builder %d: %s", builder->process.pid, builder->last_line);
}

/* Read what there is, or has its turn. Return: false at its end. */
static bool builder_read_errors(Builder *builder) {
        char buffer[4096];
        ssize_t size = 0;

        for (unsigned n = 0;
             n < READS_AT_ONCE && (size = read(builder->errors_fd, buffer, sizeof(buffer))) > 0; n++)
                for (ssize_t i = 0; i < size; i++) {
                        if (buffer[i] == '\n')
                                builder_line(builder);
                        else if (builder->line_size < sizeof(builder->line) - 1)
                                builder->line[builder->line_size++] = buffer[i];
                }
        return size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
}

static void on_errors(uv_poll_t *poll, int status, int events) {
        (void)status;
        (void)events;
        if (!builder_read_errors(poll->data))
                uv_poll_stop(poll);
}

static void on_exited(uv_process_t *process, int64_t status, int signal) {
        Builder *builder = process->data;
        BuilderOutcome outcome = { .image_fd = -1 };
        char error[384];

        if (builder->state == BUILDER_WORKING) /* the result may still lie in the socket */
                builder_converse(builder);
        builder_read_errors(builder);
        builder_line(builder);
        snprintf(error, sizeof(error), "the builder %s %d%s%s",
                 signal ? "was killed by signal" : "exited with status", signal ? signal : (int)status,
                 *builder->last_line ? ": " : "", builder->last_line);
        outcome.error = error;
        builder_end(builder, &outcome);
        builder_enter(builder, BUILDER_CLOSING);
}

static int builder_pipes(Builder *builder, int *ret_channel, int *ret_errors) {
        int channel[2], errors[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
                return -errno;
        builder->fd = channel[0];
        *ret_channel = channel[1];
        if (pipe2(errors, O_CLOEXEC) < 0)
                return -errno;
        builder->errors_fd = errors[0];
        *ret_errors = errors[1];
        return 0;
}

static int builder_spawn(Builder *builder, uv_loop_t *loop, const BuilderJob *job, int channel, int errors) {
        _cleanup_free_ char *program = NULL;
        char uid[16], seconds[24];
        char *arguments[] = { NULL, "--child", uid, (char *)job->client_path, seconds, NULL };
        uv_stdio_container_t stdio[BUILDER_FD + 1] = {
                { .flags = UV_IGNORE },
                { .flags = UV_IGNORE },
                { .flags = UV_INHERIT_FD, .data.fd = errors },
                { .flags = UV_INHERIT_FD, .data.fd = channel },
        };
        uv_process_options_t options = {
                .exit_cb = on_exited,
                .args = arguments,
                .env = (char **)builder_environment,
                .cwd = "/",
                .stdio = stdio,
                .stdio_count = ELEMENTSOF(stdio),
        };
        int r;

        r = paths_builder(&program);
        if (r < 0)
                return r;
        options.file = arguments[0] = program;
        snprintf(uid, sizeof(uid), "%u", (unsigned)job->uid);
        snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)(job->timeout_ms + 999) / 1000);
        r = uv_spawn(loop, &builder->process, &options);
        builder_own_handle(builder, &builder->process, 0); /* to be closed even when it failed */
        if (r < 0)
                return r;
        setpriority(PRIO_PROCESS, (id_t)builder->process.pid, BUILDER_NICE);
        return 0;
}

static int builder_send_job(Builder *builder, const BuilderJob *job) {
        int fds[] = { job->root_fd, -1, -1, -1 };
        size_t n_fds = 1;
        Shimport__BuildJob body = SHIMPORT__BUILD_JOB__INIT;
        Shimport__ToBuilder message = SHIMPORT__TO_BUILDER__INIT;

        body.path = (ProtobufCBinaryData){ .len = job->path_size, .data = (uint8_t *)job->path };
        body.generation = job->generation;
        body.shared = job->shared;
        body.max_entries = job->max_entries;
        body.validate = (Shimport__Validate)job->validate;
        body.executable = message_text(job->executable);
        body.options = message_text(job->options);
        body.preload = message_text(job->preload);
        body.preload_max = job->preload_max;
        body.supplement = job->supplement;
        if (job->image_fd >= 0) {
                fds[n_fds++] = job->image_fd;
                fds[n_fds++] = job->state_fd;
        }
        if (job->wanted_fd >= 0)
                fds[n_fds++] = job->wanted_fd;
        body.patterns = job->patterns;
        body.n_patterns = job->n_patterns;
        message.body_case = SHIMPORT__TO_BUILDER__BODY_JOB;
        message.job = &body;
        return builder_send(builder, &message, fds, n_fds);
}

/* Connect to the service of the user who is to build. */
static int builder_connect(Builder *builder, const BuilderJob *job) {
        char path[sizeof(BUILDER_SERVICES) + 16];
        Endpoint endpoint;
        int r;

        snprintf(path, sizeof(path), BUILDER_SERVICES "/%u", (unsigned)job->uid);
        r = endpoint_from_path(path, &endpoint);
        if (r < 0)
                return r;
        builder->fd = syscalls_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (builder->fd < 0)
                return builder->fd;
        r = syscalls_connect(builder->fd, (const struct sockaddr *)&endpoint.address,
                             sizeof(endpoint.address));
        return r == -ENOENT ? -ECONNREFUSED : r;
}

static int builder_start(Builder *builder, uv_loop_t *loop, const BuilderJob *job) {
        _cleanup_close_ int channel = -1, errors = -1;
        int r;

        r = builder->is_child ? builder_pipes(builder, &channel, &errors) : builder_connect(builder, job);
        if (r < 0)
                return r;
        r = builder_own_handle(builder, &builder->deadline, uv_timer_init(loop, &builder->deadline));
        if (r < 0)
                return r;
        r = builder_own_handle(builder, &builder->channel,
                               uv_poll_init(loop, &builder->channel, builder->fd));
        if (r < 0)
                return r;
        if (!builder->is_child)
                return builder_send_job(builder, job);
        r = builder_own_handle(builder, &builder->errors,
                               uv_poll_init(loop, &builder->errors, builder->errors_fd));
        if (r < 0)
                return r;
        r = builder_send_job(builder, job); /* waits in the socket until it is read */
        if (r < 0)
                return r;
        return builder_spawn(builder, loop, job, channel, errors);
}

bool builder_is_child(uid_t uid) {
        return uid == geteuid() || geteuid() == 0;
}

int builder_new(uv_loop_t *loop, const BuilderJob *job, const BuilderEvents *events, void *userdata,
                void *employer, Builder **ret_builder) {
        Builder *builder = calloc(1, sizeof(*builder));
        int r;

        if (!builder)
                return -ENOMEM;
        builder->fd = builder->errors_fd = -1;
        builder->timeout_ms = job->timeout_ms;
        builder->is_child = builder_is_child(job->uid);
        r = builder_start(builder, loop, job);
        if (r < 0) {
                if (builder->open_handles)
                        builder_enter(builder, BUILDER_CLOSING);
                else
                        builder_free(builder);
                return r;
        }
        builder->events = events;
        builder->userdata = userdata;
        builder->employer = employer;
        uv_poll_start(&builder->channel, UV_READABLE, on_channel);
        if (builder->is_child)
                uv_poll_start(&builder->errors, UV_READABLE, on_errors);
        uv_timer_start(&builder->deadline, on_deadline, job->timeout_ms, 0);
        *ret_builder = builder;
        return 0;
}
