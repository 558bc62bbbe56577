/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/document.h"
#include "gateway/config/options.h"

/* Rows of `tenants`, `limits`, `jwt`, `cache` and `guardrails`. */

#define ROOT(member)   offsetof(struct document, member)
#define CONFIG(member) offsetof(struct document, config.member)
#define TENANT(member) offsetof(struct tenant_draft, member)
#define KEY(member)    offsetof(struct key_draft, member)
#define LEVEL(member)  offsetof(struct level_draft, member)
#define RATES(member)  offsetof(struct rates_draft, member)
#define BUDGET(member) offsetof(struct budget_draft, member)
#define GUARD(member)  offsetof(struct guard_draft, member)

enum { CALLS_MAX = 1000000 };
/* What a number of JSON can hold exactly. */
#define AMOUNT_MAX (INT64_C(1) << 53)

/* clang-format off */

/* ------------------------------------------------------------------------------- limits */

static const struct option budget[] = {
    {.name = "amount", .type = OPTION_MONEY, .where = BUDGET(amount), .required = true, .help = "E.g. 500.00 USD; 0.00 USD = nothing that costs."},
    {.name = "period", .type = OPTION_DURATION, .where = BUDGET(window_us), .fallback = "month", .words = "hour|day|week|month|total", .min = SECONDS(60), .max = LONGEST, .help = "Span of the calendar (weeks begin on Monday), for ever, or any stretch of so long, such as 30d."},
    {.name = "time_zone", .type = OPTION_TEXT, .where = BUDGET(time_zone), .fallback = "UTC", .help = "Of the calendar: a name of the system's tz database, such as Europe/Berlin."},
    {.name = "warn_at", .type = OPTION_TEXTS, .where = BUDGET(warn_at), .fallback = "[0.5, 0.8]", .help = "Shares of the amount, rising, at most 4: a warning once in each span."},
    {.name = "on_exceeded", .type = OPTION_WORD, .where = BUDGET(exceeded), .fallback = "reject", .words = "reject|degrade|warn", .help = "degrade = only the cheapest targets are left; warn = the call is made, and said so."},
    {.name = "on_error", .type = OPTION_WORD, .where = BUDGET(away), .fallback = "null", .words = "local|open|closed", .help = "While Redis is away; default: store.redis.on_error.budgets."},
    {0},
};

/* Amounts in the order of their places in struct rates_draft.
 * NOLINTBEGIN(bugprone-macro-parentheses): texts that are put together. */
#define PER(PLACE, KIND, UNIT, HELP)                                                              \
    {.name = KIND "_per_" UNIT, .type = OPTION_NUMBER, .where = RATES(amounts[PLACE]),            \
     .fallback = "null", .min = 0, .max = AMOUNT_MAX, .help = HELP}
#define PER_UNIT(PLACE, KIND, HELP)                                                               \
    PER(PLACE, KIND, "second", HELP), PER((PLACE) + 1, KIND, "minute", HELP),                     \
    PER((PLACE) + 2, KIND, "hour", HELP), PER((PLACE) + 3, KIND, "day", HELP)
#define RATE_ROWS                                                                                 \
    PER_UNIT(0, "requests", "Calls; 0 = none, null = no limit."),                                 \
    PER_UNIT(4, "tokens", "Input and output together."),                                          \
    PER_UNIT(8, "input_tokens", "Input only."),                                                   \
    PER_UNIT(12, "output_tokens", "Output only."),                                                \
    {.name = "concurrent", .type = OPTION_NUMBER, .where = RATES(amounts[16]), .fallback = "null", .min = 0, .max = CALLS_MAX, .help = "Calls at once."}, \
    {.name = "strict", .type = OPTION_BOOL, .where = RATES(strict), .fallback = "null", .help = "Tokens reserve the upper bound of each call and are never exceeded; default: limits.strict_tokens."}, \
    {.name = "algorithm", .type = OPTION_WORD, .where = RATES(algorithm), .fallback = "null", .words = "sliding_window|token_bucket", .help = "How a window is kept; default: limits.algorithm."}, \
    {.name = "on_error", .type = OPTION_WORD, .where = RATES(away), .fallback = "null", .words = "local|open|closed", .help = "While Redis is away; default: store.redis.on_error.limits."}

/* NOLINTEND(bugprone-macro-parentheses) */

