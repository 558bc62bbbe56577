/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/reserve.h"

#include <assert.h>

#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/batch.h"
#include "gateway/counter_names.h"
#include "gateway/reserve_inside.h"
#include "gateway/service_state.h"
#include "gateway/tiers.h"
#include "gateway/worker_inside.h"

enum {
    EXTENSION_TOKENS = 256, /* the least that a stream is extended by */
    /* Text may have so many times fewer tokens than it seems by its bytes: where much of it comes
     * in each event, and where each may be one long token. */
    DOUBT_TIMES = 3,
    DOUBT_TIMES_OF_ONE = 8,
    BYTES_OF_ONE = 32,
    PER_MILLE = 1000,
};

/* ------------------------------------------------------------------------------ what of */

static int64_t sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static void want_tokens(struct use *use, const struct exchange *x)
{
    const struct estimate *e = &x->estimate;
    bool strict = use->limit->strict;
    int64_t input = strict ? e->input_bound : e->input_likely;
    int64_t output = strict ? e->output_bound : e->output_likely;
    int64_t least = strict ? reserve_least_output(x) : output;
    if (use->limit->kind == LIMIT_INPUT_TOKENS)
        output = least = 0;
    else if (use->limit->kind == LIMIT_OUTPUT_TOKENS)
        input = 0;
    use->want = sum(input, output);
    use->least = sum(input, least);
}

static bool concerns(const struct limit *limit, const struct route *route)
{
    return !limit->model.len || (route && text_equal(limit->model, route->name));
}

/* How much the call wants of a limit; false = it does not concern it. */
static bool want(struct exchange *x, struct use *use)
{
    const struct limit *limit = use->limit;
    if (x->batch && !x->free_of_charge) {
        use->want = use->least = batch_want(x, limit);
        return use->want > 0;
    }
    bool counts_calls = limit->kind == LIMIT_REQUESTS || limit->kind == LIMIT_CONCURRENT;
    if (!concerns(limit, x->route))
        return false;
    if (counts_calls) {
        use->want = use->least = 1;
        return true;
    }
    if (x->free_of_charge || !reserve_takes_tokens(x->call.operation))
        return false;
    reserve_estimate(x);
    if (limit->kind == LIMIT_MONEY) {
        int64_t least = reserve_least_output(x),
                all = reserve_cost_bound(x, x->estimate.output_bound);
        use->want = sum(all, x->aside_nanos);
        use->least = least == x->estimate.output_bound
                         ? use->want
                         : sum(reserve_cost_bound(x, least), x->aside_nanos);
    } else {
        want_tokens(use, x);
    }
    return use->want > 0;
}

struct level {
    char letter; /* k t u: how its counters begin */
    const struct key *key;
    const struct tenant *tenant;
    const struct limit_list *limits;
};

/* Key, tenant and those above it, end user: at most so many levels. */
enum { LEVELS_MAX = TENANT_DEPTH_MAX + 2 };

static size_t levels_of(const struct exchange *x, struct level levels[LEVELS_MAX])
{
    size_t count = 0;
    const struct tenant *tenant = x->key->tenant;
    levels[count++] = (struct level){'k', x->key, tenant, &x->key->limits};
    for (const struct tenant *at = tenant; at && count + 1 < LEVELS_MAX; at = at->parent)
        levels[count++] = (struct level){'t', NULL, at, &at->limits};
    if (x->call.user.len)
        levels[count++] = (struct level){'u', NULL, tenant, &tenant->user_limits};
    return count;
}

bool reserve_has_budget(const struct exchange *x, const struct route *route)
{
    struct level levels[LEVELS_MAX] = {{0}};
    size_t count = levels_of(x, levels);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < levels[i].limits->count; j++) {
            const struct limit *limit = &levels[i].limits->at[j];
            if (limit->kind == LIMIT_MONEY && limit->exceeded != EXCEEDED_WARN &&
                concerns(limit, route))
                return true;
        }
    return false;
}

