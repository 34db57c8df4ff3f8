/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "endpoint.h"
#include "identity.h"
#include "util.h"

int endpoint_from_path(const char *path, Endpoint *ret_endpoint) {
        Endpoint endpoint = { .address.sun_family = AF_UNIX };

        if (strlen(path) >= sizeof(endpoint.address.sun_path))
                return -ENAMETOOLONG;
        strcpy(endpoint.address.sun_path, path);
        *ret_endpoint = endpoint;
        return 0;
}

size_t endpoint_list(Endpoint endpoints[static ENDPOINTS_MAX]) {
        const char *named = secure_getenv("SHIMPORT_SOCKET");
        const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
        char path[sizeof(endpoints->address.sun_path) + 1];
        size_t n = 0;

        if (named && *named)
                return endpoint_from_path(named, &endpoints[0]) < 0 ? 0 : 1;
        if (runtime && *runtime) {
                snprintf(path, sizeof(path), "%s/shimport/socket", runtime);
                if (endpoint_from_path(path, &endpoints[n]) == 0)
                        n++;
        }
        if (endpoint_from_path(ENDPOINT_SYSTEM, &endpoints[n]) == 0)
                n++;
        return n;
}

int endpoint_connect(const Endpoint *endpoint, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        struct ucred peer;
        socklen_t size = sizeof(peer);
        int r;

        fd = syscalls_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return fd;
        r = syscalls_connect(fd, (const struct sockaddr *)&endpoint->address, sizeof(endpoint->address));
        if (r < 0)
                return r;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        if (peer.uid != 0 && !identity_is_own(peer.uid))
                return -EPERM;
        *ret_fd = steal_fd(&fd);
        return 0;
}
