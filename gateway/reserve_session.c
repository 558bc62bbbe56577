/* SPDX-License-Identifier: Apache-2.0 */
/* A session lasts, and what its responses will use nobody knows: it is held for while it does. */
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/reserve.h"
#include "gateway/reserve_inside.h"
#include "gateway/worker_inside.h"

/* How often what its last response took is held for what a session does next: its responses grow
 * with what was said. With Redis there may be nothing to take without asking: so more is asked for
 * some responses before it must be there, and in steps that grow with the session. */
enum {
    SESSION_AHEAD = 2,
    SESSION_ASKED = 4,
    SESSION_PART = 8,
    SESSION_STEP_MAX = 16,
    SESSION_TRIES = 3
};

/* Of a response under way: so much of its output is held ahead of it with Redis, a part of it at a
 * time; without, a part where it is used. */
enum { RUNNING_TOKENS = 4096, RUNNING_STEPS = 64, RUNNING_TRIES = 6 };

/* At most, for the store; and where more was used than is held. */
enum { SESSION_WAIT_US = 1000000, SESSION_LATE_US = 100000, SHORT_US = 600000 };

/* What a session has used of limits of a kind, its <last> response included. */
struct stretch {
    enum limit_kind kind;
    int64_t used, last;
};

static int64_t sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* How much must be held besides, so that <ahead> more of such responses are paid for; plain windows
 * of tokens take what was used for debt, which is paid back before it grows. */
static int64_t session_lacks(const struct exchange *x, const struct stretch *stretch, int ahead)
{
    const struct reservation *r = &x->reservation;
    int64_t lacks = 0;
    for (size_t i = 0; i < r->use_count; i++) {
        const struct use *use = &r->uses[i];
        if (use->limit->kind != stretch->kind || use->settled)
            continue;
        bool exact = stretch->kind == LIMIT_MONEY || use->limit->strict;
        int64_t needed = stretch->used;
        for (int j = 0; exact && j < ahead; j++)
            needed = sum(needed, stretch->last);
        lacks = needed - use->held > lacks ? needed - use->held : lacks;
    }
    return lacks;
}

/* Of what may never be exceeded: do <ahead> more of such responses need more than is held? */
static bool session_exceeds(const struct exchange *x, const struct stretch *stretch, int ahead)
{
    const struct reservation *r = &x->reservation;
    bool exact = stretch->kind == LIMIT_MONEY;
    for (size_t i = 0; i < r->use_count; i++)
        exact = exact || (r->uses[i].limit->kind == stretch->kind && r->uses[i].limit->strict);
    return exact && session_lacks(x, stretch, ahead) > 0;
}

static int64_t session_step(const struct stretch *stretch)
{
    int64_t part = stretch->used / SESSION_PART, most = 0;
    for (int i = 0; i < SESSION_STEP_MAX && most < part; i++)
        most = sum(most, stretch->last);
    return part < most ? part : most;
}

static enum session_result session_hold(struct exchange *x, const struct stretch *stretch)
{
    struct reservation *r = &x->reservation;
    struct booked *book = reserve_book(x);
    unsigned *tries = &book->session_tries[stretch->kind];
    if (limits_asks_ahead(r, stretch->kind) && session_lacks(x, stretch, SESSION_AHEAD) > 0)
        return SESSION_ASKS;
    int64_t asked = session_lacks(x, stretch, SESSION_ASKED), step = session_step(stretch);
    int64_t lacks = session_lacks(x, stretch, SESSION_AHEAD);
    if (asked == 0 || limits_extend(r, stretch->kind, asked > step ? asked : step) || lacks == 0 ||
        limits_extend(r, stretch->kind, lacks)) {
        *tries = 0;
        return SESSION_HELD;
    }
    int64_t next = session_lacks(x, stretch, 1);
    if (next > 0 && limits_extend(r, stretch->kind, next)) { /* as far as it goes */
        *tries = 0;
        book->session_short_us = 0;
    }
    /* What the store gives may be taken by others before it can be held here. */
    unsigned most = session_exceeds(x, stretch, 1) ? 1 : SESSION_TRIES;
    return (*tries)++ < most && limits_asks_ahead(r, stretch->kind) ? SESSION_ASKS : SESSION_ENDS;
}

