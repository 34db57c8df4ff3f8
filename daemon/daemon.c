/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon.h"
#include "kept.h"
#include "log.h"
#include "loop_memory.h"
#include "paths.h"
#include "request.h"
#include "status.h"
#include "util.h"
#include "version.h"

/* A daemon that was killed while it started a builder leaves a child that has its socket until it is the builder. */
#define LISTEN_TRIES 5
#define LISTEN_PAUSE_US 50000

/* What ends after this is started again when somebody comes. */
#define ACTIVATED_IDLE_EXIT 900

static void daemon_stop(Daemon *daemon);

static uint64_t daemon_idle_exit(const Daemon *daemon) {
        if (daemon->options.idle_exit >= 0)
                return (uint64_t)daemon->options.idle_exit;
        if (daemon->config.idle_exit != CONFIG_IDLE_EXIT_DEFAULT)
                return daemon->config.idle_exit;
        return daemon->activated && !daemon->options.system ? ACTIVATED_IDLE_EXIT : 0;
}

static bool daemon_is_quiet(const Daemon *daemon) {
        return !peers_count(daemon->peers) && queue_is_idle(daemon->queue);
}

static void on_idle(uv_timer_t *timer) {
        Daemon *daemon = timer->data;
        uint64_t limit = daemon_idle_exit(daemon) * 1000;
        uint64_t quiet = uv_now(&daemon->loop) - daemon->quiet_since;

        if (!limit || !daemon_is_quiet(daemon)) /* started again when it is quiet, or reconfigured */
                return;
        if (quiet < limit) {
                uv_timer_start(&daemon->idle, on_idle, limit - quiet, 0);
                return;
        }
        log_info("nobody has come for %llu seconds: done", (unsigned long long)limit / 1000);
        daemon_stop(daemon);
}

/* The second half of stopping: nothing is left that could call back into these. */
static void daemon_close_rest(Daemon *daemon) {
        for (size_t i = 0; i < ELEMENTSOF(daemon->signals);
             i++) /* until here a second signal changes nothing */
                uv_close((uv_handle_t *)&daemon->signals[i], NULL);
        daemon->peers = peers_free(daemon->peers);
        daemon->store = store_free(daemon->store);
        daemon->queue = queue_free(daemon->queue);
        daemon->watch = watch_free(daemon->watch);
}

/* The last peer has gone, or the last builder. */
static void on_quiet(void *userdata) {
        Daemon *daemon = userdata;

        if (!daemon->store || !daemon_is_quiet(daemon))
                return;
        daemon->quiet_since = uv_now(&daemon->loop);
        if (daemon->stopping)
                daemon_close_rest(daemon);
        else if (daemon_idle_exit(daemon) && !uv_is_active((uv_handle_t *)&daemon->idle))
                on_idle(&daemon->idle);
}

static void daemon_stop(Daemon *daemon) {
        if (daemon->stopping)
                return;
        daemon->stopping = true;
        manager_stopping();
        uv_close((uv_handle_t *)&daemon->idle, NULL);
        uv_close((uv_handle_t *)&daemon->watchdog, NULL);
        daemon->listener = listener_free(daemon->listener);
        peers_close(daemon->peers);
        store_leave(daemon->store);
        on_quiet(daemon);
}

static void on_signal(uv_signal_t *handle, int number) {
        Daemon *daemon = handle->data;
        _cleanup_free_ char *text = NULL;

        if (daemon->stopping)
                return;
        if (number != SIGHUP) {
                log_info("stopped by signal %d", number);
                daemon_stop(daemon);
                return;
        }
        if (daemon_reload(daemon, &text) == 0)
                log_notice("%s", text);
        else
                log_error("%s; the configuration stays as it was", text ?: "no memory");
}

static void on_request(void *userdata, Peer *peer, Packet *packet) {
        request_handle(userdata, peer, packet);
}

static void on_connection(void *userdata, int fd) {
        Daemon *daemon = userdata;

        peers_add_consume(daemon->peers, fd);
}

static const PeersEvents daemon_peers_events = { .request = on_request, .empty = on_quiet };

static int daemon_find_client(const Config *config, char **ret_path) {
        char *path;

        if (!config->client_path)
                return paths_client(ret_path);
        path = strdup(config->client_path);
        if (!path)
                return -ENOMEM;
        *ret_path = path;
        return 0;
}

/* Return: 0, DAEMON_E_CONFIG or -ENOMEM. */
static int daemon_load(Daemon *daemon, Config *ret_config, char **ret_error) {
        int r;

        r = config_load(daemon->config_path, !daemon->options.config, ret_config, ret_error);
        if (r == 0)
                ret_config->system = daemon->options.system;
        return r > 0 ? DAEMON_E_CONFIG : r;
}

