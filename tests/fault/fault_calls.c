/* SPDX-License-Identifier: MIT */

/* The system calls that fail. */

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fault.h"

static bool caller_is_uv(const void *caller) {
        return strstr(fault_object_of(caller), "libuv") != NULL;
}

#define OPENING EMFILE, ENFILE, ENOMEM

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));

int open(const char *path, int flags, ...) {
        va_list arguments;
        int mode;

        va_start(arguments, flags);
        mode = va_arg(arguments, int);
        va_end(arguments);
        FAIL_IF(open, -1, OPENING, EINTR)
        return REAL(open)(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
        va_list arguments;
        int mode;

        va_start(arguments, flags);
        mode = va_arg(arguments, int);
        va_end(arguments);
        FAIL_IF(openat, -1, OPENING, EINTR)
        return REAL(openat)(directory, path, flags, mode);
}

FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));

FILE *fopen(const char *path, const char *mode) {
        FAIL_IF(fopen, NULL, OPENING)
        return REAL(fopen)(path, mode);
}

DIR *fdopendir(int fd) {
        FAIL_IF(fdopendir, NULL, ENOMEM)
        return REAL(fdopendir)(fd);
}

int close(int fd) {
        bool fails = fault_call_fails("close", CALLER, KIND_SYSTEM, ERRORS(EINTR));
        int r = REAL(close)(fd);

        if (!fails)
                return r;
        errno = EINTR; /* and yet it is closed */
        return -1;
}

int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

int fcntl(int fd, int command, ...) {
        va_list arguments;
        void *argument;

        va_start(arguments, command);
        argument = va_arg(arguments, void *);
        va_end(arguments);
        if (command == F_DUPFD_CLOEXEC || command == F_DUPFD) {
                FAIL_IF(fcntl, -1, EMFILE)
        } else if (command == F_ADD_SEALS || command == F_GET_SEALS ||
                   (command == F_SETLEASE && (intptr_t)argument != F_UNLCK)) {
                FAIL_IF(fcntl, -1, ENOMEM)
        }
        return REAL(fcntl)(fd, command, argument);
}

int memfd_create(const char *name, unsigned flags) {
        FAIL_IF(memfd_create, -1, OPENING)
        return REAL(memfd_create)(name, flags);
}

int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));

