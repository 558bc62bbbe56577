/* SPDX-License-Identifier: Apache-2.0 */

/* What becomes of limits, budgets, nested tenants, stores, tokens and guardrails that a file
 * declares; what is said of mistakes in them is in tests/cases/config. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/config/config.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define KEY_HASH(last) \
    "\"sha256:000000000000000000000000000000000000000000000000000000000000000" last "\""

#define MODELS                                                                              \
    "version: 1\n"                                                                          \
    "providers: [{name: mock, type: mock}]\n"                                               \
    "models:\n"                                                                             \
    "  - {name: fast, aliases: [quick], targets: [{id: t, provider: mock, model: mock}]}\n" \
    "  - {name: embed, targets: [{id: e, provider: mock, model: mock}]}\n"

static struct config *load(const char *yaml)
{
    char path[] = "/tmp/config_limits_XXXXXX", *words = NULL;
    size_t length;
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, yaml, strlen(yaml)), strlen(yaml));
    close(file);
    setenv("STATE_DIRECTORY", "/state", 1);
    FILE *out = open_memstream(&words, &length);
    struct config_options options = {.path = path, .words = out};
    struct config_result result = config_load(&options);
    fclose(out);
    unlink(path);
    if (!result.config || result.warnings)
        fail_msg("%s", words);
    free(words);
    return result.config;
}

/* The limit of this name (limit_name_write()) for this model, or NULL. */
static const struct limit *find(const struct limit_list *limits, const char *name,
                                const char *model)
{
    for (size_t i = 0; i < limits->count; i++) {
        char written[48];
        limit_name_write(&limits->at[i], written);
        if (strcmp(written, name) == 0 && text_equal(limits->at[i].model, text_of(model)))
            return &limits->at[i];
    }
    return NULL;
}

static const struct limit *get(const struct limit_list *limits, const char *name, const char *model)
{
    const struct limit *limit = find(limits, name, model);
    if (!limit)
        fail_msg("no %s of \"%s\"", name, model);
    return limit;
}

/* ----------------------------------------------------------------------------------- limits */

static void reads_every_rate(void **state)
{
    (void)state;
    static const char *const kinds[] = {"requests", "tokens", "input_tokens", "output_tokens"};
    static const char *const units[] = {"second", "minute", "hour", "day"};
    static const enum limit_kind values[] = {LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_INPUT_TOKENS,
                                             LIMIT_OUTPUT_TOKENS};
    static const int64_t windows[] = {1, 60, 3600, 86400};
    char *yaml = NULL;
    size_t length;
    FILE *out = open_memstream(&yaml, &length);
    fputs("version: 1\ntenants:\n  - name: a\n    models: []\n    limits:\n", out);
    for (int i = 0; i < 16; i++)
        fprintf(out, "      %s_per_%s: %d\n", kinds[i / 4], units[i % 4], i);
    fputs("      concurrent: 0\n", out);
    fclose(out);
    struct config *config = load(yaml);
    const struct limit_list *limits = &config->tenants[0].limits;
    assert_int_equal(limits->count, 17);
    for (int i = 0; i < 16; i++) {
        char name[48];
        snprintf(name, sizeof(name), "%s_per_%s", kinds[i / 4], units[i % 4]);
        const struct limit *limit = get(limits, name, "");
        assert_int_equal(limit->kind, values[i / 4]);
        assert_int_equal(limit->period, PERIOD_ROLLING);
        assert_int_equal(limit->window_us, windows[i % 4] * 1000000);
        assert_int_equal(limit->amount, i); /* 0 is a limit too */
        assert_int_equal(limit->algorithm, LIMIT_SLIDING_WINDOW);
        assert_int_equal(limit->away, AWAY_LOCAL);
        assert_false(limit->strict);
    }
    assert_int_equal(get(limits, "concurrent", "")->amount, 0);
    assert_int_equal(get(limits, "concurrent", "")->period, PERIOD_NONE);
    config_unref(config);
    free(yaml);
}

