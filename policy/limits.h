/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * limits - what a call may use: reserved before anything is sent, settled after. A door of policy.
 *
 * A *limit* is an amount of one kind per span, declared at one level (key, tenant, tenant above,
 * end user), for all models or one. A *counter* is what has been used of one limit by one of those
 * it is declared for; counters are found by their id, so that they outlive reloads. One
 * *reservation* covers every counter that a call touches, all or nothing.
 *
 * Requests, parallel calls and money reserve an upper bound and are never exceeded. Windows of
 * tokens reserve an estimate and carry what was more as debt; with `strict` they reserve the bound.
 *
 * How it is kept: docs/LIMITS.md.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/list.h"
#include "gateway/base/loop.h"
#include "gateway/base/text.h"
#include "gateway/wire/redis.h"

/* ----------------------------------------------------------------------------- declared */

enum limit_kind {
    LIMIT_REQUESTS,
    LIMIT_INPUT_TOKENS,
    LIMIT_OUTPUT_TOKENS,
    LIMIT_TOKENS, /* input and output */
    LIMIT_CONCURRENT,
    LIMIT_MONEY, /* nano-dollars */
    LIMIT_KINDS
};

/* Over which stretch of time it counts. */
enum limit_period {
    PERIOD_NONE,    /* concurrent: now */
    PERIOD_ROLLING, /* any stretch of window_us */
    PERIOD_HOUR,    /* calendar ones, in the limit's time zone */
    PERIOD_DAY,
    PERIOD_WEEK, /* begins on Monday */
    PERIOD_MONTH,
    PERIOD_TOTAL, /* for ever */
};

enum limit_algorithm {
    LIMIT_SLIDING_WINDOW, /* 64 slots, and the oldest counts whole */
    LIMIT_TOKEN_BUCKET,   /* the same, and no more at once than a burst: meter.h */
};

/* What counts while the shared store is away. */
enum limit_away {
    AWAY_LOCAL,  /* this node's share of the amount */
    AWAY_OPEN,   /* no limit */
    AWAY_CLOSED, /* no call */
};

enum limit_exceeded {
    EXCEEDED_REJECT,
    EXCEEDED_DEGRADE, /* only the cheapest targets are left; when there is none, rejected */
    EXCEEDED_WARN,    /* admitted, and said so */
};

enum { LIMIT_WARNINGS = 4 };

struct zone; /* a time zone: zone.h */
struct counter;

/* Lives as long as the configuration or the directory that declares it. */
struct limit {
    enum limit_kind kind;
    enum limit_period period;
    enum limit_algorithm algorithm;
    enum limit_away away;
    enum limit_exceeded exceeded;
    bool strict;             /* of tokens: reserve the upper bound */
    int64_t amount;          /* requests, tokens, calls or nano-dollars; 0 = nothing is allowed */
    int64_t window_us;       /* PERIOD_ROLLING */
    const struct zone *zone; /* of calendar spans; NULL = UTC */
    struct text model;       /* only calls of this model (a route's name); empty = all */
    uint16_t warn_at[LIMIT_WARNINGS]; /* per mille of the amount, rising; 0 = none */
};

struct limit_list {
    const struct limit *at;
    size_t count;
};

/* The most limits of <limits> that one call can meet: those for all models, and the most that there
 * are for one. */
size_t limits_met(const struct limit_list *limits);
/* Of whatever amount: does <limit> count in what one of <list> counts in? */
bool limit_has_same(const struct limit_list *list, const struct limit *limit);

/* "requests_per_minute", "input_tokens_per_day", "concurrent" … Fills in kind, span and window_us;
 * false when it is no such name. Units: second minute hour day. */
bool limit_name_read(struct text name, struct limit *limit);
/* The same backwards, for messages and the API: "requests_per_minute", "concurrent",
 * "budget_per_month", "budget_per_30d". At most 48 bytes with its NUL. */
void limit_name_write(const struct limit *limit, char out[48]);

/* The calendar span that <wall_us> is in: [*begin_us, *end_us). For PERIOD_TOTAL 0 and INT64_MAX.
 */
