/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util.h"
#include "warm.h"

#define FAILURES_MAX 8192 /* bytes of text about what went wrong */

typedef struct WarmRoot {
        RootWaiter waiter; /* linked while it is waited for */
        Warm *warm;
        const Root *root; /* to compare with, it may be gone */
        char *path;
        size_t path_size;
        uint32_t index;
} WarmRoot;

struct Warm {
        Peer *peer;
        size_t n_roots, n_seen, n_added, n_waiting, n_served;
        bool begun;
        size_t failures_size;
        char failures[FAILURES_MAX];
        WarmRoot roots[];
};

void warm_free(Warm *warm) {
        for (size_t i = 0; i < warm->n_added; i++) {
                list_unlink(&warm->roots[i].waiter.link);
                free(warm->roots[i].path);
        }
        free(warm);
}

static void on_peer_gone(void *work) {
        warm_free(work);
}

static void warm_end(Warm *warm) {
        Peer *peer = warm->peer;
        char text[64];

        peer_work_end(peer);
        if (warm->failures_size)
                peer_error(peer, warm->failures);
        else {
                snprintf(text, sizeof(text), "%zu of %zu served", warm->n_served, warm->n_roots);
                peer_done(peer, text);
        }
        warm_free(warm);
}

static void warm_note(Warm *warm, const char *path, size_t path_size, bool served, const char *reason) {
        size_t room = sizeof(warm->failures) - warm->failures_size;
        int n;

        if (served) {
                warm->n_served++;
                return;
        }
        n = snprintf(warm->failures + warm->failures_size, room, "%s%.*s: %s",
                     warm->failures_size ? "\n" : "", (int)path_size, path, reason);
        if (n > 0)
                warm->failures_size += (size_t)n < room ? (size_t)n : room - 1;
}

static void warm_tell(WarmRoot *root, uint32_t done, uint32_t total) {
        Shimport__Progress body = SHIMPORT__PROGRESS__INIT;
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;

        body.root = (ProtobufCBinaryData){ .len = root->path_size, .data = (uint8_t *)root->path };
        body.root_index = root->index;
        body.root_count = (uint32_t)root->warm->n_roots;
        body.done = done;
        body.total = total;
        reply.body_case = SHIMPORT__REPLY__BODY_PROGRESS;
        reply.progress = &body;
        peer_send_lossy(root->warm->peer, &reply);
}

static void on_progress(RootWaiter *waiter, uint32_t done, uint32_t total) {
        WarmRoot *root = list_entry(waiter, WarmRoot, waiter);

        peer_work_goes_on(root->warm->peer);
        warm_tell(root, done, total); /* the peer may go, and the wait with it */
}

static void on_settled(RootWaiter *waiter, bool served, const char *reason) {
        WarmRoot *root = list_entry(waiter, WarmRoot, waiter);
        Warm *warm = root->warm;

        warm->n_waiting--;
        warm_note(warm, root->path, root->path_size, served, reason);
        peer_work_goes_on(warm->peer);
        if (!warm->n_waiting && warm->begun)
                warm_end(warm);
}

int warm_new(Peer *peer, size_t n_roots, Warm **ret_warm) {
        Warm *warm = calloc(1, sizeof(*warm) + n_roots * sizeof(WarmRoot));

        if (!warm)
                return -ENOMEM;
        warm->peer = peer;
        warm->n_roots = n_roots;
        *ret_warm = warm;
        return 0;
}

void warm_add_result(Warm *warm, const void *path, size_t path_size, bool served, const char *reason) {
        warm->n_seen++;
        warm_note(warm, path, path_size, served, reason);
}

/* A root that is named twice must not be waited for twice: its waiters may go while they are gone through. */
static bool warm_has(const Warm *warm, const Root *root) {
        for (size_t i = 0; i < warm->n_added; i++)
                if (warm->roots[i].root == root)
                        return true;
        return false;
}

void warm_add(Warm *warm, Root *root) {
        WarmRoot *added = &warm->roots[warm->n_added];
        uint32_t index = (uint32_t)warm->n_seen++;

        if (warm_has(warm, root)) {
                warm->n_served++;
                return;
        }
        *added = (WarmRoot){ .warm = warm, .root = root, .index = index };
        added->waiter.progress = on_progress;
        added->waiter.settled = on_settled;
        list_init(&added->waiter.link);
        warm->n_added++;
        added->path = malloc(root->key.path_size);
        if (!added->path) {
                warm_note(warm, root->key.path, root->key.path_size, false, strerror(ENOMEM));
                return;
        }
        memcpy(added->path, root->key.path, root->key.path_size);
        added->path_size = root->key.path_size;
        list_append(&root->waiters, &added->waiter.link);
        warm->n_waiting++;
}

void warm_begin(Warm *warm, uint64_t patience_ms) {
        warm->begun = true;
        if (!warm->n_waiting) {
                warm_end(warm);
                return;
        }
        peer_work(warm->peer, warm, on_peer_gone, patience_ms);
}