static void null_is_no_limit(void **state)
{
    (void)state;
    struct config *config = load("version: 1\ntenants:\n  - name: a\n    models: []\n"
                                 "    limits: {requests_per_minute: null, concurrent: 5}\n");
    assert_int_equal(config->tenants[0].limits.count, 1);
    config_unref(config);
}

/* What a section says about the manner holds for what is in it, and for models unless they say
 * otherwise. */
static void manner_comes_from_the_nearest(void **state)
{
    (void)state;
    struct config *config =
        load(MODELS "store: {redis: {on_error: {limits: open, budgets: local}}}\n"
                    "limits: {strict_tokens: true, algorithm: token_bucket}\n"
                    "tenants:\n"
                    "  - name: a\n"
                    "    models: [fast]\n"
                    "    limits: {tokens_per_minute: 1, requests_per_minute: 2}\n"
                    "    budget: {amount: 1 USD}\n"
                    "    budgets: [{amount: 2 USD, period: day, on_error: closed}]\n"
                    "  - name: b\n"
                    "    models: [fast]\n"
                    "    limits:\n"
                    "      tokens_per_minute: 1\n"
                    "      strict: false\n"
                    "      algorithm: sliding_window\n"
                    "      on_error: closed\n"
                    "      models:\n"
                    "        fast: {output_tokens_per_day: 3}\n"
                    "        embed: {tokens_per_hour: 4, strict: true, on_error: local}\n");
    const struct limit_list *a = &config->tenants[0].limits, *b = &config->tenants[1].limits;
    const struct limit *limit = get(a, "tokens_per_minute", "");
    assert_true(limit->strict && limit->algorithm == LIMIT_TOKEN_BUCKET &&
                limit->away == AWAY_OPEN);
    assert_false(get(a, "requests_per_minute", "")->strict);
    assert_int_equal(get(a, "budget_per_month", "")->away, AWAY_LOCAL);
    assert_int_equal(get(a, "budget_per_day", "")->away, AWAY_CLOSED);
    limit = get(b, "tokens_per_minute", "");
    assert_true(!limit->strict && limit->algorithm == LIMIT_SLIDING_WINDOW &&
                limit->away == AWAY_CLOSED);
    limit = get(b, "output_tokens_per_day", "fast");
    assert_true(!limit->strict && limit->away == AWAY_CLOSED);
    limit = get(b, "tokens_per_hour", "embed");
    assert_true(limit->strict && limit->away == AWAY_LOCAL);
    config_unref(config);
}

static void a_model_is_known_by_its_route(void **state)
{
    (void)state;
    struct config *config =
        load(MODELS "tenants:\n"
                    "  - name: a\n"
                    "    models: [fast]\n"
                    "    limits: {models: {quick: {concurrent: 1, budget: {amount: 1 USD}},\n"
                    "                      openai/gpt-4o: {concurrent: 2}}}\n");
    const struct limit_list *limits = &config->tenants[0].limits;
    assert_int_equal(limits->count, 3);
    assert_int_equal(get(limits, "concurrent", "fast")->amount, 1);
    assert_int_equal(get(limits, "budget_per_month", "fast")->amount, 1000000000);
    assert_int_equal(get(limits, "concurrent", "openai/gpt-4o")->amount, 2);
    config_unref(config);
}

/* ---------------------------------------------------------------------------------- defaults */

