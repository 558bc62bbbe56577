/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * predict - how long this call would take at that target. Integers only.
 *
 * Learnt per target and class of traffic: time to the first token, and time per token after it;
 * never the time of a whole call, which says more about its length than about the target.
 *
 *   calm   what the first token takes where little was in flight, or no more than was seen to be
 *          written at once: a mean that fades towards what the best of its siblings needs, when
 *          nothing new is learnt; four times as slowly of one that is idle and never was faster
 *   busy   the same of calls that came while much was in flight
 *   room   how many calls it serves at once: so many that the queue that is predicted for what is
 *          beyond it is what was waited. Alike targets have alike rooms: a target is taken to have
 *          the mean of its siblings', as long as its own does not say better how long one waits.
 *          Those whose tokens take unlike times are not alike
 *          In flight beyond what was ever written at once it is a queue, below it never; nor is
 *          the room less than that
 *   late   a sample that is far above what was predicted counts at once: in part, and in full if
 *          another one does so soon after. It fades with time and with each sample that is not;
 *          then one call looks again, and until that one is answered it counts as it did
 *   overdue  calls that wait longer than they should, at this moment: a target that has stopped
 *          answering is known before its first answer has failed. By the mean age of those that
 *          wait, which is half of what they wait in all; the fewer there are, the later
 *   failing  share of failures; charged as time, for a failure is never a fast answer. Good ones
 *          count against it; where failures were no strays before, only those that were begun after
 *          the last one that failed
 *
 * Who is new is taken to have little room, whatever its siblings have: it may have to warm up. One
 * that joined those that were known well already, and is slow, is believed to be so for as long
 * again as it has been known to be: then one call looks, and if it is answered in less than half of
 * the time all is learnt anew.
 *
 * Work in flight is counted in output tokens; what is above the target's room is queue.
 * predict.c predicts, predict_learn.c learns.
 */

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "providers/call.h"

/* By the length of the prompt, since that makes the first token late. */
enum traffic {
    TRAFFIC_SHORT,  /* below 1,024 tokens */
    TRAFFIC_MIDDLE, /* below 8,192 */
    TRAFFIC_LONG,   /* below 65,536 */
    TRAFFIC_HUGE,
    TRAFFIC_OTHER, /* makes no tokens: embeddings, images, ... */
    TRAFFIC_CLASSES
};

enum traffic traffic_of(enum operation operation, int64_t input_tokens);

/* What one target's class has taught. Relaxed atomics; zero = nothing. */
struct predict_class {
    atomic_int_fast64_t calm_us, busy_us;
    atomic_int_fast64_t hit_us;    /* calm, of calls whose prompt was in its cache */
    atomic_int_fast64_t p95_us;    /* running quantile of the first token, without the queue */
    atomic_int_fast64_t late_us;   /* beyond what was predicted */
    atomic_int_fast64_t token_ns;  /* per output token after the first */
    atomic_int_fast64_t learnt_us; /* monotonic time of the last sample */
    atomic_int_fast64_t joined_us; /* when it was first asked, beside known ones; 0 = with them */
    atomic_int_fast64_t samples;
    atomic_int_fast64_t least_us; /* calm, when it was the least; follows it slowly */
    atomic_int_fast64_t better;   /* the last sample was much better than predicted */
    atomic_uint_fast64_t waiting; /* for the first token: how many, and the sum of since when */
};

struct predict_figures {
    struct predict_class classes[TRAFFIC_CLASSES];
    atomic_int_fast64_t work_tokens; /* in flight */
    atomic_int_fast64_t calls;       /* in flight */
    atomic_int_fast64_t running;     /* of those, streams whose first token has come */
    atomic_int_fast64_t ran_milli;   /* the most that these were lately */
    atomic_int_fast64_t room_milli; /* calls at once that it serves without queueing; 0 = unknown */
    atomic_int_fast64_t apart_ppm;  /* how much better that is than what its siblings have */
    atomic_int_fast64_t prefixes;   /* beginnings of prompts that were not in its cache */
    atomic_int_fast64_t failing_ppm, failed_us;
    atomic_int_fast64_t failed_begun_us; /* of the last one that failed; 0 = a good one since */
    atomic_int_fast64_t strays;          /* the next one was good when one had failed */
    /* what the server itself says (metrics_url); stale after a while */
    atomic_int_fast64_t told_us, told_waiting, told_running, told_cache_ppm;
    atomic_int_fast64_t told_calls; /* in flight when it said so */
    /* what others that share it have in flight there (hearsay.h) */
    atomic_int_fast64_t heard_calls, heard_tokens;
};

