/* SPDX-License-Identifier: Apache-2.0 */
/* telemetry.tracing, and what the OTEL_* variables say of it
 * (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/json_write.h"
#include "gateway/base/version.h"
#include "gateway/config/document.h"

enum { HEADERS_MAX = 16, RESOURCE_MAX = 8192 };

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* ---------------------------------------------------------------------------------- overrides */

static void override(struct document *document, const char *name, const char *path)
{
    const char *value = variable(name);
    if (value)
        node_set(document, document->root, path, text_of(value),
                 document_source(document, name, true));
}

/* What such a variable says may be meant for other programs of the same environment: it is left
 * out where it cannot be used, and keeps nobody from starting. */
static void pass_over(struct document *document, const char *name, const char *why)
{
    problem_at_key(document, document->root, SEVERITY_WARNING, "%s is passed over: %s", name, why);
}

/* Samplers that ask the parent are what is done anyway. */
static void override_sample(struct document *document)
{
    const char *name = "OTEL_TRACES_SAMPLER", *sampler = variable(name), *share = NULL;
    if (!sampler)
        return;
    if (strstr(sampler, "always_on"))
        share = "1";
    else if (strstr(sampler, "always_off"))
        share = "0";
    else if (strstr(sampler, "traceidratio") && variable("OTEL_TRACES_SAMPLER_ARG"))
        share = variable(name = "OTEL_TRACES_SAMPLER_ARG");
    else if (strstr(sampler, "traceidratio"))
        share = "1";
    char *end = NULL;
    double number = share ? strtod(share, &end) : 0;
    if (!share || end == share || *end || !(number >= 0 && number <= 1))
        pass_over(document, name, share ? "it is no number from 0 to 1" : "it is not known");
    else
        node_set(document, document->root, "telemetry.tracing.sample", text_of(share),
                 document_source(document, name, true));
}

/* The address of a collector, if sluice could speak with it. */
static void override_endpoint(struct document *document, const char *name)
{
    const char *value = variable(name), *problem = NULL;
    struct url url;
    if (!value)
        return;
    if (url_read(text_of(value), &url, &problem))
        override(document, name, "telemetry.tracing.endpoint");
    else
        pass_over(document, name, "it is no http:// or https:// address");
}

