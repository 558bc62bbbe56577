/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * fleet - decides what runs: states of deployments and replicas, how many, where, who makes room,
 * how a new revision comes. Pure: time and facts are handed in, wishes are handed out; no I/O, no
 * clock, no chance but <seed>. So ten thousand days are played in a test.
 *
 * One thread. Every call may call hands; hands must not call back into the fleet from within.
 * Every state that is not an end has a deadline, and every move has a reason: one word, with who or
 * what behind a colon (evicted_for:qwen).
 */

#include "deploy/models/launcher.h"
#include "deploy/models/spec.h"
#include "deploy/models/trial.h"

enum replica_state {
    REPLICA_PENDING,   /* waits for room, or for its turn */
    REPLICA_LAUNCHING, /* its launcher is at it */
    REPLICA_LOADING,   /* runs, and does not answer well yet */
    REPLICA_READY,
    REPLICA_UNREADY,  /* was ready, and does not answer well */
    REPLICA_SLEEPING, /* the engine's own sleep */
    REPLICA_DRAINING, /* no new calls; those that run may end */
    REPLICA_STOPPING, /* asked to end */
    REPLICA_LOST,     /* its launcher cannot say; used while it answers */
    REPLICA_BACKOFF,  /* crashed; tried again later */
    REPLICA_ENDED,    /* gone; kept a while for its story */
    REPLICA_STATES
};

enum deployment_state {
    DEPLOYMENT_QUEUED,   /* waits for room */
    DEPLOYMENT_STARTING, /* none ready yet */
    DEPLOYMENT_READY,
    DEPLOYMENT_DEGRADED, /* fewer ready than wanted */
    DEPLOYMENT_IDLE,     /* none, since nobody asks; the next call starts it */
    DEPLOYMENT_UPDATING, /* two revisions */
    DEPLOYMENT_BACKOFF,  /* none ready, tried again at retry_at */
    DEPLOYMENT_FAILED,   /* given up; a call or an order tries again */
    DEPLOYMENT_STOPPING,
    DEPLOYMENT_STOPPED, /* by order; no call starts it */
    DEPLOYMENT_STATES
};

const char *replica_state_name(enum replica_state state);
const char *deployment_state_name(enum deployment_state state);

struct fleet;
struct fleet_deployment;

enum { FLEET_REASON_MAX = 96, FLEET_WORDS_MAX = 240 };

struct fleet_replica {
    uint64_t number; /* never used twice; its name is <deployment>-<number in base 36> */
    struct deployment_spec *spec; /* of its revision */
    unsigned revision, node;      /* index into the nodes */
    enum replica_state state;
    uint64_t since_us, due_us;      /* in this state since; it ends then */
    uint64_t launched_us, ready_us; /* 0 = not yet */
    unsigned restarts;
    int progress_permille; /* -1 = not known */
    int64_t memory_peak_bytes;
    char reason[FLEET_REASON_MAX];
    char words[FLEET_WORDS_MAX];
    void *launch;       /* the desk's */
    unsigned in_flight; /* as last told */
    uint64_t used_us;   /* a call ended last */
    bool probed_ok;
};

struct fleet_hands {
    void (*launch)(void *with, struct fleet_replica *replica);
    /* Ready: open its slot, load its adapters. */
    void (*open)(void *with, struct fleet_replica *replica);
    /* No new calls. */
    void (*close)(void *with, struct fleet_replica *replica);
    void (*stop)(void *with, struct fleet_replica *replica, int64_t grace_us);
    void (*sleep)(void *with, struct fleet_replica *replica);
    void (*wake)(void *with, struct fleet_replica *replica);
    /* Its launch is over: forget it. Comes for every launch(), once; after a crash, launch() may
     * come again for the same replica, else it is ended and freed by the fleet in a while. With
     * reason stop_timeout its launcher has never said that it ended. */
    void (*forget)(void *with, struct fleet_replica *replica);
    void (*share)(void *with, struct text deployment, unsigned stable, unsigned canary,
                  unsigned permille);
    /* Those who wait are told that it is no use. */
    void (*fail_waiting)(void *with, struct text deployment, const char *why);
    /* Something happened that operators want to read. <replica> 0 = of the deployment. */
    void (*event)(void *with, struct text deployment, uint64_t replica, const char *reason,
                  const char *words);
    void *with;
};