void period_bounds(enum limit_period period, const struct zone *zone, int64_t wall_us,
                   int64_t *begin_us, int64_t *end_us);

/* A zone of the system's tz database ("Europe/Berlin"), read and kept for the life of the process;
 * NULL when there is none of that name. Any thread. */
const struct zone *zone_find(struct text name);

/* --------------------------------------------------------------------------- reserving */

/* What the client is told about one use, at the moment of asking or, if that was before, of
 * settling. */
struct limit_view {
    int64_t amount, left; /* left: never below 0 */
    int64_t reset_us;     /* until all of it is there again, from then */
    uint64_t over : 63;   /* used and held above the amount: only then more than 0 */
    uint64_t known : 1;   /* 0: of a shared store that was not asked yet; this node's alone */
};

/* One counter that a call touches, and what it wants of it. */
struct use {
    const struct limit *limit; /* borrowed until the reservation is settled */
    struct text counter;       /* id; borrowed until the reservation is settled. Printable, e.g.
                                  "t/acme/search:requests_per_minute" or, for a model,
                                  "k/acme/ci:tokens_per_minute:fast" */
    uint64_t hash;             /* hash_name() of it; 0 = it has to be reckoned */
    int64_t want;              /* upper bound, or estimate */
    int64_t least;             /* money and strict output: less than <want>, down to this, is of
                                  use. Else equal to <want>: then it is all or nothing, whatever
                                  other uses of money get. */
    /* out, for the meter to read again when it is settled */
    int64_t held; /* what was reserved, between least and want. All uses of money hold the same; of
                     strict output each holds what it can: the caller lowers the output to what the
                     smallest covers */
    /* the meter's own; each open stream has some of these */
    union {
        struct {           /* until it is settled */
            int64_t slot;  /* where it is counted */
            int64_t fixed; /* of <held>: counted before <slot>, and stays there */
            struct counter *at;
            unsigned turn; /* of the counter, when it was held */
        };
        struct limit_view view; /* when it was settled */
    };
    bool settled;
};

enum { USES_MAX = 64 };

enum reserve_result {
    RESERVE_GRANTED,
    RESERVE_REFUSED, /* <refused> says by which */
    RESERVE_AWAY,    /* the store is away, and a limit says `closed` */
    RESERVE_WAITS,   /* <done> will be called on the loop, once, unless it is abandoned */
};

struct limiter; /* one worker's way to the limits */

/* Belongs to an exchange, from limits_reserve() to limits_settle(). Zeroed, then root, id, uses and
 * use_count are set. */
struct reservation {
    struct text root; /* the topmost tenant's name: all its counters stand in one place */
    struct text id;   /* the request's */
    struct use *uses; /* at most USES_MAX; borrowed. None is fine: granted at once */
    size_t use_count;
    void (*done)(struct reservation *reservation, enum reserve_result result);

    /* out */
    size_t refused; /* index of the limit that refused; the one whose wait is longest */
    int64_t
        retry_after_us; /* until it may fit; INT64_MAX = never as it is (more than the amount) */
    uint64_t warned;    /* bit i: uses[i] is of `warn` and exceeded */
    uint64_t degraded;  /* bit i: uses[i] is of `degrade` and exceeded */
    bool live;          /* holds something: must be settled */
    bool local;         /* admitted while the store was away */

    /* the limiter's own */
    bool waits;
    unsigned tries;
    struct limiter *limiter;
    void (*then)(struct reservation *reservation, enum reserve_result result);
    struct link waiting;
    uint64_t asked_us;
    void *question;
};

/* Reserve all of it or nothing. Never blocks; RESERVE_WAITS lasts at most the store's timeout. */
enum reserve_result limits_reserve(struct limiter *limiter, struct reservation *reservation);
/* Whoever waits has gone; <done> is not called any more. What the store grants later is returned.
 */
void limits_abandon(struct reservation *reservation);