static void defaults_are_for_those_that_set_none(void **state)
{
    (void)state;
    struct config *config =
        load("version: 1\n"
             "limits: {default: {requests_per_minute: 60}}\n"
             "tenants:\n"
             "  - name: none\n"
             "    models: []\n"
             "    users: {budget: {amount: 1 USD}}\n"
             "    keys:\n"
             "      - {name: none, hash: " KEY_HASH(
                 "1") "}\n"
                      "      - {name: empty, hash: " KEY_HASH(
                          "2") ", limits: {}}\n"
                               "      - {name: own, hash: " KEY_HASH(
                                   "3") ", limits: {concurrent: 1}}\n"
                                        "  - {name: budget, models: [], budget: {amount: 5 USD}}\n"
                                        "  - {name: nothing, models: [], limits: null}\n");
    const struct tenant *tenants = config->tenants;
    assert_int_equal(config->policy_limits.defaults.count, 1);
    assert_int_equal(tenants[0].limits.count, 1);
    assert_non_null(find(&tenants[0].limits, "requests_per_minute", ""));
    assert_int_equal(tenants[0].user_limits.count, 1); /* never of end users */
    assert_int_equal(config->key_list[0].limits.count, 1);
    assert_int_equal(config->key_list[1].limits.count, 0);
    assert_int_equal(config->key_list[2].limits.count, 1);
    assert_non_null(find(&config->key_list[2].limits, "concurrent", ""));
    assert_int_equal(tenants[1].limits.count, 2);
    assert_non_null(find(&tenants[1].limits, "requests_per_minute", ""));
    assert_non_null(find(&tenants[1].limits, "budget_per_month", ""));
    assert_int_equal(tenants[2].limits.count, 1);
    config_unref(config);
}

static void defaults_are_for_callers_without_a_key_too(void **state)
{
    (void)state;
    struct config *config = load("version: 1\nlimits: {default: {requests_per_minute: 60}}\n");
    assert_true(config->anonymous && config->anonymous_implied);
    assert_int_equal(config->anonymous_key->limits.count, 1);
    assert_int_equal(config->anonymous_key->tenant->limits.count, 1);
    config_unref(config);
    config = load("version: 1\nanonymous: true\n");
    assert_true(config->anonymous && !config->anonymous_implied);
    config_unref(config);
}

static void a_file_with_tenants_lets_nobody_in_without_a_key(void **state)
{
    (void)state;
    struct config *config = load("version: 1\ntenants: [{name: acme, models: [\"*\"]}]\n");
    assert_false(config->anonymous || config->anonymous_implied);
    config_unref(config);
    config = load("version: 1\nanonymous: false\n");
    assert_false(config->anonymous || config->anonymous_implied);
    config_unref(config);
    config = load("version: 1\nanonymous: true\ntenants: [{name: acme, models: [\"*\"]}]\n");
    assert_true(config->anonymous && !config->anonymous_implied);
    config_unref(config);
}

static void says_how_limits_are_told(void **state)
{
    (void)state;
    struct config *config = load("version: 1\n");
    assert_true(config->policy_limits.headers_openai && config->policy_limits.headers_ietf);
    assert_int_equal(config->policy_limits.hold_429_us, 0);
    assert_int_equal(config->policy_limits.algorithm, LIMIT_SLIDING_WINDOW);
    config_unref(config);
    config =
        load("version: 1\nlimits: {headers: [ietf], hold_429: 10s, algorithm: token_bucket}\n");
    assert_true(!config->policy_limits.headers_openai && config->policy_limits.headers_ietf);
    assert_int_equal(config->policy_limits.hold_429_us, 10000000);
    assert_int_equal(config->policy_limits.algorithm, LIMIT_TOKEN_BUCKET);
    config_unref(config);
}

/* ----------------------------------------------------------------------------------- budgets */

