/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/pages.h"

#include "gateway/admin.h"
#include "gateway/answer.h"
#include "gateway/base/json.h"
#include "gateway/client.h"
#include "gateway/health.h"
#include "gateway/http/path.h"
#include "gateway/worker_inside.h"

enum { PAGE_BYTES = 16 * 1024 * 1024, PREFLIGHT_MAX_AGE_S = 600, MODEL_QUOTED_MAX = 2048 };

/* An admin call that is answered by the service's thread. Outlives its exchange when the client
 * leaves. */
struct slow_page {
    struct admin_call call;
    struct exchange *x; /* NULL once that has ended */
    bool done;
    struct buffer path, query, body;
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

void pages_preflight(struct exchange *x)
{
    x->match.endpoint = NULL;
    struct text extra = arena_format(
        &x->arena,
        "access-control-allow-methods: GET, POST, DELETE\r\n"
        "access-control-allow-headers: authorization, content-type, x-api-key, openai-beta, "
        "openai-organization, openai-project, x-stainless-arch, x-stainless-lang, x-stainless-os, "
        "x-stainless-package-version, x-stainless-runtime, x-stainless-runtime-version, "
        "x-stainless-retry-count, x-stainless-timeout, x-sluice-tags, idempotency-key\r\n"
        "access-control-max-age: %d\r\n",
        PREFLIGHT_MAX_AGE_S);
    buffer_init(&x->held, 1);
    finish(x, 204, TEXT(""), extra);
    x->facts.page_ready = true;
    x->facts.request_whole = true;
    exchange_run(x);
}

/* ----------------------------------------------------------------------------- models */

static void put_model(struct buffer *out, struct text name, const struct route *route)
{
    buffer_append_text(out, TEXT("{\"id\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"object\":\"model\",\"created\":0,\"owned_by\":"));
    json_write_string(out,
                      route->target_count == 1 ? route->targets[0].provider->name : TEXT("sluice"));
    if (route->context_window)
        buffer_format(out, ",\"context_window\":%lld", (long long)route->context_window);
    if (route->description.len) {
        buffer_append_text(out, TEXT(",\"description\":"));
        json_write_string(out, route->description);
    }
    buffer_append_text(out, TEXT("}"));
}

static bool is_on(const struct route *route)
{
    for (size_t i = 0; i < route->target_count; i++)
        if (!route->targets[i].off)
            return true;
    return false;
}

static void put_model_for_anthropic(struct buffer *out, struct text name, const struct route *route)
{
    buffer_append_text(out, TEXT("{\"type\":\"model\",\"id\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"display_name\":"));
    json_write_string(out, route->description.len ? route->description : name);
    buffer_append_text(out, TEXT(",\"created_at\":\"1970-01-01T00:00:00Z\"}"));
}

static void put_model_for_gemini(struct buffer *out, struct text name, const struct route *route)
{
    buffer_append_text(out, TEXT("{\"name\":\"models/"));
    struct buffer quoted;
    buffer_init(&quoted, MODEL_QUOTED_MAX);
    json_write_string(&quoted, name);
    buffer_append_text(out, text_from(buffer_text(&quoted), 1)); /* its quote closes this one */
    buffer_done(&quoted);
    buffer_append_text(out, TEXT(",\"displayName\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"description\":"));
    json_write_string(out, route->description);
    if (route->context_window)
        buffer_format(out, ",\"inputTokenLimit\":%lld", (long long)route->context_window);
    if (route->output_tokens)
        buffer_format(out, ",\"outputTokenLimit\":%lld", (long long)route->output_tokens);
    buffer_append_text(out, TEXT(",\"supportedGenerationMethods\":[\"generateContent\","
                                 "\"countTokens\",\"embedContent\"]}"));
}

static void put_model_for_ollama(struct buffer *out, struct text name)
{
    buffer_append_text(out, TEXT("{\"name\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"model\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"modified_at\":\"1970-01-01T00:00:00Z\",\"size\":0,"
                                 "\"digest\":\"\",\"details\":{\"format\":\"\",\"family\":\"\"}}"));
}

static void put_model_in_words(const struct exchange *x, struct buffer *out, struct text name,
                               const struct route *route)
{
    if (x->match.shape == SHAPE_GEMINI)
        put_model_for_gemini(out, name, route);
    else if (x->match.shape == SHAPE_OLLAMA)
        put_model_for_ollama(out, name);
    else if (x->wants_anthropic)
        put_model_for_anthropic(out, name, route);
    else
        put_model(out, name, route);
}

static struct text list_begin(const struct exchange *x)
{
    if (x->match.shape == SHAPE_GEMINI || x->match.shape == SHAPE_OLLAMA)
        return TEXT("{\"models\":[");
    return x->wants_anthropic ? TEXT("{\"data\":[") : TEXT("{\"object\":\"list\",\"data\":[");
}

/* The end of a list of Anthropic's: all of it is on one page. */
static void put_anthropic_end(struct buffer *out, struct text first, struct text last)
{
    buffer_append_text(out, TEXT("],\"has_more\":false,\"first_id\":"));
    if (first.at)
        json_write_string(out, first);
    buffer_append_text(out, first.at ? TEXT(",\"last_id\":") : TEXT("null,\"last_id\":null"));
    if (first.at)
        json_write_string(out, last);
    buffer_append_text(out, TEXT("}\n"));
}

static void list_models(const struct exchange *x, struct buffer *out)
{
    const struct config *config = x->snapshot->config;
    struct text first = {NULL, 0}, last = {NULL, 0};
    buffer_append_text(out, list_begin(x));
    for (size_t i = 0; i < config->model_count; i++) {
        const struct route *route = &config->models[i];
        if (!is_on(route))
            continue;
        for (size_t a = 0; a <= route->alias_count; a++) {
            struct text name = a ? route->aliases[a - 1] : route->name;
            bool pattern = text_find_byte(name, '*') != SIZE_MAX;
            if (pattern || (!key_may_call(x->key, name) && !key_may_call(x->key, route->name)))
                continue;
            if (first.at)
                buffer_append_text(out, TEXT(","));
            else
                first = name;
            last = name;
            put_model_in_words(x, out, name, route);
        }
    }
    bool google = x->match.shape == SHAPE_GEMINI || x->match.shape == SHAPE_OLLAMA;
    if (x->wants_anthropic && !google)
        put_anthropic_end(out, first, last);
    else
        buffer_append_text(out, TEXT("]}\n"));
}

static bool show_model(struct exchange *x, struct buffer *out)
{
    char name[256];
    size_t len;
    struct text asked = {"", 0};
    const struct route *route = NULL;
    if (x->match.id.len <= sizeof(name) && path_decode(x->match.id, name, &len)) {
        asked = (struct text){name, len};
        route = routes_find(x->snapshot->config->routes, asked);
    }
    if (!route || (!key_may_call(x->key, asked) && !key_may_call(x->key, route->name))) {
        fault_set(&x->fault, FAULT_UNKNOWN_MODEL, "The model '%.*s' does not exist.",
                  (int)(asked.len < 100 ? asked.len : 100), asked.at);
        x->fault.param = "model";
        answer_error(x, out);
        return false;
    }
    put_model_in_words(x, out, asked, route);
    buffer_append_text(out, TEXT("\n"));
    return true;
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

/* The request, in memory of its own: the answer may take longer than the client stays. */
static struct slow_page *page_new(struct exchange *x)
{
    struct slow_page *page = memory_new(sizeof(*page));
    page->x = x;
    buffer_init(&page->path, HEAD_TARGET_MAX);
    buffer_init(&page->query, HEAD_TARGET_MAX);
    buffer_append_text(&page->path, x->path);
    buffer_append_text(&page->query, x->query);
    page->body = x->body;
    buffer_init(&x->body, 0);
    page->call = (struct admin_call){.method = x->method,
                                     .path = buffer_text(&page->path),
                                     .query = buffer_text(&page->query),
                                     .body = buffer_text(&page->body),
                                     .caller = *x->admin,
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
        x->page->done = admin_ask(x->worker->options.service, &x->page->call);
    }
    struct admin_call *call = &x->page->call;
    if (!x->page->done)
        return false;
    struct text extra = TEXT("cache-control: no-store\r\n");
    if (call->allow[0])
        extra = arena_format(&x->arena, "cache-control: no-store\r\nallow: %s\r\n", call->allow);
    buffer_append_text(&x->held, buffer_text(&call->out));
    finish(x, (unsigned)call->status,
           call->content_type ? text_of(call->content_type) : TEXT("application/json"), extra);
    return true;
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
        list_models(x, &x->held);
        finish(x, 200, json, TEXT(""));
        return true;
    case PAGE_MODEL:
        finish(x, show_model(x, &x->held) ? 200 : 404, json, TEXT(""));
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
        finish(x, 200, TEXT("text/plain; version=0.0.4; charset=utf-8"), TEXT(""));
        return true;
    case PAGE_ADMIN:
        return answer_admin(x);
    case PAGE_NONE:
        break;
    }
    return true;
}
