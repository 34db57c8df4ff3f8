/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_DAEMON_H
#define SHIMPORT_DAEMON_H

/*
 * The daemon: the one owner of the loop and of everything on it. One thread.
 *
 * It ends by itself when nobody has been connected and nothing been built for a while, if it was told to, or if it
 * is a user's and the service manager listens for it meanwhile; and by SIGTERM or SIGINT. Then it first closes what may still ask for something, waits for the builders it has killed
 * to be reaped, and closes the rest, so that the loop ends empty.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "config.h"
#include "latency.h"
#include "listener.h"
#include "manager.h"
#include "message.h"
#include "peer.h"
#include "queue.h"
#include "store.h"
#include "watch.h"

/* What the command line says: NULL and -1 for what it does not say. Borrowed for as long as the daemon lives. */
typedef struct DaemonOptions {
        const char *config;
        const char *socket;
        int64_t idle_exit;
        bool system; /* serve all users, not one */
} DaemonOptions;

typedef struct Daemon {
        DaemonOptions options;
        Config config;
        char *config_path, *socket_path, *client_path;
        uv_loop_t loop;
        uv_signal_t signals[3];
        uv_timer_t idle, watchdog;
        ManagerFds handed; /* what the service manager has handed over, until it has found its place */
        bool activated;    /* the socket is the service manager's: it listens on when we end */
        Users users;
        Watch *watch;
        Queue *queue;
        Store *store;
        Peers *peers;
        Listener *listener;
        MessageDecoder decoder;
        bool stopping;
        uint64_t started, quiet_since; /* loop's milliseconds */
        /* for status */
        Latency attaching;
        uint64_t served, fallback, stale;
        char told[192]; /* the line that the service manager was given last */
} Daemon;

enum {
        _DAEMON_E_0,
        DAEMON_E_CONFIG, /* the configuration is not accepted */
        DAEMON_E_SOCKET, /* another daemon listens there, or the socket cannot be made */
        _DAEMON_E_N
};

/**
 * daemon_run() - be the daemon, until told to stop
 *
 * Errors have been logged.
 *
 * Return: 0, DAEMON_E_* or a negative errno.
 */
int daemon_run(const DaemonOptions *options);

/**
 * daemon_reload() - read the configuration again; if it is not accepted the old one stays in force
 * @ret_text:   what a person should know, allocated
 *
 * Return: 0, DAEMON_E_CONFIG or -ENOMEM.
 */
int daemon_reload(Daemon *daemon, char **ret_text);

#endif
