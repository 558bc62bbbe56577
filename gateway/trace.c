/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/access.h"
#include "gateway/base/json_write.h"
#include "gateway/config/config.h"
#include "gateway/genai.h"

enum span_kind {
    SPAN_SERVER = 2,
    SPAN_CLIENT = 3
}; /* opentelemetry.proto.trace.v1.Span.SpanKind */
enum { STATUS_ERROR = 2, NAME_BYTES = 256 };

/* -------------------------------------------------------------------------------- traceparent */

static bool read_hex(struct text text, unsigned char *bytes)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        bytes[i / 2] = (unsigned char)(bytes[i / 2] << 4 | digit);
    }
    return true;
}

/* "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"; a later version may have more behind
 * it. */
bool trace_context_read(struct text t, struct trace_context *context)
{
    static const unsigned char zeros[TRACE_ID_BYTES];
    unsigned char version = 0, flags = 0, parent[8] = {0};
    memset(context, 0, sizeof(*context));
    if (t.len < 55 || t.at[2] != '-' || t.at[35] != '-' || t.at[52] != '-' ||
        !read_hex(text_head(t, 2), &version) || version == 0xff ||
        (version == 0 ? t.len != 55 : t.len > 55 && t.at[55] != '-') ||
        !read_hex(text_head(text_from(t, 3), 32), context->id) ||
        !read_hex(text_head(text_from(t, 36), 16), parent) ||
        !read_hex(text_head(text_from(t, 53), 2), &flags))
        return false;
    for (int i = 0; i < 8; i++)
        context->parent = context->parent << 8 | parent[i];
    context->sampled = flags & 1;
    return context->parent && memcmp(context->id, zeros, sizeof(zeros)) != 0;
}

void trace_write_id(const struct trace *trace, char hex[2 * TRACE_ID_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < TRACE_ID_BYTES; i++) {
        hex[2 * i] = digits[trace->id[i] >> 4];
        hex[2 * i + 1] = digits[trace->id[i] & 15];
    }
    hex[2 * TRACE_ID_BYTES] = '\0';
}

void trace_write_parent(const struct trace *trace, char traceparent[TRACEPARENT_BYTES])
{
    char id[2 * TRACE_ID_BYTES + 1];
    uint64_t span = trace->span;
    if (trace->try_count > 0 && trace->try_count <= TRACE_TRIES_MAX)
        span = trace->tries[trace->try_count - 1].span;
    trace_write_id(trace, id);
    snprintf(traceparent, TRACEPARENT_BYTES, "00-%s-%016" PRIx64 "-01", id, span);
}

/* -------------------------------------------------------------------------------------- tries */

void trace_begin_try(struct trace *trace, uint64_t span, const struct target *target,
                     uint64_t now_us)
{
    if (trace->try_count < TRACE_TRIES_MAX)
        trace->tries[trace->try_count] =
            (struct trace_try){.span = span, .target = target, .begun_us = now_us};
    trace->try_count++;
}

static unsigned kept(const struct trace *trace)
{
    return trace->try_count < TRACE_TRIES_MAX ? trace->try_count : TRACE_TRIES_MAX;
}

void trace_end_try(struct trace *trace, const struct target *target, uint64_t now_us,
                   enum fault_kind fault)
{
    for (unsigned i = kept(trace); i-- > 0;)
        if (trace->tries[i].target == target && !trace->tries[i].ended_us) {
            trace->tries[i].ended_us = now_us;
            trace->tries[i].fault = fault;
            return;
        }
}

/* -------------------------------------------------------------------------------------- spans */

/* OTLP has its attributes as a list of {key, value}, and 64-bit numbers as strings. */
static void open_attribute(struct json_write *json, const char *key, const char *kind)
{
    json_open(json, '{');
    json_text_member(json, "key", text_of(key));
    json_name(json, "value");
    json_open(json, '{');
    json_name(json, kind);
}

static void close_attribute(struct json_write *json)
{
    json_close(json, '}');
    json_close(json, '}');
}

static void put_text(struct json_write *json, const char *key, struct text value)
{
    if (value.len == 0)
        return;
    open_attribute(json, key, "stringValue");
    json_text(json, value);
    close_attribute(json);
}

static void put_int(struct json_write *json, const char *key, int64_t value)
{
    char number[24];
    snprintf(number, sizeof(number), "%" PRId64, value);
    open_attribute(json, key, "intValue");
    json_text(json, text_of(number));
    close_attribute(json);
}