void document_override_tracing(struct document *document)
{
    const char *disabled = variable("OTEL_SDK_DISABLED"),
               *exporter = variable("OTEL_TRACES_EXPORTER");
    override_endpoint(document, "OTEL_EXPORTER_OTLP_ENDPOINT");
    override_endpoint(document, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    document->tracing_as_is = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != NULL;
    override_sample(document);
    if (disabled && text_equal_nocase(text_of(disabled), TEXT("true")))
        node_set(document, document->root, "telemetry.tracing.endpoint", TEXT(""),
                 document_source(document, "OTEL_SDK_DISABLED", true));
    else if (exporter && strcmp(exporter, "none") == 0)
        node_set(document, document->root, "telemetry.tracing.endpoint", TEXT(""),
                 document_source(document, "OTEL_TRACES_EXPORTER", true));
}

/* ----------------------------------------------------------------------------------- resolving */

static int hex_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Values in these variables are percent-encoded, as in W3C Baggage. */
static struct text decoded(struct document *document, struct text value)
{
    char *out = arena_new(&document->arena, value.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        int high = value.at[i] == '%' && i + 2 < value.len ? hex_of(value.at[i + 1]) : -1;
        int low = high >= 0 ? hex_of(value.at[i + 2]) : -1;
        out[len++] = low >= 0 ? (char)(high << 4 | low) : value.at[i];
        i += low >= 0 ? 2 : 0;
    }
    return (struct text){out, len};
}

/* The next "name=value" of a list that commas part. */
static bool next_pair(struct document *document, struct text *rest, struct text *name,
                      struct text *value)
{
    struct text pair;
    while (text_next(rest, ',', &pair)) {
        size_t equals = text_find_byte(pair, '=');
        *name = text_trim(text_head(pair, equals));
        if (equals == SIZE_MAX || name->len == 0)
            continue;
        *value = decoded(document, text_trim(text_from(pair, equals + 1)));
        return true;
    }
    return false;
}

static void put_attribute(struct json_write *json, struct text name, struct text value)
{
    json_open(json, '{');
    json_text_member(json, "key", name);
    json_name(json, "value");
    json_open(json, '{');
    json_text_member(json, "stringValue", value);
    json_close(json, '}');
    json_close(json, '}');
}

/* Who tells, as OTLP has it: a list of attributes without its brackets. */
static struct text resource(struct document *document)
{
    const char *listed = variable("OTEL_RESOURCE_ATTRIBUTES"),
               *service = variable("OTEL_SERVICE_NAME");
    struct text rest = listed ? text_of(listed) : (struct text){NULL, 0}, name, value;
    char host[256] = "";
    bool has_name = service != NULL, has_host = false;
    struct buffer out;
    buffer_init(&out, RESOURCE_MAX);
    struct json_write json = {.out = &out};
    while (next_pair(document, &rest, &name, &value)) {
        if (service && text_equal(name, TEXT("service.name")))
            continue;
        has_name = has_name || text_equal(name, TEXT("service.name"));
        has_host = has_host || text_equal(name, TEXT("host.name"));
        put_attribute(&json, name, value);
    }
    if (service || !has_name)
        put_attribute(&json, TEXT("service.name"), service ? text_of(service) : TEXT("sluice"));
    put_attribute(&json, TEXT("service.version"), TEXT(PROGRAM_VERSION));
    if (!has_host && gethostname(host, sizeof(host) - 1) == 0)
        put_attribute(&json, TEXT("host.name"), text_of(host));
    struct text attributes = arena_copy(&document->arena, buffer_text(&out));
    if (json.is_full)
        problem_at_key(document, document->root, SEVERITY_WARNING,
                       "OTEL_RESOURCE_ATTRIBUTES is too long; they are left out");
    buffer_done(&out);
    return json.is_full ? TEXT("{\"key\":\"service.name\",\"value\":{\"stringValue\":\"sluice\"}}")
                        : attributes;
}

static bool add_header(struct document *document, struct text name, struct text value)
{
    struct tracing_settings *tracing = &document->config.tracing;
    if (tracing->header_count == HEADERS_MAX || !header_may_be_added(name, value))
        return false;
    tracing->headers[tracing->header_count++] = (struct header_setting){
        arena_copy(&document->arena, name).at, arena_copy(&document->arena, value).at};
    return true;
}

static void resolve_collector_headers(struct document *document)
{
    static const char why[] = "a header for the collector has a name that is not written anyway, "
                              "and a value without control characters";
    const struct pair *pairs = document->tracing_headers.at;
    const char *from = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", *given = variable(from);
    struct text rest, name, value;
    document->config.tracing.headers =
        arena_new(&document->arena, HEADERS_MAX * sizeof(struct header_setting));
    if (!given)
        given = variable(from = "OTEL_EXPORTER_OTLP_HEADERS");
    for (size_t i = 0; !given && i < document->tracing_headers.count; i++)
        if (!add_header(document, pairs[i].name, pairs[i].value))
            problem_at_value(document, pairs[i].node, SEVERITY_ERROR, "%s; at most %d", why,
                             HEADERS_MAX);
    rest = given ? text_of(given) : (struct text){NULL, 0};
    while (next_pair(document, &rest, &name, &value))
        if (!add_header(document, name, value))
            pass_over(document, from, why);
}

void resolve_tracing(struct document *document)
{
    struct tracing_settings *tracing = &document->config.tracing;
    struct text endpoint = text_trim(text_of(tracing->endpoint));
    const char *problem = NULL;
    if (endpoint.len == 0)
        return;
    while (text_ends(endpoint, TEXT("/")))
        endpoint.len--;
    bool is_whole = document->tracing_as_is || text_ends(endpoint, TEXT("/v1/traces"));
    endpoint =
        arena_format(&document->arena, "%.*s%s", TEXT_ARGS(endpoint), is_whole ? "" : "/v1/traces");
    tracing->endpoint = endpoint.at;
    tracing->enabled = url_read(endpoint, &tracing->url, &problem);
    if (!tracing->enabled)
        problem_at_value(document, node_at(document->root, "telemetry.tracing.endpoint"),
                         SEVERITY_ERROR, "\"endpoint\" is written like http://127.0.0.1:4318: %s",
                         problem);
    tracing->resource = resource(document);
    resolve_collector_headers(document);
}