/* Let the parts know of the configuration in force. */
static void daemon_apply(Daemon *daemon) {
        queue_set_places(daemon->queue, daemon->config.build_jobs);
        queue_set_limits(daemon->queue, daemon->config.max_builds_per_user,
                         daemon->config.max_queued_per_user);
        watch_set_limit(daemon->watch, daemon->config.watch_limit);
        peers_set_limits(daemon->peers, &(PeersLimits){
                                                .all = daemon->config.max_peers,
                                                .per_user = daemon->config.max_peers_per_user,
                                                .requests = daemon->config.max_attaches_per_user,
                                        });
        store_reconfigure(daemon->store, daemon->client_path);
}

static int daemon_read_again(Daemon *daemon, char **ret_text) {
        _cleanup_(config_done) Config config = { 0 };
        _cleanup_free_ char *client = NULL, *text = NULL;
        bool moved;
        int r;

        r = daemon_load(daemon, &config, ret_text);
        if (r)
                return r;
        r = daemon_find_client(&config, &client);
        if (r < 0 && r != -ENOENT)
                return r;
        moved = strcmp(config.socket ?: "", daemon->config.socket ?: "") != 0;
        if (asprintf(&text, "configuration read from %s%s", daemon->config_path ?: "nowhere",
                     moved ? "; Socket= is heeded at the next start" : "") < 0)
                return -ENOMEM;

        config_done(&daemon->config);
        daemon->config = config;
        config = (Config){ 0 };
        if (client) {
                free(daemon->client_path);
                daemon->client_path = steal_pointer(&client);
        }
        daemon_apply(daemon);
        on_quiet(daemon);
        *ret_text = steal_pointer(&text);
        return 0;
}

/* What `systemctl status` shows, where it has changed. */
static void daemon_tell(Daemon *daemon) {
        char line[sizeof(daemon->told)];

        if (!manager_is_there())
                return;
        status_line(daemon, line, sizeof(line));
        if (strcmp(line, daemon->told) == 0)
                return;
        strcpy(daemon->told, line);
        manager_status("%s", line);
}

static void on_ping(uv_timer_t *timer) {
        manager_alive();
        daemon_tell(timer->data);
}

int daemon_reload(Daemon *daemon, char **ret_text) {
        int r;

        manager_reloading();
        r = daemon_read_again(daemon, ret_text);
        manager_ready();
        daemon_tell(daemon);
        return r;
}

static int daemon_configure(Daemon *daemon) {
        _cleanup_free_ char *error = NULL;
        const char *named = daemon->options.socket ?: secure_getenv("SHIMPORT_SOCKET");
        int r;

        if (daemon->options.config)
                daemon->config_path = strdup(daemon->options.config);
        else if (paths_config(daemon->options.system, &daemon->config_path) == -ENOENT)
                daemon->config_path = NULL;
        if (daemon->options.config && !daemon->config_path)
                return -ENOMEM;
        r = daemon_load(daemon, &daemon->config, &error);
        if (r) {
                log_error("%s", error ?: strerror(-r));
                return r;
        }
        if (!named || !*named)
                named = daemon->config.socket;
        if (named)
                r = (daemon->socket_path = strdup(named)) ? 0 : -ENOMEM;
        else
                r = paths_socket(daemon->options.system, &daemon->socket_path);
        if (r == -ENOENT) {
                log_error("no place for a socket: XDG_RUNTIME_DIR is not set; name one with --socket");
                return DAEMON_E_SOCKET;
        }
        if (r < 0)
                return r;
        r = daemon_find_client(&daemon->config, &daemon->client_path);
        if (r == -ENOENT) {
                log_error("the client is not beside this program; set ClientPath= in the configuration");
                return DAEMON_E_CONFIG;
        }
        return r;
}