static void put_count(struct json_write *json, const char *key, int64_t value)
{
    if (value > 0)
        put_int(json, key, value);
}

static void put_bool(struct json_write *json, const char *key, bool value)
{
    open_attribute(json, key, "boolValue");
    json_bool(json, value);
    close_attribute(json);
}

static void put_seconds(struct json_write *json, const char *key, int64_t us)
{
    char number[40];
    if (us <= 0)
        return;
    snprintf(number, sizeof(number), "%" PRId64 ".%06" PRId64, us / 1000000, us % 1000000);
    open_attribute(json, key, "doubleValue");
    json_raw(json, text_of(number));
    close_attribute(json);
}

static void put_dollars(struct json_write *json, const char *key, int64_t nanos)
{
    char number[40];
    snprintf(number, sizeof(number), "%" PRId64 ".%09" PRId64, nanos / 1000000000,
             nanos % 1000000000);
    open_attribute(json, key, "doubleValue");
    json_raw(json, text_of(number));
    close_attribute(json);
}

static void put_strings(struct json_write *json, const char *key, struct text value)
{
    if (value.len == 0)
        return;
    open_attribute(json, key, "arrayValue");
    json_open(json, '{');
    json_name(json, "values");
    json_open(json, '[');
    json_open(json, '{');
    json_text_member(json, "stringValue", value);
    json_close(json, '}');
    json_close(json, ']');
    json_close(json, '}');
    close_attribute(json);
}

static void put_id(struct json_write *json, const char *name, uint64_t id)
{
    char hex[17];
    snprintf(hex, sizeof(hex), "%016" PRIx64, id);
    json_text_member(json, name, text_of(hex));
}

static void put_time(struct json_write *json, const char *name, int64_t wall_us)
{
    char nanos[24];
    snprintf(nanos, sizeof(nanos), "%" PRId64 "000", wall_us);
    json_text_member(json, name, text_of(nanos));
}

struct span {
    uint64_t id, parent;
    enum span_kind kind;
    const char *name;
    int64_t from_us, to_us; /* wall clock */
};

static void open_span(struct json_write *json, const struct trace *trace, const struct span *span)
{
    char id[2 * TRACE_ID_BYTES + 1];
    trace_write_id(trace, id);
    json->comma = false;
    json_open(json, '{');
    json_text_member(json, "traceId", text_of(id));
    put_id(json, "spanId", span->id);
    if (span->parent)
        put_id(json, "parentSpanId", span->parent);
    json_text_member(json, "name", text_of(span->name));
    json_int_member(json, "kind", span->kind);
    put_time(json, "startTimeUnixNano", span->from_us);
    put_time(json, "endTimeUnixNano", span->to_us);
    json_name(json, "attributes");
    json_open(json, '[');
}

static void close_span(struct json_write *json, struct text error)
{
    put_text(json, "error.type", error);
    json_close(json, ']');
    json_name(json, "status");
    json_open(json, '{');
    if (error.len)
        json_int_member(json, "code", STATUS_ERROR);
    json_close(json, '}');
    json_close(json, '}');
    buffer_append_text(json->out, TEXT(","));
}

/* Why the call is an error, or empty. Of a server's span only 5xx are (semconv, HTTP), and what
 * broke off behind its head. */
static struct text error_of(const struct ledger_row *row)
{
    if (access_broke_off(row))
        return row->fault.len ? row->fault : text_of(fault_rule(FAULT_TARGET_ERROR)->name);
    return row->status >= 500 || row->status == 499 ? row->fault : (struct text){"", 0};
}

/* The call as its client has seen it. */
static void put_call(struct json_write *json, const struct trace *trace,
                     const struct trace_facts *facts)
{
    const struct ledger_row *row = facts->row;
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%s%s%.*s", facts->method, facts->route.len ? " " : "",
             TEXT_ARGS(text_head(facts->route, 200)));
    struct span span = {.id = trace->span,
                        .parent = trace->parent,
                        .kind = SPAN_SERVER,
                        .name = name,
                        .from_us = row->started_us,
                        .to_us = row->started_us + (int64_t)(facts->now_us - facts->begun_us)};
    open_span(json, trace, &span);
    put_text(json, "http.request.method", text_of(facts->method));
    put_text(json, "http.route", facts->route);
    put_text(json, "url.path", text_head(facts->path, NAME_BYTES));
    put_int(json, "http.response.status_code", row->status);
    put_text(json, "client.address", facts->peer);
    put_text(json, "sluice.request_id", row->id);
    put_text(json, "sluice.tenant", row->tenant);
    put_text(json, "sluice.key", row->key);
    put_text(json, "sluice.user", row->user);
    put_text(json, "sluice.tags", row->tags);
    put_text(json, "sluice.model", row->model);
    put_text(json, "sluice.target", row->target);
    put_text(json, "sluice.cache", facts->cache);
    put_count(json, "sluice.attempts", row->attempts);
    put_dollars(json, "sluice.cost_usd", row->cost_nanos);
    put_seconds(json, "sluice.overhead_s", row->overhead_us);
    close_span(json, error_of(row));
}

