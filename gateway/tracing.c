/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tracing.h"

#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/capture.h"
#include "gateway/client.h"
#include "gateway/replay.h"
#include "gateway/retry_after.h"
#include "gateway/trace.h"
#include "gateway/wire/ask.h"
#include "gateway/worker_inside.h"

enum {
    SEND_BYTES = 256 * 1024, /* enough to be sent at once */
    WAIT_US = 1000000,       /* else after */
    ANSWER_US = 10000000,
    ANSWER_MAX = 4096,
    HEAD_MAX = 32 * 1024,
    TRIES_MAX = 5,
    PAUSE_US = 1000000, /* before the second try; doubled for each more */
    PAUSE_MAX_US = 30000000,
    IDLE_US = 60000000,
    COMPLAIN_US = 60000000,
};

struct tracing {
    unsigned references;
    struct worker *worker;
    struct tracing_settings settings;           /* copies */
    char *endpoint, *host, *resource, *headers; /* its header lines, ready */
    struct upstream_pool *pool;                 /* NULL: it cannot be reached */
    struct buffer spans, body, head;
    unsigned span_count, sent_count; /* in <spans>, in <body> */
    unsigned told;                   /* of them, to who ends the process */
    struct ask ask;
    struct timer timer; /* there is something to be sent, or to be sent again */
    unsigned tries;
    int64_t again_us; /* what the collector has asked for; 0 = nothing */
    uint64_t complained_us;
};

/* -------------------------------------------------------------------------------- its course */

static void send_now(struct tracing *tracing);

static uint64_t now_of(const struct tracing *tracing)
{
    return loop_now_us(tracing->worker->loop);
}

static void wait_us(struct tracing *tracing, uint64_t us)
{
    timer_set(tracing->worker->loop, &tracing->timer, now_of(tracing) + us);
}

/* How many spans are not sent yet: whoever ends the process waits a moment for them. */
static void tell_count(struct tracing *tracing)
{
    unsigned now = tracing->span_count + tracing->sent_count;
    atomic_fetch_add_explicit(&tracing->worker->spans_now, now - tracing->told,
                              memory_order_relaxed);
    tracing->told = now;
}

static void drop(struct tracing *tracing, const char *why)
{
    metrics_count(tracing->worker->metrics, COUNTER_SPANS_DROPPED, tracing->sent_count);
    tracing->sent_count = 0;
    buffer_done(&tracing->body);
    if (tracing->complained_us && now_of(tracing) < tracing->complained_us + COMPLAIN_US)
        return;
    tracing->complained_us = now_of(tracing);
    log_line(LOG_WARN, "tracing", "%s does not take spans: %s", tracing->endpoint, why);
}

/* What was sent is dealt with: on with what has come meanwhile. */
static void go_on(struct tracing *tracing)
{
    tracing->tries = 0;
    tell_count(tracing);
    if (tracing->span_count && tracing->worker->draining)
        send_now(tracing);
    else if (tracing->span_count)
        wait_us(tracing, WAIT_US);
    else
        timer_stop(&tracing->timer);
}

static void fail(struct tracing *tracing, bool may_help, const char *why)
{
    uint64_t pause = (uint64_t)PAUSE_US << tracing->tries;
    if (!may_help || ++tracing->tries == TRIES_MAX) {
        drop(tracing, why);
        go_on(tracing);
        return;
    }
    if (tracing->again_us > (int64_t)pause)
        pause = (uint64_t)tracing->again_us;
    wait_us(tracing, pause < PAUSE_MAX_US ? pause : PAUSE_MAX_US);
}

/* How many spans of a good answer were refused all the same: {"partialSuccess":{"rejectedSpans":
 * "3"}}. */
static uint64_t refused(struct text answer)
{
    struct text rest = text_from(answer, text_find(answer, TEXT("\"rejectedSpans\"")));
    uint64_t count = 0;
    size_t i = sizeof("\"rejectedSpans\"") - 1;
    while (i < rest.len && strchr(": \"\t\r\n", rest.at[i]))
        i++;
    for (; i < rest.len && rest.at[i] >= '0' && rest.at[i] <= '9' && count < UINT32_MAX; i++)
        count = count * 10 + (uint64_t)(rest.at[i] - '0');
    return count;
}

static void on_head(struct ask *ask, const struct head *head)
{
    LIST_MEMBER(ask, struct tracing, ask)->again_us = retry_after_us(head, clock_wall_us());
}

