/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LINGER_H
#define SHIMPORT_LINGER_H

/*
 * Images that are handed out no more, and that processes still have mapped: their memory is in use until the last
 * of these has gone, so it is counted until then.
 *
 * Who knows is the kernel. A process maps image and state through descriptors that the daemon opened for reading
 * alone, and keeps the state mapped for as long as the image. So the state has readers other than the daemon for
 * exactly as long as a process has the image mapped, or a descriptor of it under way: and a write lease
 * (fcntl(2), F_SETLEASE) is granted on a file that has no other reader, and refused otherwise. It is taken on the
 * state and not on the image, for a lease is the owner's to take, and the state is the daemon's own. A process
 * that deceives the daemon about this deceives it about its own memory alone.
 *
 * Nothing tells when the last one goes: one looks when it matters.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "user.h"

/* Each is a descriptor or two. */
#define LINGERS_MAX 1024

typedef struct Lingers {
        List list;
        Users *users;
        size_t n;
        uint64_t memory; /* bytes of these images */
} Lingers;

void lingers_init(Lingers *lingers, Users *users);

/**
 * linger_probe_consume() - does anybody else read this file?
 * @fd:         opened for reading, by nobody else's open; or -1: nobody
 * @ret_fd:     the file opened again, to hand out or to ask again, and @fd is closed
 *
 * Return: whether anybody does; true as well if there is no descriptor to be had just now, and then *ret_fd is @fd.
 */
bool linger_probe_consume(int fd, int *ret_fd);

/* Likewise, of an open that was never handed out. */
bool linger_has_readers(int fd);

/* Open a memfd of ours again, for reading alone. Return: a descriptor or a negative errno. */
int linger_open(int fd);

/**
 * lingers_add_consume() - count an image until nobody has it mapped
 * @fd:         its state, as linger_probe_consume() gave it
 * @former_fd:  its state from before a restart, or -1
 * @user:       whose memory it is; held, and given up
 */
void lingers_add_consume(Lingers *lingers, int fd, int former_fd, uint64_t size, User *user);

/* Look which are gone. */
void lingers_sweep(Lingers *lingers);

void lingers_clear(Lingers *lingers);

#endif