static void name_counter(struct exchange *x, const struct level *level, struct use *use)
{
    use->hash = 0;
    if (level->letter == 'u')
        use->counter = counter_name_of_user(&x->arena, level->tenant, x->call.user, use->limit);
    else
        use->counter = counter_names_find(x->snapshot->counter_names, use->limit, level->key,
                                          level->tenant, &use->hash);
}

static bool collect(struct exchange *x)
{
    struct level levels[LEVELS_MAX] = {{0}};
    size_t level_count = levels_of(x, levels), most = 0, count = 0;
    for (size_t i = 0; i < level_count; i++) {
        assert(levels[i].limits);
        most += levels[i].limits->count;
    }
    struct use *uses = most ? arena_new(&x->arena, most * sizeof(*uses)) : NULL;
    for (size_t i = 0; uses && i < level_count; i++)
        for (size_t j = 0; j < levels[i].limits->count; j++) {
            struct use *use = &uses[count];
            use->limit = &levels[i].limits->at[j];
            if (!want(x, use))
                continue;
            name_counter(x, &levels[i], use);
            count++;
        }
    if (count > USES_MAX) /* by a file that came later than what the API made */
        return fault_set(exchange_fault(x), FAULT_INTERNAL,
                         "More than %d limits concern this call.", USES_MAX);
    x->reservation.root = tenant_root(x->key->tenant)->name;
    x->reservation.id = text_of(x->id);
    x->reservation.uses = uses;
    x->reservation.use_count = count;
    return true;
}

/* ----------------------------------------------------------------------------- granted */

