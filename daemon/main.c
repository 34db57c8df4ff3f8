/* SPDX-License-Identifier: MIT */

/*
 * shimportd: options, and the one exit.
 */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "version.h"

#define IDLE_EXIT_MAX (30 * 86400)

enum {
        STATUS_FAILED = 1,
        STATUS_USAGE = 2,
};

static const char help[] =
        "Usage: shimportd [OPTION]...\n"
        "Loads Python modules into shared memory, once for all processes. Stays in the foreground.\n"
        "\n"
        "      --config FILE        read this configuration file\n"
        "      --socket PATH        listen here\n"
        "      --system             be the system instance, for all users; as root that is so anyway\n"
        "      --idle-exit SECONDS  end when nobody has come for so long; 0: never\n"
        "      --help               show this\n"
        "      --version            show the version\n"
        "\n"
        "See shimportd(8) and shimport.conf(5).\n";

static int parse_seconds(const char *text, int64_t *ret_seconds) {
        char *end;
        long seconds;

        errno = 0;
        seconds = strtol(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno || seconds > IDLE_EXIT_MAX)
                return -EINVAL;
        *ret_seconds = seconds;
        return 0;
}

/* Return: -1 to go on, or the status to exit with. */
static int parse_options(int argc, char **argv, DaemonOptions *options) {
        enum {
                OPTION_CONFIG = 256,
                OPTION_SOCKET,
                OPTION_SYSTEM,
                OPTION_IDLE_EXIT,
                OPTION_HELP,
                OPTION_VERSION
        };
        static const struct option known[] = {
                { "config", required_argument, NULL, OPTION_CONFIG },
                { "socket", required_argument, NULL, OPTION_SOCKET },
                { "system", no_argument, NULL, OPTION_SYSTEM },
                { "idle-exit", required_argument, NULL, OPTION_IDLE_EXIT },
                { "help", no_argument, NULL, OPTION_HELP },
                { "version", no_argument, NULL, OPTION_VERSION },
                { 0 },
        };
        int option;

        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
                switch (option) {
                case OPTION_CONFIG:
                        options->config = optarg;
                        break;
                case OPTION_SOCKET:
                        options->socket = optarg;
                        break;
                case OPTION_SYSTEM:
                        options->system = true;
                        break;
                case OPTION_IDLE_EXIT:
                        if (parse_seconds(optarg, &options->idle_exit) < 0) {
                                log_error("--idle-exit: '%s' is not accepted; seconds from 1 to %d are, or 0 "
                                          "for never",
                                          optarg, IDLE_EXIT_MAX);
                                return STATUS_USAGE;
                        }
                        break;
                case OPTION_HELP:
                        fputs(help, stdout);
                        return EXIT_SUCCESS;
                case OPTION_VERSION:
                        puts("shimportd " SHIMPORT_VERSION);
                        return EXIT_SUCCESS;
                default: /* getopt_long has said it */
                        return STATUS_USAGE;
                }
        if (optind < argc) {
                log_error("unexpected argument '%s'; see shimportd --help", argv[optind]);
                return STATUS_USAGE;
        }
        return -1;
}

int main(int argc, char **argv) {
        DaemonOptions options = { .idle_exit = -1, .system = geteuid() == 0 };
        int status;

        log_open();
        signal(SIGPIPE, SIG_IGN);
        signal(SIGIO, SIG_IGN); /* see linger_has_readers() */
        status = parse_options(argc, argv, &options);
        if (status < 0) {
                int r = daemon_run(&options);

                if (r == -ENOMEM)
                        log_error("no memory");
                status = r == 0 ? EXIT_SUCCESS : r == DAEMON_E_CONFIG ? STATUS_USAGE : STATUS_FAILED;
        }
        exit(status);
}
