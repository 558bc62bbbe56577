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
 * METER_SLOTS-th of the window long (rounded up to a microsecond), and slot numbers are time / slot
 * length: what is counted in a slot counts until the slot is more than a window ago, so the oldest
 * counts whole and no stretch as long as the window ever sees more than the amount. A calendar span
 * is one slot whose number is its begin; `concurrent` and totals are one slot with number 0. Slots
 * in which nothing was counted take no room.
 *
 * A *token bucket* is a rolling window that has a pace as well: a level of at most a twentieth of
 * the amount (the burst), into which the amount flows per window. A call is let in while the level
 * covers it; one that wants more than the burst, when the bucket is full, and then the level goes
 * below nothing. The window sees to it that burst and refill together stay within the amount in any
 * stretch, whatever the sizes of calls; the pace only spreads them. The pace is each node's own:
 * the store counts a bucket like any window. Amounts below 20 have no pace.
 *
 * Refused calls count nothing anywhere. Settling less than was held takes it out of the slot it was
 * held in, if that still counts; more than was held is debt in the current slot. Of a calendar span
 * both go to the span it was held in, even when that has ended.
 *
 * What this node has claimed of the store's counter, per slot, is what it asserts anew after the
 * store has forgotten (docs/LIMITS.md): claimed >= used while the slot is the current one,
 * claimed -> used afterwards.
 */

#include "policy/limits.h"

enum {
    METER_SLOTS = 64,
    METER_SHARDS = 64,
    METER_COUNTERS_MAX = 1000000, /* above it calls that need a new one are refused for a second */
    METER_ROOT_MAX = 250000,      /* the same of one root: nobody shall take all of them */
    METER_ID_MAX = 1024,          /* bytes of a counter's id, and of a root's name */
    METER_ALIVE_US = 5000000,
};

struct meter;

/* The store's clock: microseconds since 1970, the same on all nodes when the store is shared. Moves
 * with the monotonic clock, so that setting the wall clock opens no window. */
int64_t meter_now_us(const struct meter *meter);
/* The shared store said it is <store_us>, as of <mono_us>. Never turns the clock back by more than
 * 10 ms at once unless <force> (a new store: what was counted keeps its age, and must be asserted
 * afterwards). */
void meter_set_clock(struct meter *meter, int64_t store_us, uint64_t mono_us, bool force);
/* Where the calendar is: the time of day of the store's server is <day_us>, as of <mono_us>. It
 * differs from the store's clock where that may not go back and the server's did. */
void meter_set_calendar(struct meter *meter, int64_t day_us, uint64_t mono_us);

struct meter *meter_new(bool shared);
void meter_free(struct meter *meter);

enum meter_result {
    METER_TAKEN,
    METER_FULL,  /* refused: reservation->refused, retry_after_us */
    METER_SHORT, /* shared: what was granted does not cover it; ask the store for meter_lack. (Here
                    METER_FULL means: more than the amount, ahead of a bucket's pace, or too many
                    counters; no store could help) */
    METER_AWAY,  /* meter_take_away() only: a limit says `closed` */
};

/* Hold all uses of <r> or none. */
enum meter_result meter_take(struct meter *meter, struct reservation *r);
/* Shared, and the store is away: what was granted may be used; beyond that by each limit's `away`.
 * AWAY_LOCAL admits while what this node has used within the window stays within amount / max(1,
 * replicas), which may be 0. Limits that only warn or degrade refuse nothing here either: `closed`
 * means degraded for the latter. */
enum meter_result meter_take_away(struct meter *meter, struct reservation *r, unsigned replicas);
/* limits_extend(); in another slot than the first, only what was held last can still be returned.
 */
bool meter_extend(struct meter *meter, struct reservation *r, enum limit_kind kind, int64_t more);
bool meter_extend_away(struct meter *meter, struct reservation *r, enum limit_kind kind,
                       int64_t more, unsigned replicas);
/* True: something went back that others may be waiting for (parallel calls, and what was held too
 * much of a short window): see meter_root_changes(). */
bool meter_settle(struct meter *meter, struct reservation *r, const struct used *used);
/* limits_settle_each(), limits_hand_over(), limits_rebuild_held() */
bool meter_settle_each(struct meter *meter, struct reservation *r, const struct used *each);
void meter_hand_over(struct meter *meter, struct reservation *from, struct reservation *to);
void meter_rebuild_held(struct meter *meter, struct reservation *r, int64_t at_us);
/* limits_peek(); what other nodes have is not in it. */
void meter_peek(struct meter *meter, const struct reservation *r, struct limit_peek *peeks);
void meter_view(struct meter *meter, const struct reservation *r, size_t use,
                struct limit_view *view);
void meter_views(struct meter *meter, const struct reservation *r, uint64_t which,
                 struct limit_view *views);
/* limits_settled(), limits_are_told() */
int64_t meter_settled(struct meter *meter, struct text root, struct text id);
bool meter_is_told(struct meter *meter, struct text root, struct text counter);
void meter_rebuild(struct meter *meter, struct text root, const struct use *uses, size_t count,
                   int64_t at_us);

/* ------------------------------------------------------------- for the shared store only */

/* What to ask of the store for use <i> of a reservation: <lack> is what it wants beyond what is
 * granted and free (0: nothing); want - least less of it is of use too. <more> is how much ahead
 * would be of use, going by the demand of late. */
struct meter_lack {
    int64_t slot; /* of the store's clock now; begin of a calendar span; else 0 */
    int64_t lack, more;
    int64_t spend_by_us; /* store time: what is granted in this slot may be used until then */
    unsigned sure;       /* the last round in which the store was told what we claim of it */
    bool had;            /* the store has something of ours in it, unless it has forgotten */
};
void meter_lacks(struct meter *meter, const struct reservation *r, struct meter_lack *lacks);