static void reads_budgets(void **state)
{
    (void)state;
    struct config *config = load(
        "version: 1\n"
        "tenants:\n"
        "  - name: a\n"
        "    models: []\n"
        "    budget: {amount: 500.000000001 USD}\n"
        "    budgets:\n"
        "      - {amount: 50 USD, period: day, time_zone: Europe/Berlin, on_exceeded: degrade}\n"
        "      - {amount: 0 USD, period: 30d, warn_at: [], on_exceeded: warn}\n"
        "      - {amount: 1 USD, period: total, warn_at: [0.001, \"0.5\", 0.9999, 1]}\n"
        "      - {amount: 2 USD, period: week, time_zone: UTC}\n"
        "      - {amount: 3 USD, period: 1h}\n"
        "      - {amount: 3 USD, period: hour}\n");
    const struct limit_list *limits = &config->tenants[0].limits;
    assert_int_equal(limits->count, 7);
    const struct limit *limit = get(limits, "budget_per_month", "");
    assert_int_equal(limit->kind, LIMIT_MONEY);
    assert_int_equal(limit->amount, INT64_C(500000000001));
    assert_int_equal(limit->exceeded, EXCEEDED_REJECT);
    assert_int_equal(limit->away, AWAY_CLOSED);
    assert_null(limit->zone);
    assert_int_equal(limit->warn_at[0], 500);
    assert_int_equal(limit->warn_at[1], 800);
    assert_int_equal(limit->warn_at[2], 0);
    limit = get(limits, "budget_per_day", "");
    assert_ptr_equal(limit->zone, zone_find(TEXT("Europe/Berlin")));
    assert_int_equal(limit->exceeded, EXCEEDED_DEGRADE);
    limit = get(limits, "budget_per_30d", "");
    assert_int_equal(limit->window_us, INT64_C(30) * 86400 * 1000000);
    assert_int_equal(limit->amount, 0);
    assert_int_equal(limit->warn_at[0], 0);
    assert_int_equal(limit->exceeded, EXCEEDED_WARN);
    limit = get(limits, "budget_total", "");
    assert_int_equal(limit->warn_at[0], 1);
    assert_int_equal(limit->warn_at[2], 999);
    assert_int_equal(limit->warn_at[3], 1000);
    assert_null(get(limits, "budget_per_week", "")->zone);
    assert_int_equal(get(limits, "budget_per_1h", "")->period, PERIOD_ROLLING);
    assert_int_equal(get(limits, "budget_per_hour", "")->period, PERIOD_HOUR);
    config_unref(config);
}

/* ------------------------------------------------------------------------------------ tenants */

static const struct tenant *tenant_of(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->tenant_count; i++)
        if (text_equal(config->tenants[i].name, text_of(name)))
            return &config->tenants[i];
    return NULL;
}

static void tenants_stand_in_any_order(void **state)
{
    (void)state;
    struct config *config = load(
        "version: 1\n"
        "tenants:\n"
        "  - {name: project, parent: team, tags: {project: x}, limits: {concurrent: 1}}\n"
        "  - name: team\n"
        "    parent: org\n"
        "    tags: {team: search, cost: \"12\"}\n"
        "    keys:\n"
        "      - {name: ci, hash: " KEY_HASH(
            "1") ", tags: {team: ci, job: n}}\n"
                 "      - {name: plain, hash: " KEY_HASH(
                     "2") "}\n"
                          "  - {name: org, models: [\"*\"], tags: {cost: \"4711\", org: o}}\n");
    const struct tenant *org = tenant_of(config, "org"), *team = tenant_of(config, "team"),
                        *project = tenant_of(config, "project");
    assert_ptr_equal(project->parent, team);
    assert_ptr_equal(team->parent, org);
    assert_null(org->parent);
    assert_int_equal(project->depth, 2);
    assert_int_equal(team->depth, 1);
    assert_int_equal(org->depth, 0);
    assert_ptr_equal(tenant_root(project), org);
    assert_true(text_equal(org->tags, TEXT("cost=4711,org=o")));
    assert_true(text_equal(team->tags, TEXT("org=o,team=search,cost=12")));
    assert_true(text_equal(project->tags, TEXT("org=o,team=search,cost=12,project=x")));
    assert_true(text_equal(config->key_list[0].tags, TEXT("org=o,cost=12,team=ci,job=n")));
    assert_true(text_equal(config->key_list[1].tags, team->tags));
    assert_ptr_equal(config->key_list[0].tenant, team);
    config_unref(config);
}

