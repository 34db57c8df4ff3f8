/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "message.h"
#include "peer.h"
#include "util.h"

/* A process that is stopped, or swapped out, may well take seconds between its connect and its request. */
#define LISTENING_MS 10000
#define ANSWERING_MS 10000

/* Requests handled before the loop looks for others, who have come meanwhile. */
#define ROUND_REQUESTS 16
#define ROUND_NS 500000

/* A user who has spent its requests waits for so long. Processes wait for 50 ms at most: where more of its connections
 * are ready than have their turn in HASTE_MS, more are refused. */
#define PAUSE_MS 1
#define HASTE_MS 40

/* Answers that wait for a peer to read: a status of many images needs some. */
#define ANSWERS_MAX 64

typedef enum PeerState {
        PEER_LISTENING,
        PEER_WORKING,
        PEER_ANSWERING,
        PEER_CLOSING,
} PeerState;

struct Peers {
        uv_loop_t *loop;
        const PeersEvents *events;
        void *userdata;
        Users *users;
        uv_idle_t round; /* runs while somebody has something to say */
        uv_timer_t pause;
        unsigned open_handles;
        List turns;  /* the users who have */
        List paused; /* those of them who have spent what they may ask for */
        List peers;
        size_t count;
        PeersLimits limits;
        Refusals refusals;
        Packet packet; /* the request at hand */
        uint8_t answer[PACKET_SIZE_MAX];
};

struct Peer {
        Peers *peers;
        List link;
        PeerState state;
        uv_poll_t poll; /* not there before there is something to wait for */
        bool has_poll;
        uv_timer_t deadline;
        unsigned open_handles;
        List ready; /* in its user's, while it has something to say */
        int polled; /* the events that are polled for */
        int fd;
        struct ucred credentials;
        User *user;
        List answers;
        size_t n_answers;
        bool last; /* close once the answers are sent */
        void *work;
        void (*cancel)(void *work);
        uint64_t patience_ms;
};

typedef struct Answer {
        List link;
        size_t size, n_fds;
        int *fds;
        uint8_t data[];
} Answer;

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_deadline(uv_timer_t *timer);
static void on_round(uv_idle_t *round);

static Answer *answer_free(Answer *answer) {
        if (!answer)
                return NULL;
        for (size_t i = 0; i < answer->n_fds; i++)
                fd_close(answer->fds[i]);
        free(answer->fds);
        free(answer);
        return NULL;
}

static void answer_freep(Answer **answer) {
        answer_free(*answer);
}

static int answer_new(const void *data, size_t size, const int *fds, size_t n_fds, Answer **ret_answer) {
        _cleanup_(answer_freep) Answer *answer = calloc(1, sizeof(*answer) + size);

        if (!answer)
                return -ENOMEM;
        list_init(&answer->link);
        answer->size = size;
        memcpy(answer->data, data, size);
        answer->fds = calloc(n_fds + 1, sizeof(int));
        if (!answer->fds)
                return -ENOMEM;
        for (; answer->n_fds < n_fds; answer->n_fds++) {
                int fd = syscalls_dup(fds[answer->n_fds]);

                if (fd < 0)
                        return fd;
                answer->fds[answer->n_fds] = fd;
        }
        *ret_answer = steal_pointer(&answer);
        return 0;
}

static void on_closed(uv_handle_t *handle) {
        Peer *peer = handle->data;
        Peers *peers = peer->peers;

        if (--peer->open_handles)
                return;
        peer->user->peers--;
        users_put(peers->users, peer->user);
        list_unlink(&peer->link);
        free(peer);
        if (--peers->count == 0)
                peers->events->empty(peers->userdata);
}

static void peer_poll(Peer *peer, int events) {
        if (peer->polled == events) /* starting a poll anew costs libuv two system calls */
                return;
        if (!peer->has_poll) { /* most are done before they have to be waited for */
                if (uv_poll_init(peer->peers->loop, &peer->poll, peer->fd) < 0) {
                        uv_timer_start(&peer->deadline, on_deadline, 0, 0);
                        return;
                }
                peer->poll.data = peer;
                peer->has_poll = true;
                peer->open_handles++;
        }
        uv_poll_start(&peer->poll, events, on_poll);
        peer->polled = events;
}