static const struct option model_rates[] = {
    RATE_ROWS,
    {.name = "budget", .type = OPTION_SECTION, .where = RATES(budget), .inner = budget, .fallback = "null", .help = "Money for this model."},
    {.name = "budgets", .type = OPTION_LIST, .where = RATES(budgets), .inner = budget, .size = sizeof(struct budget_draft), .help = "Several, over other periods."},
    {0},
};

const struct option rates_options[] = {
    RATE_ROWS,
    {.name = "models", .type = OPTION_MAPS, .where = RATES(models), .inner = model_rates, .size = sizeof(struct rates_draft), .help = "By name of a model: the same for its calls only, besides those for all."},
    {0},
};

const struct option limits_options[] = {
    {.name = "default", .type = OPTION_SECTION, .where = ROOT(default_limits), .inner = rates_options, .help = "Of each tenant and each key that has no section `limits` of its own, e.g. {requests_per_minute: 60, tokens_per_minute: 60000, concurrent: 10}."},
    {.name = "strict_tokens", .type = OPTION_BOOL, .where = CONFIG(policy_limits.strict_tokens), .fallback = "false", .help = "Token windows reserve the upper bound of each call."},
    {.name = "algorithm", .type = OPTION_WORD, .where = ROOT(algorithm), .fallback = "sliding_window", .words = "sliding_window|token_bucket", .help = "How a window is kept: see docs/LIMITS.md."},
    {.name = "count", .type = OPTION_WORD, .fallback = "estimate_then_settle", .words = "estimate_then_settle", .help = "Hold the estimate up front, correct it from usage."},
    {.name = "headers", .type = OPTION_WORDS, .where = ROOT(limit_headers), .fallback = "[openai, ietf]", .words = "openai|ietf", .help = "x-ratelimit-* (openai; to callers of Anthropic's API its own) and RateLimit, RateLimit-Policy (ietf)."},
    {.name = "hold_429", .type = OPTION_DURATION, .where = CONFIG(policy_limits.hold_429_us), .fallback = "0", .min = 0, .max = SECONDS(30), .help = "A call that fits after a wait of at most this is held instead of refused, for clients that do not retry; 0 = never."},
    {0},
};

/* ------------------------------------------------------------------------------ tenants */

static const struct option key[] = {
    {.name = "name", .type = OPTION_NAME, .where = KEY(key.name), .required = true, .help = "Unique within the tenant."},
    {.name = "hash", .type = OPTION_HASH, .where = KEY(key.digest), .required = true, .help = "\"sha256:\" and 64 hexadecimal digits; see sluice hash-key."},
    {.name = "expires", .type = OPTION_DATE, .where = KEY(key.expires_us), .fallback = "null", .help = "\"2027-01-01\" or RFC 3339."},
    {.name = "tags", .type = OPTION_PAIRS, .where = KEY(tags), .fallback = "{}", .help = "Noted with every call, besides the tenant's."},
    {.name = "models", .type = OPTION_TEXTS, .where = KEY(models), .help = "Narrower than the tenant's; default: all of the tenant's."},
    {.name = "budget", .type = OPTION_SECTION, .where = KEY(level.budget), .inner = budget, .fallback = "null", .help = "Money of this key."},
    {.name = "budgets", .type = OPTION_LIST, .where = KEY(level.budgets), .inner = budget, .size = sizeof(struct budget_draft), .help = "Several, over other periods."},
    {.name = "limits", .type = OPTION_SECTION, .where = KEY(level.limits), .inner = rates_options, .help = "Of this key; default: limits.default."},
    {0},
};

static const struct option users[] = {
    {.name = "budget", .type = OPTION_SECTION, .where = LEVEL(budget), .inner = budget, .fallback = "null", .help = "Money of each of them."},
    {.name = "budgets", .type = OPTION_LIST, .where = LEVEL(budgets), .inner = budget, .size = sizeof(struct budget_draft), .help = "Several, over other periods."},
    {.name = "limits", .type = OPTION_SECTION, .where = LEVEL(limits), .inner = rates_options, .help = "Of each of them; default: none."},
    {0},
};

