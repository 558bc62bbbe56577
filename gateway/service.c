/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/service.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/admin_desk.h"
#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/descriptors.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/channel.h"
#include "gateway/complaint.h"
#include "gateway/content.h"
#include "gateway/crash.h"
#include "gateway/decisions.h"
#include "gateway/deploy_desk.h"
#include "gateway/endpoint.h"
#include "gateway/jobs.h"
#include "gateway/mock/mock.h"
#include "gateway/resident.h"
#include "gateway/service_state.h"
#include "gateway/sockets.h"

enum {
    VERDICTS_BLOCK = 4096,
    FORCED_US = 2000000,    /* for model servers, when it must end at once */
    LOOK_MS = 20,           /* how often a drain looks whether it is done */
    QUIET_US = 2000000,     /* no call for so long ends a drain, though clients are connected
                               or a collector is slow */
    LAST_GRACE_US = 100000, /* for answers to the admin socket on its way out */
    TRIM_LONG_US = 2000,
    TRIM_REST_TIMES = 50000,   /* a minute and more then: a worker waits for at most 20 ppm of it */
    TRIM_US = 10000000,        /* some 0.5 ms each time; 1.5 ms after 5,000 of 8,000 streams */
    STORE_SETTLE_US = 5000000, /* until it counts, and all workers have theirs */
};

/* ------------------------------------------------------------------------- any thread */

void service_wake(struct service *service)
{
    uint64_t one = 1;
    ssize_t ignored = write(service->wake, &one, sizeof one);
    (void)ignored;
}

bool service_is_draining(const struct service *service)
{
    return atomic_load_explicit(&service->is_draining, memory_order_relaxed);
}

void service_drain(struct service *service)
{
    atomic_store(&service->wants_drain, true);
    service_wake(service);
}

struct config *service_config(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    struct config *config = config_ref(service->config);
    pthread_mutex_unlock(&service->lock);
    return config;
}

struct deploy_desk *service_deploy_desk(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    struct deploy_desk *desk =
        service->workers_live > 0 ? worker_deploy_desk(service->workers[0]) : NULL;
    pthread_mutex_unlock(&service->lock);
    return desk;
}

bool service_enqueue(struct service *service, struct admin_call *call)
{
    pthread_mutex_lock(&service->lock);
    bool has_room = service->call_count < SERVICE_CALLS_MAX && !service->calls_closed;
    if (has_room) {
        call->next = NULL;
        *service->calls_end = call;
        service->calls_end = &call->next;
        service->call_count++;
    }
    pthread_mutex_unlock(&service->lock);
    if (has_room)
        service_wake(service);
    return has_room;
}

/* ------------------------------------------------------------------------- its own thread */