static void on_over(struct ask *ask, const char *problem)
{
    struct tracing *tracing = LIST_MEMBER(ask, struct tracing, ask);
    unsigned status = ask->status;
    char why[32];
    if (problem) {
        fail(tracing, true, problem);
        return;
    }
    if (status / 100 != 2) {
        snprintf(why, sizeof(why), "status %u", status);
        fail(tracing, status == 429 || status == 502 || status == 503 || status == 504, why);
        return;
    }
    uint64_t not_taken = refused(buffer_text(&ask->answer));
    if (not_taken > tracing->sent_count)
        not_taken = tracing->sent_count;
    metrics_count(tracing->worker->metrics, COUNTER_SPANS_SENT, tracing->sent_count - not_taken);
    tracing->sent_count = (unsigned)not_taken;
    if (not_taken)
        drop(tracing, "some were refused");
    tracing->sent_count = 0;
    buffer_done(&tracing->body);
    go_on(tracing);
}

/* What has been gathered becomes the body of the next request. */
static void take_spans(struct tracing *tracing)
{
    struct text spans = buffer_text(&tracing->spans);
    buffer_clear(&tracing->body);
    buffer_append_text(&tracing->body, TEXT("{\"resourceSpans\":[{\"resource\":{\"attributes\":["));
    buffer_append_text(&tracing->body, text_of(tracing->resource));
    buffer_append_text(&tracing->body,
                       TEXT("]},\"scopeSpans\":[{\"scope\":{\"name\":\"sluice\",\"version\":"
                            "\"" PROGRAM_VERSION "\"},\"spans\":["));
    buffer_append_text(&tracing->body, text_head(spans, spans.len - 1)); /* but the last comma */
    buffer_append_text(&tracing->body, TEXT("]}]}]}"));
    tracing->sent_count = tracing->span_count;
    tracing->span_count = 0;
    buffer_done(&tracing->spans);
}

static void write_head(struct tracing *tracing)
{
    buffer_clear(&tracing->head);
    ask_put_head(&tracing->head, "POST", &tracing->settings.url, NULL, tracing->pool);
    buffer_append_text(&tracing->head, text_of(tracing->headers));
    buffer_format(&tracing->head, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                  buffer_length(&tracing->body));
}

static void send_now(struct tracing *tracing)
{
    if (ask_is_busy(&tracing->ask) || (!tracing->sent_count && !tracing->span_count))
        return;
    if (!tracing->sent_count)
        take_spans(tracing);
    if (!tracing->pool) {
        drop(tracing, "it cannot be reached");
        go_on(tracing);
        return;
    }
    write_head(tracing);
    tracing->again_us = 0;
    timer_stop(&tracing->timer);
    ask_begin(&tracing->ask, tracing->pool, buffer_text(&tracing->head),
              buffer_text(&tracing->body));
}

static void on_time(struct timer *timer)
{
    send_now(LIST_MEMBER(timer, struct tracing, timer));
}

void tracing_hurry(struct tracing *tracing)
{
    if (tracing)
        send_now(tracing);
}

/* Over a connection that is there already, what is sent is with the kernel when this returns. */
void tracing_stop(struct tracing *tracing)
{
    if (!tracing)
        return;
    send_now(tracing);
    loop_do_put_off(tracing->worker->loop);
    ask_stop(&tracing->ask);
    timer_stop(&tracing->timer);
}

/* ---------------------------------------------------------------------------------- collectors */

static char *header_lines(const struct tracing_settings *settings)
{
    struct buffer out;
    buffer_init(&out, HEAD_MAX / 2);
    for (size_t i = 0; i < settings->header_count; i++)
        buffer_format(&out, "%s: %s\r\n", settings->headers[i].name, settings->headers[i].value);
    char *lines = memory_string(buffer_text(&out));
    buffer_done(&out);
    return lines;
}

static struct tracing *tracing_new(struct worker *worker, const struct tracing_settings *settings,
                                   char *headers)
{
    struct tracing *tracing = memory_new(sizeof(*tracing));
    const char *problem;
    struct fault fault = {0};
    tracing->references = 1;
    tracing->worker = worker;
    tracing->timer.on_time = on_time;
    tracing->endpoint = memory_string(text_of(settings->endpoint));
    tracing->resource = memory_string(settings->resource);
    tracing->headers = headers;
    bool is_read = url_read(text_of(tracing->endpoint), &tracing->settings.url, &problem);
    assert(is_read); /* the configuration has done so */
    tracing->host = memory_string(tracing->settings.url.host);
    buffer_init(&tracing->spans, TRACING_BYTES_MAX);
    buffer_init(&tracing->body, 2 * TRACING_BYTES_MAX);
    buffer_init(&tracing->head, HEAD_MAX);
    tracing->ask = (struct ask){.loop = worker->loop,
                                .timeout_us = ANSWER_US,
                                .answer_max = ANSWER_MAX,
                                .when_long = ASK_CUT,
                                .on_head = on_head,
                                .on_over = on_over};
    struct upstream_place where = {
        .host = tracing->host,
        .port = tracing->settings.url.port,
        .is_unix = tracing->settings.url.is_unix,
        .has_tls = tracing->settings.url.tls,
        .connect_us = ANSWER_US / 2,
        .idle_us = IDLE_US,
        .max_connections = 1,
        .max_idle = 1,
    };
    tracing->pool = upstream_pool_ref(worker->upstreams, &where, &fault);
    if (!tracing->pool)
        log_line(LOG_ERROR, "tracing", "%s: %s", tracing->endpoint, fault.text);
    return tracing;
}

