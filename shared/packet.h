/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PACKET_H
#define SHIMPORT_PACKET_H

/*
 * One packet of a SOCK_SEQPACKET socket: bytes, and the descriptors beside them. See unix(7), SCM_RIGHTS.
 *
 * A received packet owns its descriptors until it is freed or they are stolen (set to -1). Receiving never
 * leaves a descriptor open that the caller does not see: a packet that was cut short is closed here.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The kernel's limit of descriptors in one packet, SCM_MAX_FD. */
#define PACKET_FDS_MAX 253

/* The longest packet that either side sends: far above an attach with its hundred paths, below wmem_default. */
#define PACKET_SIZE_MAX (128u * 1024)

/* The roots of one attach: each may come back with two descriptors, an image and a state. */
#define PACKET_ROOTS_MAX 100

typedef struct Packet {
        size_t size;
        size_t n_fds;
        int fds[PACKET_FDS_MAX];
        uint8_t data[PACKET_SIZE_MAX];
} Packet;

enum {
        _PACKET_E_0,
        PACKET_E_EOF,       /* the peer has closed */
        PACKET_E_TRUNCATED, /* longer than PACKET_SIZE_MAX, or with more descriptors than fit */
        _PACKET_E_N
};

/**
 * packet_send() - send one packet
 * @fds:        borrowed; the kernel takes its own references
 *
 * Never raises SIGPIPE; never sends a part.
 *
 * Return: 0 or a negative errno, -EAGAIN among them on a non-blocking socket.
 */
int packet_send(int socket, const void *data, size_t size, const int *fds, size_t n_fds);

/**
 * packet_recv() - receive one packet, without waiting
 *
 * Return: 0, PACKET_E_* or a negative errno, -EAGAIN if there is none.
 */
int packet_recv(int socket, Packet *packet);

/* Likewise, but leave it there: whoever receives next gets the same packet, with descriptors of its own. */
int packet_peek(int socket, Packet *packet);

/* Close what descriptors the packet still owns. */
void packet_done(Packet *packet);

#endif
