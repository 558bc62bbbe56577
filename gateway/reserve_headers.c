/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve, what the client is told: x-ratelimit-* as OpenAI's reference has them, anthropic-
 * ratelimit-* as Anthropic's has them, and RateLimit, RateLimit-Policy of
 * draft-ietf-httpapi-ratelimit-headers.
 */
#include <stdio.h>
#include <time.h>

#include "gateway/base/clock.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

enum { MILLION = 1000000, MINUTE = 60, HOUR = 3600 };

/* What one name in the headers stands for. */
enum told { TOLD_REQUESTS, TOLD_TOKENS, TOLD_INPUT, TOLD_OUTPUT, TOLD_KINDS };

static const struct text openai_names[TOLD_KINDS] = {
    [TOLD_REQUESTS] = {"requests", 8}, [TOLD_TOKENS] = {"tokens", 6}};
static const struct text anthropic_names[TOLD_KINDS] = {
    [TOLD_REQUESTS] = {"requests", 8},
    [TOLD_TOKENS] = {"tokens", 6},
    [TOLD_INPUT] = {"input-tokens", 12},
    [TOLD_OUTPUT] = {"output-tokens", 13},
};

static enum told told_of(enum limit_kind kind)
{
    switch (kind) {
    case LIMIT_REQUESTS:
        return TOLD_REQUESTS;
    case LIMIT_TOKENS:
        return TOLD_TOKENS;
    case LIMIT_INPUT_TOKENS:
        return TOLD_INPUT;
    case LIMIT_OUTPUT_TOKENS:
        return TOLD_OUTPUT;
    case LIMIT_CONCURRENT:
    case LIMIT_MONEY:
    case LIMIT_KINDS:
        break;
    }
    return TOLD_KINDS;
}

struct shown {
    const struct limit *limit; /* NULL = none of that kind */
    struct limit_view view;
};

/* Of several limits of a kind, the one that leaves least. */
static void look(struct exchange *x, struct shown shown[TOLD_KINDS])
{
    struct reservation *r = &x->reservation;
    for (size_t i = 0; i < r->use_count; i++) {
        enum told kind = told_of(r->uses[i].limit->kind);
        if (kind == TOLD_KINDS)
            continue;
        struct limit_view view;
        limits_view(r, i, &view);
        if (shown[kind].limit && shown[kind].view.left <= view.left)
            continue;
        shown[kind] = (struct shown){r->uses[i].limit, view};
    }
}

/* "12ms", "1s", "6m0s", as OpenAI writes it. */
static void put_reset(struct buffer *out, int64_t us)
{
    long long ms = (us + 999) / 1000, s = (us + MILLION - 1) / MILLION;
    if (ms < 1000)
        buffer_format(out, "%lldms", ms);
    else if (s < MINUTE)
        buffer_format(out, "%llds", s);
    else if (s < HOUR)
        buffer_format(out, "%lldm%llds", s / MINUTE, s % MINUTE);
    else
        buffer_format(out, "%lldh%lldm%llds", s / HOUR, s % HOUR / MINUTE, s % MINUTE);
}

static void put_openai(struct buffer *out, const struct shown shown[TOLD_KINDS])
{
    for (int kind = 0; kind < TOLD_KINDS; kind++) {
        struct text name = openai_names[kind];
        if (!name.len || !shown[kind].limit)
            continue;
        buffer_format(out, "x-ratelimit-limit-%s: %lld\r\nx-ratelimit-remaining-%s: %lld\r\n",
                      name.at, (long long)shown[kind].limit->amount, name.at,
                      (long long)shown[kind].view.left);
        buffer_format(out, "x-ratelimit-reset-%s: ", name.at);
        put_reset(out, shown[kind].view.reset_us);
        buffer_append_text(out, TEXT("\r\n"));
    }
}

