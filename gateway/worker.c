/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "gateway/acceptor.h"
#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/batches.h"
#include "gateway/capture.h"
#include "gateway/checkups.h"
#include "gateway/client.h"
#include "gateway/crash.h"
#include "gateway/crossing.h"
#include "gateway/decisions.h"
#include "gateway/deploy_desk.h"
#include "gateway/gauges.h"
#include "gateway/hearsay_desk.h"
#include "gateway/job_desk.h"
#include "gateway/mirror.h"
#include "gateway/mock/mock.h"
#include "gateway/resident.h"
#include "gateway/resume.h"
#include "gateway/session_desk.h"
#include "gateway/tracing.h"
#include "gateway/worker_inside.h"
#include "policy/cache.h"
#include "policy/semantic.h"
#include "providers/answer_tap.h"

enum {
    SPARE_EXCHANGES = 256,
    ARENA_BLOCK_BYTES = 216,    /* what an open stream keeps, but for what it has reserved */
    SEEKING_BLOCK_BYTES = 1520, /* the heads of both sides, and edits */
    GONE_LOOK_US = 5000,
    LEAVE_IDLE_US = 2000000, /* who waits for longer between two calls is not about to ask */
    ANSWER_LOOK_US = 1000,
};

/* ------------------------------------------------------------------------ configurations */

static bool on_keys(void *with, struct text keys)
{
    struct worker *worker = with;
    return worker->now->tokens && tokens_set_keys(worker->now->tokens, keys);
}

static bool can_use(struct tls *tls)
{
    if (tls)
        tls_unref(tls);
    return tls != NULL;
}

static struct tls_options tls_options_of(const struct tls_settings *tls)
{
    return (struct tls_options){.cert_file = tls->cert_file,
                                .key_file = tls->key_file,
                                .ca_file = tls->ca_file,
                                .tls13_only = tls->tls13_only};
}

bool worker_can_use(const struct config *config, struct fault *fault)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        struct tls_options options = tls_options_of(&config->listeners[i].tls);
        if (config->listeners[i].has_tls && !can_use(tls_new_server(&options, fault)))
            return false;
    }
    for (size_t i = 0; i < config->provider_count; i++) {
        const struct provider_settings *provider = &config->providers[i];
        struct tls_options options = tls_options_of(&provider->tls);
        if (!provider->off && provider->url.tls && !can_use(tls_new_client(&options, fault)))
            return false;
    }
    return true;
}

static bool refresh_tls(struct worker_listener *listener, const struct listener_settings *settings)
{
    struct tls *tls = NULL;
    if (settings->has_tls) {
        struct fault fault;
        struct tls_options options = tls_options_of(&settings->tls);
        options.http2 = settings->http2;
        tls = tls_new_server(&options, &fault);
        if (!tls) {
            log_line(LOG_ERROR, "listener", "%s: %s", settings->name, fault.text);
            return false;
        }
    }
    if (listener->tls)
        tls_unref(listener->tls);
    listener->tls = tls;
    return true;
}

static void take_settings(struct worker_listener *listener,
                          const struct listener_settings *settings)
{
    listener->serve = settings->serve;
    listener->proxy_protocol = settings->proxy_protocol;
    listener->http2 = settings->http2;
    const struct networks *trusted = &settings->trusted_proxies;
    struct network *copy = NULL;
    if (trusted->count) {
        copy = memory_new(trusted->count * sizeof(*copy));
        memcpy(copy, trusted->at, trusted->count * sizeof(*copy));
    }
    memory_free((void *)(uintptr_t)listener->trusted.at);
    listener->trusted = (struct networks){copy, trusted->count, trusted->has_unix};
}

/* With bad TLS files all of the listener stays as it is, not open to more than before. */
static void refresh_listener(struct worker_listener *listener,
                             const struct listener_settings *settings)
{
    if (listener->is_admin_socket || !refresh_tls(listener, settings))
        return;
    take_settings(listener, settings);
}

