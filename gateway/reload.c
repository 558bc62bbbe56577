/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/reload.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/worker.h"

void reload_outcome_done(struct reload_outcome *outcome)
{
    free(outcome->words);
    free(outcome->restart);
    free(outcome->errors);
    *outcome = (struct reload_outcome){0};
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The workers know a listener by its number: so the list as such cannot change. What is behind an
 * address (certificates, what it serves) can. */
static bool has_same_listeners(const struct config *a, const struct config *b)
{
    if (a->listener_count != b->listener_count)
        return false;
    for (size_t i = 0; i < a->listener_count; i++)
        if (!is_same(a->listeners[i].address, b->listeners[i].address) ||
            !is_same(a->listeners[i].name, b->listeners[i].name))
            return false;
    return true;
}

static bool has_same_redis(const struct config *a, const struct config *b)
{
    const struct redis_options *one = &a->store.redis, *other = &b->store.redis;
    for (size_t i = 0; i < REDIS_SENTINELS_MAX; i++)
        if (!is_same(one->sentinels[i], other->sentinels[i]))
            return false;
    return is_same(one->url, other->url) && one->mode == other->mode &&
           is_same(one->sentinel_master, other->sentinel_master) &&
           is_same(one->sentinel_username, other->sentinel_username) &&
           is_same(one->sentinel_password, other->sentinel_password) &&
           is_same(one->server_name, other->server_name) && one->timeout_us == other->timeout_us &&
           is_same(one->tls.cert_file, other->tls.cert_file) &&
           is_same(one->tls.key_file, other->tls.key_file) &&
           is_same(one->tls.ca_file, other->tls.ca_file) &&
           is_same(a->store.key_prefix, b->store.key_prefix) &&
           a->store.replicas_max == b->store.replicas_max;
}

static void name_restart(FILE *restart, bool is_changed, const char *what)
{
    if (is_changed && restart != NULL)
        fprintf(restart, "%s\n", what);
}

void reload_adopt(struct config *next, const struct config *current, const struct config *start,
                  FILE *restart)
{
    bool other_listeners = !has_same_listeners(next, start);
    next->generation = current->generation + 1;
    name_restart(restart, other_listeners, "server.listeners (names or addresses)");
    name_restart(restart, next->workers != start->workers, "server.workers");
    name_restart(restart, !is_same(next->state, start->state), "STATE");
    name_restart(restart, !is_same(next->admin_socket, start->admin_socket), "admin.socket");
    name_restart(restart, !is_same(next->database, start->database), "store.embedded.path");
    name_restart(restart, next->store.is_redis != start->store.is_redis, "store.type");
    name_restart(restart,
                 next->store.is_redis && start->store.is_redis && !has_same_redis(next, start),
                 "store.redis (but on_error)");
    name_restart(restart,
                 next->keep_requests_us != start->keep_requests_us ||
                     next->keep_minutes_us != start->keep_minutes_us ||
                     next->keep_hours_us != start->keep_hours_us ||
                     next->keep_days_us != start->keep_days_us,
                 "store.retention (of usage)");
    name_restart(restart, !is_same(next->ledger_path, start->ledger_path), "ledger.path");
    name_restart(restart,
                 next->ledger_sync_disk != start->ledger_sync_disk ||
                     next->ledger_sync_store != start->ledger_sync_store,
                 "ledger.sync");
    name_restart(restart, next->deploy.leave != start->deploy.leave, "deployments.on_exit");
    name_restart(restart, !is_same(next->telemetry.file, start->telemetry.file),
                 "telemetry.log.file");
    name_restart(restart,
                 next->telemetry.metrics_enabled != start->telemetry.metrics_enabled ||
                     next->telemetry.gen_ai != start->telemetry.gen_ai ||
                     next->telemetry.tenant_label != start->telemetry.tenant_label ||
                     next->telemetry.max_label_values != start->telemetry.max_label_values,
                 "telemetry.metrics");
    if (other_listeners) {
        next->listeners = start->listeners;
        next->listener_count = start->listener_count;
    }
    next->workers = start->workers;
    next->store.is_redis = start->store.is_redis;
    next->store.redis = start->store.redis;
    next->store.key_prefix = start->store.key_prefix;
    next->store.replicas_max = start->store.replicas_max;
}

/* What <load> finds wrong, as text or JSON; malloc()ed. */
static struct config *load_into(const struct config_options *load, bool json, char **words)
{
    size_t length = 0;
    struct config_options options = *load;
    options.words = open_memstream(words, &length);
    assert(options.words != NULL);
    options.json = json;
    struct config_result result = config_load(&options);
    fclose(options.words);
    return result.config;
}

static FILE *words_open(char **words, size_t *length)
{
    FILE *out = open_memstream(words, length);
    assert(out != NULL);
    return out;
}

/* A problem that is found when the file is read already, as text or JSON; malloc()ed. */
static char *said(const struct config_options *load, bool json, const char *why)
{
    char *words;
    size_t length = 0;
    struct config_options options = *load;
    options.words = words_open(&words, &length);
    options.json = json;
    config_say(&options, SEVERITY_ERROR, why);
    fclose(options.words);
    return words;
}

struct config *reload_load(const struct config_options *load, const struct config *current,
                           const struct config *start, struct reload_outcome *outcome)
{
    size_t length = 0;
    *outcome = (struct reload_outcome){0};
    struct config *next = load_into(load, false, &outcome->words);
    if (next == NULL) {
        struct config *again = load_into(load, true, &outcome->errors);
        if (again != NULL) /* mended between the two: the next reload takes it */
            config_unref(again);
        outcome->restart = strdup("");
        return NULL;
    }
    struct fault fault;
    if (!worker_can_use(next, &fault)) {
        config_unref(next);
        free(outcome->words);
        outcome->words = said(load, false, fault.text);
        outcome->errors = said(load, true, fault.text);
        outcome->restart = strdup("");
        return NULL;
    }
    FILE *out = words_open(&outcome->restart, &length);
    free(outcome->words);
    FILE *changes = words_open(&outcome->words, &length);
    outcome->changes = config_diff(current, next, changes);
    reload_adopt(next, current, start, out);
    fclose(changes);
    fclose(out);
    outcome->errors = strdup("");
    outcome->good = true;
    return next;
}
