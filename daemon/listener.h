/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LISTENER_H
#define SHIMPORT_LISTENER_H

/*
 * The socket that is listened on. It belongs to one daemon at a time: whoever holds the lock of the file beside
 * it, PATH.lock. A socket left behind by a dead daemon is replaced. One that the service manager has handed over
 * stays the manager's: it is neither locked nor unlinked.
 *
 * When descriptors or memory run out the listener pauses, so that it neither spins nor takes connections that
 * could only be closed.
 */

#include <uv.h>

typedef struct Listener Listener;

enum {
        _LISTENER_E_0,
        LISTENER_E_IN_USE, /* a live daemon listens there */
        _LISTENER_E_N
};

/* Gets the connected socket, which it owns from there on. */
typedef void (*ListenerHandler)(void *userdata, int fd);

/**
 * listener_new() - listen at a path
 *
 * The directory is made if it is missing, open to everybody if we are root and to nobody else otherwise; so is
 * the socket.
 *
 * Return: 0, LISTENER_E_IN_USE or a negative errno.
 */
int listener_new(uv_loop_t *loop, const char *path, ListenerHandler handler, void *userdata,
                 Listener **ret_listener);

/**
 * listener_new_consume() - serve a socket that listens already
 * @fd:         closed if it fails
 *
 * Return: 0 or a negative errno.
 */
int listener_new_consume(uv_loop_t *loop, int fd, ListenerHandler handler, void *userdata,
                         Listener **ret_listener);

/* Unlinks the socket at once, if it is ours; freed in the loop, by the close callback. Return: NULL. */
Listener *listener_free(Listener *listener);

#endif
