/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_MEMFD_H
#define SHIMPORT_MEMFD_H

/*
 * Memory files: made, filled by pwrite (a writable mapping would make sealing fail with EBUSY), sealed, and
 * checked by those who receive one. See memfd_create(2) and F_ADD_SEALS in fcntl(2).
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Return: 0 or a negative errno, for this and the three below. */
int memfd_new(const char *name, int *ret_fd);
int memfd_resize(int fd, uint64_t size);
int memfd_write(int fd, uint64_t offset, const void *data, size_t size);

/* Neither its bytes nor its size nor its seals can change from here on. */
int memfd_seal(int fd);

enum {
        _MEMFD_E_0,
        MEMFD_E_UNSEALED, /* no memfd, or one whose bytes or size could still change */
        MEMFD_E_SIZE,     /* smaller than asked for, or too large to map */
        _MEMFD_E_N
};

typedef struct MemfdInfo {
        size_t size;
        uid_t owner; /* who created it: cannot be forged without privileges */
} MemfdInfo;

/**
 * memfd_check() - is this a sealed memfd, of what size and whose?
 *
 * Seals are tested by mask: newer kernels report more of them than asked for.
 *
 * Return: 0, MEMFD_E_* or a negative errno.
 */
int memfd_check(int fd, size_t least_size, MemfdInfo *ret_info);

/* Map a sealed memfd to read. Return: 0 or a negative errno. */
int memfd_map(int fd, size_t size, const void **ret_address);

#endif
