/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * desk_inside - the insides of the desk (deployment.h): deployment.c (the door, the round),
 * desk_seat.c (nodes and their launchers, what they say), desk_replica.c (what the fleet wishes of
 * a replica, its probe, its slot, its adapters), desk_page.c (what others read).
 *
 * The lock is held whenever the fleet, a record or a replica is touched: by the desk's thread while
 * it works, by others while they read. What the fleet wishes is done under it. Only the site's
 * on_event() is called without: what happened is queued until the lock is free.
 */

#include <pthread.h>

#include "deploy/models/deployment.h"
#include "deploy/models/desk_story.h"
#include "deploy/models/probe.h"
#include "gateway/base/table.h"

enum { PAST_SLOTS = 3 };

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
    size_t launches;
};

/* One deployment's name, for as long as anybody may ask for it. */
struct desk_record {
    struct deployments *desk;
    char name[SPEC_NAME_MAX + 1];
    struct slots *slots;
    struct errand bell; /* somebody began to wait */
    struct story story;
    char served[PROBE_NAME_MAX];
    bool is_wanted;   /* configured, or something of it runs yet */
    uint64_t left_us; /* when it ceased to be wanted: its story is kept for a day; 0 = forgotten */
    bool was_busy;
};

/* What a launcher has at work, until it has ended and is forgotten. */
struct desk_launch {
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
    struct adapters *adapters;
    enum replica_state paced_for;
    int64_t memory_bytes;
    uint64_t noted; /* adapters whose failure was noted: a bit for each */
    unsigned in_flight;
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
    uint64_t end_by_us;
    void (*on_done)(void *);
    void *on_done_with;
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
void desk_replicas_settle(struct deployments *desk);
/* The specs in force may have other adapters. */
void desk_replicas_respec(struct deployments *desk);
void desk_replica_word(const struct fleet_replica *of, char into[STORY_REPLICA_MAX]);