/*
 * The store's answer to that question: <granted> per use, counted there in <slot> as this node's.
 * When <take>, the reservation is taken from it in the same breath, ahead of everybody else (so a
 * grant is not eaten by others before the one who asked). The rest is free for all until the slot
 * ends. <left> is what the store had left for others, for limits_view(); of limits that only warn
 * or degrade, for which the store grants what is lacking in any case, it is below 0 when the amount
 * is exceeded, and that sets the reservation's bits.
 *
 * <r> must not be live: to ask ahead for a stream, or for one that has gone, give a copy.
 * METER_SHORT: somebody else has used what was free when the lack was counted (ask again), or it is
 * not for the call. For a stream it is kept for a moment, whatever others want.
 */
enum meter_for { METER_FOR_NOBODY, METER_FOR_CALL, METER_FOR_STREAM };
struct meter_grant {
    int64_t slot; /* below 0: it was not asked for this one */
    int64_t granted, left;
};
enum meter_result meter_grant(struct meter *meter, struct reservation *r,
                              const struct meter_grant *grants, enum meter_for whom);
/* The store has refused for use <i>, of which it has only <left>. */
void meter_refused(struct meter *meter, const struct reservation *r, size_t i, int64_t left);

/* What has changed since the store was last told: counters whose claim is not what it should be
 * any more (slots that ended with something unused, settled calls that used less or more, slices
 * that nobody wanted for a second). At most <max>, of one root. Each is marked as on its way;
 * meter_told() says that the store has them, meter_untold() that nobody knows. */
struct meter_change {
    struct text root, counter; /* valid until the counter is forgotten: copy at once */
    enum limit_kind kind;
    enum limit_period period;
    int64_t slot;
    int64_t slot_us; /* rolling: how long a slot is; else 0 */
    int64_t end_us;  /* when nothing of the slot may be used any more: for calendar spans their end;
                        INT64_MAX = never */
    int64_t delta;   /* claimed, from -> to; 0 = it is still claimed (see meter_changes) */
    int64_t claimed; /* what it is after that: for asserting */
    int64_t keep_us; /* how long the store must keep the slot, from now; INT64_MAX = for ever */
    unsigned round;  /* in which the root was asserted last */
    bool had; /* asserting: before this the store had something of ours there, without doubt */
};
/* Goes round all roots, one in each call, and returns 0 once behind the last. A root of which a
 * change is untold gives none until it is asserted anew, nor does a counter that has still to be.
 * Claims of parallel calls are among the changes
 * every METER_ALIVE_US even when nothing has changed, so that the store knows that we live. */
size_t meter_changes(struct meter *meter, struct meter_change *changes, size_t max);
/* The same of one root, by its name, at once. */
size_t meter_root_changes(struct meter *meter, struct text name, struct meter_change *changes,
                          size_t max);
void meter_told(struct meter *meter, const struct meter_change *changes, size_t count);
void meter_untold(struct meter *meter, const struct meter_change *changes, size_t count);

/* An answer to a question about <root> will never come: nobody knows what the store has granted.
 * Until it is asserted none of its counters is forgotten. */
void meter_doubt(struct meter *meter, struct text root);

/*
 * To assert a root is to tell the store, which has forgotten or may have, all that is claimed of
 * it: counter by counter, those first that calls wait for.
 *
 *   meter_assert()     begins a round, whose number no earlier one of this root had. What was told
 *                      or asked before it means nothing any more. If it cannot be brought to its
 *                      end, another one must be begun.
 *   meter_begun()      the store knows of the round: changes are given again, of what is sure
 *   meter_claims()     the claims of the next counters that were not given yet in this round:
 *                      <counters> at most, and no more than about <claims>. False: these were the
 *                      last.
 *   meter_claims_of()  the same of the counters of <r>; <see> NULL: what it would be, and nothing
 *                      is given
 *   meter_assure()     the store has those of this counter
 *   meter_trust()      it has all
 *
 * Until meter_trust() no counter is forgotten. Counters that are new in a round have nothing to be
 * told, and are sure from the beginning. Claims of 0 are given too, where the store may know of
 * another. <see> is called with the shard's lock held: it must only copy.
 */
typedef void meter_see(void *with, const struct meter_change *claim);
/* True: something is claimed, so that a store that does not know the root has forgotten it. */
bool meter_assert(struct meter *meter, struct text root, unsigned round);
void meter_begun(struct meter *meter, struct text root);
bool meter_claims(struct meter *meter, struct text root, size_t counters, size_t claims,
                  meter_see *see, void *with);
enum meter_claimed {
    METER_SURE,    /* the store has all of them */
    METER_CLAIMED, /* some were given now */
    METER_SAID,    /* some were given before, and are not sure yet */
};
enum meter_claimed meter_claims_of(struct meter *meter, const struct reservation *r, meter_see *see,
                                   void *with);
void meter_assure(struct meter *meter, struct text root, struct text counter, unsigned round);
void meter_trust(struct meter *meter, struct text root);
/* Roots that have live claims. Copies of their names are given to <see>. */
void meter_roots(struct meter *meter, void (*see)(void *with, struct text root), void *with);

/* Forget counters in which nothing is held and nothing counts any more. Called once a second; goes
 * through all in half a minute. */
void meter_tidy(struct meter *meter);

/* Counters that are to be listed, though nothing was counted in them. */
void meter_know(struct meter *meter, struct text root, const struct use *uses, size_t count);
void meter_list(struct meter *meter, struct text root, struct text after, size_t max,
                void (*see)(void *with, const struct counter_view *view), void *with);
struct meter_figures {
    uint64_t counters, live;
};
struct meter_figures meter_figures(struct meter *meter);
