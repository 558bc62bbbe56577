/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * worker - one thread with an event loop, its clients, its upstream connections and its journal.
 *
 * The service starts the workers, hands them new configurations, drains them and joins them.
 * Functions are for the service's thread unless they say otherwise.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/base/loop.h"
#include "gateway/config/config.h"

struct batches;
struct jobs;
struct cache;
struct content;
struct decisions;
struct directory;
struct estimates;
struct ledger;
struct limits;
struct metrics;
struct mock;
struct semantic;
struct service;
struct worker;

struct worker_options {
    unsigned index;
    struct config *config; /* the worker takes references of its own to these two */
    struct directory *directory;
    struct limits *limits;
    struct estimates *estimates;
    struct cache *cache;
    struct semantic *semantic;  /* NULL = off */
    const struct config *start; /* the store's settings stay those of the start; borrowed */
    const char *node;           /* name of this process among the replicas; borrowed */
    struct ledger *ledger;
    struct decisions *decisions; /* NULL = nobody keeps them */
    struct content *content;     /* NULL = nobody keeps it */
    struct batches *batches;
    struct jobs *jobs; /* NULL = they could not be opened */
    bool holds_calls;  /* until worker_let_in() */
    struct metrics *metrics;
    struct mock *mock;       /* the built-in model, or NULL */
    const int *listener_fds; /* one per config->listeners, this worker's own; -1 = none */
    int admin_fd;            /* the admin socket's listener for this worker, or -1 */
    struct text verdicts;    /* of deployments, as they were kept; until worker_start() returns */
    struct service *service; /* passed to admin_answer() and the health pages */
};

/* Can all TLS files that <config> names be used? False: <fault> says which cannot. */
bool worker_can_use(const struct config *config, struct fault *fault);

/* Start the thread. NULL when a TLS file of a listener cannot be used (it is logged). */
struct worker *worker_start(const struct worker_options *options);

/* Accept connections for calls, where they were held; any thread. */
void worker_let_in(struct worker *worker);

/* Put <config> in force for new exchanges; running ones keep theirs. */
void worker_set_config(struct worker *worker, struct config *config);

/* Put <directory> in force for new exchanges; any thread. */
void worker_set_directory(struct worker *worker, struct directory *directory);

/* Stop accepting; end idle connections; open exchanges may finish. */
void worker_drain(struct worker *worker);

/* Another process serves from now on: calls go on to their ends, and who is connected may ask once
 * more; that answer says that it is the last. Behind workers_hold(). */
void worker_leave(struct worker *worker);

/*
 * A moment in which no worker does anything, for what concerns them all. workers_hold(): wait until
 * all of them stand still, <wait_us> at most; false: one did not come
 * (the caller releases them all the same). workers_release(): they go on; <listen>: and let clients
 * in, or no more. Whoever came meanwhile waits in the kernel. One after the other, each time with
 * the same <gate>, zeroed at first.
 */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned inside; /* workers that stand still */
    unsigned left;   /* errands that have not run to their end */
    bool open;
    bool listen;
};
void gate_init(struct gate *gate);
void gate_done(struct gate *gate);
bool workers_hold(struct worker *const *workers, unsigned count, struct gate *gate,
                  int64_t wait_us);
void workers_release(struct gate *gate, bool listen);

/* What is open now; any thread. */
struct worker_figures {
    uint64_t connections, exchanges, upstreams, spans; /* spans: not sent yet */
};
struct worker_figures worker_figures(const struct worker *worker);

/* End the thread, cutting what is still open (each is settled), and free the worker. */
void worker_stop(struct worker *worker);

/* Of the first worker, else NULL. */
struct deploy_desk;
struct deploy_desk *worker_deploy_desk(struct worker *worker);

/* For the watchdog. */
struct loop *worker_loop(struct worker *worker);
unsigned long worker_thread(const struct worker *worker); /* pthread_t */
pid_t worker_task(const struct worker *worker);           /* as gettid(); 0 = not begun */