static void peer_unpoll(Peer *peer) {
        uv_poll_stop(&peer->poll);
        peer->polled = 0;
}

static bool peer_is_ready(const Peer *peer) {
        return !list_is_empty(&peer->ready);
}

/* It has something to say, or may have. */
static void peer_make_ready(Peer *peer) {
        User *user = peer->user;

        if (peer_is_ready(peer))
                return;
        list_append(&user->ready, &peer->ready);
        user->n_ready++;
        if (!list_is_empty(&user->turn)) /* or it is paused */
                return;
        list_append(&peer->peers->turns, &user->turn);
        uv_idle_start(&peer->peers->round, on_round);
}

static void peer_make_unready(Peer *peer) {
        if (!peer_is_ready(peer))
                return;
        list_unlink(&peer->ready);
        if (--peer->user->n_ready == 0)
                list_unlink(&peer->user->turn);
}

/* The one place where the state changes, and with it what is waited for and how long. */
static void peer_enter(Peer *peer, PeerState state) {
        if (peer->state == PEER_CLOSING)
                return;
        peer->state = state;
        switch (state) {
        case PEER_LISTENING: /* what it says next may lie there already */
                if (peer->polled & UV_WRITABLE)
                        peer_unpoll(peer);
                peer_make_ready(peer);
                uv_timer_start(&peer->deadline, on_deadline, LISTENING_MS, 0);
                break;
        case PEER_WORKING: /* readable: it has gone, or breaks the protocol */
                peer_make_unready(peer);
                peer_poll(peer, UV_READABLE);
                uv_timer_start(&peer->deadline, on_deadline, peer->patience_ms, 0);
                break;
        case PEER_ANSWERING:
                peer_make_unready(peer);
                peer_poll(peer, UV_WRITABLE | UV_DISCONNECT);
                uv_timer_start(&peer->deadline, on_deadline, ANSWERING_MS, 0);
                break;
        case PEER_CLOSING:
                peer_make_unready(peer);
                if (peer->work)
                        peer->cancel(steal_pointer(&peer->work));
                list_for_each(link, &peer->answers) {
                        answer_free(list_entry(link, Answer, link));
                }
                list_init(&peer->answers);
                if (peer->has_poll)
                        uv_close((uv_handle_t *)&peer->poll, on_closed);
                uv_close((uv_handle_t *)&peer->deadline, on_closed);
                peer->fd = fd_close(peer->fd);
                break;
        }
}

/* Where a peer is when nothing is being handled. */
static void peer_rest(Peer *peer) {
        if (!list_is_empty(&peer->answers))
                peer_enter(peer, PEER_ANSWERING);
        else if (peer->last)
                peer_enter(peer, PEER_CLOSING);
        else
                peer_enter(peer, peer->work ? PEER_WORKING : PEER_LISTENING);
}

static void tell_refusal(Peers *peers, const struct ucred *credentials, const char *what, const char *why) {
        LogAbout about = { .has_uid = true, .uid = credentials->uid, .pid = credentials->pid, .reason = why };

        refusals_add(&peers->refusals, credentials->uid, credentials->pid, why);
        log_peer(&about, "process %d of user %u %s: %s", (int)credentials->pid, (unsigned)credentials->uid,
                 what, why);
}

void peer_drop(Peer *peer, const char *format, ...) {
        char text[256];
        va_list arguments;

        if (peer->state == PEER_CLOSING)
                return;
        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        tell_refusal(peer->peers, &peer->credentials, "dropped", text);
        peer_enter(peer, PEER_CLOSING);
}

static void on_deadline(uv_timer_t *timer) {
        Peer *peer = timer->data;

        switch (peer->state) {
        case PEER_LISTENING:
                peer_enter(peer, PEER_CLOSING); /* it may have been stopped or forgotten: nobody's fault */
                break;
        case PEER_WORKING:
                peer_drop(peer, "what it waits for takes too long");
                break;
        case PEER_ANSWERING:
                peer_drop(peer, "it does not read its answers");
                break;
        case PEER_CLOSING:
                break;
        }
}