static void take_config(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, config_errand);
    atomic_store(&worker->config_posted, false);
    struct config *config = atomic_exchange(&worker->config_next, NULL);
    struct directory *directory = atomic_exchange(&worker->directory_next, NULL);
    struct snapshot *before = worker->now;
    if (config || directory)
        worker->now = snapshot_new(worker, config ? config : before->config,
                                   directory ? directory : before->directory);
    if (directory)
        directory_unref(directory);
    if (config || directory)
        snapshot_unref(before);
    if (!config)
        return;
    jwks_set(&worker->jwks, config);
    if (worker->deploy_desk)
        deploy_desk_configure(worker->deploy_desk, config);
    /* Sockets stay those of the start; what is behind them may have changed. */
    for (size_t i = 0; i < worker->listener_count; i++)
        for (size_t j = 0; j < config->listener_count; j++)
            if (text_equal(worker->listeners[i].name, text_of(config->listeners[j].name)))
                refresh_listener(&worker->listeners[i], &config->listeners[j]);
    config_unref(config);
}

/* The errand may be on the way already; it will take this one, too. */
static void post_config(struct worker *worker)
{
    if (!atomic_exchange(&worker->config_posted, true))
        loop_post(worker->loop, &worker->config_errand);
}

void worker_set_directory(struct worker *worker, struct directory *directory)
{
    struct directory *skipped = atomic_exchange(&worker->directory_next, directory_ref(directory));
    if (skipped)
        directory_unref(skipped);
    post_config(worker);
}

void worker_set_config(struct worker *worker, struct config *config)
{
    struct config *skipped = atomic_exchange(&worker->config_next, config_ref(config));
    if (skipped)
        config_unref(skipped);
    post_config(worker);
}

/* -------------------------------------------------------------------- exchanges and ids */

static void free_seeking(struct seeking *seeking)
{
    arena_done(&seeking->arena);
    memory_free(seeking);
}

static void free_exchange(struct exchange *x)
{
    if (x->seeking)
        free_seeking(x->seeking);
    arena_done(&x->arena);
    memory_free(x);
}

/* <used>, or a free one, zeroed but for its arena. */
static struct seeking *take_seeking(struct worker *worker, struct seeking *used)
{
    janitor_seeking(&worker->janitor, ++worker->seeking_count);
    if (!used && worker->spare_seeking_count > 0)
        used = worker->spare_seekings[--worker->spare_seeking_count];
    if (!used) {
        used = memory_new(sizeof(*used));
        arena_init(&used->arena, SEEKING_BLOCK_BYTES);
        return used;
    }
    struct arena arena = used->arena;
    memset(used, 0, sizeof(*used));
    used->arena = arena;
    return used;
}

static void empty_seeking(struct seeking *seeking)
{
    buffer_done(&seeking->early);
    buffer_done(&seeking->translated_body);
    arena_reset(&seeking->arena);
}

void worker_give_seeking(struct exchange *x)
{
    struct worker *worker = x->worker;
    struct seeking *seeking = x->seeking;
    x->seeking = NULL;
    if (!seeking)
        return;
    worker->seeking_count--;
    empty_seeking(seeking);
    if (worker->spare_seeking_count < SPARE_SEEKINGS)
        worker->spare_seekings[worker->spare_seeking_count++] = seeking;
    else
        free_seeking(seeking);
}

static struct exchange *next_spare(const struct exchange *x)
{
    return (struct exchange *)(void *)x->grave.next;
}

struct exchange *worker_take_exchange(struct worker *worker)
{
    struct exchange *x = worker->spare;
    if (x) {
        worker->spare = next_spare(x);
        worker->spare_count--;
        struct arena arena = x->arena;
        struct seeking *seeking = x->seeking;
        memset(x, 0, sizeof(*x));
        x->arena = arena;
        x->seeking = seeking;
    } else {
        x = memory_new(sizeof(*x));
        arena_init(&x->arena, ARENA_BLOCK_BYTES);
    }
    x->seeking = take_seeking(worker, x->seeking);
    x->seeking->exchange = x;
    x->worker = worker;
    x->snapshot = snapshot_ref(worker->now);
    list_push_back(&worker->exchanges, &x->link);
    janitor_exchange(&worker->janitor, ++worker->exchange_count);
    atomic_store_explicit(&worker->exchanges_now, worker->exchange_count, memory_order_relaxed);
    return x;
}

