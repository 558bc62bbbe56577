/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * jobs_turns - whose job is next? Tenants that have one waiting stand in a ring and take turns,
 * each with at most so many running; a tenant's own jobs go in the order they came, but for those
 * that are put off. No clock, no input or output; one thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/list.h"
#include "gateway/base/table.h"

struct turn_line;

/* One job's place: embedded in it, zeroed at first. */
struct turn {
    struct link link;
    struct turn_line *line; /* of its tenant, while it waits or runs */
    int64_t due_us;
    bool waits;
};

struct turns {
    struct table lines; /* by tenant */
    struct link ring;   /* of lines with somebody waiting; the front one is next */
    unsigned waiting, running;
};

void turns_init(struct turns *turns);
/* The jobs themselves are not the ring's. */
void turns_done(struct turns *turns);

/* <turn> waits, behind the others of <tenant>; not before <due_us>, unless 0. */
void turns_add(struct turns *turns, struct text tenant, struct turn *turn, int64_t due_us);
/* Who is next, now that <now_us>, where a tenant may have <most> running: counts as running from
 * then on. NULL: nobody; *due_us is when there may be somebody (0 = when one ends or comes). */
struct turn *turns_next(struct turns *turns, int64_t now_us, unsigned most, int64_t *due_us);
/* It waits or runs no more. */
void turns_end(struct turns *turns, struct turn *turn);
/* It is to be run again: from running back to waiting, ahead of what came after it. */
void turns_again(struct turns *turns, struct turn *turn, int64_t due_us);
/* None of the jobs of <turn>'s tenant is next before <until_us>. */
void turns_rest(struct turn *turn, int64_t until_us);
unsigned turns_waiting_of(const struct turns *turns, struct text tenant);
