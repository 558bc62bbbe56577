/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/job_hook.h"

#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/base/log.h"
#include "gateway/http/url.h"
#include "gateway/jobs_inside.h"
#include "gateway/wire/ask.h"

enum {
    HOOKS_MAX = 4096, /* under way or put off */
    CALLS_MAX = 32,   /* at once; the others wait a moment */
    ANSWER_MAX = 64 * 1024,
    HEAD_ROOM = 8192,
    BODY_MORE = 16 * 1024,
    RESULT_MAX = 1 << 20, /* a larger result is not sent along */
    SOON_US = 100000,
};

static const int64_t LONGEST_US = INT64_C(3600) * 1000000;

struct job_hooks {
    struct jobs *jobs;
    struct link list;
    unsigned count, calls;
};

/* One end that is told. */
struct hook {
    struct grave grave;
    struct link link;
    struct job_hooks *hooks;
    char id[JOB_ID_BYTES];
    char tenant[JOB_NAME_BYTES];
    char *url_text;
    struct url url;
    struct text whole; /* its path, with its query */
    char *host, *path;
    struct buffer body, head;
    struct upstream_pool *pool;
    struct ask ask;
    struct timer timer; /* put off */
    unsigned attempts;
    bool asks;
    void (*done)(struct jobs *jobs, const char *id);
};

/* "…?query" in two; a query goes up as it is. False: it has bytes that may not stand there. */
static bool split_url(struct text whole, struct text *plain, struct text *query)
{
    size_t mark = text_find_byte(whole, '?');
    *plain = text_head(whole, mark);
    *query = mark == SIZE_MAX ? TEXT("") : text_from(whole, mark);
    for (size_t i = 0; i < whole.len; i++)
        if (whole.at[i] <= ' ' || whole.at[i] >= 0x7f || whole.at[i] == '#')
            return false;
    return true;
}

bool job_hook_check(const struct config *config, struct text url, struct fault *fault)
{
    struct url read;
    struct text plain, query;
    const char *words = NULL;
    if (!config->jobs.hook.secret.len)
        return fault_set(fault, FAULT_BAD_REQUEST,
                         "There are no webhooks here: jobs.webhook.secret is not set.");
    if (url.len > JOB_URL_MAX || !split_url(url, &plain, &query) || !url_read(plain, &read, &words))
        return fault_set(fault, FAULT_BAD_REQUEST, "'webhook_url' is no URL: %s",
                         words ? words : "it is too long, or has bytes that none has");
    if (read.is_unix || read.user.len)
        return fault_set(fault, FAULT_BAD_REQUEST,
                         "'webhook_url' has to be http:// or https://, without a user.");
    return true;
}

/* -------------------------------------------------------------------------------- its end */

static void free_hook(struct grave *grave)
{
    struct hook *hook = LIST_MEMBER(grave, struct hook, grave);
    buffer_done(&hook->body);
    buffer_done(&hook->head);
    ask_done(&hook->ask);
    if (hook->pool)
        upstream_pool_unref(hook->pool);
    memory_free(hook->url_text);
    memory_free(hook->host);
    memory_free(hook->path);
    memory_free(hook);
}

static void stop_asking(struct hook *hook)
{
    if (hook->asks)
        hook->hooks->calls--;
    hook->asks = false;
}

static void finish(struct hook *hook)
{
    struct job_hooks *hooks = hook->hooks;
    timer_stop(&hook->timer);
    stop_asking(hook);
    list_remove(&hook->link);
    atomic_store(&hooks->jobs->hooks_pending, --hooks->count);
    if (hook->done)
        hook->done(hooks->jobs, hook->id);
    loop_bury(hooks->jobs->loop, &hook->grave, free_hook);
}

static int64_t backoff(const struct config *config, unsigned attempts)
{
    int64_t wait = config->jobs.hook.backoff_us;
    for (unsigned i = 1; i < attempts && wait < LONGEST_US; i++)
        wait *= 2;
    return wait < LONGEST_US ? wait : LONGEST_US;
}

static void try_later(struct hook *hook, const char *why)
{
    struct jobs *jobs = hook->hooks->jobs;
    struct config *config = jobs_config(jobs);
    stop_asking(hook);
    bool over = hook->attempts >= config->jobs.hook.attempts;
    if (over)
        log_line(LOG_WARN, "jobs", "the webhook of job %s was not told in %u tries: %s", hook->id,
                 hook->attempts, why);
    else
        timer_set(jobs->loop, &hook->timer,
                  loop_now_us(jobs->loop) + (uint64_t)backoff(config, hook->attempts));
    config_unref(config);
    if (!over)
        return;
    atomic_fetch_add(&jobs->hooks_failed, 1);
    finish(hook);
}

/* ------------------------------------------------------------------------------- asking */

static void put_head(struct hook *hook, const struct config *config)
{
    char hex[HEX_BYTES], secret_hex[HEX_BYTES];
    long long seconds = clock_wall_us() / 1000000;
    struct text body = buffer_text(&hook->body);
    struct digest secret = jobs_hook_secret(config, text_of(hook->tenant));
    struct buffer words;
    hash_hex(&secret, secret_hex);
    buffer_init(&words, body.len + 64);
    buffer_format(&words, "%lld.", seconds);
    buffer_append_text(&words, body);
    struct digest signature = hash_hmac_sha256(text_of(secret_hex), buffer_text(&words));
    hash_hex(&signature, hex);
    buffer_done(&words);
    buffer_clear(&hook->head);
    ask_put_head(&hook->head, "POST", &hook->url, &hook->whole, hook->pool);
    buffer_format(&hook->head,
                  "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                  "x-sluice-job: %s\r\nx-sluice-timestamp: %lld\r\n"
                  "x-sluice-signature: sha256=%s\r\n\r\n",
                  body.len, hook->id, seconds, hex);
}

