/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "ctl_call.h"
#include "paths.h"
#include "util.h"
#include "version.h"

static const CtlCommand commands[] = {
        { "status", ctl_status, "[--json|--metrics|--watch[=SECONDS]]",
          "what the daemon serves, to whom, and what went wrong",
          "      --json             as JSON, see shimportctl(1)\n"
          "      --metrics          as OpenMetrics text\n"
          "      --watch[=SECONDS]  again and again on a terminal, each 2 seconds if not told otherwise\n" },
        { "warm", ctl_warm, "--python PY... [--path DIR]...",
          "build the images of an interpreter's path, and wait",
          "      --python PY  an interpreter, as a path or a name; may be given several times\n"
          "      --path DIR   build this directory, not the interpreter's path; may be given several "
          "times\n" },
        { "run", ctl_run, "[--] CMD [ARG]...", "run a program with the interpreters it runs being served",
          "Starts a daemon if none answers; it ends when it has not been needed for ten minutes.\n" },
        { "enable", ctl_enable, "--python PY...", "have an interpreter be served from now on",
          "      --python PY  an interpreter, as a path or a name; may be given several times\n" },
        { "disable", ctl_disable, "--python PY...", "undo enable",
          "      --python PY  an interpreter, as a path or a name; may be given several times\n" },
        { "explain", ctl_explain, "--python PY MODULE", "whether a module is served, and why not",
          "      --python PY  the interpreter, as a path or a name\n" },
        { "reload", ctl_reload, "", "have the daemon read its configuration again", NULL },
        { "drop", ctl_drop, "", "withdraw every image; processes go on with what they have", NULL },
};

int ctl_fail(const char *format, ...) {
        va_list arguments;

        fputs("shimportctl: ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
        return CTL_FAILED;
}

int ctl_usage(const CtlCommand *command, const char *format, ...) {
        va_list arguments;

        fputs("shimportctl: ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fprintf(stderr, "; see shimportctl %s%s--help\n", command ? command->name : "", command ? " " : "");
        return CTL_USAGE;
}

typedef struct Chunk {
        struct Chunk *next;
        max_align_t memory[];
} Chunk;

static Chunk *chunks;

void *ctl_alloc(size_t size) {
        Chunk *chunk = calloc(1, sizeof(*chunk) + size);

        if (!chunk) {
                ctl_fail("no memory");
                abort();
        }
        chunk->next = chunks;
        chunks = chunk;
        return chunk->memory;
}

void *ctl_mark(void) {
        return chunks;
}

void ctl_release(void *mark) {
        while (chunks != mark) {
                Chunk *chunk = chunks;

                chunks = chunk->next;
                free(chunk);
        }
}

char *ctl_format(const char *format, ...) {
        va_list arguments;
        char *text;
        int n;

        va_start(arguments, format);
        n = vsnprintf(NULL, 0, format, arguments);
        va_end(arguments);
        text = ctl_alloc(n < 0 ? 1 : (size_t)n + 1);
        va_start(arguments, format);
        vsnprintf(text, n < 0 ? 1 : (size_t)n + 1, format, arguments);
        va_end(arguments);
        return text;
}

char *ctl_absolute(const char *path) {
        _cleanup_free_ char *here = *path == '/' ? NULL : getcwd(NULL, 0);

        return ctl_format("%s%s%s", here ?: "", here ? "/" : "", path);
}

char *ctl_client_path(void) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = paths_client(&path);
        if (r == 0)
                return ctl_format("%s", path);
        ctl_fail("the Python client is not beside this program: %s", strerror(-r));
        return NULL;
}

void ctl_print_help(const CtlCommand *command) {
        printf("Usage: shimportctl [--socket PATH] %s%s%s\n%c%s.\n", command->name,
               *command->synopsis ? " " : "", command->synopsis, command->summary[0] - 'a' + 'A',
               command->summary + 1);
        if (command->help)
                printf("\n%s", command->help);
        puts("      --help  show this");
}

static void print_help(void) {
        puts("Usage: shimportctl [--socket PATH] COMMAND [ARG]...\n"
             "Asks the shimport daemon, and activates interpreters.\n"
             "\n"
             "Commands, each with a --help of its own:");
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                printf("  %-8s %s\n", commands[i].name, commands[i].summary);
        puts("\n"
             "      --socket PATH  the daemon's socket; also SHIMPORT_SOCKET\n"
             "      --help         show this\n"
             "      --version      show the version\n"
             "\n"
             "See shimportctl(1).");
}

/* reload and drop: no arguments, no more than one word of an answer. */
static int no_arguments(const CtlCommand *command, int argc, char **argv) {
        static const struct option known[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
        int option;

        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
                if (option != 'h')
                        return CTL_USAGE;
                ctl_print_help(command);
                return CTL_OK;
        }
        return optind < argc ? ctl_usage(command, "unexpected argument '%s'", argv[optind]) : -1;
}

int ctl_reload(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        Shimport__Reload body = SHIMPORT__RELOAD__INIT;
        Shimport__Request request = SHIMPORT__REQUEST__INIT;
        int status = no_arguments(command, argc, argv);

        if (status >= 0)
                return status;
        request.body_case = SHIMPORT__REQUEST__BODY_RELOAD;
        request.reload = &body;
        return call_simple(ctl, &request);
}

int ctl_drop(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        Shimport__Drop body = SHIMPORT__DROP__INIT;
        Shimport__Request request = SHIMPORT__REQUEST__INIT;
        int status = no_arguments(command, argc, argv);

        if (status >= 0)
                return status;
        request.body_case = SHIMPORT__REQUEST__BODY_DROP;
        request.drop = &body;
        return call_simple(ctl, &request);
}

static int dispatch(const Ctl *ctl, int argc, char **argv) {
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                if (strcmp(commands[i].name, argv[0]) == 0) {
                        argv[0] = ctl_format("shimportctl %s", argv[0]); /* for getopt's messages */
                        optind = 0;
                        return commands[i].run(ctl, &commands[i], argc, argv);
                }
        return ctl_usage(NULL, "unknown command '%s'", argv[0]);
}

int main(int argc, char **argv) {
        static const struct option known[] = {
                { "socket", required_argument, NULL, 's' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        Ctl ctl = { 0 };
        int option;

        argv[0] = (char *)"shimportctl";
        while ((option = getopt_long(argc, argv, "+", known, NULL)) >= 0)
                switch (option) {
                case 's':
                        ctl.socket = ctl_absolute(optarg);
                        break;
                case 'h':
                        print_help();
                        return CTL_OK;
                case 'v':
                        puts("shimportctl " SHIMPORT_VERSION);
                        return CTL_OK;
                default:
                        return CTL_USAGE;
                }
        if (optind == argc)
                return ctl_usage(NULL, "no command");
        return dispatch(&ctl, argc - optind, argv + optind);
}
