/* SPDX-License-Identifier: MIT */

/* The status for a person. */

#include <inttypes.h>
#include <time.h>

#include "ctl_status.h"
#include "util.h"

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

static char *ago_text(uint64_t when) {
        uint64_t now = (uint64_t)time(NULL);

        return ctl_format("%s ago", duration_text(now > when ? now - when : 0));
}

static unsigned percent(uint64_t part, uint64_t whole) {
        return whole ? (unsigned)((double)part * 100 / (double)whole) : 0;
}

static void print_image(const Shimport__ImageStatus *image, FILE *out) {
        fprintf(out, "\n%s\n  for %s: %s", status_printable(image->root),
                status_printable(image->interpreter), status_state_name(image->state));
        if (image->reason.len)
                fprintf(out, ": %s", status_printable(image->reason));
        putc('\n', out);
        if (image->bytes_total)
                fprintf(out,
                        "  generation %" PRIu64 ": %u modules, %s, built in %" PRIu64
                        " ms %s, %u stale, %smapped by processes\n",
                        image->generation, image->modules, size_text(image->bytes_total), image->built_ms,
                        ago_text(image->built_at), image->stale, image->mapped ? "" : "not ");
        if (image->attaches)
                fprintf(out, "  %" PRIu64 " attaches, the last %s\n", image->attaches,
                        ago_text(image->last_attach));
        if (image->validated.len)
                fprintf(out, "  validated by stat: %s\n", status_printable(image->validated));
        for (size_t i = 0; i < image->n_left_out; i++)
                fprintf(out, "  left out: %s: %s\n", status_printable(image->left_out[i]->file),
                        status_printable(image->left_out[i]->reason));
}

static void print_imports(const Shimport__Status *daemon, FILE *out) {
        fprintf(out, "imports:  %" PRIu64 " served", daemon->served);
        if (daemon->served)
                fprintf(out, " (%u%%)",
                        percent(daemon->served, daemon->served + daemon->fallback + daemon->stale));
        fprintf(out, ", %" PRIu64 " by stock, %" PRIu64 " stale\n", daemon->fallback, daemon->stale);
}

static void print_memory(const Status *status, FILE *out) {
        const Shimport__Status *daemon = status->daemon;
        size_t served = 0;

        for (size_t i = 0; i < status->n_images; i++)
                served += status->images[i]->bytes_total > 0;
        fprintf(out, "images:   %zu, %s of at most %s (%u%%)", served, size_text(daemon->memory),
                size_text(daemon->memory_limit), percent(daemon->memory, daemon->memory_limit));
        if (daemon->lingering)
                fprintf(out, ", of these %s in %u superseded ones that processes still have mapped",
                        size_text(daemon->memory_lingering), daemon->lingering);
        putc('\n', out);
        if (daemon->full)
                fprintf(out, "FULL:     %s\n", status_printable(daemon->full_reason));
}

void status_print_text(const Status *status, FILE *out) {
        const Shimport__Status *daemon = status->daemon;

        fprintf(out, "shimportd %s, process %u, up %s, at %s\n", status_printable(daemon->version),
                daemon->pid, duration_text(daemon->uptime), status_printable(daemon->socket));
        fprintf(out,
                "attaches: %" PRIu64 ", %.1f a second in the last minute, half within %" PRIu64
                " us, 99 of 100 within %" PRIu64 " us\n",
                daemon->attaches, (double)daemon->attaches_recent / 60, daemon->attach_p50_us,
                daemon->attach_p99_us);
        print_imports(daemon, out);
        fprintf(out, "builds:   %" PRIu64 ", %" PRIu64 " failed%s%s\n", daemon->builds, daemon->builds_failed,
                daemon->last_error.len ? ", the last: " : "", status_printable(daemon->last_error));
        print_memory(status, out);
        fprintf(out, "watches:  %" PRIu64 " of at most %" PRIu64 "\n", daemon->watches,
                daemon->watches_limit);
        for (size_t i = 0; i < daemon->n_refused; i++) {
                const Shimport__PeerRefusal *refused = daemon->refused[i];

                fprintf(out, "refused:  user %u, process %u, %s: %s (%" PRIu64 " times)\n", refused->uid,
                        refused->pid, ago_text(refused->last), status_printable(refused->reason),
                        refused->count);
        }
        for (size_t i = 0; i < status->n_images; i++)
                print_image(status->images[i], out);
}
