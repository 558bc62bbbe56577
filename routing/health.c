/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/health.h"

enum {
    IN_ROW_FEW = 2,   /* that open it before min_requests, when the share says so too */
    IN_ROW_SOME = 3,  /* in any case, where there are not many calls */
    IN_ROW_MANY = 5,  /* where there are: then three are a blink, and happen by chance */
    CALLS_MANY = 400, /* within the window */
    LEVEL_MAX = 7,    /* probes that fail in a row, before they become rarer */
    BUSY_DOUBLINGS = 5,
    OUTLIER_FACTOR = 2,
    OUTLIER_MORE_PPM = 50000,
    SIBLINGS_MAX = 64,
    PPM = 1000000,
};

static const int64_t BUSY_US = 1000000, COOLING_MAX_US = INT64_C(3600) * 1000000,
                     PROBE_LEASE_US = INT64_C(600) * 1000000;

/* ---------------------------------------------------------------------------- one atomic word */

/* The circuit, how many probes have failed, and until when it is so, in milliseconds. */
struct state {
    enum circuit circuit;
    unsigned level;
    uint64_t until_ms;
};

static struct state unpack(uint64_t word)
{
    return (struct state){(enum circuit)(word & 3), (unsigned)(word >> 2 & 7), word >> 5};
}

static uint64_t pack(struct state state)
{
    return (uint64_t)state.circuit | (uint64_t)state.level << 2 | state.until_ms << 5;
}

static uint64_t load(const struct health_figures *figures)
{
    return atomic_load_explicit(&figures->state, memory_order_relaxed);
}