const struct option tenant_options[] = {
    {.name = "name", .type = OPTION_NAME, .where = TENANT(tenant.name), .required = true, .help = "Unique."},
    {.name = "parent", .type = OPTION_NAME, .where = TENANT(parent), .fallback = "null", .help = "Name of the tenant that this one is in: its limits, budgets and list of models count here too. At most 8 deep."},
    {.name = "capture", .type = OPTION_WORD, .where = TENANT(capture), .fallback = "allowed", .words = "allowed|none", .help = "none = its prompts and answers, and those of the tenants in it, are kept in no span and no store, whatever telemetry.tracing.capture_content and store.capture say."},
    {.name = "may_set", .type = OPTION_WORDS, .where = TENANT(may_set), .fallback = "[]", .words = "tags|policy|explain", .help = "Which x-sluice-* headers its callers may use."},
    {.name = "may_deploy", .type = OPTION_BOOL, .where = TENANT(tenant.may_deploy), .fallback = "false", .help = "Its keys may start model servers by Monster's deploy calls, as deployments.monster.profiles says; not those of the tenants in it."},
    {.name = "tags", .type = OPTION_PAIRS, .where = TENANT(tags), .fallback = "{}", .help = "Noted with every call, besides those of the tenants above; at most 255 bytes as k=v,k=v."},
    {.name = "models", .type = OPTION_TEXTS, .where = TENANT(models), .fallback = "[]", .help = "Allow-list; [\"*\"] = all. None: a topmost tenant may call nothing, one in another what that may."},
    {.name = "residency", .type = OPTION_TEXTS, .where = TENANT(residency), .fallback = "[]", .help = "Its calls, and those of the tenants in it, go only to targets that have all of these tags, whatever rules and fallbacks say."},
    {.name = "budget", .type = OPTION_SECTION, .where = TENANT(level.budget), .inner = budget, .fallback = "null", .help = "Money of this tenant and all in it, together."},
    {.name = "budgets", .type = OPTION_LIST, .where = TENANT(level.budgets), .inner = budget, .size = sizeof(struct budget_draft), .help = "Several, over other periods."},
    {.name = "limits", .type = OPTION_SECTION, .where = TENANT(level.limits), .inner = rates_options, .help = "Of this tenant and all in it, together; default: limits.default."},
    {.name = "users", .type = OPTION_SECTION, .where = TENANT(users), .inner = users, .help = "Each end user of this tenant, by the `user` of a request."},
    {.name = "keys", .type = OPTION_LIST, .where = TENANT(keys), .inner = key, .size = sizeof(struct key_draft), .help = "Who may call."},
    {0},
};

const struct option jwt_options[] = {
    {.name = "issuer", .type = OPTION_TEXT, .where = CONFIG(jwt.settings.issuer), .required = true, .help = "iss, exactly."},
    {.name = "audience", .type = OPTION_TEXT, .where = CONFIG(jwt.settings.audience), .required = true, .help = "aud, or one of them."},
    {.name = "jwks_url", .type = OPTION_STRING, .where = CONFIG(jwt.jwks_url), .required = true, .help = "Where the issuer's keys are (RFC 7517): https, or http on loopback."},
    {.name = "tenant_claim", .type = OPTION_TEXT, .where = CONFIG(jwt.settings.tenant_claim), .fallback = "tenant", .help = "Claim that names the tenant; a.b is b in a."},
    {.name = "models_claim", .type = OPTION_TEXT, .where = CONFIG(jwt.settings.models_claim), .fallback = "models", .help = "Claim that lists the models; without it all of the tenant's."},
    {.name = "refresh", .type = OPTION_DURATION, .where = CONFIG(jwt.refresh_us), .fallback = "10m", .min = SECONDS(10), .max = DAYS(7), .help = "The keys are fetched again after this, and when a token is signed by an unknown one."},
    {0},
};

/* --------------------------------------------------------------------- cache, guardrails */