/* ------------------------------------------------------------------- stores, tokens, admins */

static void reads_where_redis_is(void **state)
{
    (void)state;
    struct config *config =
        load("version: 1\n"
             "ledger: {sync: store}\n"
             "store:\n"
             "  type: redis\n"
             "  redis:\n"
             "    url: rediss://user:secret@redis.example:6380/2\n"
             "    mode: sentinel\n"
             "    sentinel: {master: main, addresses: [\"a:1\", \"[::1]:2\"], username: u, "
             "password: p}\n"
             "    tls: {ca_file: /ca, cert_file: /c, key_file: /k, server_name: n}\n"
             "    key_prefix: \"prod:\"\n"
             "    timeout: 20ms\n"
             "    on_error: {limits: closed, budgets: local}\n"
             "    replicas_max: 8\n");
    const struct redis_options *redis = &config->store.redis;
    assert_true(config->store.is_redis && config->ledger_sync_store && config->ledger_sync_disk);
    assert_string_equal(redis->url, "rediss://user:secret@redis.example:6380/2");
    assert_int_equal(redis->mode, REDIS_SENTINEL);
    assert_string_equal(redis->sentinel_master, "main");
    assert_string_equal(redis->sentinels[0], "a:1");
    assert_string_equal(redis->sentinels[1], "[::1]:2");
    assert_null(redis->sentinels[2]);
    assert_string_equal(redis->sentinel_username, "u");
    assert_string_equal(redis->sentinel_password, "p");
    assert_string_equal(redis->tls.ca_file, "/ca");
    assert_string_equal(redis->tls.cert_file, "/c");
    assert_string_equal(redis->tls.key_file, "/k");
    assert_string_equal(redis->server_name, "n");
    assert_int_equal(redis->timeout_us, 20000);
    assert_string_equal(config->store.key_prefix, "prod:");
    assert_int_equal(config->store.replicas_max, 8);
    assert_int_equal(config->store.away_limits, AWAY_CLOSED);
    assert_int_equal(config->store.away_budgets, AWAY_LOCAL);
    config_unref(config);
    config = load("version: 1\n");
    assert_false(config->store.is_redis || config->ledger_sync_store);
    assert_string_equal(config->store.redis.url, "redis://127.0.0.1:6379/0");
    assert_string_equal(config->store.key_prefix, "sluice:");
    assert_int_equal(config->store.redis.mode, REDIS_AUTO);
    assert_int_equal(config->store.redis.timeout_us, 50000);
    assert_int_equal(config->store.replicas_max, 4);
    config_unref(config);
}

static void who_shows_a_token_is_not_let_in_without(void **state)
{
    (void)state;
    struct config *config =
        load("version: 1\n"
             "server: {listeners: [{address: \"0.0.0.0:8080\"}]}\n"
             "jwt: {issuer: i, audience: a, jwks_url: \"https://id.example/keys\", tenant_claim: "
             "org.team, refresh: 1m}\n");
    assert_true(config->jwt.enabled);
    assert_false(config->anonymous || config->anonymous_implied);
    assert_true(text_equal(config->jwt.settings.issuer, TEXT("i")));
    assert_true(text_equal(config->jwt.settings.audience, TEXT("a")));
    assert_true(text_equal(config->jwt.settings.tenant_claim, TEXT("org.team")));
    assert_true(text_equal(config->jwt.settings.models_claim, TEXT("models")));
    assert_string_equal(config->jwt.jwks_url, "https://id.example/keys");
    assert_true(text_equal(config->jwt.jwks.host, TEXT("id.example")));
    assert_int_equal(config->jwt.refresh_us, 60000000);
    config_unref(config);
    config = load("version: 1\n");
    assert_false(config->jwt.enabled);
    config_unref(config);
}