/* False: another thread was first, and its word stands. */
static bool replace(struct health_figures *figures, uint64_t before, struct state after)
{
    return atomic_compare_exchange_strong_explicit(&figures->state, &before, pack(after),
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* A part of the eighth of it, by the time itself: nobody else's is the same. */
static uint64_t part_of_eighth(uint64_t us, uint64_t now_us)
{
    return us / 8 * ((now_us * UINT64_C(0x9e3779b97f4a7c15)) >> 56) / 256;
}

/* Rounded up: it is not over before its time. */
static uint64_t ms_after(uint64_t now_us, uint64_t us)
{
    return (now_us + us + 999) / 1000;
}

/* --------------------------------------------------------------------------------- the window */

/* Two halves of the window take turns. One word: its number, the calls in it, the failures. */
enum { COUNT_BITS = 20, COUNT_MAX = (1 << COUNT_BITS) - 1 };

struct half {
    uint64_t number;
    uint64_t calls, failures;
};

static struct half half_of(uint64_t word)
{
    return (struct half){word >> (2 * COUNT_BITS), word >> COUNT_BITS & COUNT_MAX,
                         word & COUNT_MAX};
}

static uint64_t number_of(const struct breaker_settings *settings, uint64_t now_us)
{
    uint64_t half_us = settings->window_us > 1 ? (uint64_t)settings->window_us / 2 : 1;
    /* 24 bits are left for it; 0 is what nothing was counted in. */
    return (now_us / half_us + 1) & 0xffffff;
}

static void count(struct health_figures *figures, const struct breaker_settings *settings, bool bad,
                  uint64_t now_us)
{
    uint64_t number = number_of(settings, now_us);
    atomic_uint_fast64_t *at = &figures->window[number & 1];
    uint64_t before = atomic_load_explicit(at, memory_order_relaxed), after;
    do {
        struct half half = half_of(before);
        if (half.number != number)
            half = (struct half){.number = number};
        half.calls += half.calls < COUNT_MAX;
        half.failures += bad && half.failures < COUNT_MAX;
        after = half.number << (2 * COUNT_BITS) | half.calls << COUNT_BITS | half.failures;
    } while (!atomic_compare_exchange_weak_explicit(at, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
}

static struct half counted(const struct health_figures *figures,
                           const struct breaker_settings *settings, uint64_t now_us)
{
    uint64_t number = number_of(settings, now_us);
    struct half sum = {.number = number};
    for (int i = 0; i < 2; i++) {
        struct half half = half_of(atomic_load_explicit(&figures->window[i], memory_order_relaxed));
        if (half.number != number && half.number != ((number - 1) & 0xffffff))
            continue;
        sum.calls += half.calls;
        sum.failures += half.failures;
    }
    return sum;
}

static uint64_t ppm_of(struct half half)
{
    return half.calls ? half.failures * PPM / half.calls : 0;
}

static void forget_window(struct health_figures *figures)
{
    atomic_store_explicit(&figures->window[0], 0, memory_order_relaxed);
    atomic_store_explicit(&figures->window[1], 0, memory_order_relaxed);
    atomic_store_explicit(&figures->faults_in_row, 0, memory_order_relaxed);
}

/* Too many failures? It is called right behind one. */
static bool is_tripped(const struct health_figures *figures,
                       const struct breaker_settings *settings, uint64_t now_us)
{
    struct half half = counted(figures, settings, now_us);
    int64_t row = atomic_load_explicit(&figures->faults_in_row, memory_order_relaxed);
    bool many = ppm_of(half) >= settings->error_ppm;
    if (row >= (half.calls < CALLS_MANY ? IN_ROW_SOME : IN_ROW_MANY))
        return true;
    return many && (half.calls >= settings->min_requests || row >= IN_ROW_FEW);
}

/* --------------------------------------------------------------------------------- the circuit */

enum event { EVENT_GOOD, EVENT_BAD, EVENT_NOTHING, EVENTS };

/* What becomes of a circuit; <longer>: a probe has failed. <now>: the next one may probe at once.
 */
struct move {
    enum circuit to;
    bool stays, longer, now;
};

/* clang-format off */
static const struct move moves[3][2][EVENTS] = { /* by circuit, by whether it was the probe */
    [CIRCUIT_CLOSED]    = {{[EVENT_GOOD]    = {.stays = true},
                            [EVENT_BAD]     = {.to = CIRCUIT_OPEN}, /* when it is tripped */
                            [EVENT_NOTHING] = {.stays = true}},
                           {[EVENT_GOOD]    = {.stays = true}, /* somebody closed it meanwhile */
                            [EVENT_BAD]     = {.to = CIRCUIT_OPEN},
                            [EVENT_NOTHING] = {.stays = true}}},
    [CIRCUIT_OPEN]      = {{[EVENT_GOOD]    = {.stays = true}, /* begun before, as like as not */
                            [EVENT_BAD]     = {.stays = true},
                            [EVENT_NOTHING] = {.stays = true}},
                           {[EVENT_GOOD]    = {.to = CIRCUIT_CLOSED}, /* the probe's lease was over */
                            [EVENT_BAD]     = {.stays = true},
                            [EVENT_NOTHING] = {.stays = true}}},
    [CIRCUIT_HALF_OPEN] = {{[EVENT_GOOD]    = {.stays = true},
                            [EVENT_BAD]     = {.stays = true},
                            [EVENT_NOTHING] = {.stays = true}},
                           {[EVENT_GOOD]    = {.to = CIRCUIT_CLOSED},
                            [EVENT_BAD]     = {.to = CIRCUIT_OPEN, .longer = true},
                            [EVENT_NOTHING] = {.to = CIRCUIT_OPEN, .now = true}}},
};
/* clang-format on */

static struct state moved(struct state state, const struct move *move,
                          const struct breaker_settings *settings, uint64_t now_us)
{
    if (move->to == CIRCUIT_CLOSED)
        return (struct state){CIRCUIT_CLOSED, 0, 0};
    unsigned level = state.level;
    if (move->longer && level < LEVEL_MAX)
        level++;
    uint64_t open_us = settings->open_us > 0 ? (uint64_t)settings->open_us : 0;
    if (state.level == LEVEL_MAX) /* a doubling at most: calls wait for it to come back */
        open_us *= 2;
    uint64_t until =
        move->now ? now_us / 1000 : ms_after(now_us, open_us - part_of_eighth(open_us, now_us));
    return (struct state){CIRCUIT_OPEN, level, until};
}

static void note_turn(struct health_figures *figures, uint64_t now_us)
{
    atomic_store_explicit(&figures->turned_us, (int64_t)now_us, memory_order_relaxed);
}

static void turn(struct health_figures *figures, const struct breaker_settings *settings,
                 enum event event, bool probe, uint64_t now_us)
{
    uint64_t word = load(figures);
    struct state state = unpack(word);
    const struct move *move = &moves[state.circuit][probe][event];
    if (move->stays)
        return;
    if (state.circuit == CIRCUIT_CLOSED && !is_tripped(figures, settings, now_us))
        return;
    if (!replace(figures, word, moved(state, move, settings, now_us)))
        return; /* what another one has seen at the same time is as good */
    if (!move->now)
        note_turn(figures, now_us);
    if (move->to == CIRCUIT_CLOSED)
        forget_window(figures);
}

enum circuit health_circuit(const struct health_figures *figures)
{
    return unpack(load(figures)).circuit;
}

/* ---------------------------------------------------------------------------------- the answer */

static uint64_t later_of(const atomic_int_fast64_t *at)
{
    int64_t until = atomic_load_explicit(at, memory_order_relaxed);
    return until > 0 ? (uint64_t)until : 0;
}

/* As we were told, or others were. */
static uint64_t cooling_until(const struct health_figures *figures)
{
    uint64_t own = later_of(&figures->cooling_until_us);
    uint64_t heard = later_of(&figures->heard_cooling_us);
    return own > heard ? own : heard;
}

/* Is it before <at>? */
static bool is_before(const atomic_int_fast64_t *at, uint64_t now_us)
{
    return (int64_t)now_us < atomic_load_explicit(at, memory_order_relaxed);
}

enum health_word health_look(const struct health_figures *figures, uint64_t now_us)
{
    uint64_t word = load(figures);
    bool sick = unpack(word).circuit != CIRCUIT_CLOSED;
    if (sick && now_us < unpack(word).until_ms * 1000)
        return HEALTH_SICK;
    if (is_before(&figures->cooling_until_us, now_us) ||
        is_before(&figures->heard_cooling_us, now_us))
        return HEALTH_COOLING;
    if (is_before(&figures->quota_dry_until_us, now_us))
        return HEALTH_DRY;
    return sick ? HEALTH_PROBE : HEALTH_WELL;
}

bool health_is_proven(const struct health_figures *figures, const struct breaker_settings *settings,
                      uint64_t now_us)
{
    struct half half = counted(figures, settings, now_us);
    return half.calls > 0 && half.failures == 0;
}

uint64_t health_again_us(const struct health_figures *figures, uint64_t now_us)
{
    struct state state = unpack(load(figures));
    uint64_t last = cooling_until(figures);
    uint64_t dry = later_of(&figures->quota_dry_until_us);
    last = dry > last ? dry : last;
    if (state.circuit != CIRCUIT_CLOSED && state.until_ms * 1000 > last)
        last = state.until_ms * 1000;
    return last > now_us ? last : 0;
}

bool health_take_probe(struct health_figures *figures, const struct breaker_settings *settings,
                       uint64_t now_us)
{
    (void)settings;
    uint64_t word = load(figures);
    struct state state = unpack(word);
    if (state.circuit == CIRCUIT_CLOSED || now_us < state.until_ms * 1000)
        return false;
    state.circuit = CIRCUIT_HALF_OPEN;
    state.until_ms = ms_after(now_us, (uint64_t)PROBE_LEASE_US);
    return replace(figures, word, state);
}

/* ---------------------------------------------------------------------------------- what is told
 */

static void cool_until(atomic_int_fast64_t *at, int64_t until, uint64_t now_us)
{
    int64_t most = (int64_t)now_us + COOLING_MAX_US;
    until = until < most ? until : most;
    int64_t before = atomic_load_explicit(at, memory_order_relaxed);
    while (before < until && !atomic_compare_exchange_weak_explicit(
                                 at, &before, until, memory_order_relaxed, memory_order_relaxed))
        continue;
}

static void cool(struct health_figures *figures, uint64_t us, uint64_t now_us)
{
    if (us > (uint64_t)COOLING_MAX_US)
        us = (uint64_t)COOLING_MAX_US;
    cool_until(&figures->cooling_until_us, (int64_t)(now_us + us), now_us);
}

static void note_busy(struct health_figures *figures, int64_t retry_after_us, uint64_t now_us)
{
    int64_t row = atomic_fetch_add_explicit(&figures->busy_in_row, 1, memory_order_relaxed);
    if (row > BUSY_DOUBLINGS)
        row = BUSY_DOUBLINGS;
    if (retry_after_us > 0)
        cool(figures, (uint64_t)retry_after_us, now_us);
    else if (now_us >= later_of(&figures->cooling_until_us)) /* those in flight say it once */
        cool(figures, ((uint64_t)BUSY_US << row) + part_of_eighth((uint64_t)BUSY_US << row, now_us),
             now_us);
}

void health_report(struct health_figures *figures, const struct breaker_settings *settings,
                   enum fault_kind fault, bool probe, int64_t retry_after_us, uint64_t now_us)
{
    bool bad = fault_rule(fault)->blame_target, busy = fault == FAULT_TARGET_BUSY;
    bool nothing = fault == FAULT_CLIENT_GONE || fault == FAULT_TOO_LATE;
    if (busy)
        note_busy(figures, retry_after_us, now_us);
    else if (bad && retry_after_us > 0)
        cool(figures, (uint64_t)retry_after_us, now_us);
    if (!nothing && !busy) {
        count(figures, settings, bad, now_us);
        if (bad) {
            atomic_fetch_add_explicit(&figures->faults_in_row, 1, memory_order_relaxed);
        } else {
            atomic_store_explicit(&figures->faults_in_row, 0, memory_order_relaxed);
            atomic_store_explicit(&figures->busy_in_row, 0, memory_order_relaxed);
            atomic_store_explicit(&figures->good_us, (int64_t)now_us, memory_order_relaxed);
        }
    }
    if (settings->off)
        return;
    /* Who says that there are too many calls is there, and well. */
    enum event event = nothing ? EVENT_NOTHING : bad ? EVENT_BAD : EVENT_GOOD;
    turn(figures, settings, event, probe, now_us);
}

void health_asked(struct health_figures *figures, const struct breaker_settings *settings,
                  bool well, uint64_t now_us)
{
    uint64_t word = load(figures);
    struct state state = unpack(word);
    if (settings->off)
        return;
    if (!well) {
        count(figures, settings, true, now_us);
        atomic_fetch_add_explicit(&figures->faults_in_row, 1, memory_order_relaxed);
        turn(figures, settings, EVENT_BAD, false, now_us);
    } else if (state.circuit != CIRCUIT_CLOSED &&
               replace(figures, word, (struct state){CIRCUIT_CLOSED, 0, 0})) {
        note_turn(figures, now_us);
        forget_window(figures);
    }
}

/* ------------------------------------------------------------------------------------ outliers */

/* The failures of those others that were asked often enough, in parts of a million; sorted. */
static size_t gather_rates(const struct health_figures *figures, struct health_figures *const *all,
                           size_t count, const struct breaker_settings *settings, uint64_t now_us,
                           uint64_t rates[SIBLINGS_MAX])
{
    size_t found = 0;
    for (size_t i = 0; i < count && found < SIBLINGS_MAX; i++) {
        if (!all[i] || all[i] == figures)
            continue;
        struct half half = counted(all[i], settings, now_us);
        if (half.calls < settings->min_requests || health_circuit(all[i]) != CIRCUIT_CLOSED)
            continue;
        uint64_t rate = ppm_of(half);
        size_t at = found++;
        for (; at > 0 && rates[at - 1] > rate; at--)
            rates[at] = rates[at - 1];
        rates[at] = rate;
    }
    return found;
}

bool health_compare(struct health_figures *figures, struct health_figures *const *all, size_t count,
                    const struct breaker_settings *settings, uint64_t now_us)
{
    __attribute__((uninitialized)) uint64_t rates[SIBLINGS_MAX];
    uint64_t word = load(figures);
    struct half own = counted(figures, settings, now_us);
    if (settings->off || unpack(word).circuit != CIRCUIT_CLOSED ||
        own.calls < settings->min_requests)
        return false;
    size_t found = gather_rates(figures, all, count, settings, now_us, rates);
    if (found == 0 || found < count / 2)
        return false;
    uint64_t median = rates[found / 2];
    if (ppm_of(own) < OUTLIER_FACTOR * median || ppm_of(own) < median + OUTLIER_MORE_PPM)
        return false;
    struct move open = {.to = CIRCUIT_OPEN};
    if (!replace(figures, word, moved(unpack(word), &open, settings, now_us)))
        return false;
    note_turn(figures, now_us);
    return true;
}

/* --------------------------------------------------------------------------------- hearsay */

struct health_told health_tell(const struct health_figures *figures)
{
    uint64_t own = later_of(&figures->turned_us);
    bool is_hearsay = later_of(&figures->heard_turned_us) > own;
    return (struct health_told){
        .circuit = is_hearsay ? CIRCUIT_CLOSED : health_circuit(figures),
        .turned_us = (int64_t)own,
        .cooling_until_us = (int64_t)later_of(&figures->cooling_until_us),
    };
}

/* Whoever has seen it later knows better, we ourselves too. */
static void hear_circuit(struct health_figures *figures, const struct health_told *told,
                         uint64_t now_us)
{
    uint64_t word = load(figures), turned = told->turned_us > 0 ? (uint64_t)told->turned_us : 0;
    struct state state = unpack(word);
    bool opened = told->circuit != CIRCUIT_CLOSED;
    if (turned <= later_of(&figures->turned_us) || turned > now_us)
        return;
    if (opened && state.circuit == CIRCUIT_CLOSED && turned > later_of(&figures->good_us)) {
        if (replace(figures, word, (struct state){CIRCUIT_OPEN, 0, now_us / 1000}))
            atomic_store_explicit(&figures->heard_turned_us, told->turned_us, memory_order_relaxed);
    } else if (!opened && state.circuit == CIRCUIT_OPEN && state.until_ms > now_us / 1000) {
        state.until_ms = now_us / 1000;
        replace(figures, word, state);
    }
}

void health_hear(struct health_figures *figures, const struct breaker_settings *settings,
                 const struct health_told *told, uint64_t now_us)
{
    cool_until(&figures->heard_cooling_us, told->cooling_until_us, now_us);
    if (settings && !settings->off)
        hear_circuit(figures, told, now_us);
}
