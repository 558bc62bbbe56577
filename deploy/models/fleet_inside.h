/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The insides of fleet: fleet.c (the door, the round), fleet_replica.c (the life of one replica),
 * fleet_scale.c (how many), fleet_place.c (where, and who makes room), fleet_roll.c (revisions),
 * fleet_order.c (configuration and orders), fleet_look.c (what is told, and what it costs).
 *
 * Facts only write down what happened to one replica, and move it; what follows for the others is
 * decided in fleet_tick().
 */

#include "deploy/models/fleet.h"
#include "gateway/base/list.h"

enum {
    SECOND_US = 1000000,
    MINUTE_US = 60 * SECOND_US,
    FLEET_TICK_US = SECOND_US, /* how often is decided, while anything lives or is wanted */
    STARTS_KEPT = 5,
    WINDOW_BUCKETS = 16,
    FLEET_LIVE_MAX = 160, /* replicas of one deployment that are not ended; below SLOTS_MAX */
    ENDED_KEPT = 8,
    ENDED_KEPT_US = 10 * MINUTE_US,
    PORT_TRIES = 3,
    STOP_SLACK_US = 10 * SECOND_US, /* after the grace: killing takes a while too */
    RESIDENCY_LEAST_US = SECOND_US,
    QUANTUM_LEAST_US = 5 * SECOND_US,
};

/* A value over the last <width_us>: its mean by time, its sum, its peak. */
struct window {
    uint64_t width_us, from_us; /* from_us: of the first value */
    struct {
        uint64_t number; /* of the bucket, + 1; 0 = empty */
        uint64_t area, time_us, sum;
        unsigned peak;
    } buckets[WINDOW_BUCKETS];
};

struct fleet_node {
    struct node_spec spec; /* owned */
    bool usable, gone;     /* gone: not configured any more, replicas are left on it */
    struct resources reserved, promised;
    unsigned replicas;
};

struct revision {
    unsigned number;
    struct deployment_spec *spec; /* NULL = there is none */
    bool proven;                  /* one of it was ready */
};

/* One replica, as the fleet sees it. */
struct replica {
    struct fleet_replica r; /* what the desk sees; first */
    struct link link;       /* in its deployment's, newest first */
    struct fleet_deployment *of;
    struct resources reserved;       /* on r.node, while its state holds room */
    struct resources promise;        /* of room that is being made on r.node */
    uint64_t promise_turn;           /* earlier ones go first; 0 = nothing is promised */
    bool is_first;                   /* PENDING: none of its deployment has room */
    uint64_t asked_us;               /* waits for room since */
    enum replica_state before;       /* LOST: what it was */
    unsigned bad_probes, crashes;    /* in a row */
    unsigned port_tries, stop_tries; /* in a row */
    bool is_open, was_ready;
    bool told_since_close; /* in_flight was told after its slot was closed */
    bool revivable;        /* drains only because nobody needs it */
    bool then_sleep;       /* when it is drained */
    bool retry;            /* its end is a crash */
    bool adopted, woken;   /* its start tells nothing of how long a start takes */
    int64_t age_us;        /* adopted: so long it ran by then; -1 = it is not known */
};

enum roll_phase {
    ROLL_NONE,     /* one revision */
    ROLL_CANARIES, /* a share of the calls is tried on the next */
    ROLL_FORWARD,  /* the next takes over, one by one */
};

struct fleet_deployment {
    char name[SPEC_NAME_MAX + 1];
    struct deployment_spec *spec; /* what is in force: scaling, hold, eviction, limits */
    struct revision stable, next, previous;
    struct deployment_spec *earlier; /* served before stable, which is not proven; or NULL */
    unsigned last_number;            /* of revisions */
    uint64_t rejected_digest;        /* was rolled back: not tried again by itself; 0 = none was */
    char rejected_for[FLEET_REASON_MAX];
    struct link replicas;

    enum deployment_state state;
    char reason[FLEET_REASON_MAX], words[FLEET_WORDS_MAX];
    uint64_t since_us, due_us, created_us;

    bool removed, stopped, pinned, unpinned, asleep;
    bool was_removed; /* by the configuration before: what comes now is another one of its name */
    bool ordered;     /* started by order: also without a call, until it is ready */
    bool bounded;     /* by order: low and high instead of the spec's */
    unsigned low, high;

