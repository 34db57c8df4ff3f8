/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PEER_H
#define SHIMPORT_PEER_H

/*
 * The connections: packets in, packets out, and the time that each may take.
 *
 * Who has something to say waits for its turn: users take turns, a request each, and so do the connections of a user.
 * So a user who asks without end, over however many connections, is waited for by others for one request at most. Who
 * asks more often than a user may waits until there is something to spend again; where so many of a user wait that the
 * last would have given up by then, it is refused.
 *
 *      LISTENING ──> (a request is handled) ──> LISTENING
 *          ├──────> WORKING ──> LISTENING      the answer takes a while: a peer may say nothing meanwhile
 *          └──────> ANSWERING ──> LISTENING    the socket is full
 *      any ──> CLOSING
 *
 * Every state has a deadline. A peer that breaks a rule, or that the daemon has no memory or descriptors for, is
 * closed with a line in the log, and nothing else happens. A peer is freed in the loop, so the pointer stays good
 * for the rest of the callback that closes it.
 *
 * A queued answer owns its descriptors.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "list.h"
#include "packet.h"
#include "refusal.h"
#include "shimport.pb-c.h"
#include "user.h"

typedef struct Peer Peer;
typedef struct Peers Peers;

/* All connections; the handlers get the owner's userdata. */
typedef struct PeersEvents {
        /* A request: it owns its descriptors, what is not stolen is closed afterwards. */
        void (*request)(void *userdata, Peer *peer, Packet *packet);
        /* The last peer has gone. */
        void (*empty)(void *userdata);
} PeersEvents;

/* Return: 0 or -ENOMEM. */
int peers_new(uv_loop_t *loop, Users *users, const PeersEvents *events, void *userdata, Peers **ret_peers);

/* There must be no peers. Freed in the loop, by the close callback. Return: NULL. */
Peers *peers_free(Peers *peers);

typedef struct PeersLimits {
        size_t all, per_user; /* connections */
        uint64_t requests;    /* of one user in a second */
} PeersLimits;

void peers_set_limits(Peers *peers, const PeersLimits *limits);
size_t peers_count(const Peers *peers);
const Refusals *peers_refusals(const Peers *peers);

/* Close all; `empty` comes when they have gone, if there were any. */
void peers_close(Peers *peers);

/* Take a connected socket that does not block, or refuse and close it. */
void peers_add_consume(Peers *peers, int fd);

uid_t peer_uid(const Peer *peer);
User *peer_user(const Peer *peer);

/**
 * peer_send() - answer
 * @fds:        borrowed
 *
 * A peer that cannot be answered is closed.
 */
void peer_send(Peer *peer, const Shimport__Reply *reply, const int *fds, size_t n_fds);

/* Answer with something that may get lost when the peer does not keep up. */
void peer_send_lossy(Peer *peer, const Shimport__Reply *reply);

/* The short answers. */
void peer_done(Peer *peer, const char *text);
void peer_error(Peer *peer, const char *text);

/* It asks for what it may not have, or what we do not know: an Error, a line in the log, and no more from it. */
void peer_refuse(Peer *peer, const char *text);

/* Part of what it asks for is refused: a line in the log, and in the status. */
void peer_note_refusal(const Peer *peer, const char *text);

/* It broke a rule: close it, and say so in the log. */
__attribute__((format(printf, 2, 3))) void peer_drop(Peer *peer, const char *format, ...);

/**
 * peer_work() - the answer takes a while
 * @cancel:     called if the peer goes before peer_work_end()
 * @patience_ms: for how long there may be no peer_work_goes_on()
 */
void peer_work(Peer *peer, void *work, void (*cancel)(void *work), uint64_t patience_ms);
void peer_work_goes_on(Peer *peer);
void peer_work_end(Peer *peer);

#endif
