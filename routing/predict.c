/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/predict_inside.h"

enum {
    SHORT_TOKENS = 1024,
    MIDDLE_TOKENS = 8192,
    LONG_TOKENS = 65536,
    JOINED_SAMPLES = 48, /* of a sibling: from then on all that were there have been asked */
    ALIKE_PART = 2,      /* of the time of a token: so much may that of siblings differ */
    ABOVE_PART = 8,      /* of its siblings' room */
    APART_PPM = 100000,
    CACHE_FULL_PPM = 950000,
    USUAL_TIMES = 4, /* as long what is no wonder is remembered */
    USUAL_SAMPLES = 4,
    USUAL_PART = 3,  /* of the least that it took: by so much it may be slower by chance */
    WRONG_TIMES = 3, /* as slow as the best one is no mere difference */
    TOLD_HALF_US = 2000000,
    TOLD_US = 10000000, /* so long what a server said of itself is believed */
};

/* A failure costs as much as so long a wait. */
static const int64_t FAILURE_US = 10000000;

static const int64_t unknown_first_us[TRAFFIC_CLASSES] = {
    [TRAFFIC_SHORT] = 500000,  [TRAFFIC_MIDDLE] = 800000, [TRAFFIC_LONG] = 3000000,
    [TRAFFIC_HUGE] = 15000000, [TRAFFIC_OTHER] = 300000,
};
static const int64_t UNKNOWN_TOKEN_NS = 15 * MILLION;

enum traffic traffic_of(enum operation operation, int64_t input_tokens)
{
    if (operation != OPERATION_CHAT && operation != OPERATION_COMPLETION &&
        operation != OPERATION_RESPONSE)
        return TRAFFIC_OTHER;
    return input_tokens < SHORT_TOKENS    ? TRAFFIC_SHORT
           : input_tokens < MIDDLE_TOKENS ? TRAFFIC_MIDDLE
           : input_tokens < LONG_TOKENS   ? TRAFFIC_LONG
                                          : TRAFFIC_HUGE;
}

/* ----------------------------------------------------------------------------- arithmetic */

/* 65,536 * 2^(-i/32) */
static const uint32_t halves[32] = {
    65536, 64132, 62757, 61413, 60097, 58809, 57549, 56316, 55109, 53928, 52773,
    51642, 50535, 49452, 48393, 47356, 46341, 45348, 44376, 43425, 42495, 41584,
    40693, 39821, 38968, 38133, 37316, 36516, 35734, 34968, 34219, 33486,
};

/* What is left of a value: times <factor>, shifted by <shift>. */
struct fade {
    uint32_t factor;
    unsigned shift;
};
static const struct fade all_left = {65536, 16};

static struct fade fade_after(int64_t age_us, int64_t half_life_us)
{
    if (age_us <= 0 || half_life_us <= 0)
        return all_left;
    if (age_us < half_life_us >> 6) /* nearly nothing: the usual case, without a division */
        return all_left;
    if (age_us / 40 > half_life_us)
        return (struct fade){0, 16};
    uint64_t steps = (uint64_t)age_us * 32 / (uint64_t)half_life_us;
    return (struct fade){halves[steps % 32], 16 + (unsigned)(steps / 32)};
}

/* Of a <value> that is not negative. */
static int64_t left_of(int64_t value, struct fade fade)
{
    return (int64_t)((__int128)value * fade.factor >> fade.shift);
}

int64_t predict_fade(int64_t value, int64_t age_us, int64_t half_life_us)
{
    if (value == 0)
        return 0;
    struct fade fade = fade_after(age_us, half_life_us);
    return value > 0 ? left_of(value, fade) : -left_of(-value, fade);
}

/* ----------------------------------------------------------------------------- prediction */

/* Of the class itself, else of the nearest one that is known. */
static const struct predict_class *nearest(const struct predict_figures *figures,
                                           enum traffic traffic)
{
    static const uint8_t order[TRAFFIC_CLASSES][4] = {
        [TRAFFIC_SHORT] = {TRAFFIC_SHORT, TRAFFIC_MIDDLE, TRAFFIC_LONG, TRAFFIC_HUGE},
        [TRAFFIC_MIDDLE] = {TRAFFIC_MIDDLE, TRAFFIC_SHORT, TRAFFIC_LONG, TRAFFIC_HUGE},
        [TRAFFIC_LONG] = {TRAFFIC_LONG, TRAFFIC_MIDDLE, TRAFFIC_HUGE, TRAFFIC_SHORT},
        [TRAFFIC_HUGE] = {TRAFFIC_HUGE, TRAFFIC_LONG, TRAFFIC_MIDDLE, TRAFFIC_SHORT},
        [TRAFFIC_OTHER] = {TRAFFIC_OTHER, TRAFFIC_OTHER, TRAFFIC_OTHER, TRAFFIC_OTHER},
    };
    if (get(&figures->classes[traffic].samples)) /* as mostly */
        return &figures->classes[traffic];
    for (unsigned i = 1; i < 4; i++) {
        const struct predict_class *class = &figures->classes[order[traffic][i]];
        if (get(&class->samples))
            return class;
    }
    return NULL;
}