    bool failed; /* given up; nothing is started but by a call or an order */
    bool last_try;
    uint64_t rearm_us; /* no call tries again before */
    char fail_reason[FLEET_REASON_MAX];

    struct fleet_demand demand;
    uint64_t busy_us, seen_us; /* there was demand; the windows know all until */
    struct window fast, slow, wants, uses;
    unsigned wanted, panic_wanted;
    unsigned elsewhere, elsewhere_ready; /* replicas that others look after */
    uint64_t panic_until_us;

    enum roll_phase phase;
    unsigned step, roll_ready; /* roll_ready: the most of the next that were ready */
    bool paused, step_begun;
    uint64_t roll_us, step_us;   /* since: it was wanted; this step */
    struct trial canary, steady; /* in this step; times, since it is warm */
    struct {
        unsigned stable, canary, permille;
    } share; /* as last told */

    int64_t learned_bytes; /* memory that it was seen to need */
    int64_t starts_us[STARTS_KEPT];
    unsigned start_count, restarts;
    __int128 spent, saved; /* nano-dollars × microseconds per hour */
    int64_t unseen_us; /* so long what is adopted may have run with nobody who counted its cost, */
    uint64_t recalled_us; /* as it was recalled then */
    bool recalled;
    int64_t rate; /* of one replica, as the last one cost */
};

struct fleet {
    struct fleet_hands hands;
    uint64_t chance, number, turns; /* turns: of promises */
    bool leads, shut;
    bool yields; /* another leads: nothing is started again */
    struct fleet_node *nodes;
    size_t node_count;
    struct fleet_deployment **deployments; /* by name */
    size_t count;
    uint64_t due_us, accrued_us;
};

struct census {
    unsigned live;     /* not ended */
    unsigned counted;  /* of these, neither draining nor stopping, nor lost and silent */
    unsigned ready;    /* open */
    unsigned starting; /* launching, loading */
    unsigned pending, backoff, sleeping, troubled;
};

static inline struct replica *replica_at(struct link *link)
{
    return LIST_MEMBER(link, struct replica, link);
}

/* NULL = there is none. */
static inline struct replica *replica_first(const struct fleet_deployment *deployment)
{
    return list_is_empty(&deployment->replicas) ? NULL : replica_at(deployment->replicas.next);
}

static inline struct replica *replica_next(const struct replica *one)
{
    return one->link.next == &one->of->replicas ? NULL : replica_at(one->link.next);
}

static inline struct replica *replica_of(struct fleet_replica *r)
{
    return (struct replica *)(void *)r;
}

static inline struct text deployment_text(const struct fleet_deployment *deployment)
{
    return text_of(deployment->name);
}

/* fleet.c */
struct fleet_deployment *fleet_find(const struct fleet *fleet, struct text name);
/* Of <revision>, 0 = of all. */
struct census fleet_census(const struct fleet_deployment *deployment, unsigned revision);
/* How many take calls now. */
unsigned deployment_serving(const struct fleet_deployment *deployment);
void fleet_event(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t replica,
                 const char *reason, const char *words);
void deployment_settle(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us);
void deployment_say(struct fleet_deployment *deployment, const char *reason, const char *words);
/* No more is tried; who waits is told. */
void deployment_fail(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
                     uint64_t now_us);
void deployment_free(struct fleet_deployment *deployment);
uint64_t fleet_chance(struct fleet *fleet);

/* fleet_replica.c */
bool replica_holds(enum replica_state state);
bool replica_may(enum replica_state from, enum replica_state to);
struct replica *replica_new(struct fleet *fleet, struct fleet_deployment *deployment,
                            const struct revision *revision, const char *reason, uint64_t now_us);
void replica_move(struct fleet *fleet, struct replica *one, enum replica_state to, uint64_t due_us,
                  const char *reason, uint64_t now_us);
void replica_launch(struct fleet *fleet, struct replica *one, unsigned node,
                    const struct resources *need, uint64_t now_us);
/* It is to go, softly: drained when calls may run on it, stopped, or gone at once. */
void replica_retire(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us);
void replica_sleep(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us);
void replica_wake(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us);
void replica_revive(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us);
void replica_stop(struct fleet *fleet, struct replica *one, const char *reason, uint64_t now_us);
/* Take over what runs already. */
void replica_adopt(struct fleet *fleet, struct replica *one, unsigned node,
                   const struct resources *need, uint64_t now_us);
