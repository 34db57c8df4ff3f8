/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_MANAGER_H
#define SHIMPORT_MANAGER_H

/*
 * The service manager: what it hands over at the start, and what it is told. See sd_listen_fds(3) and sd_notify(3).
 *
 * Without one nothing is handed over, and what it would be told goes nowhere. A manager that cannot be reached is
 * no error either: it notices by itself, by the watchdog.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* A descriptor that was handed over. */
typedef struct ManagerFd {
        int fd; /* owned; -1 once it is stolen */
        char *name;
} ManagerFd;

typedef struct ManagerFds {
        ManagerFd *fds;
        size_t n;
} ManagerFds;

#define MANAGER_FDS_NONE ((ManagerFds){ 0 })

/**
 * manager_take_fds() - everything that was handed over
 *
 * To be called once, before anything is opened. No child inherits any of it.
 *
 * Return: 0 or a negative errno.
 */
int manager_take_fds(ManagerFds *ret_fds);

/* Closes what was not stolen. */
void manager_fds_done(ManagerFds *fds);

/* The socket to serve, stolen from what was handed over, or -1. More than one is not what we asked for. */
int manager_steal_socket(ManagerFds *fds);

/* Is there a manager that listens? */
bool manager_is_there(void);

void manager_ready(void);
void manager_reloading(void);
void manager_stopping(void);

/* The one line that `systemctl status` shows. */
__attribute__((format(printf, 1, 2))) void manager_status(const char *format, ...);

/* Have descriptors kept for the next daemon, under a name of letters, digits and dashes. */
void manager_keep(const char *name, const int *fds, size_t n_fds);

/* They are needed no more. */
void manager_drop(const char *name);

/* Tell the watchdog, from the loop itself, that the loop goes round. */
void manager_alive(void);

/* Have the loop do so in time, if there is a watchdog. The handle is closed by its owner. */
void manager_watch(uv_loop_t *loop, uv_timer_t *timer, uv_timer_cb ping);

#endif