void worker_give_exchange(struct exchange *x)
{
    struct worker *worker = x->worker;
    snapshot_unref(x->snapshot);
    spares_give(&worker->spares, &x->body);
    buffer_done(&x->held);
    resume_forget(x);
    buffer_done(&x->ready); /* nobody was there to send it to */
    crossing_forget(x);
    capture_forget(x);
    if (x->tap)
        answer_tap_done(x->tap);
    worker->exchange_count--;
    atomic_store_explicit(&worker->exchanges_now, worker->exchange_count, memory_order_relaxed);
    if (x->seeking) {
        empty_seeking(x->seeking);
        worker->seeking_count--;
    }
    if (worker->spare_count < SPARE_EXCHANGES) {
        arena_reset(&x->arena);
        x->grave.next = (struct grave *)(void *)worker->spare;
        worker->spare = x;
        worker->spare_count++;
    } else {
        free_exchange(x);
    }
    worker_check_idle(worker);
}

uint64_t worker_random(struct worker *worker)
{
    /* xorshift64*: for shares and ids, not for secrets. */
    worker->random ^= worker->random >> 12;
    worker->random ^= worker->random << 25;
    worker->random ^= worker->random >> 27;
    return worker->random * 0x2545F4914F6CDD1DULL;
}

void worker_new_id(struct worker *worker, char id[32])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint64_t parts[2] = {worker->id_prefix, ++worker->id_count};
    memcpy(id, "req_", 4);
    char *at = id + 4;
    for (int p = 0; p < 2; p++)
        for (int shift = 55; shift >= 0; shift -= 5)
            *at++ = digits[parts[p] >> shift & 31];
    *at = '\0';
}

const char *worker_date(struct worker *worker)
{
    uint64_t second = loop_now_us(worker->loop) / 1000000;
    if (second != worker->date_second) {
        worker->date_second = second;
        time_t now = time(NULL);
        struct tm utc;
        gmtime_r(&now, &utc);
        strftime(worker->date, sizeof(worker->date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    }
    return worker->date;
}

/* -------------------------------------------------------------- waiting for the journal */

static void wake_safe(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, safe_errand);
    atomic_store(&worker->safe_posted, false);
    struct link waiting;
    list_init(&waiting);
    while (!list_is_empty(&worker->safe_waiting)) {
        struct link *first = worker->safe_waiting.next;
        list_remove(first);
        list_push_back(&waiting, first);
    }
    while (!list_is_empty(&waiting)) {
        struct exchange *x = LIST_MEMBER(waiting.next, struct exchange, link);
        list_remove(&x->link);
        list_push_back(&worker->exchanges, &x->link);
        exchange_run(x);
    }
}

static void on_safe(void *with)
{
    struct worker *worker = with;
    if (!atomic_exchange(&worker->safe_posted, true))
        loop_post(worker->loop, &worker->safe_errand);
}

void worker_wake_safe(struct worker *worker)
{
    on_safe(worker);
}

void worker_wait_safe(struct worker *worker, struct exchange *x)
{
    list_remove(&x->link);
    list_push_back(&worker->safe_waiting, &x->link);
}

/* ------------------------------------------------------------------------ drain and end */

void worker_check_idle(struct worker *worker)
{
    atomic_store_explicit(&worker->connections_now, worker->client_count, memory_order_relaxed);
}

static void drain(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, drain_errand);
    if (worker->draining)
        return;
    worker->draining = true;
    tracing_hurry(worker->now->tracing);
    acceptor_stop(worker);
    for (struct link *at = worker->clients.next, *next; at != &worker->clients; at = next) {
        next = at->next;
        client_drain(LIST_MEMBER(at, struct client, link));
    }
}

