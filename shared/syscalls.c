/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "syscalls.h"

#define NEGATED(call)                         \
        ({                                    \
                __auto_type result = (call);  \
                result < 0 ? -errno : result; \
        })

int syscalls_close(int fd) {
        int saved = errno;
        int r = NEGATED(close(fd));

        errno = saved;
        return r;
}

int syscalls_openat(int directory, const char *path, int flags) {
        return NEGATED(openat(directory, path, flags));
}

int syscalls_fstat(int fd, struct stat *ret_stat) {
        return NEGATED(fstat(fd, ret_stat));
}

int syscalls_dup(int fd) {
        return NEGATED(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int syscalls_get_flags(int fd) {
        return NEGATED(fcntl(fd, F_GETFL));
}

int syscalls_memfd_create(const char *name, unsigned flags) {
        return NEGATED(memfd_create(name, flags));
}

int syscalls_ftruncate(int fd, uint64_t size) {
        return NEGATED(ftruncate(fd, (off_t)size));
}

ssize_t syscalls_pwrite(int fd, const void *data, size_t size, uint64_t offset) {
        return NEGATED(pwrite(fd, data, size, (off_t)offset));
}

int syscalls_add_seals(int fd, int seals) {
        return NEGATED(fcntl(fd, F_ADD_SEALS, seals));
}

int syscalls_get_seals(int fd) {
        return NEGATED(fcntl(fd, F_GET_SEALS));
}

int syscalls_set_lease(int fd, int type) {
        return NEGATED(fcntl(fd, F_SETLEASE, type));
}

int syscalls_mmap(size_t size, int protection, int flags, int fd, void **ret_address) {
        void *address = mmap(NULL, size, protection, flags, fd, 0);

        if (address == MAP_FAILED)
                return -errno;
        *ret_address = address;
        return 0;
}

int syscalls_socket(int family, int type) {
        return NEGATED(socket(family, type, 0));
}

int syscalls_accept(int fd, int flags) {
        return NEGATED(accept4(fd, NULL, NULL, flags));
}

int syscalls_connect(int fd, const struct sockaddr *address, socklen_t size) {
        return NEGATED(connect(fd, address, size));
}

int syscalls_poll(int fd, short events, int timeout_ms) {
        struct pollfd pollfd = { .fd = fd, .events = events };

        return NEGATED(poll(&pollfd, 1, timeout_ms));
}

ssize_t syscalls_sendmsg(int fd, const struct msghdr *message, int flags) {
        return NEGATED(sendmsg(fd, message, flags));
}

ssize_t syscalls_recvmsg(int fd, struct msghdr *message, int flags) {
        return NEGATED(recvmsg(fd, message, flags));
}