static void reads_the_keys_of_administrators(void **state)
{
    (void)state;
    struct config *config =
        load("version: 1\n"
             "tenants: [{name: acme, models: []}]\n"
             "admin:\n"
             "  key: a-long-admin-secret\n"
             "  read_only: true\n"
             "  keys:\n"
             "    - {name: ops, hash: " KEY_HASH("1") ", role: viewer}\n"
                                                      "    - {name: acme, hash: " KEY_HASH(
                                                          "2") ", role: tenant, tenant: acme}\n");
    assert_int_equal(config->admin_key_count, 3);
    assert_true(config->admin_read_only);
    struct digest digest = hash_sha256(TEXT("a-long-admin-secret"));
    assert_true(text_equal(config->admin_keys[0].name, TEXT("admin")));
    assert_true(hash_same(&config->admin_keys[0].digest, &digest));
    assert_int_equal(config->admin_keys[0].role, ADMIN_ROLE_ADMIN);
    assert_int_equal(config->admin_keys[1].role, ADMIN_ROLE_VIEWER);
    assert_int_equal(config->admin_keys[2].role, ADMIN_ROLE_TENANT);
    assert_true(text_equal(config->admin_keys[2].tenant, TEXT("acme")));
    config_unref(config);
    config = load("version: 1\n");
    assert_int_equal(config->admin_key_count, 0);
    config_unref(config);
}

/* -------------------------------------------------------------------------- cache, guardrails */

static void reads_what_is_cached(void **state)
{
    (void)state;
    struct config *config = load(
        MODELS "cache:\n"
               "  exact: {enabled: true, ttl: 2h, max_bytes: 1MiB, scope: shared, stream: false, "
               "max_temperature: 0.75}\n"
               "  semantic: {enabled: true, threshold: 0.875, ttl: 5m, max_entries: 7}\n");
    assert_true(config->cache.exact && config->cache.shared_scope && config->cache.semantic);
    assert_false(config->cache.stream);
    assert_int_equal(config->cache.ttl_us, INT64_C(7200) * 1000000);
    assert_int_equal(config->cache.max_bytes, 1 << 20);
    assert_int_equal(config->cache.max_temperature_milli, 750);
    assert_int_equal(config->cache.threshold, 875000);
    assert_int_equal(config->cache.semantic_ttl_us, INT64_C(300) * 1000000);
    assert_int_equal(config->cache.semantic_entries, 7);
    assert_true(text_equal(config->cache.semantic_model, TEXT("embed")));
    config_unref(config);
    config = load("version: 1\n");
    assert_false(config->cache.exact || config->cache.semantic || config->cache.shared_scope);
    assert_true(config->cache.stream);
    assert_int_equal(config->cache.max_temperature_milli, 0);
    config_unref(config);
}

static void compiles_guardrails(void **state)
{
    (void)state;
    struct config *config = load(
        MODELS "tenants: [{name: acme, models: [fast]}]\n"
               "guardrails:\n"
               "  - {name: keys, stage: response, type: regex, patterns: ['sk-[a-z]{3}'], action: "
               "redact, stream_window: 1KiB}\n"
               "  - {name: hook, type: webhook, url: \"http://127.0.0.1:7001/check\", timeout: 1s, "
               "on_error: allow, tenants: [acme], models: [fast]}\n"
               "  - name: shape\n"
               "    stage: response\n"
               "    type: json_schema\n"
               "    schema: {type: object, required: [a], properties: {a: {enum: [\"5\", 5, 1.5e3, "
               "true, null, 0x10, -0, \"true\"]}}}\n");
    assert_int_equal(config->guard_rule_count, 3);
    assert_non_null(config->guard);
    const struct guard_rule *rules = config->guard_rules;
    assert_int_equal(rules[0].stage, GUARD_RESPONSE);
    assert_int_equal(rules[0].action, GUARD_REDACT);
    assert_int_equal(rules[0].stream_window, 1024);
    assert_true(text_equal(rules[0].patterns[0], TEXT("sk-[a-z]{3}")));
    assert_int_equal(rules[1].type, GUARD_WEBHOOK);
    assert_int_equal(rules[1].timeout_us, 1000000);
    assert_true(rules[1].allow_on_error);
    assert_int_equal(rules[1].tenant_count + rules[1].model_count, 2);
    assert_true(text_equal(
        rules[2].schema,
        TEXT("{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"enum\":[\"5\",5,"
             "1.5e3,true,null,\"0x10\",-0,\"true\"]}}}")));
    struct guard_verdict verdict;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    guard_look(config->guard, 1, GUARD_RESPONSE,
               TEXT("{\"choices\":[{\"message\":{\"content\":\"sk-abc\"}}]}"), &verdict, &out);
    assert_true(verdict.changed);
    buffer_done(&out);
    config_unref(config);
    config = load("version: 1\n");
    assert_null(config->guard);
    config_unref(config);
}

