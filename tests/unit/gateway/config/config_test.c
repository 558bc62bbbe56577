/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/base/quantity.h"
#include "gateway/base/sanitizer.h"
#include "gateway/base/scan.h"
#include "gateway/config/config.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static char root[4096];
static bool write_cases; /* asked for with WRITE_CASES=1: then read what git says of them */

/* -------------------------------------------------------------------------------- helpers */

/* A whole file with a NUL behind it, or NULL; malloc()ed. */
static char *file_text(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;
    if (!file)
        return NULL;
    if (getdelim(&text, &room, '\0', file) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(file);
    return text;
}

static void forget_environment(void)
{
    static const char *const names[] = {
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "SLUICE_LISTEN",
        "SLUICE_LOG_LEVEL",
        "SLUICE_ADMIN_KEY",
        "REDIS_URL",
        "PORT",
        "NOT_THERE",
        "SLUICE_CONFIG",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        unsetenv(names[i]);
    setenv("STATE_DIRECTORY", "/state:/other", 1);
}

/* Load <yaml> from a file of its own; NULL words = whatever is said is thrown away. */
static struct config_result load_text(const char *yaml, bool allow_inert, char **words)
{
    char path[] = "/tmp/config_test_XXXXXX";
    size_t length;
    char *said = NULL;
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, yaml, strlen(yaml)), strlen(yaml));
    close(file);
    FILE *out = open_memstream(&said, &length);
    struct config_options options = {.path = path, .allow_inert = allow_inert, .words = out};
    struct config_result result = config_load(&options);
    fclose(out);
    unlink(path);
    if (words)
        *words = said;
    else
        free(said);
    return result;
}

static struct config *load_good(const char *yaml)
{
    char *words;
    struct config_result result = load_text(yaml, false, &words);
    if (!result.config)
        fail_msg("%s", words);
    free(words);
    return result.config;
}

static char *print(void (*printer)(FILE *out))
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    printer(out);
    fclose(out);
    return text;
}

static char *shown(const struct config *config, bool origin)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    config_show(config, out, SHOW_HASHES | (origin ? SHOW_ORIGINS : 0));
    fclose(out);
    return text;
}

static char *differences(const struct config *before, const struct config *after, unsigned *count)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    *count = config_diff(before, after, out);
    fclose(out);
    return text;
}

/* ---------------------------------------------------------------- the cases in tests/cases */

/* "allow-inert", "json", "env NAME=VALUE", one a line. */
static void take_options(char *lines, struct config_options *options)
{
    char *rest = lines, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (strcmp(line, "allow-inert") == 0)
            options->allow_inert = true;
        else if (strcmp(line, "json") == 0)
            options->json = true;
        else if (strncmp(line, "env ", 4) == 0)
            assert_int_equal(putenv(line + 4), 0);
        else
            assert_string_equal(line, "");
    }
}

static void says_what_is_expected(void **state)
{
    const char *name = *state;
    size_t length;
    char *said = NULL, folder[4096];
    snprintf(folder, sizeof(folder), "tests/cases/config/%s", name);
    assert_int_equal(chdir(folder), 0);
    forget_environment();
    FILE *out = open_memstream(&said, &length);
    struct config_options options = {.path = "input.yaml", .words = out};
    char *lines = file_text("options.txt");
    if (lines)
        take_options(lines, &options);
    struct config_result result = config_load(&options);
    fprintf(out, "errors %u, warnings %u\n", result.errors, result.warnings);
    fclose(out);
    assert_true((result.config != NULL) == (result.errors == 0));
    config_unref(result.config);
    clearenv();
    free(lines);
    if (write_cases) {
        FILE *file = fopen("expected.txt", "we");
        fputs(said, file);
        fclose(file);
    }
    char *expected = file_text("expected.txt");
    assert_int_equal(chdir(root), 0);
    assert_non_null(expected);
    assert_string_equal(said, expected);
    free(expected);
    free(said);
}

