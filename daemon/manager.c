/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "manager.h"
#include "util.h"

#define STATUS_MAX 512

/* Told so many times in the time that the watchdog waits: one word may come late. */
#define WATCHDOG_PINGS 2

int manager_take_fds(ManagerFds *ret_fds) {
        ManagerFds fds = MANAGER_FDS_NONE;
        char **names = NULL;
        int n;

        n = sd_listen_fds_with_names(true, &names);
        if (n <= 0)
                return n;
        fds.fds = calloc((size_t)n, sizeof(*fds.fds));
        for (int i = 0; i < n; i++) {
                if (fds.fds)
                        fds.fds[fds.n++] = (ManagerFd){ .fd = SD_LISTEN_FDS_START + i, .name = names[i] };
                else {
                        fd_close(SD_LISTEN_FDS_START + i);
                        free(names[i]);
                }
        }
        free(names);
        if (!fds.fds)
                return -ENOMEM;
        *ret_fds = fds;
        return 0;
}

void manager_fds_done(ManagerFds *fds) {
        for (size_t i = 0; i < fds->n; i++) {
                fd_close(fds->fds[i].fd);
                free(fds->fds[i].name);
        }
        free(fds->fds);
        *fds = MANAGER_FDS_NONE;
}

int manager_steal_socket(ManagerFds *fds) {
        int found = -1;

        for (size_t i = 0; i < fds->n; i++) {
                if (fds->fds[i].fd < 0 ||
                    sd_is_socket_unix(fds->fds[i].fd, SOCK_SEQPACKET, true, NULL, 0) <= 0)
                        continue;
                if (found < 0)
                        found = steal_fd(&fds->fds[i].fd);
        }
        return found;
}

bool manager_is_there(void) {
        const char *socket = getenv("NOTIFY_SOCKET");

        return socket && *socket;
}

void manager_ready(void) {
        (void)sd_notify(false, "READY=1");
}

void manager_reloading(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now); /* which Type=notify-reload wants to see */
        (void)sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%llu",
                         (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
}

void manager_stopping(void) {
        (void)sd_notify(false, "STOPPING=1\nSTATUS=Stopping");
}

void manager_status(const char *format, ...) {
        char status[STATUS_MAX];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(status, sizeof(status), format, arguments);
        va_end(arguments);
        (void)sd_notifyf(false, "STATUS=%s", status);
}

void manager_keep(const char *name, const int *fds, size_t n_fds) {
        char message[128];

        snprintf(message, sizeof(message), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
        (void)sd_pid_notify_with_fds(0, false, message, fds, (unsigned)n_fds);
}

void manager_drop(const char *name) {
        (void)sd_notifyf(false, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

void manager_alive(void) {
        (void)sd_notify(false, "WATCHDOG=1");
}

void manager_watch(uv_loop_t *loop, uv_timer_t *timer, uv_timer_cb ping) {
        uint64_t interval_us;

        uv_timer_init(loop, timer);
        if (sd_watchdog_enabled(false, &interval_us) > 0) {
                uint64_t pause = interval_us / 1000 / WATCHDOG_PINGS;

                uv_timer_start(timer, ping, pause, pause ? pause : 1);
        }
}
