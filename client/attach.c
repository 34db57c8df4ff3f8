/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "identity.h"
#include "memfd.h"
#include "shimport.pb-c.h"
#include "util.h"

static void packet_freep(Packet **packet) {
        if (*packet)
                packet_done(*packet);
        free(*packet);
}

static void reply_freep(Shimport__Reply **reply) {
        if (*reply)
                shimport__reply__free_unpacked(*reply, NULL);
}

uint64_t attach_now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait until the socket is ready. Return: 0, -ETIMEDOUT or another errno. */
static int wait_until(int fd, short events, uint64_t deadline) {
        for (;;) {
                uint64_t now = attach_now_ms();
                int r;

                if (now >= deadline)
                        return -ETIMEDOUT;
                r = syscalls_poll(fd, events, (int)(deadline - now));
                if (r > 0)
                        return 0;
                if (r == 0)
                        return -ETIMEDOUT;
                if (r != -EINTR)
                        return r;
        }
}

int attach_root_open(AttachRoot *root, const char *path) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        fd = syscalls_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return fd;
        r = syscalls_fstat(fd, &st);
        if (r < 0)
                return r;
        *root = (AttachRoot){
                .path = path,
                .dev = st.st_dev,
                .ino = st.st_ino,
                .owner = st.st_uid,
                .fd = steal_fd(&fd),
        };
        return 0;
}

void attach_root_close(AttachRoot *root) {
        root->fd = fd_close(root->fd);
}

static void root_refuse(AttachRoot *root, const char *why) {
        root->state = SHIMPORT__ROOT_STATE__REFUSED;
        snprintf(root->reason, sizeof(root->reason), "an image came that was not accepted: %s", why);
}

/* Is this an image of that root and that tag, from somebody to trust? Maps it if so. */
static void root_accept(AttachRoot *root, const AttachRequest *request, int fd) {
        MemfdInfo info;
        const void *base;
        const char *tag;
        size_t length;
        Image image;
        int r;

        r = memfd_check(fd, sizeof(ImageHeader), &info);
        if (r != 0)
                return root_refuse(root, r == MEMFD_E_UNSEALED ? "it is not sealed"
                                         : r == MEMFD_E_SIZE   ? "it is too small"
                                                               : strerror(-r));
        if (!identity_is_known(info.owner))
                return root_refuse(root, "its owner has no number in this user namespace");
        if (info.owner != 0 && info.owner != geteuid() && info.owner != root->owner)
                return root_refuse(root,
                                   "its owner is neither root, nor this user, nor the directory's owner");
        r = memfd_map(fd, info.size, &base);
        if (r < 0)
                return root_refuse(root, strerror(-r));
        r = image_open(base, info.size, &image);
        if (r != 0) {
                root_refuse(root, image_strerror(r));
        } else if (image.header->root_dev != root->dev || image.header->root_ino != root->ino) {
                root_refuse(root, "it is of another directory");
        } else if (!(tag = image_string(&image, image.header->tag, &length)) ||
                   length != request->tag_length || memcmp(tag, request->tag, length) != 0) {
                root_refuse(root, "it is of another interpreter");
        } else {
                root->image = image;
                root->everywhere = info.owner == 0 || info.owner == geteuid();
                root->generation = image.header->generation;
                return;
        }
        munmap((void *)base, info.size);
}

/* Without its state an image is of no use: nobody would tell what has changed. */
static void root_accept_state(AttachRoot *root, int fd) {
        const ImageHeader *header = root->image.header;
        int r;

        r = staleness_map(fd, header->generation, header->directory_count, header->entry_count,
                          &root->staleness);
        if (r == 0)
                return;
        munmap((void *)root->image.base, root->image.size);
        root->image = (Image){ 0 };
        root_refuse(root, r < 0 ? strerror(-r) : "its state is not of this image");
}

