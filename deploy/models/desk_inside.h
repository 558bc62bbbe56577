/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * desk_inside - the insides of the desk (deployment.h): deployment.c (the door, the round),
 * desk_seat.c (nodes and their launchers, what they say), desk_replica.c (what the fleet wishes of
 * a replica, its probe, its slot, its adapters), desk_page.c (what others read); and of a cluster:
 * desk_share.c (what is told and heard, who leads), desk_guest.c (replicas that others have
 * started).
 *
 * The lock is held whenever the fleet, a record or a replica is touched: by the desk's thread while
 * it works, by others while they read. What the fleet wishes is done under it. Only the site's
 * on_event() is called without: what happened is queued until the lock is free.
 */

#include <pthread.h>

#include "deploy/models/deployment.h"
#include "deploy/models/desk_story.h"
#include "deploy/models/probe.h"
#include "deploy/models/share_line.h"
#include "deploy/models/trial.h"
#include "gateway/base/table.h"

enum { PAST_SLOTS = 3, DESK_PEERS_MAX = 64, DESK_GUESTS_MAX = 512, DESK_NODE_MAX = 63 };

/* A node that is configured, or was and has launches left. */
struct desk_seat {
    struct link link;
    struct deployments *desk;
    struct node_spec node; /* texts owned */
    const struct launcher_kind *kind;
    struct launcher *launcher; /* NULL = cannot be used */
    unsigned index;            /* among those in force */
    bool is_gone;              /* not in force any more: closed with its last launch */
    bool is_usable;
    bool has_looked; /* since it was opened: what was there before us is known, or cannot be */
    size_t launches;
    size_t unwanted; /* found, and being ended; nobody's launches */
    struct link all; /* of these */
};

/* One deployment's name, for as long as anybody may ask for it. */
struct desk_record {
    struct deployments *desk;
    char name[SPEC_NAME_MAX + 1];
    struct slots *slots;
    struct errand bell; /* somebody began to wait */
    struct story story;
    char served[PROBE_NAME_MAX]; /* what the last one that was well calls its model */
    bool is_wanted;              /* configured, or something of it runs yet */
    uint64_t left_us; /* when it ceased to be wanted: its story is kept for a day; 0 = forgotten */
    bool was_busy;

    /* with others: */
    bool has_lead;
    struct share_line lead; /* how it stands, by the leader; without texts */
    char lead_reason[FLEET_REASON_MAX];
    uint64_t
        held_since; /* the number of our record that told that somebody waits; 0 = nobody does */
    uint64_t knocks, knocked_us;
    struct trial told[2]; /* of the leader's stable and newest revision, since we began */
    unsigned told_of[2];
    struct fleet_demand others;   /* what is asked of it on other nodes */
    unsigned guests, guests_used; /* that count as its own; as last told to the fleet */
};

/* What another node says of one deployment. */
struct peer_share {
    struct desk_record *record;
    struct fleet_demand demand;
    uint64_t knocks;
};

/* And of calls on one replica of ours, or of a revision since it began. */
struct peer_calls {
    uint64_t number; /* of the replica */
    unsigned in_flight;
};
struct peer_figures {
    struct desk_record *record;
    unsigned revision;
    struct trial sum;
};

/* Another node. */
struct desk_peer {
    struct link link;
    char node[DESK_NODE_MAX + 1], machine[DESK_NODE_MAX + 1];
    uint64_t heard_us;
    bool is_leaving;        /* it ends, and takes nothing over */
    int64_t token;          /* with which it leads; 0 = it does not */
    uint64_t number, acked; /* of its last record; and the last one of ours that it has read */
    struct peer_share *shares;
    size_t share_count;
    struct peer_calls *calls;
    size_t call_count;
    struct peer_figures *figures;
    size_t figure_count;
};

/* A replica that another node has started, as it says. */
struct desk_guest {
    struct link link;
    struct deployments *desk;
    struct desk_record *record;
    char node[DESK_NODE_MAX + 1];
    struct share_line said; /* without texts */
    char adapters[SPEC_ADAPTERS_MAX][64];
    size_t adapter_count;
    struct launch_address address;
    struct deployment_spec *spec;
    struct probe *probe;
    char served[PROBE_NAME_MAX];
    unsigned bad;         /* probes in a row */
    bool is_good;         /* the last one */
    bool is_orphan;       /* its node is silent */
    bool is_out_of_reach; /* its address is one of another machine alone */
    bool is_told;         /* is in the record that is being read */
    unsigned opened_as;   /* revision */
    struct slot slot, past[PAST_SLOTS];
    uint64_t since_us;
    struct grave grave;
};

