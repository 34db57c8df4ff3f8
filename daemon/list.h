/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LIST_H
#define SHIMPORT_LIST_H

/*
 * A circular doubly-linked list whose links lie in the members. An empty list, and a link that is in none, is
 * linked to itself, so that unlinking twice does no harm.
 */

#include <stdbool.h>
#include <stddef.h>

typedef struct List {
        struct List *previous, *next;
} List;

#define LIST_INIT(list) ((List){ .previous = &(list), .next = &(list) })

#define list_entry(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

/* The body may unlink or free `link`, and no other member. */
#define list_for_each(link, list)                                                  \
        for (List *link = (list)->next, *link##_next = link->next; link != (list); \
             link = link##_next, link##_next = link->next)

static inline void list_init(List *list) {
        *list = LIST_INIT(*list);
}

static inline bool list_is_empty(const List *list) {
        return list->next == list;
}

static inline List *list_first(const List *list) {
        return list_is_empty(list) ? NULL : list->next;
}

static inline void list_append(List *list, List *link) {
        link->previous = list->previous;
        link->next = list;
        list->previous->next = link;
        list->previous = link;
}

static inline void list_unlink(List *link) {
        link->previous->next = link->next;
        link->next->previous = link->previous;
        list_init(link);
}

#endif
