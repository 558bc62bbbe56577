/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * list - doubly linked, the links inside the members; a list's head is a link too.
 *
 * A link that is in no list points at itself, so taking it out twice does no harm.
 */

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *prev, *next;
};

#define LIST_MEMBER(link_at, type, field) \
    ((type *)(void *)((char *)(link_at)-offsetof(type, field)))

static inline void list_init(struct link *head)
{
    head->prev = head->next = head;
}

static inline bool list_is_empty(const struct link *head)
{
    return head->next == head;
}

static inline void list_remove(struct link *member)
{
    member->prev->next = member->next;
    member->next->prev = member->prev;
    member->prev = member->next = member;
}

static inline void list_push_back(struct link *head, struct link *member)
{
    member->prev = head->prev;
    member->next = head;
    head->prev->next = member;
    head->prev = member;
}

static inline void list_push_front(struct link *head, struct link *member)
{
    list_push_back(head->next, member);
}

/* All members of <from>, behind those that are there. */
static inline void list_append(struct link *head, struct link *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = head->prev;
    head->prev->next = from->next;
    from->prev->next = head;
    head->prev = from->prev;
    list_init(from);
}
