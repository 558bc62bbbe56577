/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * worker, from inside: what the parts of the data plane that run on one thread share. For client,
 * exchange, steps, relay, pages, acceptor and worker only.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/base/buffer.h"
#include "gateway/base/list.h"
#include "gateway/base/loop.h"
#include "gateway/base/spares.h"
#include "gateway/config/config.h"
#include "gateway/exchange.h"
#include "gateway/hold.h"
#include "gateway/janitor.h"
#include "gateway/jwks.h"
#include "gateway/key_ring.h"
#include "gateway/metrics.h"
#include "gateway/oidc.h"
#include "gateway/replicas.h"
#include "gateway/sign_in.h"
#include "gateway/wire/dns.h"
#include "gateway/wire/stream.h"
#include "gateway/wire/upstream.h"
#include "gateway/worker.h"
#include "policy/directory.h"
#include "policy/ledger.h"
#include "policy/limits.h"

struct batch_desk;
struct checkups;
struct content;
struct decision_pen;
struct deploy_desk;
struct gauge_desk;
struct hearsay_desk;
struct job_desk;
struct session_desk;
struct webhooks;

enum {
    CLIENT_SCRATCH_BYTES = 128 * 1024,
    GATHER_PIECES = 58,
    WRITE_COST_MAX_US = 1000, /* whatever took longer was not the write: we were put aside */
    SPARE_SEEKINGS = 64,
    HEAD_OUT_MAX = 256 * 1024, /* more than all that may go into one, each of it bounded */
};

/* A configuration as this worker uses it: with its connections and TLS contexts. Counted, by this
 * thread only; an exchange holds the one it began with. */
struct snapshot {
    unsigned references;
    struct worker *worker;
    struct config *config;
    struct directory *directory;
    struct counter_names *counter_names;
    struct tokens *tokens;        /* NULL = tokens are not accepted */
    struct webhooks *webhooks;    /* NULL = the guardrails have none */
    struct tracing *tracing;      /* NULL = no call is traced */
    unsigned *turns;              /* of each provider's keys */
    struct sign_in **sign_ins;    /* one per provider; NULL = it needs none */
    struct upstream_pool **pools; /* one per provider; NULL = it cannot be reached */
};

struct worker_listener {
    struct watch watch; /* fd -1 = not used */
    struct worker *worker;
    struct text name;
    unsigned serve;
    enum proxy_protocol proxy_protocol;
    struct networks trusted; /* a copy: the listener outlives a configuration */
    struct tls *tls;         /* NULL = plain */
    bool http2;
    bool is_unix, is_admin_socket;
    bool is_held; /* until the store counts: acceptor_let_in() */
    bool is_jobs; /* of no socket: where the calls of jobs come in (job_desk.h) */
};

/* Pieces of an answer that are sent together at the end of a batch. They point into memory that
 * stays until then: a scratch, or the exchange's own. */
struct gather {
    struct exchange *owner;
    int count;
    size_t bytes;
    struct iovec pieces[GATHER_PIECES];
};

