/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * meter - the counters of this process: the inside of `struct limits`. Here, and only here, are the
 * locks that a call may meet: one per shard; all counters of a root tenant are in one shard, so a
 * reservation takes one lock once, for well under a microsecond.
 *
 * Embedded, a counter's amount is all there is. With a shared store (store_redis.h) the store
 * counts for all nodes; it *grants* this node slices ahead, and the meter admits from what was
 * granted.
 *
 * Every counter is a ring of slots. A rolling window has METER_SLOTS + 1 of them, each a
 * METER_SLOTS-th of the window long, and slot numbers are time / slot length: what is counted in a
 * slot counts until the slot is more than a window ago, so the oldest counts whole and no stretch
 * as long as the window ever sees more than the amount. A calendar span is one slot whose number is
 * its begin; `concurrent` is one slot with number 0; a token bucket is one slot with a level.
 *
 * What this node has claimed of the store's counter, per slot, is what it asserts anew after the
 * store has forgotten (docs/LIMITS.md): claimed >= used while the slot is the current one,
 * claimed -> used afterwards.
 */

#include "policy/limits.h"

enum { METER_SLOTS = 64, METER_SHARDS = 64 };

struct meter;

/* The store's clock: microseconds since 1970, the same on all nodes when the store is shared. Moves
 * with the monotonic clock, so that setting the wall clock opens no window. */
int64_t meter_now_us(const struct meter *meter);
/* The shared store said it is <store_us>, as of <mono_us>. Never turns the clock back by more than
 * 10 ms at once unless <force> (a new store). */
void meter_set_clock(struct meter *meter, int64_t store_us, uint64_t mono_us, bool force);

struct meter *meter_new(bool shared);
void meter_free(struct meter *meter);

enum meter_result {
    METER_TAKEN,
    METER_FULL,  /* refused: reservation->refused, retry_after_us */
    METER_SHORT, /* shared: what was granted does not cover it; ask the store for meter_lack */
    METER_AWAY,  /* meter_take_away() only: a limit says `closed` */
};

/* Hold all uses of <r> or none. */
enum meter_result meter_take(struct meter *meter, struct reservation *r);
/* Shared, and the store is away: by each limit's `away`; AWAY_LOCAL admits while what this node has
 * used within the window stays within amount / max(1, replicas). */
enum meter_result meter_take_away(struct meter *meter, struct reservation *r, unsigned replicas);
bool meter_extend(struct meter *meter, struct reservation *r, enum limit_kind kind, int64_t more);
void meter_settle(struct meter *meter, struct reservation *r, const struct used *used);
void meter_view(struct meter *meter, const struct reservation *r, size_t use,
                struct limit_view *view);
void meter_rebuild(struct meter *meter, struct text root, const struct use *uses, size_t count,
                   int64_t at_us);

/* ------------------------------------------------------------- for the shared store only */

/* What to ask of the store for use <i> of a reservation: <lack> is what it needs at least beyond
 * what is granted and free (0: nothing), <more> how much ahead would be of use, going by the demand
 * of late. */
struct meter_lack {
    int64_t slot; /* of the store's clock now; begin of a calendar span */
    int64_t lack, more;
    int64_t spend_by_us; /* store time: what is granted in this slot may be used until then */
};
void meter_lacks(struct meter *meter, const struct reservation *r, struct meter_lack *lacks);

/*
 * The store's answer to that question: <granted> per use, counted there in <slot> as this node's.
 * When <take>, the reservation is taken from it in the same breath, ahead of everybody else (so a
 * grant is not eaten by others before the one who asked). The rest is free for all until the slot
 * ends. <left> is what the store had left for others, for limits_view().
 */
struct meter_grant {
    int64_t slot, granted, left;
};
enum meter_result meter_grant(struct meter *meter, struct reservation *r,
                              const struct meter_grant *grants, bool take);

/* What has changed since the store was last told: counters whose claim is not what it should be
 * any more (slots that ended with something unused, settled calls that used less or more, slices
 * that nobody wanted for a second). At most <max>, of one root. Each is marked as on its way;
 * meter_told() says that the store has them, meter_untold() that nobody knows. */
struct meter_change {
    struct text root, counter; /* valid until the counter is forgotten: copy at once */
    enum limit_kind kind;
    enum limit_period period;
    int64_t slot;
    int64_t delta;   /* claimed, from -> to */
    int64_t claimed; /* what it is after that: for asserting */
    int64_t keep_us; /* how long the store must keep the slot, from now */
};
size_t meter_changes(struct meter *meter, struct meter_change *changes, size_t max);
void meter_told(struct meter *meter, const struct meter_change *changes, size_t count);
void meter_untold(struct meter *meter, const struct meter_change *changes, size_t count);

/* All live claims of <root>, for asserting them to a store that has forgotten or may have. Calls
 * <see> with the shard's lock held: it must only copy. */
void meter_claims(struct meter *meter, struct text root,
                  void (*see)(void *with, const struct meter_change *claim), void *with);
/* Roots that have live claims. Copies of their names are given to <see>. */
void meter_roots(struct meter *meter, void (*see)(void *with, struct text root), void *with);

/* Forget counters in which nothing is held and nothing counts any more. Called once a second. */
void meter_tidy(struct meter *meter);

void meter_list(struct meter *meter, struct text root, struct text after, size_t max,
                void (*see)(void *with, const struct counter_view *view), void *with);
struct meter_figures {
    uint64_t counters, live;
};
struct meter_figures meter_figures(struct meter *meter);