/* A replica's number as it stands in names: lower-case base 36. */
enum { FLEET_NUMBER_BYTES = 14 };
void fleet_number_name(uint64_t number, char name[FLEET_NUMBER_BYTES]);

struct fleet *fleet_new(const struct fleet_hands *hands, uint64_t seed);
void fleet_free(struct fleet *fleet); /* forgets, ends nothing */

/* What is wanted from now on: nodes by name, deployments by name (specs are counted). One that is
 * not in there any more is stopped and removed; one whose digest changed gets a new revision. A
 * deployment may be marked as not ours to scale (another replica of sluice leads): then its
 * replicas go on and nothing is decided. */
void fleet_configure(struct fleet *fleet, const struct node_spec *nodes, size_t node_count,
                     struct deployment_spec *const *specs, size_t count, uint64_t now_us);
void fleet_lead(struct fleet *fleet, bool leads, uint64_t now_us);
/* Another sluice leads: besides, nothing is started again here; and what of a node is not ours to
 * watch any more is forgotten without being ended. */
void fleet_yield(struct fleet *fleet, uint64_t now_us);
void fleet_abandon(struct fleet *fleet, unsigned node, uint64_t now_us);
/* So many replicas of its present revision run elsewhere: <live> of them, <ready> of these are used
 * from here. They count as its own, but for being ended. */
void fleet_elsewhere(struct fleet *fleet, struct text name, unsigned live, unsigned ready,
                     uint64_t now_us);
/* End one softly, whoever wished it. False: there is none of that number. */
bool fleet_retire(struct fleet *fleet, uint64_t number, const char *reason, uint64_t now_us);
/* What was ordered before we led. <low> -1 = as the spec says. */
struct fleet_orders {
    bool stopped, pinned, unpinned;
    int64_t low, high;
};
void fleet_recall(struct fleet *fleet, struct text name, const struct fleet_orders *orders,
                  uint64_t now_us);
/* What one has spent, and how long it has been there: for max_spend and max_age, which hold over a
 * restart and under whoever leads next. Recalled is what is more. */
struct fleet_spent {
    struct text name;
    int64_t nanos, age_us;
    int64_t unseen_us; /* so long ago it was that. What is adopted has run on since, and costs that,
                          too. Recalled 0 = it is not known, or others have counted; FLEET_UNSEEN =
                          none ran then: what is adopted was never counted. */
};
#define FLEET_UNSEEN INT64_MAX
bool fleet_spent(const struct fleet *fleet, size_t index, struct fleet_spent *spent,
                 uint64_t now_us);
void fleet_recall_spent(struct fleet *fleet, const struct fleet_spent *spent, uint64_t now_us);
/* That was all: of what there is and was not recalled none ever ran. */
void fleet_recalled_all(struct fleet *fleet, uint64_t now_us);
/* What has become of the revision that is declared, where another one serves in its place; for the
 * next start, and whoever leads next. */
struct fleet_verdict {
    struct text name;
    uint64_t declared;              /* digest of what this is about */
    bool rejected;                  /* it was rolled back; false: it is being tried */
    char reason[FLEET_REASON_MAX];  /* of that */
    struct deployment_spec *served; /* what serves; borrowed. NULL = what is declared does */
};
/* False: there are no more. */
bool fleet_verdict(const struct fleet *fleet, size_t index, struct fleet_verdict *verdict);
/* So it was before. What was rejected is not tried again before it is declared anew, or ordered;
 * of what was tried, the one that served goes on if any of it is found. One with another <declared>
 * than what is declared now is passed over. <served> NULL: what was recalled before is over. */
void fleet_recall_verdict(struct fleet *fleet, const struct fleet_verdict *verdict,
                          uint64_t now_us);
/* A launcher's node can be used, or cannot now. A new one cannot, until it is said: so that what
 * runs there from before is adopted first. <node>: index into the nodes last configured. */
void fleet_node(struct fleet *fleet, unsigned node, bool usable, uint64_t now_us);

/* One that runs already (after a restart), for <age_us> (-1 = it is not known): NULL = it is not
 * wanted (its launch is to be stopped). */
struct fleet_replica *fleet_adopt(struct fleet *fleet, const struct launch_name *name,
                                  unsigned node, int64_t age_us, uint64_t now_us);
void fleet_report(struct fleet *fleet, struct fleet_replica *replica,
                  const struct launch_report *report, uint64_t now_us);
