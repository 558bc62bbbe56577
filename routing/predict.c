/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/predict.h"

enum {
    SHORT_TOKENS = 1024,
    MIDDLE_TOKENS = 8192,
    LONG_TOKENS = 65536,
    MILLION = 1000000,
    PER_MILLE = 1000,
    LEARN_PART = 24,       /* of the difference is taken over at each sample */
    LEARN_PART_STALE = 2,  /* when the last one is long ago */
    STALE_PART = 16,       /* of the half-life: long ago */
    LATE_TIMES = 3,        /* the prediction: late */
    LATE_LEAST_US = 20000, /* and at least so much later */
    LATE_PART = 32,
    FAIL_PART = 8, /* of the half-life: how fast it fades */
    FAIL_UP = 4,
    FAIL_DOWN = 8,
    READ_TOKENS = 32,      /* of a prompt are read while one is written */
    ALIKE_PART = 2,        /* of the time of a token: so much may that of siblings differ */
    ROOM_NEW_MILLI = 4000, /* calls at once for whom nobody knows */
    ROOM_LEAST_MILLI = 1000,
    ROOM_STEP_MILLI = 250,
    ROOM_PART = 64,
    ROOM_FORGET = 32,
    ROOM_SHRINK = 3, /* places that are not there are worse than places that are not used */
    SEEN_PART = 16,  /* more than the room that is seen is a queue */
    SEEN_STEP = 8,   /* of the difference is taken over at each sample */
    RAN_PART = 256,  /* the same, downwards, of the most that was written at once */
    ABOVE_PART = 8,  /* of its siblings' room */
    APART_PART = 16,
    APART_LEAST = 8, /* of the time of a calm first token: two waits that differ */
    APART_LEAST_PPM = 100000,
    APART_PPM = 100000,
    TOKENS_LEAST = 8, /* shorter answers say nothing about the time of a token */
    TIMES_MAX = 16,
    WAITING_BITS = 16,
    CACHE_FULL_PPM = 950000,
    CALLS_MAX = 100000000,
    TOLD_HALF_US = 2000000,
    TOLD_US = 10000000, /* so long what a server said of itself is believed */
};

/* A failure costs as much as so long a wait. */
static const int64_t FAILURE_US = 10000000;
/* No time that is learnt or predicted is longer, no number of tokens higher. */
static const int64_t TIME_MAX_US = INT64_C(3600) * MILLION;
static const int64_t TOKENS_MAX = INT64_C(100) * MILLION;
static const int64_t TOKEN_MAX_NS = INT64_C(60) * 1000 * MILLION;

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

