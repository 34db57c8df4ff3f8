/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_STATUS_H
#define SHIMPORT_STATUS_H

/* The answer to a status request: as many packets as the images need. */

#include "daemon.h"

/* Return: 0 or -ENOMEM. */
int status_send(const Daemon *daemon, Peer *peer);

#endif
