/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SYSCALLS_H
#define SHIMPORT_SYSCALLS_H

/*
 * The seam: system calls that can fail in interesting ways go through here. Each gives what the system call gives, with
 * the errno negated in place of -1, and none is retried here; close keeps errno. The fuzz targets stand other definitions
 * in their place (ld --wrap); the fault tests make the C library's own fail, and so those as well that are not here.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

int syscalls_close(int fd);
int syscalls_openat(int directory, const char *path, int flags);
int syscalls_fstat(int fd, struct stat *ret_stat);
int syscalls_dup(int fd);       /* close-on-exec */
int syscalls_get_flags(int fd); /* O_* */
int syscalls_memfd_create(const char *name, unsigned flags);
int syscalls_ftruncate(int fd, uint64_t size);
ssize_t syscalls_pwrite(int fd, const void *data, size_t size, uint64_t offset);
int syscalls_add_seals(int fd, int seals);
int syscalls_get_seals(int fd);
int syscalls_set_lease(int fd, int type); /* F_WRLCK, F_UNLCK */
int syscalls_mmap(size_t size, int protection, int flags, int fd, void **ret_address);
int syscalls_socket(int family, int type);
int syscalls_accept(int fd, int flags);
int syscalls_connect(int fd, const struct sockaddr *address, socklen_t size);
int syscalls_poll(int fd, short events, int timeout_ms);
ssize_t syscalls_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t syscalls_recvmsg(int fd, struct msghdr *message, int flags);

#endif