static void peer_flush(Peer *peer) {
        List *link;

        while ((link = list_first(&peer->answers))) {
                Answer *answer = list_entry(link, Answer, link);
                int r = packet_send(peer->fd, answer->data, answer->size, answer->fds, answer->n_fds);

                if (r == -EAGAIN)
                        return;
                if (r < 0) {
                        peer_enter(peer, PEER_CLOSING);
                        return;
                }
                list_unlink(link);
                peer->n_answers--;
                answer_free(answer);
        }
        peer_rest(peer);
}

static void peer_refuse_haste(Peer *peer) {
        char text[128];

        snprintf(text, sizeof(text), "too many requests of this user: MaxAttachesPerUser= is %llu a second",
                 (unsigned long long)peer->peers->limits.requests);
        peer_refuse(peer, text);
}

/* Take what it says next, if there is anything; too hasty, it is refused. */
static void peer_receive(Peer *peer, bool hasty) {
        Peers *peers = peer->peers;
        int r;

        r = packet_recv(peer->fd, &peers->packet);
        if (r == -EAGAIN) {
                peer_poll(peer, UV_READABLE);
                return;
        }
        if (r == PACKET_E_EOF || r == -ECONNRESET)
                peer_enter(peer, PEER_CLOSING);
        else if (r == PACKET_E_TRUNCATED)
                peer_drop(peer, "a packet that is too long, or with more descriptors than can be taken");
        else if (r < 0)
                peer_drop(peer, "%s", strerror(-r));
        else if (peer->state != PEER_LISTENING)
                peer_drop(peer, "a request before the last one was answered");
        else if (hasty)
                peer_refuse_haste(peer);
        else
                peers->events->request(peers->userdata, peer, &peers->packet);
        packet_done(&peers->packet);
        if (r == 0)
                user_spend(peer->user);
        if (peer->state == PEER_LISTENING)
                peer_make_ready(peer);
}

static void on_pause_over(uv_timer_t *timer) {
        Peers *peers = timer->data;

        list_for_each(link, &peers->paused) {
                list_unlink(link);
                list_append(&peers->turns, link);
        }
        uv_idle_start(&peers->round, on_round);
}

/* It has spent what it may ask for. Return: the connection that is to be told so, or NULL if there is time to wait. */
static Peer *peers_pause(Peers *peers, User *user) {
        if (user->n_ready > peers->limits.requests * HASTE_MS / 1000)
                return list_entry(list_first(&user->ready), Peer, ready);
        list_unlink(&user->turn);
        list_append(&peers->paused, &user->turn);
        if (!uv_is_active((uv_handle_t *)&peers->pause))
                uv_timer_start(&peers->pause, on_pause_over, PAUSE_MS, 0);
        return NULL;
}

/* The next user's next connection. */
static void peers_turn(Peers *peers, uint64_t now) {
        User *user = list_entry(list_first(&peers->turns), User, turn);
        bool hasty = user_is_limited(user) && !user_may(user, now, peers->limits.requests);
        Peer *peer = hasty ? peers_pause(peers, user) : list_entry(list_first(&user->ready), Peer, ready);

        if (!peer)
                return;
        list_unlink(&user->turn);
        list_unlink(&peer->ready);
        if (--user->n_ready)
                list_append(&peers->turns, &user->turn);
        peer_receive(peer, hasty);
}

static void on_round(uv_idle_t *round) {
        Peers *peers = round->data;
        uint64_t began = uv_hrtime(), now = began;

        for (unsigned i = 0; i < ROUND_REQUESTS && !list_is_empty(&peers->turns); i++) {
                peers_turn(peers, now);
                now = uv_hrtime();
                if (now - began >= ROUND_NS)
                        break;
        }
        if (list_is_empty(&peers->turns))
                uv_idle_stop(round);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
        Peer *peer = poll->data;

        if (status < 0) {
                peer_enter(peer, PEER_CLOSING);
                return;
        }
        if (events & UV_WRITABLE) {
                peer_flush(peer);
                return;
        }
        if (events & UV_READABLE) {
                if (peer->state != PEER_LISTENING) {
                        peer_receive(peer, false);
                } else if (peer_is_ready(peer)) { /* it waits for its turn: no need to be told again */
                        peer_unpoll(peer);
                } else {
                        peer_make_ready(peer);
                }
                return;
        }
        if (events & UV_DISCONNECT)
                peer_enter(peer, PEER_CLOSING);
}

