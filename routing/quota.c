/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/quota.h"

enum { SLOT_US = 4000000, COUNT_BITS = 40, DRY_PART = 50 };

static const uint64_t COUNT_MASK = (UINT64_C(1) << COUNT_BITS) - 1;
static const int64_t TOKENS_MAX = INT64_C(1) << 36, FIGURE_MAX = INT64_C(1) << 40,
                     RESET_US = 60000000, /* where nothing is said */
    RESET_MAX_US = INT64_C(86400) * 1000000;

/* ------------------------------------------------------------------------------- our own */

static uint64_t number_of(uint64_t now_us)
{
    return (now_us / SLOT_US + 1) & 0xffffff; /* 0 is what nothing was counted in */
}

static atomic_uint_fast64_t *slot_of(struct quota_window *window, uint64_t number)
{
    return &window->slots[number % QUOTA_SLOTS];
}

static void add(struct quota_window *window, uint64_t number, int64_t amount)
{
    atomic_uint_fast64_t *slot = slot_of(window, number);
    uint64_t before = atomic_load_explicit(slot, memory_order_relaxed), after;
    do {
        int64_t count = before >> COUNT_BITS == number ? (int64_t)(before & COUNT_MASK) : 0;
        if (before >> COUNT_BITS != number && amount < 0)
            return; /* it is over: nobody counts it any more */
        count = count + amount > 0 ? count + amount : 0;
        count = count < FIGURE_MAX - 1 ? count : FIGURE_MAX - 1;
        after = number << COUNT_BITS | (uint64_t)count;
    } while (!atomic_compare_exchange_weak_explicit(slot, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
}

static int64_t sum(const struct quota_window *window, uint64_t number)
{
    int64_t all = 0;
    for (unsigned i = 0; i < QUOTA_SLOTS; i++) {
        uint64_t slot = atomic_load_explicit(&window->slots[i], memory_order_relaxed);
        uint64_t age = (number - (slot >> COUNT_BITS)) & 0xffffff;
        if (slot && age < QUOTA_SLOTS)
            all += (int64_t)(slot & COUNT_MASK);
    }
    return all;
}

static int64_t bounded(int64_t tokens)
{
    return tokens < 0 ? 0 : tokens > TOKENS_MAX ? TOKENS_MAX : tokens;
}

bool quota_look(const struct quota *quota, int64_t tokens, uint64_t now_us)
{
    const struct quota_limits *limits = &quota->limits;
    const struct quota_figures *figures = quota->figures;
    uint64_t number = number_of(now_us);
    if (limits->calls &&
        atomic_load_explicit(&figures->calls, memory_order_relaxed) + 1 > limits->calls)
        return false;
    if (limits->requests && sum(&figures->requests, number) + 1 > limits->requests)
        return false;
    return !limits->tokens || sum(&figures->tokens, number) + bounded(tokens) <= limits->tokens;
}

void quota_force(const struct quota *quota, int64_t tokens, uint64_t now_us)
{
    struct quota_figures *figures = quota->figures;
    atomic_fetch_add_explicit(&figures->calls, 1, memory_order_relaxed);
    add(&figures->requests, number_of(now_us), 1);
    add(&figures->tokens, number_of(now_us), bounded(tokens));
}

bool quota_take(const struct quota *quota, int64_t tokens, uint64_t now_us)
{
    const struct quota_limits *limits = &quota->limits;
    const struct quota_figures *figures = quota->figures;
    uint64_t number = number_of(now_us);
    quota_force(quota, tokens, now_us);
    int64_t calls = atomic_load_explicit(&figures->calls, memory_order_relaxed);
    bool fits = (!limits->calls || calls <= limits->calls) &&
                (!limits->requests || sum(&figures->requests, number) <= limits->requests) &&
                (!limits->tokens || sum(&figures->tokens, number) <= limits->tokens);
    if (!fits)
        quota_return(quota, tokens, now_us);
    return fits;
}

void quota_end(const struct quota *quota, int64_t tokens, int64_t used, uint64_t begun_us,
               uint64_t now_us)
{
    int64_t more = bounded(used) - bounded(tokens);
    atomic_fetch_sub_explicit(&quota->figures->calls, 1, memory_order_relaxed);
    if (more)
        add(&quota->figures->tokens, number_of(more < 0 ? begun_us : now_us), more);
}

void quota_return(const struct quota *quota, int64_t tokens, uint64_t begun_us)
{
    atomic_fetch_sub_explicit(&quota->figures->calls, 1, memory_order_relaxed);
    add(&quota->figures->requests, number_of(begun_us), -1);
    add(&quota->figures->tokens, number_of(begun_us), -bounded(tokens));
}

/* -------------------------------------------------------------------------- the provider's */

static int64_t get(const atomic_int_fast64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

static void set(atomic_int_fast64_t *figure, int64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

static int64_t within(int64_t value, int64_t top)
{
    return value < 0 ? 0 : value > top ? top : value;
}

static int64_t or_else(int64_t figure, int64_t otherwise)
{
    return figure > 0 ? figure : otherwise;
}

void quota_said(struct quota_left *left, const struct quota_seen *seen, uint64_t now_us)
{
    if (seen->requests_left >= 0) {
        int64_t whole = or_else(seen->requests_limit, get(&left->requests_limit));
        whole = whole > seen->requests_left ? whole : seen->requests_left;
        set(&left->requests_limit, within(whole, FIGURE_MAX));
        set(&left->requests, within(seen->requests_left, FIGURE_MAX));
        set(&left->requests_reset_us,
            within(or_else(seen->requests_reset_us, RESET_US), RESET_MAX_US));
    }
    if (seen->tokens_left >= 0) {
        int64_t whole = or_else(seen->tokens_limit, get(&left->tokens_limit));
        whole = whole > seen->tokens_left ? whole : seen->tokens_left;
        set(&left->tokens_limit, within(whole, FIGURE_MAX));
        set(&left->tokens, within(seen->tokens_left, FIGURE_MAX));
        set(&left->tokens_reset_us, within(or_else(seen->tokens_reset_us, RESET_US), RESET_MAX_US));
    }
    set(&left->said_us, (int64_t)now_us);
}

void quota_spend(struct quota_left *left, int64_t tokens)
{
    if (get(&left->requests_limit))
        atomic_fetch_sub_explicit(&left->requests, 1, memory_order_relaxed);
    if (get(&left->tokens_limit))
        atomic_fetch_sub_explicit(&left->tokens, bounded(tokens), memory_order_relaxed);
}

/* How long until <need> is there, of what refills from <now> to <limit> within <reset>? */
static int64_t wait_for(int64_t now, int64_t limit, int64_t need, int64_t reset)
{
    need = need < limit ? need : limit;
    if (now >= need || limit <= now)
        return 0;
    return (int64_t)((__int128)(need - now) * reset / (limit - now)) + 1;
}

/* More than a fiftieth, and what the call takes besides: so it is mostly, and needs no division. */
static bool is_far_from_dry(int64_t now, int64_t limit, int64_t tokens)
{
    return !limit || (now - tokens) * DRY_PART > limit;
}

/* Apart, so that the usual answer costs little. */
static __attribute__((noinline)) uint64_t refilled_at(const struct quota_left *left, int64_t tokens,
                                                      uint64_t now_us)
{
    int64_t calls_limit = get(&left->requests_limit), tokens_limit = get(&left->tokens_limit);
    int64_t wait = 0, more = 0;
    if (calls_limit)
        wait = wait_for(get(&left->requests), calls_limit, calls_limit / DRY_PART + 1,
                        get(&left->requests_reset_us));
    if (tokens_limit)
        more = wait_for(get(&left->tokens), tokens_limit, tokens_limit / DRY_PART + tokens,
                        get(&left->tokens_reset_us));
    uint64_t until = (uint64_t)(get(&left->said_us) + (wait > more ? wait : more));
    return until > now_us ? until : 0;
}

uint64_t quota_dry_until(const struct quota_left *left, int64_t tokens, uint64_t now_us)
{
    if (!get(&left->said_us))
        return 0;
    tokens = bounded(tokens);
    if (is_far_from_dry(get(&left->requests), get(&left->requests_limit), 0) &&
        is_far_from_dry(get(&left->tokens), get(&left->tokens_limit), tokens))
        return 0;
    return refilled_at(left, tokens, now_us);
}
