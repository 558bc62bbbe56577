/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * meter_inside - what the files of the meter share; nobody else includes it.
 *
 * A shard owns its roots and its counters; a counter is forgotten only while no reservation pins
 * it. All of it is touched with the shard's lock held, except where it says otherwise.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/base/table.h"
#include "policy/meter.h"

/* Of one call: above it nothing fits. $100 million, so that no sum of calls that run overflows. */
#define METER_WANT_MAX INT64_C(100000000000000000)

struct slot {
    int64_t number;
    int64_t used; /* settled, and held by calls that run */
    /* shared: what the store counts as this node's, as it should be, as it was told, and what is
       on its way: claimed == told + sent when nothing is left to tell */
    int64_t claimed, told, sent;
};

/* The pace of a token bucket. */
struct pace {
    int64_t level; /* below 0 after a call larger than the burst */
    int64_t part;  /* what has flown in of the next one, in window_us-ths */
    int64_t at_us;
};

/* Shared: how much of it is asked for by calls, and what the store said was left. */
struct demand {
    int64_t second, now, before; /* held in this second, and in the one before it */
    int64_t left;
    int64_t heard_us;        /* when it was said last */
    int64_t give;            /* parallel calls: so many that end go back to the store, for others */
    int64_t day_us;          /* calendar: the time of day to the clock, when it was turned last */
    bool known;              /* that it was ever said */
    int64_t ahead, ahead_us; /* claimed for a stream that asked, and when */
    int64_t alive_us; /* parallel calls: when the store was last told that they are claimed */
};

struct root;

struct counter {
    struct counter *next; /* in its chain */
    struct root *root;
    struct link sibling; /* in its root */
    struct link watched; /* the same; shared: its claims may have to change */
    uint64_t hash;

    /* of the limit, as it was last used */
    const struct zone *zone;
    int64_t amount, window_us;
    uint16_t warn_at[LIMIT_WARNINGS];
    uint8_t kind, period, algorithm, away, exceeded;
    bool strict;
    uint16_t model_at, model_len; /* inside the id */

    int64_t slot_us; /* rolling: how long a slot is */
    int64_t current; /* number of the current slot; never goes back but with a new store's clock */
    int64_t ends_us; /* calendar: of the current span; 0 = not known yet */
    int64_t sum;     /* used, in all slots that count now */
    int64_t held;    /* by calls that run */
    int64_t pending; /* by the reservation that is just being looked at: its number is <ticket> */
    uint64_t ticket;
    int64_t shift_us; /* how far its slots have been moved by clocks of new stores */
    int64_t touched_us;
    unsigned pins; /* reservations that hold it */
    unsigned turn; /* slots of an earlier turn have other numbers */
    unsigned passed;
    unsigned said, sure;  /* shared: the last rounds in which its claims were given to be asserted,
                             and in which the store had them */
    unsigned theirs_turn; /* when <theirs> was taken over */
    int64_t theirs;       /* of <held>: by calls of the process before this one */

    uint16_t count, capacity; /* of slots, the oldest first */
    uint16_t id_len;
    struct slot one; /* where <slots> begins: most have no more */
    struct slot *slots;
    struct pace *pace;
    struct demand *demand;
    char id[];
};

struct root {
    struct link counters;
    struct link unsaid;  /* those that have still to be asserted in this round */
    struct link watched; /* those whose claims may have to change */
    struct shard *shard;
    uint64_t hash;
    unsigned count;  /* of its counters */
    unsigned round;  /* of the last assertion that was begun; 0 = none was */
    unsigned passed; /* by meter_changes() */
    bool doubtful;   /* the store was told something, and nobody knows whether it heard */
    bool asserting;  /* some of it has still to be told in this round */
    uint16_t name_len;
    char name[];
};

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct table roots;
    struct counter **chains;
    size_t chain_count; /* a power of two */
    size_t counters;
    size_t swept; /* chains that meter_tidy() has seen in this round */
    uint64_t tickets;
    uint64_t live;
};

struct meter {
    bool shared;
    _Atomic int64_t offset_us; /* of the store's clock to the monotonic one */
    _Atomic int64_t shift_us;  /* sum of all leaps of that, made with all locks held */
    _Atomic int64_t day_us; /* the time of day to the store's clock: 0, or a clock was set back */
    _Atomic int64_t frozen_us; /* 0: the clock runs */
    _Atomic int64_t counters;
    pthread_mutex_t pass_lock; /* of meter_changes() */
    unsigned pass;
    size_t pass_shard;
    struct shard shards[METER_SHARDS];
};

/* For tests: the time stands at <now_us>; 0 lets it run again. */
void meter_freeze(struct meter *meter, int64_t now_us);

/* ------------------------------------------------------------------------ meter_slots.c */

/* Let time pass for a counter: what no longer counts leaves, <current> is set. */
void counter_turn(struct counter *counter, const struct meter *meter, int64_t now_us);
/* The slot of that number, or NULL. */
struct slot *counter_find(const struct counter *counter, int64_t number);
/* The same, made if need be; NULL when it is too old to count. */
struct slot *counter_open(struct counter *counter, int64_t number);
/* Does what is counted in that slot count now? */
bool counter_counts(const struct counter *counter, int64_t number);
/* The end of what a slot may be used for, and of what it counts for; INT64_MAX = never. */
int64_t counter_slot_end(const struct counter *counter, int64_t number);
int64_t counter_slot_gone(const struct counter *counter, int64_t number);
/* <now_us> by the clock that ends of slots are told by. */
int64_t counter_clock(const struct counter *counter, int64_t now_us);
/* Count <more> (less than 0: take back) in a slot. */
void counter_add(struct counter *counter, struct slot *slot, int64_t more);
/* When <need> fits below <amount>, from now. */
int64_t counter_wait(const struct counter *counter, int64_t amount, int64_t need, int64_t now_us);
/* Until all of it is there again, from now. */
int64_t counter_reset(const struct counter *counter, int64_t now_us);
void counter_slots_done(struct counter *counter);