int peers_new(uv_loop_t *loop, Users *users, const PeersEvents *events, void *userdata, Peers **ret_peers) {
        Peers *peers = calloc(1, sizeof(*peers));

        if (!peers)
                return -ENOMEM;
        peers->loop = loop;
        peers->events = events;
        peers->userdata = userdata;
        peers->users = users;
        list_init(&peers->peers);
        list_init(&peers->turns);
        list_init(&peers->paused);
        uv_idle_init(loop, &peers->round);
        uv_timer_init(loop, &peers->pause);
        peers->round.data = peers->pause.data = peers;
        peers->open_handles = 2;
        *ret_peers = peers;
        return 0;
}

static void on_peers_closed(uv_handle_t *handle) {
        Peers *peers = handle->data;

        if (--peers->open_handles == 0)
                free(peers);
}

Peers *peers_free(Peers *peers) {
        if (!peers)
                return NULL;
        uv_close((uv_handle_t *)&peers->round, on_peers_closed);
        uv_close((uv_handle_t *)&peers->pause, on_peers_closed);
        return NULL;
}

void peers_set_limits(Peers *peers, const PeersLimits *limits) {
        peers->limits = *limits;
}

size_t peers_count(const Peers *peers) {
        return peers->count;
}

const Refusals *peers_refusals(const Peers *peers) {
        return &peers->refusals;
}

void peers_close(Peers *peers) {
        list_for_each(link, &peers->peers) {
                peer_enter(list_entry(link, Peer, link), PEER_CLOSING);
        }
}

/* Say no to a connection that never becomes a peer. */
static void refuse_connection(Peers *peers, int fd, const struct ucred *credentials, const char *why) {
        Shimport__Error body = SHIMPORT__ERROR__INIT;
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;
        size_t size;

        body.text = message_text(why);
        reply.body_case = SHIMPORT__REPLY__BODY_ERROR;
        reply.error = &body;
        if (message_encode(&reply.base, peers->answer, sizeof(peers->answer), &size) == 0)
                (void)packet_send(fd, peers->answer, size, NULL, 0);
        if (packet_recv(fd, &peers->packet) ==
            0) /* to be closed with something unread would keep it from reading this */
                packet_done(&peers->packet);
        tell_refusal(peers, credentials, "refused", why);
}

static int peer_new_consume(Peers *peers, int fd_, const struct ucred *credentials, Peer **ret_peer) {
        _cleanup_close_ int fd = fd_;
        _cleanup_free_ Peer *peer = calloc(1, sizeof(*peer));
        char text[96];
        User *user;
        int r;

        if (!peer)
                return -ENOMEM;
        r = users_get(peers->users, credentials->uid, &user);
        if (r < 0)
                return r;
        if (user->peers >= peers->limits.per_user) {
                users_put(peers->users, user);
                snprintf(text, sizeof(text), "too many connections of this user: MaxPeersPerUser= is %zu",
                         peers->limits.per_user);
                refuse_connection(peers, fd, credentials, text);
                return -EUSERS;
        }
        user->peers++;
        uv_timer_init(peers->loop, &peer->deadline);
        peer->deadline.data = peer;
        peer->open_handles = 1;
        peer->peers = peers;
        peer->state = PEER_LISTENING;
        peer->fd = steal_fd(&fd);
        peer->credentials = *credentials;
        peer->user = user;
        list_init(&peer->answers);
        list_init(&peer->ready);
        list_append(&peers->peers, &peer->link);
        peers->count++;
        *ret_peer = steal_pointer(&peer);
        return 0;
}

