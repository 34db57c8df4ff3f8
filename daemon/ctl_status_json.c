/* SPDX-License-Identifier: MIT */

/* The status as JSON. The manual page promises the names: members may come, none goes or changes its meaning. */

#include <jansson.h>

#include "ctl_status.h"

static void set(json_t *object, const char *key, uint64_t number) {
        json_object_set_new(object, key, json_integer((json_int_t)number));
}

static void set_bytes(json_t *object, const char *key, ProtobufCBinaryData bytes) {
        json_object_set_new(object, key, json_string(status_printable(bytes)));
}

static json_t *left_out_json(const Shimport__ImageStatus *image) {
        json_t *list = json_array();

        for (size_t i = 0; i < image->n_left_out; i++) {
                json_t *one = json_object();

                set_bytes(one, "file", image->left_out[i]->file);
                set_bytes(one, "reason", image->left_out[i]->reason);
                json_array_append_new(list, one);
        }
        return list;
}

static json_t *image_json(const Shimport__ImageStatus *image) {
        json_t *object = json_object();

        set_bytes(object, "root", image->root);
        set_bytes(object, "interpreter", image->interpreter);
        set_bytes(object, "tag", image->tag);
        json_object_set_new(object, "state", json_string(status_state_name(image->state)));
        set_bytes(object, "reason", image->reason);
        set(object, "generation", image->generation);
        set(object, "owner", image->owner);
        set(object, "bytes", image->bytes_total);
        set(object, "directories", image->directories);
        set(object, "entries", image->entries);
        set(object, "modules", image->modules);
        set(object, "declined", image->declined);
        set(object, "stale", image->stale);
        json_object_set_new(object, "mapped", json_boolean(image->mapped));
        set_bytes(object, "validated", image->validated);
        set(object, "attaches", image->attaches);
        set(object, "built_ms", image->built_ms);
        set(object, "built_at", image->built_at);
        set(object, "last_attach", image->last_attach);
        json_object_set_new(object, "left_out", left_out_json(image));
        return object;
}

static json_t *refused_json(const Shimport__Status *daemon) {
        json_t *list = json_array();

        for (size_t i = 0; i < daemon->n_refused; i++) {
                json_t *one = json_object();

                set(one, "uid", daemon->refused[i]->uid);
                set(one, "pid", daemon->refused[i]->pid);
                set(one, "count", daemon->refused[i]->count);
                set(one, "last", daemon->refused[i]->last);
                set_bytes(one, "reason", daemon->refused[i]->reason);
                json_array_append_new(list, one);
        }
        return list;
}

void status_print_json(const Status *status, FILE *out) {
        const Shimport__Status *daemon = status->daemon;
        json_t *object = json_object();
        json_t *images = json_array();

        set_bytes(object, "version", daemon->version);
        set(object, "pid", daemon->pid);
        set_bytes(object, "socket", daemon->socket);
        set_bytes(object, "config", daemon->config);
        set(object, "uptime", daemon->uptime);
        set(object, "started_at", daemon->started_at);
        set(object, "peers", daemon->peers);
        set(object, "attaches", daemon->attaches);
        set(object, "attaches_last_minute", daemon->attaches_recent);
        set(object, "attach_p50_us", daemon->attach_p50_us);
        set(object, "attach_p99_us", daemon->attach_p99_us);
        set(object, "attach_sum_us", daemon->attach_sum_us);
        set(object, "served", daemon->served);
        set(object, "fallback", daemon->fallback);
        set(object, "stale", daemon->stale);
        set(object, "builds", daemon->builds);
        set(object, "builds_failed", daemon->builds_failed);
        set_bytes(object, "last_error", daemon->last_error);
        set(object, "memory", daemon->memory);
        set(object, "memory_limit", daemon->memory_limit);
        set(object, "memory_lingering", daemon->memory_lingering);
        set(object, "lingering", daemon->lingering);
        json_object_set_new(object, "full", json_boolean(daemon->full));
        set_bytes(object, "full_reason", daemon->full_reason);
        set(object, "watches", daemon->watches);
        set(object, "watches_limit", daemon->watches_limit);
        set(object, "refusals", daemon->refusals);
        json_object_set_new(object, "refused", refused_json(daemon));
        for (size_t i = 0; i < status->n_images; i++)
                json_array_append_new(images, image_json(status->images[i]));
        json_object_set_new(object, "images", images);
        json_dumpf(object, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putc('\n', out);
        json_decref(object);
}