static void put_anthropic(struct buffer *out, const struct shown shown[TOLD_KINDS])
{
    for (int kind = 0; kind < TOLD_KINDS; kind++) {
        if (!shown[kind].limit)
            continue;
        const char *name = anthropic_names[kind].at;
        time_t when = (time_t)((clock_wall_us() + shown[kind].view.reset_us) / MILLION) + 1;
        struct tm utc;
        char date[32];
        gmtime_r(&when, &utc);
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
        buffer_format(out,
                      "anthropic-ratelimit-%s-limit: %lld\r\n"
                      "anthropic-ratelimit-%s-remaining: %lld\r\n"
                      "anthropic-ratelimit-%s-reset: %s\r\n",
                      name, (long long)shown[kind].limit->amount, name,
                      (long long)shown[kind].view.left, name, date);
    }
}

static void put_ietf(struct buffer *out, const struct shown shown[TOLD_KINDS])
{
    char name[48];
    const char *between = "ratelimit-policy: ";
    for (int kind = 0; kind < TOLD_KINDS; kind++) {
        if (!shown[kind].limit)
            continue;
        limit_name_write(shown[kind].limit, name);
        buffer_format(out, "%s\"%s\";q=%lld;w=%lld%s", between, name,
                      (long long)shown[kind].limit->amount,
                      (long long)(shown[kind].limit->window_us / MILLION),
                      kind == TOLD_REQUESTS ? "" : ";qu=\"tokens\"");
        between = ", ";
    }
    between = "\r\nratelimit: ";
    for (int kind = 0; kind < TOLD_KINDS; kind++) {
        if (!shown[kind].limit)
            continue;
        limit_name_write(shown[kind].limit, name);
        buffer_format(out, "%s\"%s\";r=%lld;t=%lld", between, name,
                      (long long)shown[kind].view.left,
                      (long long)((shown[kind].view.reset_us + MILLION - 1) / MILLION));
        between = ", ";
    }
    buffer_append_text(out, TEXT("\r\n"));
}

static bool has_shown(const struct exchange *x)
{
    for (size_t i = 0; i < x->reservation.use_count; i++)
        if (told_of(x->reservation.uses[i].limit->kind) != TOLD_KINDS)
            return true;
    return false;
}

static void put_notes(const struct exchange *x, struct buffer *out)
{
    if (x->lowered_tokens)
        buffer_format(out, "x-sluice-max-tokens: %lld\r\n", (long long)x->lowered_tokens);
    if (x->reservation.warned)
        buffer_append_text(out, TEXT("x-sluice-warning: budget exceeded\r\n"));
    if (x->reservation.local)
        buffer_append_text(out, TEXT("x-sluice-store: away\r\n"));
}

void reserve_put_headers(struct exchange *x, struct buffer *out)
{
    const struct config *config = x->snapshot->config;
    put_notes(x, out);
    if (!has_shown(x))
        return;
    struct shown shown[TOLD_KINDS] = {{NULL, {0, 0, 0}}};
    look(x, shown);
    if (config->policy_limits.headers_openai && x->match.shape == SHAPE_OPENAI)
        put_openai(out, shown);
    if (config->policy_limits.headers_openai && x->match.shape == SHAPE_ANTHROPIC)
        put_anthropic(out, shown);
    if (config->policy_limits.headers_ietf)
        put_ietf(out, shown);
}

bool reserve_replaces(const struct exchange *x, struct text name)
{
    bool requests = false, tokens = false;
    if (!text_starts_nocase(name, TEXT("x-ratelimit-")) &&
        !text_starts_nocase(name, TEXT("anthropic-ratelimit-")) &&
        !text_starts_nocase(name, TEXT("ratelimit")))
        return false;
    for (size_t i = 0; i < x->reservation.use_count; i++) {
        enum told kind = told_of(x->reservation.uses[i].limit->kind);
        requests = requests || kind == TOLD_REQUESTS;
        tokens = tokens || (kind != TOLD_KINDS && kind != TOLD_REQUESTS);
    }
    if (text_starts_nocase(name, TEXT("ratelimit")))
        return (requests || tokens) && x->snapshot->config->policy_limits.headers_ietf;
    if (!x->snapshot->config->policy_limits.headers_openai ||
        text_starts_nocase(name, TEXT("anthropic-ratelimit-unified")))
        return false;
    bool of_requests = text_find(name, TEXT("requests")) != SIZE_MAX;
    return of_requests ? requests : tokens;
}