static int daemon_open_handles(Daemon *daemon) {
        static const int numbers[ELEMENTSOF(daemon->signals)] = { SIGTERM, SIGINT, SIGHUP };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                uv_signal_init(&daemon->loop, &daemon->signals[i]);
                daemon->signals[i].data = daemon;
        }
        uv_timer_init(&daemon->loop, &daemon->idle);
        daemon->idle.data = daemon;
        manager_watch(&daemon->loop, &daemon->watchdog, on_ping);
        daemon->watchdog.data = daemon;
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                r = uv_signal_start(&daemon->signals[i], on_signal, numbers[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Serve the socket that was handed over, and call it by its own name. */
static int daemon_listen_activated(Daemon *daemon, int fd) {
        struct sockaddr_un address = { 0 };
        socklen_t size = sizeof(address);
        int r;

        if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 && *address.sun_path) {
                char *path = strndup(address.sun_path, sizeof(address.sun_path));

                if (path) {
                        free(daemon->socket_path);
                        daemon->socket_path = path;
                }
        }
        r = listener_new_consume(&daemon->loop, fd, on_connection, daemon, &daemon->listener);
        if (r < 0) {
                log_error("cannot serve the socket of the service manager: %s", strerror(-r));
                return DAEMON_E_SOCKET;
        }
        daemon->activated = true;
        return 0;
}

static int daemon_listen(Daemon *daemon, int fd) {
        int r;

        if (fd >= 0)
                return daemon_listen_activated(daemon, fd);

        for (unsigned i = 0; i < LISTEN_TRIES; i++) {
                r = listener_new(&daemon->loop, daemon->socket_path, on_connection, daemon,
                                 &daemon->listener);
                if (r == 0)
                        return 0;
                if (r != LISTENER_E_IN_USE)
                        break;
                usleep(LISTEN_PAUSE_US);
        }
        if (r == LISTENER_E_IN_USE)
                log_error("%s is in use by a live daemon", daemon->socket_path);
        else
                log_error("cannot listen at %s: %s", daemon->socket_path, strerror(-r));
        return DAEMON_E_SOCKET;
}

/* Everything on the loop; what has been made when one of them fails is closed by daemon_stop(). */
static int daemon_start(Daemon *daemon) {
        _cleanup_close_ int socket = manager_steal_socket(&daemon->handed);
        size_t n_kept;
        int r;

        users_init(&daemon->users);
        r = peers_new(&daemon->loop, &daemon->users, &daemon_peers_events, daemon, &daemon->peers);
        if (r == 0)
                r = queue_new(&daemon->loop, on_quiet, daemon, &daemon->queue);
        if (r == 0)
                r = watch_new(&daemon->loop, &daemon->watch);
        if (r == 0)
                r = store_new(&daemon->loop, daemon->watch, daemon->queue, &daemon->users, &daemon->config,
                              daemon->client_path, &daemon->store);
        if (r < 0) {
                log_error("cannot start: %s", strerror(-r));
                daemon->queue = queue_free(daemon->queue);
                daemon->watch = watch_free(daemon->watch);
                daemon->peers = peers_free(daemon->peers);
                return r;
        }
        daemon_apply(daemon);
        n_kept = kept_restore(daemon->store, &daemon->handed);
        if (n_kept)
                log_info("goes on with %zu images", n_kept);
        r = daemon_open_handles(daemon);
        if (r < 0)
                log_error("cannot start: %s", strerror(-r));
        else
                r = daemon_listen(daemon, steal_fd(&socket));
        if (r)
                daemon_stop(daemon);
        return r;
}

static void daemon_done(Daemon *daemon) {
        if (daemon->users.n)
                users_done(&daemon->users);
        config_done(&daemon->config);
        free(daemon->config_path);
        free(daemon->socket_path);
        free(daemon->client_path);
        manager_fds_done(&daemon->handed);
        free(daemon);
}

static void daemon_donep(Daemon **daemon) {
        if (*daemon)
                daemon_done(*daemon);
}

/* Each image is a descriptor, and each peer. */
static void raise_descriptor_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max < LOOP_FDS_MAX ? limit.rlim_max : LOOP_FDS_MAX;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

int daemon_run(const DaemonOptions *options) {
        _cleanup_(daemon_donep) Daemon *daemon = calloc(1, sizeof(*daemon));
        int r, closed;

        if (!daemon)
                return -ENOMEM;
        daemon->options = *options;
        r = manager_take_fds(&daemon->handed);
        if (r < 0) {
                log_error("cannot take what the service manager hands over: %s", strerror(-r));
                return r;
        }
        r = daemon_configure(daemon);
        if (r)
                return r;
        raise_descriptor_limit();
        loop_memory_reserve();
        r = uv_loop_init(&daemon->loop);
        if (r < 0) {
                log_error("cannot start: %s", strerror(-r));
                return r;
        }
        r = daemon_start(daemon);
        if (r == 0) {
                daemon->started = uv_now(&daemon->loop);
                log_info("shimportd %s listens at %s", SHIMPORT_VERSION, daemon->socket_path);
                manager_ready();
                daemon_tell(daemon);
                on_quiet(daemon);
        }
        uv_run(&daemon->loop, UV_RUN_DEFAULT);
        closed = uv_loop_close(&daemon->loop);
        if (closed < 0)
                log_error("the loop did not end empty: %s", strerror(-closed));
        return r ?: closed;
}