/* ------------------------------------------------------------------------------ what is read */

static void reads_every_kind_of_value(void **state)
{
    (void)state;
    int64_t n;
    assert_true(duration_read(TEXT("250ms"), &n) && n == 250000);
    assert_true(duration_read(TEXT("7d"), &n) && n == INT64_C(604800000000));
    assert_true(duration_read(TEXT("5y"), &n) && n == INT64_C(5) * 365 * 86400 * 1000000);
    assert_true(duration_read(TEXT("0"), &n) && n == 0);
    assert_false(duration_read(TEXT("5"), &n));
    assert_false(duration_read(TEXT("s"), &n));
    assert_false(duration_read(TEXT("9223372036854775807s"), &n));
    assert_true(size_read(TEXT("64KiB"), &n) && n == 65536);
    assert_true(size_read(TEXT("4MB"), &n) && n == 4000000);
    assert_true(size_read(TEXT("123"), &n) && n == 123);
    assert_false(size_read(TEXT("KiB"), &n));
    assert_false(size_read(TEXT("99999999999TiB"), &n));
    assert_true(decimal_read(TEXT("0.15"), &n) && n == 150000000);
    assert_true(decimal_read(TEXT("0.000000001"), &n) && n == 1);
    assert_true(decimal_read(TEXT("12"), &n) && n == INT64_C(12000000000));
    assert_false(decimal_read(TEXT("0.0000000001"), &n));
    assert_false(decimal_read(TEXT("9999999999999"), &n));
    assert_false(decimal_read(TEXT("1."), &n));
    assert_false(decimal_read(TEXT(".5"), &n));
    assert_false(decimal_read(TEXT("1e3"), &n));
    assert_true(money_read(TEXT("12.50 USD"), &n) && n == INT64_C(12500000000));
    assert_false(money_read(TEXT("12.50"), &n));
    assert_false(money_read(TEXT("12.50  USD"), &n));
}