/* The one it is taken to have: what its siblings have, for alike ones must be told apart by what
 * they have to do and by nothing else, but for so much as its own is known to be another; and its
 * own, where that is clearly more and nobody had to wait: else it never had so much to do that one
 * could know. */
static int64_t room_among(const struct predict_figures *figures, const struct predict_class *class,
                          int64_t siblings)
{
    int64_t own = room_of(figures), apart = get(&figures->apart_ppm) - APART_LEAST_PPM;
    bool above = own > siblings + siblings / ABOVE_PART;
    if (!siblings || apart >= APART_PPM || (above && is_roomy(class)))
        return own;
    return apart > 0 ? siblings + (own - siblings) * apart / APART_PPM : siblings;
}

void predict_prior_add(struct predict_prior *prior, const struct predict_figures *figures,
                       enum traffic traffic)
{
    const struct predict_class *class = nearest(figures, traffic);
    if (!class)
        return;
    int64_t first = get(&class->calm_us), token = get(&class->token_ns);
    if (first && (!prior->first_us || first < prior->first_us))
        prior->first_us = first;
    if (token && (!prior->token_ns || token < prior->token_ns))
        prior->token_ns = token;
    if (token > prior->slowest_token_ns)
        prior->slowest_token_ns = token;
    prior->samples = later(prior->samples, get(&class->samples));
    prior->room_milli += room_of(figures);
    prior->count++;
}

/* Servers of unlike speed are not alike in what they serve at once, either. What a token takes is
 * compared: the first one comes late where there is a queue, or some trouble. */
static bool are_alike(const struct predict_prior *prior)
{
    return prior->slowest_token_ns <= prior->token_ns + prior->token_ns / ALIKE_PART;
}

void predict_prior_fill(struct predict_prior *prior, enum traffic traffic)
{
    if (prior->count)
        prior->room_milli = are_alike(prior) ? prior->room_milli / prior->count : 0;
    if (!prior->first_us)
        prior->first_us = unknown_first_us[traffic];
    if (!prior->token_ns)
        prior->token_ns = UNKNOWN_TOKEN_NS;
}

/* What was learnt, which comes nearer to what others need the longer it is ago. */
static int64_t faded(int64_t learnt, int64_t prior, struct fade fade)
{
    return learnt <= prior ? learnt : prior + left_of(learnt - prior, fade);
}

/* How old those that wait are on average, at most, where nothing is wrong: half of what they wait,
 * and the more beyond that the fewer there are to tell by, for times vary. */
static int64_t usual_age(int64_t first, int64_t count)
{
    return count < 4    ? first * 2
           : count < 16 ? first + first / 4
           : count < 64 ? first
                        : first / 4 * 3;
}

/* How much longer those that wait now have waited than they should. */
static int64_t overdue(const struct predict_class *class, int64_t first, uint64_t now_us)
{
    uint64_t word = atomic_load_explicit(&class->waiting, memory_order_relaxed);
    int64_t count = (int64_t)(word & ((1U << WAITING_BITS) - 1));
    if (!count)
        return 0;
    /* The sum is kept modulo 2^48, and so is the difference, which is small. */
    uint64_t sum = (uint64_t)count * (now_us / PER_MILLE) - (word >> WAITING_BITS);
    int64_t age_ms = (int64_t)(sum << WAITING_BITS) / (INT64_C(1) << WAITING_BITS) / count;
    int64_t age = clamp(age_ms, TIME_MAX_US / PER_MILLE) * PER_MILLE;
    int64_t usual = usual_age(first, count);
    /* One alone may have its own reasons. */
    return age > usual && 2 * age > first ? (2 * age - first) * count / (count + 1) : 0;
}

/* Of <waiting> calls in thousandths that it told of: what is left, as all gateways that have heard
 * of it do the same. Who has taken away a tenth of his own calls since expects that all have. */
static int64_t told_left(const struct predict_figures *figures, int64_t waiting)
{
    int64_t then = get(&figures->told_calls), own = get(&figures->calls);
    int64_t all = clamp(get(&figures->told_running), CALLS_MAX) + waiting / PER_MILLE;
    if (then <= 0)
        return waiting;
    return waiting - predict_scaled((then - own) * PER_MILLE, all > then ? all : then, then);
}

