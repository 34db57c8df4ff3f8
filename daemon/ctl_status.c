/* SPDX-License-Identifier: MIT */

/*
 * `shimportctl status`: asks once, or again and again. What is watched is drawn over in place: each line is cut to
 * the terminal's width and what does not fit into its height is left out, so that nothing scrolls.
 */

#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "ctl_status.h"
#include "util.h"

#define ANSWER_MS 10000
#define PACKETS_MAX 1024
#define WATCH_SECONDS 2.0
#define WATCH_SECONDS_MAX 86400.0

typedef void (*StatusPrint)(const Status *status, FILE *out);

typedef struct StatusOptions {
        StatusPrint print;
        double watch; /* seconds, 0: once */
} StatusOptions;

const char *status_state_name(Shimport__RootState state) {
        switch (state) {
        case SHIMPORT__ROOT_STATE__SERVED:
                return "served";
        case SHIMPORT__ROOT_STATE__BUILDING:
                return "building";
        case SHIMPORT__ROOT_STATE__STALE:
                return "stale";
        case SHIMPORT__ROOT_STATE__FAILED:
                return "failed";
        case SHIMPORT__ROOT_STATE__REFUSED:
                return "refused";
        case SHIMPORT__ROOT_STATE__SEEN:
                return "seen";
        default:
                return "unknown";
        }
}

/* Of a character, by its first byte; 0 if none starts so. */
static size_t utf8_length(uint8_t first) {
        if (first < 0x80)
                return 1;
        if (first < 0xc2 || first > 0xf4)
                return 0;
        return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

char *status_printable(ProtobufCBinaryData bytes) {
        char *text = ctl_alloc(bytes.len * 4 + 1);
        char *end = text;

        for (size_t i = 0; i < bytes.len;) {
                uint8_t first = bytes.data[i];
                size_t length = utf8_length(first);
                json_t *valid = NULL;

                if (length && first >= 0x20 && first != 0x7f && length <= bytes.len - i)
                        valid = json_stringn((const char *)bytes.data + i, length);
                if (valid) {
                        memcpy(end, bytes.data + i, length);
                        end += length;
                        i += length;
                        json_decref(valid);
                } else
                        end += sprintf(end, "\\x%02x", bytes.data[i++]);
        }
        return text;
}

/* Return: whether all packets came. */
static bool status_receive(int socket, Status *ret_status) {
        Shimport__Status **packets = ctl_alloc(PACKETS_MAX * sizeof(*packets));
        Status status = { 0 };
        size_t n = 0;

        do {
                Shimport__Reply *reply = call_receive(socket, ANSWER_MS);

                if (!reply)
                        return false;
                if (reply->body_case != SHIMPORT__REPLY__BODY_STATUS) {
                        if (reply->body_case == SHIMPORT__REPLY__BODY_ERROR)
                                ctl_fail("%s", status_printable(reply->error->text));
                        else
                                ctl_fail("the daemon answers something else");
                        return false;
                }
                packets[n++] = reply->status;
                status.n_images += reply->status->n_images;
        } while (packets[n - 1]->more && n < PACKETS_MAX);
        status.daemon = packets[0];
        status.images = ctl_alloc((status.n_images + 1) * sizeof(*status.images));
        status.n_images = 0;
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < packets[i]->n_images; j++)
                        status.images[status.n_images++] = packets[i]->images[j];
        *ret_status = status;
        return true;
}

/* Return: whether there was an answer; if not, why has been said. */
static bool status_ask(const Ctl *ctl, Status *ret_status) {
        Shimport__StatusRequest body = SHIMPORT__STATUS_REQUEST__INIT;
        Shimport__Request request = SHIMPORT__REQUEST__INIT;
        _cleanup_close_ int socket = call_connect(ctl);

        request.body_case = SHIMPORT__REQUEST__BODY_STATUS;
        request.status = &body;
        return socket >= 0 && call_send(socket, &request, NULL, 0) == 0 && status_receive(socket, ret_status);
}