static void let_in(struct errand *errand)
{
    acceptor_let_in(LIST_MEMBER(errand, struct worker, let_in_errand));
}

void worker_let_in(struct worker *worker)
{
    loop_post(worker->loop, &worker->let_in_errand);
}

void worker_drain(struct worker *worker)
{
    loop_post(worker->loop, &worker->drain_errand);
}

static void leave(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, leave_errand);
    worker->leaving = true;
    tracing_hurry(worker->now->tracing);
    for (struct link *at = worker->clients.next, *next; at != &worker->clients; at = next) {
        next = at->next;
        client_leave(LIST_MEMBER(at, struct client, link));
    }
}

void worker_leave(struct worker *worker)
{
    loop_post(worker->loop, &worker->leave_errand);
}

struct worker_figures worker_figures(const struct worker *worker)
{
    return (struct worker_figures){
        atomic_load_explicit(&worker->connections_now, memory_order_relaxed),
        atomic_load_explicit(&worker->exchanges_now, memory_order_relaxed),
        atomic_load_explicit(&worker->upstreams_now, memory_order_relaxed),
        atomic_load_explicit(&worker->spans_now, memory_order_relaxed)};
}

struct loop *worker_loop(struct worker *worker)
{
    return worker->loop;
}

struct deploy_desk *worker_deploy_desk(struct worker *worker)
{
    return worker->deploy_desk;
}

unsigned long worker_thread(const struct worker *worker)
{
    return (unsigned long)worker->thread;
}

pid_t worker_task(const struct worker *worker)
{
    return atomic_load_explicit(&worker->task, memory_order_relaxed);
}

/* --------------------------------------------------------------------------- the thread */

static void tell_change(struct worker *worker, enum metric_gauge gauge, unsigned now,
                        unsigned before)
{
    if (now != before)
        metrics_gauge(worker->metrics, gauge, (int)now - (int)before);
}

static void tell_more(struct worker *worker, enum metric_counter counter, uint64_t now,
                      uint64_t *before)
{
    if (now != *before)
        metrics_count(worker->metrics, counter, now - *before);
    *before = now;
}

/* Once a round, not once a call: what the parts below have counted for themselves. */
static void on_round(void *with)
{
    struct worker *worker = with;
    struct upstreams_figures now = upstreams_figures(worker->upstreams);
    struct counted *told = &worker->counted;
    atomic_store_explicit(&worker->upstreams_now, now.connections, memory_order_relaxed);
    tell_change(worker, GAUGE_UPSTREAM_CONNECTIONS, now.connections, told->upstreams.connections);
    tell_change(worker, GAUGE_UPSTREAM_IDLE, now.idle, told->upstreams.idle);
    tell_more(worker, COUNTER_UPSTREAM_CONNECTS, now.connects, &told->upstreams.connects);
    tell_more(worker, COUNTER_UPSTREAM_REUSES, now.reuses, &told->upstreams.reuses);
    tell_more(worker, COUNTER_CLIENT_BYTES_IN, worker->bytes_in, &told->bytes_in);
    tell_more(worker, COUNTER_CLIENT_BYTES_OUT, worker->bytes_out, &told->bytes_out);
    tell_more(worker, COUNTER_DNS_QUERIES, dns_asked(worker->dns), &told->names);
    told->upstreams = now;
}

static void close_all(struct worker *worker)
{
    while (!list_is_empty(&worker->clients))
        client_close(LIST_MEMBER(worker->clients.next, struct client, link));
    while (!list_is_empty(&worker->exchanges)) {
        struct exchange *x = LIST_MEMBER(worker->exchanges.next, struct exchange, link);
        exchange_abandon(x);
        if (x->state != EXCHANGE_DONE)
            list_remove(&x->link); /* waits for the disk, which has its line already */
    }
}

