/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctl_call.h"
#include "paths.h"
#include "util.h"

#define IDLE_EXIT "600" /* seconds */
#define START_MS 5000
#define START_POLL_MS 5

/* The private directory, made if it is missing; it must be ours alone. Return: NULL, which has been said. */
static char *private_socket(void) {
        char *directory = call_private_directory();
        struct stat st;

        if (mkdir(directory, 0700) < 0 && errno != EEXIST) {
                ctl_fail("cannot make %s: %s", directory, strerror(errno));
                return NULL;
        }
        if (lstat(directory, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
            (st.st_mode & 077)) {
                ctl_fail("%s is not a directory of yours alone: remove it, or set XDG_RUNTIME_DIR",
                         directory);
                return NULL;
        }
        return ctl_format("%s/socket", directory);
}

/* Where to start a daemon. Return: NULL, which has been said. */
static char *socket_to_start(const Ctl *ctl) {
        const char *named = ctl->socket ?: getenv("SHIMPORT_SOCKET");
        _cleanup_free_ char *path = NULL;

        if (named && *named)
                return ctl_absolute(named);
        if (paths_socket(geteuid() == 0, &path) == 0)
                return ctl_format("%s", path);
        return private_socket();
}

/* In a process of its own: become the daemon, attached to nothing of the caller's but the pipe for its log. */
__attribute__((noreturn)) static void become_daemon(const char *program, const char *socket, int log) {
        int null = open("/dev/null", O_RDWR);

        if (setsid() < 0 || null < 0)
                _exit(CTL_FAILED);
        switch (fork()) {
        case 0:
                break;
        case -1:
                _exit(CTL_FAILED);
        default:
                _exit(CTL_OK);
        }
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        close_range(STDERR_FILENO + 1, ~0u, 0);
        if (chdir("/") == 0)
                execl(program, "shimportd", "--socket", socket, "--idle-exit", IDLE_EXIT, (char *)NULL);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", program, strerror(errno));
        _exit(CTL_FAILED);
}

/* Its first words, which tell why it did not come up; on one line. */
static void say_last_words(int log) {
        char words[512];
        ssize_t size = read(log, words, sizeof(words) - 1);

        if (size <= 0) {
                ctl_fail("the daemon did not come up; running without it");
                return;
        }
        while (size && words[size - 1] == '\n')
                size--;
        words[size] = '\0';
        ctl_fail("the daemon did not come up: %s; running without it", words);
}

/* Wait until it answers, or has ended. Return: whether it answers. */
static bool wait_for_daemon(const char *socket, int log) {
        struct timespec start, now;
        Endpoint endpoint;
        int fd;

        if (endpoint_from_path(socket, &endpoint) < 0)
                return false;
        clock_gettime(CLOCK_MONOTONIC, &start);
        do {
                struct pollfd pollfd = { .fd = log };

                if (endpoint_connect(&endpoint, &fd) == 0) {
                        fd_close(fd);
                        return true;
                }
                /* hung up: it has ended, perhaps because another one was faster */
                if (poll(&pollfd, 1, START_POLL_MS) > 0 && (pollfd.revents & POLLHUP)) {
                        if (endpoint_connect(&endpoint, &fd) < 0)
                                return false;
                        fd_close(fd);
                        return true;
                }
                clock_gettime(CLOCK_MONOTONIC, &now);
        } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < START_MS);
        return false;
}

/* Return: whether there is a daemon now; if not, why has been said. */
static bool start_daemon(const char *socket) {
        _cleanup_free_ char *program = NULL;
        int log[2];
        bool up;
        pid_t pid;

        if (paths_program("shimportd", &program) < 0 || pipe2(log, O_CLOEXEC) < 0)
                return false;
        pid = fork();
        if (pid == 0)
                become_daemon(program, socket, log[1]);
        fd_close(log[1]);
        if (pid > 0)
                while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        up = pid > 0 && wait_for_daemon(socket, log[0]);
        if (!up)
                say_last_words(log[0]);
        fd_close(log[0]);
        return up;
}

/* Would a process find this socket by itself? */
static bool is_found_by_default(const char *path) {
        Endpoint endpoints[ENDPOINTS_MAX];
        size_t n = endpoint_list(endpoints);

        for (size_t i = 0; i < n; i++)
                if (strcmp(endpoints[i].address.sun_path, path) == 0)
                        return true;
        return false;
}

/* See to it that a daemon answers, and that the program finds it. */
static void provide_daemon(const Ctl *ctl) {
        Endpoint endpoint;
        char *path;
        int fd;

        fd = call_try_connect(ctl, &endpoint);
        if (fd >= 0) {
                fd_close(fd);
                path = ctl_format("%s", endpoint.address.sun_path);
        } else {
                path = socket_to_start(ctl);
                if (!path || !start_daemon(path))
                        return;
        }
        if (!is_found_by_default(path))
                setenv("SHIMPORT_SOCKET", path, 1);
}

int ctl_run(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        static const struct option known[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
        const char *path = getenv("PYTHONPATH");
        char *client;
        int option, error;

        while ((option = getopt_long(argc, argv, "+", known, NULL)) >= 0) {
                if (option != 'h')
                        return CTL_USAGE;
                ctl_print_help(command);
                return CTL_OK;
        }
        if (optind == argc)
                return ctl_usage(command, "no program to run");
        client = ctl_client_path();
        if (client) {
                provide_daemon(ctl);
                path = ctl_format("%s/run%s%s", client, path && *path ? ":" : "", path ?: "");
                setenv("PYTHONPATH", path, 1);
        }
        execvp(argv[optind], argv + optind);
        error = errno;
        ctl_fail("cannot run %s: %s", argv[optind], strerror(error));
        return error == ENOENT ? CTL_NOT_FOUND : CTL_NOT_EXECUTABLE;
}
