/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/pages.h"

#include <stdio.h>

#include "gateway/admin.h"
#include "gateway/answer.h"
#include "gateway/client.h"
#include "gateway/dashboard.h"
#include "gateway/deploy_metrics.h"
#include "gateway/follow.h"
#include "gateway/health.h"
#include "gateway/job_metrics.h"
#include "gateway/job_page.h"
#include "gateway/models_page.h"
#include "gateway/monster_deploy.h"
#include "gateway/oidc_page.h"
#include "gateway/pages_ollama.h"
#include "gateway/service_state.h"
#include "gateway/worker_inside.h"

enum { PAGE_BYTES = 16 * 1024 * 1024, PREFLIGHT_MAX_AGE_S = 600, ASKED_HEADERS_MAX = 2048 };

/* An admin call that is answered by the service's thread. Outlives its exchange when the client
 * leaves. */
struct slow_page {
    struct admin_call call;
    struct exchange *x; /* NULL once that has ended */
    bool done;
    struct buffer path, query, body;
    char if_match[64];
    char *origin;
};

/* --------------------------------------------------------------------------- finishing */

static void finish(struct exchange *x, unsigned status, struct text type, struct text extra)
{
    struct buffer *out = &x->worker->head_out;
    x->status = status;
    x->relay = RELAY_WHOLE;
    x->facts.upstream = UPSTREAM_ANSWERED;
    x->whole = buffer_text(&x->held);
    answer_own_head(x, out, type, extra, x->whole.len);
    if (x->head_only)
        x->whole = (struct text){NULL, 0};
    buffer_init(&x->ready, HEAD_OUT_MAX);
    buffer_append_text(&x->ready, buffer_text(out));
    x->head_sent = true;
}

void pages_finish(struct exchange *x, struct text extra)
{
    finish(x, 200, TEXT("application/json"), extra);
}

void pages_finish_as(struct exchange *x, unsigned status, struct text type, struct text extra)
{
    finish(x, status, type, extra);
}

/* What a page asks for is what it may send: credentials of the browser's are never taken, and what
 * goes up is decided elsewhere (outbound_forwards). */
static struct text allowed_headers(const struct text asked)
{
    static const char name_bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-_, ";
    bool good = asked.len > 0 && asked.len <= ASKED_HEADERS_MAX;
    for (size_t i = 0; good && i < asked.len; i++)
        good = asked.at[i] && strchr(name_bytes, asked.at[i]);
    return good ? asked : TEXT("authorization, content-type, x-api-key");
}

void pages_preflight(struct exchange *x, struct text asked)
{
    x->match.endpoint = NULL;
    struct text extra = arena_format(&x->arena,
                                     "access-control-allow-methods: GET, POST, DELETE\r\n"
                                     "access-control-allow-headers: %.*s\r\n"
                                     "access-control-max-age: %d\r\n",
                                     TEXT_ARGS(allowed_headers(asked)), PREFLIGHT_MAX_AGE_S);
    buffer_init(&x->held, 1);
    finish(x, 204, TEXT(""), extra);
    x->facts.page_ready = true;
    x->facts.request_whole = true;
    exchange_run(x);
}

/* ----------------------------------------------------------------------------- admin */

static void on_admin_done(struct admin_call *call)
{
    struct slow_page *page = (struct slow_page *)(void *)call;
    page->done = true;
    if (page->x) {
        exchange_run(page->x);
        return;
    }
    buffer_done(&page->call.out);
    buffer_done(&page->path);
    buffer_done(&page->query);
    buffer_done(&page->body);
    memory_free(page->origin);
    memory_free(page);
}

void pages_forget(struct exchange *x)
{
    struct slow_page *page = x->page;
    x->page = NULL;
    if (!page)
        return;
    page->x = NULL;
    if (page->done)
        on_admin_done(&page->call);
}

/* A tenant's key that deploys. */
static struct admin_caller caller_of(const struct key *key)
{
    struct admin_caller caller = {.role = ADMIN_ROLE_TENANT};
    snprintf(caller.name, sizeof(caller.name), "%.*s", TEXT_ARGS(key->name));
    snprintf(caller.tenant, sizeof(caller.tenant), "%.*s", TEXT_ARGS(key->tenant->name));
    return caller;
}

