/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/jobs_turns.h"

#include <assert.h>

#include "gateway/base/memory.h"

struct turn_line {
    struct link link; /* in the ring, while somebody waits */
    char *tenant;
    struct link ready; /* in the order they came */
    struct link later; /* by the time they are due */
    unsigned waiting, running;
    int64_t rest_until_us;
};

void turns_init(struct turns *turns)
{
    *turns = (struct turns){0};
    table_init(&turns->lines);
    list_init(&turns->ring);
}

static void line_free(struct turns *turns, struct turn_line *line)
{
    list_remove(&line->link);
    table_remove(&turns->lines, text_of(line->tenant));
    memory_free(line->tenant);
    memory_free(line);
}

void turns_done(struct turns *turns)
{
    struct text name;
    void *line;
    for (size_t at = 0; at = 0, table_next(&turns->lines, &at, &name, &line);)
        line_free(turns, line);
    table_done(&turns->lines);
}

static struct turn_line *line_of(struct turns *turns, struct text tenant)
{
    struct turn_line *line = table_find(&turns->lines, tenant);
    if (line)
        return line;
    line = memory_new(sizeof(*line));
    line->tenant = memory_string(tenant);
    list_init(&line->link);
    list_init(&line->ready);
    list_init(&line->later);
    table_set(&turns->lines, text_of(line->tenant), line);
    return line;
}

static void put_later(struct turn_line *line, struct turn *turn)
{
    struct link *before = line->later.prev;
    while (before != &line->later && LIST_MEMBER(before, struct turn, link)->due_us > turn->due_us)
        before = before->prev;
    list_push_front(before, &turn->link);
}

static void put(struct turns *turns, struct turn *turn, int64_t due_us, bool first)
{
    struct turn_line *line = turn->line;
    turn->due_us = due_us;
    turn->waits = true;
    if (due_us)
        put_later(line, turn);
    else if (first)
        list_push_front(&line->ready, &turn->link);
    else
        list_push_back(&line->ready, &turn->link);
    turns->waiting++;
    if (line->waiting++ == 0)
        list_push_back(&turns->ring, &line->link);
}

void turns_add(struct turns *turns, struct text tenant, struct turn *turn, int64_t due_us)
{
    assert(!turn->line);
    turn->line = line_of(turns, tenant);
    put(turns, turn, due_us, false);
}

static void stop_waiting(struct turns *turns, struct turn *turn)
{
    list_remove(&turn->link);
    turn->waits = false;
    turns->waiting--;
    if (--turn->line->waiting == 0)
        list_remove(&turn->line->link);
}

/* The one of <line> that is next, or NULL and when there may be one. */
static struct turn *first_of(struct turn_line *line, int64_t now_us, int64_t *due_us)
{
    if (line->rest_until_us > now_us) {
        *due_us = line->rest_until_us;
        return NULL;
    }
    if (!list_is_empty(&line->later)) {
        struct turn *turn = LIST_MEMBER(line->later.next, struct turn, link);
        if (turn->due_us <= now_us)
            return turn;
        *due_us = turn->due_us;
    }
    return list_is_empty(&line->ready) ? NULL : LIST_MEMBER(line->ready.next, struct turn, link);
}

struct turn *turns_next(struct turns *turns, int64_t now_us, unsigned most, int64_t *due_us)
{
    *due_us = 0;
    for (struct link *at = turns->ring.next; at != &turns->ring; at = at->next) {
        struct turn_line *line = LIST_MEMBER(at, struct turn_line, link);
        int64_t due = 0;
        struct turn *turn = line->running < most ? first_of(line, now_us, &due) : NULL;
        if (!turn) {
            if (due && (!*due_us || due < *due_us))
                *due_us = due;
            continue;
        }
        list_remove(&line->link); /* the others first, next time */
        list_push_back(&turns->ring, &line->link);
        stop_waiting(turns, turn);
        line->running++;
        turns->running++;
        return turn;
    }
    return NULL;
}

static void stop_running(struct turns *turns, struct turn *turn)
{
    turn->line->running--;
    turns->running--;
}

void turns_end(struct turns *turns, struct turn *turn)
{
    struct turn_line *line = turn->line;
    if (!line)
        return;
    if (turn->waits)
        stop_waiting(turns, turn);
    else
        stop_running(turns, turn);
    turn->line = NULL;
    if (line->waiting == 0 && line->running == 0)
        line_free(turns, line);
}

void turns_again(struct turns *turns, struct turn *turn, int64_t due_us)
{
    assert(turn->line && !turn->waits);
    stop_running(turns, turn);
    put(turns, turn, due_us, true);
}

void turns_rest(struct turn *turn, int64_t until_us)
{
    if (turn->line && turn->line->rest_until_us < until_us)
        turn->line->rest_until_us = until_us;
}

unsigned turns_waiting_of(const struct turns *turns, struct text tenant)
{
    const struct turn_line *line = table_find(&turns->lines, tenant);
    return line ? line->waiting : 0;
}
