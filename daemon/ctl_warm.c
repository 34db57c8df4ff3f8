/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl_call.h"
#include "ctl_python.h"
#include "util.h"

#define BAR_WIDTH 30

typedef struct WarmOptions {
        const char **pythons, **paths;
        size_t n_pythons, n_paths;
} WarmOptions;

/* What is warmed for one interpreter. */
typedef struct WarmPaths {
        char **names;
        int *fds;
        size_t n;
} WarmPaths;

/* Where the progress goes: a bar that is drawn over on a terminal, a line for each directory elsewhere. */
typedef struct WarmScreen {
        bool terminal, drawn;
        bool named[PACKET_ROOTS_MAX];
} WarmScreen;

static void screen_clear(WarmScreen *screen) {
        if (screen->drawn)
                fputs("\r\033[K", stderr);
        screen->drawn = false;
}

static void screen_progress(WarmScreen *screen, const char *python, const Shimport__Progress *progress) {
        uint32_t filled =
                progress->total ? (uint32_t)((uint64_t)BAR_WIDTH * progress->done / progress->total) : 0;

        if (!screen->terminal) {
                if (progress->root_index >= PACKET_ROOTS_MAX || screen->named[progress->root_index])
                        return;
                screen->named[progress->root_index] = true;
                fprintf(stderr, "%s: building %.*s, %u modules\n", python, (int)progress->root.len,
                        (char *)progress->root.data, progress->total);
                return;
        }
        if (filled > BAR_WIDTH)
                filled = BAR_WIDTH;
        fprintf(stderr, "\r\033[K[%.*s%*s] %u/%u %.*s", (int)filled, "##############################",
                (int)(BAR_WIDTH - filled), "", progress->done, progress->total, (int)progress->root.len,
                (char *)progress->root.data);
        screen->drawn = true;
}

/* Open a directory to warm. Return: whether it could be. */
static bool paths_add(WarmPaths *paths, const char *name) {
        int fd;

        fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return false;
        /* as the interpreter spells it, links and all: that is what its processes will ask for */
        paths->names[paths->n] = ctl_absolute(name);
        paths->fds[paths->n++] = fd;
        return true;
}

static int paths_fill(WarmPaths *paths, const WarmOptions *options, const Python *python) {
        json_t *entries = json_object_get(python->description, "path");
        int status = CTL_OK;
        size_t most = options->n_paths ?: json_array_size(entries);
        json_t *entry;
        size_t i;

        paths->names = ctl_alloc(most * sizeof(*paths->names));
        paths->fds = ctl_alloc(most * sizeof(*paths->fds));
        if (options->n_paths) {
                for (i = 0; i < options->n_paths; i++)
                        if (!paths_add(paths, options->paths[i]))
                                status = ctl_fail("%s: %s", options->paths[i], strerror(errno));
                return status;
        }
        json_array_foreach(entries, i, entry) {
                const char *name = json_string_value(entry);

                if (name && !paths_add(paths, name))
                        status = ctl_fail("%s: %s: %s", python->name, name, strerror(errno));
        }
        return status;
}

/* Wait for the end of it. */
static int warm_wait(int socket, const Python *python, WarmScreen *screen) {
        Shimport__Reply *reply;

        for (;;) {
                reply = call_receive(socket, -1);
                if (!reply)
                        return CTL_FAILED;
                if (reply->body_case != SHIMPORT__REPLY__BODY_PROGRESS)
                        break;
                screen_progress(screen, python->name, reply->progress);
        }
        screen_clear(screen);
        if (reply->body_case == SHIMPORT__REPLY__BODY_ERROR)
                return ctl_fail("%s: %.*s", python->name, (int)reply->error->text.len,
                                (char *)reply->error->text.data);
        if (reply->body_case != SHIMPORT__REPLY__BODY_DONE)
                return ctl_fail("the daemon answers something else");
        printf("%s: Python %s: %.*s\n", python->name, python->version, (int)reply->done->text.len,
               (char *)reply->done->text.data);
        return CTL_OK;
}

