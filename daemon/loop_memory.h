/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LOOP_MEMORY_H
#define SHIMPORT_LOOP_MEMORY_H

/*
 * Memory that libuv aborts the program for when there is none: its table of watchers, which grows with the highest
 * descriptor that is polled. It is reserved here, for as many descriptors as the daemon lets itself have; pages that are
 * never used cost nothing. So a peer's connection can fail for want of memory, and the loop cannot.
 */

/* A power of two less two, as the table grows by doubling. Far above what MaxPeers= and the images make of it. */
#define LOOP_FDS_MAX (65536 - 2)

/* Before any other call of libuv. There may be one loop in the program. */
void loop_memory_reserve(void);

#endif