static enum session_result session_end(struct exchange *x, enum limit_kind kind)
{
    if (kind == LIMIT_MONEY)
        fault_set(exchange_fault(x), FAULT_BUDGET, "The budget is spent in this session.");
    else
        fault_set(exchange_fault(x), FAULT_RATE_TOKENS,
                  "The limit of tokens is reached in this session.");
    return SESSION_ENDS;
}

enum session_result reserve_session_again(struct exchange *x)
{
    struct booked *book = reserve_book(x);
    const struct used *used = &book->used, *last = &book->last;
    const struct stretch stretches[] = {
        {LIMIT_MONEY, used->cost_nanos, last->cost_nanos},
        {LIMIT_INPUT_TOKENS, used->input_tokens, last->input_tokens},
        {LIMIT_OUTPUT_TOKENS, used->output_tokens, last->output_tokens},
        {LIMIT_TOKENS, used->input_tokens + used->output_tokens,
         last->input_tokens + last->output_tokens},
    };
    size_t count = sizeof(stretches) / sizeof(stretches[0]), short_of = count;
    if (!x->reservation.live)
        return SESSION_HELD;
    for (size_t i = 0; i < count; i++) {
        enum session_result result = session_hold(x, &stretches[i]);
        if (result == SESSION_ENDS)
            return session_end(x, stretches[i].kind);
        if (result == SESSION_ASKS)
            short_of = i;
    }
    if (short_of == count) {
        book->session_short_us = 0;
        return SESSION_HELD;
    }
    uint64_t now = clock_now_us();
    if (!book->session_short_us)
        book->session_short_us = now;
    bool late = session_exceeds(x, &stretches[short_of], 0);
    if (now - book->session_short_us >= (late ? SESSION_LATE_US : SESSION_WAIT_US))
        return session_end(x, stretches[short_of].kind);
    return SESSION_ASKS;
}

void reserve_session_used(struct exchange *x, const struct usage *usage, int64_t cost_nanos)
{
    struct booked *book = reserve_book(x);
    book->last = (struct used){.input_tokens = usage->input_tokens,
                               .output_tokens = usage->output_tokens,
                               .cost_nanos = cost_nanos};
    book->used.input_tokens += usage->input_tokens;
    book->used.output_tokens += usage->output_tokens;
    book->used.cost_nanos = sum(book->used.cost_nanos, cost_nanos);
    memset(book->running_tries, 0, sizeof(book->running_tries));
    memset(book->short_tries, 0, sizeof(book->short_tries));
    memset(book->short_us, 0, sizeof(book->short_us));
}

enum session_result reserve_session(struct exchange *x, const struct usage *usage,
                                    int64_t cost_nanos)
{
    reserve_session_used(x, usage, cost_nanos);
    return reserve_session_again(x);
}

/* ------------------------------------------------------------------- a response under way */

/* How much of what may never be exceeded is held beyond what was used; of none: no end. */
static int64_t running_left(const struct exchange *x, const struct stretch *stretch)
{
    const struct reservation *r = &x->reservation;
    int64_t left = INT64_MAX;
    for (size_t i = 0; i < r->use_count; i++) {
        const struct use *use = &r->uses[i];
        bool exact = stretch->kind == LIMIT_MONEY || use->limit->strict;
        if (use->limit->kind == stretch->kind && !use->settled && exact &&
            use->held - stretch->used < left)
            left = use->held - stretch->used;
    }
    return left;
}

/* Others share it, so what the next moments need is held before they come: half as much each time
 * that is not to be had, and then nobody waits for it. Asked for when half of it is used. */
static enum session_result running_ahead(struct exchange *x, const struct stretch *stretch,
                                         int64_t left)
{
    struct reservation *r = &x->reservation;
    unsigned *tries = &reserve_book(x)->running_tries[stretch->kind];
    int64_t ahead = stretch->last >> *tries;
    if (left >= ahead / 2)
        return SESSION_HELD;
    bool asks = limits_asks_ahead(r, stretch->kind);
    if (!asks && limits_extend(r, stretch->kind, ahead - left)) {
        *tries -= *tries > 0;
        return SESSION_HELD;
    }
    *tries += !asks && *tries < RUNNING_TRIES;
    bool waits = *tries < RUNNING_TRIES && limits_asks_ahead(r, stretch->kind);
    return waits ? SESSION_ASKS : SESSION_HELD;
}