/* The longest output that <money> pays for. */
static int64_t output_for(const struct exchange *x, int64_t money)
{
    int64_t low = 0, high = x->estimate.output_bound;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (reserve_cost_bound(x, middle) <= money)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Does the client say a length of 0, where a target has one that is filled in for who says none?
 * Then none is filled in, and some take 0 for as long as they like; Anthropic does not. */
static bool escapes_default(const struct exchange *x)
{
    bool zero = false, filled = false;
    for (int i = 0; x->seeking && i < MAX_TOKENS_NAMES; i++)
        zero = zero || text_equal(x->seeking->max_tokens[i].raw, TEXT("0"));
    for (size_t i = 0; zero && x->route && i < x->route->target_count; i++)
        filled = filled || x->route->targets[i].max_tokens_default > 0;
    return filled && x->match.shape != SHAPE_ANTHROPIC;
}

/* Less than the whole was held: the answer must not become longer than what is held for it. And an
 * answer whose longest nobody knows may not be longer than what was taken for that. */
static void lower_output(struct exchange *x)
{
    const struct reservation *r = &x->reservation;
    int64_t output = x->estimate.output_bound;
    bool binds = false;
    for (size_t i = 0; i < r->use_count; i++) {
        const struct use *use = &r->uses[i];
        int64_t most = output;
        if (use->limit->kind == LIMIT_MONEY) {
            if (use->limit->exceeded == EXCEEDED_WARN) /* it is exceeded, and that is told */
                continue;
            binds = true;
            if (use->held < use->want)
                most = output_for(x, use->held - x->aside_nanos);
        } else if (use->limit->strict && use->held < use->want) {
            most = use->held - (use->limit->kind == LIMIT_TOKENS ? x->estimate.input_bound : 0);
        }
        binds = binds || use->limit->strict;
        output = most < output ? most : output;
    }
    bool unknown = !x->call.max_tokens && (!reserve_model_output(x) || escapes_default(x));
    if (!x->estimated || !reserve_may_lower(x) || !binds ||
        (output == x->estimate.output_bound && !unknown))
        return;
    x->lowered_tokens = output / reserve_choices(x);
    x->estimate.output_bound = x->lowered_tokens * reserve_choices(x);
}

void reserve_degrade(struct exchange *x)
{
    int64_t least = INT64_MAX;
    if (!x->reservation.degraded || !x->route)
        return;
    for (size_t i = 0; i < x->route->target_count; i++) {
        const struct target *target = &x->route->targets[i];
        int64_t cost = tiers_bound(x, target, x->estimate.input_bound, x->estimate.output_bound,
                                   reserve_most_units(x));
        if (!target->off && !(x->ruling.out >> i & 1) && cost < least)
            least = cost;
    }
    for (size_t i = 0; i < x->route->target_count; i++) {
        const struct target *target = &x->route->targets[i];
        if (tiers_bound(x, target, x->estimate.input_bound, x->estimate.output_bound,
                        reserve_most_units(x)) > least)
            x->tried |= UINT64_C(1) << i;
    }
}

enum reserve_result reserve_answered(struct exchange *x)
{
    switch (x->reserved) {
    case RESERVE_GRANTED:
        lower_output(x);
        break;
    case RESERVE_REFUSED:
        if (x->reservation.use_count == 0) /* refused before anything was asked for; it was said */
            break;
        reserve_say_refused(&x->reservation, &x->arena, exchange_fault(x));
        if (exchange_why(x)->kind != FAULT_BUDGET && hold_take(x)) {
            x->facts.reserve_known = false;
            x->reserved = RESERVE_WAITS;
        }
        break;
    case RESERVE_AWAY:
        fault_set(exchange_fault(x), FAULT_STORE_AWAY,
                  "The store of limits and budgets cannot be reached, and a limit of this call is "
                  "closed meanwhile.");
        break;
    case RESERVE_WAITS:
        break;
    }
    return x->reserved;
}

static void ask(struct exchange *x)
{
    x->reserved = limits_reserve(x->worker->limiter, &x->reservation);
    x->facts.reserve_known = x->reserved != RESERVE_WAITS;
}

void reserve_again(struct exchange *x)
{
    ask(x);
    if (x->reserved == RESERVE_REFUSED)
        reserve_answered(x);
}

static void on_done(struct reservation *reservation, enum reserve_result result)
{
    struct exchange *x = LIST_MEMBER(reservation, struct exchange, reservation);
    x->reserved = result;
    x->facts.reserve_known = true;
    exchange_run(x);
}

bool reserve_imagine(struct exchange *x)
{
    x->reservation = (struct reservation){.done = on_done};
    x->free_of_charge = false;
    return collect(x);
}

enum reserve_result reserve_begin(struct exchange *x, bool free_of_charge)
{
    x->reservation = (struct reservation){.done = on_done};
    x->free_of_charge = free_of_charge;
    x->facts.reserve_asked = true;
    x->facts.reserve_known = false;
    if (!collect(x)) {
        x->reserved = RESERVE_REFUSED;
        return RESERVE_REFUSED;
    }
    if (x->worker->holding.count > 0 && hold_behind(x)) {
        x->reserved = RESERVE_WAITS;
    } else if (x->reservation.use_count > 0) {
        ask(x);
    } else {
        x->reserved = RESERVE_GRANTED;
        x->facts.reserve_known = true;
    }
    return x->facts.reserve_known ? reserve_answered(x) : RESERVE_WAITS;
}

void reserve_forget(struct exchange *x)
{
    bool waits = x->facts.reserve_asked && !x->facts.reserve_known && !x->holds;
    hold_forget(x);
    if (waits)
        limits_abandon(&x->reservation);
    x->facts.reserve_known = true;
}

/* ------------------------------------------------------------------------------- streams */

static bool not_extended(struct exchange *x, enum fault_kind kind, const char *words)
{
    if (limits_are_orphaned(&x->reservation))
        return fault_set(exchange_fault(x), FAULT_OVERLOADED,
                         "The service that counts has gone in the middle of this answer, which "
                         "began before an upgrade; try again.");
    return fault_set(exchange_fault(x), kind, "%s", words);
}

static bool extend(struct exchange *x, int64_t more)
{
    struct reservation *r = &x->reservation;
    int64_t output = x->estimate.output_bound + x->extended_tokens;
    bool money = false, strict = false;
    for (size_t i = 0; i < r->use_count; i++) {
        money = money || r->uses[i].limit->kind == LIMIT_MONEY;
        strict =
            strict || (r->uses[i].limit->strict && r->uses[i].limit->kind != LIMIT_INPUT_TOKENS);
    }
    int64_t nanos = reserve_cost_bound(x, output + more) - reserve_cost_bound(x, output);
    if (money && !limits_extend(r, LIMIT_MONEY, nanos))
        return not_extended(x, FAULT_BUDGET, "The budget is spent in the middle of this answer.");
    if (strict &&
        (!limits_extend(r, LIMIT_OUTPUT_TOKENS, more) || !limits_extend(r, LIMIT_TOKENS, more)))
        return not_extended(x, FAULT_RATE_TOKENS,
                            "The limit of tokens is reached in the middle of this answer.");
    x->extended_tokens += more;
    return true;
}

struct target_call reserve_call(const struct exchange *x)
{
    return (struct target_call){.body_bytes = reserve_raw_bytes(x),
                                .stream = x->relay == RELAY_EVENTS || x->call.stream,
                                .events = x->answer.events};
}

struct target_call reserve_expected(const struct exchange *x, struct target_call call)
{
    if (x->target)
        target_expect(x->target->figures, &call);
    return call;
}

/* More than was held for is taken from an estimate; a stream that may be as long as it ought to be
 * is not ended for it. */
static bool is_surely_longer(const struct exchange *x, int64_t held)
{
    const struct answer *answer = &x->answer;
    bool one = answer->content_bytes / BYTES_OF_ONE <= answer->events;
    int64_t times = one ? DOUBT_TIMES_OF_ONE : DOUBT_TIMES;
    return answer_surely(answer) > held || answer_estimate(answer) / times > held;
}

bool reserve_watch(struct exchange *x)
{
    if (!x->estimated || !x->reservation.live)
        return true;
    struct target_call call = reserve_call(x);
    call.stream = true;
    call.output_tokens = answer_estimate(&x->answer);
    int64_t seen = reserve_expected(x, call).output_tokens;
    int64_t held = x->estimate.output_bound + x->extended_tokens;
    if (seen <= held)
        return true;
    int64_t step = held / 8 > EXTENSION_TOKENS ? held / 8 : EXTENSION_TOKENS;
    int64_t needed = seen - held > EXTENSION_TOKENS ? seen - held : EXTENSION_TOKENS;
    /* A large step, so that it need not be asked often; near the end of the money a small one. */
    bool extended = (step > needed && extend(x, step)) || extend(x, needed);
    if (!extended && is_surely_longer(x, held))
        return false;
    exchange_clear_fault(x);
    return true;
}

/* What was booked before the call's end, to be read; and to be added to. */
static const struct booked *booked(const struct exchange *x)
{
    static const struct booked nothing;
    return x->booked ? x->booked : &nothing;
}

struct booked *reserve_book(struct exchange *x)
{
    if (!x->booked)
        x->booked = arena_new(&x->arena, sizeof(*x->booked));
    return x->booked;
}

/* The most that the next try may cost stays within what is held, beside what the others did: the
 * next one may have to be shorter. False: it would help nobody. */
static bool shorten(struct exchange *x)
{
    const struct reservation *r = &x->reservation;
    int64_t output = x->estimate.output_bound;
    for (size_t i = 0; i < r->use_count; i++) {
        if (r->uses[i].limit->kind != LIMIT_MONEY)
            continue;
        int64_t left = r->uses[i].held - x->aside_nanos - booked(x)->used.cost_nanos;
        int64_t most = output_for(x, left);
        if (reserve_cost_bound(x, most) > left || most < reserve_least_output(x))
            return false;
        output = most < output ? most : output;
    }
    if (output == x->estimate.output_bound)
        return true;
    x->lowered_tokens = output / reserve_choices(x);
    x->estimate.output_bound = x->lowered_tokens * reserve_choices(x);
    return true;
}

/* The same of tokens, where a limit is strict. */
static bool extend_strict(struct exchange *x, const struct usage *usage)
{
    struct reservation *r = &x->reservation;
    int64_t input = usage->input_tokens, output = usage->output_tokens;
    bool strict = false;
    for (size_t i = 0; i < r->use_count; i++)
        strict = strict || r->uses[i].limit->strict;
    return !strict || ((!input || limits_extend(r, LIMIT_INPUT_TOKENS, input)) &&
                       (!output || limits_extend(r, LIMIT_OUTPUT_TOKENS, output)) &&
                       (input + output == 0 || limits_extend(r, LIMIT_TOKENS, input + output)));
}

bool reserve_beside(struct exchange *x, const struct usage *usage, int64_t cost_nanos)
{
    struct reservation *r = &x->reservation;
    bool money = false;
    for (size_t i = 0; i < r->use_count; i++)
        money = money || r->uses[i].limit->kind == LIMIT_MONEY;
    money = money && cost_nanos > 0;
    struct used *before = &reserve_book(x)->used;
    before->input_tokens += usage->input_tokens;
    before->output_tokens += usage->output_tokens;
    before->cost_nanos = sum(before->cost_nanos, cost_nanos);
    if (x->hedge_held_nanos >= cost_nanos && x->hedge_held_nanos > 0) {
        x->hedge_held_nanos = 0;
        return true;
    }
    if (!r->live || (extend_strict(x, usage) &&
                     (!money || limits_extend(r, LIMIT_MONEY, cost_nanos) || shorten(x))))
        return true;
    reserve_beside_not(x, usage, cost_nanos);
    return false;
}

/* What an answer of at most <output> tokens costs at most, of any of them. */
static int64_t cost_of_route(const struct exchange *x, const struct route *route, int64_t output)
{
    int64_t most = 0;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        int64_t cost = target->off ? 0
                                   : tiers_bound(x, target, x->estimate.input_bound, output,
                                                 reserve_most_units(x));
        most = cost > most ? cost : most;
    }
    return most;
}

