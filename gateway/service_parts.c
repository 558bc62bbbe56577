/* SPDX-License-Identifier: Apache-2.0 */
/* What all workers of a service share: opened at its start, given a new configuration, closed. */
#include <string.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/batches.h"
#include "gateway/content.h"
#include "gateway/decisions.h"
#include "gateway/jobs.h"
#include "gateway/lineage.h"
#include "gateway/recount.h"
#include "gateway/service_state.h"
#include "policy/cache.h"
#include "policy/estimate.h"
#include "policy/ledger.h"
#include "policy/semantic.h"
#include "policy/underway.h"

enum {
    CACHE_ENTRY_BYTES = 4 << 20,
    ANSWERS_BYTES = 256 << 20, /* to Idempotency-Keys, on disk */
};

static void ref_owner(void *owner)
{
    config_ref(owner);
}

static void unref_owner(void *owner)
{
    config_unref(owner);
}

static struct roster_file file_of(struct config *config)
{
    return (struct roster_file){.tenants = config->tenants,
                                .tenant_count = config->tenant_count,
                                .keys = config->key_list,
                                .key_count = config->key_count,
                                .defaults = config->policy_limits.defaults.at,
                                .default_count = config->policy_limits.defaults.count,
                                .algorithm = config->policy_limits.algorithm,
                                .strict_tokens = config->policy_limits.strict_tokens,
                                .away_limits = config->store.away_limits,
                                .away_budgets = config->store.away_budgets,
                                .owner = config,
                                .owner_ref = ref_owner,
                                .owner_unref = unref_owner};
}

/* Under the lock: give <directory> to the workers, unless a later one is in force - a change and a
 * reload may bring one each at the same time. Takes the reference; what it returns is to be
 * unreferenced without the lock. */
static struct directory *put_in_force(struct service *service, struct directory *directory)
{
    struct directory *before = service->directory;
    if (before && directory_version(before) > directory_version(directory))
        return directory;
    for (unsigned i = 0; i < service->workers_live; i++)
        worker_set_directory(service->workers[i], directory);
    service->directory = directory;
    return before;
}

struct directory *service_directory(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    struct directory *directory = directory_ref(service->directory);
    pthread_mutex_unlock(&service->lock);
    return directory;
}

void service_give_directory(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    for (unsigned i = 0; i < service->workers_live; i++)
        worker_set_directory(service->workers[i], service->directory);
    pthread_mutex_unlock(&service->lock);
}

/* Once, when <next> takes the place of <before> (NULL = none, or at the start). */
static void tell_strangers(struct service *service, const struct directory *before,
                           const struct directory *next)
{
    bool was = before && directory_has_stored(before), is = directory_has_stored(next);
    struct config *config = service_config(service);
    if (config->anonymous_implied && is && !was)
        log_line(LOG_WARN, "keys",
                 "a key is needed from now on, for there are tenants that were made through the "
                 "API; \"anonymous: true\" lets callers without one in");
    else if (config->anonymous_implied && was && !is)
        log_line(LOG_WARN, "keys",
                 "no key is needed any more, for there is no tenant; \"anonymous: false\" asks for "
                 "one");
    else if (config->anonymous_implied && !is && before && directory_is_unknown(before) &&
             !directory_is_unknown(next))
        log_line(LOG_INFO, "keys", "no key is needed: Redis has answered, and there is no tenant");
    config_unref(config);
}

static void forget_view(struct directory *directory)
{
    if (directory)
        directory_unref(directory);
}

/* Has <directory> no limit that <other> has not? */
static bool has_all_counted(const struct directory *directory, const struct directory *other)
{
    return directory_has_tenants_of(directory, other) && !directory_has_gained(directory, other);
}

/* Whoever revokes a key waits for nothing. <directory> is put in force, and its reference taken,
 * when its limits are those in force, or when all limits are still to be counted. While those of
 * its tenants are being counted, its keys are in force, and all of it follows when that is done.
 * Else false. */
