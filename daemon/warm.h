/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_WARM_H
#define SHIMPORT_WARM_H

/*
 * A peer that waits for images: it is told how the builds go on, and at the end which of them went wrong. The
 * wait belongs to the peer, and ends with it; the builds go on without.
 */

#include <stddef.h>

#include "peer.h"
#include "root.h"

typedef struct Warm Warm;

/* Return: 0 or -ENOMEM. */
int warm_new(Peer *peer, size_t n_roots, Warm **ret_warm);

/* Wait for a root's build; or know already what came of it. */
void warm_add(Warm *warm, Root *root);
void warm_add_result(Warm *warm, const void *path, size_t path_size, bool served, const char *reason);

/* Give up before it has begun. */
void warm_free(Warm *warm);

/* All are added: answer, at once or later; the peer has it now. */
void warm_begin(Warm *warm, uint64_t patience_ms);

#endif
