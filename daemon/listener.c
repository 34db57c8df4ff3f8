/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "endpoint.h"
#include "listener.h"
#include "log.h"
#include "util.h"

/* Connections taken before the others on the loop have their turn. */
#define ACCEPTS_AT_ONCE 64

#define PAUSE_MS 100

struct Listener {
        uv_poll_t poll;
        uv_timer_t pause;
        unsigned open_handles;
        int fd, lock;
        char *path, *lock_path;
        ListenerHandler handler;
        void *userdata;
};

static void on_connection(uv_poll_t *poll, int status, int events);

/* The socket first, the lock last: whoever takes the lock finds no live socket. */
static void listener_release(Listener *listener) {
        if (listener->fd >= 0 && listener->path)
                (void)unlink(listener->path);
        listener->fd = fd_close(listener->fd);
        if (listener->lock >= 0)
                (void)unlink(listener->lock_path);
        listener->lock = fd_close(listener->lock);
}

static void listener_destroy(Listener *listener) {
        listener_release(listener);
        free(listener->path);
        free(listener->lock_path);
        free(listener);
}

static void listener_destroyp(Listener **listener) {
        if (*listener)
                listener_destroy(*listener);
}

static void on_closed(uv_handle_t *handle) {
        Listener *listener = handle->data;

        if (--listener->open_handles == 0)
                listener_destroy(listener);
}

static int make_parent(const char *path) {
        _cleanup_free_ char *parent = strdup(path);
        char *slash;

        if (!parent)
                return -ENOMEM;
        slash = strrchr(parent, '/');
        if (!slash || slash == parent)
                return 0;
        *slash = '\0';
        if (mkdir(parent, 0700) < 0)
                return errno == EEXIST ? 0 : -errno;
        if (geteuid() == 0 && chmod(parent, 0755) < 0)
                return -errno;
        return 0;
}

/* Return: 0, LISTENER_E_IN_USE or a negative errno. */
static int take_lock(const char *path, int *ret_fd) {
        for (;;) {
                _cleanup_close_ int fd = -1;
                struct stat ours, there;

                fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0)
                        return -errno;
                if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                        return errno == EWOULDBLOCK ? LISTENER_E_IN_USE : -errno;
                if (fstat(fd, &ours) < 0)
                        return -errno;
                /* a daemon that ends unlinks the file that it has locked: is this still the one at the path? */
                if (stat(path, &there) == 0 && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino) {
                        *ret_fd = steal_fd(&fd);
                        return 0;
                }
        }
}

/* Return: 0 if the path is free or a leftover, LISTENER_E_IN_USE, or a negative errno. */
static int probe(const Endpoint *endpoint) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = syscalls_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return fd;
        r = syscalls_connect(fd, (const struct sockaddr *)&endpoint->address, sizeof(endpoint->address));
        if (r == 0 || r == -EAGAIN) /* -EAGAIN: its backlog is full */
                return LISTENER_E_IN_USE;
        if (r == -ECONNREFUSED || r == -ENOENT)
                return 0;
        return r;
}

static int listen_at(const char *path, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        Endpoint endpoint;
        struct stat st;
        int r;

        r = endpoint_from_path(path, &endpoint);
        if (r < 0)
                return r;
        if (lstat(path, &st) == 0) {
                if (!S_ISSOCK(st.st_mode))
                        return -ENOTSOCK;
                r = probe(&endpoint);
                if (r)
                        return r;
                if (unlink(path) < 0)
                        return -errno;
        }
        fd = syscalls_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return fd;
        if (bind(fd, (const struct sockaddr *)&endpoint.address, sizeof(endpoint.address)) < 0)
                return -errno;
        if (chmod(path, geteuid() == 0 ? 0666 : 0600) < 0 || listen(fd, SOMAXCONN) < 0) {
                r = -errno;
                (void)unlink(path);
                return r;
        }
        *ret_fd = steal_fd(&fd);
        return 0;
}

static void on_pause_over(uv_timer_t *timer) {
        Listener *listener = timer->data;

        uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

static void on_connection(uv_poll_t *poll, int status, int events) {
        Listener *listener = poll->data;

        (void)status;
        (void)events;
        for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
                int fd = syscalls_accept(listener->fd, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd == -EAGAIN)
                        return;
                if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
                        log_peer(&(LogAbout){ .uid = geteuid() }, "no connections for %d ms: %s", PAUSE_MS,
                                 strerror(-fd));
                        uv_poll_stop(&listener->poll);
                        uv_timer_start(&listener->pause, on_pause_over, PAUSE_MS, 0);
                        return;
                }
                if (fd >= 0)
                        listener->handler(listener->userdata, fd);
        }
}

static Listener *listener_prepare(ListenerHandler handler, void *userdata) {
        Listener *listener = calloc(1, sizeof(*listener));

        if (listener)
                *listener = (Listener){ .fd = -1, .lock = -1, .handler = handler, .userdata = userdata };
        return listener;
}

/* Its socket listens: wait for connections. Return: 0 or a negative errno. */
static int listener_begin(Listener *listener, uv_loop_t *loop) {
        int r;

        r = uv_poll_init(loop, &listener->poll, listener->fd);
        if (r < 0)
                return r;
        uv_timer_init(loop, &listener->pause);
        listener->poll.data = listener->pause.data = listener;
        listener->open_handles = 2;
        uv_poll_start(&listener->poll, UV_READABLE, on_connection);
        return 0;
}

int listener_new_consume(uv_loop_t *loop, int fd_, ListenerHandler handler, void *userdata,
                         Listener **ret_listener) {
        _cleanup_close_ int fd = fd_;
        _cleanup_(listener_destroyp) Listener *listener = listener_prepare(handler, userdata);
        int r;

        if (!listener)
                return -ENOMEM;
        listener->fd = steal_fd(&fd);
        r = listener_begin(listener, loop); /* which makes it non-blocking */
        if (r < 0)
                return r;
        *ret_listener = steal_pointer(&listener);
        return 0;
}

int listener_new(uv_loop_t *loop, const char *path, ListenerHandler handler, void *userdata,
                 Listener **ret_listener) {
        _cleanup_(listener_destroyp) Listener *listener = listener_prepare(handler, userdata);
        int r;

        if (!listener)
                return -ENOMEM;
        listener->path = strdup(path);
        if (!listener->path || asprintf(&listener->lock_path, "%s.lock", path) < 0)
                return -ENOMEM;
        r = make_parent(path);
        if (r < 0)
                return r;
        r = take_lock(listener->lock_path, &listener->lock);
        if (r)
                return r;
        r = listen_at(path, &listener->fd);
        if (r)
                return r;
        r = listener_begin(listener, loop);
        if (r < 0)
                return r;
        *ret_listener = steal_pointer(&listener);
        return 0;
}

Listener *listener_free(Listener *listener) {
        if (!listener)
                return NULL;
        uv_close((uv_handle_t *)&listener->poll, on_closed);
        uv_close((uv_handle_t *)&listener->pause, on_closed);
        listener_release(listener);
        return NULL;
}