/* The request, in memory of its own: the answer may take longer than the client stays. */
static struct slow_page *page_new(struct exchange *x)
{
    struct slow_page *page = memory_new(sizeof(*page));
    const struct worker_listener *listener = x->client ? x->client->listener : NULL;
    page->x = x;
    buffer_init(&page->path, HEAD_TARGET_MAX);
    buffer_init(&page->query, HEAD_TARGET_MAX);
    buffer_append_text(&page->path, x->path);
    buffer_append_text(&page->query, x->query);
    snprintf(page->if_match, sizeof(page->if_match), "%.*s", TEXT_ARGS(x->seeking->page_header));
    page->origin = memory_string(x->seeking->own_origin);
    page->body = x->body;
    buffer_init(&x->body, 0);
    page->call = (struct admin_call){.method = x->method,
                                     .if_match = text_of(page->if_match),
                                     .path = buffer_text(&page->path),
                                     .query = buffer_text(&page->query),
                                     .body = buffer_text(&page->body),
                                     .caller = x->admin ? *x->admin : caller_of(x->key),
                                     .origin = page->origin,
                                     .has_dashboard = listener && listener->serve & SERVE_UI,
                                     .is_tls = text_starts(x->seeking->own_origin, TEXT("https:")),
                                     .loop = x->worker->loop,
                                     .worker = x->worker,
                                     .done = on_admin_done};
    buffer_init(&page->call.out, ADMIN_ANSWER_BYTES);
    return page;
}

static bool answer_admin(struct exchange *x)
{
    if (!x->page) {
        x->page = page_new(x);
        x->page->done = x->match.endpoint->page == PAGE_DEPLOY
                            ? !monster_deploy_ask(x->worker->options.service, &x->page->call)
                            : admin_ask(x->worker->options.service, &x->page->call);
    }
    struct admin_call *call = &x->page->call;
    if (!x->page->done || x->follow)
        return false;
    if (call->follows) {
        if (follow_begin(x, text_of(call->id), call->after, call->events))
            return false;
        admin_problem_too_many(call);
    }
    bool is_admin = x->match.endpoint->page == PAGE_ADMIN; /* whose head says so by itself */
    struct text extra = is_admin ? TEXT("") : TEXT("cache-control: no-store\r\n");
    if (call->allow[0])
        extra = arena_format(&x->arena, "%.*sallow: %s\r\n", TEXT_ARGS(extra), call->allow);
    if (call->cookie[0])
        extra = arena_format(&x->arena, "%.*sset-cookie: %s\r\n", TEXT_ARGS(extra), call->cookie);
    buffer_append_text(&x->held, buffer_text(&call->out));
    finish(x, (unsigned)call->status,
           call->content_type ? text_of(call->content_type) : TEXT("application/json"), extra);
    return true;
}

/* --------------------------------------------------------------------------- dashboard */

static void answer_dashboard(struct exchange *x)
{
    struct dashboard_answer answer;
    dashboard_find(x->path, x->seeking->page_header, &answer);
    buffer_append_text(&x->held, answer.body);
    finish(x, answer.status, answer.type, answer.extra);
}

/* ------------------------------------------------------------------------------- pages */

bool pages_answer(struct exchange *x)
{
    static const struct text json = {"application/json", 16};
    if (x->facts.page_ready)
        return true;
    buffer_done(&x->held);
    buffer_init(&x->held, PAGE_BYTES);
    switch (x->match.endpoint->page) {
    case PAGE_MODELS:
        finish(x, models_list(x, &x->held) ? 200 : 400, json, TEXT(""));
        return true;
    case PAGE_MODEL:
        finish(x, models_show(x, &x->held) ? 200 : 404, json, TEXT(""));
        return true;
    case PAGE_SHOW: {
        unsigned status = models_show_asked(x, &x->held);
        finish(x, status, json, TEXT(""));
        return true;
    }
    case PAGE_LOADED: /* whatever is in whose memory */
        buffer_append_text(&x->held, TEXT("{\"models\":[]}"));
        finish(x, 200, json, TEXT(""));
        return true;
    case PAGE_VERSION:
        buffer_append_text(&x->held, TEXT("{\"version\":\"" OLLAMA_VERSION "\"}"));
        finish(x, 200, json, TEXT(""));
        return true;
    case PAGE_ALIVE:
        finish(x, 200, TEXT("text/plain; charset=utf-8"), TEXT(""));
        return true;
    case PAGE_HEALTH: {
        int status = health_answer(x->worker->options.service, x->path, x->query, &x->held);
        finish(x, (unsigned)status, TEXT("text/plain; charset=utf-8"),
               TEXT("cache-control: no-store\r\n"));
        return true;
    }
    case PAGE_METRICS:
        if (x->worker->options.metrics)
            metrics_write(x->worker->options.metrics, &x->held);
        deploy_metrics_write(x->snapshot->config, service_deploy_desk(x->worker->options.service),
                             &x->held);
        job_metrics_write(x->worker->options.jobs, &x->held);
        finish(x, 200, TEXT("text/plain; version=0.0.4; charset=utf-8"), TEXT(""));
        return true;
    case PAGE_DASHBOARD:
        if (oidc_page_is_path(x->path))
            return oidc_page_answer(x);
        answer_dashboard(x);
        return true;
    case PAGE_ADMIN:
    case PAGE_DEPLOY:
        return answer_admin(x);
    case PAGE_JOB:
    case PAGE_FILE:
        return job_page_answer(x);
    case PAGE_NONE:
        break;
    }
    return true;
}
