/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctl_python.h"
#include "util.h"

#define HEXVERSION_LEAST 0x030b0000
#define DESCRIBE_MS 30000
#define DESCRIPTION_MAX (1u << 18)

extern char **environ;

typedef struct Output {
        size_t size;
        char data[DESCRIPTION_MAX];
} Output;

static uint64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Return: how much was read, 0 at the end, -1 when there is too much. */
static ssize_t output_read(Output *output, int fd) {
        size_t room = DESCRIPTION_MAX - 1 - output->size; /* what follows is zero */
        ssize_t size;

        if (!room)
                return -1;
        do
                size = read(fd, output->data + output->size, room);
        while (size < 0 && errno == EINTR);
        if (size > 0)
                output->size += (size_t)size;
        return size;
}

/* Read both to their ends. Return: whether it was in time. */
static bool outputs_read(const int fds[2], Output *outputs) {
        struct pollfd polled[2] = { { .fd = fds[0], .events = POLLIN }, { .fd = fds[1], .events = POLLIN } };
        uint64_t deadline = now_ms() + DESCRIBE_MS;

        while (polled[0].fd >= 0 || polled[1].fd >= 0) {
                uint64_t now = now_ms();

                if (now >= deadline || (poll(polled, 2, (int)(deadline - now)) < 0 && errno != EINTR))
                        return false;
                for (size_t i = 0; i < 2; i++)
                        if (polled[i].revents && output_read(&outputs[i], fds[i]) <= 0)
                                polled[i].fd = -1;
        }
        return true;
}

/* Our environment, with shimport switched off: what describes itself is not to ask for images. */
static char **environment_without_shimport(void) {
        char **environment;
        size_t n = 0;

        while (environ[n])
                n++;
        environment = ctl_alloc((n + 2) * sizeof(*environment));
        environment[0] = (char *)"SHIMPORT_DISABLE=1";
        memcpy(environment + 1, environ, n * sizeof(*environment));
        return environment;
}

static int spawn_describe(const char *name, const char *script, const int outputs[2], pid_t *ret_pid) {
        char *const arguments[] = { (char *)name, (char *)script, NULL };
        posix_spawn_file_actions_t actions;
        int r;

        if (posix_spawn_file_actions_init(&actions))
                return ENOMEM;
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, outputs[0], STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&actions, outputs[1], STDERR_FILENO);
        r = posix_spawnp(ret_pid, name, &actions, NULL, arguments, environment_without_shimport());
        posix_spawn_file_actions_destroy(&actions);
        return r;
}

/* The last line that is not empty, in place. */
static const char *last_line(char *text) {
        char *end, *line;

        end = text + strlen(text);
        while (end > text && end[-1] == '\n')
                *--end = '\0';
        line = strrchr(text, '\n');
        return line ? line + 1 : text;
}

static int does_not_run(const char *name, const char *why) {
        return ctl_fail("%s does not run as an interpreter%s%s", name, *why ? ": " : "", why);
}

/* Run it. Return: what it printed, or NULL, which has been said. */
static char *describe_output(const char *name) {
        Output *outputs = ctl_alloc(2 * sizeof(*outputs));
        int out[2], err[2];
        char *client, *script;
        int status, r;
        bool in_time;
        pid_t pid;

        client = ctl_client_path();
        if (!client)
                return NULL;
        script = ctl_format("%s/shimport/describe.py", client);
        if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
                ctl_fail("%s", strerror(errno));
                return NULL;
        }
        r = spawn_describe(name, script, (int[]){ out[1], err[1] }, &pid);
        fd_close(out[1]);
        fd_close(err[1]);
        if (r) {
                does_not_run(name, strerror(r));
                return NULL;
        }
        in_time = outputs_read((int[]){ out[0], err[0] }, outputs);
        fd_close(out[0]);
        fd_close(err[0]);
        if (!in_time)
                kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return outputs[0].data;
        does_not_run(name, in_time ? last_line(outputs[1].data) : "it takes too long");
        return NULL;
}

const char *python_string(const Python *python, const char *key) {
        return json_string_value(json_object_get(python->description, key));
}

static void json_free_nothing(void *memory) {
        (void)memory;
}

int python_describe(const char *name, Python *ret_python) {
        Python python = { .name = name };
        const char *implementation;
        char *output;

        output = describe_output(name);
        if (!output)
                return CTL_FAILED;
        json_set_alloc_funcs(ctl_alloc, json_free_nothing);
        python.description = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
        python.version = python_string(&python, "version");
        if (!python.version)
                return does_not_run(name, "it does not describe itself");
        implementation = python_string(&python, "implementation");
        if (implementation && strcmp(implementation, "cpython") != 0)
                return ctl_fail("%s is %s; CPython 3.11 or newer is needed", name, implementation);
        if (json_integer_value(json_object_get(python.description, "hexversion")) < HEXVERSION_LEAST)
                return ctl_fail("%s is Python %s; 3.11 or newer is needed", name, python.version);
        python.executable = python_string(&python, "executable");
        python.tag = python_string(&python, "tag");
        python.options = python_string(&python, "options");
        *ret_python = python;
        return 0;
}

int python_check_extension(const Python *python) {
        if (python->tag && python->executable && python->options)
                return 0;
        return ctl_fail("%s lacks the extension: %s", python->name,
                        python_string(python, "error") ?: "no reason given");
}

int python_options(const CtlCommand *command, int argc, char **argv, const char ***ret_names, size_t *ret_n) {
        static const struct option known[] = {
                { "python", required_argument, NULL, 'p' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        const char **names = ctl_alloc((size_t)argc * sizeof(*names));
        size_t n = 0;
        int option;

        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
                switch (option) {
                case 'p':
                        names[n++] = optarg;
                        break;
                case 'h':
                        ctl_print_help(command);
                        return CTL_OK;
                default:
                        return CTL_USAGE;
                }
        if (!n)
                return ctl_usage(command, "no interpreter: --python PY is needed");
        *ret_names = names;
        *ret_n = n;
        return -1;
}