/* What is held of money for the next try: beside what others took, or may still take. INT64_MAX
 * where no budget concerns the call. */
static int64_t held_for_next(const struct exchange *x)
{
    const struct reservation *r = &x->reservation;
    int64_t least = INT64_MAX, apart = sum(x->aside_nanos, x->hedge_held_nanos);
    apart = sum(apart, booked(x)->used.cost_nanos);
    for (size_t i = 0; i < r->use_count; i++)
        if (r->uses[i].limit->kind == LIMIT_MONEY && r->uses[i].held - apart < least)
            least = r->uses[i].held - apart;
    return least;
}

/* An answer of <output> tokens of the route is held for, or can be. */
static bool hold_detour(struct exchange *x, const struct route *route, int64_t output)
{
    int64_t more = cost_of_route(x, route, sum(output, x->extended_tokens)) - held_for_next(x);
    return more <= 0 || limits_extend(&x->reservation, LIMIT_MONEY, more);
}

/* What is left of the budgets that refuse, as far as it is known here. */
static int64_t left_of_budgets(struct exchange *x)
{
    struct reservation *r = &x->reservation;
    int64_t left = INT64_MAX;
    for (size_t i = 0; i < r->use_count; i++) {
        struct limit_view view;
        if (r->uses[i].limit->kind != LIMIT_MONEY || r->uses[i].limit->exceeded != EXCEEDED_REJECT)
            continue;
        limits_view(r, i, &view);
        left = view.left < left ? view.left : left;
    }
    return left;
}

