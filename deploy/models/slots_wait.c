/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of those who wait for a place.
 *
 * A place is not lost between one who begins to wait and one who gives it back: the first counts
 * itself as held before it looks for a place, the second gives the place back before it looks
 * whether anybody is held; both orders are total (sequentially consistent), so that one of them
 * sees the other.
 */
#include <assert.h>
#include <stdio.h>

#include "deploy/models/slots_inside.h"
#include "gateway/base/memory.h"

enum { TICKET_NEW, TICKET_IN_QUEUE, TICKET_GRANTED, TICKET_TOLD };

/* How many kinds of wishes that cannot be had now are remembered during one round. */
enum { VAIN_MAX = 8 };

static struct link *bucket_of(struct slots *slots, uint64_t key)
{
    return &slots->buckets[(key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 58];
}

static struct ticket_queue *queue_of(struct slots *slots, uint64_t key)
{
    struct link *bucket = bucket_of(slots, key);
    for (struct link *at = bucket->next; at != bucket; at = at->next) {
        struct ticket_queue *queue = LIST_MEMBER(at, struct ticket_queue, bucket);
        if (queue->key == key)
            return queue;
    }
    struct ticket_queue *queue = memory_new(sizeof(*queue));
    queue->key = key;
    list_init(&queue->tickets);
    list_push_back(bucket, &queue->bucket);
    list_push_back(&slots->turns, &queue->turn);
    return queue;
}

static void ticket_push(struct slots *slots, struct ticket *ticket)
{
    struct ticket_queue *queue = queue_of(slots, ticket->key);
    ticket->grant = memory_new(sizeof(*ticket->grant));
    ticket->grant->ticket = ticket;
    ticket->grant->loop = ticket->loop;
    ticket->queue = queue;
    ticket->state = TICKET_IN_QUEUE;
    list_push_back(&queue->tickets, &ticket->link);
    list_push_back(&slots->ages, &ticket->age);
    queue->count++;
    queue->bytes += ticket->bytes;
    slots->held_bytes += ticket->bytes;
    atomic_fetch_add(&slots->held, 1);
}

/* Out of the queue, which is gone with its last one. */
static void ticket_pull(struct slots *slots, struct ticket *ticket)
{
    struct ticket_queue *queue = ticket->queue;
    assert(ticket->state == TICKET_IN_QUEUE);
    list_remove(&ticket->link);
    list_remove(&ticket->age);
    queue->count--;
    queue->bytes -= ticket->bytes;
    slots->held_bytes -= ticket->bytes;
    atomic_fetch_sub(&slots->held, 1);
    ticket->queue = NULL;
    if (queue->count > 0)
        return;
    list_remove(&queue->turn);
    list_remove(&queue->bucket);
    memory_free(queue);
}

/* --------------------------------------------------------------------------------- granting */

/* On the ticket's thread. */
static void on_grant_errand(struct errand *errand)
{
    struct ticket_grant *grant = LIST_MEMBER(errand, struct ticket_grant, errand);
    struct ticket *ticket = grant->ticket;
    memory_free(grant);
    if (!ticket)
        return;
    ticket->grant = NULL;
    ticket->state = TICKET_TOLD;
    ticket->on_grant(ticket);
}

static void post_all(struct ticket_grant *grants)
{
    while (grants) {
        struct ticket_grant *next = grants->next;
        grants->errand.run = on_grant_errand;
        loop_post(grants->loop, &grants->errand);
        grants = next;
    }
}

static void grant(struct slots *slots, struct ticket *ticket, struct ticket_grant **grants)
{
    ticket_pull(slots, ticket);
    ticket->state = TICKET_GRANTED;
    ticket->grant->next = *grants;
    *grants = ticket->grant;
}

/* Wishes that were in vain in this round: the others of their kind need not be looked at. */
struct vain {
    struct {
        unsigned side;
        uint64_t adapter;
    } kinds[VAIN_MAX];
    unsigned count;
};

static bool is_vain(const struct vain *vain, unsigned side, uint64_t adapter)
{
    for (unsigned i = 0; i < vain->count; i++)
        if (vain->kinds[i].side == side && vain->kinds[i].adapter == adapter)
            return true;
    return false;
}

/* The first of <queue> that can have a place has it now. */
static struct ticket *serve_queue(struct slots *slots, struct ticket_queue *queue,
                                  struct vain *vain)
{
    for (struct link *at = queue->tickets.next; at != &queue->tickets; at = at->next) {
        struct ticket *ticket = LIST_MEMBER(at, struct ticket, link);
        unsigned side = slots_side(slots, &ticket->wish);
        if (is_vain(vain, side, ticket->wish.adapter))
            continue;
        if (slots_grab(slots, &ticket->wish, &ticket->slot))
            return ticket;
        if (!ticket->wish.not_this && vain->count < VAIN_MAX) {
            vain->kinds[vain->count].side = side;
            vain->kinds[vain->count++].adapter = ticket->wish.adapter;
        }
    }
    return NULL;
}

/* One of the keys whose turn it is gets a place, and goes behind the others. */
static struct ticket *serve_turn(struct slots *slots, struct vain *vain)
{
    for (struct link *at = slots->turns.next; at != &slots->turns; at = at->next) {
        struct ticket_queue *queue = LIST_MEMBER(at, struct ticket_queue, turn);
        struct ticket *ticket = serve_queue(slots, queue, vain);
        if (!ticket)
            continue;
        list_remove(&queue->turn);
        list_push_back(&slots->turns, &queue->turn);
        return ticket;
    }
    return NULL;
}

static struct ticket_grant *serve_all(struct slots *slots)
{
    struct ticket_grant *grants = NULL;
    struct vain vain = {.count = 0};
    while (!list_is_empty(&slots->turns) && slots_have_room(slots)) {
        struct ticket *ticket = serve_turn(slots, &vain);
        if (!ticket)
            break;
        grant(slots, ticket, &grants);
    }
    return grants;
}

void slots_serve(struct slots *slots)
{
    if (atomic_load(&slots->held) == 0)
        return;
    pthread_mutex_lock(&slots->lock);
    struct ticket_grant *grants = serve_all(slots);
    pthread_mutex_unlock(&slots->lock);
    post_all(grants);
}

bool slots_take(struct slots *slots, const struct slots_wish *wish, struct slot *slot)
{
    if (atomic_load(&slots->held) == 0)
        return slots_grab(slots, wish, slot);
    pthread_mutex_lock(&slots->lock);
    struct ticket_grant *grants = serve_all(slots);
    bool taken = slots_grab(slots, wish, slot);
    pthread_mutex_unlock(&slots->lock);
    post_all(grants);
    return taken;
}

/* --------------------------------------------------------------------------------- waiting */

static void refuse(struct slots *slots, struct ticket *ticket, const char *why,
                   struct ticket_grant **grants)
{
    snprintf(ticket->why, sizeof(ticket->why), "%s", why);
    ticket->why_not = ticket->why;
    grant(slots, ticket, grants);
}

/* Whose queue holds most, by bytes or by count. */
static struct ticket_queue *longest(const struct slots *slots, bool by_bytes)
{
    struct ticket_queue *most = NULL;
    for (struct link *at = slots->turns.next; at != &slots->turns; at = at->next) {
        struct ticket_queue *queue = LIST_MEMBER(at, struct ticket_queue, turn);
        if (!most || (by_bytes ? queue->bytes > most->bytes : queue->count > most->count))
            most = queue;
    }
    return most;
}

/* The queue is too long by <ticket>: the last of the key that holds most has to go, and when that
 * is its own key, itself. False: it was itself. */
static bool make_room(struct slots *slots, struct ticket *ticket, unsigned max_requests,
                      int64_t max_bytes, struct ticket_grant **grants)
{
    for (;;) {
        bool by_bytes = slots->held_bytes > max_bytes;
        if (!by_bytes && atomic_load(&slots->held) <= max_requests)
            return true;
        struct ticket_queue *most = longest(slots, by_bytes);
        bool is_more =
            by_bytes ? most->bytes > ticket->queue->bytes : most->count > ticket->queue->count;
        if (!is_more)
            return false;
        refuse(slots, LIST_MEMBER(most->tickets.prev, struct ticket, link), "queue_full", grants);
    }
}

/* <ticket> has been granted within slots_wait(): its grant need not travel. */
static struct ticket_grant *take_out(struct ticket_grant *grants, const struct ticket *ticket)
{
    struct ticket_grant **at = &grants;
    while (*at && *at != ticket->grant)
        at = &(*at)->next;
    assert(*at);
    *at = (*at)->next;
    return grants;
}

static void forget_grant(struct ticket *ticket)
{
    memory_free(ticket->grant);
    ticket->grant = NULL;
    ticket->state = TICKET_TOLD;
}

/* The desk's own errand, on its thread; a bell that is on its way is not rung again. */
static void on_bell(struct errand *errand)
{
    struct slots *slots = LIST_MEMBER(errand, struct slots, bell);
    pthread_mutex_lock(&slots->lock);
    slots->rung = false;
    struct errand *run = slots->desk_errand;
    pthread_mutex_unlock(&slots->lock);
    if (run)
        run->run(run);
}

static void ring(struct slots *slots)
{
    if (!slots->desk || slots->rung)
        return;
    slots->rung = true;
    slots->bell.run = on_bell;
    loop_post(slots->desk, &slots->bell);
}

void slots_ring(struct slots *slots)
{
    pthread_mutex_lock(&slots->lock);
    ring(slots);
    pthread_mutex_unlock(&slots->lock);
}

enum ticket_answer slots_wait(struct slots *slots, struct ticket *ticket, unsigned max_requests,
                              int64_t max_bytes, uint64_t now_us)
{
    enum ticket_answer answer = TICKET_WAITS;
    ticket->since_us = now_us;
    ticket->why_not = NULL;
    ticket->slot = (struct slot){0};
    pthread_mutex_lock(&slots->lock);
    ticket_push(slots, ticket);
    struct ticket_grant *grants = serve_all(slots);
    if (ticket->state == TICKET_GRANTED) {
        answer = TICKET_TAKEN;
        grants = take_out(grants, ticket);
        forget_grant(ticket);
    } else if (!make_room(slots, ticket, max_requests, max_bytes, &grants)) {
        answer = TICKET_FULL;
        ticket_pull(slots, ticket);
        forget_grant(ticket);
    } else {
        ring(slots);
    }
    pthread_mutex_unlock(&slots->lock);
    post_all(grants);
    return answer;
}

void slots_leave(struct slots *slots, struct ticket *ticket)
{
    pthread_mutex_lock(&slots->lock);
    if (ticket->state == TICKET_IN_QUEUE) {
        ticket_pull(slots, ticket);
        forget_grant(ticket);
    } else if (ticket->state == TICKET_GRANTED) {
        ticket->grant->ticket = NULL; /* its errand frees it */
        ticket->grant = NULL;
        ticket->state = TICKET_TOLD;
    }
    pthread_mutex_unlock(&slots->lock);
    if (ticket->slot.generation)
        slots_give(slots, &ticket->slot, SLOT_UNKNOWN, 0);
}

void slots_fail_waiting(struct slots *slots, const char *why_not)
{
    struct ticket_grant *grants = NULL;
    pthread_mutex_lock(&slots->lock);
    while (!list_is_empty(&slots->ages))
        refuse(slots, LIST_MEMBER(slots->ages.next, struct ticket, age), why_not, &grants);
    pthread_mutex_unlock(&slots->lock);
    post_all(grants);
}

void slots_fail_adapter(struct slots *slots, uint64_t adapter, const char *why_not)
{
    struct ticket_grant *grants = NULL;
    pthread_mutex_lock(&slots->lock);
    for (struct link *at = slots->ages.next, *next; at != &slots->ages; at = next) {
        struct ticket *ticket = LIST_MEMBER(at, struct ticket, age);
        next = at->next;
        if (ticket->wish.adapter == adapter)
            refuse(slots, ticket, why_not, &grants);
    }
    pthread_mutex_unlock(&slots->lock);
    post_all(grants);
}

void slots_set_desk(struct slots *slots, struct loop *loop, struct errand *errand)
{
    pthread_mutex_lock(&slots->lock);
    slots->desk = loop;
    slots->desk_errand = loop ? errand : NULL;
    pthread_mutex_unlock(&slots->lock);
}

void slots_wait_init(struct slots *slots)
{
    pthread_mutex_init(&slots->lock, NULL);
    list_init(&slots->turns);
    list_init(&slots->ages);
    for (size_t i = 0; i < SLOTS_KEY_BUCKETS; i++)
        list_init(&slots->buckets[i]);
}