void peers_add_consume(Peers *peers, int fd_) {
        _cleanup_close_ int fd = fd_;
        struct ucred credentials;
        socklen_t size = sizeof(credentials);
        Peer *peer;
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return;
        if (peers->count >= peers->limits.all) {
                char text[64];

                snprintf(text, sizeof(text), "too many connections: MaxPeers= is %zu", peers->limits.all);
                refuse_connection(peers, fd, &credentials, text);
                return;
        }
        r = peer_new_consume(peers, steal_fd(&fd), &credentials, &peer);
        if (r < 0 && r != -EUSERS) /* which has been told */
                tell_refusal(peers, &credentials, "refused", strerror(-r));
        if (r == 0)
                peer_rest(peer);
}

uid_t peer_uid(const Peer *peer) {
        return peer->credentials.uid;
}

User *peer_user(const Peer *peer) {
        return peer->user;
}

static int peer_try_send(Peer *peer, const Shimport__Reply *reply, const int *fds, size_t n_fds, bool lossy) {
        Peers *peers = peer->peers;
        Answer *answer;
        size_t size;
        int r;

        r = message_encode(&reply->base, peers->answer, sizeof(peers->answer), &size);
        if (r < 0)
                return r;
        r = list_is_empty(&peer->answers) ? packet_send(peer->fd, peers->answer, size, fds, n_fds) : -EAGAIN;
        if (r != -EAGAIN || lossy)
                return r == -EAGAIN ? 0 : r;
        if (peer->n_answers >= ANSWERS_MAX)
                return -ENOBUFS;
        r = answer_new(peers->answer, size, fds, n_fds, &answer);
        if (r < 0)
                return r;
        list_append(&peer->answers, &answer->link);
        peer->n_answers++;
        return 0;
}

static void peer_send_any(Peer *peer, const Shimport__Reply *reply, const int *fds, size_t n_fds,
                          bool lossy) {
        int r;

        if (peer->state == PEER_CLOSING)
                return;
        r = peer_try_send(peer, reply, fds, n_fds, lossy);
        if (r == -EPIPE || r == -ECONNRESET)
                peer_enter(peer, PEER_CLOSING);
        else if (r < 0)
                peer_drop(peer, "it cannot be answered: %s", strerror(-r));
        else if (!lossy)
                peer_rest(peer);
}

void peer_send(Peer *peer, const Shimport__Reply *reply, const int *fds, size_t n_fds) {
        peer_send_any(peer, reply, fds, n_fds, false);
}

void peer_send_lossy(Peer *peer, const Shimport__Reply *reply) {
        peer_send_any(peer, reply, NULL, 0, true);
}

void peer_error(Peer *peer, const char *text) {
        Shimport__Error body = SHIMPORT__ERROR__INIT;
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;

        body.text = message_text(text);
        reply.body_case = SHIMPORT__REPLY__BODY_ERROR;
        reply.error = &body;
        peer_send(peer, &reply, NULL, 0);
}

void peer_refuse(Peer *peer, const char *text) {
        if (peer->state == PEER_CLOSING)
                return;
        tell_refusal(peer->peers, &peer->credentials, "refused", text);
        peer->last = true;
        peer_error(peer, text);
}

void peer_note_refusal(const Peer *peer, const char *text) {
        tell_refusal(peer->peers, &peer->credentials, "refused", text);
}

void peer_done(Peer *peer, const char *text) {
        Shimport__Done body = SHIMPORT__DONE__INIT;
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;

        body.text = message_text(text);
        reply.body_case = SHIMPORT__REPLY__BODY_DONE;
        reply.done = &body;
        peer_send(peer, &reply, NULL, 0);
}

void peer_work(Peer *peer, void *work, void (*cancel)(void *work), uint64_t patience_ms) {
        peer->work = work;
        peer->cancel = cancel;
        peer->patience_ms = patience_ms;
        peer_rest(peer);
}

void peer_work_goes_on(Peer *peer) {
        if (peer->state == PEER_WORKING)
                peer_enter(peer, PEER_WORKING);
}

void peer_work_end(Peer *peer) {
        peer->work = NULL;
        if (peer->state != PEER_CLOSING)
                peer_rest(peer);
}