/* The longest answer of the route that <money> pays for, at most <output>; 0 = it helps nobody. */
static int64_t detour_for(const struct exchange *x, const struct route *route, int64_t output,
                          int64_t money)
{
    int64_t low = 0, high = output;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (cost_of_route(x, route, sum(middle, x->extended_tokens)) <= money)
            low = middle;
        else
            high = middle - 1;
    }
    low -= low % reserve_choices(x);
    return low >= reserve_least_output(x) ? low : 0;
}

/* All that is left does not pay for the route's answers: they have to be shorter. */
static int64_t shorten_detour(struct exchange *x, const struct route *route, int64_t output)
{
    int64_t held = held_for_next(x);
    int64_t with_all = detour_for(x, route, output, sum(held, left_of_budgets(x)));
    if (!with_all || hold_detour(x, route, with_all))
        return with_all;
    return detour_for(x, route, output, held);
}

/* Its pictures are counted in tokens, and those of the model that was asked for are not. */
static bool hold_pictures(struct exchange *x, const struct route *route, bool strict)
{
    struct reservation *r = &x->reservation;
    int64_t output = reserve_picture_output(x, route), more = output - x->estimate.output_bound;
    if (x->call.operation != OPERATION_IMAGE || more <= 0)
        return true;
    if (strict &&
        (!limits_extend(r, LIMIT_OUTPUT_TOKENS, more) || !limits_extend(r, LIMIT_TOKENS, more)))
        return false;
    x->estimate.output_bound = output;
    return true;
}