/* A stream is about to use more than it holds: hold <more> of every use of the given <kind> (of
 * money: nano-dollars). True when it could be held, all or nothing, without asking the store and
 * waiting; in the background more is asked for. With EXCEEDED_WARN always true. */
bool limits_extend(struct reservation *reservation, enum limit_kind kind, int64_t more);
/* Is more being asked for, or will there be room to ask, so that what could not be held may be
 * soon? What comes is kept for a moment. */
bool limits_asks_ahead(const struct reservation *reservation, enum limit_kind kind);
/* May it have to be asked for at all, because others share the limits? */
bool limits_are_shared(const struct reservation *reservation);

/* What the call truly used. */
struct used {
    bool sent;        /* something was sent to a target: else requests are returned too */
    int64_t requests; /* so many of those that were held; 0 = all */
    int64_t input_tokens, output_tokens, cost_nanos;
};
/* Return what was held and count what was used. Idempotent: a second call does nothing. */
void limits_settle(struct reservation *reservation, const struct used *used);
/* The same where uses[i] has its own figures, each[i]. */
void limits_settle_each(struct reservation *reservation, const struct used *each);

/*
 * What a call has started goes on after it: <to> takes over all that <from> holds, but for parallel
 * calls, so that <from> may be settled and <to> later, also by another worker. <to> is zeroed but
 * for root and id, and uses with room for as many; uses and texts that these borrow are for <to> to
 * replace. Only of a live reservation.
 */
void limits_hand_over(struct reservation *from, struct reservation *to);
/* A reservation that another worker, or nobody yet, has made is settled from this one's. */
void limits_adopt(struct limiter *limiter, struct reservation *reservation);

/* What a use of a call that is only imagined would meet. */
struct limit_peek {
    int64_t used;     /* settled and held; of all nodes, if known */
    int64_t left;     /* never below 0 */
    int64_t wait_us;  /* until it could be let in; 0 = now, INT64_MAX = never as it is. Limits that
                         only warn or degrade never wait */
    int64_t reset_us; /* until all of it is there again, from now */
    int64_t slot;     /* the meter's own */
    bool known;       /* false: what other nodes have used is not in it */
};
struct limits;
/* Look at what <reservation> (root, uses) would meet here: peeks[i] of uses[i]. Nothing is held or
 * counted. Any thread. */
void limits_peek(struct limits *limits, const struct reservation *reservation,
                 struct limit_peek *peeks);

void limits_view(struct reservation *reservation, size_t use, struct limit_view *view);
/* The same for all uses[i] with bit i in <which>, at once: views[i]. */
void limits_views(struct reservation *reservation, uint64_t which, struct limit_view *views);

/* ------------------------------------------------------------------- one per process */

struct limits; /* all counters of this process, and its way to the shared store if there is one */

struct limits_options {
    const struct redis_options *redis; /* NULL = embedded; borrowed for its life */
    const char *prefix;                /* of the names in Redis */
    const char *node; /* this process among the replicas, the same after a restart */
    unsigned replicas_max;
    int64_t dead_us; /* a node that was not heard of for so long has no parallel calls; 0 = 30 s */
};
struct limits *limits_new(const struct limits_options *options);
/* After all limiters. */
void limits_free(struct limits *limits);
/* A worker's limiter, used by its thread only. */
struct limiter *limiter_new(struct limits *limits, struct loop *loop, struct dns *dns,
                            unsigned worker, struct fault *fault);
void limiter_free(struct limiter *limiter);

/* One call that was booked before this process began: counts it without asking. For rebuilding from
 * the ledger at start. <uses> as in a reservation, with the true figures in `want`. */
void limits_rebuild(struct limits *limits, struct text root, const struct use *uses, size_t count,
                    int64_t at_wall_us);

/* What this node has settled in the counter of this id, of a tenant below <root>, as far as it
 * counts now; -1 = there is no such counter. Any thread. */
int64_t limits_settled(struct limits *limits, struct text root, struct text counter);
/* Has the store heard of all that is in it? Also when there is no such counter, no store, or it is
 * away. Any thread. */
bool limits_are_told(struct limits *limits, struct text root, struct text counter);