static void end_with_status(struct hook *hook)
{
    char words[48];
    if (hook->ask.status / 100 == 2) {
        atomic_fetch_add(&hook->hooks->jobs->hooks_told, 1);
        finish(hook);
        return;
    }
    snprintf(words, sizeof(words), "it answered %u", hook->ask.status);
    try_later(hook, words);
}

static void on_over(struct ask *ask, const char *problem)
{
    struct hook *hook = LIST_MEMBER(ask, struct hook, ask);
    if (problem)
        try_later(hook, problem);
    else
        end_with_status(hook);
}

static void tell(struct hook *hook)
{
    struct job_hooks *hooks = hook->hooks;
    struct jobs *jobs = hooks->jobs;
    if (hooks->calls >= CALLS_MAX) {
        timer_set(jobs->loop, &hook->timer, loop_now_us(jobs->loop) + SOON_US);
        return;
    }
    struct config *config = jobs_config(jobs);
    struct fault fault;
    struct upstream_place place = {.host = hook->host,
                                   .port = hook->url.port,
                                   .has_tls = hook->url.tls,
                                   .public_only = !config->jobs.hook.allow_private,
                                   .connect_us = config->jobs.hook.timeout_us,
                                   .max_connections = CALLS_MAX};
    if (!hook->pool)
        hook->pool = upstream_pool_ref(jobs->upstreams, &place, &fault);
    hook->ask.timeout_us = (uint64_t)config->jobs.hook.timeout_us;
    put_head(hook, config);
    config_unref(config);
    hook->attempts++;
    if (!hook->pool) {
        try_later(hook, fault.text);
        return;
    }
    hook->asks = true;
    hooks->calls++;
    ask_begin(&hook->ask, hook->pool, buffer_text(&hook->head), buffer_text(&hook->body));
}

static void on_time(struct timer *timer)
{
    tell(LIST_MEMBER(timer, struct hook, timer));
}

/* ------------------------------------------------------------------------------- telling */

struct job_hooks *job_hooks_new(struct jobs *jobs)
{
    struct job_hooks *hooks = memory_new(sizeof(*hooks));
    hooks->jobs = jobs;
    list_init(&hooks->list);
    return hooks;
}

void job_hooks_free(struct job_hooks *hooks)
{
    if (!hooks)
        return;
    while (!list_is_empty(&hooks->list)) {
        struct hook *hook = LIST_MEMBER(hooks->list.next, struct hook, link);
        ask_stop(&hook->ask);
        hook->done = NULL; /* it is told after the next start */
        finish(hook);
    }
    hooks->jobs->hooks = NULL;
    memory_free(hooks);
}

size_t job_hook_ids(const struct job_hooks *hooks, const char **into, size_t max)
{
    size_t count = 0;
    for (struct link *at = hooks->list.next; at != &hooks->list && count < max; at = at->next)
        into[count++] = LIST_MEMBER(at, struct hook, link)->id;
    return count;
}

bool job_hook_has(const struct job_hooks *hooks, const char *id)
{
    for (struct link *at = hooks->list.next; at != &hooks->list; at = at->next)
        if (strcmp(LIST_MEMBER(at, struct hook, link)->id, id) == 0)
            return true;
    return false;
}

bool job_hook_tell(struct job_hooks *hooks, const struct job_facts *facts, struct text url,
                   const struct job_result *result, void (*done)(struct jobs *jobs, const char *id))
{
    const char *words;
    if (hooks->count >= HOOKS_MAX)
        return false;
    struct hook *hook = memory_new(sizeof(*hook));
    hook->hooks = hooks;
    hook->done = done;
    hook->url_text = memory_string(url);
    list_init(&hook->link);
    struct text plain, query;
    if (!split_url(text_of(hook->url_text), &plain, &query) ||
        !url_read(plain, &hook->url, &words)) {
        free_hook(&hook->grave);
        return false;
    }
    hook->host = memory_string(hook->url.host);
    hook->path = memory_format("%.*s%.*s", TEXT_ARGS(hook->url.path), TEXT_ARGS(query));
    hook->whole = text_of(hook->path);
    hook->ask = (struct ask){.loop = hooks->jobs->loop,
                             .answer_max = ANSWER_MAX,
                             .when_long = ASK_CUT, /* nobody reads it */
                             .fresh = true,
                             .on_over = on_over};
    snprintf(hook->id, sizeof(hook->id), "%s", facts->id);
    snprintf(hook->tenant, sizeof(hook->tenant), "%s", facts->tenant);
    bool sends = result && result->length <= RESULT_MAX;
    buffer_init(&hook->head, HEAD_ROOM);
    buffer_init(&hook->body, BODY_MORE + (sends ? result->length : 0));
    struct json_write json = {.out = &hook->body};
    json_open(&json, '{');
    job_write(&json, facts, sends ? result : NULL);
    json_close(&json, '}');
    hook->timer.on_time = on_time;
    list_push_back(&hooks->list, &hook->link);
    atomic_store(&hooks->jobs->hooks_pending, ++hooks->count);
    tell(hook);
    return true;
}
