/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_ENDPOINT_H
#define SHIMPORT_ENDPOINT_H

/*
 * Where a daemon listens and how to get there. Both the process and the control tool ask here, so that they
 * speak to the same daemon.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define SHIMPORT_PROTOCOL 1u

/* The socket of the system instance. */
#define ENDPOINT_SYSTEM "/run/shimport/socket"

typedef struct Endpoint {
        struct sockaddr_un address; /* sun_path is NUL-terminated */
} Endpoint;

/* At most: SHIMPORT_SOCKET alone, or the user's instance and then the system's. */
#define ENDPOINTS_MAX 2

/**
 * endpoint_list() - the sockets to try, in order
 *
 * $SHIMPORT_SOCKET if set, and then nothing else; otherwise $XDG_RUNTIME_DIR/shimport/socket if set, then
 * ENDPOINT_SYSTEM. The environment is not heeded in set-user-ID programs, see secure_getenv(3).
 *
 * Return: how many.
 */
size_t endpoint_list(Endpoint endpoints[static ENDPOINTS_MAX]);

/* Return: 0, or -ENAMETOOLONG. */
int endpoint_from_path(const char *path, Endpoint *ret_endpoint);

/**
 * endpoint_connect() - connect without waiting
 *
 * Only a daemon of root's or of the caller's own user is spoken to (SO_PEERCRED, the uid who listens).
 *
 * Return: 0; -EPERM if somebody else listens; -EAGAIN if the daemon does not keep up; another errno.
 */
int endpoint_connect(const Endpoint *endpoint, int *ret_fd);

#endif