static void stop(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, stop_errand);
    worker->stopping = true; /* no call goes on without its client now */
    loop_do_put_off(worker->loop);
    close_all(worker);
    tracing_stop(worker->now->tracing);
    loop_stop(worker->loop);
}

static void free_spare_seekings(struct worker *worker)
{
    while (worker->spare_seeking_count > 0)
        free_seeking(worker->spare_seekings[--worker->spare_seeking_count]);
}

/* Down to <keep>: those that were used last stay, whose memory is in use as it is. */
static void free_exchanges(struct worker *worker, unsigned keep)
{
    struct exchange *last = NULL, *x = worker->spare;
    unsigned kept = 0;
    for (; x && kept < keep; kept++) {
        last = x;
        x = next_spare(x);
    }
    if (last)
        last->grave.next = NULL;
    else
        worker->spare = NULL;
    worker->spare_count = kept;
    while (x) {
        struct exchange *next = next_spare(x);
        free_exchange(x);
        x = next;
    }
}

static void free_spares(struct worker *worker, unsigned keep)
{
    free_exchanges(worker, keep);
    free_spare_seekings(worker);
    spares_free(&worker->spares);
}

/* Down to as many as are in use, and a few. */
static void free_most_spares(struct worker *worker)
{
    unsigned open = worker->exchange_count;
    free_spares(worker, open < JANITOR_QUIET_EXCHANGES ? open : JANITOR_QUIET_EXCHANGES);
}

/* Of what was kept for more calls than there are by now. */
static void trim_own(struct worker *worker, unsigned needed)
{
    unsigned open = worker->exchange_count;
    free_spares(worker, needed > open ? needed - open : 0);
    memory_trim();
}

/* The heap is given back when it has all: somebody else brings it, and the loop goes on meanwhile.
 */
static void look_whether_gone(struct timer *timer)
{
    struct worker *worker = LIST_MEMBER(timer, struct worker, gone_timer);
    if (!memory_has_gone(worker->let_go)) {
        timer_set(worker->loop, timer, loop_now_us(worker->loop) + GONE_LOOK_US);
        return;
    }
    worker->let_go = NULL;
    resident_shrink();
}

static void shrink(struct worker *worker)
{
    if (worker->let_go)
        return;
    worker->let_go = memory_let_go();
    timer_set(worker->loop, &worker->gone_timer, loop_now_us(worker->loop) + GONE_LOOK_US);
}

/* Once a second, or more often after a crowd: give memory back to the kernel (janitor.h). */
static void sweep(struct timer *timer)
{
    struct worker *worker = LIST_MEMBER(timer, struct worker, sweep_timer);
    if (worker->decisions)
        decisions_offer(worker->decisions);
    struct janitor_orders orders =
        janitor_look(&worker->janitor, worker->exchange_count, worker->seeking_count);
    if (orders.free_spares)
        free_most_spares(worker);
    if (orders.free_seekings)
        free_spare_seekings(worker);
    if (orders.trim)
        resident_trim();
    if (orders.trim_own)
        trim_own(worker, orders.needed);
    if (orders.shrink)
        shrink(worker);
    if (worker->leaving)
        acceptor_close_quiet(worker, LEAVE_IDLE_US);
    replicas_sweep(&worker->replicas);
    timer_set(worker->loop, timer, loop_now_us(worker->loop) + orders.again_us);
}