static const struct option cache_exact[] = {
    {.name = "enabled", .type = OPTION_BOOL, .where = CONFIG(cache.exact), .fallback = "false", .help = "Off by default."},
    {.name = "ttl", .type = OPTION_DURATION, .where = CONFIG(cache.ttl_us), .fallback = "1h", .min = SECONDS(1), .max = LONGEST, .help = "How long an answer is kept."},
    {.name = "max_bytes", .type = OPTION_SIZE, .where = CONFIG(cache.max_bytes), .fallback = "256MiB", .min = KIB(64), .max = GIB(1024), .help = "Of all answers."},
    {.name = "scope", .type = OPTION_WORD, .where = ROOT(cache_scope), .fallback = "tenant", .words = "tenant|shared", .help = "Who shares answers: those of one tenant, or everybody."},
    {.name = "stream", .type = OPTION_BOOL, .where = CONFIG(cache.stream), .fallback = "true", .help = "Streams too."},
    {.name = "max_temperature", .type = OPTION_PRICE, .where = ROOT(max_temperature), .fallback = "0.0", .min = 0, .max = INT64_C(100000000000), .help = "Calls above it are not cached."},
    {0},
};

static const struct option cache_semantic[] = {
    {.name = "enabled", .type = OPTION_BOOL, .where = CONFIG(cache.semantic), .fallback = "false", .help = "Off by default."},
    {.name = "model", .type = OPTION_NAME, .where = CONFIG(cache.semantic_model), .fallback = "embed", .help = "Embedding model: one of models."},
    {.name = "threshold", .type = OPTION_SHARE, .where = ROOT(threshold), .fallback = "0.95", .help = "Least similarity."},
    {.name = "ttl", .type = OPTION_DURATION, .where = CONFIG(cache.semantic_ttl_us), .fallback = "1h", .min = SECONDS(1), .max = LONGEST, .help = "How long an answer is kept."},
    {.name = "max_entries", .type = OPTION_COUNT, .where = CONFIG(cache.semantic_entries), .fallback = "10000", .min = 1, .max = 10000000, .help = "Of all tenants."},
    {0},
};

const struct option cache_options[] = {
    {.name = "exact", .type = OPTION_SECTION, .inner = cache_exact, .help = "Equal calls."},
    {.name = "semantic", .type = OPTION_SECTION, .inner = cache_semantic, .help = "Similar calls."},
    {0},
};

const struct option guardrail_options[] = {
    {.name = "name", .type = OPTION_NAME, .where = GUARD(rule.name), .required = true, .help = "Unique."},
    {.name = "stage", .type = OPTION_WORD, .where = GUARD(stage), .fallback = "request", .words = "request|response", .help = "Where it looks."},
    {.name = "type", .type = OPTION_WORD, .where = GUARD(type), .required = true, .words = "regex|contains|pii|prompt_injection|json_schema|webhook", .help = "How it looks."},
    {.name = "patterns", .type = OPTION_TEXTS, .where = GUARD(patterns), .fallback = "[]", .help = "regex: expressions of PCRE2, in 'single quotes'; a literal $ is written $$."},
    {.name = "terms", .type = OPTION_TEXTS, .where = GUARD(terms), .fallback = "[]", .help = "contains: words, whatever their case."},
    {.name = "entities", .type = OPTION_TEXTS, .where = GUARD(entities), .fallback = "[]", .help = "pii: email phone card iban ip secret; none = all but ip."},
    {.name = "schema", .type = OPTION_ANY, .fallback = "null", .help = "json_schema: what the whole answer must fit, as a mapping or as JSON."},
    {.name = "action", .type = OPTION_WORD, .where = GUARD(action), .fallback = "block", .words = "block|redact|flag", .help = "What then; flag = noted with the call."},
    {.name = "stream_window", .type = OPTION_SIZE, .where = GUARD(rule.stream_window), .fallback = "4KiB", .min = 64, .max = MIB(1), .help = "Held back so that a match cannot straddle chunks."},
    {.name = "url", .type = OPTION_TEXT, .where = GUARD(rule.url), .fallback = "null", .help = "webhook: who decides."},
    {.name = "timeout", .type = OPTION_DURATION, .where = GUARD(rule.timeout_us), .fallback = "300ms", .min = MILLISECOND, .max = SECONDS(60), .help = "webhook: for its answer."},
    {.name = "on_error", .type = OPTION_WORD, .where = GUARD(on_error), .fallback = "block", .words = "allow|block", .help = "webhook: when there is none."},
    {.name = "tenants", .type = OPTION_TEXTS, .where = GUARD(tenants), .fallback = "[]", .help = "Only these and what is in them; empty = all."},
    {.name = "models", .type = OPTION_TEXTS, .where = GUARD(models), .fallback = "[]", .help = "Only these; empty = all."},
    {0},
};

/* clang-format on */
