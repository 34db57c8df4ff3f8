/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"
#include "identity.h"
#include "log.h"
#include "request.h"
#include "status.h"
#include "util.h"
#include "warm.h"

/* A tag is some 200 bytes; it is part of every root's key. */
#define TAG_SIZE_MAX 512

/* How long a warm may wait behind other builds, beyond the time of its own. */
#define WARM_PATIENCE_MS (10 * 60 * 1000)

typedef struct Request {
        Daemon *daemon;
        Peer *peer;
        Packet *packet;
        const Shimport__Request *message;
} Request;

static uint64_t now_us(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Only root and the daemon's own user may tell it what to do. */
static bool request_is_allowed(const Request *request) {
        uid_t uid = peer_uid(request->peer);

        return uid == 0 || identity_is_own(uid);
}

static void refuse_not_allowed(const Request *request) {
        char text[96];

        snprintf(text, sizeof(text), "only root or user %u, who runs the daemon, may ask for that",
                 (unsigned)geteuid());
        peer_refuse(request->peer, text);
}

/* The bytes, even if there are none. */
static const char *text_of(const ProtobufCBinaryData *bytes) {
        return bytes->len ? (const char *)bytes->data : "";
}

static bool interpreter_is_sound(const Shimport__Interpreter *interpreter) {
        return interpreter && interpreter->tag.len > 0 && interpreter->tag.len <= TAG_SIZE_MAX &&
               !memchr(interpreter->tag.data, '\0', interpreter->tag.len) &&
               (interpreter->executable.len == 0 || message_is_path(&interpreter->executable)) &&
               interpreter->options.len <= ROOT_OPTIONS_MAX &&
               !memchr(text_of(&interpreter->options), '\0', interpreter->options.len);
}

/* Do the roots, their interpreter and their descriptors make sense together? The peer is dropped if not. */
static bool request_check_roots(const Request *request, const Shimport__Interpreter *interpreter,
                                size_t n_roots) {
        if (n_roots != request->packet->n_fds) {
                peer_drop(request->peer, "%zu descriptors for %zu roots", request->packet->n_fds, n_roots);
                return false;
        }
        if (n_roots > PACKET_ROOTS_MAX) {
                peer_drop(request->peer, "%zu roots in one packet, where %d are allowed", n_roots,
                          PACKET_ROOTS_MAX);
                return false;
        }
        if (!interpreter_is_sound(interpreter)) {
                peer_drop(request->peer, "a request without a sound interpreter");
                return false;
        }
        return true;
}

static bool request_check_no_fds(const Request *request) {
        if (request->packet->n_fds)
                peer_drop(request->peer, "%zu descriptors where none belong", request->packet->n_fds);
        return !request->packet->n_fds;
}

/**
 * question_fill() - what to ask the store about a root
 *
 * Return: NULL, or why the root is refused.
 */
static const char *question_fill(const Request *request, StoreQuestion *question,
                                 const Shimport__Interpreter *interpreter, const Shimport__Root *root,
                                 int fd) {
        struct stat st;
        int flags;

        if (!message_is_path(&root->path) || *root->path.data != '/')
                return "its path is not absolute";
        if (syscalls_fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
                return "not a directory";
        flags = syscalls_get_flags(fd);
        if (flags < 0 || (flags & O_PATH)) /* has shown only that it may be found, not that it may be read */
                return "a descriptor that was not opened for reading";
        *question = (StoreQuestion){
                .key = {
                        .dev = st.st_dev,
                        .ino = st.st_ino,
                        .path = root->path.data,
                        .path_size = root->path.len,
                        .tag = interpreter->tag.data,
                        .tag_size = interpreter->tag.len,
                },
                .user = peer_user(request->peer),
                .fd = fd,
                .owner = st.st_uid,
                .executable = interpreter->executable.data,
                .executable_size = interpreter->executable.len,
        };
        if (interpreter->options.len)
                memcpy(question->options, interpreter->options.data, interpreter->options.len);
        return NULL;
}

static void request_attach(Request *request) {
        const Shimport__Attach *attach = request->message->attach;
        Shimport__AttachReply body = SHIMPORT__ATTACH_REPLY__INIT;
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;
        Shimport__RootAnswer answers[PACKET_ROOTS_MAX], *list[PACKET_ROOTS_MAX];
        int fds[2 * PACKET_ROOTS_MAX];
        size_t n_fds = 0;

        if (!request_check_roots(request, attach->interpreter, attach->n_roots))
                return;
        watch_drain(request->daemon->watch);
        for (size_t i = 0; i < attach->n_roots; i++) {
                StoreAnswer answer = { .state = ROOT_REFUSED };
                StoreQuestion question;
                int r = 0;

                answer.reason = question_fill(request, &question, attach->interpreter, attach->roots[i],
                                              request->packet->fds[i]);
                if (!answer.reason) {
                        question.asking = attach->late ? STORE_LATE : STORE_ATTACH;
                        r = store_ask(request->daemon->store, &question, &answer);
                }
                if (answer.limited)
                        peer_note_refusal(request->peer, answer.reason);
                if (r < 0) {
                        peer_drop(request->peer, "%s", strerror(-r));
                        return;
                }
                list[i] = &answers[i];
                shimport__root_answer__init(list[i]);
                if (answer.root &&
                    root_is_served(answer.root)) { /* whatever of it is stale, its state says */
                        list[i]->state = SHIMPORT__ROOT_STATE__SERVED;
                        list[i]->generation = answer.root->generation;
                        list[i]->has_image = list[i]->has_state = true;
                        fds[n_fds++] = answer.root->image.fd;
                        fds[n_fds++] = image_file_state(&answer.root->image);
                } else {
                        list[i]->state = (Shimport__RootState)answer.state;
                        list[i]->reason = message_text(answer.reason);
                }
        }
        body.answers = list;
        body.n_answers = attach->n_roots;
        body.gc = (Shimport__GcPolicy)request->daemon->config.gc;
        body.no_patterns = request->daemon->config.no_regex;
        body.no_snippets = request->daemon->config.no_snippets;
        reply.body_case = SHIMPORT__REPLY__BODY_ATTACH;
        reply.attach = &body;
        peer_send(request->peer, &reply, fds, n_fds);
}

static void request_barrier(Request *request) {
        if (!request_check_no_fds(request))
                return;
        watch_drain(request->daemon->watch);
        peer_done(request->peer, NULL);
}

static void request_report(Request *request) {
        const Shimport__Report *report = request->message->report;

        uint64_t most = request->daemon->config.report_max;
        char text[96];

        if (!request_check_no_fds(request))
                return;
        if (request->packet->size > most) {
                snprintf(text, sizeof(text), "a report of %zu bytes: ReportMax= is %llu",
                         request->packet->size, (unsigned long long)most);
                peer_refuse(request->peer, text);
                return;
        }
        request->daemon->served += report->served;
        request->daemon->fallback += report->fallback;
        request->daemon->stale += report->stale;
        if (report->outdated)
                store_outdated(request->daemon->store, report->outdated);
        for (size_t i = 0; i < report->n_wanted; i++) {
                const Shimport__Wanted *wanted = report->wanted[i];
                RootKey key = {
                        .dev = wanted->dev,
                        .ino = wanted->ino,
                        .path = wanted->path.data,
                        .path_size = wanted->path.len,
                        .tag = report->tag.data,
                        .tag_size = report->tag.len,
                };

                if (wanted->path.len && report->tag.len)
                        store_want(request->daemon->store, &key, peer_uid(request->peer), wanted->names,
                                   wanted->n_names);
        }
        if (!request->daemon->config.no_regex || !request->daemon->config.no_snippets)
                store_learn(request->daemon->store, peer_uid(request->peer), report->patterns,
                            report->n_patterns);
}

static int warm_root(Request *request, Warm *warm, size_t i) {
        const Shimport__Warm *message = request->message->warm;
        const Shimport__Root *root = message->roots[i];
        StoreAnswer answer = { 0 };
        StoreQuestion question;
        int r;

        answer.reason =
                question_fill(request, &question, message->interpreter, root, request->packet->fds[i]);
        if (!answer.reason) {
                question.asking = STORE_WARM;
                r = store_ask(request->daemon->store, &question, &answer);
                if (r < 0)
                        return r;
        }
        if (answer.state == ROOT_BUILDING || answer.state == ROOT_REBUILDING)
                warm_add(warm, answer.root);
        else
                warm_add_result(warm, root->path.data, root->path.len, answer.state == ROOT_SERVED,
                                answer.reason);
        return 0;
}

static void request_warm(Request *request) {
        const Shimport__Warm *message = request->message->warm;
        Warm *warm;
        int r;

        if (!request_check_roots(request, message->interpreter, message->n_roots))
                return;
        if (!request_is_allowed(request)) {
                refuse_not_allowed(request);
                return;
        }
        watch_drain(request->daemon->watch);
        r = warm_new(request->peer, message->n_roots, &warm);
        for (size_t i = 0; i < message->n_roots && r == 0; i++) {
                r = warm_root(request, warm, i);
                if (r < 0)
                        warm_free(warm);
        }
        if (r < 0) {
                peer_drop(request->peer, "%s", strerror(-r));
                return;
        }
        warm_begin(warm, request->daemon->config.build_timeout * 1000 + WARM_PATIENCE_MS);
}

static void request_status(Request *request) {
        int r;

        if (!request_check_no_fds(request))
                return;
        watch_drain(request->daemon->watch);
        r = status_send(request->daemon, request->peer);
        if (r < 0)
                peer_drop(request->peer, "%s", strerror(-r));
}

static void explain_entry(Shimport__ExplainAnswer *answer, const ImageFile *file,
                          const Shimport__Explain *explain) {
        static const char *const kinds[_IMAGE_KIND_N] = {
                [IMAGE_KIND_STOCK] = "stock",
                [IMAGE_KIND_SOURCE] = "source",
                [IMAGE_KIND_SOURCELESS] = "sourceless",
                [IMAGE_KIND_EXTENSION] = "extension",
                [IMAGE_KIND_NAMESPACE] = "namespace",
                [IMAGE_KIND_METADATA] = "metadata",
                [IMAGE_KIND_FILE] = "file",
        };
        const Image *image = &file->image;
        const ImageEntry *entry;
        uint32_t number;

        number = image_walk(image, text_of(&explain->directory), explain->directory.len);
        if (number == IMAGE_NONE)
                return;
        answer->stale = staleness_directory(&file->state, number);
        number = image_find(image, number, text_of(&explain->name), explain->name.len);
        entry = number == IMAGE_NONE ? NULL : image_entry(image, number);
        if (!entry)
                return;
        answer->stale |= staleness_entry(&file->state, number);
        answer->has_entry = true;
        answer->has_code = entry->code_size || entry->frozen_size;
        answer->kind = message_text(entry->kind < _IMAGE_KIND_N ? kinds[entry->kind] : "unknown");
        answer->file = message_text(image_string(image, entry->file, NULL));
        answer->left_out = message_text(image_string(image, entry->reason, NULL));
}

static void explain_root(const Request *request, size_t i, Shimport__ExplainAnswer *answer) {
        const Shimport__Explain *explain = request->message->explain;
        StoreQuestion question;
        const char *reason;
        Root *root;

        reason = question_fill(request, &question, explain->interpreter, explain->roots[i],
                               request->packet->fds[i]);
        if (reason) {
                answer->state = SHIMPORT__ROOT_STATE__REFUSED;
                answer->reason = message_text(reason);
                return;
        }
        root = store_find(request->daemon->store, &question.key);
        if (!root)
                return;
        answer->state = root_told_state(root);
        answer->reason = message_text(root->reason);
        answer->generation = root->generation;
        if (root_is_served(root))
                explain_entry(answer, &root->image, explain);
}

static void request_explain(Request *request) {
        const Shimport__Explain *explain = request->message->explain;
        Shimport__ExplainReply body = SHIMPORT__EXPLAIN_REPLY__INIT;
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;
        Shimport__ExplainAnswer answers[PACKET_ROOTS_MAX], *list[PACKET_ROOTS_MAX];

        if (!request_check_roots(request, explain->interpreter, explain->n_roots))
                return;
        watch_drain(request->daemon->watch);
        for (size_t i = 0; i < explain->n_roots; i++) {
                list[i] = &answers[i];
                shimport__explain_answer__init(list[i]);
                explain_root(request, i, list[i]);
        }
        body.answers = list;
        body.n_answers = explain->n_roots;
        reply.body_case = SHIMPORT__REPLY__BODY_EXPLAIN;
        reply.explain = &body;
        peer_send(request->peer, &reply, NULL, 0);
}

static void request_reload(Request *request) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (!request_check_no_fds(request))
                return;
        if (!request_is_allowed(request)) {
                refuse_not_allowed(request);
                return;
        }
        r = daemon_reload(request->daemon, &text);
        if (r)
                peer_error(request->peer, text ?: strerror(-r));
        else
                peer_done(request->peer, text);
}

static void request_drop(Request *request) {
        if (!request_check_no_fds(request))
                return;
        if (!request_is_allowed(request)) {
                refuse_not_allowed(request);
                return;
        }
        log_about(&(LogAbout){ .has_uid = true, .uid = peer_uid(request->peer) }, LOG_LEVEL_NOTICE,
                  "every image is dropped, as user %u asked", (unsigned)peer_uid(request->peer));
        store_drop(request->daemon->store);
        peer_done(request->peer, NULL);
}

void request_handle(Daemon *daemon, Peer *peer, Packet *packet) {
        Request request = { .daemon = daemon, .peer = peer, .packet = packet };
        uint64_t began = now_us();
        char text[96];

        request.message = (const Shimport__Request *)message_decode(
                &daemon->decoder, &shimport__request__descriptor, packet->data, packet->size);
        if (!request.message) {
                peer_drop(peer, "a packet that is no message");
                return;
        }
        if (request.message->protocol != SHIMPORT_PROTOCOL) {
                snprintf(text, sizeof(text), "protocol %u was asked for, and the daemon speaks %u",
                         request.message->protocol, SHIMPORT_PROTOCOL);
                peer_refuse(peer, text);
                return;
        }
        switch (request.message->body_case) {
        case SHIMPORT__REQUEST__BODY_ATTACH:
                request_attach(&request);
                latency_add(&daemon->attaching, now_us() - began, began / 1000000);
                break;
        case SHIMPORT__REQUEST__BODY_BARRIER:
                request_barrier(&request);
                break;
        case SHIMPORT__REQUEST__BODY_REPORT:
                request_report(&request);
                break;
        case SHIMPORT__REQUEST__BODY_WARM:
                request_warm(&request);
                break;
        case SHIMPORT__REQUEST__BODY_STATUS:
                request_status(&request);
                break;
        case SHIMPORT__REQUEST__BODY_EXPLAIN:
                request_explain(&request);
                break;
        case SHIMPORT__REQUEST__BODY_RELOAD:
                request_reload(&request);
                break;
        case SHIMPORT__REQUEST__BODY_DROP:
                request_drop(&request);
                break;
        default:
                peer_refuse(peer, "a request that the daemon does not know");
        }
}