static int request_send(int socket, const AttachRequest *request, AttachRoot *roots, size_t n_roots,
                        uint64_t deadline) {
        Shimport__Interpreter interpreter = SHIMPORT__INTERPRETER__INIT;
        Shimport__Attach attach = SHIMPORT__ATTACH__INIT;
        Shimport__Request message = SHIMPORT__REQUEST__INIT;
        Shimport__Root entries[PACKET_ROOTS_MAX], *list[PACKET_ROOTS_MAX];
        int fds[PACKET_ROOTS_MAX];
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        int r;

        interpreter.tag = (ProtobufCBinaryData){ request->tag_length, (uint8_t *)request->tag };
        interpreter.executable =
                (ProtobufCBinaryData){ strlen(request->executable), (uint8_t *)request->executable };
        interpreter.options = (ProtobufCBinaryData){ strlen(request->options), (uint8_t *)request->options };
        for (size_t i = 0; i < n_roots; i++) {
                shimport__root__init(&entries[i]);
                entries[i].path = (ProtobufCBinaryData){ strlen(roots[i].path), (uint8_t *)roots[i].path };
                list[i] = &entries[i];
                fds[i] = roots[i].fd;
        }
        attach.interpreter = &interpreter;
        attach.roots = list;
        attach.n_roots = n_roots;
        attach.late = request->late;
        message.protocol = SHIMPORT_PROTOCOL;
        message.body_case = SHIMPORT__REQUEST__BODY_ATTACH;
        message.attach = &attach;

        size = shimport__request__get_packed_size(&message);
        data = malloc(size);
        if (!data)
                return -ENOMEM;
        shimport__request__pack(&message, data);
        while ((r = packet_send(socket, data, size, fds, n_roots)) == -EAGAIN) {
                r = wait_until(socket, POLLOUT, deadline);
                if (r < 0)
                        return r;
        }
        return r;
}

/* One answer for each root, and their descriptors in turn. */
static int reply_take(const AttachRequest *request, AttachRoot *roots, size_t n_roots, Packet *packet,
                      AttachDaemon *ret_daemon) {
        _cleanup_(reply_freep) Shimport__Reply *reply = NULL;
        const Shimport__AttachReply *attach;
        size_t at = 0, expected = 0;

        reply = shimport__reply__unpack(NULL, packet->size, packet->data);
        if (reply && reply->body_case == SHIMPORT__REPLY__BODY_ERROR) {
                snprintf(ret_daemon->refusal, sizeof(ret_daemon->refusal), "%.*s",
                         (int)reply->error->text.len,
                         reply->error->text.len ? (const char *)reply->error->text.data : "");
                return -EBUSY;
        }
        if (!reply || reply->body_case != SHIMPORT__REPLY__BODY_ATTACH || reply->attach->n_answers != n_roots)
                return -EPROTO;
        attach = reply->attach;
        for (size_t i = 0; i < n_roots; i++)
                expected += attach->answers[i]->has_image + attach->answers[i]->has_state;
        if (expected != packet->n_fds)
                return -EPROTO;
        for (size_t i = 0; i < n_roots; i++) {
                const Shimport__RootAnswer *answer = attach->answers[i];

                roots[i].state = answer->state;
                roots[i].generation = answer->generation;
                snprintf(roots[i].reason, sizeof(roots[i].reason), "%.*s", (int)answer->reason.len,
                         answer->reason.len ? (const char *)answer->reason.data : "");
                if (answer->has_image)
                        root_accept(&roots[i], request, packet->fds[at++]);
                if (answer->has_state && roots[i].image.base)
                        root_accept_state(&roots[i], packet->fds[at]);
                at += answer->has_state;
        }
        ret_daemon->gc = attach->gc;
        ret_daemon->no_patterns = attach->no_patterns;
        ret_daemon->no_snippets = attach->no_snippets;
        return 0;
}

/* The next packet. Return: 0, -ETIMEDOUT, -EPROTO or another errno. */
static int reply_wait(int socket, uint64_t deadline, Packet **ret_packet) {
        _cleanup_(packet_freep) Packet *packet = malloc(sizeof(*packet));
        int r;

        if (!packet)
                return -ENOMEM;
        packet->n_fds = 0;
        r = wait_until(socket, POLLIN, deadline);
        if (r < 0)
                return r;
        r = packet_recv(socket, packet);
        if (r == PACKET_E_EOF)
                return -ECONNRESET;
        if (r != 0)
                return r < 0 ? r : -EPROTO;
        *ret_packet = steal_pointer(&packet);
        return 0;
}