struct tracing *tracing_ref(struct worker *worker, const struct tracing_settings *settings,
                            struct tracing *before)
{
    if (!settings->enabled)
        return NULL;
    char *headers = header_lines(settings);
    if (!before || strcmp(before->endpoint, settings->endpoint) != 0 ||
        strcmp(before->headers, headers) != 0 ||
        !text_equal(text_of(before->resource), settings->resource))
        return tracing_new(worker, settings, headers);
    memory_free(headers);
    before->references++;
    return before;
}

void tracing_unref(struct tracing *tracing)
{
    if (!tracing || --tracing->references > 0)
        return;
    ask_done(&tracing->ask);
    timer_stop(&tracing->timer);
    metrics_count(tracing->worker->metrics, COUNTER_SPANS_DROPPED,
                  tracing->span_count + tracing->sent_count);
    tracing->span_count = tracing->sent_count = 0;
    tell_count(tracing);
    if (tracing->pool)
        upstream_pool_unref(tracing->pool);
    buffer_done(&tracing->spans);
    buffer_done(&tracing->body);
    buffer_done(&tracing->head);
    memory_free(tracing->host);
    memory_free(tracing->headers);
    memory_free(tracing->resource);
    memory_free(tracing->endpoint);
    memory_free(tracing);
}

/* -------------------------------------------------------------------------------------- calls */

static bool is_chosen(struct exchange *x)
{
    return (double)(worker_random(x->worker) >> 11) / 9007199254740992.0 <
           x->snapshot->config->tracing.sample;
}

void tracing_begin(struct exchange *x)
{
    struct trace_context context;
    if (!x->snapshot->tracing || !x->match.endpoint || x->match.endpoint->page != PAGE_NONE)
        return;
    bool goes_on = trace_context_read(x->traceparent, &context);
    if (goes_on ? !context.sampled : !is_chosen(x))
        return;
    struct trace *trace = arena_new(&x->arena, sizeof(*trace));
    for (size_t i = 0; !goes_on && i < TRACE_ID_BYTES; i += sizeof(uint64_t)) {
        uint64_t part = worker_random(x->worker) | 1;
        memcpy(context.id + i, &part, sizeof(part));
    }
    memcpy(trace->id, context.id, TRACE_ID_BYTES);
    trace->parent = goes_on ? context.parent : 0;
    trace->span = worker_random(x->worker) | 1;
    x->trace = trace;
}

void tracing_begin_try(struct exchange *x)
{
    trace_begin_try(x->trace, worker_random(x->worker) | 1, x->target, clock_now_us());
}

void tracing_end_try(struct exchange *x, const struct target *target, enum fault_kind fault)
{
    trace_end_try(x->trace, target, clock_now_us(), fault);
}

void tracing_settle(struct exchange *x, const struct ledger_row *row)
{
    struct tracing *tracing = x->snapshot->tracing;
    unsigned spans =
        1 + (x->trace->try_count < TRACE_TRIES_MAX ? x->trace->try_count : TRACE_TRIES_MAX);
    struct trace_facts facts = {
        .content = x->snapshot->config->tracing.capture_content ? capture_end(x) : NULL,
        .row = row,
        .method = method_name(x->method),
        .route = x->match.endpoint->path,
        .path = x->path,
        .peer = x->peer.len || !x->client ? x->peer : text_of(x->client->peer),
        .cache = x->cache_word ? text_of(cache_word_name(x->cache_word)) : (struct text){"", 0},
        .begun_us = x->begun_us,
        .now_us = clock_now_us(),
    };
    bool was_empty = tracing->span_count == 0;
    if (!trace_write_spans(x->trace, &facts, &tracing->spans)) {
        metrics_count(x->worker->metrics, COUNTER_SPANS_DROPPED, spans);
        return;
    }
    tracing->span_count += spans;
    tell_count(tracing);
    if (ask_is_busy(&tracing->ask) || tracing->sent_count)
        return;
    if (buffer_length(&tracing->spans) >= SEND_BYTES ||
        (x->worker->draining && !x->worker->stopping))
        send_now(tracing);
    else if (was_empty)
        wait_us(tracing, WAIT_US);
}