/* Calls in thousandths that its queue has: as it says itself, others' calls included, or of one's
 * own, with this one, those beyond its room (which is learnt of one's own as well). */
static int64_t queue_of(const struct predict_figures *figures, int64_t own, int64_t room,
                        uint64_t now_us)
{
    int64_t waiting = 0, told = get(&figures->told_us), age = (int64_t)now_us - told;
    if (told && age < TOLD_US) {
        waiting = clamp(get(&figures->told_waiting), CALLS_MAX);
        if (get(&figures->told_cache_ppm) > CACHE_FULL_PPM) /* the next one has to wait for room */
            waiting = later(waiting, 1);
        waiting *= PER_MILLE;
        if (waiting)
            waiting = later(told_left(figures, waiting), 0);
        waiting = predict_fade(waiting, age, TOLD_HALF_US); /* queues do not last */
    }
    return later((own + 1) * PER_MILLE - room, waiting);
}

void predict_told(struct predict_figures *figures, int64_t waiting, int64_t running,
                  int64_t cache_ppm, uint64_t now_us)
{
    set(&figures->told_calls, get(&figures->calls));
    set(&figures->told_waiting, later(waiting, 0));
    set(&figures->told_running, later(running, 0));
    set(&figures->told_cache_ppm, later(cache_ppm, 0));
    set(&figures->told_us, (int64_t)now_us);
}

/* How long what is in flight beyond the target's room will take. */
static int64_t wait_of(const struct predict_figures *figures, const struct predict_class *class,
                       const struct prediction *p, int64_t first, uint64_t now_us)
{
    int64_t room = room_among(figures, class, p->siblings_milli);
    int64_t calls = clamp(p->calls, CALLS_MAX);
    int64_t over = queue_of(figures, calls, room, now_us);
    if (over <= 0)
        return 0;
    int64_t each = clamp(calls > 0 ? p->work_tokens / calls : 0, TOKENS_MAX);
    /* Each call holds its place for its first token and its tokens. */
    int64_t service = clamp(first + predict_scaled(each, p->token_ns, PER_MILLE), TIME_MAX_US);
    return clamp(predict_scaled(service, over, room), TIME_MAX_US);
}

/* What a class has taught of a call, as far as it is believed by now. */
struct lesson {
    int64_t first, p95, late, token;  /* of the first token, and of one after it */
    int64_t first_faded, token_faded; /* how much more it was when it was learnt */
    bool knows_token;
};

static struct lesson prior_lesson(const struct predict_prior *prior)
{
    return (struct lesson){.first = prior->first_us, .token = prior->token_ns};
}

/* How many wait for their first token. */
static int64_t waiting_of(const struct predict_class *class)
{
    return (int64_t)(atomic_load_explicit(&class->waiting, memory_order_relaxed) &
                     ((1U << WAITING_BITS) - 1));
}

/* Is it as fast as it ever was? Not who is so far behind the best of its siblings that something
 * must be wrong, nor who has joined them and may have to warm up. */
static bool is_usual(const struct predict_class *class, const struct predict_prior *prior)
{
    int64_t calm = get(&class->calm_us), least = get(&class->least_us);
    return get(&class->samples) >= USUAL_SAMPLES && calm <= least + least / USUAL_PART &&
           calm / WRONG_TIMES <= prior->first_us && !get(&class->joined_us) &&
           !get(&class->late_us);
}

/* In what time half of what it took longer than its siblings is forgotten. Who has joined them
 * lately may have had to warm up, which lasts as like as not as long again as it was seen to; then
 * one call looks, and the others wait for what it finds. */
static int64_t forgets_in(const struct predict_class *class, int64_t half_life)
{
    int64_t joined = get(&class->joined_us);
    if (!joined || waiting_of(class))
        return half_life;
    int64_t seen = get(&class->learnt_us) - joined + JOINED_LEAST_US;
    return seen > 0 && seen < half_life ? seen : half_life;
}

/* What was learnt of one that <stays> as it is, for it is idle and never was faster, is remembered
 * for longer. */
static void recall(const struct predict_class *class, bool stays, const struct predict_ask *ask,
                   const struct predict_prior *prior, int64_t age, struct lesson *lesson)
{
    int64_t half = stays ? USUAL_TIMES * ask->half_life_us : forgets_in(class, ask->half_life_us);
    struct fade fade = fade_after(age, half);
    int64_t first = get(&class->calm_us), token = get(&class->token_ns);
    int64_t late = get(&class->late_us);
    lesson->first = faded(first, prior->first_us, fade);
    lesson->p95 = faded(get(&class->p95_us), lesson->first, fade);
    lesson->first_faded = first - lesson->first;
    /* It fades for somebody to look again: one call, and the others when that one is answered. */
    if (late)
        lesson->late =
            waiting_of(class) ? late : predict_fade(late, age, ask->half_life_us / LATE_PART);
    if (!token)
        return;
    lesson->knows_token = true;
    lesson->token = faded(token, prior->token_ns, fade);
    lesson->token_faded = token - lesson->token;
}

