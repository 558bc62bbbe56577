/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * service_state - what service.c, service_deployments.c, admin*.c and health.c share. For nobody
 * else.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/admin.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/config/config.h"
#include "gateway/made/made.h"
#include "gateway/metrics.h"
#include "gateway/recount.h"
#include "gateway/reload.h"
#include "gateway/service.h"
#include "gateway/spent.h"
#include "gateway/watchdog.h"
#include "gateway/worker.h"

enum {
    SERVICE_CALLS_MAX = 32,          /* questions that may wait for the service's thread */
    SERVICE_STORE_WAIT_US = 1000000, /* for a first connection */
    SERVICE_STORE_LOOK_US = 5000,
    SHARED_SECRETS_MAX = 16,
};

enum service_phase {
    SERVICE_SERVING,
    SERVICE_DELAY, /* not ready any more, but still listening */
    SERVICE_DRAINING,
    SERVICE_OVER,
};

/* How far an upgrade has come that is to replace this service. */
enum service_turn {
    TURN_NONE,
    TURN_PREPARING, /* waits for what must not be cut in two */
    TURN_PREPARED,
    TURN_HANDED,  /* the other has our limits, and nobody is let in */
    TURN_LEAVING, /* the other serves */
};

/* Runs on a worker's loop behind what was posted before it. */
struct drain_mark {
    struct errand errand;
    struct service *service;
};

/* Something that operators want to know of. */
struct event {
    int64_t id, at_us; /* ids only ever rise, also over restarts */
    char kind[16];     /* start, reload, drain, admin */
    char by[ADMIN_NAME_BYTES];
    char words[256];
};

enum { EVENTS_KEPT = 512 };

struct events {
    pthread_mutex_t lock;
    uint64_t count; /* since the start */
    struct event ring[EVENTS_KEPT];
};

struct service {
    const struct service_options *options;
    struct config *start; /* the first one: see reload_adopt() */
    struct ledger *ledger;
    struct lineage *lineage;
    struct decisions *decisions;
    struct content *content;
    struct limits *limits;
    struct batches *batches;
    struct jobs *jobs; /* NULL = they could not be opened */
    struct estimates *estimates;
    struct cache *cache;
    struct semantic *semantic; /* NULL = there was no thread for it */
    char node[NODE_NAME_BYTES];
    struct node_sync *node_sync; /* of a new one, until it is on the disk; or NULL */
    struct made *made; /* deployments that were made at run time; NULL = no store for them */
    struct made_redis *made_redis; /* and where they are shared; NULL = nowhere */
    struct roster *roster;
    struct metrics *metrics; /* NULL = off */
    struct mock *mock;
    struct worker **workers;
    unsigned worker_count;
    struct watchdog *watchdog;
    uint64_t started_us; /* monotonic */
    int64_t started_wall_us;
    struct digest admin_key; /* of $SLUICE_ADMIN_KEY, or made at the first start */
    bool has_admin_key;
    struct digest session_secret; /* of the dashboard's cookies; kept in STATE/session_secret */
    /* and of all replicas' (session_desk.h): the last of those that were known; NULL = none */
    _Atomic(const struct digest *) shared_secret;
    struct digest shared_secrets[SHARED_SECRETS_MAX];
    size_t shared_count; /* that were known ever; the first worker's */
    struct spent *ended_sessions, *ended_sign_ins;
    struct desk *roster_desk, *ledger_desk; /* threads for slow questions */
    struct events *events;

    int wake; /* eventfd: somebody wants something of the service's thread */
    atomic_bool is_draining, wants_drain, is_starting;
    _Atomic(enum service_turn) turn;
    atomic_int changing;      /* through the API, now */
    atomic_bool made_changed; /* others have changed deployments */
    atomic_bool made_asked;   /* orders wait for whoever leads */
    atomic_bool spent_changed, verdicts_changed;
    atomic_bool office_waits; /* we are to lead, once we know what was ordered */

    pthread_mutex_t counts;      /* one at a time counts what new limits have had */
    pthread_mutex_t lock;        /* over what follows */
    unsigned workers_live;       /* may be looked at: 0 while they are started and stopped */
    bool has_counted;            /* limits have what the ledger has for them */
    struct directory *directory; /* with a reference; the one the workers begin with */
    struct directory *counting;  /* in force when its new limits are counted; borrowed, or NULL */
    struct directory *owed;      /* then in its place: the same but for keys; or NULL */
    struct config *config;
    struct reload_outcome last_reload;
    uint64_t reloads;
    int64_t reloaded_us; /* wall clock of the last good one, or the start */
    int64_t tried_us;    /* of the last one */
    struct admin_call *calls, **calls_end;
    unsigned call_count;
    bool calls_closed; /* no more are taken */

    /* a drain waits until every worker has stopped to accept */
    struct drain_mark *marks;
    atomic_uint marks_left;
    bool listeners_closed;

    /* the service's thread only */
    struct gate gate;
    uint64_t turn_until_us; /* PREPARING */
    bool drain_waits;       /* until it is said what becomes of us */
    enum service_phase phase;
    bool is_forced; /* to end at once */
    uint64_t phase_until_us, quiet_since_us, trim_due_us;
};

/* The configuration in force, with a reference for the caller. */
struct config *service_config(struct service *service);

