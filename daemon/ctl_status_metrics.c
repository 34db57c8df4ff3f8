/* SPDX-License-Identifier: MIT */

/*
 * The status as OpenMetrics text, for node_exporter's textfile collector or anything else that reads it. Every
 * time is in seconds and every size in bytes, as it is the custom there.
 */

#include <inttypes.h>
#include <string.h>

#include "ctl_status.h"
#include "util.h"

static void family(FILE *out, const char *name, const char *type, const char *unit, const char *help) {
        fprintf(out, "# TYPE shimport_%s %s\n", name, type);
        if (unit)
                fprintf(out, "# UNIT shimport_%s %s\n", name, unit);
        fprintf(out, "# HELP shimport_%s %s\n", name, help);
}

static void gauge(FILE *out, const char *name, const char *unit, const char *help, uint64_t value) {
        family(out, name, "gauge", unit, help);
        fprintf(out, "shimport_%s %" PRIu64 "\n", name, value);
}

static void counter(FILE *out, const char *name, const char *help, uint64_t value) {
        family(out, name, "counter", NULL, help);
        fprintf(out, "shimport_%s_total %" PRIu64 "\n", name, value);
}

/* A label's value: quotes and backslashes are escaped; line ends there are none, status_printable() sees to that. */
static char *label(ProtobufCBinaryData bytes) {
        const char *text = status_printable(bytes);
        char *escaped = ctl_alloc(2 * strlen(text) + 1), *end = escaped;

        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        *end++ = '\\';
                *end++ = *text;
        }
        return escaped;
}

static bool bytes_equal(ProtobufCBinaryData one, ProtobufCBinaryData other) {
        return one.len == other.len && (!one.len || memcmp(one.data, other.data, one.len) == 0);
}

/* The labels of each image. They must be unique: of those with one path, where another directory is mounted or was
 * put, the one attached last stands for all. */
static const char **image_labels(const Status *status) {
        const char **labels = ctl_alloc((status->n_images + 1) * sizeof(*labels));

        for (size_t i = 0; i < status->n_images; i++) {
                const Shimport__ImageStatus *image = status->images[i];
                bool again = false;

                for (size_t j = i + 1; j < status->n_images && !again; j++)
                        again = bytes_equal(image->root, status->images[j]->root) &&
                                bytes_equal(image->tag, status->images[j]->tag);
                if (!again)
                        labels[i] =
                                ctl_format("root=\"%s\",interpreter=\"%s\",tag=\"%s\"", label(image->root),
                                           label(image->interpreter), label(image->tag));
        }
        return labels;
}

#define EACH_IMAGE(format, value)                                               \
        for (size_t i = 0; i < status->n_images; i++)                           \
                if (labels[i]) {                                                \
                        const Shimport__ImageStatus *image = status->images[i]; \
                                                                                \
                        fprintf(out, format, labels[i], value);                 \
                }