/* A part of the prompt is in its cache. */
static void recall_hit(const struct predict_class *class, const struct predict_ask *ask,
                       struct lesson *lesson)
{
    int64_t hit = get(&class->hit_us), prompt = clamp(ask->input_tokens, TOKENS_MAX);
    if (hit && is_hit(ask)) /* learnt of such ones */
        lesson->first = hit < lesson->first ? hit : lesson->first;
    else
        lesson->first -=
            predict_scaled(lesson->first / 2, clamp(ask->cached_tokens, prompt), prompt);
}

static int64_t penalty_of(const struct predict_figures *figures, int64_t since, int64_t half_life)
{
    int64_t failing = get(&figures->failing_ppm);
    return failing ? predict_fade(failing, since, half_life / FAIL_PART) * FAILURE_US / MILLION : 0;
}

/* What is in flight there. */
static void look_inside(const struct predict_figures *figures, const struct predict_class *own,
                        struct prediction *out)
{
    out->work_tokens = later(get(&figures->work_tokens), 0) + get(&figures->heard_tokens);
    out->calls = later(get(&figures->calls), 0) + get(&figures->heard_calls);
    out->prefixes = get(&figures->prefixes);
    out->waiting = waiting_of(own);
}

/* When its tokens come: <more> than the first one takes by itself, <tokens> of them. */
static void add_up(const struct lesson *lesson, int64_t more, int64_t tokens,
                   struct prediction *out)
{
    int64_t first = lesson->first, p95 = later(lesson->p95, first);
    int64_t writing = clamp(predict_scaled(out->token_ns, tokens, PER_MILLE), TIME_MAX_US);
    out->base_us = first + out->wait_us;
    out->first_us = first + more;
    out->first_p95_us = p95 + more;
    out->total_us = first + more + writing;
    if ((first | more) < 0 || p95 + more + writing > TIME_MAX_US) { /* mostly all are below it */
        out->base_us = clamp(out->base_us, TIME_MAX_US);
        out->first_us = clamp(out->first_us, TIME_MAX_US);
        out->first_p95_us = clamp(out->first_p95_us, TIME_MAX_US);
        out->total_us = clamp(out->first_us + writing, TIME_MAX_US);
    }
    out->faded_us = 0;
    if (lesson->first_faded | lesson->token_faded)
        out->faded_us =
            clamp(lesson->first_faded + predict_scaled(lesson->token_faded, tokens, PER_MILLE),
                  TIME_MAX_US);
    out->guess_us = lesson->knows_token ? 0 : out->total_us - out->first_us;
}

void predict_make(const struct predict_figures *figures, const struct predict_ask *ask,
                  const struct predict_prior *prior, struct prediction *out)
{
    const struct predict_class *own = &figures->classes[ask->traffic];
    const struct predict_class *class = nearest(figures, ask->traffic);
    struct lesson lesson = prior_lesson(prior);
    int64_t now = (int64_t)ask->now_us, failed = now - get(&figures->failed_us);
    out->age_us = INT64_MAX;
    out->known = class == own;
    out->joins = !class && prior->samples >= JOINED_SAMPLES;
    out->samples = 0;
    out->usual = false;
    if (class) {
        out->samples = get(&class->samples);
        int64_t age = now - get(&class->learnt_us);
        bool usual = ask->patient && is_usual(class, prior);
        recall(class, usual && get(&figures->calls) <= 0, ask, prior, age, &lesson);
        out->usual = usual && class == own && !get(&figures->failing_ppm);
        if (class == own)
            out->age_us = failed < age ? failed : age;
        if (ask->cached_tokens > 0 && ask->input_tokens > 0)
            recall_hit(class, ask, &lesson);
    }
    out->token_ns = clamp(lesson.token, TOKEN_MAX_NS);
    out->siblings_milli = class ? prior->room_milli : 0; /* who is new may be slow at first */
    out->cached_tokens = ask->cached_tokens;
    look_inside(figures, own, out);
    out->wait_us = wait_of(figures, own, out, lesson.first, ask->now_us);
    int64_t over = overdue(own, lesson.first + lesson.late + out->wait_us, ask->now_us);
    out->penalty_us = penalty_of(figures, failed, ask->half_life_us);
    int64_t more = lesson.late + over + out->wait_us + out->penalty_us + ask->delay_us;
    add_up(&lesson, more, clamp(ask->output_tokens, TOKENS_MAX), out);
}
