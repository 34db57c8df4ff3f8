/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_QUEUE_H
#define SHIMPORT_QUEUE_H

/*
 * Who may build next: users take turns, and those of a user are served as they came; so many at once and no more, and
 * of one user not all of these. So nobody waits for all that another has asked for, nor for builds of one user that
 * hang. A ticket is owned by its embedder and must be taken out before it goes. Nothing is started inside queue_add(), for starting a process
 * takes a thousand times as long as answering the attach that asked for it; it is started on the loop's next
 * turn.
 */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "list.h"
#include "user.h"

/* More wait only if somebody floods; a machine's honest interpreters have tens of roots between them. */
#define QUEUE_WAITING_MAX 512

typedef struct QueueTicket QueueTicket;

struct QueueTicket {
        List link;
        User *user;                         /* whose turn it takes; held by the embedder */
        bool (*start)(QueueTicket *ticket); /* true: a place is taken until queue_leave() */
};

enum {
        _QUEUE_E_0,
        QUEUE_E_FULL, /* QUEUE_WAITING_MAX are waiting */
        QUEUE_E_USER, /* as many of this user as may */
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

/**
 * queue_set_limits() - what one user may take, if there are limits for it
 * @building:   at once; 0: all places but one, and one if there is no other
 * @waiting:    how many may wait
 */
void queue_set_limits(Queue *queue, size_t building, size_t waiting);

void queue_ticket_init(QueueTicket *ticket, User *user, bool (*start)(QueueTicket *ticket));

/* Return: 0, QUEUE_E_FULL or QUEUE_E_USER. */
int queue_add(Queue *queue, QueueTicket *ticket);

/* May a build of this user wait that nobody has asked for? Not where those take half of the places already: whoever makes
 * changes, or says that there are some, leaves room for what is asked for. */
bool queue_has_room(const Queue *queue, const User *user);

/* Take out a ticket that may or may not wait. */
void queue_remove(Queue *queue, QueueTicket *ticket);

/* Does it wait? */
static inline bool queue_ticket_waits(const QueueTicket *ticket) {
        return !list_is_empty(&ticket->link);
}

/* Give back the place that a start took for this user. */
void queue_leave(Queue *queue, User *user);

/* Neither waiting nor started. */
bool queue_is_idle(const Queue *queue);

#endif