static void reads_dates(void **state)
{
    (void)state;
    int64_t us;
    assert_true(date_read(TEXT("1970-01-01"), &us) && us == 0);
    assert_true(date_read(TEXT("2027-01-01"), &us) && us == INT64_C(1798761600000000));
    assert_true(date_read(TEXT("2000-02-29T23:59:60Z"), &us) && us == INT64_C(951868800000000));
    assert_true(date_read(TEXT("2027-01-01T01:00:00.25+01:00"), &us) &&
                us == INT64_C(1798761600000000));
    assert_true(date_read(TEXT("2026-12-31T22:30:00-01:30"), &us) &&
                us == INT64_C(1798761600000000));
    static const char *const bad[] = {
        "2027-02-29",
        "2027-13-01",
        "2027-00-01",
        "2027-1-1",
        "1969-12-31",
        "2027-01-01T00:00:00",
        "2027-01-01T24:00:00Z",
        "2027-01-01T00:00Z",
        "",
        "2027-01-01T00:00:00.Z",
        "2027-01-01 ",
        "2027-01-01T00:00:00+1:00",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(date_read(text_of(bad[i]), &us));
}

static void has_the_stated_defaults(void **state)
{
    (void)state;
    forget_environment();
    struct config *config = load_good("version: 1\nproviders: [{name: m, type: mock}]\n");
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(config->listeners[0].address, "127.0.0.1:8080");
    assert_string_equal(config->listeners[0].name, "api");
    assert_int_equal(config->listeners[0].serve, SERVE_API | SERVE_HEALTH);
    assert_false(config->listeners[0].has_tls);
    assert_string_equal(config->base_path, "/");
    assert_int_equal(config->limits.max_header_bytes, 64 << 10);
    assert_int_equal(config->limits.max_body_bytes, 32 << 20);
    assert_int_equal(config->limits.max_upload_bytes, 512 << 20);
    assert_int_equal(config->limits.client_buffer_bytes, 256 << 10);
    assert_int_equal(config->limits.max_connections, 10000);
    assert_int_equal(config->timeouts.client_header_us, 10000000);
    assert_int_equal(config->timeouts.client_body_us, 30000000);
    assert_int_equal(config->timeouts.client_body_min_rate, 16 << 10);
    assert_int_equal(config->timeouts.client_idle_us, 60000000);
    assert_int_equal(config->timeouts.stream_idle_us, 120000000);
    assert_int_equal(config->timeouts.keepalive_ping_us, 15000000);
    assert_int_equal(config->drain_delay_us, 5000000);
    assert_int_equal(config->grace_us, 600000000);
    assert_true(config->workers >= 1);
    assert_string_equal(config->state, "/state");
    assert_string_equal(config->admin_socket, "/state/admin.sock");
    assert_string_equal(config->database, "/state/sluice.db");
    assert_string_equal(config->ledger_path, "/state/ledger");
    assert_false(config->ledger_sync_disk);
    assert_int_equal(config->keep_requests_us, INT64_C(14) * 86400 * 1000000);
    assert_int_equal(config->keep_days_us, INT64_C(5) * 365 * 86400 * 1000000);
    assert_false(config->unknown_model_passthrough);
    assert_true(config->anonymous);
    assert_true(text_equal(config->anonymous_key->name, TEXT("local")));
    assert_true(text_equal(config->anonymous_key->tenant->name, TEXT("local")));
    assert_true(key_may_call(config->anonymous_key, TEXT("anything")));
    assert_int_equal(config->telemetry.level, 1);
    assert_string_equal(config->telemetry.file, "stderr");
    assert_true(config->telemetry.access_enabled && config->telemetry.metrics_enabled);
    assert_true(config->telemetry.access_sample == 1.0);
    assert_int_equal(config->telemetry.max_label_values, 500);
    const struct provider_settings *provider = &config->providers[0];
    assert_false(provider->off || provider->allow_link_local);
    assert_int_equal(provider->connect_us, 3000000);
    assert_int_equal(provider->first_byte_us, 30000000);
    assert_int_equal(provider->total_us, 600000000);
    assert_int_equal(provider->max_connections, 256);
    assert_int_equal(provider->max_idle, 64);
    assert_int_equal(provider->idle_us, 55000000);
    assert_int_equal(provider->retry_attempts, 2);
    assert_true(provider->retry_connect);
    assert_int_equal(provider->retry_statuses[0], 429);
    assert_int_equal(provider->retry_statuses[4], 529);
    assert_int_equal(provider->retry_statuses[5], 0);
    assert_null(provider->proxy);
    config_unref(config);
}

static const char full[] =
    "version: 1\n"
    "server:\n"
    "  listeners:\n"
    "    - {name: a, address: \"unix:/run/a.sock\", serve: [ui, metrics], proxy_protocol: any}\n"
    "    - name: b\n"
    "      address: \"[::1]:8443\"\n"
    "      tls: {cert_file: STATE/c.pem, key_file: /k.pem, min_version: \"1.3\", client_ca_file: "
    "/ca}\n"
    "  base_path: /gateway/\n"
    "  cors: {allow_origins: [\"https://chat.example\"]}\n"
    "  workers: 3\n"
    "store: {embedded: {path: /data/x.db}}\n"
    "ledger: {path: STATE/journal, sync: disk, unknown_price: cap, price_cap: {input: 10, output: "
    "50}}\n"
    "providers:\n"
    "  - name: vendor\n"
    "    type: openai\n"
    "    base_url: https://gw.example:8443/openai/v1/\n"
    "    api_key: sk-secret\n"
    "    organization: org-1\n"
    "    headers: {x-team: search}\n"
    "    retry: {attempts: 1, retry_on: [\"503\"]}\n"
    "    proxy: http://user:pass@proxy:3128\n"
    "  - {name: own, type: vllm}\n"
    "models:\n"
    "  - name: fast\n"
    "    aliases: [gpt-4o-mini, \"claude-*\"]\n"
    "    description: Cheap\n"
    "    targets:\n"
    "      - id: one\n"
    "        provider: vendor\n"
    "        model: gpt-4o-mini\n"
    "        weight: 70\n"
    "        priority: 2\n"
    "        price: {input: 0.15, cached_input: 0.075, output: 0.60, request: 0.01,\n"
    "                above: {tokens: 200000, input: 0.3, output: 1.2}}\n"
    "        params: {max_tokens: 4096}\n"
    "      - {id: two, provider: vendor, model: gpt-4o-mini, price: catalog}\n"
    "      - {id: three, provider: vendor, model: made-up}\n"
    "      - {id: four, provider: own, model: qwen}\n"
    "routing: {unknown_model: passthrough}\n"
    "tenants:\n"
    "  - name: acme\n"
    "    models: [fast]\n"
    "    may_set: [tags, explain]\n"
    "    keys:\n"
    "      - name: ci\n"
    "        hash: \"sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"\n"
    "        expires: \"2099-01-01\"\n"
    "        models: [fast]\n"
    "telemetry: {log: {level: warn, format: json, file: /var/log/s}, access_log: {sample: 0.25}}\n";

static void reads_what_is_written(void **state)
{
    (void)state;
    forget_environment();
    struct config *config = load_good(full);
    assert_int_equal(config->listeners[0].serve, SERVE_UI | SERVE_ADMIN | SERVE_METRICS);
    assert_int_equal(config->listeners[0].proxy_protocol, PROXY_ANY);
    assert_true(config->listeners[1].has_tls && config->listeners[1].tls.tls13_only);
    assert_string_equal(config->listeners[1].tls.cert_file, "/state/c.pem");
    assert_string_equal(config->listeners[1].tls.ca_file, "/ca");
    assert_string_equal(config->base_path, "/gateway");
    assert_int_equal(config->cors_origin_count, 1);
    assert_int_equal(config->workers, 3);
    assert_string_equal(config->database, "/data/x.db");
    assert_string_equal(config->ledger_path, "/state/journal");
    assert_true(config->ledger_sync_disk && config->unknown_model_passthrough);
    assert_int_equal(config->telemetry.level, 2);
    assert_int_equal(config->telemetry.format, 2);
    assert_true(config->telemetry.access_sample == 0.25);
    const struct provider_settings *vendor = &config->providers[0];
    assert_true(text_equal(vendor->url.host, TEXT("gw.example")) && vendor->url.tls);
    assert_int_equal(vendor->url.port, 8443);
    assert_true(text_equal(vendor->url.path, TEXT("/openai/v1")));
    assert_true(text_equal(vendor->api_key, TEXT("sk-secret")));
    assert_true(text_equal(vendor->organization, TEXT("org-1")));
    assert_int_equal(vendor->header_count, 1);
    assert_string_equal(vendor->headers[0].value, "search");
    assert_false(vendor->retry_connect);
    assert_int_equal(vendor->retry_statuses[0], 503);
    assert_non_null(vendor->dialect);
    assert_string_equal(config->providers[1].base_url, "http://127.0.0.1:8000/v1");
    config_unref(config);
}

static void reads_models_and_keys(void **state)
{
    (void)state;
    forget_environment();
    struct config *config = load_good(full);
    const struct route *route = routes_find(config->routes, TEXT("claude-haiku"));
    assert_ptr_equal(route, &config->models[0]);
    assert_int_equal(route->target_count, 4);
    assert_true(route->context_window > 0); /* of the catalogue */
    const struct target *one = &route->targets[0], *two = &route->targets[1];
    assert_ptr_equal(one->provider, &config->providers[0]);
    assert_int_equal(one->weight, 70);
    assert_int_equal(one->priority, 2);
    assert_int_equal(two->weight, 1);
    assert_int_equal(one->max_tokens_default, 4096);
    assert_int_equal(one->price.input, 150000000);
    assert_int_equal(one->price.cached_input, 75000000);
    assert_int_equal(one->price.output, 600000000);
    assert_int_equal(one->price.request, 10000000);
    assert_int_equal(one->price.tier_above_tokens, 200000);
    assert_int_equal(one->price.tier_output, 1200000000);
    assert_true(one->price.known && two->price.known && two->price.input > 0);
    assert_int_not_equal(one->price.version, 0);
    assert_int_not_equal(one->price.version, two->price.version);
    const struct target *three = &route->targets[2], *four = &route->targets[3];
    assert_false(three->price.known || three->off);
    assert_int_equal(three->price.input, INT64_C(10000000000));
    assert_true(four->price.known);
    assert_int_equal(four->price.input, 0);
    assert_ptr_equal(one->figures, target_figures(TEXT("one")));
    assert_false(config->anonymous);
    assert_int_equal(config->key_count, 1);
    assert_true(text_equal(config->key_list[0].tenant->name, TEXT("acme")));
    assert_true(config->tenants[0].may_set_tags && config->tenants[0].may_set_explain);
    assert_false(config->tenants[0].may_set_policy);
    assert_int_equal(config->key_list[0].expires_us, INT64_C(4070908800000000));
    config_unref(config);
}

static void keeps_a_key_by_its_digest(void **state)
{
    (void)state;
    char hex[HEX_BYTES], yaml[1024];
    struct digest digest = hash_sha256(TEXT("sk-sluice-1"));
    hash_hex(&digest, hex);
    snprintf(yaml, sizeof(yaml),
             "version: 1\ntenants: [{name: t, models: [\"*\"], keys: [{name: k, hash: "
             "\"sha256:%s\"}]}]\n",
             hex);
    struct config *config = load_good(yaml);
    assert_int_equal(config->key_count, 1);
    assert_true(text_equal(config->key_list[0].name, TEXT("k")));
    assert_true(hash_same(&config->key_list[0].digest, &digest));
    config_unref(config);
}

/* ------------------------------------------------------------------------------ unknown price */

static void knows_what_an_unknown_price_means(void **state)
{
    (void)state;
    static const struct {
        const char *policy;
        bool off, known;
        int64_t input;
    } rows[] = {
        {"unknown_price: reject", true, false, 0},
        {"unknown_price: zero", false, false, 0},
        {"unknown_price: cap, price_cap: {input: 3, output: 4}", false, false, 3000000000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char yaml[512];
        snprintf(yaml, sizeof(yaml),
                 "version: 1\nledger: {%s}\nproviders: [{name: a, type: openai, api_key: sk}]\n"
                 "models: [{name: m, targets: [{id: t, provider: a, model: made-up}]}]\n",
                 rows[i].policy);
        struct config *config = load_good(yaml);
        assert_int_equal(config->targets[0].off, rows[i].off);
        assert_int_equal(config->targets[0].price.known, rows[i].known);
        assert_int_equal(config->targets[0].price.input, rows[i].input);
        struct price price;
        const struct provider_type *type = config->providers[0].type;
        assert_int_equal(config_price(config, type, TEXT("made-up"), &price), !rows[i].off);
        assert_int_equal(price.input, rows[i].input);
        assert_true(config_price(config, type, TEXT("gpt-4o-mini"), &price) && price.known);
        config_unref(config);
    }
}

/* -------------------------------------------------------------------------------- quickstart */

static struct config *quickstart(void)
{
    struct config_options options = {.quickstart = true, .words = stderr};
    struct config_result result = config_load(&options);
    assert_int_equal(result.errors, 0);
    assert_int_equal(result.warnings, 0);
    return result.config;
}

static void starts_with_nothing(void **state)
{
    (void)state;
    clearenv();
    struct config *config = quickstart();
    assert_null(config->path);
    assert_string_equal(config->listeners[0].address, "127.0.0.1:8080");
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->provider_count, 1);
    assert_true(config->providers[0].type->is_mock);
    assert_true(config->anonymous && config->unknown_model_passthrough);
    assert_non_null(routes_find(config->routes, TEXT("mock")));
    assert_ptr_equal(routes_find(config->routes, TEXT("mock/429")),
                     routes_find(config->routes, TEXT("mock")));
    assert_null(routes_find(config->routes, TEXT("gpt-4o")));
    config_unref(config);
}

static void starts_with_what_is_in_the_environment(void **state)
{
    (void)state;
    clearenv();
    setenv("OPENAI_API_KEY", "sk-1", 1);
    setenv("GROQ_API_KEY", "", 1);
    setenv("PORT", "9999", 1);
    setenv("SLUICE_LOG_LEVEL", "debug", 1);
    struct config *config = quickstart();
    assert_string_equal(config->listeners[0].address, "127.0.0.1:9999");
    assert_int_equal(config->telemetry.level, 0);
    assert_int_equal(config->provider_count, 2);
    assert_true(text_equal(config->providers[1].api_key, TEXT("sk-1")));
    const struct route *route = routes_find(config->routes, TEXT("gpt-4o-mini"));
    assert_non_null(route);
    assert_true(route->targets[0].price.known && route->targets[0].price.input > 0);
    config_unref(config);
    setenv("SLUICE_LISTEN", "[::1]:1234", 1);
    config = quickstart();
    assert_string_equal(config->listeners[0].address, "[::1]:1234");
    config_unref(config);
    clearenv();
}

static void finds_the_file(void **state)
{
    (void)state;
    clearenv();
    char *words = NULL;
    size_t length;
    FILE *out = open_memstream(&words, &length);
    assert_int_equal(chdir("/"), 0);
    struct config_options options = {.words = out};
    if (!config_find()) {
        struct config_result result = config_load(&options);
        assert_int_equal(result.errors, 1);
        assert_null(result.config);
    }
    setenv("SLUICE_CONFIG", "/no/such/file.yaml", 1);
    assert_string_equal(config_find(), "/no/such/file.yaml");
    struct config_result result = config_load(&options);
    fclose(out);
    assert_int_equal(result.errors, 1);
    assert_non_null(strstr(words, "/no/such/file.yaml: error: cannot be read: No such file"));
    free(words);
    clearenv();
    assert_int_equal(chdir(root), 0);
}

/* ---------------------------------------------------------------------------------- printing */

static void shows_no_secret(void **state)
{
    (void)state;
    forget_environment();
    setenv("SECRET", "very-secret-1", 1);
    struct config *config =
        load_good("version: 1\n"
                  "admin: {key: \"very-secret-0\"}\n"
                  "store: {redis: {url: \"redis://:very-secret-2@h\"}}\n"
                  "providers:\n"
                  "  - name: a\n"
                  "    type: openai\n"
                  "    api_key: ${SECRET}\n"
                  "    headers: {x-token: very-secret-3, x-other: \"${SECRET}\"}\n"
                  "    proxy: http://u:very-secret-4@p:1\n"
                  "  - {name: b, type: openai, api_key: \"${NOT_THERE:-very-secret-5}\"}\n"
                  "  - {name: c, type: openai, api_keys: [very-secret-6, \"pre-${SECRET}\"]}\n");
    char *text = shown(config, true);
    assert_null(strstr(text, "very-secret"));
    assert_null(strstr(text, "pre-"));
    assert_non_null(strstr(text, "api_key: ${SECRET} "));
    assert_non_null(strstr(text, "(set, 13 characters)"));
    free(text);
    config_unref(config);
    clearenv();
}

static void shows_where_values_come_from(void **state)
{
    (void)state;
    forget_environment();
    setenv("SLUICE_LOG_LEVEL", "debug", 1);
    struct config *config = load_good("version: 1\nserver:\n  workers: 3\n");
    char *text = shown(config, true);
    assert_non_null(strstr(text, "  workers: 3 "));
    assert_non_null(strstr(text, ":3\n"));
    assert_non_null(strstr(text, "# SLUICE_LOG_LEVEL\n"));
    assert_non_null(strstr(text, "# default\n"));
    free(text);
    config_unref(config);
    clearenv();
}

/* What is shown can be read again, and then means the same. */
static void shows_what_it_can_read(void **state)
{
    (void)state;
    forget_environment();
    struct config *config = load_good(full);
    char *text = shown(config, false);
    assert_null(strstr(text, "sk-secret"));
    struct config *again = load_good(text);
    unsigned count;
    char *words = differences(config, again, &count);
    /* Only what is masked differs: the key, the header, the proxy. */
    assert_int_equal(count, 3);
    assert_null(strstr(words, "sk-secret"));
    assert_non_null(
        strstr(words, "providers.vendor.api_key: \"********\" -> \"********\" (another"));
    free(words);
    free(text);
    config_unref(again);
    config_unref(config);
}

static void says_what_a_reload_changes(void **state)
{
    (void)state;
    forget_environment();
    struct config *before = load_good("version: 1\n"
                                      "server: {workers: 1}\n"
                                      "providers:\n"
                                      "  - {name: a, type: mock}\n"
                                      "  - {name: b, type: openai, api_key: sk-1}\n");
    struct config *after = load_good("version: 1\n"
                                     "server: {workers: 2, timeouts: {client_idle: 5s}}\n"
                                     "providers:\n"
                                     "  - {name: b, type: openai, api_key: sk-2}\n"
                                     "  - {name: c, type: mock, pool: {max_idle: 1}}\n");
    unsigned count;
    char *words = differences(before, after, &count);
    assert_string_equal(words, "server.timeouts.client_idle: 60s -> 5s\n"
                               "server.workers: 1 -> 2\n"
                               "providers.b.api_key: \"********\" -> \"********\" (another value)\n"
                               "providers.c: (absent) -> (present)\n"
                               "providers.a: (present) -> (absent)\n");
    assert_int_equal(count, 5);
    free(words);
    words = differences(after, after, &count);
    assert_int_equal(count, 0);
    assert_string_equal(words, "");
    free(words);
    config_unref(before);
    config_unref(after);
}

static void writes_a_schema(void **state)
{
    (void)state;
    char *text = print(config_schema);
    assert_true(scan_is_valid(text_of(text)));
    assert_non_null(strstr(text, "\"unknown_price\""));
    assert_non_null(strstr(text, "\"api_key_file\""));
    free(text);
}

static void writes_an_example_that_works(void **state)
{
    (void)state;
    forget_environment();
    setenv("OPENAI_API_KEY", "sk-1", 1);
    char *text = print(config_example), *words;
    struct config_result result = load_text(text, false, &words);
    assert_string_equal(words, "");
    assert_non_null(result.config);
    assert_int_equal(result.config->model_count, 2);
    free(words);
    free(text);
    config_unref(result.config);
    clearenv();
}

static void has_a_reference_that_is_up_to_date(void **state)
{
    (void)state;
    char *text = print(config_reference), *committed = file_text("docs/CONFIG.md");
    assert_non_null(committed);
    if (strcmp(text, committed) != 0)
        fail_msg("docs/CONFIG.md is not what the option tables say: make docs");
    free(text);
    free(committed);
}

/* ----------------------------------------------------------------------------- life and size */

static void lives_as_long_as_it_is_held(void **state)
{
    (void)state;
    forget_environment();
    struct config *config = load_good("version: 1\n");
    uint64_t generation = config->generation;
    assert_ptr_equal(config_ref(config), config);
    config_unref(config);
    assert_string_equal(config->base_path, "/");
    struct config *next = load_good("version: 1\n");
    assert_true(next->generation > generation);
    config_unref(config);
    config_unref(next);
    config_unref(NULL);
}

static char *many_keys(size_t count)
{
    char *yaml = NULL;
    size_t length;
    FILE *out = open_memstream(&yaml, &length);
    fputs("version: 1\ntenants:\n", out);
    for (size_t i = 0; i < count; i++) {
        char name[32], hex[HEX_BYTES];
        snprintf(name, sizeof(name), "secret-%zu", i);
        struct digest digest = hash_sha256(text_of(name));
        hash_hex(&digest, hex);
        if (i % 100 == 0)
            fprintf(out, "  - name: t%zu\n    models: [\"*\"]\n    keys:\n", i / 100);
        fprintf(
            out,
            "      - name: k%zu\n        hash: \"sha256:%s\"\n        expires: \"2099-01-01\"\n", i,
            hex);
    }
    fclose(out);
    return yaml;
}

static void loads_ten_thousand_keys_quickly(void **state)
{
    (void)state;
    enum { KEYS = 10000, LIMIT_US = 200000 };
    forget_environment();
    char *yaml = many_keys(KEYS);
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 3; i++) { /* other work on the machine may disturb one */
        uint64_t begin = clock_now_us();
        struct config *config = load_good(yaml);
        uint64_t took = clock_now_us() - begin;
        best = took < best ? took : best;
        assert_int_equal(config->key_count, KEYS);
        struct digest last = hash_sha256(TEXT("secret-9999"));
        assert_true(hash_same(&config->key_list[KEYS - 1].digest, &last));
        config_unref(config);
    }
    free(yaml);
    if (!UNDER_SANITIZER)
        assert_true(best < LIMIT_US);
}