bool reserve_detour(struct exchange *x, const struct route *route)
{
    struct reservation *r = &x->reservation;
    bool money = false, strict = false;
    if (!x->estimated || x->free_of_charge)
        return true;
    for (size_t i = 0; i < r->use_count; i++) {
        money = money || r->uses[i].limit->kind == LIMIT_MONEY;
        strict = strict || r->uses[i].limit->strict;
    }
    if (!r->live || (!money && !strict))
        return true;
    if (!hold_pictures(x, route, strict))
        return false;
    bool unsaid = !x->call.max_tokens && !x->lowered_tokens && reserve_may_lower(x);
    int64_t output = x->estimate.output_bound, longest = route->output_tokens * reserve_choices(x);
    bool longer = unsaid && (!longest || longest > output);
    /* Its answers may be longer than those of the model that was asked for. */
    if (longer && longest && !strict && hold_detour(x, route, longest)) {
        x->estimate.output_bound = longest;
        return true;
    }
    if (unsaid && longest && longest < output)
        output = longest;
    if (!hold_detour(x, route, output)) {
        output = reserve_may_lower(x) ? shorten_detour(x, route, output) : 0;
        if (!output)
            return false;
        longer = true;
    }
    x->estimate.output_bound = output;
    if (longer) /* than it may be: then it is told */
        x->lowered_tokens = output / reserve_choices(x);
    return true;
}

bool reserve_hedge(struct exchange *x)
{
    struct reservation *r = &x->reservation;
    bool money = false;
    for (size_t i = 0; i < r->use_count; i++) {
        money = money || r->uses[i].limit->kind == LIMIT_MONEY;
        if (r->uses[i].limit->strict) /* what is promised never to be exceeded is not asked twice */
            return false;
    }
    if (!r->live || !money || !x->estimated)
        return true;
    int64_t most = reserve_cost_bound(x, x->estimate.output_bound);
    if (most > 0 && !limits_extend(r, LIMIT_MONEY, most))
        return false;
    x->hedge_held_nanos = most;
    return true;
}

bool reserve_input(struct exchange *x, int64_t tokens)
{
    const struct route *route = x->detour ? x->detour : x->route;
    int64_t most = 0;
    bool money = false;
    for (size_t i = 0; i < x->reservation.use_count; i++)
        money = money || x->reservation.uses[i].limit->kind == LIMIT_MONEY;
    if (!x->estimated || !x->reservation.live || !money || x->free_of_charge || !tokens)
        return true;
    for (size_t i = 0; i < route->target_count; i++) {
        int64_t cost = tiers_bound(x, &route->targets[i], tokens, 0, 0);
        most = cost > most ? cost : most;
    }
    return most == 0 || limits_extend(&x->reservation, LIMIT_MONEY, most);
}

void reserve_beside_not(struct exchange *x, const struct usage *usage, int64_t cost_nanos)
{
    struct used *before = &reserve_book(x)->used;
    before->input_tokens -= usage->input_tokens;
    before->output_tokens -= usage->output_tokens;
    before->cost_nanos -= cost_nanos;
}

/* ------------------------------------------------------------------------------- settled */

/* Is anybody to be told how much of it is used? */
static bool is_watched(const struct limit *limit)
{
    return limit->kind == LIMIT_MONEY && (limit->warn_at[0] || limit->exceeded == EXCEEDED_WARN);
}

static void tell_mark(struct worker *worker, struct text counter, unsigned per_mille)
{
    log_line(LOG_WARN, "budget", "%.*s has reached %u.%u %% of its amount", TEXT_ARGS(counter),
             per_mille / 10, per_mille % 10);
    service_event(worker->options.service, "budget", "", "%.*s has reached %u.%u %%",
                  TEXT_ARGS(text_head(counter, 100)), per_mille / 10, per_mille % 10);
}

