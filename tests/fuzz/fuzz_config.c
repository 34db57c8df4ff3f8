/* SPDX-License-Identifier: MIT */

/* The configuration: any bytes are taken whole, or refused with a line for a person, and nothing leaks. */

#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        int fd = memfd_create("config", MFD_CLOEXEC), r;
        char path[32], *error = NULL;
        Config config;

        FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = config_load(path, false, &config, &error);
        if (r == 0) {
                FUZZ_CHECK(config.gc < _GC_N);
                FUZZ_CHECK(config_validate(&config, "/usr/lib/python3") < _VALIDATE_N);
                config_done(&config);
        } else {
                FUZZ_CHECK(r == CONFIG_E_INVALID && error && *error);
                free(error);
        }
        close(fd);
        return 0;
}