struct worker {
    struct worker_options options;
    pthread_t thread;
    atomic_int task; /* its number for the kernel */
    struct loop *loop;
    struct dns *dns;
    struct upstreams *upstreams;
    struct replicas replicas; /* of deployments */
    struct journal *journal;
    struct decision_pen *decisions; /* NULL = nobody keeps them */
    struct content *content;        /* NULL = nobody keeps it */
    struct limiter *limiter;
    struct redis *redis;            /* for the cache and owners; NULL without such a store */
    struct owners_remote *owners;   /* of what other replicas have made; NULL: there are none */
    struct cache_remote *cache;     /* the worker's way to kept answers */
    struct semantic_desk *semantic; /* and to those found by meaning; NULL = there is no way */
    struct holding holding;
    struct batch_desk *batch_desk;   /* of the first worker, else NULL */
    struct checkups *checkups;       /* of the first worker, else NULL */
    struct hearsay_desk *hearsay;    /* the same, with a shared store */
    struct gauge_desk *gauges;       /* the same */
    struct deploy_desk *deploy_desk; /* the same */
    struct job_desk *job_desk;       /* runs the calls of jobs */
    struct session_desk *sessions;   /* the same, for the dashboard */
    struct jwks jwks;
    struct oidc oidc;
    struct sign_ins sign_ins;
    struct key_rests key_rests;
    struct metrics_worker *metrics;
    struct snapshot *now; /* in force for new exchanges */
    struct worker_listener *listeners;
    size_t listener_count;
    struct link clients, exchanges;
    struct link mirrors; /* calls to second targets (mirror.h) */
    unsigned mirror_count, followers;
    unsigned client_count, exchange_count;
    unsigned inside_count, stream_count; /* HTTP/2: clients that are requests of others, and all of
                                            their streams */
    unsigned questions;                  /* to the ledger's thread, which will post their answers */
    atomic_uint connections_now, exchanges_now, upstreams_now, spans_now; /* for other threads */
    bool draining, accepting, stopping;
    bool closed;  /* no listener is watched, not even the admin socket's */
    bool leaving; /* another process serves: who is connected here has one more call, at most */
    struct gate *gate;
    struct link safe_waiting; /* exchanges that wait for the journal: by their link */
    struct errand config_errand, drain_errand, stop_errand, safe_errand, gate_errand, leave_errand,
        let_in_errand;
    _Atomic(struct config *) config_next;
    _Atomic(struct directory *) directory_next;
    atomic_bool safe_posted, config_posted;
    struct exchange *spare; /* free exchanges, for reuse */
    unsigned spare_count;
    struct seeking *spare_seekings[SPARE_SEEKINGS]; /* of those that gave theirs up */
    unsigned spare_seeking_count, seeking_count;    /* seek targets now */
    struct spares spares; /* of bodies, and of what is queued for clients */
    uint64_t id_prefix, id_count, random;
    char date[40];
    uint64_t date_second;
    uint64_t resting_since_us;    /* there is no descriptor for who comes, when not accepting */
    uint64_t shortage_told_us;    /* when the log was told of that; 0 = never */
    uint64_t bytes_in, bytes_out; /* of clients */
    struct counted {              /* what metrics were told so far */
        struct upstreams_figures upstreams;
        uint64_t bytes_in, bytes_out, names;
    } counted;
    uint64_t writes, write_cost_us; /* to clients: how many, and ours of one lately */
    struct timer accept_timer, sweep_timer;
    struct janitor janitor;
    struct let_go *let_go; /* what is at hand goes back to the heap now, or NULL */
    struct timer gone_timer;
    struct buffer head_out;
    struct gather gather;
    struct head head; /* of the request being read; valid while its bytes are looked at */
    char scratch[CLIENT_SCRATCH_BYTES];
};

/* With one reference; takes references of its own to both. A provider that cannot be reached is
 * logged. */
struct snapshot *snapshot_new(struct worker *worker, struct config *config,
                              struct directory *directory);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot);

/* Of one of its providers; NULL = see above. */
static inline struct upstream_pool *snapshot_pool(const struct snapshot *snapshot,
                                                  const struct provider_settings *provider)
{
    return snapshot->pools[provider - snapshot->config->providers];
}

static inline struct sign_in *snapshot_sign_in(const struct snapshot *snapshot,
                                               const struct provider_settings *provider)
{
    return snapshot->sign_ins[provider - snapshot->config->providers];
}

/* A zeroed exchange with its arena ready; given back when it is buried. */
struct exchange *worker_take_exchange(struct worker *worker);
void worker_give_exchange(struct exchange *x);
/* No target will be asked for it any more: x->seeking goes, with all that is in it. */
void worker_give_seeking(struct exchange *x);

/* Write a new request id ("req_…", 28 characters). */
void worker_new_id(struct worker *worker, char id[32]);
uint64_t worker_random(struct worker *worker);
/* The value of a Date field. */
const char *worker_date(struct worker *worker);
/* Wake <x> when the journal has reached the disk. */
void worker_wait_safe(struct worker *worker, struct exchange *x);
/* They look again; any thread. */
void worker_wake_safe(struct worker *worker);
/* A client or an exchange has ended: is the drain over? */
void worker_check_idle(struct worker *worker);
/* gate.c: stop here until the gate of worker->gate is opened; an errand of workers_hold(). */
void worker_stand_still(struct errand *errand);