struct prediction {
    /* what a decision record keeps of it (routing/decision.h): side by side */
    int64_t first_us, first_p95_us; /* to the first token, queue and penalties included */
    int64_t total_us;               /* to the last one */
    int64_t wait_us;                /* the part of base_us which is queue */
    int64_t token_ns;               /* per token after the first */
    int64_t cost_nanos;             /* of the call, as expected */
    int64_t cached_tokens;          /* of the prompt, expected to be in a cache there */

    int64_t guess_us;       /* the part of the total that nothing was learnt of */
    int64_t base_us;        /* the part of it that neither peaks nor failures are in */
    int64_t penalty_us;     /* the part of it that is for failures */
    int64_t siblings_milli; /* the room that its siblings have; 0 = not known */
    int64_t work_tokens;    /* in flight there */
    int64_t calls;          /* the same */
    int64_t waiting;        /* of those, for their first token */
    int64_t prefixes;       /* beginnings of prompts that it was given first */
    int64_t faded_us;       /* how much longer it took when it was learnt, in all */
    int64_t age_us;         /* since something was learnt; INT64_MAX = never */
    int64_t samples;        /* that taught it; 0 = not said */
    bool known;             /* false: nobody knows it; a prior */
    bool usual;             /* it was never much faster, nor has it failed */
    bool joins;             /* nor any class of it, but its siblings, and well */
};

/* What is asked about. */
struct predict_ask {
    uint64_t now_us;
    int64_t half_life_us;
    enum traffic traffic;
    int64_t input_tokens, output_tokens, cached_tokens;
    bool patient;     /* who is merely slower, as it ever was, need not be looked at soon */
    int64_t delay_us; /* before it can begin, which teaches nothing: a model is loaded */
};

/* What targets are taken for that nobody knows: the best of their siblings, else constants. */
struct predict_prior {
    int64_t first_us, token_ns;
    int64_t slowest_token_ns; /* of the worst of them */
    int64_t room_milli;       /* the mean of theirs; 0 = not known, or they are not alike */
    int64_t samples;          /* that taught what is known of the one that is known best */
    int64_t count;
};
/* Start with {0}, add each sibling, then fill in what is missing. */
void predict_prior_add(struct predict_prior *prior, const struct predict_figures *figures,
                       enum traffic traffic);
void predict_prior_fill(struct predict_prior *prior, enum traffic traffic);

/* All but the cost. */
void predict_make(const struct predict_figures *figures, const struct predict_ask *ask,
                  const struct predict_prior *prior, struct prediction *out);

/* A server has said of itself: <waiting> and <running> calls, its KV cache filled to <cache_ppm>.
 */
void predict_told(struct predict_figures *figures, int64_t waiting, int64_t running,
                  int64_t cache_ppm, uint64_t now_us);

/* One call, from its choice to its end. */
struct predict_call {
    enum traffic traffic;
    bool stream;
    bool waits; /* for its first token */
    bool joins; /* siblings were known well when it began, but not this target */
    bool hit;   /* most of its prompt was expected to be in the target's cache */
    int64_t work_tokens, output_tokens; /* as expected */
    int64_t calls, each_tokens;         /* in flight when it began, itself included; their mean */
    int64_t base_us, wait_us, token_ns; /* as predicted */
    int64_t siblings_milli;             /* the room that its siblings had */
    int64_t half_life_us, age_us;       /* of what was known when it began */
    uint64_t begun_us, first_at_us;
    uint64_t due_ms; /* from then on its first token is awaited */
};

/* <call> begins: it is in flight. */
void predict_begin(struct predict_figures *figures, const struct predict_ask *ask,
                   const struct prediction *prediction, bool stream, struct predict_call *call);
/* Its first token has come. */
void predict_first(struct predict_figures *figures, struct predict_call *call, uint64_t now_us);

enum predict_end {
    PREDICT_WHOLE,   /* a good answer of <output_tokens> (0 = not known) */
    PREDICT_FAILED,  /* the target is to blame, or had no room */
    PREDICT_LATE,    /* it was given up for it took too long; the target is to blame */
    PREDICT_LEFT,    /* the client did not wait for it */
    PREDICT_NOTHING, /* this teaches nothing */
};
void predict_end(struct predict_figures *figures, struct predict_call *call, enum predict_end end,
                 int64_t output_tokens, uint64_t now_us);

/* What <value> has faded to after <age_us>. */
int64_t predict_fade(int64_t value, int64_t age_us, int64_t half_life_us);
/* a * b / c, saturated; <c> is not 0. A wide division is slow, and seldom needed. */
static inline int64_t predict_scaled(int64_t a, int64_t b, int64_t c)
{
    int64_t product;
    assert(c != 0);
    if (b == c)
        return a;
    if (!__builtin_mul_overflow(a, b, &product))
        return product / c;
    __int128 wide = (__int128)a * b / c;
    return wide > INT64_MAX ? INT64_MAX : wide < INT64_MIN ? INT64_MIN : (int64_t)wide;
}
