/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/descriptors.h"
#include "gateway/base/version.h"
#include "gateway/content.h"
#include "gateway/decisions.h"
#include "gateway/hearsay_desk.h"
#include "gateway/metrics_series.h"
#include "policy/cache.h"
#include "policy/limits.h"
#include "policy/semantic.h"

enum { SPARE_PART = 8 }; /* of a page, room for what has come since the last one */

/* What is being written: it goes on after the buffer was full, but remembers it. */
struct page {
    struct metrics *metrics;
    struct buffer *out;
    unsigned workers;
    bool is_full;
};

static void put(struct page *page, struct text t)
{
    page->is_full = !buffer_append_text(page->out, t) || page->is_full;
}

#define PUT(page, literal) put(page, TEXT(literal))

static void put_unsigned(struct page *page, uint64_t n)
{
    char digits[20], *at = digits + sizeof digits;
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    put(page, (struct text){at, (size_t)(digits + sizeof digits - at)});
}

static void put_signed(struct page *page, int64_t n)
{
    if (n < 0)
        PUT(page, "-");
    put_unsigned(page, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

/* <n> divided by 10^<places>. */
static void put_decimal(struct page *page, uint64_t n, unsigned places)
{
    uint64_t power = 1;
    for (unsigned i = 0; i < places; i++)
        power *= 10;
    put_unsigned(page, n / power);
    n %= power;
    if (n == 0)
        return;
    char digits[20];
    size_t len = 0;
    digits[len++] = '.';
    while (n != 0) {
        power /= 10;
        digits[len++] = (char)('0' + n / power);
        n %= power;
    }
    put(page, (struct text){digits, len});
}

static void put_head(struct page *page, const char *name, const char *type, const char *help)
{
    PUT(page, "# HELP ");
    put(page, text_of(name));
    PUT(page, " ");
    put(page, text_of(help));
    PUT(page, "\n# TYPE ");
    put(page, text_of(name));
    PUT(page, " ");
    put(page, text_of(type));
    PUT(page, "\n");
}

/* Names of labels, in the order of a series' values. */
struct names {
    const char *of[SERIES_LABELS_MAX];
};

/* {a="…",b="…" without the closing brace. */
static void put_labels(struct page *page, const struct series *series, const struct names *names)
{
    bool is_first = true;
    PUT(page, "{");
    for (size_t i = 0; i < SERIES_LABELS_MAX && names->of[i] != NULL; i++) {
        if (!is_first)
            PUT(page, ",");
        is_first = false;
        put(page, text_of(names->of[i]));
        PUT(page, "=\"");
        put(page, *series->labels[i]);
        PUT(page, "\"");
    }
}

static void put_label(struct page *page, const char *name, const char *value)
{
    PUT(page, ",");
    put(page, text_of(name));
    PUT(page, "=\"");
    put(page, text_of(value));
    PUT(page, "\"");
}

static uint64_t sum(const struct page *page, const struct series *series, size_t cell)
{
    return series_sum(series, page->workers, cell);
}

/* ---------------------------------------------------------------------------- families */

static void write_http(struct page *page)
{
    static const struct names names = {{"listener"}};
    put_head(page, "sluice_http_requests_total", "counter", "HTTP exchanges answered.");
    for (struct series *s = page->metrics->series[FAMILY_HTTP]; s != NULL; s = s->next)
        for (size_t cell = 0; cell < (size_t)HTTP_METHODS * HTTP_CODES; cell++) {
            uint64_t n = sum(page, s, cell);
            if (n == 0)
                continue;
            char code[8];
            int number = metrics_code_at(cell % HTTP_CODES);
            snprintf(code, sizeof code, number != 0 ? "%d" : "other", number);
            PUT(page, "sluice_http_requests_total");
            put_labels(page, s, &names);
            put_label(page, "method", method_name((enum method)(cell / HTTP_CODES)));
            put_label(page, "code", code);
            PUT(page, "} ");
            put_unsigned(page, n);
            PUT(page, "\n");
        }
}

static void write_calls(struct page *page)
{
    static const struct names names = {{"model", "provider", "target", "tenant"}};
    static const char *const outcomes[] = {[LEDGER_COMPLETE] = "complete",
                                           [LEDGER_PARTIAL] = "partial",
                                           [LEDGER_REFUSED] = "refused",
                                           [LEDGER_LOST] = "lost"};
    put_head(page, "sluice_requests_total", "counter", "Model calls that are over.");
    for (struct series *s = page->metrics->series[FAMILY_CALL]; s != NULL; s = s->next)
        for (size_t cell = 0; cell < CALL_OUTCOMES; cell++) {
            uint64_t n = sum(page, s, cell);
            if (n == 0)
                continue;
            PUT(page, "sluice_requests_total");
            put_labels(page, s, &names);
            put_label(page, "outcome", outcomes[cell]);
            PUT(page, "} ");
            put_unsigned(page, n);
            PUT(page, "\n");
        }
}

static void write_tokens(struct page *page)
{
    static const struct names names = {{"model", "tenant"}};
    static const char *const kinds[TOKENS_KINDS] = {[TOKENS_INPUT] = "input",
                                                    [TOKENS_CACHED] = "cached",
                                                    [TOKENS_CACHE_WRITE] = "cache_write",
                                                    [TOKENS_OUTPUT] = "output",
                                                    [TOKENS_REASONING] = "reasoning"};
    put_head(page, "sluice_tokens_total", "counter",
             "Tokens booked. input includes cached and cache_write; output includes reasoning.");
    for (struct series *s = page->metrics->series[FAMILY_TOKENS]; s != NULL; s = s->next)
        for (size_t cell = 0; cell < TOKENS_KINDS; cell++) {
            uint64_t n = sum(page, s, cell);
            if (n == 0)
                continue;
            PUT(page, "sluice_tokens_total");
            put_labels(page, s, &names);
            put_label(page, "kind", kinds[cell]);
            PUT(page, "} ");
            put_unsigned(page, n);
            PUT(page, "\n");
        }
    put_head(page, "sluice_cost_usd_total", "counter", "Cost booked, in US dollars.");
    for (struct series *s = page->metrics->series[FAMILY_TOKENS]; s != NULL; s = s->next) {
        PUT(page, "sluice_cost_usd_total");
        put_labels(page, s, &names);
        PUT(page, "} ");
        put_decimal(page, sum(page, s, TOKENS_COST_NANOS), 9);
        PUT(page, "\n");
    }
}

static void write_attempts(struct page *page)
{
    static const struct names names = {{"target"}};
    put_head(page, "sluice_upstream_attempts_total", "counter",
             "Tries on a target; result is good, or the fault.");
    for (struct series *s = page->metrics->series[FAMILY_TARGET]; s != NULL; s = s->next)
        for (size_t cell = 0; cell < FAULT_KINDS; cell++) {
            uint64_t n = sum(page, s, cell);
            if (n == 0)
                continue;
            PUT(page, "sluice_upstream_attempts_total");
            put_labels(page, s, &names);
            put_label(page, "result",
                      cell == FAULT_NONE ? "good" : fault_rule((enum fault_kind)cell)->name);
            PUT(page, "} ");
            put_unsigned(page, n);
            PUT(page, "\n");
        }
}

/* ---------------------------------------------------------------------------- histograms */

struct histogram {
    const char *name, *help;
    enum family family;
    size_t cell;
    enum histogram_shape shape;
    const char *label, *value; /* one more label, or NULL */
};

/* clang-format off */
static const struct histogram histograms[] = {
    {"sluice_request_duration_seconds", "From the first byte of a request to the last of its answer.",
     FAMILY_MODEL, MODEL_DURATION, SHAPE_SECONDS, NULL, NULL},
    {"sluice_time_to_first_token_seconds", "From the first byte of a request to the first of its answer.",
     FAMILY_MODEL, MODEL_TTFT, SHAPE_SECONDS, NULL, NULL},
    {"sluice_overhead_seconds", "Our own part of the duration.",
     FAMILY_MODEL, MODEL_OVERHEAD, SHAPE_FINE, NULL, NULL},
    {"gen_ai_client_token_usage", "Tokens of one call, as the provider counted them.",
     FAMILY_GENAI, GENAI_INPUT, SHAPE_TOKENS, "gen_ai_token_type", "input"},
    {"gen_ai_client_token_usage", NULL,
     FAMILY_GENAI, GENAI_OUTPUT, SHAPE_TOKENS, "gen_ai_token_type", "output"},
    {"gen_ai_client_operation_duration_seconds", "Duration of a call that reached a provider.",
     FAMILY_GENAI_TIME, GENAI_DURATION, SHAPE_SECONDS, NULL, NULL},
    {"gen_ai_server_time_to_first_token_seconds", "To the first token of a whole stream.",
     FAMILY_GENAI, GENAI_FIRST, SHAPE_FIRST, NULL, NULL},
    {"gen_ai_server_time_per_output_token_seconds", "For each token of a whole stream after the first.",
     FAMILY_GENAI, GENAI_EACH, SHAPE_EACH, NULL, NULL},
};
/* clang-format on */

static const struct names *names_of(enum family family)
{
    static const struct names model = {{"model"}};
    static const struct names genai = {{"gen_ai_operation_name", "gen_ai_provider_name",
                                        "gen_ai_request_model", "gen_ai_response_model",
                                        "server_address"}};
    static const struct names genai_time = {{"gen_ai_operation_name", "gen_ai_provider_name",
                                             "gen_ai_request_model", "gen_ai_response_model",
                                             "server_address", "error_type"}};
    return family == FAMILY_MODEL ? &model : family == FAMILY_GENAI ? &genai : &genai_time;
}

static void begin_line(struct page *page, const struct histogram *h, const struct series *series,
                       const char *suffix)
{
    put(page, text_of(h->name));
    put(page, text_of(suffix));
    put_labels(page, series, names_of(h->family));
    if (h->label != NULL)
        put_label(page, h->label, h->value);
}

static void put_bound(struct page *page, const struct histogram *h, size_t bucket)
{
    int64_t bound = histogram_bounds[h->shape][bucket];
    PUT(page, ",le=\"");
    if (bound == INT64_MAX)
        PUT(page, "+Inf");
    else
        put_decimal(page, (uint64_t)bound, h->shape == SHAPE_TOKENS ? 0 : 6);
    PUT(page, "\"} ");
}

static void write_one(struct page *page, const struct histogram *h, const struct series *series)
{
    uint64_t counts[HISTOGRAM_CELLS], total = 0, so_far = 0;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++)
        counts[i] = sum(page, series, h->cell + i);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += counts[i];
    if (total == 0)
        return;
    for (size_t i = 0; i == 0 || histogram_bounds[h->shape][i - 1] < INT64_MAX; i++) {
        so_far += counts[i];
        begin_line(page, h, series, "_bucket");
        put_bound(page, h, i);
        put_unsigned(page, so_far);
        PUT(page, "\n");
    }
    begin_line(page, h, series, "_sum");
    PUT(page, "} ");
    put_decimal(page, counts[HISTOGRAM_BUCKETS], h->shape == SHAPE_TOKENS ? 0 : 6);
    PUT(page, "\n");
    begin_line(page, h, series, "_count");
    PUT(page, "} ");
    put_unsigned(page, total);
    PUT(page, "\n");
}

static void write_histograms(struct page *page)
{
    for (size_t i = 0; i < sizeof histograms / sizeof *histograms; i++) {
        const struct histogram *h = &histograms[i];
        if (h->family != FAMILY_MODEL && !page->metrics->options.gen_ai)
            continue;
        if (h->help != NULL)
            put_head(page, h->name, "histogram", h->help);
        for (struct series *s = page->metrics->series[h->family]; s != NULL; s = s->next)
            write_one(page, h, s);
    }
}

static void write_in_flight(struct page *page)
{
    static const struct names names = {{"model"}};
    put_head(page, "sluice_inflight_requests", "gauge", "Model calls that are running.");
    for (struct series *s = page->metrics->series[FAMILY_MODEL]; s != NULL; s = s->next) {
        PUT(page, "sluice_inflight_requests");
        put_labels(page, s, &names);
        PUT(page, "} ");
        put_signed(page, (int64_t)sum(page, s, MODEL_IN_FLIGHT));
        PUT(page, "\n");
    }
}

/* ---------------------------------------------------------------------------- single figures */

struct figure {
    const char *name, *help;
};

/* clang-format off */
static const struct figure gauges[METRIC_GAUGES] = {
    [GAUGE_CONNECTIONS] = {"sluice_connections", "Clients connected."},
    [GAUGE_STREAMS] = {"sluice_open_streams", "Streamed answers being relayed."},
    [GAUGE_UPSTREAM_CONNECTIONS] = {"sluice_upstream_connections", "Connections to providers, idle ones too."},
    [GAUGE_UPSTREAM_IDLE] = {"sluice_upstream_idle_connections", "Idle connections to providers."},
};

static const struct figure counters[METRIC_COUNTERS] = {
    [COUNTER_ACCEPTED] = {"sluice_connections_accepted_total", "Connections accepted."},
    [COUNTER_REFUSED] = {"sluice_connections_refused_total", "Connections turned away: too many, or draining."},
    [COUNTER_UPSTREAM_CONNECTS] = {"sluice_upstream_connects_total", "Connections opened to providers."},
    [COUNTER_UPSTREAM_REUSES] = {"sluice_upstream_reuses_total", "Tries that went over an idle connection."},
    [COUNTER_CLIENT_LEFT] = {"sluice_clients_left_total", "Calls that the client ended before the answer did."},
    [COUNTER_CLIENT_BYTES_IN] = {"sluice_received_bytes_total", "Bytes read from clients."},
    [COUNTER_CLIENT_BYTES_OUT] = {"sluice_sent_bytes_total", "Bytes written to clients."},
    [COUNTER_HANDSHAKE_FAILURES] = {"sluice_tls_handshake_failures_total", "TLS handshakes with clients that failed."},
    [COUNTER_DNS_QUERIES] = {"sluice_dns_queries_total", "Names asked of the resolver."},
    [COUNTER_LOG_DROPPED] = {"sluice_log_dropped_total", "Log lines that did not fit in the queue."},
    [COUNTER_LIMITED_REQUESTS] = {"sluice_limited_requests_total", "Calls refused by a limit of requests, or of parallel calls."},
    [COUNTER_LIMITED_TOKENS] = {"sluice_limited_tokens_total", "Calls refused by a limit of tokens."},
    [COUNTER_LIMITED_BUDGET] = {"sluice_limited_budget_total", "Calls refused for want of money."},
    [COUNTER_GUARDED] = {"sluice_guarded_total", "Calls and answers that a guardrail stopped."},
    [COUNTER_STORE_AWAY] = {"sluice_store_refusals_total", "Calls refused because the store was away."},
    [COUNTER_HELD] = {"sluice_held_total", "Calls that waited for a rate limit instead of being refused."},
    [COUNTER_SEMANTIC_HITS] = {"sluice_semantic_hits_total", "Calls that were given the answer to a similar one."},
    [COUNTER_SEMANTIC_MISSES] = {"sluice_semantic_misses_total", "Calls that no kept answer was similar enough for."},
    [COUNTER_HEDGED] = {"sluice_hedged_total", "Calls for which a second target was asked, because the first was late."},
    [COUNTER_RESUMED] = {"sluice_resumed_total", "Answers that broke off and were continued by another target."},
    [COUNTER_MIRRORED] = {"sluice_mirrored_total", "Calls that a second target got, too, as a rule says."},
    [COUNTER_MIRROR_DENIED] = {"sluice_mirrors_denied_total", "Calls that were not mirrored, for too many were on their way."},
    [COUNTER_RETRY_DENIED] = {"sluice_retries_denied_total", "Further tries for which the budget of tries had no more."},
    [COUNTER_MIRROR_SKIPPED] = {"sluice_mirrors_skipped_total", "Calls that were not mirrored, for the deployment had no free place."},
    [COUNTER_SEMANTIC_SKIPPED] = {"sluice_semantic_skipped_total", "Calls whose meaning was not asked for, for the deployment had no free place."},
    [COUNTER_SPANS_SENT] = {"sluice_spans_sent_total", "Spans of traces that the collector took."},
    [COUNTER_SPANS_DROPPED] = {"sluice_spans_dropped_total", "Spans that the collector did not take, or there was no room for."},
    [COUNTER_SEMANTIC_FAILED] = {"sluice_semantic_failures_total", "Calls whose meaning the embedding model did not tell."},
};
/* clang-format on */

static void put_counter(struct page *page, const char *name, const char *help, uint64_t value)
{
    put_head(page, name, "counter", help);
    put(page, text_of(name));
    PUT(page, " ");
    put_unsigned(page, value);
    PUT(page, "\n");
}

static void put_gauge(struct page *page, const char *name, const char *help, int64_t value)
{
    put_head(page, name, "gauge", help);
    put(page, text_of(name));
    PUT(page, " ");
    put_signed(page, value);
    PUT(page, "\n");
}

static void put_seconds(struct page *page, const char *name, const char *type, const char *help,
                        int64_t us)
{
    put_head(page, name, type, help);
    put(page, text_of(name));
    PUT(page, " ");
    put_decimal(page, us > 0 ? (uint64_t)us : 0, 6);
    PUT(page, "\n");
}

static void write_figures(struct page *page)
{
    for (size_t i = 0; i < METRIC_GAUGES; i++)
        put_gauge(page, gauges[i].name, gauges[i].help,
                  metrics_gauge_now(page->metrics, (enum metric_gauge)i));
    for (size_t i = 0; i < METRIC_COUNTERS; i++)
        put_counter(page, counters[i].name, counters[i].help,
                    metrics_count_now(page->metrics, (enum metric_counter)i));
    put_gauge(page, "sluice_config_last_reload_successful", "Was the last reload good?",
              atomic_load(&page->metrics->reload_good));
    put_seconds(page, "sluice_config_last_reload_success_timestamp_seconds", "gauge",
                "When a configuration was last put in force.",
                atomic_load(&page->metrics->reload_at_us));
    put_head(page, "sluice_build_info", "gauge", "Which sluice this is.");
    PUT(page, "sluice_build_info{version=\"" PROGRAM_VERSION "\"} 1\n");
}

static void write_decisions(struct page *page)
{
    struct decisions *decisions = atomic_load(&page->metrics->decisions);
    if (decisions == NULL)
        return;
    struct decisions_figures figures = decisions_figures(decisions);
    put_counter(page, "sluice_decisions_kept_total", "Records of how a target was chosen.",
                figures.written);
    put_counter(page, "sluice_decisions_dropped_total", "Such records that could not be kept.",
                figures.dropped);
}

static void write_content(struct page *page)
{
    struct content *content = atomic_load(&page->metrics->content);
    if (content == NULL)
        return;
    struct content_figures figures = content_figures(content);
    put_counter(page, "sluice_content_kept_total", "Calls whose prompt and answer were kept.",
                figures.kept);
    put_counter(page, "sluice_content_dropped_total", "Such calls that could not be kept.",
                figures.dropped);
}

static void write_ledger(struct page *page)
{
    struct ledger *ledger = atomic_load(&page->metrics->ledger);
    if (ledger == NULL)
        return;
    struct ledger_figures figures = ledger_figures(ledger);
    put_counter(page, "sluice_ledger_lines_total", "Lines written to the journals.", figures.lines);
    put_gauge(page, "sluice_ledger_undrained_lines", "Lines that are not in the store yet.",
              (int64_t)figures.lines_undrained);
    put_gauge(page, "sluice_ledger_undrained_bytes", "Bytes that are not in the store yet.",
              (int64_t)figures.bytes_undrained);
    put_counter(page, "sluice_ledger_drains_total", "Times the journals were drained.",
                figures.drains);
    put_counter(page, "sluice_ledger_drain_errors_total", "Drains that failed, to be tried again.",
                figures.drain_errors);
    put_gauge(page, "sluice_ledger_full", "Is there no room for another call?", figures.full);
    put_gauge(page, "sluice_ledger_damaged",
              "Is the database damaged? The next start moves it aside.", figures.damaged);
    if (!figures.is_shared)
        return;
    put_gauge(page, "sluice_ledger_shared_up", "Does Redis take what other nodes are told?",
              figures.others_up);
    put_gauge(page, "sluice_ledger_untold_calls",
              "Calls that are booked and that other nodes were not told of yet.",
              figures.calls_untold);
    put_counter(page, "sluice_ledger_tellings_total", "Batches that other nodes were told.",
                figures.tellings);
    put_counter(page, "sluice_ledger_telling_errors_total",
                "Batches that failed, to be tried again.", figures.telling_errors);
    put_counter(page, "sluice_ledger_unstored_lines_total",
                "Lines that did not reach Redis in time (ledger.sync: store).",
                figures.lines_unstored);
}

/* What other replicas tell of targets. */
static void write_hearsay(struct page *page)
{
    struct hearsay_figures figures = hearsay_figures();
    put_gauge(page, "sluice_shared_figures_nodes",
              "Other replicas whose figures of targets count now.", figures.nodes);
    put_seconds(page, "sluice_shared_figures_age_seconds", "gauge",
                "How old the oldest of these figures are.", figures.age_us);
    put_counter(page, "sluice_shared_figures_told_total", "Records told to other replicas.",
                figures.told);
    put_counter(page, "sluice_shared_figures_heard_total", "Records of others that were read.",
                figures.heard);
    put_counter(page, "sluice_shared_figures_refused_total",
                "Records of others that could not be read.", figures.refused);
}

static void write_limits(struct page *page)
{
    struct limits *limits = atomic_load(&page->metrics->limits);
    if (limits == NULL)
        return;
    struct limits_figures figures = limits_figures(limits);
    put_counter(page, "sluice_reservations_total", "Calls that limits and budgets let pass.",
                figures.granted);
    put_counter(page, "sluice_store_round_trips_total", "Questions to the shared store.",
                figures.asked);
    put_gauge(page, "sluice_reservations", "Calls that hold something of a limit now.",
              (int64_t)figures.live);
    put_gauge(page, "sluice_limit_counters", "Counters of limits in memory.",
              (int64_t)figures.counters);
    put_gauge(page, "sluice_store_up", "Can the shared store be reached? 1 where there is none.",
              figures.store_up);
    put_gauge(page, "sluice_replicas", "Replicas on the same store.", figures.replicas);
    write_hearsay(page);
    put_seconds(page, "sluice_store_latency_seconds", "gauge", "The last round trip to the store.",
                figures.store_latency_us);
}

static void put_result(struct page *page, const char *result, uint64_t value)
{
    PUT(page, "sluice_cache_requests_total{result=\"");
    put(page, text_of(result));
    PUT(page, "\"} ");
    put_unsigned(page, value);
    PUT(page, "\n");
}

static void write_cache(struct page *page)
{
    struct cache *cache = atomic_load(&page->metrics->cache);
    if (cache == NULL)
        return;
    struct cache_figures figures = cache_figures(cache);
    put_head(page, "sluice_cache_requests_total", "counter",
             "Calls that looked for a kept answer, with an Idempotency-Key too.");
    put_result(page, "hit", figures.hits);
    put_result(page, "join", figures.joins);
    put_result(page, "miss", figures.misses);
    put_counter(page, "sluice_cache_evictions_total", "Kept answers that made room for others.",
                figures.evicted);
    put_gauge(page, "sluice_cache_entries", "Kept answers.", (int64_t)figures.entries);
    put_gauge(page, "sluice_cache_bytes", "Bytes of kept answers.", (int64_t)figures.bytes);
    struct semantic *semantic = atomic_load(&page->metrics->semantic);
    if (semantic)
        put_gauge(page, "sluice_semantic_entries", "Meanings in memory, each with an answer.",
                  (int64_t)semantic_figures(semantic).entries);
}

/* ---------------------------------------------------------------------------- the process */

/* Linux 6.2 and later say it in the size of the directory. */
static int64_t count_descriptors(void)
{
    struct stat what;
    if (stat("/proc/self/fd", &what) == 0 && what.st_size > 0)
        return what.st_size;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return 0;
    int64_t count = -3; /* ".", ".." and the directory itself */
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - (int64_t)descriptors_kept(); /* those are free for who needs them */
}

static void write_process(struct page *page)
{
    struct rusage used;
    struct rlimit files = {0};
    long long pages[2] = {0, 0};
    getrusage(RUSAGE_SELF, &used);
    getrlimit(RLIMIT_NOFILE, &files);
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        char line[128];
        char *end = fgets(line, sizeof line, statm);
        for (size_t i = 0; end != NULL && i < 2; i++)
            pages[i] = strtoll(end, &end, 10);
        fclose(statm);
    }
    int64_t cpu_us = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL +
                     used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    long page_bytes = sysconf(_SC_PAGESIZE);
    put_seconds(page, "process_cpu_seconds_total", "counter", "CPU time, user and system.", cpu_us);
    put_gauge(page, "process_virtual_memory_bytes", "Virtual memory.", pages[0] * page_bytes);
    put_gauge(page, "process_resident_memory_bytes", "Resident memory.", pages[1] * page_bytes);
    put_gauge(page, "process_open_fds", "Open file descriptors.", count_descriptors());
    put_gauge(page, "process_max_fds", "File descriptors that may be open.",
              files.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)files.rlim_cur);
    put_seconds(page, "process_start_time_seconds", "gauge", "When it started.",
                page->metrics->started_us);
}

/* Room for a page like the last one, and for what others add to it: one that grows by and by leaves
 * pieces of half its size, and of a quarter, all over the heap. */
static void make_room(struct metrics *metrics, struct buffer *out)
{
    size_t last = atomic_load_explicit(&metrics->page_bytes, memory_order_relaxed);
    size_t wanted = last + last / SPARE_PART;
    if (last > 0 && wanted <= out->limit - buffer_length(out))
        buffer_room(out, wanted);
}

bool metrics_write(struct metrics *metrics, struct buffer *out)
{
    size_t before = buffer_length(out);
    make_room(metrics, out);
    struct page page = {.metrics = metrics, .out = out, .workers = metrics->options.workers};
    pthread_mutex_lock(&metrics->lock);
    write_http(&page);
    write_calls(&page);
    write_in_flight(&page);
    write_tokens(&page);
    write_attempts(&page);
    write_histograms(&page);
    pthread_mutex_unlock(&metrics->lock);
    write_figures(&page);
    write_ledger(&page);
    write_decisions(&page);
    write_content(&page);
    write_limits(&page);
    write_cache(&page);
    write_process(&page);
    atomic_store_explicit(&metrics->page_bytes, buffer_length(out) - before, memory_order_relaxed);
    return !page.is_full;
}
