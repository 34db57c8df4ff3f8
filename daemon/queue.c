/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>

#include "queue.h"

struct Queue {
        uv_timer_t turn;
        List waiting;
        size_t n_waiting, taken, places;
        void (*idle)(void *userdata);
        void *userdata;
};

static void queue_tell_idle(Queue *queue) {
        if (queue_is_idle(queue))
                queue->idle(queue->userdata);
}

static void on_turn(uv_timer_t *timer) {
        Queue *queue = timer->data;
        List *link;

        while (queue->taken < queue->places && (link = list_first(&queue->waiting))) {
                QueueTicket *ticket = list_entry(link, QueueTicket, link);

                queue_remove(queue, ticket);
                if (ticket->start(ticket))
                        queue->taken++;
        }
        queue_tell_idle(queue);
}

static void queue_run(Queue *queue) {
        if (!list_is_empty(&queue->waiting) && queue->taken < queue->places)
                uv_timer_start(&queue->turn, on_turn, 0, 0);
}

static void on_close(uv_handle_t *handle) {
        free(handle->data);
}

int queue_new(uv_loop_t *loop, void (*idle)(void *userdata), void *userdata, Queue **ret_queue) {
        Queue *queue = calloc(1, sizeof(*queue));

        if (!queue)
                return -ENOMEM;
        list_init(&queue->waiting);
        queue->idle = idle;
        queue->userdata = userdata;
        queue_set_places(queue, 0);
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

void queue_ticket_init(QueueTicket *ticket, bool (*start)(QueueTicket *ticket)) {
        list_init(&ticket->link);
        ticket->start = start;
}

int queue_add(Queue *queue, QueueTicket *ticket) {
        if (queue->n_waiting >= QUEUE_WAITING_MAX)
                return QUEUE_E_FULL;
        list_append(&queue->waiting, &ticket->link);
        queue->n_waiting++;
        queue_run(queue);
        return 0;
}

void queue_remove(Queue *queue, QueueTicket *ticket) {
        if (list_is_empty(&ticket->link))
                return;
        list_unlink(&ticket->link);
        queue->n_waiting--;
}

void queue_leave(Queue *queue) {
        queue->taken--;
        queue_run(queue);
        queue_tell_idle(queue);
}

bool queue_is_idle(const Queue *queue) {
        return !queue->taken && !queue->n_waiting;
}
