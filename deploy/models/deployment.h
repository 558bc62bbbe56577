/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * deployment - the desk of all deployments: joins what decides (fleet), what starts (launchers),
 * what asks whether they are well (probe) and where calls find them (slots). The door of
 * deploy/models.
 *
 * One desk per process, on the loop of worker 0; others ask it by message (loop_post) or read what
 * it publishes: slots, and pages written under a lock.
 */

#include "deploy/models/adapters.h"
#include "deploy/models/fleet.h"
#include "deploy/models/slots.h"
#include "deploy/models/spec.h"
#include "gateway/base/buffer.h"

struct deployments;

struct deployments_site {
    struct loop *loop;
    struct upstreams *upstreams;
    const char *state_dir;
    const char *owner;
    struct text verdicts; /* as deployments_verdicts() said it before; until the first
                             deployments_configure() */
    bool leave;           /* on_exit: leave */
    const char *keeper;   /* this program, for log_keeper.h; NULL = none; static */
    /* One of a cluster, in which one starts and stops: nothing is decided before
     * deployments_lead(). */
    bool is_shared;
    /* After each round, under the desk's lock, on its thread: something may be to be told to the
     * others. NULL = there are none. Must not call the desk. */
    void (*on_round)(void *with);
    /* For the log, the admin's events and metrics; on the desk's thread. */
    void (*on_event)(void *with, struct text deployment, const char *replica, const char *reason,
                     const char *words);
    /* Calls that wait as jobs for a deployment; NULL = there are none. Must not call the desk. */
    unsigned (*jobs_waiting)(void *with, struct text deployment);
    void *with;
};

/*
 * With others: each tells what it has, what waits and what runs with it, and hears the others
 * (share_line.h). Replicas of others get slots here as soon as our own probe finds them well; who
 * leads counts the calls of all, and what runs elsewhere as its own. All on the desk's thread.
 */
enum deployments_role {
    ROLE_PAUSED,  /* nobody knows who leads: all that runs goes on, nothing is started or ended */
    ROLE_FOLLOWS, /* another leads */
    ROLE_LEADS,
};
enum { DEPLOYMENTS_RECORD_BYTES = 1 << 20 }; /* what a record may have; the rest is left out */
/* Append a record for the others; *sense differs when something in it is urgent. */
void deployments_tell(struct deployments *deployments, struct buffer *record, uint64_t *sense);
/* <node> has told <record>, <age_us> ago; true: there was something to it. */
bool deployments_hear(struct deployments *deployments, struct text node, struct text record,
                      int64_t age_us);
/* All that was there has been heard: who has not told anything for long is gone. <heard> false: the
 * store is away, and nobody is gone for that. */
void deployments_heard(struct deployments *deployments, bool heard);
/* From now on we decide; engines are told apart by <cluster>, which is the same on all nodes. */
void deployments_lead(struct deployments *deployments, int64_t token, struct text cluster);
/* From now on <node> does, with this token. */
void deployments_yield(struct deployments *deployments, struct text node, int64_t token);
/* <why>: one word, for pages; lives on. */
void deployments_pause(struct deployments *deployments, const char *why);
/* A call was turned away that would have waited: whoever leads is to wake it. */
void deployments_knock(struct deployments *deployments, struct text name);
/* Any thread. */
struct deployments_office {
    bool is_shared;
    enum deployments_role role;
    char leader[64]; /* node; empty = not known */
    const char *why; /* PAUSED */
    unsigned nodes;  /* others that are heard */
    unsigned guests; /* replicas of others that are used from here */
};
void deployments_office(struct deployments *deployments, struct deployments_office *office);

/* First thing in main(): were we started by ourselves to keep the logs of servers (log_keeper.h)?
 * Returns the exit status then, else -1. */
int deployments_main(int argc, char **argv);

struct deployments *deployments_new(const struct deployments_site *site);
/* Put in force; on the desk's thread. */
void deployments_configure(struct deployments *deployments, const struct node_spec *nodes,
                           size_t node_count, struct deployment_spec *const *specs, size_t count);
/* The process ends: stop all, or leave it; <done> comes once, from the loop, at the latest at
 * <by_us> (of the loop's clock; shortly before, what has not ended is killed). Who leads others is
 * to give its office up at once behind this, and goes on telling and hearing: what engines run is
 * left to the one that takes it over, and ended when nobody is there to. */
void deployments_end(struct deployments *deployments, uint64_t by_us, void (*done)(void *),
                     void *with);
/* Another process looks after what runs: nothing is started, ended or moved from now on, and it
 * goes on when this one ends, whatever <leave> says. Or not (<handed> false). Any thread. */
void deployments_hand_over(struct deployments *deployments, bool handed);
/* When the loop runs no more, and before loop_clear(). With leave what runs goes on. */
void deployments_free(struct deployments *deployments);