/* The pace of a token bucket: may <want> be taken now, how long until then, take it. */
bool pace_allows(const struct counter *counter, int64_t want);
int64_t pace_wait(const struct counter *counter, int64_t want);
void pace_take(struct counter *counter, int64_t want);

int64_t add_capped(int64_t a, int64_t b);

/* --------------------------------------------------------------------- meter_counters.c */

/* A root's name and its hash, which also says in which shard it is. */
struct place {
    struct text root;
    uint64_t hash;
    struct shard *shard;
};
/* Lock the shard of a root; shard_unlock() afterwards. */
struct place place_lock(struct meter *meter, struct text root);
void shard_lock(struct shard *shard);
void shard_unlock(struct shard *shard);

/* Found or made. */
struct root *root_get(const struct place *place);
struct counter *counter_lookup(const struct place *place, struct text id);
/* Find it or make it, with the terms of the use's limit, and let time pass for it. NULL when there
 * are too many or a name is too long. */
struct counter *counter_get(struct meter *meter, const struct place *place, const struct use *use,
                            int64_t now_us);
struct text counter_id(const struct counter *counter);
struct text root_name(const struct root *root);

/* ------------------------------------------------------------------------ meter_claims.c */

/* Shared: what is granted in the slot and not used. */
int64_t counter_free(const struct counter *counter, int64_t number);
/* Shared: of what the store was told of it there is something left, whatever is on its way. */
bool slot_is_had(const struct slot *slot);
/* Shared: something about its claims may have to be told. */
void counter_watch(struct counter *counter, struct slot *slot);
/* Shared: give back what is free of parallel calls, if that is due; true when something is. */
bool counter_give(struct counter *counter, struct slot *slot);
/* Shared: little is left of a short window, so what this node has and does not use is missed by
 * others until it is told. */
bool counter_is_scarce(const struct counter *counter, int64_t now_us);
/* How much of it was held in the last second or so. */
void demand_count(struct counter *counter, int64_t held, int64_t now_us);
int64_t demand_rate(const struct counter *counter, int64_t now_us);
/* How much of a free slice is worth keeping for the calls to come. */
/* What is free now is for a stream that has asked. */
void demand_expect(struct counter *counter, int64_t now_us);
int64_t demand_keep(const struct counter *counter, int64_t now_us);

/* ------------------------------------------------------------------------------ meter.c */

enum take_mode {
    TAKE_OWN,     /* embedded: what is left of the amount */
    TAKE_GRANTED, /* shared: what is granted and not used */
    TAKE_AWAY,    /* shared, without the store */
    TAKE_TOLD,    /* embedded: another process has said that it may */
};

struct taking {
    struct meter *meter;
    struct place place;
    struct reservation *r;
    enum take_mode mode;
    unsigned replicas;
    int64_t now_us;
    int64_t money;       /* what all uses of money hold */
    int64_t money_least; /* and must hold at least */
};

/* Find the counters of all uses, in their slots of now; false: refused. */
bool take_gather(struct taking *taking);
/* Look at all of them, and hold all or nothing. */
enum meter_result take_all(struct taking *taking);

/* ----------------------------------------------------------------- meter_succession.c */

/* A counter on its way to another process; all of it is borrowed. */
struct counter_state {
    struct text root, id;
    struct limit limit;
    int64_t held;
    const struct slot *slots;
    size_t slot_count;
    bool has_pace;
    struct pace pace;
};
/* Each counter of an embedded meter, its shard locked: <see> must only copy. */
void meter_each_state(struct meter *meter,
                      void (*see)(void *with, const struct counter_state *state), void *with);
/* What the clock is ahead of the monotonic one, and to go by that of the process before. */
int64_t meter_clock(const struct meter *meter);
void meter_take_clock(struct meter *meter, int64_t offset_us);
/* Count what it says; what is held is held for the process before this one. False: there are too
 * many counters. */
bool meter_take_state(struct meter *meter, const struct counter_state *state);

/* <r> is live: it is from now on a call of the process before this one that holds what it does. */
void meter_detach(struct meter *meter, struct reservation *r);
/* And back: <r> is not live, but its uses say where and how much it holds (counter, slot, fixed,
 * held); same_turn[i]: in slots that were not numbered anew. It may be extended and settled then.
 */
void meter_attach(struct meter *meter, struct reservation *r, const bool *same_turn);
/* Are the slots that each use holds numbered as those of its counter are now? */
void meter_turns(struct meter *meter, const struct reservation *r, bool *same_turn);
/* That process is dead: what it held is used, and its parallel calls are over. */
void meter_bury(struct meter *meter);

/* Hold what the uses of <r> say in <held>, whatever there is left. */
void meter_hold(struct meter *meter, struct reservation *r);
/* meter_extend() whatever there is left. */
void meter_extend_told(struct meter *meter, struct reservation *r, enum limit_kind kind,
                       int64_t more);