/* What a launcher has at work, until it has ended and is forgotten. */
struct desk_launch {
    struct link link;
    struct desk_seat *seat;
    struct launch *launch;
    struct desk_record *record;
    struct desk_replica *replica; /* NULL = nobody's any more: it is only ended */
    struct deployment_spec *spec;
    char word[STORY_REPLICA_MAX];
    bool has_ended;
};

/* A replica of the fleet, from its launch to its end; fleet_replica.launch points here. */
struct desk_replica {
    struct link link;
    struct deployments *desk;
    struct desk_record *record;
    struct fleet_replica *fleet;
    struct desk_launch *launch; /* NULL = it could not even be asked for */
    struct launch_address address;
    bool has_address;
    struct slot slot, past[PAST_SLOTS]; /* generation 0 = none */
    struct probe *probe;
    char served[PROBE_NAME_MAX]; /* what it calls its model; empty before it was well */
    struct adapters *adapters;
    enum replica_state paced_for;
    int64_t memory_bytes;
    uint64_t noted; /* adapters whose failure was noted: a bit for each */
    unsigned in_flight;
    uint64_t closed_in; /* the number of our first record that tells that it takes no calls */
    struct grave grave;
};

struct desk_happening {
    struct desk_happening *next;
    struct desk_record *record;
    char replica[SPEC_NAME_MAX + STORY_REPLICA_MAX + 2];
    char reason[FLEET_REASON_MAX], words[FLEET_WORDS_MAX];
};

struct deployments {
    struct deployments_site site;
    char *state_dir, *owner;
    pthread_mutex_t lock;
    struct fleet *fleet;
    struct link seats, replicas;
    struct desk_seat **in_force; /* by the fleet's numbers */
    size_t in_force_count;
    struct table records; /* by name */
    struct desk_happening *happenings, **happenings_end;
    struct timer round_timer, end_timer;
    uint64_t recorded_us, tidied_us;
    bool was_configured, is_ending, was_killed;
    bool is_handed_over; /* another process looks after what runs */
    bool leaves;         /* what runs goes on when this one ends */
    bool awaits_heir;    /* it ends, and has not let go of what engines run yet */
    uint64_t look_by_us, kill_at_us, end_by_us;
    void (*on_done)(void *);
    void *on_done_with;

    enum deployments_role role;
    const char *why;
    char leader[DESK_NODE_MAX + 1], machine[DESK_NODE_MAX + 1];
    char *cluster;        /* whose the replicas of engines are; NULL = not known yet */
    int64_t token;        /* of who leads, as far as we know */
    int64_t office_token; /* with which we have led last */
    uint64_t told;        /* number of our last record, */
    uint64_t told_end;    /* and of the first that tells that we end; 0 = there was none yet */
    bool heard_since;     /* what others tell was heard after that */
    struct link peers, guests;
    size_t guest_count;
    bool abandons; /* what is forgotten now goes on */
};

static inline uint64_t desk_now(const struct deployments *desk)
{
    return loop_now_us(desk->site.loop);
}

void desk_lock(struct deployments *desk);
/* And tell what has happened meanwhile. */
void desk_unlock(struct deployments *desk);
/* Under the lock: let the fleet decide, and see to what it decided; then wait for what is due. */
void desk_round(struct deployments *desk);
/* Under the lock: who ends may have an heir by now, or none any more. */
void desk_see_heirs(struct deployments *desk);
/* Under the lock. <replica> may be empty. */
void desk_note(struct desk_record *record, const char *replica, const char *reason,
               const char *words);
struct desk_record *desk_record_of(struct deployments *desk, struct text name);
struct desk_record *desk_record_find(const struct deployments *desk, struct text name);

/* desk_seat.c */
/* Put these nodes in force; those that are new are opened by seats_open(), behind the fleet's own
 * configuration. */
