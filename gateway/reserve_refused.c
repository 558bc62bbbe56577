/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a call that a limit or a budget does not admit. */
#include <stdio.h>

#include "gateway/counter_names.h"
#include "gateway/exchange.h"
#include "gateway/reserve.h"

enum { MILLION = 1000000, WORDS_MAX = 60 };

static void write_span(int64_t us, char out[32])
{
    int64_t seconds = us / MILLION + (us % MILLION != 0); /* also of "never" */
    if (us < MILLION)
        snprintf(out, 32, "%lld ms", (long long)((us + 999) / 1000));
    else if (seconds < 120)
        snprintf(out, 32, "%lld s", (long long)seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%lld min", (long long)((seconds + 59) / 60));
    else if (seconds < 172800)
        snprintf(out, 32, "%lld h", (long long)((seconds + 3599) / 3600));
    else
        snprintf(out, 32, "%lld days", (long long)((seconds + 86399) / 86400));
}

static void write_amount(const struct limit *limit, int64_t amount, char out[48])
{
    if (limit->kind != LIMIT_MONEY) {
        snprintf(out, 48, "%lld", (long long)amount);
        return;
    }
    int len = snprintf(out, 40, "%lld.%09lld", (long long)(amount / 1000000000),
                       (long long)(amount % 1000000000));
    while (out[len - 1] == '0' && out[len - 3] != '.') /* two decimals, and as many as it needs */
        len--;
    snprintf(out + len, 8, " USD");
}

/* "tenant 'acme'", from "t/acme:tokens_per_minute". */
static struct text whose(struct arena *arena, const struct use *use)
{
    char letter = use->counter.at[0];
    const char *level = letter == 'k' ? "key" : letter == 't' ? "tenant" : "user";
    struct text limit = counter_name_limit(use->counter, use->limit);
    struct text part = {use->counter.at + 2, (size_t)(limit.at - use->counter.at) - 3};
    struct text name = counter_name_part(part, arena_new(arena, part.len));
    return arena_format(arena, "%s '%.*s'", level, TEXT_ARGS(text_head(name, WORDS_MAX)));
}

void reserve_say_refused(const struct reservation *r, struct arena *arena, struct fault *fault)
{
    const struct use *use = &r->uses[r->refused];
    char name[48], amount[48], most[48], wait[32], when[64];
    limit_name_write(use->limit, name);
    write_amount(use->limit, use->limit->amount, amount);
    write_amount(use->limit, use->want, most);
    write_span(r->retry_after_us, wait);
    if (r->retry_after_us == INT64_MAX)
        snprintf(when, sizeof(when), "this call alone asks for more");
    else
        snprintf(when, sizeof(when), "try again in %s", wait);
    struct text level = whose(arena, use);
    bool model = use->limit->model.len > 0;
    enum fault_kind kind =
        use->limit->kind == LIMIT_MONEY ? FAULT_BUDGET
        : use->limit->kind == LIMIT_REQUESTS || use->limit->kind == LIMIT_CONCURRENT
            ? FAULT_RATE_REQUESTS
            : FAULT_RATE_TOKENS;
    if (kind == FAULT_BUDGET)
        fault_set(fault, kind,
                  "The budget of %s (%s of %.*s%s%.*s) does not pay for this call, which may cost "
                  "%s; %s.",
                  amount, name, TEXT_ARGS(level), model ? ", model " : "",
                  TEXT_ARGS(text_head(use->limit->model, 40)), most, when);
    else
        fault_set(fault, kind, "Rate limit reached: %s is %s for %.*s%s%.*s; %s.", name, amount,
                  TEXT_ARGS(level), model ? ", model " : "",
                  TEXT_ARGS(text_head(use->limit->model, 40)), when);
}

struct text reserve_refusal_lines(struct exchange *x)
{
    const struct reservation *r = &x->reservation;
    bool rate =
        exchange_why(x)->kind == FAULT_RATE_REQUESTS || exchange_why(x)->kind == FAULT_RATE_TOKENS;
    if (exchange_why(x)->kind == FAULT_STORE_AWAY)
        return TEXT("retry-after: 1\r\n");
    if (!rate || r->retry_after_us == INT64_MAX)
        return TEXT("x-should-retry: false\r\n");
    return arena_format(&x->arena, "retry-after: %lld\r\nretry-after-ms: %lld\r\n",
                        (long long)((r->retry_after_us + MILLION - 1) / MILLION),
                        (long long)((r->retry_after_us + 999) / 1000));
}
