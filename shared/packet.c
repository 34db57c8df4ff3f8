/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "packet.h"
#include "util.h"

typedef union Control {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
} Control;

int packet_send(int socket, const void *data, size_t size, const int *fds, size_t n_fds) {
        Control control;
        struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t sent;

        if (n_fds > PACKET_FDS_MAX || size > PACKET_SIZE_MAX)
                return -EMSGSIZE;
        if (n_fds) {
                message.msg_control = control.bytes;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                memset(control.bytes, 0, message.msg_controllen);
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
        }
        do
                sent = syscalls_sendmsg(socket, &message, MSG_NOSIGNAL);
        while (sent == -EINTR);
        if (sent < 0)
                return (int)sent;
        return (size_t)sent == size ? 0 : -EMSGSIZE;
}

static void packet_take_fds(Packet *packet, struct msghdr *message) {
        for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
                size_t n;

                if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(packet->fds + packet->n_fds, CMSG_DATA(cmsg), n * sizeof(int));
                packet->n_fds += n;
        }
}

static int packet_get(int socket, int flags, Packet *packet) {
        Control control;
        struct iovec iov = { .iov_base = packet->data, .iov_len = sizeof(packet->data) };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        ssize_t received;

        packet->size = 0;
        packet->n_fds = 0;
        do
                received = syscalls_recvmsg(socket, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (received == -EINTR);
        if (received < 0)
                return (int)received;
        packet_take_fds(packet, &message);
        if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
                packet_done(packet);
                return PACKET_E_TRUNCATED;
        }
        if (received == 0) { /* no side ever sends an empty packet */
                packet_done(packet);
                return PACKET_E_EOF;
        }
        packet->size = (size_t)received;
        return 0;
}

int packet_recv(int socket, Packet *packet) {
        return packet_get(socket, 0, packet);
}

int packet_peek(int socket, Packet *packet) {
        return packet_get(socket, MSG_PEEK, packet);
}

void packet_done(Packet *packet) {
        for (size_t i = 0; i < packet->n_fds; i++)
                packet->fds[i] = fd_close(packet->fds[i]);
        packet->n_fds = 0;
}