int ftruncate(int fd, off_t size) {
        FAIL_IF(ftruncate, -1, ENOSPC, EINTR, ENOMEM)
        return REAL(ftruncate)(fd, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) __attribute__((alias("pwrite")));

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
        FAIL_IF(pwrite, -1, ENOSPC, EINTR, ENOMEM)
        if (size > 1 && fault_call_is_short("pwrite", CALLER))
                size /= 2;
        return REAL(pwrite)(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
        if (!fault_control->armed || caller_is_uv(CALLER))
                return REAL(write)(fd, data, size);
        FAIL_IF(write, -1, ENOSPC, EINTR, EAGAIN)
        if (size > 1 && fault_call_is_short("write", CALLER))
                size /= 2;
        return REAL(write)(fd, data, size);
}

ssize_t read(int fd, void *data, size_t size) {
        if (!fault_control->armed || caller_is_uv(CALLER))
                return REAL(read)(fd, data, size);
        FAIL_IF(read, -1, EINTR, ENOMEM)
        if (size > 1 && fault_call_is_short("read", CALLER))
                size = size > 1024 ? 1024 : size; /* inotify refuses less than one event */
        return REAL(read)(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset) __attribute__((alias("pread")));

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
        FAIL_IF(pread, -1, EINTR, ENOMEM)
        if (size > 1 && fault_call_is_short("pread", CALLER))
                size /= 2;
        return REAL(pread)(fd, data, size, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
        __attribute__((alias("mmap")));

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
        FAIL_IF(mmap, MAP_FAILED, ENOMEM)
        return REAL(mmap)(address, size, protection, flags, fd, offset);
}

int madvise(void *address, size_t size, int advice) {
        FAIL_IF(madvise, -1, ENOMEM, EAGAIN)
        return REAL(madvise)(address, size, advice);
}

int socket(int family, int type, int protocol) {
        FAIL_IF(socket, -1, OPENING)
        return REAL(socket)(family, type, protocol);
}

int socketpair(int family, int type, int protocol, int pair[2]) {
        FAIL_IF(socketpair, -1, OPENING)
        return REAL(socketpair)(family, type, protocol, pair);
}

int pipe2(int pair[2], int flags) {
        FAIL_IF(pipe2, -1, OPENING)
        return REAL(pipe2)(pair, flags);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
        FAIL_IF(accept4, -1, OPENING, EINTR, ECONNABORTED)
        return REAL(accept4)(fd, address, size, flags);
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
        FAIL_IF(connect, -1, EAGAIN, EINTR, ENOMEM, ECONNREFUSED)
        return REAL(connect)(fd, address, size);
}

int bind(int fd, const struct sockaddr *address, socklen_t size) {
        FAIL_IF(bind, -1, ENOMEM, ENOSPC)
        return REAL(bind)(fd, address, size);
}

int listen(int fd, int backlog) {
        FAIL_IF(listen, -1, ENOMEM)
        return REAL(listen)(fd, backlog);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
        FAIL_IF(getsockopt, -1, ENOMEM)
        return REAL(getsockopt)(fd, level, option, value, size);
}

int poll(struct pollfd *fds, nfds_t n, int timeout) {
        FAIL_IF(poll, -1, EINTR, ENOMEM)
        return REAL(poll)(fds, n, timeout);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        FAIL_IF(sendmsg, -1, EAGAIN, EINTR, ENOMEM, EPIPE)
        return REAL(sendmsg)(fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
        FAIL_IF(recvmsg, -1, EAGAIN, EINTR, ENOMEM, ECONNRESET)
        if (message->msg_iov[0].iov_len > 1 && fault_call_is_short("recvmsg", CALLER)) {
                size_t whole = message->msg_iov[0].iov_len;
                ssize_t r;

                message->msg_iov[0].iov_len = 8;
                r = REAL(recvmsg)(fd, message, flags);
                message->msg_iov[0].iov_len = whole;
                return r;
        }
        return REAL(recvmsg)(fd, message, flags);
}

int fstat64(int fd, struct stat64 *st) __attribute__((alias("fstat")));
int stat64(const char *path, struct stat64 *st) __attribute__((alias("stat")));
int lstat64(const char *path, struct stat64 *st) __attribute__((alias("lstat")));
int fstatat64(int directory, const char *path, struct stat64 *st, int flags)
        __attribute__((alias("fstatat")));

int fstat(int fd, struct stat *st) {
        FAIL_IF(fstat, -1, ENOMEM)
        return REAL(fstat)(fd, st);
}

int stat(const char *path, struct stat *st) {
        FAIL_IF(stat, -1, ENOMEM)
        return REAL(stat)(path, st);
}

int lstat(const char *path, struct stat *st) {
        FAIL_IF(lstat, -1, ENOMEM)
        return REAL(lstat)(path, st);
}

int fstatat(int directory, const char *path, struct stat *st, int flags) {
        FAIL_IF(fstatat, -1, ENOMEM)
        return REAL(fstatat)(directory, path, st, flags);
}

int statfs64(const char *path, struct statfs64 *st) __attribute__((alias("statfs")));
int fstatfs64(int fd, struct statfs64 *st) __attribute__((alias("fstatfs")));

int statfs(const char *path, struct statfs *st) {
        FAIL_IF(statfs, -1, ENOMEM, EINTR)
        return REAL(statfs)(path, st);
}

int fstatfs(int fd, struct statfs *st) {
        FAIL_IF(fstatfs, -1, ENOMEM, EINTR)
        return REAL(fstatfs)(fd, st);
}

ssize_t readlink(const char *path, char *buffer, size_t size) {
        FAIL_IF(readlink, -1, ENOMEM)
        return REAL(readlink)(path, buffer, size);
}

int inotify_init1(int flags) {
        FAIL_IF(inotify_init1, -1, OPENING)
        return REAL(inotify_init1)(flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
        FAIL_IF(inotify_add_watch, -1, ENOSPC, ENOMEM)
        return REAL(inotify_add_watch)(fd, path, mask);
}

pid_t fork(void) {
        FAIL_IF(fork, -1, EAGAIN, ENOMEM)
        return REAL(fork)();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
        if (fault_call_fails("pthread_create", CALLER, KIND_SYSTEM, ERRORS(EAGAIN)))
                return EAGAIN;
        return REAL(pthread_create)(thread, attributes, run, argument);
}