static void print_images(const Status *status, FILE *out) {
        static const Shimport__RootState states[] = {
                SHIMPORT__ROOT_STATE__SERVED, SHIMPORT__ROOT_STATE__BUILDING, SHIMPORT__ROOT_STATE__STALE,
                SHIMPORT__ROOT_STATE__FAILED, SHIMPORT__ROOT_STATE__SEEN,
        };
        const char **labels = image_labels(status);

        family(out, "image_state", "stateset", NULL, "What the daemon has of a directory.");
        for (size_t i = 0; i < status->n_images; i++)
                for (size_t j = 0; labels[i] && j < ELEMENTSOF(states); j++)
                        fprintf(out, "shimport_image_state{%s,shimport_image_state=\"%s\"} %d\n", labels[i],
                                status_state_name(states[j]), status->images[i]->state == states[j]);
        family(out, "image_bytes", "gauge", "bytes", "Size of the image.");
        EACH_IMAGE("shimport_image_bytes{%s} %" PRIu64 "\n", image->bytes_total)
        family(out, "image_modules", "gauge", NULL, "Modules whose code is in the image.");
        EACH_IMAGE("shimport_image_modules{%s} %u\n", image->modules)
        family(out, "image_stale", "gauge", NULL,
               "Entries and directories that have changed since it was built.");
        EACH_IMAGE("shimport_image_stale{%s} %u\n", image->stale)
        family(out, "image_mapped", "gauge", NULL, "Whether processes have it mapped.");
        EACH_IMAGE("shimport_image_mapped{%s} %d\n", image->mapped)
        family(out, "image_generation", "gauge", NULL, "Number of the image; a new one has a higher one.");
        EACH_IMAGE("shimport_image_generation{%s} %" PRIu64 "\n", image->generation)
        family(out, "image_build_seconds", "gauge", "seconds", "How long its build took.");
        EACH_IMAGE("shimport_image_build_seconds{%s} %.3f\n", (double)image->built_ms / 1000)
        family(out, "image_built_timestamp_seconds", "gauge", "seconds", "When it was built, 0: never.");
        EACH_IMAGE("shimport_image_built_timestamp_seconds{%s} %" PRIu64 "\n", image->built_at)
        family(out, "image_last_attach_timestamp_seconds", "gauge", "seconds",
               "When a process attached last, 0: never.");
        EACH_IMAGE("shimport_image_last_attach_timestamp_seconds{%s} %" PRIu64 "\n", image->last_attach)
        family(out, "image_attaches", "counter", NULL, "Attaches that were given it.");
        EACH_IMAGE("shimport_image_attaches_total{%s} %" PRIu64 "\n", image->attaches)
}

void status_print_metrics(const Status *status, FILE *out) {
        const Shimport__Status *daemon = status->daemon;

        family(out, "build", "info", NULL, "The daemon that this is from.");
        fprintf(out, "shimport_build_info{version=\"%s\"} 1\n", label(daemon->version));
        gauge(out, "uptime_seconds", "seconds", "Time since the daemon started.", daemon->uptime);
        gauge(out, "peers", NULL, "Connections at the moment.", daemon->peers);
        family(out, "attach_seconds", "summary", "seconds", "How long attaches took to be answered.");
        fprintf(out,
                "shimport_attach_seconds{quantile=\"0.5\"} %.6f\n"
                "shimport_attach_seconds{quantile=\"0.99\"} %.6f\n"
                "shimport_attach_seconds_count %" PRIu64 "\n"
                "shimport_attach_seconds_sum %.6f\n",
                (double)daemon->attach_p50_us / 1e6, (double)daemon->attach_p99_us / 1e6, daemon->attaches,
                (double)daemon->attach_sum_us / 1e6);
        counter(out, "imports_served", "Imports that processes had from images, as they told at their end.",
                daemon->served);
        counter(out, "imports_fallback", "Imports that were left to stock.", daemon->fallback);
        counter(out, "imports_stale", "Imports that were left to stock because of a change.", daemon->stale);
        counter(out, "builds", "Images built.", daemon->builds);
        counter(out, "builds_failed", "Builds that failed.", daemon->builds_failed);
        gauge(out, "memory_bytes", "bytes", "Memory of all images, mapped ones that are superseded included.",
              daemon->memory);
        gauge(out, "memory_lingering_bytes", "bytes",
              "Memory of superseded images that processes have mapped.", daemon->memory_lingering);
        gauge(out, "memory_limit_bytes", "bytes", "MemoryMax= in the configuration.", daemon->memory_limit);
        gauge(out, "memory_full", NULL, "Whether there is no room for an image that was asked for.",
              daemon->full);
        gauge(out, "watches", NULL, "Directories watched.", daemon->watches);
        gauge(out, "watches_limit", NULL, "Directories that may be watched.", daemon->watches_limit);
        counter(out, "refusals", "Peers refused or dropped.", daemon->refusals);
        print_images(status, out);
        fputs("# EOF\n", out);
}