/* The desk of deployments; NULL while the workers are not started yet. */
struct deploy_desk;
struct deploy_desk *service_deploy_desk(struct service *service);

/* Let the service's thread answer <call> with admin_work(); false when too many wait. */
bool service_enqueue(struct service *service, struct admin_call *call);

/* Note something for /admin/v1/events; any thread. <by>: who did it, or "". */
void service_event(struct service *service, const char *kind, const char *by, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

/* Find or make the admin key (admin_who.c). */
void admin_open_key(struct service *service);
/* Find or make the secret of the dashboard's sessions (admin_session.c). */
void admin_open_sessions(struct service *service);
/* The secret of the sessions of all replicas is this one; the first worker's thread. */
void admin_share_sessions(struct service *service, const struct digest *secret);

/* Let the service's thread look at what it was told; any thread. */
void service_wake(struct service *service);
/* One log line for each line of <words>. */
void service_log_words(enum log_level level, const char *before, const char *words);

/* Load the file anew and put it in force. The service's thread only. */
bool service_reload(struct service *service);
/* The file with <list> as the deployments of the store: what would be in force; NULL and <outcome>
 * when the file is broken. */
struct config *service_load(struct service *service, const struct made_list *list,
                            struct reload_outcome *outcome);
/* The same; <words>: all that is said of them, as JSON lines; malloc()ed. */
struct config *service_try(struct service *service, const struct made_list *list,
                           struct reload_outcome *outcome, char **words);
/* Put that in force. */
void service_take(struct service *service, struct config *next);

/* Say that we are alive; what a watchdog calls. <with>: the service. */
void service_on_beat(void *with);

/*
 * service_upgrade.c: another service takes over from this one, or this one has taken over. The
 * service's thread, but for those that say otherwise.
 */
/* What the supervisor wants of it; <passed>: a descriptor that came with it, or -1. False: it is no
 * word of an upgrade. */
bool service_hear_upgrade(struct service *service, char word, int passed);
/* A drain is to begin: give up being replaced, where that is for us to say. False: it is not, and
 * the drain begins when the supervisor has said what becomes of us. */
bool service_may_drain(struct service *service);
/* A drain was asked for through the API; true: it is for the one that has taken over, and told. */
bool service_passes_drain_on(const struct service *service);
/* Move it on; how long to sleep at most, in milliseconds, or -1. */
int service_keep_turn(struct service *service);
/* May nothing be changed now, for another is about to take over? Any thread. */
bool service_is_upgrading(const struct service *service);
/* Has another the limits, and what else there must be one of? */
bool service_has_handed_over(const struct service *service);
/* What keeps it from serving: for the log and, of one that was to take over, for who waits. */
void service_cannot_start(const struct service *service, const char *why);
/* Wait for our turn, and take over the limits. False: it came to nothing. */
bool service_take_over(struct service *service);
/* service.c: the drain of one that another has taken over from. */
void service_leave(struct service *service);
/* Wait for the word that we are the one that serves. False: it came to nothing. */
bool service_await_accept(struct service *service);

/*
 * service_parts.c: what all workers share. The service's thread, but for those that say otherwise.
 */
/* Those that are needed: false when there is none, which is logged then. In this order. */
bool service_open_ledger(struct service *service);
bool service_open_policy(struct service *service); /* counters, caches, decisions, content */
bool service_open_jobs(struct service *service);
bool service_open_roster(struct service *service);
/* Wait until the name of a new node is on the disk. */
bool service_settle_node(struct service *service);
/* Count limits and budgets from the ledger, before the first call is admitted. */
bool service_count_again(struct service *service);
void service_open_metrics(struct service *service);
/* What metrics say of the providers of <config>. */
void service_name_providers(struct service *service, const struct config *config);
/* Give them <next>. */
void service_change_parts(struct service *service, struct config *next);
/* The view in force, whose limits are counted, with a reference for the caller. Any thread. */
struct directory *service_directory(struct service *service);
/* Give it to workers that were just started. */
void service_give_directory(struct service *service);
/* In this order. */
void service_close_roster(struct service *service); /* it tells the ledger of changes */
void service_close_ledger(struct service *service);
void service_close_policy(struct service *service);

/*
 * service_deployments.c; the service's thread, but for those that say otherwise.
 */
/* What was made at run time joins what the file says, before anybody serves. */
bool service_open_made(struct service *service);
void service_close_made(struct service *service);
/* What of the store has no place in the configuration any more. */
void service_log_left_out(const struct config *config, const struct made_list *made);
/* Take over what other nodes have changed of deployments, and put it in force. */
enum made_pulled service_pull(struct service *service);
/* The workers have begun: what was ordered and spent before holds on. */
void service_repeat_orders(struct service *service);
/* On disk, what deployments have spent so far. */
void service_keep_spent(struct service *service);
/* On disk, or with Redis there, what became of declared revisions that do not serve; and what is
 * kept of it, until <arena> ends. */
void service_keep_verdicts(struct service *service);
struct text service_verdicts(struct service *service, struct arena *arena);
/* See to what other nodes and worker 0 have asked for. */
void service_answer_nodes(struct service *service);
/* We have been elected; there is something to be kept. Any thread. */
void service_wake_for_office(struct service *service);
void service_wake_for_spent(struct service *service);
void service_wake_for_verdicts(struct service *service);
