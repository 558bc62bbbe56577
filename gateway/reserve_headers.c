/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve, what the client is told: x-ratelimit-* as OpenAI's reference has them, anthropic-
 * ratelimit-* as Anthropic's has them, and RateLimit, RateLimit-Policy of
 * draft-ietf-httpapi-ratelimit-headers.
 */
#include <stdio.h>
#include <time.h>

#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/counter_names.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

enum { MILLION = 1000000, MINUTE = 60, HOUR = 3600 };

/* Three lines for each kind and two for all; of the words in none more than 80 bytes, with a
 * limit's name of at most 48, and no more than three numbers. */
enum { NAME_MAX_BYTES = 48, LINES_BYTES = 4 * 5 * (80 + NAME_MAX_BYTES + 3 * TEXT_NUMBER_BYTES) };

/* What one name in the headers stands for. */
enum told { TOLD_REQUESTS, TOLD_TOKENS, TOLD_INPUT, TOLD_OUTPUT, TOLD_KINDS };

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
    struct text name;          /* "requests_per_minute" */
    struct limit_view view;
};

/* Which of the uses the client is told about. */
static uint64_t told_uses(const struct reservation *r)
{
    uint64_t which = 0;
    for (size_t i = 0; i < r->use_count; i++)
        if (told_of(r->uses[i].limit->kind) != TOLD_KINDS)
            which |= UINT64_C(1) << i;
    return which;
}

/* Of several limits of a kind, the one that leaves least. */
static void look(struct exchange *x, uint64_t which, struct shown shown[TOLD_KINDS])
{
    struct reservation *r = &x->reservation;
    struct limit_view *views = arena_new(exchange_arena_for_now(x), r->use_count * sizeof(*views));
    limits_views(r, which, views);
    for (size_t i = 0; i < r->use_count; i++) {
        enum told kind = told_of(r->uses[i].limit->kind);
        if (kind == TOLD_KINDS || (shown[kind].limit && shown[kind].view.left <= views[i].left))
            continue;
        shown[kind] = (struct shown){
            r->uses[i].limit,
            text_head(counter_name_limit(r->uses[i].counter, r->uses[i].limit), NAME_MAX_BYTES),
            views[i]};
    }
}

/* These lines go with every answer: put together without printf, in a room for the longest. */
struct pen {
    char *at;
};

static inline void put(struct pen *pen, struct text text)
{
    memcpy(pen->at, text.at, text.len);
    pen->at += text.len;
}

static void put_number(struct pen *pen, int64_t number)
{
    pen->at = text_put_number(pen->at, number > 0 ? (uint64_t)number : 0);
}

static int64_t seconds_of(int64_t us)
{
    return us > INT64_MAX - MILLION ? us / MILLION : (us + MILLION - 1) / MILLION;
}

/* "12ms", "1s", "6m0s", as OpenAI writes it. */
static void put_reset(struct pen *pen, int64_t us)
{
    int64_t s = seconds_of(us);
    if (us < MILLION) {
        put_number(pen, (us + 999) / 1000);
        put(pen, TEXT("ms"));
        return;
    }
    if (s >= HOUR) {
        put_number(pen, s / HOUR);
        put(pen, TEXT("h"));
    }
    if (s >= MINUTE) {
        put_number(pen, s % HOUR / MINUTE);
        put(pen, TEXT("m"));
    }
    put_number(pen, s % MINUTE);
    put(pen, TEXT("s"));
}

static void put_line(struct pen *pen, struct text begin, struct text name, struct text end)
{
    put(pen, begin);
    put(pen, name);
    put(pen, end);
}

#define OPENAI_LIMIT(what)     TEXT("x-ratelimit-limit-" what ": ")
#define OPENAI_REMAINING(what) TEXT("\r\nx-ratelimit-remaining-" what ": ")
#define OPENAI_RESET(what)     TEXT("\r\nx-ratelimit-reset-" what ": ")

/* Inline, so that the words, which are literals, are copied by a few moves. */
__attribute__((always_inline)) static inline void
put_openai_lines(struct pen *pen, const struct shown *shown, struct text limit,
                 struct text remaining, struct text reset)
{
    if (!shown->limit)
        return;
    put(pen, limit);
    put_number(pen, shown->limit->amount);
    put(pen, remaining);
    put_number(pen, shown->view.left);
    put(pen, reset);
    put_reset(pen, shown->view.reset_us);
    put(pen, TEXT("\r\n"));
}

static void put_openai(struct pen *pen, const struct shown shown[TOLD_KINDS])
{
    put_openai_lines(pen, &shown[TOLD_REQUESTS], OPENAI_LIMIT("requests"),
                     OPENAI_REMAINING("requests"), OPENAI_RESET("requests"));
    put_openai_lines(pen, &shown[TOLD_TOKENS], OPENAI_LIMIT("tokens"), OPENAI_REMAINING("tokens"),
                     OPENAI_RESET("tokens"));
}