static void put_usage(struct json_write *json, const struct ledger_row *row)
{
    const struct usage *usage = &row->usage;
    put_strings(json, "gen_ai.response.finish_reasons", row->finish);
    put_count(json, "gen_ai.usage.input_tokens", usage->input_tokens);
    put_count(json, "gen_ai.usage.output_tokens", usage->output_tokens);
    put_count(json, "gen_ai.usage.cache_read.input_tokens", usage->cached_tokens);
    put_count(json, "gen_ai.usage.cache_creation.input_tokens", usage->cache_write_tokens);
    put_count(json, "gen_ai.usage.reasoning.output_tokens", usage->reasoning_tokens);
    put_seconds(json, "gen_ai.response.time_to_first_chunk", row->ttft_us);
}

static void put_content(struct json_write *json, const struct trace_content *content)
{
    put_text(json, "gen_ai.input.messages", content->input);
    put_text(json, "gen_ai.system_instructions", content->system);
    put_text(json, "gen_ai.tool.definitions", content->tools);
    put_text(json, "gen_ai.output.messages", content->output);
    if (content->cut)
        put_bool(json, "sluice.content_cut", true);
}

/* The try whose span says what was said: the last that answered, else the last. */
static unsigned teller(const struct trace *trace)
{
    unsigned i = kept(trace);
    while (i > 0 && !(trace->tries[i - 1].ended_us && trace->tries[i - 1].fault == FAULT_NONE))
        i--;
    return i > 0 ? i - 1 : kept(trace) - 1;
}

static void put_try(struct json_write *json, const struct trace *trace,
                    const struct trace_facts *facts, unsigned i)
{
    const struct trace_try *try = &trace->tries[i];
    const struct ledger_row *row = facts->row;
    const struct provider_settings *provider = try->target->provider;
    struct text operation = genai_operation(row->operation);
    bool answered = try->ended_us && try->fault == FAULT_NONE;
    char name[NAME_BYTES];
    snprintf(name, sizeof(name), "%.*s %.*s", TEXT_ARGS(text_head(operation, 60)),
             TEXT_ARGS(text_head(try->target->model, 180)));
    uint64_t ended = try->ended_us ? try->ended_us : facts->now_us;
    struct span span = {.id = try->span,
                        .parent = trace->span,
                        .kind = SPAN_CLIENT,
                        .name = name,
                        .from_us = row->started_us + (int64_t)(try->begun_us - facts->begun_us),
                        .to_us = row->started_us + (int64_t)(ended - facts->begun_us)};
    open_span(json, trace, &span);
    put_text(json, "gen_ai.operation.name", operation);
    put_text(json, "gen_ai.provider.name", genai_provider(provider->type->name));
    put_text(json, "gen_ai.request.model", try->target->model);
    if (row->stream)
        put_bool(json, "gen_ai.request.stream", true);
    put_text(json, "server.address", provider->url.host);
    put_count(json, "server.port", provider->url.port);
    put_text(json, "sluice.target", try->target->id);
    put_int(json, "sluice.attempt", i + 1);
    if (answered)
        put_usage(json, row);
    if (facts->content && i == teller(trace))
        put_content(json, facts->content);
    bool broke = answered && i + 1 == kept(trace) && access_broke_off(row);
    close_span(json, !try->ended_us ? TEXT("cancelled")
                     : broke        ? error_of(row)
                     : answered     ? (struct text){"", 0}
                                    : text_of(fault_rule(try->fault)->name));
}

bool trace_write_spans(const struct trace *trace, const struct trace_facts *facts,
                       struct buffer *out)
{
    struct json_write json = {.out = out};
    uint32_t end = out->end;
    bool overrun = out->overrun;
    put_call(&json, trace, facts);
    for (unsigned i = 0; i < kept(trace); i++)
        put_try(&json, trace, facts, i);
    if (!json.is_full && out->overrun == overrun)
        return true;
    out->end = end;
    out->overrun = overrun;
    return false;
}
