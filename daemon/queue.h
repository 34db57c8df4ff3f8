/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_QUEUE_H
#define SHIMPORT_QUEUE_H

/*
 * Who may build next: first come, first served, so many at once and no more. A ticket is owned by its
 * embedder and must be taken out before it goes. Nothing is started inside queue_add(), for starting a process
 * takes a thousand times as long as answering the attach that asked for it; it is started on the loop's next
 * turn.
 */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "list.h"

/* More wait only if somebody floods; a machine's honest interpreters have tens of roots between them. */
#define QUEUE_WAITING_MAX 512

typedef struct QueueTicket QueueTicket;

struct QueueTicket {
        List link;
        bool (*start)(QueueTicket *ticket); /* true: a place is taken until queue_leave() */
};

enum {
        _QUEUE_E_0,
        QUEUE_E_FULL, /* QUEUE_WAITING_MAX are waiting */
        _QUEUE_E_N
};

typedef struct Queue Queue;

/**
 * queue_new()
 * @idle:       called when nobody waits and no place is taken any more
 *
 * Return: 0 or -ENOMEM.
 */
int queue_new(uv_loop_t *loop, void (*idle)(void *userdata), void *userdata, Queue **ret_queue);

/* Nobody may wait. Freed in the loop, by the close callback. Return: NULL. */
Queue *queue_free(Queue *queue);

/* How many at once; 0: as many as there are processors. */
void queue_set_places(Queue *queue, size_t places);

void queue_ticket_init(QueueTicket *ticket, bool (*start)(QueueTicket *ticket));

/* Return: 0 or QUEUE_E_FULL. */
int queue_add(Queue *queue, QueueTicket *ticket);

/* Take out a ticket that may or may not wait. */
void queue_remove(Queue *queue, QueueTicket *ticket);

/* Give back the place that a start took. */
void queue_leave(Queue *queue);

/* Neither waiting nor started. */
bool queue_is_idle(const Queue *queue);

#endif