static ProtobufCBinaryData text_bytes(const char *text) {
        return (ProtobufCBinaryData){ .len = strlen(text), .data = (uint8_t *)text };
}

/* Ask for up to PACKET_ROOTS_MAX of the directories. */
static int warm_ask(const Ctl *ctl, const Python *python, const WarmPaths *paths, size_t first, size_t n,
                    WarmScreen *screen) {
        Shimport__Interpreter interpreter = SHIMPORT__INTERPRETER__INIT;
        Shimport__Warm body = SHIMPORT__WARM__INIT;
        Shimport__Request request = SHIMPORT__REQUEST__INIT;
        Shimport__Root roots[PACKET_ROOTS_MAX], *list[PACKET_ROOTS_MAX];
        _cleanup_close_ int socket = call_connect(ctl);

        if (socket < 0)
                return CTL_FAILED;
        for (size_t i = 0; i < n; i++) {
                list[i] = &roots[i];
                shimport__root__init(list[i]);
                list[i]->path = text_bytes(paths->names[first + i]);
        }
        interpreter.tag = text_bytes(python->tag);
        interpreter.executable = text_bytes(python->executable);
        interpreter.options = text_bytes(python->options);
        body.interpreter = &interpreter;
        body.roots = list;
        body.n_roots = n;
        request.body_case = SHIMPORT__REQUEST__BODY_WARM;
        request.warm = &body;
        if (call_send(socket, &request, paths->fds + first, n) < 0)
                return CTL_FAILED;
        return warm_wait(socket, python, screen);
}

static int warm_python(const Ctl *ctl, const WarmOptions *options, const char *name, WarmScreen *screen) {
        WarmPaths paths = { 0 };
        Python python;
        int status;

        status = python_describe(name, &python) ?: python_check_extension(&python);
        if (status)
                return status;
        status = paths_fill(&paths, options, &python);
        for (size_t first = 0; first < paths.n; first += PACKET_ROOTS_MAX) {
                size_t n = paths.n - first < PACKET_ROOTS_MAX ? paths.n - first : PACKET_ROOTS_MAX;

                memset(screen->named, 0, sizeof(screen->named));
                if (warm_ask(ctl, &python, &paths, first, n, screen) != CTL_OK)
                        status = CTL_FAILED;
        }
        for (size_t i = 0; i < paths.n; i++)
                fd_close(paths.fds[i]);
        return status;
}

/* Return: -1 to go on, or the status to exit with. */
static int warm_options(const CtlCommand *command, int argc, char **argv, WarmOptions *options) {
        static const struct option known[] = {
                { "python", required_argument, NULL, 'p' },
                { "path", required_argument, NULL, 'd' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        int option;

        options->pythons = ctl_alloc((size_t)argc * sizeof(char *));
        options->paths = ctl_alloc((size_t)argc * sizeof(char *));
        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
                switch (option) {
                case 'p':
                        options->pythons[options->n_pythons++] = optarg;
                        break;
                case 'd':
                        options->paths[options->n_paths++] = optarg;
                        break;
                case 'h':
                        ctl_print_help(command);
                        return CTL_OK;
                default:
                        return CTL_USAGE;
                }
        if (optind < argc)
                return ctl_usage(command, "unexpected argument '%s'", argv[optind]);
        if (!options->n_pythons)
                return ctl_usage(command, "no interpreter: --python PY is needed");
        return -1;
}

int ctl_warm(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        WarmScreen screen = { .terminal = isatty(STDERR_FILENO) };
        WarmOptions options = { 0 };
        int status;

        status = warm_options(command, argc, argv, &options);
        if (status >= 0)
                return status;
        status = call_connect(ctl); /* no daemon: say it once, and before any work */
        if (status < 0)
                return CTL_FAILED;
        fd_close(status);
        status = CTL_OK;
        for (size_t i = 0; i < options.n_pythons; i++)
                if (warm_python(ctl, &options, options.pythons[i], &screen) != CTL_OK)
                        status = CTL_FAILED;
        return status;
}