/* The same for what goes on: counts the uses of <reservation> (root, id, uses) as held since then,
 * also beyond the amounts. It is live then, and to be settled after limits_adopt(). */
void limits_rebuild_held(struct limits *limits, struct reservation *reservation,
                         int64_t at_wall_us);

/* Walk over counters, for the API: those of <root>, or all when it is empty, in the order of their
 * ids, behind <after>. The callback's texts are borrowed. */
struct counter_view {
    struct text root, counter;
    struct limit limit; /* as last used; texts borrowed */
    int64_t used, held; /* settled, and held by calls that run */
    int64_t reset_us;
    int64_t slot; /* that counts now, as it is numbered */
    bool is_all;  /* limits_look(): of all nodes */
};
void limits_list(struct limits *limits, struct text root, struct text after, size_t max,
                 void (*see)(void *with, const struct counter_view *view), void *with);

/*
 * With a shared store: add to <used> what other nodes have of these counters - settled, held by
 * calls that run, and taken ahead for those to come; is_all says of which it is known. All reads
 * are pipelined over the ledger's connection; blocks 5 s at most. False: not all could be read, or
 * there is no such store.
 */
struct ledger;
bool limits_look(struct limits *limits, struct ledger *ledger, struct counter_view *views,
                 size_t count);
/* The same of what limits_peek() has found: reads only, blocks as long at most. */
bool limits_peek_all(struct limits *limits, struct ledger *ledger,
                     const struct reservation *reservation, struct limit_peek *peeks);
/* Counters that other nodes may have: they are listed from now on, for half a minute, though no
 * call has met them here. Does nothing without a shared store. */
void limits_know(struct limits *limits, struct text root, const struct use *uses, size_t count);

/* Calls of the tenants below this topmost one will come: with a shared store it is told of it
 * before them. Before the first limiter is made. */
void limits_expect(struct limits *limits, struct text root);

struct limits_figures {
    uint64_t granted, refused, away, asked; /* asked: round trips to the store */
    uint64_t counters, live;                /* live: reservations not settled */
    bool store_up;                          /* true without a shared store */
    bool store_swept;                       /* it was told all that was there at the start */
    unsigned store_connected;               /* limiters that have a connection to it */
    unsigned replicas;                      /* seen by the store in the last seconds; 1 alone */
    int64_t store_latency_us;               /* of the last round trip */
};
struct limits_figures limits_figures(struct limits *limits);

/* --------------------------------------------------------- from one process to the next */

/*
 * An upgrade in place: while the calls of this process go on to their ends, another one takes over
 * its limits (succession.h). Without a shared store only.
 *
 * limits_bequeath(): all that there is goes over <fd>, which is taken, and from then on the other
 * is asked; not counters that <which> says no to, for the other counts them anew. No worker may use
 * its limiter meanwhile. False and *fault: nothing has changed.
 *
 * limits_passed_on(): the other serves now; until then who asks waits for it. limits_return(): it
 * never will, and this process counts; and when no worker uses its limiter, limits_take_back().
 */
struct bequest {
    bool (*goes)(void *with, struct text counter); /* NULL: all do */
    void *with;
};
bool limits_bequeath(struct limits *limits, const struct bequest *which, int fd,
                     struct fault *fault);
void limits_passed_on(struct limits *limits);
void limits_return(struct limits *limits);
void limits_take_back(struct limits *limits);
/* Has the other, whom this process asks, gone? Then nothing can be held for <reservation>. */
bool limits_are_orphaned(const struct reservation *reservation);
/* The other side: before anything else is counted. Waits <wait_us> for it, at most. */
bool limits_inherit(struct limits *limits, int fd, int64_t wait_us, struct fault *fault);
/* Answer the calls of the old process from now on. False: there is no thread for that. */
bool limits_answer(struct limits *limits);
/* Does the old process still ask? */
bool limits_are_asked(const struct limits *limits);
/* Were the counters taken over? Then what they have is what was used. */
bool limits_are_inherited(const struct limits *limits);