void seats_configure(struct deployments *desk, const struct node_spec *nodes, size_t count);
void seats_open(struct deployments *desk);
/* Another leads, or is to: engines are its own, whatever runs there. */
void seats_yield(struct deployments *desk);
/* What runs goes on when this ends, or not. */
void seats_leave(struct deployments *desk, bool leave);
/* Is anything still to be found there? */
bool seats_are_looking(const struct deployments *desk);
/* Close those that are gone and have nothing left; not from within what a launcher tells. */
void seats_tidy(struct deployments *desk);
bool seats_are_empty(const struct deployments *desk);
void seats_close(struct deployments *desk);
/* NULL = it cannot be used. */
struct desk_launch *seat_start(struct desk_seat *seat, struct desk_replica *replica);
void seat_stop(struct desk_launch *launch, int64_t grace_us);
/* Of one that has ended: it is gone after this. Of another: it is ended first. */
void seat_forget(struct desk_launch *launch);
/* Whatever runs: its launcher is closed next. */
void seat_abandon(struct desk_launch *launch);
/* desk_replica.c */
extern const struct fleet_hands desk_hands; /* without its <with> */
struct desk_replica *replica_take(struct deployments *desk, struct fleet_replica *of);
/* What its launcher says; <replica> may be gone after it. */
void desk_replica_report(struct desk_replica *replica, const struct launch_report *report);
/* What still runs is killed. */
void desk_replicas_kill(struct deployments *desk);
/* Forget all of them, whatever runs. */
void desk_replicas_free(struct deployments *desk);
/* See to each: those that could not be launched, how often they are probed, calls on them. */
/* Who waits for an adapter that none of the replicas that take calls could load is told so. */
void desk_adapters_fail(const struct desk_record *record);
void desk_replicas_settle(struct deployments *desk);
/* The specs in force may have other adapters. */
void desk_replicas_respec(struct deployments *desk);
void desk_replica_word(const struct fleet_replica *of, char into[STORY_REPLICA_MAX]);
/* Calls on it, those on slots that it had before too. */
unsigned desk_calls_on(struct slots *slots, const struct slot *slot,
                       const struct slot past[PAST_SLOTS]);
/* No more calls; its slot becomes one of the past. */
void desk_close_slot(struct slots *slots, struct slot *slot, struct slot past[PAST_SLOTS]);

/* desk_verdict.c; under the lock */
void desk_recall_verdicts(struct deployments *desk, struct text lines);

/* desk_share.c */
void share_begin(struct deployments *desk);
void share_end(struct deployments *desk);
/* What is asked of it elsewhere, added. */
void share_add_demand(const struct desk_record *record, struct fleet_demand *demand);
/* Calls of other nodes on a replica of ours; one more while there is somebody who may not have
 * heard yet that it takes no calls. */
unsigned share_calls(const struct deployments *desk, uint64_t number, uint64_t closed_in);
/* Who waits here for what the leader says will not come is told. */
void share_see_waiting(struct desk_record *record, unsigned held);
/* In front of what is known here: how it stands by the leader. */
void share_view(const struct desk_record *record, struct fleet_view *view);
/* A launcher has found one here: it is no guest any more. */
void share_found(struct deployments *desk, const struct launch_name *name);
/* Somebody may go on with what we leave: a peer that is not ending itself. */
bool share_has_heirs(const struct deployments *desk);
/* The same, once they have had the time to answer: who has not told that it knows of our end may
 * have died just before. */
bool share_has_late_heirs(const struct deployments *desk);
/* Somebody does: a peer leads with a later token than ours. */
bool share_has_heir_in_office(const struct deployments *desk);
/* desk_guest.c */
/* <line> is a SHARE_REPLICA of <node>; NULL = there are too many, or it is of nobody that is known
 * here. */
struct desk_guest *guest_hear(struct deployments *desk, const struct desk_peer *peer,
                              const struct share_line *line);
void guest_drop(struct desk_guest *guest);
/* What was heard, seen or configured may change whether it is used. */
void guest_settle(struct desk_guest *guest);
/* One by number; NULL = there is none. */
struct desk_guest *guest_find(const struct deployments *desk, uint64_t number);
/* Does it count as one of its deployment's present revision? */
bool guest_counts(const struct desk_guest *guest, uint64_t stable_digest);
void guest_word(const struct desk_guest *guest, char into[STORY_REPLICA_MAX]);
/* Tell the fleet of all. */
void guests_tell(struct deployments *desk);
/* The specs in force may be others. */
void guests_respec(struct deployments *desk);
