/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "identity.h"
#include "message.h"
#include "status.h"
#include "util.h"
#include "version.h"

#define IMAGES_PER_PACKET 16
#define PACKET_ROOM (PACKET_SIZE_MAX - 16 * 1024) /* the rest of the status, its own paths included */

/* Of the modules that were left out of an image, so many are named, and no more of each is told. */
#define LEFT_OUT_MAX 32
#define LEFT_OUT_TEXT_MAX 256

typedef struct StatusImage {
        Shimport__ImageStatus message;
        Shimport__LeftOut left_out[LEFT_OUT_MAX], *left_out_list[LEFT_OUT_MAX];
        char files[LEFT_OUT_MAX][LEFT_OUT_TEXT_MAX];
} StatusImage;

typedef struct StatusBatch {
        StatusImage images[IMAGES_PER_PACKET];
        Shimport__ImageStatus *list[IMAGES_PER_PACKET];
        size_t n, size;
} StatusBatch;

typedef struct StatusRefusals {
        Shimport__PeerRefusal messages[REFUSALS_MAX], *list[REFUSALS_MAX];
} StatusRefusals;

static ProtobufCBinaryData clipped(const char *text, size_t length) {
        return (ProtobufCBinaryData){
                .len = length < LEFT_OUT_TEXT_MAX ? length : LEFT_OUT_TEXT_MAX,
                .data = (uint8_t *)text,
        };
}

static void fill_left_out(StatusImage *status, const Image *image) {
        uint32_t wanted = image->header->left_out_count;
        size_t n = 0;

        if (wanted > LEFT_OUT_MAX)
                wanted = LEFT_OUT_MAX;
        for (uint32_t i = 0; i < image->header->entry_count && n < wanted; i++) {
                const ImageEntry *entry = image_entry(image, i);
                const ImageDirectory *directory;
                const char *path, *file, *reason;
                size_t length;

                if (!entry || entry->kind != IMAGE_KIND_STOCK)
                        continue;
                directory = image_directory(image, entry->directory);
                path = directory ? image_string(image, directory->path, NULL) : NULL;
                file = image_string(image, entry->file.length ? entry->file : entry->name, NULL);
                reason = image_string(image, entry->reason, &length);
                if (!path || !file || !reason || strcmp(file, "__pycache__") == 0) /* nobody's module */
                        continue;
                snprintf(status->files[n], LEFT_OUT_TEXT_MAX, "%s%s%s", path, *path ? "/" : "", file);
                shimport__left_out__init(&status->left_out[n]);
                status->left_out[n].file = message_text(status->files[n]);
                status->left_out[n].reason = clipped(reason, length);
                status->left_out_list[n] = &status->left_out[n];
                n++;
        }
        status->message.left_out = status->left_out_list;
        status->message.n_left_out = n;
}

static void fill_image(StatusImage *status, Root *root) {
        Shimport__ImageStatus *message = &status->message;
        const Image *image = &root->image.image;

        shimport__image_status__init(message);
        message->root =
                (ProtobufCBinaryData){ .len = root->key.path_size, .data = (uint8_t *)root->key.path };
        message->tag = (ProtobufCBinaryData){ .len = root->key.tag_size, .data = (uint8_t *)root->key.tag };
        message->interpreter = message_text(root->executable);
        message->state = root_told_state(root);
        message->reason = message_text(root->reason);
        message->generation = root->generation;
        message->built_ms = root->built_ms;
        message->built_at = root->built_at;
        message->last_attach = root->last_attach;
        message->attaches = root->attaches;
        message->declined = root->declined;
        message->validated = message_text(root->validated);
        message->stale = root_is_served(root) ? staleness_count(&root->image.state) : 0;
        message->owner = root->owner;
        if (!image->base)
                return;
        message->mapped = image_file_is_mapped(&root->image);
        message->bytes_total = image->size;
        message->directories = image->header->directory_count;
        message->entries = image->header->entry_count;
        message->modules = image->header->module_count;
        fill_left_out(status, image);
}

/* Whose processes, roots and modules there are is not everybody's to know: who is told all, and who only of what everybody
 * could find, and of itself. */
static bool status_is_for(const Peer *peer, uid_t uid) {
        uid_t asker = peer_uid(peer);

        return asker == 0 || identity_is_own(asker) || asker == uid;
}

static bool root_is_for(const Root *root, const Peer *peer) {
        return status_is_for(peer, root->user->uid) || (root->is_public && root_is_served(root));
}

