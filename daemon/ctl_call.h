/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CTL_CALL_H
#define SHIMPORT_CTL_CALL_H

/* The control tool's side of the conversation with the daemon. */

#include "ctl.h"

/* The user's and the system's instance, and the private one that `run` starts where there is neither place. */
#define CALL_ENDPOINTS_MAX (ENDPOINTS_MAX + 1)

/* The sockets to try in order: --socket alone, or what processes would try. Return: how many. */
size_t call_endpoints(const Ctl *ctl, Endpoint endpoints[static CALL_ENDPOINTS_MAX]);

/* The directory of the private instance; it need not exist. */
char *call_private_directory(void);

/* Connect to the first that answers. Return: a socket; or -1, silently. */
int call_try_connect(const Ctl *ctl, Endpoint *ret_endpoint);

/* Connect. Return: a socket; or -1, and what to do next has been said. */
int call_connect(const Ctl *ctl);

/* Send a request. Return: 0, or -1 if it could not be, which has been said. */
int call_send(int socket, Shimport__Request *request, const int *fds, size_t n_fds);

/**
 * call_receive() - wait for one packet of the answer
 * @timeout_ms: -1: for ever
 *
 * Return: the reply; NULL if there is none, which has been said. An Error is a reply.
 */
Shimport__Reply *call_receive(int socket, int timeout_ms);

/* One request without an argument, answered with Done: its text goes to stdout. Return: CTL_OK or CTL_FAILED. */
int call_simple(const Ctl *ctl, Shimport__Request *request);

#endif
