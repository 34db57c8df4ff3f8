/* SPDX-License-Identifier: MIT */

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl_call.h"
#include "util.h"

#define ANSWER_MS 10000

#define PACKETS_MAX 1024 /* each has the figures of the daemon, and a part of the images */

typedef struct Packets {
        Shimport__Status *list[PACKETS_MAX];
        size_t n;
} Packets;

static const char *state_name(Shimport__RootState state) {
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

/* Bytes as text that any terminal and JSON can take: what is not UTF-8 or not printable becomes \xNN. */
static char *printable(ProtobufCBinaryData bytes) {
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

static json_t *json_bytes(ProtobufCBinaryData bytes) {
        return json_string(printable(bytes));
}

static void set(json_t *object, const char *key, uint64_t number) {
        json_object_set_new(object, key, json_integer((json_int_t)number));
}

static json_t *image_json(const Shimport__ImageStatus *image) {
        json_t *object = json_object();
        json_t *left_out = json_array();

        json_object_set_new(object, "root", json_bytes(image->root));
        json_object_set_new(object, "interpreter", json_bytes(image->interpreter));
        json_object_set_new(object, "tag", json_bytes(image->tag));
        json_object_set_new(object, "state", json_string(state_name(image->state)));
        json_object_set_new(object, "reason", json_bytes(image->reason));
        set(object, "generation", image->generation);
        set(object, "owner", image->owner);
        set(object, "bytes", image->bytes_total);
        set(object, "directories", image->directories);
        set(object, "entries", image->entries);
        set(object, "modules", image->modules);
        set(object, "declined", image->declined);
        set(object, "stale", image->stale);
        json_object_set_new(object, "validated", json_bytes(image->validated));
        set(object, "attaches", image->attaches);
        set(object, "built_ms", image->built_ms);
        set(object, "built_at", image->built_at);
        set(object, "last_attach", image->last_attach);
        for (size_t i = 0; i < image->n_left_out; i++) {
                json_t *one = json_object();

                json_object_set_new(one, "file", json_bytes(image->left_out[i]->file));
                json_object_set_new(one, "reason", json_bytes(image->left_out[i]->reason));
                json_array_append_new(left_out, one);
        }
        json_object_set_new(object, "left_out", left_out);
        return object;
}

static void print_json(const Packets *packets) {
        const Shimport__Status *status = packets->list[0];
        json_t *object = json_object();
        json_t *images = json_array();

        json_object_set_new(object, "version", json_bytes(status->version));
        set(object, "pid", status->pid);
        json_object_set_new(object, "socket", json_bytes(status->socket));
        json_object_set_new(object, "config", json_bytes(status->config));
        set(object, "uptime", status->uptime);
        set(object, "peers", status->peers);
        set(object, "attaches", status->attaches);
        set(object, "attach_p50_us", status->attach_p50_us);
        set(object, "attach_p99_us", status->attach_p99_us);
        set(object, "served", status->served);
        set(object, "fallback", status->fallback);
        set(object, "stale", status->stale);
        set(object, "builds", status->builds);
        set(object, "builds_failed", status->builds_failed);
        json_object_set_new(object, "last_error", json_bytes(status->last_error));
        set(object, "memory", status->memory);
        set(object, "memory_limit", status->memory_limit);
        set(object, "watches", status->watches);
        set(object, "watches_limit", status->watches_limit);
        for (size_t i = 0; i < packets->n; i++)
                for (size_t j = 0; j < packets->list[i]->n_images; j++)
                        json_array_append_new(images, image_json(packets->list[i]->images[j]));
        json_object_set_new(object, "images", images);
        json_dumpf(object, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putchar('\n');
        json_decref(object);
}

static char *size_text(uint64_t bytes) {
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
        double number = (double)bytes;
        size_t unit = 0;

        while (number >= 1024 && unit + 1 < ELEMENTSOF(units)) {
                number /= 1024;
                unit++;
        }
        return ctl_format(unit ? "%.1f %s" : "%.0f %s", number, units[unit]);
}

static char *duration_text(uint64_t seconds) {
        if (seconds < 120)
                return ctl_format("%" PRIu64 " s", seconds);
        if (seconds < 2 * 3600)
                return ctl_format("%" PRIu64 " min", seconds / 60);
        if (seconds < 2 * 86400)
                return ctl_format("%" PRIu64 " h", seconds / 3600);
        return ctl_format("%" PRIu64 " days", seconds / 86400);
}

static void print_image(const Shimport__ImageStatus *image) {
        printf("\n%s\n  for %s: %s", printable(image->root), printable(image->interpreter),
               state_name(image->state));
        if (image->reason.len)
                printf(": %s", printable(image->reason));
        if (image->bytes_total)
                printf(", %u modules, %s, built in %" PRIu64 " ms", image->modules,
                       size_text(image->bytes_total), image->built_ms);
        if (image->attaches) {
                uint64_t now = (uint64_t)time(NULL);
                uint64_t ago = now > image->last_attach ? now - image->last_attach : 0;

                printf(", %" PRIu64 " attaches, the last %s ago", image->attaches, duration_text(ago));
        }
        putchar('\n');
        if (image->validated.len)
                printf("  validated by stat: %s\n", printable(image->validated));
        for (size_t i = 0; i < image->n_left_out; i++)
                printf("  left out: %s: %s\n", printable(image->left_out[i]->file),
                       printable(image->left_out[i]->reason));
}

static void print_text(const Packets *packets) {
        const Shimport__Status *status = packets->list[0];

        printf("shimportd %s, process %u, up %s, at %s\n", printable(status->version), status->pid,
               duration_text(status->uptime), printable(status->socket));
        printf("attaches: %" PRIu64 ", half within %" PRIu64 " us, 99 of 100 within %" PRIu64 " us\n",
               status->attaches, status->attach_p50_us, status->attach_p99_us);
        printf("imports:  %" PRIu64 " served, %" PRIu64 " by stock, %" PRIu64 " stale\n", status->served,
               status->fallback, status->stale);
        printf("builds:   %" PRIu64 ", %" PRIu64 " failed%s%s\n", status->builds, status->builds_failed,
               status->last_error.len ? ", the last: " : "", printable(status->last_error));
        printf("images:   %s of at most %s\n", size_text(status->memory), size_text(status->memory_limit));
        printf("watches:  %" PRIu64 " of at most %" PRIu64 "\n", status->watches, status->watches_limit);
        for (size_t i = 0; i < packets->n; i++)
                for (size_t j = 0; j < packets->list[i]->n_images; j++)
                        print_image(packets->list[i]->images[j]);
}

/* Return: whether all packets came. */
static bool packets_receive(Packets *packets, int socket) {
        Shimport__Reply *reply;

        do {
                reply = call_receive(socket, ANSWER_MS);
                if (!reply)
                        return false;
                if (reply->body_case != SHIMPORT__REPLY__BODY_STATUS) {
                        if (reply->body_case == SHIMPORT__REPLY__BODY_ERROR)
                                ctl_fail("%s", printable(reply->error->text));
                        else
                                ctl_fail("the daemon answers something else");
                        return false;
                }
                packets->list[packets->n++] = reply->status;
        } while (reply->status->more && packets->n < PACKETS_MAX);
        return true;
}

int ctl_status(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        static const struct option known[] = {
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        Shimport__StatusRequest body = SHIMPORT__STATUS_REQUEST__INIT;
        Shimport__Request request = SHIMPORT__REQUEST__INIT;
        _cleanup_close_ int socket = -1;
        Packets packets = { 0 };
        bool as_json = false;
        int option;

        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
                switch (option) {
                case 'j':
                        as_json = true;
                        break;
                case 'h':
                        ctl_print_help(command);
                        return CTL_OK;
                default:
                        return CTL_USAGE;
                }
        if (optind < argc)
                return ctl_usage(command, "unexpected argument '%s'", argv[optind]);

        socket = call_connect(ctl);
        request.body_case = SHIMPORT__REQUEST__BODY_STATUS;
        request.status = &body;
        if (socket < 0 || call_send(socket, &request, NULL, 0) < 0 || !packets_receive(&packets, socket))
                return CTL_FAILED;
        if (as_json)
                print_json(&packets);
        else
                print_text(&packets);
        return CTL_OK;
}