static bool put_at_once(struct service *service, struct directory *directory)
{
    struct directory *gone = NULL, *late = NULL;
    pthread_mutex_lock(&service->lock);
    struct directory *in_force = service->directory, *counting = service->counting;
    bool begins = !service->has_counted || !in_force;
    bool good = begins || has_all_counted(directory, in_force);
    if (good) {
        gone = put_in_force(service, directory_ref(directory));
    } else if (counting && has_all_counted(directory, counting)) {
        good = true;
        gone = put_in_force(service, directory_with_keys(in_force, directory));
        late = service->owed;
        service->owed = directory_ref(directory);
    }
    pthread_mutex_unlock(&service->lock);
    if (good)
        tell_strangers(service, gone, directory);
    forget_view(gone);
    forget_view(late);
    if (!good)
        return false;
    lineage_note(service->lineage, directory);
    directory_unref(directory);
    return true;
}

static struct semantic_options semantic_options_of(const struct config *config)
{
    return (struct semantic_options){config->cache.threshold, config->cache.semantic_ttl_us,
                                     config->cache.semantic_entries};
}

static void tell_uncounted(struct service *service, const struct fault *why)
{
    log_line(LOG_ERROR, "service", "what new limits have had cannot be read; they begin at 0: %s",
             why->text);
    service_event(service, "ledger", "",
                  "what new limits have had could not be read; they began at 0: %s", why->text);
}

/* A limit that is new counts what its ledger has from before: at the next start it would. Else it
 * would allow all of its amount once more. Then <directory> is in force; takes the reference. */
static void put_counted(struct service *service, const struct config *config,
                        struct directory *directory)
{
    struct fault why;
    pthread_mutex_lock(&service->counts);
    pthread_mutex_lock(&service->lock);
    struct directory *before = directory_ref(service->directory);
    service->counting = directory;
    pthread_mutex_unlock(&service->lock);
    /* Keys are many, and looked at only when one of them may have got a limit. */
    bool keys =
        !directory_has_file_of(directory, before) || directory_has_gained(directory, before);
    struct recount_change change = {directory, before, keys};
    struct ledger_reader *reader = ledger_reader_new(service->start->database);
    if (!recount_added(service->limits, config, &change, service->start->ledger_path, reader, &why))
        tell_uncounted(service, &why);
    ledger_reader_free(reader);
    directory_unref(before);

    pthread_mutex_lock(&service->lock);
    struct directory *next = service->owed ? service->owed : directory;
    service->counting = service->owed = NULL;
    struct directory *gone = put_in_force(service, directory_ref(next));
    pthread_mutex_unlock(&service->lock);
    pthread_mutex_unlock(&service->counts);
    tell_strangers(service, gone, next);
    forget_view(gone);
    lineage_note(service->lineage, next);
    if (next != directory)
        directory_unref(next);
    directory_unref(directory);
}

static void keep_content(struct service *service, const struct config *config)
{
    int64_t keep_us = config->keep_content_us < config->keep_requests_us ? config->keep_content_us
                                                                         : config->keep_requests_us;
    struct content_keeping keeping = {.wanted = config->capture == CAPTURE_CONTENT,
                                      .keep_us = keep_us,
                                      .max_bytes = (int64_t)config->keep_content_bytes};
    content_keep(service->content, &keeping);
}

void service_change_parts(struct service *service, struct config *next)
{
    struct roster_file file = file_of(next);
    struct directory *directory = roster_set_file(service->roster, &file);
    put_counted(service, next, directory);
    struct cache_options kept = {next->cache.max_bytes, CACHE_ENTRY_BYTES};
    cache_set_options(service->cache, &kept);
    decisions_keep(service->decisions, next->keep_decisions_us,
                   (int64_t)next->keep_decisions_bytes);
    keep_content(service, next);
    struct semantic_options alike = semantic_options_of(next);
    if (service->semantic)
        semantic_set_options(service->semantic, &alike);
    if (service->jobs)
        jobs_set_config(service->jobs, next);
}

bool service_open_ledger(struct service *service)
{
    struct fault why;
    const struct config *config = service->config;
    struct ledger_options options = {.directory = config->ledger_path,
                                     .database = config->database,
                                     .sync = config->ledger_sync_store  ? SYNC_STORE
                                             : config->ledger_sync_disk ? SYNC_DISK
                                                                        : SYNC_OS,
                                     .workers = service->worker_count,
                                     .keep_requests_us = config->keep_requests_us,
                                     .keep_minutes_us = config->keep_minutes_us,
                                     .keep_hours_us = config->keep_hours_us,
                                     .keep_days_us = config->keep_days_us};
    struct ledger_shared shared = {&service->start->store.redis, service->start->store.key_prefix};
    if (config->store.is_redis)
        options.shared = &shared;
    service->ledger = ledger_open(&options, &why);
    if (service->ledger == NULL)
        service_cannot_start(service, why.text);
    else if (ledger_set_aside(service->ledger) != NULL)
        service_event(service, "ledger", "", "the database was damaged and moved to %s",
                      ledger_set_aside(service->ledger));
    if (service->ledger != NULL)
        service->lineage = lineage_new(service->ledger);
    return service->ledger != NULL;
}