static void *worker_main(void *with)
{
    struct worker *worker = with;
    crash_arm_thread();
    atomic_store_explicit(&worker->task, gettid(), memory_order_relaxed);
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", worker->options.index);
    pthread_setname_np(pthread_self(), name);
    loop_run(worker->loop, on_round, worker);
    timer_stop(&worker->gone_timer);
    memory_wait_gone(worker->let_go);
    worker->let_go = NULL;
    /* Pools may still have put something off, and the ledger may owe answers: both come as errands,
     * and the loop must be there for them. */
    batch_desk_stop(worker->batch_desk);
    checkups_stop(worker->checkups);
    hearsay_desk_stop(worker->hearsay);
    session_desk_stop(worker->sessions);
    mirrors_stop(worker);
    gauges_stop(worker->gauges);
    deploy_desk_free(worker->deploy_desk);
    worker->deploy_desk = NULL;
    job_desk_stop(worker->job_desk);
    semantic_desk_free(worker->semantic);
    worker->semantic = NULL;
    cache_remote_free(worker->cache);
    worker->cache = NULL;
    loop_clear(worker->loop);
    while (worker->questions > 0) {
        usleep(ANSWER_LOOK_US);
        loop_clear(worker->loop);
    }
    return NULL;
}

static bool open_listeners(struct worker *worker)
{
    const struct config *config = worker->options.config;
    worker->listener_count = config->listener_count + 1;
    worker->listeners = memory_new(worker->listener_count * sizeof(*worker->listeners));
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct listener_settings *settings = &config->listeners[i];
        struct worker_listener *listener = &worker->listeners[i];
        /* Outlives this configuration: the listener stays over reloads. */
        listener->name = text_of(memory_string(text_of(settings->name)));
        take_settings(listener, settings);
        listener->is_unix = text_starts(text_of(settings->address), TEXT("unix:"));
        if (!refresh_tls(listener, settings))
            return false;
        acceptor_add(worker, listener, worker->options.listener_fds[i]);
    }
    struct worker_listener *admin = &worker->listeners[config->listener_count];
    admin->name = text_of(memory_string(TEXT("admin-socket")));
    admin->serve = SERVE_ADMIN | SERVE_HEALTH | SERVE_METRICS;
    admin->is_unix = admin->is_admin_socket = true;
    acceptor_add(worker, admin, worker->options.admin_fd);
    worker->accepting = true;
    return true;
}

static void init_errands(struct worker *worker)
{
    worker->config_errand.run = take_config;
    worker->let_in_errand.run = let_in;
    worker->drain_errand.run = drain;
    worker->stop_errand.run = stop;
    worker->safe_errand.run = wake_safe;
    worker->gate_errand.run = worker_stand_still;
    worker->leave_errand.run = leave;
    worker->sweep_timer.on_time = sweep;
    worker->gone_timer.on_time = look_whether_gone;
    timer_set(worker->loop, &worker->sweep_timer, loop_now_us(worker->loop) + JANITOR_US);
}

static void worker_free(struct worker *worker)
{
    for (size_t i = 0; i < worker->listener_count; i++) {
        if (worker->listeners[i].tls)
            tls_unref(worker->listeners[i].tls);
        memory_free((void *)(uintptr_t)worker->listeners[i].trusted.at);
        memory_free((void *)(uintptr_t)worker->listeners[i].name.at);
    }
    memory_free(worker->listeners);
    struct config *next = atomic_exchange(&worker->config_next, NULL);
    if (next)
        config_unref(next);
    struct directory *directory = atomic_exchange(&worker->directory_next, NULL);
    if (directory)
        directory_unref(directory);
    if (worker->limiter)
        limiter_free(worker->limiter);
    semantic_desk_free(worker->semantic);
    if (worker->cache)
        cache_remote_free(worker->cache);
    if (worker->redis)
        redis_free(worker->redis);
    owners_remote_free(worker->owners);
    jwks_done(&worker->jwks);
    oidc_done(&worker->oidc);
    sign_ins_stop(&worker->sign_ins);
    dns_free(worker->dns);
    snapshot_unref(worker->now);
    replicas_done(&worker->replicas);
    loop_free(worker->loop); /* frees what was buried: exchanges give their snapshots back */
    upstreams_free(worker->upstreams);
    batch_desk_free(worker->batch_desk);
    checkups_free(worker->checkups);
    hearsay_desk_free(worker->hearsay);
    session_desk_free(worker->sessions);
    gauges_free(worker->gauges);
    job_desk_free(worker->job_desk);
    free_spares(worker, 0);
    buffer_done(&worker->head_out);
    memory_free(worker);
}

