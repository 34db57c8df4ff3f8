/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "memfd.h"
#include "util.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 8u
#endif

int memfd_new(const char *name, int *ret_fd) {
        int fd = syscalls_memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

        if (fd == -EINVAL) /* an older kernel */
                fd = syscalls_memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}

int memfd_resize(int fd, uint64_t size) {
        return syscalls_ftruncate(fd, size);
}

int memfd_write(int fd, uint64_t offset, const void *data, size_t size) {
        const uint8_t *bytes = data;

        while (size > 0) {
                ssize_t written = syscalls_pwrite(fd, bytes, size, offset);

                if (written == -EINTR)
                        continue;
                if (written <= 0)
                        return written < 0 ? (int)written : -EIO;
                bytes += written;
                offset += written;
                size -= written;
        }
        return 0;
}

int memfd_seal(int fd) {
        return syscalls_add_seals(fd, SEALS);
}

int memfd_check(int fd, size_t least_size, MemfdInfo *ret_info) {
        struct stat st;
        int r;

        r = syscalls_get_seals(fd);
        if (r == -EINVAL) /* not a memfd at all */
                return MEMFD_E_UNSEALED;
        if (r < 0)
                return r;
        if ((r & SEALS) != SEALS)
                return MEMFD_E_UNSEALED;
        r = syscalls_fstat(fd, &st);
        if (r < 0)
                return r;
        if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size < least_size ||
            (uint64_t)st.st_size > SIZE_MAX / 2)
                return MEMFD_E_SIZE;
        *ret_info = (MemfdInfo){ .size = (size_t)st.st_size, .owner = st.st_uid };
        return 0;
}

int memfd_map(int fd, size_t size, const void **ret_address) {
        void *address;
        int r;

        /* Not MAP_SHARED: kernels before 6.7 refuse it for a write-sealed memfd, even to read. */
        r = syscalls_mmap(size, PROT_READ, MAP_PRIVATE, fd, &address);
        if (r < 0)
                return r;
        *ret_address = address;
        return 0;
}