/* ---- --watch ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
        (void)number;
        interrupted = 1;
}

/* As much of a line as fits; a character of UTF-8 is taken for one column. Return: how many bytes. */
static int line_fit(const char *line, size_t length, size_t columns) {
        size_t shown = 0;

        for (size_t i = 0; i < length; i++)
                if (((uint8_t)line[i] & 0xc0) != 0x80 && shown++ == columns)
                        return (int)i;
        return (int)length;
}

/* Draw over what is there, and clear the rest. */
static void screen_draw(const char *text) {
        struct winsize size = { 0 };
        size_t rows, columns;

        (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
        rows = size.ws_row ? size.ws_row : 24;
        columns = size.ws_col ? size.ws_col : 80;
        fputs("\033[H", stdout);
        while (*text && rows-- > 1) {
                size_t length = strcspn(text, "\n");

                printf("%.*s\033[K\n", line_fit(text, length, columns), text);
                text += length + (text[length] == '\n');
        }
        fputs("\033[J", stdout);
        fflush(stdout);
}

/* One turn: a daemon that does not answer may well be restarting. */
static void watch_turn(const Ctl *ctl) {
        Endpoint endpoint;
        int socket = call_try_connect(ctl, &endpoint);
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        Status status;
        FILE *out;

        if (socket < 0) {
                screen_draw("no daemon answers\n");
                return;
        }
        fd_close(socket);
        if (!status_ask(ctl, &status))
                return;
        out = open_memstream(&text, &size);
        if (!out)
                return;
        for (size_t i = 0; i < status.n_images; i++)
                status.images[i]->n_left_out = 0; /* hardly changes, and would leave no room for what does */
        status_print_text(&status, out);
        if (fclose(out) == 0)
                screen_draw(text);
}

static int status_watch(const Ctl *ctl, double seconds) {
        struct timespec pause = { .tv_sec = (time_t)seconds };
        struct sigaction action = { .sa_handler = on_interrupt };

        pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        fputs("\033[H\033[2J", stdout);
        while (!interrupted) {
                void *mark = ctl_mark();

                watch_turn(ctl);
                ctl_release(mark);
                if (!interrupted)
                        nanosleep(&pause, NULL); /* a signal ends it, be it the terminal's new size */
        }
        return CTL_OK;
}

/* ---- options ---- */

static bool parse_seconds(const char *text, double *ret_seconds) {
        char *end;
        double seconds = strtod(text, &end);

        if (end == text || *end || !(seconds >= 0.1 && seconds <= WATCH_SECONDS_MAX))
                return false;
        *ret_seconds = seconds;
        return true;
}

/* Return: -1 to go on, or the status to exit with. */
static int status_options(const CtlCommand *command, int argc, char **argv, StatusOptions *options) {
        static const struct option known[] = {
                { "json", no_argument, NULL, 'j' },
                { "metrics", no_argument, NULL, 'm' },
                { "watch", optional_argument, NULL, 'w' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        int option, ways = 0;

        options->print = status_print_text;
        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
                switch (option) {
                case 'j':
                        options->print = status_print_json;
                        ways++;
                        break;
                case 'm':
                        options->print = status_print_metrics;
                        ways++;
                        break;
                case 'w':
                        options->watch = WATCH_SECONDS;
                        if (optarg && !parse_seconds(optarg, &options->watch))
                                return ctl_usage(command,
                                                 "--watch: '%s' is not accepted; seconds from 0.1 on are",
                                                 optarg);
                        ways++;
                        break;
                case 'h':
                        ctl_print_help(command);
                        return CTL_OK;
                default:
                        return CTL_USAGE;
                }
        if (optind < argc)
                return ctl_usage(command, "unexpected argument '%s'", argv[optind]);
        if (ways > 1)
                return ctl_usage(command, "one of --json, --metrics and --watch is enough");
        if (options->watch > 0 && !isatty(STDOUT_FILENO))
                return ctl_usage(command, "--watch is for a terminal");
        return -1;
}

int ctl_status(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        StatusOptions options = { 0 };
        Status status;
        int r;

        r = status_options(command, argc, argv, &options);
        if (r >= 0)
                return r;
        if (options.watch > 0)
                return status_watch(ctl, options.watch);
        if (!status_ask(ctl, &status))
                return CTL_FAILED;
        options.print(&status, stdout);
        return CTL_OK;
}
