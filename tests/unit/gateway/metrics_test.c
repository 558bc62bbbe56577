/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/metrics.h"
/* after those above */
#include <cmocka.h>

static char *written(struct metrics *metrics)
{
    struct buffer out;
    buffer_init(&out, 16 << 20);
    assert_true(metrics_write(metrics, &out));
    struct text t = buffer_text(&out);
    char *copy = malloc(t.len + 1);
    memcpy(copy, t.at, t.len);
    copy[t.len] = 0;
    buffer_done(&out);
    return copy;
}

/* Does the page have exactly this line? */
static void assert_line(const char *page, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = page; (at = strstr(at, line)) != NULL; at++)
        if ((at == page || at[-1] == '\n') && at[len] == '\n')
            return;
    fail_msg("no line \"%s\" in\n%s", line, page);
}

static struct ledger_row usual_row(void)
{
    return (struct ledger_row){.tenant = TEXT("acme"),
                               .model = TEXT("whatever the client wrote"),
                               .target = TEXT("mini"),
                               .provider = TEXT("openai"),
                               .operation = TEXT("chat"),
                               .outcome = LEDGER_COMPLETE,
                               .counted = COUNTED_PROVIDER,
                               .usage = {.input_tokens = 10, .output_tokens = 5},
                               .cost_nanos = 1500000,
                               .attempts = 1,
                               .ttft_us = 15000,
                               .duration_us = 30000,
                               .overhead_us = 45};
}

static void test_workers_are_summed_up(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 2, .tenant_label = true, .gen_ai = true};
    struct metrics *metrics = metrics_new(&options);
    struct ledger_row row = usual_row();
    for (unsigned i = 0; i < 2; i++) {
        struct metrics_worker *worker = metrics_of(metrics, i);
        metrics_http(worker, TEXT("api"), METHOD_POST, 200);
        metrics_http(worker, TEXT("api"), METHOD_POST, 299);
        metrics_call(worker, &row, TEXT("fast"));
        metrics_attempt(worker, TEXT("mini"), FAULT_NONE);
        metrics_gauge(worker, GAUGE_CONNECTIONS, 3);
        metrics_count(worker, COUNTER_ACCEPTED, 7);
    }
    metrics_attempt(metrics_of(metrics, 1), TEXT("mini"), FAULT_TARGET_DOWN);
    /* begun on one worker, ended on the other */
    metrics_in_flight(metrics_of(metrics, 0), TEXT("fast"), 1);
    metrics_in_flight(metrics_of(metrics, 0), TEXT("fast"), 1);
    metrics_in_flight(metrics_of(metrics, 1), TEXT("fast"), -1);
    char *page = written(metrics);
    assert_line(page,
                "sluice_http_requests_total{listener=\"api\",method=\"POST\",code=\"200\"} 2");
    assert_line(page,
                "sluice_http_requests_total{listener=\"api\",method=\"POST\",code=\"other\"} 2");
    assert_line(page, "sluice_requests_total{model=\"fast\",provider=\"openai\",target=\"mini\","
                      "tenant=\"acme\",outcome=\"complete\"} 2");
    assert_line(page, "sluice_tokens_total{model=\"fast\",tenant=\"acme\",kind=\"input\"} 20");
    assert_line(page, "sluice_cost_usd_total{model=\"fast\",tenant=\"acme\"} 0.003");
    assert_line(page, "sluice_upstream_attempts_total{target=\"mini\",result=\"good\"} 2");
    assert_line(page, "sluice_inflight_requests{model=\"fast\"} 1");
    assert_line(page, "sluice_connections 6");
    assert_line(page, "sluice_connections_accepted_total 14");
    assert_line(page, "# TYPE sluice_request_duration_seconds histogram");
    assert_line(page, "sluice_request_duration_seconds_bucket{model=\"fast\",le=\"0.02\"} 0");
    assert_line(page, "sluice_request_duration_seconds_bucket{model=\"fast\",le=\"0.04\"} 2");
    assert_line(page, "sluice_request_duration_seconds_bucket{model=\"fast\",le=\"+Inf\"} 2");
    assert_line(page, "sluice_request_duration_seconds_sum{model=\"fast\"} 0.06");
    assert_line(page, "sluice_request_duration_seconds_count{model=\"fast\"} 2");
    assert_line(page, "sluice_overhead_seconds_bucket{model=\"fast\",le=\"0.00005\"} 2");
    assert_line(page, "gen_ai_client_token_usage_bucket{gen_ai_operation_name=\"chat\","
                      "gen_ai_provider_name=\"openai\",gen_ai_request_model=\"fast\","
                      "gen_ai_response_model=\"\",server_address=\"\","
                      "gen_ai_token_type=\"input\",le=\"16\"} 2");
    assert_null(strstr(page, "whatever"));
    free(page);
    metrics_free(metrics);
}