static void tell(const struct service *service, enum channel_word word)
{
    char byte = (char)word;
    if (service->options->channel >= 0)
        send(service->options->channel, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void service_on_beat(void *with)
{
    tell(with, SAY_BEAT);
}

/* One log line for each line of <words>. */
void service_log_words(enum log_level level, const char *before, const char *words)
{
    struct text rest = text_of(words), line;
    while (text_next(&rest, '\n', &line))
        if (line.len > 0)
            log_line(level, "config", "%s%.*s", before, TEXT_ARGS(line));
}

static void log_reload(const struct reload_outcome *outcome, uint64_t generation)
{
    if (!outcome->good) {
        service_log_words(LOG_ERROR, "", outcome->words);
        log_line(LOG_ERROR, "config", "not reloaded: generation %llu stays in force",
                 (unsigned long long)generation);
        return;
    }
    log_line(LOG_INFO, "config", "reloaded: generation %llu, %u change%s",
             (unsigned long long)generation, outcome->changes, outcome->changes == 1 ? "" : "s");
    service_log_words(LOG_INFO, "changed: ", outcome->words);
    service_log_words(LOG_WARN, "not in force before a restart: ", outcome->restart);
}

/* Give <next> to the workers and forget the one before; the lock is not held. */
static void put_in_force(struct service *service, struct config *next)
{
    for (unsigned i = 0; i < service->worker_count; i++)
        worker_set_config(service->workers[i], next);
    service_change_parts(service, next);
    service_name_providers(service, next);
    log_set_level((enum log_level)next->telemetry.level);
    pthread_mutex_lock(&service->lock);
    struct config *before = service->config;
    service->config = next;
    pthread_mutex_unlock(&service->lock);
    config_unref(before);
}

struct config *service_load(struct service *service, const struct made_list *list,
                            struct reload_outcome *outcome)
{
    struct config_options load = *service->options->load;
    load.made = list;
    return reload_load(&load, service->config, service->start, outcome);
}

struct config *service_try(struct service *service, const struct made_list *list,
                           struct reload_outcome *outcome, char **words)
{
    size_t length = 0;
    struct config_options load = *service->options->load;
    load.made = list;
    load.json = true;
    load.words = open_memstream(words, &length);
    assert(load.words != NULL);
    config_unref(config_load(&load).config);
    fclose(load.words);
    return service_load(service, list, outcome);
}

void service_take(struct service *service, struct config *next)
{
    put_in_force(service, next);
    tell(service, SAY_RELOADED);
}

bool service_reload(struct service *service)
{
    struct reload_outcome outcome;
    struct made_list *made = made_read(service->made);
    struct config *next = service_load(service, made, &outcome);
    if (next != NULL)
        service_log_left_out(next, made);
    made_list_free(made);
    int64_t now = clock_wall_us();
    log_reload(&outcome, next != NULL ? next->generation : service->config->generation);
    if (next != NULL)
        put_in_force(service, next);
    pthread_mutex_lock(&service->lock);
    if (!outcome.good && service->last_reload.restart) { /* what waited for a restart still does */
        free(outcome.restart);
        outcome.restart = service->last_reload.restart;
        service->last_reload.restart = NULL;
    }
    reload_outcome_done(&service->last_reload);
    service->last_reload = outcome;
    service->reloads++;
    service->tried_us = now;
    if (outcome.good)
        service->reloaded_us = now;
    pthread_mutex_unlock(&service->lock);
    metrics_reload(service->metrics, outcome.good, now);
    service_event(service, "reload", "",
                  outcome.good ? "generation %llu: %u changes"
                               : "refused; generation %llu stays, %u changes",
                  (unsigned long long)service->config->generation, outcome.changes);
    tell(service, outcome.good ? SAY_RELOADED : SAY_KEPT);
    resident_shrink(); /* of what was read, most was dropped */
    return outcome.good;
}

static void answer_calls(struct service *service)
{
    for (;;) {
        pthread_mutex_lock(&service->lock);
        struct admin_call *call = service->calls;
        if (call != NULL) {
            service->calls = call->next;
            service->call_count--;
            if (service->calls == NULL)
                service->calls_end = &service->calls;
        }
        pthread_mutex_unlock(&service->lock);
        if (call == NULL)
            return;
        admin_work(service, call);
        desk_send(call);
    }
}

/* ------------------------------------------------------------------------- drain */

static void begin_drain(struct service *service, bool with_delay)
{
    if (!service_may_drain(service))
        return;
    if (service->phase > SERVICE_DELAY || (service->phase == SERVICE_DELAY && with_delay))
        return;
    int64_t delay_us = with_delay ? service->config->drain_delay_us : 0;
    if (service->phase == SERVICE_SERVING) {
        tell(service, SAY_DRAINING);
        service_event(service, "drain", "", "not ready any more");
    }
    atomic_store(&service->is_draining, true);
    if (service->jobs)
        jobs_drain(service->jobs);
    service->phase = SERVICE_DELAY;
    service->phase_until_us = clock_now_us() + (uint64_t)delay_us;
    log_line(LOG_INFO, "service", "draining: not ready any more, listening for another %lld ms",
             (long long)delay_us / 1000);
}

static struct worker_figures sum_figures(const struct service *service)
{
    struct worker_figures sum = {0};
    for (unsigned i = 0; i < service->worker_count; i++) {
        struct worker_figures one = worker_figures(service->workers[i]);
        sum.connections += one.connections;
        sum.exchanges += one.exchanges;
        sum.upstreams += one.upstreams;
        sum.spans += one.spans;
    }
    return sum;
}

static void on_mark(struct errand *errand)
{
    struct service *service = LIST_MEMBER(errand, struct drain_mark, errand)->service;
    atomic_fetch_sub(&service->marks_left, 1);
}

/* A descriptor may be closed only when no loop watches it any more. From then on connections are
 * refused, not left to wait for nobody. */
static void finish_listeners(struct service *service)
{
    if (service->listeners_closed || atomic_load(&service->marks_left) > 0)
        return;
    service->listeners_closed = true;
    sockets_close_fds(service->options->listener_fds, service->start->listener_count,
                      service->worker_count);
    tell(service, SAY_CLOSED);
}

static void stop_listening(struct service *service, uint64_t now)
{
    service->marks = memory_new(service->worker_count * sizeof *service->marks);
    atomic_store(&service->marks_left, service->worker_count);
    for (unsigned i = 0; i < service->worker_count; i++) {
        service->marks[i] = (struct drain_mark){{NULL, on_mark}, service};
        if (atomic_load(&service->turn) == TURN_LEAVING)
            worker_leave(service->workers[i]);
        else
            worker_drain(service->workers[i]);
        loop_post(worker_loop(service->workers[i]), &service->marks[i].errand);
    }
    service->phase = SERVICE_DRAINING;
    service->phase_until_us = now + (uint64_t)service->config->grace_us;
    service->quiet_since_us = 0;
    struct worker_figures open = sum_figures(service);
    log_line(LOG_INFO, "service", "draining: %llu calls on %llu connections may finish",
             (unsigned long long)open.exchanges, (unsigned long long)open.connections);
}

void service_leave(struct service *service)
{
    log_line(LOG_INFO, "service", "another service has taken over");
    stop_listening(service, clock_now_us());
}

/* Nothing open? Clients that are connected but silent are waited for only a while. */
static void look_whether_drained(struct service *service, uint64_t now)
{
    struct worker_figures open = sum_figures(service);
    if (open.exchanges > 0 || limits_are_asked(service->limits)) /* its calls need our answers */
        service->quiet_since_us = 0;
    else if (service->quiet_since_us == 0)
        service->quiet_since_us = now;
    bool is_quiet = service->quiet_since_us != 0 &&
                    now - service->quiet_since_us >=
                        (open.connections > 0 || open.spans > 0 ? QUIET_US : LAST_GRACE_US);
    if (is_quiet) {
        log_line(LOG_INFO, "service", "drained");
        service->phase = SERVICE_OVER;
    } else if (now >= service->phase_until_us) {
        log_line(LOG_WARN, "service", "the grace is over: %llu calls are cut",
                 (unsigned long long)open.exchanges);
        service->phase = SERVICE_OVER;
    }
}

/* Move the drain on; returns how long to sleep at most, in milliseconds. */
static int keep_time(struct service *service)
{
    uint64_t now = clock_now_us();
    if (service->phase == SERVICE_DELAY && now >= service->phase_until_us)
        stop_listening(service, now);
    if (service->phase == SERVICE_DRAINING) {
        finish_listeners(service);
        look_whether_drained(service, now);
    }
    switch (service->phase) {
    case SERVICE_DELAY:
        return (int)((service->phase_until_us - now + 999) / 1000);
    case SERVICE_DRAINING:
        return LOOK_MS;
    case SERVICE_OVER:
        return 0;
    case SERVICE_SERVING:
    default:
        return service_keep_turn(service);
    }
}

/* A crowd leaves its gaps between what lives on, and calls that go on touch them all again in the
 * course of time. Such gaps go back to the kernel now and then, without waiting for a quiet moment
 * as a worker does (janitor.h), and here: a worker that wants memory just then waits until its own
 * part of the heap has been looked through, not for all of it. Returns how long to sleep at most,
 * no longer than <timeout>, in milliseconds. */
static int keep_small(struct service *service, int timeout)
{
    uint64_t now = clock_now_us();
    if (now >= service->trim_due_us) {
        resident_trim();
        uint64_t after = clock_now_us(), took = after - now;
        /* The kernel is told of each gap, also when it has it already: of a heap with many that
         * takes long, and workers wait. */
        service->trim_due_us = after + (took > TRIM_LONG_US ? TRIM_REST_TIMES * took : TRIM_US);
        now = after;
    }
    int left = (int)((service->trim_due_us - now + 999) / 1000);
    return timeout < 0 || timeout > left ? left : timeout;
}

/* ------------------------------------------------------------------------- what it is told */

static void hear(struct service *service, char word)
{
    switch (word) {
    case SAY_RELOAD:
        if (!service_is_upgrading(service))
            service_reload(service);
        break;
    case SAY_DRAIN:
        begin_drain(service, true);
        break;
    case SAY_DRAIN_NOW:
        begin_drain(service, false);
        break;
    case SAY_STOP:
        log_line(LOG_WARN, "service", "ending at once");
        service->is_forced = true;
        service->phase = SERVICE_OVER;
        break;
    case SAY_REOPEN:
        log_reopen();
        break;
    default:
        break;
    }
}

static void read_channel(struct service *service)
{
    char bytes[CHANNEL_BYTES];
    ssize_t len;
    int passed;
    while ((len = channel_hear(service->options->channel, bytes, &passed)) > 0)
        if (!service_hear_upgrade(service, bytes[0], passed))
            hear(service, bytes[0]);
    if (len == 0) { /* the supervisor is gone; nobody may hold the sockets without it */
        log_line(LOG_ERROR, "service", "the supervisor is gone");
        service->phase = SERVICE_OVER;
    }
}

static void serve(struct service *service, int signals)
{
    while (service->phase != SERVICE_OVER) {
        struct pollfd fds[3] = {{.fd = service->options->channel, .events = POLLIN},
                                {.fd = service->wake, .events = POLLIN},
                                {.fd = signals, .events = POLLIN}};
        int timeout = keep_small(service, keep_time(service));
        if (service->phase == SERVICE_OVER || poll(fds, 3, timeout) <= 0)
            continue;
        struct signalfd_siginfo info;
        uint64_t count;
        if (fds[1].revents != 0 && read(service->wake, &count, sizeof count) > 0 &&
            atomic_exchange(&service->wants_drain, false) && !service_passes_drain_on(service))
            begin_drain(service, true);
        if (fds[2].revents != 0 && read(signals, &info, sizeof info) > 0)
            begin_drain(service, true); /* TERM for the whole group, as systemd sends it */
        if (fds[0].revents != 0)
            read_channel(service);
        answer_calls(service);
        service_answer_nodes(service);
    }
}

/* ------------------------------------------------------------------------- begin and end */

/* TERM drains; what a terminal or systemd sends to the whole group is for the supervisor. */
static int open_signals(void)
{
    static const int not_ours[] = {SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    sigset_t term, all;
    for (size_t i = 0; i < sizeof not_ours / sizeof *not_ours; i++)
        signal(not_ours[i], SIG_IGN);
    sigemptyset(&all);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigaddset(&all, SIGTERM);
    /* Every thread inherits this: TERM comes to the signalfd only. */
    sigprocmask(SIG_SETMASK, &all, NULL);
    return signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void set_live(struct service *service, unsigned count)
{
    pthread_mutex_lock(&service->lock);
    service->workers_live = count;
    pthread_mutex_unlock(&service->lock);
}

static void start_workers(struct service *service)
{
    const struct service_options *options = service->options;
    struct directory *directory = service_directory(service);
    struct arena arena;
    arena_init(&arena, VERDICTS_BLOCK);
    struct text verdicts = service_verdicts(service, &arena);
    service->workers = memory_new(service->worker_count * sizeof(struct worker *));
    for (unsigned i = 0; i < service->worker_count; i++) {
        struct worker_options one = {.index = i,
                                     .config = service->config,
                                     .directory = directory,
                                     .limits = service->limits,
                                     .estimates = service->estimates,
                                     .cache = service->cache,
                                     .semantic = service->semantic,
                                     .start = service->start,
                                     .node = service->node,
                                     .ledger = service->ledger,
                                     .decisions = service->decisions,
                                     .content = service->content,
                                     .batches = service->batches,
                                     .jobs = service->jobs,
                                     .holds_calls = service->config->store.is_redis,
                                     .metrics = service->metrics,
                                     .mock = service->mock,
                                     .listener_fds = options->listener_fds +
                                                     i * service->config->listener_count,
                                     .admin_fd = options->admin_fd,
                                     .verdicts = verdicts,
                                     .service = service};
        service->workers[i] = worker_start(&one);
    }
    arena_done(&arena);
    directory_unref(directory);
    descriptors_begin();
    if (service->jobs)
        jobs_begin(service->jobs, service->workers, service->worker_count);
    set_live(service, service->worker_count);
    service_give_directory(service); /* it may have changed while they were started */
}

/* What a tenant has used is asked for before its first call comes. */
static void expect_tenant(void *with, const struct tenant *tenant)
{
    if (!tenant->parent)
        limits_expect(with, tenant->name);
}

static void expect_tenants(struct service *service)
{
    struct directory *directory = roster_view(service->roster);
    directory_each_tenant(directory, expect_tenant, service->limits);
    directory_unref(directory);
}

/* A store that answers is waited for, so that the first calls find it, on whichever worker they
 * come; not one that is away. */
static void wait_for_store(struct service *service)
{
    uint64_t begun = clock_now_us();
    while (service->config->store.is_redis) {
        struct limits_figures now = limits_figures(service->limits);
        uint64_t most = now.store_connected ? STORE_SETTLE_US : SERVICE_STORE_WAIT_US;
        if ((now.store_up && now.store_swept && now.store_connected >= service->worker_count) ||
            clock_now_us() - begun >= most)
            break;
        usleep(SERVICE_STORE_LOOK_US);
    }
}

static void log_start(const struct service *service)
{
    const struct config *config = service->config;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct listener_settings *one = &config->listeners[i];
        log_line(LOG_INFO, "service", "listening on %s (%s)", one->address, one->name);
        if (one->serve & SERVE_UI && !strchr("u/s", one->address[0])) /* no socket's name */
            log_line(LOG_INFO, "service", "dashboard at http%s://%s/ui/", one->has_tls ? "s" : "",
                     one->address);
    }
    log_line(LOG_INFO, "service",
             "sluice %s serves: workers %u, providers %zu, models %zu, tenants %zu",
             PROGRAM_VERSION, service->worker_count, config->provider_count, config->model_count,
             config->tenant_count);
}

static void begin(struct service *service, const struct service_options *options)
{
    *service = (struct service){.options = options,
                                .start = config_ref(options->config),
                                .config = config_ref(options->config),
                                .worker_count = options->config->workers,
                                .started_us = clock_now_us(),
                                .started_wall_us = clock_wall_us()};
    service->reloaded_us = service->started_wall_us;
    service->calls_end = &service->calls;
    pthread_mutex_init(&service->lock, NULL);
    pthread_mutex_init(&service->counts, NULL);
    service->events = memory_new(sizeof *service->events);
    pthread_mutex_init(&service->events->lock, NULL);
    gate_init(&service->gate);
    service->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    service_event(service, "start", "", "sluice %s", PROGRAM_VERSION);
}

/* No question is taken any more; those that wait are answered while the workers still run. */
static void close_questions(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    service->calls_closed = true;
    pthread_mutex_unlock(&service->lock);
    answer_calls(service);
    if (service->roster_desk != NULL)
        desk_close(service->roster_desk);
    if (service->ledger_desk != NULL)
        desk_close(service->ledger_desk);
}

/* Model servers end when nobody asks them any more, in front of the loops. */
static void end_deployments(struct service *service)
{
    if (service->worker_count == 0)
        return;
    struct deploy_desk *desk = worker_deploy_desk(service->workers[0]);
    int64_t patience = service->is_forced ? FORCED_US : deploy_desk_patience_us(service->config);
    struct watchdog *beats = watchdog_start(NULL, 0, service_on_beat, service);
    deploy_desk_end(desk, patience);
    watchdog_stop(beats);
}

/* It may have much to write, and wait for the disk. */
static void close_content(struct service *service)
{
    struct watchdog *beats = watchdog_start(NULL, 0, service_on_beat, service);
    content_close(service->content);
    watchdog_stop(beats);
}

static void finish(struct service *service)
{
    close_questions(service);
    service_keep_spent(service);
    service_keep_verdicts(service);
    end_deployments(service);
    set_live(service, 0);
    jobs_hush(service->jobs);
    for (unsigned i = service->worker_count; i-- > 0;) /* the first has the desk: it is last */
        worker_stop(service->workers[i]);
    descriptors_done();
    jobs_close(service->jobs);
    desk_free(service->roster_desk);
    desk_free(service->ledger_desk);
    memory_free(service->workers);
    memory_free(service->marks);
    decisions_close(service->decisions);
    close_content(service);
    service_close_roster(service);
    service_close_ledger(service);
    service_close_policy(service);
    service_close_made(service);
    mock_stop(service->mock);
    metrics_free(service->metrics);
    reload_outcome_done(&service->last_reload);
    config_unref(service->config);
    config_unref(service->start);
    close(service->wake);
    gate_done(&service->gate);
    pthread_mutex_destroy(&service->counts);
    pthread_mutex_destroy(&service->lock);
    pthread_mutex_destroy(&service->events->lock);
    memory_free(service->events);
    memory_wipe(&service->admin_key, sizeof service->admin_key);
    memory_wipe(&service->shared_secrets, sizeof service->shared_secrets);
    spent_free(service->ended_sessions);
    spent_free(service->ended_sign_ins);
}

/* The files may be others than when `run` has looked, and the successor of an upgrade has not. */
static bool can_start(const struct service *service)
{
    struct fault fault;
    if (worker_can_use(service->config, &fault))
        return true;
    service_cannot_start(service, fault.text);
    return false;
}

static bool take_turn(struct service *service)
{
    return !service->options->follows || service_take_over(service);
}

/* It may take long: an upgrade of the ledger, many keys, many calls to count. It must not hang. */
static bool open_parts(struct service *service)
{
    static const struct part {
        bool (*open)(struct service *service);
        const char *name;
    } parts[] = {
        {service_open_ledger, "the ledger"},
        {service_open_made, "deployments that were made at run time"},
        {service_open_policy, "limits, caches and decisions"},
        {service_open_roster, "tenants and keys"},
        {service_settle_node, "the name of this node"},
        {take_turn, "the end of the service before"},
        {service_open_jobs, "jobs"},
        {service_count_again, "what limits and budgets have had"},
    };
    struct watchdog *watchdog = watchdog_start_opening(
        service->options->follows ? 0 : watchdog_start_limit_us(), service_on_beat, service);
    bool good = true;
    for (size_t i = 0; good && i < sizeof parts / sizeof *parts; i++) {
        watchdog_note(watchdog, parts[i].name);
        good = parts[i].open(service);
    }
    watchdog_stop(watchdog);
    return good;
}

/* All that workers need. */
static bool open_all(struct service *service)
{
    database_keep_versions(service->options->follows); /* it may come to nothing */
    if (!can_start(service) || !open_parts(service))
        return false;
    expect_tenants(service);
    service_open_metrics(service);
    service->mock = mock_start();
    admin_open_key(service);
    admin_open_sessions(service);
    service->roster_desk = desk_new("admin-keys", service);
    service->ledger_desk = desk_new("admin-ledger", service);
    bool good = !service->options->follows || service_await_accept(service);
    database_keep_versions(false);
    return good;
}

static void begin_to_serve(struct service *service)
{
    atomic_store(&service->is_starting, true);
    start_workers(service);
    service->watchdog =
        watchdog_start(service->workers, service->worker_count, service_on_beat, service);
    service_repeat_orders(service);
    wait_for_store(service);
    for (unsigned i = 0; i < service->worker_count; i++)
        worker_let_in(service->workers[i]);
    log_start(service);
    resident_serve();
    tell(service, SAY_READY); /* first: who dies after /readyz said 200 is replaced */
    atomic_store(&service->is_starting, false);
    endpoint_prepare(); /* what only calls need, and who waits for all of it need not wait for it */
    resident_shrink();
    service->trim_due_us = clock_now_us() + TRIM_US;
}

int service_run(const struct service_options *options)
{
    struct service service;
    int signals = open_signals();
    crash_arm();
    resident_begin();
    begin(&service, options);
    log_open(service.config->telemetry.file, (enum log_format)service.config->telemetry.format,
             (enum log_level)service.config->telemetry.level);
    int code = EXIT_FAILED;
    if (open_all(&service)) {
        begin_to_serve(&service);
        serve(&service, signals);
        watchdog_stop(service.watchdog);
        code = EXIT_GOOD;
    } else {
        service.worker_count = 0;
    }
    finish(&service);
    close(signals);
    log_close();
    return code;
}