/* Calls on it as slots count them, those on an earlier slot of it too. Told each tick of those that
 * are open or draining: one that drains is stopped when 0 is told after its close(). */
void fleet_in_flight(struct fleet *fleet, struct fleet_replica *replica, unsigned in_flight,
                     uint64_t now_us);
/* A probe's answer; the desk asks as due: every probe.interval until ready, then every liveness. */
void fleet_probed(struct fleet *fleet, struct fleet_replica *replica, bool good, uint64_t now_us);

/* What is asked of it; told each tick, and at once when calls begin to wait. */
struct fleet_demand {
    unsigned in_flight, held, jobs; /* jobs: that wait to run */
    uint64_t oldest_held_us;        /* when the longest waiting came; 0 = none */
};
void fleet_demand(struct fleet *fleet, struct text name, const struct fleet_demand *demand,
                  uint64_t now_us);
/* What a revision's calls came to since the last telling. */
void fleet_record(struct fleet *fleet, struct text name, unsigned revision, const struct trial *its,
                  uint64_t now_us);

/* Decide; call at least when fleet_due_us() says, and after facts were told. */
void fleet_tick(struct fleet *fleet, uint64_t now_us);
uint64_t fleet_due_us(const struct fleet *fleet);

enum fleet_order {
    FLEET_START,
    FLEET_STOP,
    FLEET_RESTART,
    FLEET_SCALE, /* <low>, <high>: the new bounds until the spec changes them */
    FLEET_PIN,
    FLEET_UNPIN,
    FLEET_SLEEP,
    FLEET_WAKE,
    FLEET_CANCEL, /* what is starting */
    FLEET_PROMOTE,
    FLEET_PAUSE,
    FLEET_RESUME,
    FLEET_ROLLBACK,
    FLEET_RETRY, /* what is declared was declared anew: if it was rolled back, it is tried again */
};
/* False: there is none of that name, or it makes no sense now (*why, for people). */
bool fleet_obey(struct fleet *fleet, struct text name, enum fleet_order order, unsigned low,
                unsigned high, uint64_t now_us, const char **why);
/* Stop everything (on_exit: stop); fleet_is_quiet() when all is gone. */
void fleet_shut(struct fleet *fleet, uint64_t now_us);
bool fleet_is_quiet(const struct fleet *fleet);

/* ------------------------------------------------------------------------------- looking */

struct fleet_view {
    struct deployment_spec *spec;
    enum deployment_state state;
    char reason[FLEET_REASON_MAX];
    char words[FLEET_WORDS_MAX];
    uint64_t since_us, retry_at_us;
    unsigned revision, stable, wanted, ready, restarts, min, max;
    int progress_permille; /* of what starts, -1 = not known */
    int64_t eta_us;        /* until it is ready, as earlier starts took; -1 = not known */
    int64_t spent_nanos, saved_nanos; /* by what ran; by what would have run at max(min, 1) */
    int64_t nanos_per_hour;           /* of what runs now */
    unsigned canary_permille;
    struct {
        unsigned stable, canary, permille;
    } share;                             /* of the calls, as it was told: see slots_share() */
    uint64_t stable_digest, next_digest; /* next 0 = there is no rollout */
    char rejected_for[FLEET_REASON_MAX]; /* why what is declared was rolled back; empty = not */
    uint64_t verdict;                    /* differs when fleet_verdict() does; 0 = there is none */
    bool stopped;
};
size_t fleet_count(const struct fleet *fleet);
bool fleet_look(const struct fleet *fleet, struct text name, struct fleet_view *view,
                uint64_t now_us);
bool fleet_look_at(const struct fleet *fleet, size_t index, struct fleet_view *view,
                   uint64_t now_us);
/* Replicas of a deployment, newest first, at most <max>. */
size_t fleet_replicas(const struct fleet *fleet, struct text name,
                      const struct fleet_replica **into, size_t max);
struct fleet_place {
    const struct node_spec *node;
    bool usable;
    struct resources reserved;
    unsigned replicas;
};
size_t fleet_places(const struct fleet *fleet, struct fleet_place *into, size_t max);
/* Where would a replica of <spec> go, and who would have to go for it? Written into <words>. */
bool fleet_would_fit(const struct fleet *fleet, const struct deployment_spec *spec, uint64_t now_us,
                     char *words, size_t size);