/* On the roster's thread, or that of who changed something. */
static void on_roster_change(void *with, struct directory *directory)
{
    struct service *service = with;
    if (put_at_once(service, directory))
        return;
    struct config *config = service_config(service);
    put_counted(service, config, directory);
    config_unref(config);
}

bool service_open_roster(struct service *service)
{
    struct fault why;
    struct config *config = service->config;
    struct roster_file file = file_of(config);
    struct roster_options options = {
        .database = config->database,
        .redis = config->store.is_redis ? &service->start->store.redis : NULL,
        .prefix = service->start->store.key_prefix,
        .on_change = on_roster_change,
        .with = service,
    };
    service->roster = roster_open(&options, &file, &why);
    if (service->roster == NULL) {
        service_cannot_start(service, why.text);
        return false;
    }
    pthread_mutex_lock(&service->lock); /* the roster's own thread may have set it already */
    bool is_set = service->directory != NULL;
    pthread_mutex_unlock(&service->lock);
    if (!is_set)
        put_at_once(service, roster_view(service->roster));
    return true;
}

void service_close_roster(struct service *service)
{
    if (service->roster)
        roster_close(service->roster);
    if (service->directory)
        directory_unref(service->directory);
    lineage_free(service->lineage);
}

static void open_decisions(struct service *service)
{
    const struct config *config = service->config;
    char *directory = memory_format("%s/decisions", config->state);
    service->decisions = decisions_open(directory, service->worker_count);
    decisions_keep(service->decisions, config->keep_decisions_us,
                   (int64_t)config->keep_decisions_bytes);
    memory_free(directory);
}

static void open_content(struct service *service)
{
    char *path = memory_format("%s/content.db", service->config->state);
    service->content = content_open(path);
    keep_content(service, service->config);
    memory_free(path);
}

/* Has the one before, whom we are to follow, a file that we cannot use? Where it is damaged, or may
 * not be read, nobody has it: then we go on as any start does. */
static bool is_left_behind(const struct service *service, const struct fault *why)
{
    return service->options->follows && why->kind == FAULT_STORE_AWAY;
}

/* Without it who takes over would make calls again that the one before has answered. */
static bool open_answers(struct service *service, const struct config *config)
{
    struct fault why;
    char *path = memory_format("%s/answers.db", config->state);
    bool opened = cache_remember(service->cache, path, ANSWERS_BYTES, &why);
    memory_free(path);
    if (opened)
        return true;
    if (is_left_behind(service, &why)) {
        service_cannot_start(service, why.text);
        return false;
    }
    log_line(LOG_WARN, "service", "answers to Idempotency-Keys do not outlive a restart: %s",
             why.text);
    return true;
}

/* Counters, what is learnt of models, kept answers: for all workers. */
bool service_open_policy(struct service *service)
{
    struct fault why;
    const struct config *config = service->config;
    bool named = recount_node(config->ledger_path, service->node, &service->node_sync, &why);
    if (named && config->store.is_redis) { /* others are told of it by what comes next */
        named = node_sync_end(service->node_sync, &why);
        service->node_sync = NULL;
    }
    if (!named) {
        service_cannot_start(service, why.text);
        return false;
    }
    struct limits_options options = {.redis = config->store.is_redis ? &service->start->store.redis
                                                                     : NULL,
                                     .prefix = service->start->store.key_prefix,
                                     .node = service->node,
                                     .replicas_max = config->store.replicas_max};
    struct cache_options kept = {config->cache.max_bytes, CACHE_ENTRY_BYTES};
    service->limits = limits_new(&options);
    service->batches = batches_new();
    service->estimates = estimates_new();
    service->cache = cache_new(&kept);
    struct semantic_options alike = semantic_options_of(config);
    service->semantic = semantic_new(&alike); /* a reload may enable it */
    if (!service->semantic && config->cache.semantic)
        log_line(LOG_ERROR, "cache", "there is no thread for the semantic cache: it is off");
    if (!open_answers(service, config))
        return false;
    cache_mind_others(service->cache, underway_open(service->options->underway));
    open_decisions(service);
    open_content(service);
    return true;
}