static int converse(const Endpoint *endpoint, const AttachRequest *request, AttachRoot *roots, size_t n_roots,
                    uint64_t deadline, AttachDaemon *ret_daemon) {
        _cleanup_(packet_freep) Packet *packet = NULL;
        _cleanup_close_ int socket = -1;
        int sent, r;

        r = endpoint_connect(endpoint, &socket);
        if (r < 0)
                return r;
        sent = request_send(socket, request, roots, n_roots, deadline);
        if (sent < 0 && sent != -EPIPE && sent != -ECONNRESET)
                return sent;
        r = reply_wait(socket, deadline, &packet); /* who has hung up may have said why */
        if (r < 0)
                return sent < 0 ? sent : r;
        return reply_take(request, roots, n_roots, packet, ret_daemon);
}

/* Which roots are for which daemon. */
typedef bool RootChoice(const AttachRoot *root, int daemon);

/* Ask one daemon for some of the roots; none is no question. */
static void daemon_ask(AttachDaemon *daemon, int number, const AttachRequest *request, AttachRoot *roots,
                       size_t n_roots, RootChoice *choice, uint64_t deadline) {
        const Endpoint *endpoint = &daemon->endpoints[number];
        AttachRoot chosen[PACKET_ROOTS_MAX];
        size_t places[PACKET_ROOTS_MAX];
        bool no_patterns = daemon->no_patterns, no_snippets = daemon->no_snippets;
        int gc = daemon->gc;
        size_t n = 0;
        int r;

        for (size_t i = 0; i < n_roots; i++)
                if (choice(&roots[i], number)) {
                        places[n] = i;
                        chosen[n++] = roots[i];
                }
        if (!n || daemon->results[number] < 0)
                return;
        r = converse(endpoint, request, chosen, n, deadline, daemon);
        if (r == -ECONNRESET || r == -EPIPE) /* it ended with our request in hand: there may be another */
                r = converse(endpoint, request, chosen, n, deadline, daemon);
        if (daemon->results[number] > 0)
                daemon->results[number] = r;
        if (number > 0 && daemon->results[0] == 0) { /* the user's own has the say */
                daemon->gc = gc;
                daemon->no_patterns = no_patterns;
                daemon->no_snippets = no_snippets;
        }
        for (size_t i = 0; i < n && r == 0; i++) {
                roots[places[i]] = chosen[i];
                roots[places[i]].daemon = number;
        }
}

static bool choose_own(const AttachRoot *root, int daemon) {
        (void)daemon;
        return root->owner == geteuid() && root->owner != 0;
}

static bool choose_unanswered(const AttachRoot *root, int daemon) {
        (void)daemon;
        return root->daemon < 0;
}

/* What another has not been able to serve, or has refused. */
static bool choose_refused(const AttachRoot *root, int daemon) {
        return root->daemon != daemon && !root->image.base &&
               (root->state == SHIMPORT__ROOT_STATE__REFUSED || root->state == SHIMPORT__ROOT_STATE__FAILED);
}

int attach_run(const AttachRequest *request, AttachRoot *roots, size_t n_roots, AttachDaemon *ret_daemon) {
        uint64_t deadline = attach_now_ms() + request->budget_ms;
        AttachDaemon daemon = { 0 };
        int n = (int)endpoint_list(daemon.endpoints), result = -ENOENT;

        for (size_t i = 0; i < n_roots; i++)
                roots[i].daemon = -1;
        for (int i = 0; i < ENDPOINTS_MAX; i++)
                daemon.results[i] = i < n && !request->deaf[i] ? 1 : -ENOENT;
        if (n > 1)
                daemon_ask(&daemon, 0, request, roots, n_roots, choose_own, deadline);
        for (int i = n - 1; i >= 0; i--)
                daemon_ask(&daemon, i, request, roots, n_roots, choose_unanswered, deadline);
        for (int i = 0; n > 1 && i < n; i++)
                daemon_ask(&daemon, i, request, roots, n_roots, choose_refused, deadline);
        for (int i = 0; i < n; i++)
                if (result < 0 && (daemon.results[i] == 0 || attach_is_absence(result)))
                        result = daemon.results[i] > 0 ? result : daemon.results[i];
        *ret_daemon = daemon;
        return result;
}

bool attach_is_absence(int error) {
        return error == -ENOENT || error == -ECONNREFUSED || error == -ECONNRESET || error == -EPIPE;
}