/* What a client can choose must not make series. */
static void test_labels_are_bounded(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1, .tenant_label = true, .max_label_values = 3};
    struct metrics *metrics = metrics_new(&options);
    struct metrics_worker *worker = metrics_of(metrics, 0);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "tenant%d", i);
        struct ledger_row row = usual_row();
        row.tenant = text_of(name);
        metrics_call(worker, &row, (struct text){"", 0});
    }
    char *page = written(metrics);
    assert_line(page, "sluice_tokens_total{model=\"other\",tenant=\"tenant2\",kind=\"input\"} 10");
    assert_line(page, "sluice_tokens_total{model=\"other\",tenant=\"other\",kind=\"input\"} 970");
    assert_null(strstr(page, "tenant3"));
    free(page);
    metrics_free(metrics);
}

enum { NAMES = 40000, SERIES = 4096 };

/* More names than a worker remembers: counts must survive its remembering more, and its forgetting.
 * So many have no series of their own. */
static void test_forgetting_loses_nothing(void **state)
{
    (void)state;
    char line[128];
    struct metrics_options options = {.workers = 1, .max_label_values = 100000};
    struct metrics *metrics = metrics_new(&options);
    struct metrics_worker *worker = metrics_of(metrics, 0);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < NAMES; i++) {
            char name[16];
            snprintf(name, sizeof name, "t%d", i);
            metrics_attempt(worker, text_of(name), FAULT_NONE);
        }
    char *page = written(metrics);
    assert_line(page, "sluice_upstream_attempts_total{target=\"t0\",result=\"good\"} 2");
    assert_line(page, "sluice_upstream_attempts_total{target=\"t4095\",result=\"good\"} 2");
    assert_null(strstr(page, "t4096"));
    snprintf(line, sizeof line,
             "sluice_upstream_attempts_total{target=\"other\",result=\"good\"} %d",
             2 * (NAMES - SERIES));
    assert_line(page, line);
    free(page);
    metrics_free(metrics);
}

static void test_no_tenant_label(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1, .tenant_label = false};
    struct metrics *metrics = metrics_new(&options);
    struct ledger_row row = usual_row();
    metrics_call(metrics_of(metrics, 0), &row, TEXT("a\"b\\c\nd"));
    char *page = written(metrics);
    assert_null(strstr(page, "acme"));
    assert_line(page, "sluice_cost_usd_total{model=\"a\\\"b\\\\c\\nd\",tenant=\"\"} 0.0015");
    free(page);
    metrics_free(metrics);
}

static void test_unknown_usage_is_not_reported(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1, .gen_ai = true};
    struct metrics *metrics = metrics_new(&options);
    struct ledger_row row = usual_row();
    row.counted = COUNTED_ESTIMATE;
    metrics_call(metrics_of(metrics, 0), &row, TEXT("fast"));
    char *page = written(metrics);
    assert_null(strstr(page, "gen_ai_client_token_usage_bucket"));
    assert_non_null(strstr(page, "gen_ai_client_operation_duration_seconds_bucket"));
    free(page);
    metrics_free(metrics);
}

#define GENAI                                                                         \
    "gen_ai_operation_name=\"text_completion\",gen_ai_provider_name=\"aws.bedrock\"," \
    "gen_ai_request_model=\"fast\",gen_ai_response_model=\"nova\",server_address=\"%s\""

static void assert_genai(const char *page, const char *name, const char *address, const char *more)
{
    char labels[300], line[600];
    snprintf(labels, sizeof labels, GENAI, address);
    snprintf(line, sizeof line, "%s{%s%s", name, labels, more);
    assert_line(page, line);
}

/* By the names of the convention, and as its streams want it. */
static void test_genai(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1, .gen_ai = true};
    struct metrics *metrics = metrics_new(&options);
    struct metrics_worker *worker = metrics_of(metrics, 0);
    struct ledger_row row = usual_row();
    row.provider = TEXT("aws");
    row.upstream_model = TEXT("nova");
    row.operation = TEXT("completion");
    metrics_provider(metrics, TEXT("aws"), TEXT("bedrock"), TEXT("one.example"));
    metrics_call(worker, &row, TEXT("fast"));
    char *page = written(metrics);
    assert_null(strstr(page, "gen_ai_server_time_to_first_token_seconds_bucket"));
    free(page);
    row.stream = true; /* 15 ms to the first token, 15 for 4 more */
    metrics_call(worker, &row, TEXT("fast"));
    row.outcome = LEDGER_PARTIAL;
    row.fault = TEXT("target_down");
    metrics_call(worker, &row, TEXT("fast"));
    page = written(metrics);
    assert_genai(page, "gen_ai_server_time_to_first_token_seconds_bucket", "one.example",
                 ",le=\"0.01\"} 0");
    assert_genai(page, "gen_ai_server_time_to_first_token_seconds_bucket", "one.example",
                 ",le=\"0.02\"} 1");
    assert_genai(page, "gen_ai_server_time_to_first_token_seconds_bucket", "one.example",
                 ",le=\"10\"} 1");
    assert_genai(page, "gen_ai_server_time_to_first_token_seconds_bucket", "one.example",
                 ",le=\"+Inf\"} 1");
    assert_genai(page, "gen_ai_server_time_per_output_token_seconds_sum", "one.example",
                 "} 0.00375");
    assert_genai(page, "gen_ai_client_operation_duration_seconds_count", "one.example",
                 ",error_type=\"\"} 2");
    assert_genai(page, "gen_ai_client_operation_duration_seconds_count", "one.example",
                 ",error_type=\"target_down\"} 1");
    free(page);
    /* a reload gives it another address */
    metrics_provider(metrics, TEXT("aws"), TEXT("bedrock"), TEXT("two.example"));
    metrics_call(worker, &row, TEXT("fast"));
    page = written(metrics);
    assert_genai(page, "gen_ai_client_operation_duration_seconds_count", "two.example",
                 ",error_type=\"target_down\"} 1");
    free(page);
    metrics_free(metrics);
}

