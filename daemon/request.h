/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_REQUEST_H
#define SHIMPORT_REQUEST_H

/* What peers ask for: each request is decoded, checked, and answered or refused. */

#include "daemon.h"

/* Handle a request; the packet keeps what descriptors it has left. */
void request_handle(Daemon *daemon, Peer *peer, Packet *packet);

#endif