static void fill_refusals(StatusRefusals *status, const Refusals *refusals, const Peer *peer,
                          Shimport__Status *message) {
        size_t n = 0;

        for (size_t i = 0; i < REFUSALS_MAX; i++) {
                const Refusal *refusal = &refusals->list[i];
                Shimport__PeerRefusal *one = &status->messages[n];

                if (!refusal->count || !status_is_for(peer, refusal->uid))
                        continue;
                shimport__peer_refusal__init(one);
                one->uid = refusal->uid;
                one->pid = (uint32_t)refusal->pid;
                one->count = refusal->count;
                one->last = refusal->last;
                one->reason = message_text(refusal->reason);
                status->list[n++] = one;
        }
        message->refusals = refusals->total;
        message->refused = status->list;
        message->n_refused = n;
}

static void fill_daemon(Shimport__Status *status, const Daemon *daemon, const Peer *peer) {
        const StoreStatus *store = store_status(daemon->store);

        shimport__status__init(status);
        status->version = message_text(SHIMPORT_VERSION);
        status->socket = message_text(daemon->socket_path);
        status->config = message_text(daemon->config_path);
        status->uptime = (uv_now((uv_loop_t *)&daemon->loop) - daemon->started) / 1000;
        status->attaches = daemon->attaching.count;
        status->attach_sum_us = daemon->attaching.sum;
        status->attaches_recent = latency_recent(&daemon->attaching, uv_hrtime() / 1000000000);
        status->attach_p50_us = latency_quantile(&daemon->attaching, 50);
        status->attach_p99_us = latency_quantile(&daemon->attaching, 99);
        status->builds = store->builds;
        status->builds_failed = store->builds_failed;
        status->last_error = message_text(status_is_for(peer, 0) ? store->last_error : NULL);
        status->served = daemon->served;
        status->fallback = daemon->fallback;
        status->stale = daemon->stale;
        status->watches = watch_count(daemon->watch);
        status->watches_limit = watch_limit(daemon->watch);
        status->memory = store->memory;
        status->memory_limit = daemon->config.memory_max;
        status->memory_lingering = store->memory_lingering;
        status->lingering = (uint32_t)store->lingering;
        status->full = store->full;
        status->full_reason = message_text(store->full ? store->full_reason : NULL);
        status->started_at = (uint64_t)time(NULL) - status->uptime;
        status->peers = (uint32_t)peers_count(daemon->peers);
        status->pid = (uint32_t)getpid();
}

static void batch_send(StatusBatch *batch, Shimport__Status *status, Peer *peer, bool more) {
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;

        status->images = batch->list;
        status->n_images = batch->n;
        status->more = more;
        reply.body_case = SHIMPORT__REPLY__BODY_STATUS;
        reply.status = status;
        peer_send(peer, &reply, NULL, 0);
        batch->n = batch->size = 0;
}

/* Return: false if the packet would become too long; a packet of one image never does. */
static bool batch_add(StatusBatch *batch, Root *root) {
        StatusImage *image = &batch->images[batch->n];
        size_t size;

        fill_image(image, root);
        size = protobuf_c_message_get_packed_size(&image->message.base) + 8;
        if (batch->size + size > PACKET_ROOM)
                return false;
        batch->list[batch->n++] = &image->message;
        batch->size += size;
        return true;
}

void status_line(const Daemon *daemon, char *buffer, size_t size) {
        const StoreStatus *store = store_status(daemon->store);
        int n;

        n = snprintf(buffer, size, "%s%zu images, %.1f of %.0f MiB, %llu attaches, %llu builds",
                     store->full ? "FULL: " : "", store->images, (double)store->memory / (1 << 20),
                     (double)daemon->config.memory_max / (1 << 20),
                     (unsigned long long)daemon->attaching.count, (unsigned long long)store->builds);
        if (store->builds_failed && n > 0 && (size_t)n < size)
                snprintf(buffer + n, size - (size_t)n, ", %llu failed",
                         (unsigned long long)store->builds_failed);
}

int status_send(const Daemon *daemon, Peer *peer) {
        _cleanup_free_ StatusBatch *batch = calloc(1, sizeof(*batch));
        StatusRefusals refusals;
        Shimport__Status status;

        if (!batch)
                return -ENOMEM;
        fill_daemon(&status, daemon, peer);
        fill_refusals(&refusals, peers_refusals(daemon->peers), peer, &status);
        list_for_each(link, store_roots(daemon->store)) {
                Root *root = list_entry(link, Root, link);

                if (!root_is_for(root, peer))
                        continue;
                if (batch->n == IMAGES_PER_PACKET)
                        batch_send(batch, &status, peer, true);
                if (!batch_add(batch, root)) {
                        batch_send(batch, &status, peer, true);
                        batch_add(batch, root);
                }
        }
        batch_send(batch, &status, peer, false);
        return 0;
}