void replica_is_due(struct fleet *fleet, struct replica *one, uint64_t now_us);
/* Whatever runs of it is another's from now on. */
void replica_abandon(struct fleet *fleet, struct replica *one, uint64_t now_us);
void replica_free(struct replica *one);

/* fleet_scale.c */
void window_set(struct window *window, uint64_t width_us);
void window_add(struct window *window, unsigned value, uint64_t from_us, uint64_t to_us);
void window_count(struct window *window, uint64_t count, uint64_t now_us);
uint64_t window_mean_milli(const struct window *window, uint64_t now_us);
uint64_t window_sum(const struct window *window, uint64_t now_us);
unsigned window_peak(const struct window *window, uint64_t now_us);
unsigned demand_of(const struct fleet_deployment *deployment);
unsigned least_of(const struct fleet_deployment *deployment);
unsigned most_of(const struct fleet_deployment *deployment);
/* Is it one of those that are wanted? */
bool replica_counts(const struct replica *one);
void scale_configure(struct fleet_deployment *deployment);
void scale_see(struct fleet_deployment *deployment, uint64_t now_us);
void scale_decide(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us);
/* Make it <want> replicas of <revision>. */
void scale_converge(struct fleet *fleet, struct fleet_deployment *deployment,
                    const struct revision *revision, unsigned want, uint64_t now_us);
/* No more than <keep> of <revision>; <reason> NULL: since nobody needs more. */
void scale_shrink(struct fleet *fleet, struct fleet_deployment *deployment, unsigned revision,
                  unsigned keep, const char *reason, uint64_t now_us);
void scale_retire_all(struct fleet *fleet, struct fleet_deployment *deployment, unsigned revision,
                      const char *reason, uint64_t now_us);

/* fleet_place.c */
void place_nodes(struct fleet *fleet, const struct node_spec *nodes, size_t count);
void place_free(struct fleet *fleet);
struct resources place_need(const struct fleet *fleet, const struct fleet_deployment *deployment,
                            const struct deployment_spec *spec);
bool place_fits(const struct fleet_node *node, const struct deployment_spec *spec,
                const struct resources *need);
bool place_fits_now(const struct fleet_node *node, const struct deployment_spec *spec,
                    const struct resources *need);
void place_reserve(struct fleet *fleet, struct replica *one);
void place_release(struct fleet *fleet, struct replica *one);
void place_unpromise(struct fleet *fleet, struct replica *one);
void place_all(struct fleet *fleet, uint64_t now_us);
int64_t place_rate(const struct fleet_node *node, const struct resources *reserved);

/* fleet_roll.c */
void roll_to(struct fleet *fleet, struct fleet_deployment *deployment, struct deployment_spec *spec,
             const char *reason, uint64_t now_us);
/* What is declared comes, whatever became of it before. */
void roll_declared(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
                   uint64_t now_us);
void roll_back(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
               uint64_t now_us);
/* It is not tried again by itself. */
void roll_reject(struct fleet_deployment *deployment, uint64_t digest, const char *reason);
void roll_promote(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us);
/* A replica of <revision> will not come to be: too many crashes, or a reason that is final. */
void roll_failed(struct fleet *fleet, struct fleet_deployment *deployment, unsigned revision,
                 const char *reason, uint64_t now_us);
/* We lead from now on: what was begun under another leader is not late, and what is not there is
 * not waited for. */
void roll_inherit(struct fleet *fleet, struct fleet_deployment *deployment);
/* See fleet_view. */
uint64_t roll_sense(const struct fleet_deployment *deployment);
/* What is found is of this digest: of which revision is it? NULL = of none that is wanted. */
struct revision *roll_find(struct fleet_deployment *deployment, uint64_t digest);
/* Make the replicas of its revisions as many as they are to be. */
void roll_step(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us);
struct revision *roll_revision(struct fleet_deployment *deployment, unsigned number);

/* fleet_look.c */
void look_accrue(struct fleet *fleet, uint64_t now_us);
void look_started(struct fleet_deployment *deployment, int64_t took_us);
int64_t look_median(const struct fleet_deployment *deployment);
/* An adopted one has run on while nobody was there to count. */
void look_adopted(struct fleet *fleet, const struct replica *one, uint64_t now_us);
int64_t look_spent(const struct fleet_deployment *deployment);
