/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>

#include "queue.h"

struct Queue {
        uv_timer_t turn;
        List users; /* who have tickets waiting, whose turn it is first */
        size_t n_waiting, taken, places;
        size_t building_max, waiting_max; /* of one user */
        void (*idle)(void *userdata);
        void *userdata;
};

static void queue_tell_idle(Queue *queue) {
        if (queue_is_idle(queue))
                queue->idle(queue->userdata);
}

static bool queue_lets_build(const Queue *queue, const User *user) {
        size_t most = queue->building_max;

        if (!most)
                most = queue->places > 1 ? queue->places - 1 : 1;
        return !user_is_limited(user) || user->building < most;
}

/* The user whose turn it is, of those who may have another one built. */
static User *queue_next(const Queue *queue) {
        list_for_each(link, &queue->users) {
                User *user = list_entry(link, User, queue_turn);

                if (queue_lets_build(queue, user))
                        return user;
        }
        return NULL;
}

static void on_turn(uv_timer_t *timer) {
        Queue *queue = timer->data;
        User *user;

        while (queue->taken < queue->places && (user = queue_next(queue))) {
                QueueTicket *ticket = list_entry(user->tickets.next, QueueTicket, link);

                queue_remove(queue, ticket);
                if (user->waiting) { /* the others first */
                        list_unlink(&user->queue_turn);
                        list_append(&queue->users, &user->queue_turn);
                }
                user->building++;
                queue->taken++;
                if (!ticket->start(ticket)) {
                        user->building--;
                        queue->taken--;
                }
        }
        queue_tell_idle(queue);
}

static void queue_run(Queue *queue) {
        if (queue->n_waiting && queue->taken < queue->places)
                uv_timer_start(&queue->turn, on_turn, 0, 0);
}

static void on_close(uv_handle_t *handle) {
        free(handle->data);
}

int queue_new(uv_loop_t *loop, void (*idle)(void *userdata), void *userdata, Queue **ret_queue) {
        Queue *queue = calloc(1, sizeof(*queue));

        if (!queue)
                return -ENOMEM;
        list_init(&queue->users);
        queue->idle = idle;
        queue->userdata = userdata;
        queue_set_places(queue, 0);
        queue->waiting_max = QUEUE_WAITING_MAX;
        uv_timer_init(loop, &queue->turn);
        queue->turn.data = queue;
        *ret_queue = queue;
        return 0;
}

Queue *queue_free(Queue *queue) {
        if (queue)
                uv_close((uv_handle_t *)&queue->turn, on_close);
        return NULL;
}

void queue_set_places(Queue *queue, size_t places) {
        queue->places = places ? places : uv_available_parallelism();
}

void queue_set_limits(Queue *queue, size_t building, size_t waiting) {
        queue->building_max = building;
        queue->waiting_max = waiting;
}

void queue_ticket_init(QueueTicket *ticket, User *user, bool (*start)(QueueTicket *ticket)) {
        ticket->user = user;
        list_init(&ticket->link);
        ticket->start = start;
}

int queue_add(Queue *queue, QueueTicket *ticket) {
        User *user = ticket->user;

        if (queue->n_waiting >= QUEUE_WAITING_MAX)
                return QUEUE_E_FULL;
        if (user_is_limited(user) && user->waiting >= queue->waiting_max)
                return QUEUE_E_USER;
        list_append(&user->tickets, &ticket->link);
        user->waiting++;
        if (list_is_empty(&user->queue_turn))
                list_append(&queue->users, &user->queue_turn);
        queue->n_waiting++;
        queue_run(queue);
        return 0;
}

bool queue_has_room(const Queue *queue, const User *user) {
        return queue->n_waiting < QUEUE_WAITING_MAX / 2 &&
               (!user_is_limited(user) || user->waiting < (queue->waiting_max + 1) / 2);
}

void queue_remove(Queue *queue, QueueTicket *ticket) {
        if (!queue_ticket_waits(ticket))
                return;
        list_unlink(&ticket->link);
        if (--ticket->user->waiting == 0)
                list_unlink(&ticket->user->queue_turn);
        queue->n_waiting--;
}

void queue_leave(Queue *queue, User *user) {
        queue->taken--;
        user->building--;
        queue_run(queue);
        queue_tell_idle(queue);
}

bool queue_is_idle(const Queue *queue) {
        return !queue->taken && !queue->n_waiting;
}