/* It is not there, but others share it: the store may have it. It is asked again, for what it gives
 * may be taken by others before it can be held here, and one that was just reached again says "not
 * now" to all for a moment. */
static enum session_result running_short(struct exchange *x, enum limit_kind kind, bool next,
                                         bool asked)
{
    const struct reservation *r = &x->reservation;
    struct booked *book = reserve_book(x);
    uint64_t now = clock_now_us(), *since = &book->short_us[next];
    if (!limits_are_shared(r))
        return SESSION_ENDS;
    *since = *since ? *since : now;
    bool is_late = now - *since >= SHORT_US;
    if (!limits_asks_ahead(r, kind))
        return is_late ? SESSION_ENDS : SESSION_SHORT;
    book->short_tries[next][kind] += !asked && book->short_tries[next][kind] <= SESSION_TRIES;
    return is_late && book->short_tries[next][kind] > SESSION_TRIES ? SESSION_ENDS : SESSION_SHORT;
}

/* Its <last> is how much the next moments may need. */
static enum session_result running_hold(struct exchange *x, const struct stretch *stretch,
                                        bool next)
{
    struct reservation *r = &x->reservation;
    int64_t left = running_left(x, stretch);
    if (left >= 0) {
        reserve_book(x)->short_tries[next][stretch->kind] = 0;
        return limits_are_shared(r) ? running_ahead(x, stretch, left) : SESSION_HELD;
    }
    bool asked = limits_asks_ahead(r, stretch->kind);
    /* A step besides, so that it need not be asked for each word. */
    if (limits_extend(r, stretch->kind, sum(-left, stretch->last / RUNNING_STEPS)) ||
        limits_extend(r, stretch->kind, -left)) {
        reserve_book(x)->short_tries[next][stretch->kind] = 0;
        return SESSION_HELD;
    }
    return running_short(x, stretch->kind, next, asked);
}

/* It has been short for long: of what there is, or because nobody could be asked for more. */
static enum session_result running_end(struct exchange *x, enum limit_kind kind)
{
    const struct reservation *r = &x->reservation;
    if (!limits_are_shared(r) || limits_asks_ahead(r, kind))
        return session_end(x, kind);
    fault_set(exchange_fault(x), FAULT_STORE_AWAY,
              "The store of limits and budgets cannot be reached, and a limit of this session is "
              "closed meanwhile.");
    return SESSION_ENDS;
}

enum session_result reserve_session_running(struct exchange *x, const struct usage *usage,
                                            bool next)
{
    const struct used *used = &reserve_book(x)->used;
    const struct price *price = &x->target->price;
    int64_t cost = sum(used->cost_nanos, price_cost(price, usage));
    int64_t input = sum(used->input_tokens, usage->input_tokens);
    int64_t output = sum(used->output_tokens, usage->output_tokens);
    const struct stretch stretches[] = {
        {LIMIT_MONEY, cost,
         price_bound(price, usage->input_tokens, RUNNING_TOKENS, 0) -
             price_bound(price, usage->input_tokens, 0, 0)},
        {LIMIT_INPUT_TOKENS, input, 0},
        {LIMIT_OUTPUT_TOKENS, output, RUNNING_TOKENS},
        {LIMIT_TOKENS, sum(input, output), RUNNING_TOKENS},
    };
    enum session_result all = SESSION_HELD;
    if (!x->reservation.live)
        return SESSION_HELD;
    for (size_t i = 0; i < sizeof(stretches) / sizeof(stretches[0]); i++) {
        enum session_result result = running_hold(x, &stretches[i], next);
        if (result == SESSION_ENDS)
            return running_end(x, stretches[i].kind);
        all = result > all ? result : all; /* they are in the order of their weight */
    }
    if (all != SESSION_SHORT)
        reserve_book(x)->short_us[next] = 0;
    return all;
}