/* ---------------------------------------------------------------------------------- all tests */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_case(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int run_cases(void)
{
    struct dirent **entries;
    int count = scandir("tests/cases/config", &entries, is_case, by_name);
    if (count < 60) {
        fprintf(stderr, "tests/cases/config is not there; run this from the top of the tree\n");
        return 1;
    }
    struct CMUnitTest *tests = calloc((size_t)count, sizeof(*tests));
    for (int i = 0; i < count; i++) {
        tests[i].name = entries[i]->d_name;
        tests[i].test_func = says_what_is_expected;
        tests[i].initial_state = entries[i]->d_name;
    }
    int failed = _cmocka_run_group_tests("cases", tests, (size_t)count, NULL, NULL);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    free(tests);
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_value),
        cmocka_unit_test(reads_dates),
        cmocka_unit_test(has_the_stated_defaults),
        cmocka_unit_test(reads_what_is_written),
        cmocka_unit_test(reads_models_and_keys),
        cmocka_unit_test(keeps_a_key_by_its_digest),
        cmocka_unit_test(knows_what_an_unknown_price_means),
        cmocka_unit_test(starts_with_nothing),
        cmocka_unit_test(starts_with_what_is_in_the_environment),
        cmocka_unit_test(finds_the_file),
        cmocka_unit_test(shows_no_secret),
        cmocka_unit_test(shows_where_values_come_from),
        cmocka_unit_test(shows_what_it_can_read),
        cmocka_unit_test(says_what_a_reload_changes),
        cmocka_unit_test(writes_a_schema),
        cmocka_unit_test(writes_an_example_that_works),
        cmocka_unit_test(has_a_reference_that_is_up_to_date),
        cmocka_unit_test(lives_as_long_as_it_is_held),
        cmocka_unit_test(loads_ten_thousand_keys_quickly),
    };
    if (!getcwd(root, sizeof(root)))
        return 1;
    write_cases = getenv("WRITE_CASES") != NULL;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + run_cases();
}
