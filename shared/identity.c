/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "identity.h"
#include "util.h"

/* Has every user a number in our user namespace? So it is on a host, where nobody is 65534 but nobody. */
static bool all_are_mapped(void) {
        _cleanup_close_ int fd = syscalls_openat(AT_FDCWD, "/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
        unsigned inside, outside, count;
        char text[64];
        ssize_t size;

        if (fd < 0)
                return false;
        size = read(fd, text, sizeof(text) - 1);
        if (size <= 0)
                return false;
        text[size] = '\0';
        return sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 && count == UINT32_MAX;
}

bool identity_is_known(uid_t uid) {
        return uid != IDENTITY_OVERFLOW || all_are_mapped();
}

bool identity_is_own(uid_t uid) {
        return uid == geteuid() && identity_is_known(uid);
}
