/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_STATUS_H
#define SHIMPORT_STATUS_H

/* The answer to a status request: as many packets as the images need. */

#include "daemon.h"

/* "3 images, 61.2 of 1600 MiB, 120 attaches, 5 builds": for a service manager to show. Costs no system call unless images linger. */
void status_line(const Daemon *daemon, char *buffer, size_t size);

/* Return: 0 or -ENOMEM. */
int status_send(const Daemon *daemon, Peer *peer);

#endif
