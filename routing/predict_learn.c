/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/predict_inside.h"

enum {
    LEARN_PART = 24,       /* of the difference is taken over at each sample */
    LEARN_PART_STALE = 2,  /* when the last one is long ago */
    STALE_PART = 16,       /* of the half-life: long ago */
    LATE_TIMES = 3,        /* the prediction: late */
    LATE_LEAST_US = 20000, /* and at least so much later */
    FAIL_UP = 4,
    FAIL_DOWN = 8,
    READ_TOKENS = 32, /* of a prompt are read while one is written */
    ROOM_LEAST_MILLI = 1000,
    ROOM_STEP_MILLI = 250,
    ROOM_PART = 64,
    ROOM_FORGET = 32,
    CALM_TIMES = 4,  /* so far below the mean no call is that had to queue */
    ROOM_SHRINK = 3, /* places that are not there are worse than places that are not used */
    SEEN_PART = 16,  /* more than the room that is seen is a queue */
    SEEN_STEP = 8,   /* of the difference is taken over at each sample */
    RAN_PART = 256,  /* the same, downwards, of the most that was written at once */
    APART_PART = 16,
    APART_LEAST = 8,  /* of the time of a calm first token: two waits that differ */
    LEAST_PART = 256, /* of the difference is taken over at each sample, upwards */
    TOKENS_LEAST = 8, /* shorter answers say nothing about the time of a token */
};

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
        .joins = prediction->joins,
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
        set(quantile, later(sample * 2, later(mean, 1))); /* the first may be all queue */
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

/* What it takes when nothing is wrong: the least that the mean ever was. It follows slowly, for one
 * may have become slower for good. */
static void learn_least(struct predict_class *class, int64_t samples)
{
    int64_t calm = get(&class->calm_us), least = get(&class->least_us);
    bool known = samples >= LEARN_PART && calm > least;
    set(&class->least_us, known ? least + (calm - least) / LEAST_PART : calm);
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
    room = later(room, get(&figures->ran_milli)); /* each of these had a place */
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

static bool nearly_fills(const struct predict_call *call, int64_t room)
{
    return call->calls * PER_MILLE > room / 4 * 3;
}

/* Is so much in flight that it may have had to queue? */
static bool is_crowded(const struct predict_figures *figures, const struct predict_call *call)
{
    int64_t room = room_of(figures), theirs = call->siblings_milli;
    return nearly_fills(call, theirs && theirs < room ? theirs : room);
}

/* Not who found fewer calls there than were ever seen to be written at once: each had a place. */
static bool had_to_queue(const struct predict_figures *figures, const struct predict_call *call,
                         bool crowded)
{
    return crowded &&
           clamp(call->calls, CALLS_MAX) * PER_MILLE > get(&figures->ran_milli) + PER_MILLE / 2;
}

/* Has one that joined lately and was slow, when it was looked at again, ceased to be so? */
static bool has_warmed(const struct predict_class *class, const struct predict_call *call,
                       int64_t sample)
{
    int64_t joined = get(&class->joined_us);
    return joined && get(&class->samples) && !call->hit && call->age_us > JOINED_LEAST_US &&
           sample < get(&class->calm_us) / 2 && sample < call->base_us &&
           get(&class->learnt_us) - joined < call->half_life_us;
}

/* What it was until now says nothing of what it is. */
static void begin_anew(struct predict_class *class)
{
    set(&class->samples, 0);
    set(&class->calm_us, 0);
    set(&class->busy_us, 0);
    set(&class->p95_us, 0);
    set(&class->late_us, 0);
}

/* <mean> is of those that did not have to queue. How many places there are is learnt by it, and may
 * be thought too high as well as too low: where these are nearly filled, only what was seen to be
 * written at once is believed. One that took far less than the mean had no queue; half of it may be
 * luck, and where most have to queue it would become the mean of the lucky. */
static void learn_calm(const struct predict_figures *figures, atomic_int_fast64_t *mean,
                       const struct predict_call *call, int64_t sample, int64_t part)
{
    int64_t calm = get(mean), room = room_of(figures);
    bool seen = call->stream && !get(&figures->heard_calls); /* of all that is in flight */
    bool queued = seen ? had_to_queue(figures, call, nearly_fills(call, room))
                       : call->calls * PER_MILLE > room;
    if (!queued || !calm || sample < calm / CALM_TIMES)
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
    if (call->joins && !get(&class->samples))
        set(&class->joined_us, (int64_t)call->begun_us);
    if (has_warmed(class, call, sample))
        begin_anew(class);
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
    learn_least(class, samples);
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