/* Has this call taken a budget over one of its marks? One that refuses nothing has its amount as
 * the last, whatever else it has. */
static void warn_of(struct worker *worker, struct reservation *r, size_t use, int64_t cost_nanos)
{
    const struct limit *limit = r->uses[use].limit;
    struct limit_view view;
    limits_view(r, use, &view);
    int64_t now = limit->amount - view.left + (int64_t)view.over, before = now - cost_nanos;
    unsigned last = 0;
    for (size_t i = 0; i <= LIMIT_WARNINGS && last < PER_MILLE; i++) {
        unsigned share = i < LIMIT_WARNINGS ? limit->warn_at[i] : 0;
        if (share == 0 && limit->exceeded != EXCEEDED_WARN)
            break;
        last = share ? share : PER_MILLE;
        int64_t mark = (int64_t)((__int128)limit->amount * last / PER_MILLE);
        if (before < mark && now >= mark)
            tell_mark(worker, r->uses[use].counter, last);
    }
}

void reserve_warn(struct worker *worker, struct reservation *r, const struct used *used)
{
    for (size_t i = 0; i < r->use_count; i++)
        if (is_watched(r->uses[i].limit) && used[i].cost_nanos > 0)
            warn_of(worker, r, i, used[i].cost_nanos);
}

static void warn(struct exchange *x, int64_t cost_nanos)
{
    for (size_t i = 0; i < x->reservation.use_count; i++)
        if (is_watched(x->reservation.uses[i].limit))
            warn_of(x->worker, &x->reservation, i, cost_nanos);
}

/* What is thought before an answer is not seen in a stream, and not counted with its events. */
static void learn(const struct exchange *x, const struct usage *usage)
{
    struct target_call call = reserve_call(x);
    call.input_tokens = usage->input_tokens;
    call.output_tokens = usage->output_tokens - (call.stream ? usage->reasoning_tokens : 0);
    target_learn(x->target->figures, &call);
}

/* It was not made, or goes on being held: of its calls none counts, but the one that asked for it.
 */
static void return_batch(struct exchange *x, bool sent)
{
    struct reservation *r = &x->reservation;
    struct used *each = arena_new(&x->arena, (r->use_count + 1) * sizeof(*each));
    for (size_t i = 0; i < r->use_count; i++)
        each[i] = (struct used){.sent = sent && r->uses[i].limit->model.len == 0, .requests = 1};
    limits_settle_each(r, each);
}

void reserve_settle(struct exchange *x, const struct ledger_row *row)
{
    reserve_forget(x);
    bool whole = row->counted == COUNTED_PROVIDER && row->outcome == LEDGER_COMPLETE;
    if (whole && x->target && !x->free_of_charge)
        learn(x, &row->usage);
    if (x->estimated && whole && x->target)
        x->estimate_facts.provider = x->target->provider->type->name;
    if (x->estimated && whole)
        estimate_learn(x->worker->options.estimates, &x->estimate_facts, row->usage.input_tokens,
                       row->usage.output_tokens);
    if (!x->reservation.live)
        return;
    struct used used = booked(x)->used;
    used.sent = x->attempts > 0 || x->free_of_charge;
    used.input_tokens += row->usage.input_tokens;
    used.output_tokens += row->usage.output_tokens;
    used.cost_nanos += row->cost_nanos;
    if (x->free_of_charge)
        used.input_tokens = used.output_tokens = used.cost_nanos = 0;
    used.cost_nanos = sum(used.cost_nanos, x->aside_nanos);
    if (x->batch && !x->batch->is_unknown)
        return_batch(x, used.sent);
    else
        limits_settle(&x->reservation, &used);
    if (used.cost_nanos > 0)
        warn(x, used.cost_nanos);
}

void reserve_return(struct exchange *x)
{
    const struct used used = {.cost_nanos = x->aside_nanos};
    reserve_forget(x);
    if (x->reservation.live)
        limits_settle(&x->reservation, &used);
    x->aside_nanos = 0;
    x->facts.reserve_asked = x->facts.reserve_known = false;
}
