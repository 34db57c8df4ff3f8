/* SPDX-License-Identifier: MIT */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "builder.h"
#include "fuzz_daemon.h"
#include "image.h"
#include "request.h"
#include "util.h"

/* Not the user that runs the tests, so that no builder is a child. */
#define SYSTEM_UID 990

char fuzz_root[64] = "/tmp/shimport-fuzz-XXXXXX";
char fuzz_empty_root[80];

static FuzzDaemon *current;

/* ---- in place of the C library's, by ld --wrap ---- */

uid_t __wrap_geteuid(void);
int __wrap_syscalls_connect(int fd, const struct sockaddr *address, socklen_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __real_write(int fd, const void *data, size_t size);

uid_t __wrap_geteuid(void) {
        return SYSTEM_UID;
}

int __wrap_syscalls_connect(int fd, const struct sockaddr *address, socklen_t size) {
        const struct sockaddr_un *un = (const void *)address;
        int pair[2];

        (void)size;
        if (!current || strncmp(un->sun_path, BUILDER_SERVICES, strlen(BUILDER_SERVICES)) != 0 ||
            current->connected == FUZZ_BUILDERS)
                return -ECONNREFUSED;
        FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
        FUZZ_CHECK(dup3(pair[0], fd, O_CLOEXEC) == fd);
        close(pair[0]);
        current->builders[current->connected++] = pair[1];
        return 0;
}

/* The log is not what is looked for. */
ssize_t __wrap_write(int fd, const void *data, size_t size) {
        return fd == STDERR_FILENO ? (ssize_t)size : __real_write(fd, data, size);
}

/* ---- the directories ---- */

static void make_file(const char *name, const char *text) {
        char path[128];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", fuzz_root, name);
        file = fopen(path, "we");
        FUZZ_CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void remove_roots(void) {
        char command[160];

        snprintf(command, sizeof(command), "rm -rf %s", fuzz_root);
        (void)!system(command);
}

void fuzz_daemon_prepare(void) {
        char path[128];

        FUZZ_CHECK(mkdtemp(fuzz_root) && chmod(fuzz_root, 0755) == 0);
        snprintf(fuzz_empty_root, sizeof(fuzz_empty_root), "%s/empty", fuzz_root);
        FUZZ_CHECK(mkdir(fuzz_empty_root, 0755) == 0);
        snprintf(path, sizeof(path), "%s/package", fuzz_root);
        FUZZ_CHECK(mkdir(path, 0755) == 0);
        make_file("abc.py", "value = 1\n");
        make_file("package/__init__.py", "");
        make_file("package/inner.py", "value = 2\n");
        atexit(remove_roots);
}

/* ---- the daemon ---- */

static void on_request(void *userdata, Peer *peer, Packet *packet) {
        request_handle(userdata, peer, packet);
}

static void on_nothing(void *userdata) {
        (void)userdata;
}

static int lowest_free_fd(void) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        close(fd);
        return fd;
}

FuzzDaemon *fuzz_daemon_new(void) {
        static const PeersEvents events = { .request = on_request, .empty = on_nothing };
        static char client[] = "/usr/lib/shimport/python";
        FuzzDaemon *fuzz = calloc(1, sizeof(*fuzz));
        char *error = NULL;
        Daemon *daemon;

        FUZZ_CHECK(fuzz);
        fuzz->first_fd = lowest_free_fd();
        for (size_t i = 0; i < FUZZ_BUILDERS; i++)
                fuzz->builders[i] = -1;
        daemon = &fuzz->daemon;
        daemon->options.system = true;
        FUZZ_CHECK(config_load(NULL, true, &daemon->config, &error) == 0);
        daemon->config.system = true;
        FUZZ_CHECK(uv_loop_init(&daemon->loop) == 0);
        users_init(&daemon->users);
        FUZZ_CHECK(peers_new(&daemon->loop, &daemon->users, &events, daemon, &daemon->peers) == 0);
        FUZZ_CHECK(queue_new(&daemon->loop, on_nothing, daemon, &daemon->queue) == 0);
        FUZZ_CHECK(watch_new(&daemon->loop, &daemon->watch) == 0);
        FUZZ_CHECK(store_new(&daemon->loop, daemon->watch, daemon->queue, &daemon->users, &daemon->config,
                             client, &daemon->store) == 0);
        daemon->client_path = strdup(client);
        queue_set_places(daemon->queue, FUZZ_BUILDERS);
        watch_set_limit(daemon->watch, 100);
        peers_set_limits(daemon->peers, &(PeersLimits){ .all = 16, .per_user = 16, .requests = 1000 });
        current = fuzz;
        return fuzz;
}

void fuzz_daemon_turn(FuzzDaemon *fuzz) {
        for (unsigned i = 0; i < 6; i++)
                uv_run(&fuzz->daemon.loop, UV_RUN_NOWAIT);
}

void fuzz_daemon_free(FuzzDaemon *fuzz) {
        Daemon *daemon = &fuzz->daemon;

        for (size_t i = 0; i < FUZZ_BUILDERS; i++)
                fd_close(fuzz->builders[i]);
        peers_close(daemon->peers);
        store_leave(daemon->store);
        fuzz_daemon_turn(fuzz);
        FUZZ_CHECK(peers_count(daemon->peers) == 0);
        FUZZ_CHECK(queue_is_idle(daemon->queue));
        store_free(daemon->store);
        queue_free(daemon->queue);
        watch_free(daemon->watch);
        peers_free(daemon->peers);
        uv_run(&daemon->loop, UV_RUN_DEFAULT);
        FUZZ_CHECK(uv_loop_close(&daemon->loop) == 0);
        users_done(&daemon->users);
        config_done(&daemon->config);
        free(daemon->client_path);
        FUZZ_CHECK(lowest_free_fd() == fuzz->first_fd);
        free(fuzz);
        current = NULL;
}

void fuzz_image_of(uint8_t *image, size_t size, const char *root) {
        ImageHeader header;
        struct stat st;

        if (size < sizeof(header))
                return;
        FUZZ_CHECK(stat(root, &st) == 0);
        memcpy(&header, image, sizeof(header));
        header.root_dev = st.st_dev;
        header.root_ino = st.st_ino;
        memcpy(image, &header, sizeof(header));
}

int fuzz_memfd(const void *data, size_t size, int seals) {
        int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        FUZZ_CHECK(fd >= 0 && (size == 0 || __real_write(fd, data, size) == (ssize_t)size));
        FUZZ_CHECK(fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}