int attach_barrier(const char *socket_path, unsigned budget_ms) {
        uint64_t deadline = attach_now_ms() + budget_ms;
        Shimport__Barrier body = SHIMPORT__BARRIER__INIT;
        Shimport__Request message = SHIMPORT__REQUEST__INIT;
        _cleanup_(reply_freep) Shimport__Reply *reply = NULL;
        _cleanup_(packet_freep) Packet *packet = NULL;
        _cleanup_close_ int socket = -1;
        Endpoint endpoint;
        uint8_t data[32];
        int r;

        message.protocol = SHIMPORT_PROTOCOL;
        message.body_case = SHIMPORT__REQUEST__BODY_BARRIER;
        message.barrier = &body;
        if (shimport__request__get_packed_size(&message) > sizeof(data))
                return -EMSGSIZE;
        r = endpoint_from_path(socket_path, &endpoint);
        if (r >= 0)
                r = endpoint_connect(&endpoint, &socket);
        if (r >= 0)
                r = packet_send(socket, data, shimport__request__pack(&message, data), NULL, 0);
        if (r >= 0)
                r = reply_wait(socket, deadline, &packet);
        if (r < 0)
                return r;
        reply = shimport__reply__unpack(NULL, packet->size, packet->data);
        return reply && reply->body_case == SHIMPORT__REPLY__BODY_DONE ? 0 : -EPROTO;
}

/* The messages of a report's patterns, in one piece of memory. Return: NULL if there are none, or no memory. */
static Shimport__Pattern **patterns_new(const AttachReport *report, size_t *ret_n) {
        size_t n = report->n_patterns, at = 0;
        ProtobufCBinaryData *files;
        Shimport__Pattern **list, *patterns;

        list = n ? malloc(n * (sizeof(*list) + sizeof(*patterns) + ATTACH_PATTERN_FILES_MAX * sizeof(*files)))
                 : NULL;
        if (!list)
                return NULL;
        patterns = (Shimport__Pattern *)(list + n);
        files = (ProtobufCBinaryData *)(patterns + n);
        *ret_n = 0;
        for (size_t i = 0; i < n; i++) {
                const AttachPattern *pattern = &report->patterns[i];
                Shimport__Pattern *message = &patterns[*ret_n];

                if (pattern->daemon != report->daemon)
                        continue;
                list[(*ret_n)++] = message;
                shimport__pattern__init(message);
                message->generation = pattern->generation;
                message->text = (ProtobufCBinaryData){ pattern->text_size, (uint8_t *)pattern->text };
                message->width = pattern->width;
                message->flags = pattern->flags;
                message->files = &files[at];
                message->n_files = pattern->n_files;
                for (size_t j = 0; j < pattern->n_files; j++)
                        files[at++] = (ProtobufCBinaryData){ strlen(pattern->files[j]),
                                                             (uint8_t *)pattern->files[j] };
        }
        return list;
}

void attach_report(const char *socket_path, const AttachReport *report) {
        Shimport__Report body = SHIMPORT__REPORT__INIT;
        Shimport__Request message = SHIMPORT__REQUEST__INIT;
        size_t n_patterns = 0;
        _cleanup_free_ Shimport__Pattern **patterns = patterns_new(report, &n_patterns);
        _cleanup_close_ int socket = -1;
        _cleanup_free_ uint8_t *data = NULL;
        Endpoint endpoint;

        body.served = report->served;
        body.fallback = report->fallback;
        body.stale = report->stale;
        body.outdated = report->outdated;
        if (report->wanted) {
                body.n_wanted = wanted_report(report->wanted, &body.wanted);
                body.tag = (ProtobufCBinaryData){ report->tag_length, (uint8_t *)report->tag };
        }
        body.patterns = patterns;
        body.n_patterns = n_patterns;
        message.protocol = SHIMPORT_PROTOCOL;
        message.body_case = SHIMPORT__REQUEST__BODY_REPORT;
        message.report = &body;
        data = malloc(shimport__request__get_packed_size(&message));
        if (data && endpoint_from_path(socket_path, &endpoint) >= 0 &&
            endpoint_connect(&endpoint, &socket) >= 0)
                (void)packet_send(socket, data, shimport__request__pack(&message, data), NULL, 0);
        wanted_report_free(body.wanted, body.n_wanted);
}