static bool open_cache(struct worker *worker, struct fault *fault)
{
    const struct config *config = worker->options.config;
    if (config->store.is_redis)
        worker->redis =
            redis_new(worker->loop, worker->dns, &worker->options.start->store.redis, fault);
    struct cache_remote_options options = {.redis = worker->redis,
                                           .prefix = config->store.key_prefix,
                                           .node = worker->options.node,
                                           .exact = config->cache.exact || config->cache.semantic};
    worker->cache = cache_remote_new(worker->options.cache, worker->loop, &options);
    if (worker->options.semantic)
        worker->semantic = semantic_desk_new(worker->options.semantic, worker->loop, worker->redis,
                                             config->store.key_prefix);
    if (worker->redis)
        worker->owners = owners_remote_new(worker->redis, config->store.key_prefix);
    return !config->store.is_redis || worker->redis;
}

struct worker *worker_start(const struct worker_options *options)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    struct worker *worker = memory_new(sizeof(*worker));
    worker->options = *options;
    worker->loop = loop_new();
    worker->dns = dns_new(worker->loop);
    worker->upstreams = upstreams_new(worker->loop, worker->dns);
    replicas_init(&worker->replicas, worker->upstreams);
    worker->journal = ledger_journal(options->ledger, options->index);
    if (options->decisions)
        worker->decisions = decisions_pen(options->decisions, options->index);
    worker->content = options->content;
    worker->metrics = metrics_of(options->metrics, options->index);
    list_init(&worker->clients);
    list_init(&worker->exchanges);
    list_init(&worker->mirrors);
    list_init(&worker->safe_waiting);
    holding_init(&worker->holding, worker);
    init_errands(worker);
    acceptor_init(worker);
    hash_random(&worker->id_prefix, sizeof(worker->id_prefix));
    hash_random(&worker->random, sizeof(worker->random));
    worker->random |= 1;
    buffer_init(&worker->head_out, HEAD_OUT_MAX);
    jwks_init(&worker->jwks, worker->loop, worker->upstreams, on_keys, worker);
    oidc_init(&worker->oidc, worker->loop, worker->upstreams);
    sign_ins_init(&worker->sign_ins, worker->loop, worker->upstreams);
    worker->now = snapshot_new(worker, options->config, options->directory);
    jwks_set(&worker->jwks, options->config);
    struct fault fault;
    if (!open_cache(worker, &fault)) {
        log_line(LOG_ERROR, "store", "%s", fault.text);
        worker_free(worker);
        return NULL;
    }
    worker->limiter =
        limiter_new(options->limits, worker->loop, worker->dns, options->index, &fault);
    if (!worker->limiter) {
        log_line(LOG_ERROR, "store", "%s", fault.text);
        worker_free(worker);
        return NULL;
    }
    journal_on_safe(worker->journal, on_safe, worker);
    if (!open_listeners(worker)) {
        journal_on_safe(worker->journal, NULL, NULL);
        worker_free(worker);
        return NULL;
    }
    if (options->index == 0) {
        worker->batch_desk = batch_desk_new(options->batches, worker);
        worker->checkups = checkups_new(worker);
        worker->hearsay = hearsay_desk_new(worker);
        worker->sessions = session_desk_new(worker);
        worker->gauges = gauges_new(worker);
        worker->deploy_desk = deploy_desk_new(worker, options->config, options->verdicts);
    }
    worker->job_desk = job_desk_new(worker);
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
        perror("sluice: pthread_create");
        abort();
    }
    return worker;
}

void worker_stop(struct worker *worker)
{
    loop_post(worker->loop, &worker->stop_errand);
    pthread_join(worker->thread, NULL);
    journal_on_safe(worker->journal, NULL, NULL);
    worker_free(worker);
}