static void put_anthropic(struct pen *pen, const struct shown shown[TOLD_KINDS])
{
    for (int kind = 0; kind < TOLD_KINDS; kind++) {
        if (!shown[kind].limit)
            continue;
        struct text name = anthropic_names[kind];
        time_t when = (time_t)(clock_wall_us() / MILLION + seconds_of(shown[kind].view.reset_us));
        struct tm utc;
        char date[32];
        gmtime_r(&when, &utc);
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
        put_line(pen, TEXT("anthropic-ratelimit-"), name, TEXT("-limit: "));
        put_number(pen, shown[kind].limit->amount);
        put_line(pen, TEXT("\r\nanthropic-ratelimit-"), name, TEXT("-remaining: "));
        put_number(pen, shown[kind].view.left);
        put_line(pen, TEXT("\r\nanthropic-ratelimit-"), name, TEXT("-reset: "));
        put_line(pen, text_of(date), TEXT("\r\n"), TEXT(""));
    }
}

static void put_ietf(struct pen *pen, const struct shown shown[TOLD_KINDS])
{
    struct text between = TEXT("ratelimit-policy: \"");
    for (int kind = 0; kind < TOLD_KINDS; kind++) {
        if (!shown[kind].limit)
            continue;
        put_line(pen, between, shown[kind].name, TEXT("\";q="));
        put_number(pen, shown[kind].limit->amount);
        put(pen, TEXT(";w="));
        put_number(pen, shown[kind].limit->window_us / MILLION);
        if (kind != TOLD_REQUESTS)
            put(pen, TEXT(";qu=\"tokens\""));
        between = TEXT(", \"");
    }
    between = TEXT("\r\nratelimit: \"");
    for (int kind = 0; kind < TOLD_KINDS; kind++) {
        if (!shown[kind].limit)
            continue;
        put_line(pen, between, shown[kind].name, TEXT("\";r="));
        put_number(pen, shown[kind].view.left);
        put(pen, TEXT(";t="));
        put_number(pen, seconds_of(shown[kind].view.reset_us));
        between = TEXT(", \"");
    }
    put(pen, TEXT("\r\n"));
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
    uint64_t which = told_uses(&x->reservation);
    if (!which)
        return;
    struct shown shown[TOLD_KINDS] = {{.limit = NULL}};
    look(x, which, shown);
    __attribute__((uninitialized)) char room[LINES_BYTES];
    struct pen pen = {room};
    if (config->policy_limits.headers_openai && x->match.shape == SHAPE_OPENAI)
        put_openai(&pen, shown);
    if (config->policy_limits.headers_openai && x->match.shape == SHAPE_ANTHROPIC)
        put_anthropic(&pen, shown);
    if (config->policy_limits.headers_ietf)
        put_ietf(&pen, shown);
    buffer_append(out, room, (size_t)(pen.at - room));
}

static bool is_of_requests(struct text name)
{
    const struct text word = TEXT("requests"); /* mostly the last one */
    if (name.len > word.len && text_starts_nocase(text_from(name, name.len - word.len), word))
        return true;
    for (; name.len > 0; name = text_from(name, 1))
        if ((name.at[0] | 0x20) == 'r' && text_starts_nocase(name, word))
            return true;
    return false;
}

bool reserve_replaces(const struct exchange *x, struct text name)
{
    bool requests = false, tokens = false;
    char first = (char)(name.at[0] | 0x20); /* most names differ in their first letter */
    if (x->reservation.use_count == 0 || (first != 'x' && first != 'a' && first != 'r'))
        return false;
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
    return is_of_requests(name) ? requests : tokens;
}

enum { EXPLAINED_MAX = 4096, EXPLAINED_ROOM = 8192 };

static void write_explained(const struct use *use, const struct limit_view *view,
                            struct json_write *json)
{
    json_open(json, '{');
    json_text_member(json, "id", use->counter);
    json_int_member(json, "amount", view->amount);
    json_name(json, "left");
    if (view->known)
        json_int(json, view->left);
    else
        json_null(json);
    json_int_member(json, "reserves", use->held > 0 ? use->held : use->want);
    json_close(json, '}');
}

void reserve_put_explained(struct exchange *x, struct buffer *out)
{
    struct reservation *r = &x->reservation;
    struct buffer line;
    struct json_write json = {.out = &line};
    if (!r->use_count || !r->limiter)
        return;
    struct limit_view *views = arena_new(exchange_arena_for_now(x), r->use_count * sizeof(*views));
    limits_views(r, r->use_count >= USES_MAX ? UINT64_MAX : (UINT64_C(1) << r->use_count) - 1,
                 views);
    buffer_init(&line, EXPLAINED_ROOM);
    json_open(&json, '[');
    for (size_t i = 0; i < r->use_count && buffer_length(&line) < EXPLAINED_MAX; i++)
        write_explained(&r->uses[i], &views[i], &json);
    json_close(&json, ']');
    if (!json.is_full && head_may_write(buffer_text(&line)))
        buffer_format(out, "x-sluice-limits: %.*s\r\n", TEXT_ARGS(buffer_text(&line)));
    buffer_done(&line);
}