bool service_open_jobs(struct service *service)
{
    struct fault why;
    struct jobs_options jobs = {service->config, service->node, service->metrics};
    service->jobs = jobs_open(&jobs, &why);
    if (service->jobs)
        return true;
    /* Those that the one before has accepted would wait for ever. */
    if (is_left_behind(service, &why)) {
        service_cannot_start(service, why.text);
        return false;
    }
    log_line(LOG_ERROR, "service", "there are no jobs: %s", why.text);
    return true;
}

void service_close_policy(struct service *service)
{
    struct fault why;
    node_sync_end(service->node_sync, &why);
    semantic_free(service->semantic);
    if (service->cache)
        cache_free(service->cache);
    batches_free(service->batches);
    if (service->estimates)
        estimates_free(service->estimates);
    if (service->limits)
        limits_free(service->limits);
}

bool service_settle_node(struct service *service)
{
    struct fault why;
    bool good = node_sync_end(service->node_sync, &why);
    service->node_sync = NULL;
    if (!good)
        service_cannot_start(service, why.text);
    return good;
}

/* What has come since <*directory> was counted, until nothing has. */
static bool count_later(struct service *service, struct directory **directory,
                        struct ledger_reader *reader, struct fault *why)
{
    for (bool good = true; good;) {
        pthread_mutex_lock(&service->lock);
        struct directory *next = directory_ref(service->directory);
        bool done = service->has_counted = next == *directory;
        pthread_mutex_unlock(&service->lock);
        struct recount_change change = {next, *directory, true};
        if (!done)
            good = recount_added(service->limits, service->config, &change,
                                 service->config->ledger_path, reader, why);
        directory_unref(*directory);
        *directory = next;
        if (done)
            return true;
    }
    return false;
}

/* Counters that begin empty would let money be spent twice: who cannot count does not begin. A
 * damaged database is another matter, for waiting does not mend it: the next start moves it aside.
 */
bool service_count_again(struct service *service)
{
    struct fault why;
    struct ledger_reader *reader = ledger_reader_new(service->config->database);
    struct directory *directory = service_directory(service);
    bool good = recount(service->limits, service->config, directory, reader, &why) &&
                batches_rebuild(service->batches, service->limits, service->config, directory,
                                reader, &why) &&
                count_later(service, &directory, reader, &why);
    directory_unref(directory);
    ledger_reader_free(reader);
    if (!good) {
        char *words = memory_format(
            "what limits and budgets have had cannot be read: %s%s", why.text,
            ledger_is_damaged(service->ledger) ? "; the next start moves the database aside" : "");
        service_cannot_start(service, words);
        memory_free(words);
    }
    return good;
}

/* Of a deployment each replica has an address of its own. */
void service_name_providers(struct service *service, const struct config *config)
{
    for (size_t i = 0; i < config->provider_count; i++) {
        const struct provider_settings *provider = &config->providers[i];
        bool has_host = !provider->slots && !provider->url.is_unix;
        metrics_provider(service->metrics, provider->name, provider->type->name,
                         has_host ? provider->url.host : (struct text){"", 0});
    }
}

void service_open_metrics(struct service *service)
{
    const struct config *config = service->config;
    if (!config->telemetry.metrics_enabled)
        return;
    struct metrics_options options = {.workers = service->worker_count,
                                      .max_label_values = config->telemetry.max_label_values,
                                      .tenant_label = config->telemetry.tenant_label,
                                      .gen_ai = config->telemetry.gen_ai};
    service->metrics = metrics_new(&options);
    service_name_providers(service, config);
    metrics_ledger(service->metrics, service->ledger);
    metrics_decisions(service->metrics, service->decisions);
    metrics_content(service->metrics, service->content);
    metrics_policy(service->metrics, service->limits, service->cache);
    metrics_semantic(service->metrics, service->semantic);
    metrics_reload(service->metrics, true, service->started_wall_us);
}

/* What is not drained into the store yet is drained now; that may take a while, and is no hang. */
void service_close_ledger(struct service *service)
{
    if (service->ledger == NULL)
        return;
    struct watchdog *beats = watchdog_start(NULL, 0, service_on_beat, service);
    ledger_close(service->ledger);
    watchdog_stop(beats);
}