static int64_t get(const atomic_int_fast64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

/* A lost update of two workers at once does no harm: the next call teaches the same. */
static void set(atomic_int_fast64_t *figure, int64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

static int64_t add(atomic_int_fast64_t *figure, int64_t value)
{
    return atomic_fetch_add_explicit(figure, value, memory_order_relaxed) + value;
}

static int64_t clamp(int64_t value, int64_t most)
{
    return value < 0 ? 0 : value > most ? most : value;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

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

static int64_t room_of(const struct predict_figures *figures)
{
    int64_t room = get(&figures->room_milli);
    return room ? room : ROOM_NEW_MILLI;
}

/* Those that came while much was in flight did not have to wait. */
static bool is_roomy(const struct predict_class *class)
{
    int64_t calm = get(&class->calm_us), busy = get(&class->busy_us);
    return busy && busy < calm + calm / 16;
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

/* So much of its prompt is thought to be in the cache that it shows. */
static bool is_hit(const struct predict_ask *ask)
{
    return ask->cached_tokens > 0 && ask->cached_tokens >= ask->input_tokens / 4;
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

static void recall(const struct predict_class *class, const struct predict_ask *ask,
                   const struct predict_prior *prior, int64_t age, struct lesson *lesson)
{
    struct fade fade = fade_after(age, ask->half_life_us);
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
    out->samples = 0;
    if (class) {
        out->samples = get(&class->samples);
        int64_t age = now - get(&class->learnt_us);
        recall(class, ask, prior, age, &lesson);
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

/* -------------------------------------------------------------------------------- learning */

static int64_t work_of(const struct predict_ask *ask)
{
    int64_t unread = clamp(ask->input_tokens - ask->cached_tokens, TOKENS_MAX);
    return clamp(ask->output_tokens, TOKENS_MAX) + unread / READ_TOKENS + 1;
}

void predict_begin(struct predict_figures *figures, const struct predict_ask *ask,
                   const struct prediction *prediction, bool stream, struct predict_call *call)
{
    *call = (struct predict_call){
        .traffic = ask->traffic,
        .stream = stream,
        .waits = true,
        .hit = is_hit(ask),
        .work_tokens = work_of(ask),
        .output_tokens = clamp(ask->output_tokens, TOKENS_MAX),
        .base_us = later(prediction->base_us, 1),
        .wait_us = prediction->wait_us,
        .token_ns = prediction->token_ns,
        .siblings_milli = prediction->siblings_milli,
        .half_life_us = ask->half_life_us,
        .age_us = prediction->age_us,
        .begun_us = ask->now_us,
    };
    int64_t work = add(&figures->work_tokens, call->work_tokens) + get(&figures->heard_tokens);
    call->calls = add(&figures->calls, 1) + get(&figures->heard_calls);
    call->each_tokens = clamp(work, TOKENS_MAX) / later(call->calls, 1);
    /* A whole answer is not awaited before it can have been written. */
    uint64_t writing =
        stream ? 0 : (uint64_t)call->output_tokens * (uint64_t)call->token_ns / PER_MILLE;
    call->due_ms = (call->begun_us + writing) / PER_MILLE;
    atomic_fetch_add_explicit(&figures->classes[call->traffic].waiting,
                              (call->due_ms << WAITING_BITS) + 1, memory_order_relaxed);
}

static void stop_waiting(struct predict_figures *figures, struct predict_call *call)
{
    if (call->waits)
        atomic_fetch_sub_explicit(&figures->classes[call->traffic].waiting,
                                  (call->due_ms << WAITING_BITS) + 1, memory_order_relaxed);
    call->waits = false;
}

static void learn(atomic_int_fast64_t *mean, int64_t sample, int64_t part)
{
    int64_t before = get(mean);
    set(mean, later(before ? before + (sample - before) / part : sample, 1));
}

/* Up by 19 parts for each that is above it, down by 1 for each that is below: rests where one in
 * twenty is above. Where samples are rare that would take for ever: then it comes nearer to the
 * mean by half, or who was too slow once, with a queue before it, would never be asked again. */
static void learn_p95(atomic_int_fast64_t *quantile, int64_t sample, int64_t mean, bool stale)
{
    int64_t before = get(quantile), step = later(mean / 256, 1);
    if (stale && before > mean)
        before -= (before - mean) / 2;
    if (!before)
        set(quantile, later(sample * 2, 1));
    else
        set(quantile, later(sample > before ? before + 19 * step : before - step, 1));
}

/* One that is far above what was predicted counts at once; not where it had to queue, for what is
 * in flight says how long the queue is now. */
static bool is_late(const struct predict_class *class, const struct predict_call *call,
                    int64_t sample)
{
    /* Where times differ much anyway, one in twenty is beyond p95. */
    return sample > LATE_TIMES * call->base_us && sample > call->base_us + LATE_LEAST_US &&
           sample - call->wait_us > 2 * get(&class->p95_us);
}

/* The first one may be chance: it counts the less, the nearer it is to what times vary by. */
static void learn_late(struct predict_class *class, const struct predict_call *call, int64_t sample,
                       int64_t before)
{
    int64_t more = before ? sample - call->base_us : (sample - 2 * get(&class->p95_us)) / 4;
    if (is_late(class, call, sample))
        set(&class->late_us, later(before, more));
    else if (before)
        set(&class->late_us, before / 2);
}

static int64_t size_of(int64_t error, int64_t most)
{
    return clamp(error < 0 ? -error : error, most);
}

/* Does its own room say better how long one waits than its siblings' does? */
static void learn_apart(struct predict_figures *figures, const struct predict_call *call,
                        int64_t service, int64_t wrong, int64_t waited, int64_t calm)
{
    int64_t room = call->siblings_milli, calls = clamp(call->calls, TOKENS_MAX) * PER_MILLE;
    if (!room)
        return;
    int64_t theirs = waited - (calls > room ? predict_scaled(service, calls - room, room) : 0);
    if (size_of(theirs - wrong, calm) < calm / APART_LEAST) /* both say the same: no news */
        return;
    int64_t most = later(calm, service), apart = get(&figures->apart_ppm);
    int64_t more = size_of(theirs, most) - size_of(wrong, most);
    more = more > calm ? calm : more < -calm ? -calm : more;
    set(&figures->apart_ppm, apart + (predict_scaled(more, MILLION, calm) - apart) / APART_PART);
}

/* Of the calls that are served at once, those whose first token has come are the part that writing
 * has in their time. Where more were in flight than belong to the most that ever were written at
 * once, the others were a queue. */
static int64_t seen_room(const struct predict_figures *figures, int64_t first, int64_t service,
                         int64_t calls, int64_t room)
{
    if (service - first < first)
        return room;
    int64_t served = predict_scaled(get(&figures->ran_milli), service, service - first);
    return calls > served + served / SEEN_PART && room > served ? room - (room - served) / SEEN_STEP
                                                                : room;
}

/* How long one of those that were in flight with <call> holds its place. */
static int64_t service_of(const struct predict_call *call, int64_t calm)
{
    return clamp(calm + call->each_tokens * call->token_ns / PER_MILLE, TIME_MAX_US);
}

/* How many it serves at once: so many that what is predicted to be queue is what was waited. Each
 * sample moves it a little, by how wrong it was, in units of what one place more or less is worth;
 * with many more in flight and no queue at all it is far more. */
static void learn_room(struct predict_figures *figures, const struct predict_class *class,
                       const struct predict_call *call, int64_t sample)
{
    int64_t calm = get(call->hit ? &class->hit_us : &class->calm_us), room = room_of(figures);
    int64_t calls = clamp(call->calls, TOKENS_MAX) * PER_MILLE;
    int64_t service = service_of(call, calm);
    int64_t one = later(predict_scaled(service, PER_MILLE, room), 1); /* a place's worth of wait */
    int64_t over = calls > room ? calls - room : 0;
    int64_t wrong = sample - calm - predict_scaled(one, over, PER_MILLE);
    learn_apart(figures, call, service, wrong, sample - calm, later(calm, 1));
    int64_t step = room / ROOM_PART > ROOM_STEP_MILLI ? room / ROOM_PART : ROOM_STEP_MILLI;
    bool at_once = sample < calm + calm / 2;
    if (at_once && calls + PER_MILLE > room && is_roomy(class))
        room = calls + PER_MILLE; /* nor did others have to wait */
    else if (at_once && predict_scaled(one, over, PER_MILLE) > 2 * calm)
        room += later(over / 2, step);
    else
        room -= wrong >= one    ? (call->siblings_milli ? step : ROOM_SHRINK * step)
                : wrong <= -one ? -step
                                : predict_scaled(wrong, step, one);
    if (call->stream)
        room = seen_room(figures, calm, service, calls, room);
    set(&figures->room_milli, later(room, ROOM_LEAST_MILLI));
}

/* Nothing was seen of it: it comes nearer to what its siblings have. Alike ones stay alike, or
 * those whose room is thought to be small would be left half empty for ever. */
static void forget_room(struct predict_figures *figures, const struct predict_call *call)
{
    int64_t room = room_of(figures);
    if (call->siblings_milli > room && get(&figures->apart_ppm) < APART_LEAST_PPM)
        set(&figures->room_milli, room + (call->siblings_milli - room) / ROOM_FORGET);
}

/* Is so much in flight that it may have had to queue? */
static bool is_crowded(const struct predict_figures *figures, const struct predict_call *call)
{
    int64_t room = room_of(figures), theirs = call->siblings_milli;
    return call->calls * PER_MILLE > (theirs && theirs < room ? theirs : room) / 4 * 3;
}

/* Not who found fewer calls there than were ever seen to be written at once: each had a place. */
static bool had_to_queue(const struct predict_figures *figures, const struct predict_call *call,
                         bool crowded)
{
    return crowded &&
           clamp(call->calls, CALLS_MAX) * PER_MILLE > get(&figures->ran_milli) + PER_MILLE / 2;
}

/* <mean> is of those that did not have to queue. */
static void learn_calm(const struct predict_figures *figures, atomic_int_fast64_t *mean,
                       const struct predict_call *call, int64_t sample, int64_t part)
{
    int64_t calm = get(mean);
    bool queued = call->calls * PER_MILLE > room_of(figures);
    if (!queued || !calm || sample < calm / 2)
        learn(mean, sample, part);
}

static void learn_crowd(struct predict_figures *figures, const struct predict_class *class,
                        const struct predict_call *call, int64_t sample, bool crowded)
{
    if (!crowded)
        forget_room(figures, call);
    else if (!call->hit || sample >= 2 * get(&class->hit_us))
        learn_room(figures, class, call, sample);
    else /* it did not have to wait */
        set(&figures->room_milli, later(room_of(figures), (call->calls + 1) * PER_MILLE));
}

/* What it waited for others to be served, of all that it took. Where there turned out to be fewer
 * places than were thought when it began, by those that there are: who was given too much to do is
 * not slow for that, and would be taken to be for long, since it is asked no more. Not where its
 * siblings say how many there are. */
static int64_t queued_us(const struct predict_figures *figures, const struct predict_class *class,
                         const struct predict_call *call)
{
    int64_t room = room_of(figures), calls = clamp(call->calls, CALLS_MAX) * PER_MILLE;
    if (call->siblings_milli || calls <= room)
        return call->wait_us;
    int64_t wait = predict_scaled(service_of(call, get(&class->calm_us)), calls - room, room);
    return later(call->wait_us, clamp(wait, TIME_MAX_US));
}

static void learn_first(struct predict_figures *figures, struct predict_call *call, int64_t sample,
                        uint64_t now_us)
{
    struct predict_class *class = &figures->classes[call->traffic];
    int64_t samples = get(&class->samples), calm = get(&class->calm_us);
    int64_t age = samples ? (int64_t)now_us - get(&class->learnt_us) : 0;
    bool stale = call->age_us > call->half_life_us / STALE_PART;
    int64_t late = predict_fade(get(&class->late_us), age, call->half_life_us / LATE_PART);
    bool is_peak = samples && is_late(class, call, sample), again = is_peak && late > sample / 4;
    bool crowded = is_crowded(figures, call);
    /* Twice is no accident, and is believed; once does not move the mean by much. */
    int64_t part = stale || again ? LEARN_PART_STALE : LEARN_PART;
    part = samples + 1 < part ? samples + 1 : part;
    int64_t most = calm + calm / 2; /* it may have had to queue, though nobody thought so */
    sample = clamp(sample, TIME_MAX_US);
    if (call->hit)
        learn_calm(figures, &class->hit_us, call, sample, part);
    else
        learn_calm(figures, &class->calm_us, call,
                   is_peak && !again                  ? call->base_us * LATE_TIMES
                   : crowded && calm && sample > most ? most
                                                      : sample,
                   part);
    if (crowded && !call->hit)
        learn(&class->busy_us, sample, part);
    if (!get(&class->calm_us)) /* only hits so far */
        set(&class->calm_us, later(sample, 1));
    learn_crowd(figures, class, call, sample, crowded);
    learn_p95(&class->p95_us, later(sample - queued_us(figures, class, call), 1),
              get(&class->calm_us), stale && call->age_us < INT64_MAX);
    learn_late(class, call, had_to_queue(figures, call, crowded) ? 0 : sample, late);
    set(&class->better, sample < call->base_us / 3 * 2);
    set(&class->learnt_us, (int64_t)now_us);
    if (samples < INT32_MAX)
        add(&class->samples, 1);
}

/* How many answers are written at once: at least so many places there are. */
static void note_running(struct predict_figures *figures)
{
    int64_t now = clamp(add(&figures->running, 1), CALLS_MAX) * PER_MILLE,
            most = get(&figures->ran_milli);
    set(&figures->ran_milli, now >= most ? now : most - (most - now) / RAN_PART);
}

void predict_first(struct predict_figures *figures, struct predict_call *call, uint64_t now_us)
{
    if (!call->waits)
        return;
    call->first_at_us = now_us;
    stop_waiting(figures, call);
    if (!call->stream)
        return;
    note_running(figures);
    learn_first(figures, call, (int64_t)(now_us - call->begun_us), now_us);
}

static void learn_tokens(struct predict_figures *figures, const struct predict_call *call,
                         int64_t output_tokens, uint64_t now_us)
{
    struct predict_class *class = &figures->classes[call->traffic];
    int64_t samples = get(&class->samples);
    if (output_tokens < TOKENS_LEAST || output_tokens > TOKENS_MAX)
        return;
    int64_t span = clamp((int64_t)(now_us - call->first_at_us), TIME_MAX_US);
    learn(&class->token_ns, clamp(span * PER_MILLE / (output_tokens - 1), TOKEN_MAX_NS),
          samples < LEARN_PART && samples > 0 ? samples : LEARN_PART);
}

/* Of an answer in one piece it is not known when it began. What it took longer than predicted is
 * put down to both of its parts, by their squares: short answers teach the time to the first token,
 * long ones that of a token. */
static void learn_whole(struct predict_figures *figures, struct predict_call *call,
                        int64_t output_tokens, uint64_t now_us)
{
    struct predict_class *class = &figures->classes[call->traffic];
    int64_t total = clamp((int64_t)(now_us - call->begun_us), TIME_MAX_US);
    int64_t tokens = clamp(output_tokens ? output_tokens : call->output_tokens, TOKENS_MAX);
    int64_t first = call->base_us;
    int64_t writing = clamp(predict_scaled(tokens, call->token_ns, PER_MILLE), TIME_MAX_US);
    int64_t more = total - first - writing;
    int64_t a = first / PER_MILLE + 1, b = writing / PER_MILLE;
    int64_t of_first = (int64_t)((__int128)more * a * a / (a * a + b * b));
    learn_first(figures, call, later(first + of_first, 1), now_us);
    if (tokens >= TOKENS_LEAST)
        learn(&class->token_ns,
              clamp(predict_scaled(writing + more - of_first, PER_MILLE, tokens), TOKEN_MAX_NS),
              LEARN_PART);
}

/* Does a call that was begun before the last one that failed say how it is since? Where failures
 * were strays before; else what was taken on before it is no sign that more is. */
static bool forgives(struct predict_figures *figures, const struct predict_call *call)
{
    int64_t failed = get(&figures->failed_begun_us);
    if (failed && (int64_t)call->begun_us >= failed) {
        set(&figures->strays, 1);
        set(&figures->failed_begun_us, 0);
    }
    return !get(&figures->failed_begun_us) || get(&figures->strays);
}

static void learn_failure(struct predict_figures *figures, const struct predict_call *call,
                          bool failed, uint64_t now_us)
{
    int64_t age = (int64_t)now_us - get(&figures->failed_us);
    int64_t share = get(&figures->failing_ppm), before = get(&figures->failed_begun_us);
    if (!failed && (!share || !forgives(figures, call)))
        return;
    share = predict_fade(share, age, call->half_life_us / FAIL_PART);
    set(&figures->failing_ppm,
        failed ? share + (MILLION - share) / FAIL_UP : share - share / FAIL_DOWN);
    if (failed && before && (int64_t)call->begun_us > before) /* and nothing good between */
        set(&figures->strays, 0);
    if (failed)
        set(&figures->failed_begun_us, (int64_t)call->begun_us);
    set(&figures->failed_us, (int64_t)now_us);
}

/* It was not answered: then its first token takes at least so long. */
static void learn_silence(struct predict_figures *figures, struct predict_call *call,
                          uint64_t now_us)
{
    struct predict_class *class = &figures->classes[call->traffic];
    int64_t waited = (int64_t)(now_us / PER_MILLE - call->due_ms) * PER_MILLE;
    waited = clamp(waited, TIME_MAX_US);
    if (waited <= LATE_TIMES * call->base_us || waited <= call->base_us + LATE_LEAST_US)
        return;
    set(&class->late_us, later(get(&class->late_us), waited - call->base_us));
    set(&class->learnt_us, (int64_t)now_us);
}

void predict_end(struct predict_figures *figures, struct predict_call *call, enum predict_end end,
                 int64_t output_tokens, uint64_t now_us)
{
    bool waited = call->waits;
    stop_waiting(figures, call);
    add(&figures->work_tokens, -call->work_tokens);
    add(&figures->calls, -1);
    if (call->stream && !waited)
        add(&figures->running, -1);
    if (end == PREDICT_WHOLE && !call->stream)
        learn_whole(figures, call, output_tokens, now_us);
    else if (end == PREDICT_WHOLE && !waited)
        learn_tokens(figures, call, output_tokens, now_us);
    if (end == PREDICT_WHOLE || end == PREDICT_FAILED || end == PREDICT_LATE)
        learn_failure(figures, call, end != PREDICT_WHOLE, now_us);
    if (waited && (end == PREDICT_LATE || end == PREDICT_LEFT))
        learn_silence(figures, call, now_us);
}