/* On the desk's thread, and only to look: all else is done by the desk. */
struct fleet *deployments_fleet(struct deployments *deployments);
bool deployments_obey(struct deployments *deployments, struct text name, enum fleet_order order,
                      unsigned low, unsigned high, const char **why);
/* What was ordered before we led; before deployments_lead(). */
void deployments_recall(struct deployments *deployments, struct text name,
                        const struct fleet_orders *orders);

/* What deployments have spent and since when they are there, as lines that
 * deployments_recall_spent() reads, on this node or another; any thread. Empty: none has spent
 * anything or has a max_age. */
void deployments_spent(struct deployments *deployments, struct buffer *lines);
/* On the desk's thread. What cannot be read, and of whom there is none, is passed over. */
void deployments_recall_spent(struct deployments *deployments, struct text lines);

/* What became of declared revisions that do not serve: that they were rolled back, or are being
 * tried; and what serves in their place. A line for each, which begins with its name; any thread.
 */
enum { DEPLOYMENTS_VERDICTS_BYTES = 8 << 20 };
void deployments_verdicts(struct deployments *deployments, struct buffer *lines);
/* Before deployments_lead(); on the desk's thread. What cannot be read is as if it were not there;
 * of whom there is no line, nothing is known any more. */
void deployments_recall_verdicts(struct deployments *deployments, struct text lines);

/* The last lines that a deployment's replicas wrote, oldest first, one per line; <replica> empty =
 * all of them; any thread. Returns false when there is no such deployment, now or in the last day.
 */
bool deployments_logs(struct deployments *deployments, struct text name, struct text replica,
                      unsigned lines, struct buffer *out);
/* Lines and events behind number <after>, as far as there is room in <out>, an event as "[replica:
 * reason: words]"; *next is where to go on. So that they can be followed: with <out> NULL, from now
 * on. */
bool deployments_follow(struct deployments *deployments, struct text name, uint64_t after,
                        struct buffer *out, uint64_t *next);
struct deployment_event {
    uint64_t number;
    int64_t at_us; /* wall clock */
    char replica[SPEC_NAME_MAX + 24], reason[FLEET_REASON_MAX], words[FLEET_WORDS_MAX];
};
/* Does <reason>, of an event, say that a server failed? Any thread. */
bool deployment_event_is_failure(const char *reason);
size_t deployments_events(struct deployments *deployments, struct text name, uint64_t after,
                          struct deployment_event *into, size_t max);

/* What the fleet knows of one deployment, for who has to say how long it takes; any thread. <view>
 * holds no spec. False: there is none of that name. */
bool deployments_look(struct deployments *deployments, struct text name, struct fleet_view *view);
/* What the replica that a call has a slot of calls its model (served_name of its revision, else
 * what it lists first), which the call must name; what another one has called it when that replica
 * is gone, and empty while none has been ready. Any thread. Returns its length. */
size_t deployments_served_name(struct deployments *deployments, struct text name,
                               const struct slot *slot, char *into, size_t size);
/* How a call names an adapter to the replica that it has a slot of; any thread. False: that replica
 * or adapter is not there. (slots_wish.adapter is hash_name() of the adapter's name.) */
bool deployments_adapter(struct deployments *deployments, struct text name, const struct slot *slot,
                         struct text adapter, struct adapter_wire *wire);

/* A copy of what the desk knows of one deployment; any thread. */
struct deployment_replica_page {
    char name[SPEC_NAME_MAX + 24], node[SPEC_NAME_MAX + 1], address[LAUNCH_HOST_MAX + 8];
    unsigned revision, restarts, in_flight;
    enum replica_state state;
    int64_t since_ms; /* ago */
    int progress_permille;
    int64_t memory_bytes;
    bool is_elsewhere; /* another sluice has started it: <node> is that one */
    char reason[FLEET_REASON_MAX], words[FLEET_WORDS_MAX];
};
struct deployment_adapter_page {
    char name[64];
    unsigned ready, loading, failed; /* replicas */
    char words[FLEET_WORDS_MAX];
};
struct deployment_page {
    struct fleet_view view;
    struct slots_figures slots;
    size_t replica_count, adapter_count;
    struct deployment_replica_page replicas[SPEC_REPLICAS_MAX];
    struct deployment_adapter_page adapters[SPEC_ADAPTERS_MAX];
};
/* False: there is none of that name. Free with deployment_page_free(). */
struct deployment_page *deployments_page(struct deployments *deployments, struct text name);
void deployment_page_free(struct deployment_page *page);
/* Names, sorted. */
size_t deployments_names(struct deployments *deployments, struct text *into, size_t max,
                         struct buffer *memory);
