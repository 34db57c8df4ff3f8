/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl_call.h"
#include "util.h"

#define ANSWER_MS 10000

char *call_private_directory(void) {
        return ctl_format("/tmp/shimport-%u", (unsigned)geteuid());
}

size_t call_endpoints(const Ctl *ctl, Endpoint endpoints[static CALL_ENDPOINTS_MAX]) {
        const char *named = getenv("SHIMPORT_SOCKET");
        size_t n;

        if (ctl->socket)
                return endpoint_from_path(ctl->socket, &endpoints[0]) < 0 ? 0 : 1;
        n = endpoint_list(endpoints);
        if (named && *named)
                return n;
        if (endpoint_from_path(ctl_format("%s/socket", call_private_directory()), &endpoints[n]) == 0)
                n++;
        return n;
}

int call_try_connect(const Ctl *ctl, Endpoint *ret_endpoint) {
        Endpoint endpoints[CALL_ENDPOINTS_MAX];
        size_t n = call_endpoints(ctl, endpoints);
        int fd;

        for (size_t i = 0; i < n; i++)
                if (endpoint_connect(&endpoints[i], &fd) == 0) {
                        *ret_endpoint = endpoints[i];
                        return fd;
                }
        return -1;
}

int call_connect(const Ctl *ctl) {
        Endpoint endpoints[CALL_ENDPOINTS_MAX], endpoint;
        size_t n;
        int fd;

        fd = call_try_connect(ctl, &endpoint);
        if (fd >= 0)
                return fd;
        n = call_endpoints(ctl, endpoints);
        fputs("shimportctl: no daemon answers", stderr);
        for (size_t i = 0; i < n; i++)
                fprintf(stderr, "%s %s", i ? "," : " at", endpoints[i].address.sun_path);
        fputs("; start one with 'shimportd', or with 'shimportctl run -- CMD'\n", stderr);
        return -1;
}

int call_send(int socket, Shimport__Request *request, const int *fds, size_t n_fds) {
        uint8_t *data;
        int r;

        request->protocol = SHIMPORT_PROTOCOL;
        data = ctl_alloc(shimport__request__get_packed_size(request));
        r = packet_send(socket, data, shimport__request__pack(request, data), fds, n_fds);
        if (r == 0)
                return 0;
        ctl_fail("the daemon cannot be asked: %s", strerror(-r));
        return -1;
}

static void *reply_alloc(void *userdata, size_t size) {
        (void)userdata;
        return ctl_alloc(size);
}

static void reply_free(void *userdata, void *memory) {
        (void)userdata;
        (void)memory;
}

Shimport__Reply *call_receive(int socket, int timeout_ms) {
        static ProtobufCAllocator allocator = { .alloc = reply_alloc, .free = reply_free };
        static Packet packet;
        struct pollfd pollfd = { .fd = socket, .events = POLLIN };
        Shimport__Reply *reply;
        int r;

        do
                r = poll(&pollfd, 1, timeout_ms);
        while (r < 0 && errno == EINTR);
        if (r <= 0) {
                ctl_fail("the daemon does not answer");
                return NULL;
        }
        r = packet_recv(socket, &packet);
        if (r) {
                ctl_fail("the daemon has hung up%s%s", r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
                return NULL;
        }
        reply = shimport__reply__unpack(&allocator, packet.size, packet.data);
        packet_done(&packet);
        if (!reply || reply->body_case == SHIMPORT__REPLY__BODY__NOT_SET) {
                ctl_fail("the daemon's answer is not understood: it may be of another version");
                return NULL;
        }
        return reply;
}

int call_simple(const Ctl *ctl, Shimport__Request *request) {
        _cleanup_close_ int socket = call_connect(ctl);
        Shimport__Reply *reply;

        if (socket < 0 || call_send(socket, request, NULL, 0) < 0)
                return CTL_FAILED;
        reply = call_receive(socket, ANSWER_MS);
        if (!reply)
                return CTL_FAILED;
        if (reply->body_case == SHIMPORT__REPLY__BODY_ERROR)
                return ctl_fail("%.*s", (int)reply->error->text.len, (char *)reply->error->text.data);
        if (reply->body_case != SHIMPORT__REPLY__BODY_DONE)
                return ctl_fail("the daemon answers something else");
        if (reply->done->text.len)
                printf("%.*s\n", (int)reply->done->text.len, (char *)reply->done->text.data);
        return CTL_OK;
}