/* ------------------------------------------------------------------------------ shown, compared */

static void shows_and_compares_limits(void **state)
{
    (void)state;
    struct config *before =
        load(MODELS "tenants:\n"
                    "  - name: a\n"
                    "    models: [fast]\n"
                    "    limits: {requests_per_minute: 5, models: {fast: {concurrent: 1}}}\n"
                    "    budget: {amount: 1 USD}\n"
                    "    budgets: [{amount: 2 USD, period: day}]\n");
    struct config *after =
        load(MODELS "tenants:\n"
                    "  - name: a\n"
                    "    models: [fast]\n"
                    "    limits: {requests_per_minute: 6, models: {fast: {concurrent: 2}, embed: "
                    "{concurrent: 1}}}\n"
                    "    budgets: [{amount: 3 USD, period: day}, {amount: 1 USD, period: week}]\n"
                    "    users: {limits: {concurrent: 1}}\n");
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    unsigned count = config_diff(before, after, out);
    fclose(out);
    assert_string_equal(text, "tenants.a.budget: {amount: 1 USD} -> null\n"
                              "tenants.a.budgets.0.amount: 2 USD -> 3 USD\n"
                              "tenants.a.budgets.1: (absent) -> (present)\n"
                              "tenants.a.limits.requests_per_minute: 5 -> 6\n"
                              "tenants.a.limits.models.fast.concurrent: 1 -> 2\n"
                              "tenants.a.limits.models.embed: (absent) -> (present)\n"
                              "tenants.a.users.limits.concurrent: null -> 1\n");
    assert_int_equal(count, 7);
    free(text);
    out = open_memstream(&text, &length);
    config_show(before, out, SHOW_HASHES);
    fclose(out);
    struct config *again = load(text); /* what is shown can be read, and is the same */
    free(text);
    out = open_memstream(&text, &length);
    assert_int_equal(config_diff(before, again, out), 0);
    fclose(out);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(again->tenants[0].limits.count, 4);
    config_unref(before);
    config_unref(after);
    config_unref(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_rate),
        cmocka_unit_test(null_is_no_limit),
        cmocka_unit_test(manner_comes_from_the_nearest),
        cmocka_unit_test(a_model_is_known_by_its_route),
        cmocka_unit_test(defaults_are_for_those_that_set_none),
        cmocka_unit_test(defaults_are_for_callers_without_a_key_too),
        cmocka_unit_test(a_file_with_tenants_lets_nobody_in_without_a_key),
        cmocka_unit_test(says_how_limits_are_told),
        cmocka_unit_test(reads_budgets),
        cmocka_unit_test(tenants_stand_in_any_order),
        cmocka_unit_test(reads_where_redis_is),
        cmocka_unit_test(who_shows_a_token_is_not_let_in_without),
        cmocka_unit_test(reads_the_keys_of_administrators),
        cmocka_unit_test(reads_what_is_cached),
        cmocka_unit_test(compiles_guardrails),
        cmocka_unit_test(shows_and_compares_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