static void test_genai_may_be_off(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1};
    struct metrics *metrics = metrics_new(&options);
    struct ledger_row row = usual_row();
    row.stream = true;
    metrics_call(metrics_of(metrics, 0), &row, TEXT("fast"));
    char *page = written(metrics);
    assert_null(strstr(page, "gen_ai"));
    free(page);
    metrics_free(metrics);
}

static void test_off(void **state)
{
    (void)state;
    struct ledger_row row = usual_row();
    struct metrics_worker *worker = metrics_of(NULL, 0);
    assert_null(worker);
    metrics_http(worker, TEXT("api"), METHOD_GET, 200);
    metrics_call(worker, &row, TEXT("fast"));
    metrics_attempt(worker, TEXT("mini"), FAULT_NONE);
    metrics_in_flight(worker, TEXT("fast"), 1);
    metrics_gauge(worker, GAUGE_STREAMS, 1);
    metrics_count(worker, COUNTER_REFUSED, 1);
    assert_int_equal(metrics_gauge_now(NULL, GAUGE_STREAMS), 0);
    metrics_reload(NULL, true, 1);
    metrics_free(NULL);
}

static void test_full_buffer(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1};
    struct metrics *metrics = metrics_new(&options);
    struct buffer out;
    buffer_init(&out, 100);
    assert_false(metrics_write(metrics, &out));
    assert_true(buffer_length(&out) <= 100);
    buffer_done(&out);
    metrics_free(metrics);
}

enum { THREADS = 3, ROUNDS = 20000 };

static void *count_much(void *arg)
{
    struct ledger_row row = usual_row();
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i % 50);
        metrics_call(arg, &row, text_of(name));
    }
    return NULL;
}

/* A scrape while everybody counts (also for ThreadSanitizer); afterwards nothing is missing. */
static void test_scrape_meanwhile(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = THREADS, .tenant_label = true};
    struct metrics *metrics = metrics_new(&options);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count_much, metrics_of(metrics, i));
    for (int i = 0; i < 20; i++)
        free(written(metrics));
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char *page = written(metrics), line[128];
    snprintf(line, sizeof line, "sluice_request_duration_seconds_count{model=\"m0\"} %d",
             THREADS * ROUNDS / 50);
    assert_line(page, line);
    free(page);
    metrics_free(metrics);
}

/* Measured, and generous: the budget is 300 ns. */
static void test_a_call_is_cheap(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1, .tenant_label = true};
    struct metrics *metrics = metrics_new(&options);
    struct metrics_worker *worker = metrics_of(metrics, 0);
    struct ledger_row row = usual_row();
    struct timespec begin, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    for (int i = 0; i < 200000; i++)
        metrics_call(worker, &row, TEXT("fast"));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    double ns = (double)((end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec);
    print_message("%.0f ns for one call\n", ns / 200000);
    assert_true(ns / 200000 < 10000); /* sanitizers and busy machines included */
    metrics_free(metrics);
}

/* A page that grows by and by leaves pieces of each size behind. */
static void test_a_page_has_room_like_the_last_one(void **state)
{
    (void)state;
    struct metrics_options options = {.workers = 1};
    struct metrics *metrics = metrics_new(&options);
    struct buffer first, second, tight;
    buffer_init(&first, 16 << 20);
    buffer_init(&second, 16 << 20);
    assert_true(metrics_write(metrics, &first));
    assert_true(metrics_write(metrics, &second));
    size_t length = buffer_length(&first);
    assert_true(second.capacity >= length && second.capacity <= length + length / 8);
    buffer_init(&tight, length + 64); /* as much as it may hold is enough */
    assert_true(metrics_write(metrics, &tight));
    buffer_done(&first);
    buffer_done(&second);
    buffer_done(&tight);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers_are_summed_up),
        cmocka_unit_test(test_labels_are_bounded),
        cmocka_unit_test(test_forgetting_loses_nothing),
        cmocka_unit_test(test_no_tenant_label),
        cmocka_unit_test(test_unknown_usage_is_not_reported),
        cmocka_unit_test(test_genai),
        cmocka_unit_test(test_genai_may_be_off),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_a_page_has_room_like_the_last_one),
        cmocka_unit_test(test_scrape_meanwhile),
        cmocka_unit_test(test_a_call_is_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
