/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/access.h"

#include <assert.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    TEXT_BYTES_MAX = 255, /* of one text, before it is escaped */
    TEXTS_MAX = 22,       /* in one line */
    DECISION_BYTES_MAX = 16384,
    REST_BYTES = 1700, /* names, numbers and punctuation of a line */
    STAMP_SECOND = 19, /* bytes of a stamp up to the second */
    NANOS_PER_USD = 1000000000,
};

_Static_assert(TEXTS_MAX * 6 * TEXT_BYTES_MAX + REST_BYTES + DECISION_BYTES_MAX <=
                   ACCESS_LINE_BYTES,
               "the longest line fits");

/* ---------------------------------------------------------------------------- writing */

/* Where the next byte goes. The room was made for the longest line, so nothing checks it. */
struct pen {
    char *at;
};

static inline void put(struct pen *pen, struct text t)
{
    memcpy(pen->at, t.at, t.len);
    pen->at += t.len;
}

#define PUT(pen, literal) put(pen, TEXT(literal))

static void put_number(struct pen *pen, uint64_t n)
{
    pen->at = text_put_number(pen->at, n);
}

static void put_count(struct pen *pen, int64_t n)
{
    put_number(pen, n > 0 ? (uint64_t)n : 0);
}

/* <n> divided by 10^<places>, without zeros at the end. */
static inline void put_decimal(struct pen *pen, int64_t n, unsigned places, uint64_t power)
{
    uint64_t plain = n > 0 ? (uint64_t)n : 0, rest = plain % power;
    put_number(pen, plain / power);
    if (rest == 0)
        return;
    for (; rest % 10 == 0; rest /= 10)
        places--;
    *pen->at++ = '.';
    for (unsigned i = places; i > 0; i--, rest /= 10)
        pen->at[i - 1] = (char)('0' + rest % 10);
    pen->at += places;
}

static void put_ms(struct pen *pen, int64_t us)
{
    put_decimal(pen, us, 3, 1000);
}

static void put_usd(struct pen *pen, int64_t nanos)
{
    put_decimal(pen, nanos, 9, NANOS_PER_USD);
}

static inline bool is_plain_byte(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
}

/* Eight bytes at a time: is one of them a quote, a backslash, a control byte or beyond ASCII? */
static inline bool has_special(uint64_t word)
{
    const uint64_t each = 0x0101010101010101U, tops = 0x8080808080808080U;
    uint64_t quote = word ^ (each * '"'), slash = word ^ (each * '\\');
    uint64_t special = (quote - each) | (slash - each) | (word - each * 0x20) | (word + each);
    return ((special | word) & tops) != 0;
}

/* What has_special() says of a byte that is none, for the one above it may be wrong: then each is
 * looked at. */
static bool is_plain_bytewise(struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        if (!is_plain_byte((unsigned char)t.at[i]))
            return false;
    return true;
}

/* Copy and look at once; what is written behind a special byte is written over. */
static inline bool copy_plain(char *to, struct text t)
{
    enum { WORD = 8, HALF = 4 };
    uint64_t special = 0;
    if (t.len >= WORD) {
        size_t last = t.len - WORD;
        for (size_t i = 0; i < last; i += WORD) {
            uint64_t word = text_word(t.at + i);
            memcpy(to + i, &word, WORD);
            special |= has_special(word);
        }
        uint64_t word = text_word(t.at + last); /* some of it twice */
        memcpy(to + last, &word, WORD);
        special |= has_special(word);
    } else if (t.len >= HALF) {
        uint32_t halves[2];
        memcpy(&halves[0], t.at, HALF);
        memcpy(&halves[1], t.at + t.len - HALF, HALF);
        memcpy(to, &halves[0], HALF);
        memcpy(to + t.len - HALF, &halves[1], HALF);
        special = has_special((uint64_t)halves[1] << 32 | halves[0]);
    } else {
        for (size_t i = 0; i < t.len; i++)
            to[i] = t.at[i];
        return is_plain_bytewise(t);
    }
    return !special || is_plain_bytewise(t);
}

/* The inside of a JSON string; also what keeps control bytes out of a text line. */
static void put_escaped(struct pen *pen, struct text t)
{
    t = text_head(t, TEXT_BYTES_MAX);
    pen->at += copy_plain(pen->at, t) ? t.len : log_escape(pen->at, 6 * t.len, t);
}

/* "2026-11-23T18:44:12.012Z": the part up to the second is remembered, for it costs a microsecond.
 */
static void put_stamp(struct pen *pen, int64_t wall_us)
{
    static _Thread_local int64_t second = -1;
    static _Thread_local char stamp[CLOCK_STAMP_BYTES];
    if (wall_us / 1000000 != second) {
        clock_stamp(wall_us, stamp);
        second = wall_us / 1000000;
    }
    unsigned ms = (unsigned)(wall_us / 1000 % 1000);
    put(pen, (struct text){stamp, STAMP_SECOND});
    char fraction[5] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                        (char)('0' + ms % 10), 'Z'};
    put(pen, (struct text){fraction, sizeof fraction});
}

/* ---------------------------------------------------------------------------- JSON */

/* What stands in front of a member's value. Literals: copied by a few moves. */
#define NAME(name)   TEXT(",\"" name "\":")
#define STRING(name) TEXT(",\"" name "\":\"")

__attribute__((always_inline)) static inline void put_member(struct pen *pen, struct text begin,
                                                             struct text value)
{
    if (value.len == 0)
        return;
    put(pen, begin);
    put_escaped(pen, value);
    *pen->at++ = '"';
}

__attribute__((always_inline)) static inline void put_count_member(struct pen *pen,
                                                                   struct text begin, int64_t n)
{
    put(pen, begin);
    put_count(pen, n);
}

__attribute__((always_inline)) static inline void put_ms_member(struct pen *pen, struct text begin,
                                                                int64_t us)
{
    put(pen, begin);
    put_ms(pen, us);
}

static struct text outcome_word(enum ledger_outcome outcome)
{
    switch (outcome) {
    case LEDGER_COMPLETE:
        return TEXT("complete");
    case LEDGER_PARTIAL:
        return TEXT("partial");
    case LEDGER_REFUSED:
        return TEXT("refused");
    case LEDGER_LOST:
    default:
        return TEXT("lost");
    }
}

static struct text counted_word(enum ledger_counted counted)
{
    switch (counted) {
    case COUNTED_PROVIDER:
        return TEXT("provider");
    case COUNTED_ESTIMATE:
        return TEXT("estimate");
    case COUNTED_NONE:
    default:
        return TEXT("");
    }
}

/* A line for people should not shout about what a client did wrong. */
static bool is_warning(const struct ledger_row *row)
{
    return row->status >= 500 || access_broke_off(row);
}

/* One member with a comma in front of it, or nothing where it has no value. A whole line is made of
 * these in a row, so that the compiler makes one piece of them.
 * NOLINTNEXTLINE(readability-function-size): there are as many members. */
__attribute__((always_inline)) static inline void put_field(struct pen *pen,
                                                            enum access_field field,
                                                            const struct ledger_row *row,
                                                            const struct access_extra *extra)
{
    const struct usage *usage = &row->usage;
    switch (field) {
    case ACCESS_TS:
        put(pen, STRING("ts"));
        put_stamp(pen, row->started_us + row->duration_us);
        *pen->at++ = '"';
        break;
    case ACCESS_LEVEL:
        put_member(pen, STRING("level"), is_warning(row) ? TEXT("warn") : TEXT("info"));
        break;
    case ACCESS_COMPONENT:
        PUT(pen, ",\"component\":\"access\"");
        break;
    case ACCESS_MSG:
        put_member(pen, STRING("msg"),
                   text_equal(row->operation, TEXT("admin")) ? row->operation : TEXT("call"));
        break;
    case ACCESS_REQUEST_ID:
        put_member(pen, STRING("request_id"), row->id);
        break;
    case ACCESS_TRACE_ID:
        put_member(pen, STRING("trace_id"), extra->trace_id);
        break;
    case ACCESS_LISTENER:
        put_member(pen, STRING("listener"), extra->listener);
        break;
    case ACCESS_PEER:
        put_member(pen, STRING("peer"), extra->peer);
        break;
    case ACCESS_METHOD:
        put_member(pen, STRING("method"), text_of(method_name(extra->method)));
        break;
    case ACCESS_PATH:
        put_member(pen, STRING("path"), extra->path);
        break;
    case ACCESS_TENANT:
        put_member(pen, STRING("tenant"), row->tenant);
        break;
    case ACCESS_KEY:
        put_member(pen, STRING("key"), row->key);
        break;
    case ACCESS_TAGS:
        put_member(pen, STRING("tags"), row->tags);
        break;
    case ACCESS_OPERATION:
        put_member(pen, STRING("operation"), row->operation);
        break;
    case ACCESS_DIALECT:
        put_member(pen, STRING("dialect"), row->dialect);
        break;
    case ACCESS_MODEL:
        put_member(pen, STRING("model"), row->model);
        break;
    case ACCESS_ROUTE:
        put_member(pen, STRING("route"), extra->route);
        break;
    case ACCESS_RULE:
        put_member(pen, STRING("rule"), extra->rule);
        break;
    case ACCESS_PROVIDER:
        put_member(pen, STRING("provider"), row->provider);
        break;
    case ACCESS_TARGET:
        put_member(pen, STRING("target"), row->target);
        break;
    case ACCESS_UPSTREAM_MODEL:
        put_member(pen, STRING("upstream_model"), row->upstream_model);
        break;
    case ACCESS_STATUS:
        put_count_member(pen, NAME("status"), row->status);
        break;
    case ACCESS_OUTCOME:
        put_member(pen, STRING("outcome"), outcome_word(row->outcome));
        break;
    case ACCESS_ERROR_TYPE:
        put_member(pen, STRING("error.type"), row->fault);
        break;
    case ACCESS_STREAM:
        put(pen, NAME("stream"));
        put(pen, row->stream ? TEXT("true") : TEXT("false"));
        break;
    case ACCESS_ATTEMPTS:
        put_count_member(pen, NAME("attempts"), row->attempts);
        break;
    case ACCESS_TTFT_MS:
        if (row->ttft_us > 0)
            put_ms_member(pen, NAME("ttft_ms"), row->ttft_us);
        break;
    case ACCESS_DURATION_MS:
        put_ms_member(pen, NAME("duration_ms"), row->duration_us);
        break;
    case ACCESS_OVERHEAD_MS:
        put_ms_member(pen, NAME("overhead_ms"), row->overhead_us);
        break;
    case ACCESS_INPUT_TOKENS:
        put_count_member(pen, NAME("input_tokens"), usage->input_tokens);
        break;
    case ACCESS_OUTPUT_TOKENS:
        put_count_member(pen, NAME("output_tokens"), usage->output_tokens);
        break;
    case ACCESS_CACHED_TOKENS:
        put_count_member(pen, NAME("cached_tokens"), usage->cached_tokens);
        break;
    case ACCESS_CACHE_WRITE_TOKENS:
        if (usage->cache_write_tokens > 0)
            put_count_member(pen, NAME("cache_write_tokens"), usage->cache_write_tokens);
        break;
    case ACCESS_REASONING_TOKENS:
        if (usage->reasoning_tokens > 0)
            put_count_member(pen, NAME("reasoning_tokens"), usage->reasoning_tokens);
        break;
    case ACCESS_UNITS:
        if (usage->units > 0)
            put_count_member(pen, NAME("units"), usage->units);
        if (usage->searches > 0)
            put_count_member(pen, NAME("searches"), usage->searches);
        break;
    case ACCESS_COUNTED:
        put_member(pen, STRING("counted"), counted_word(row->counted));
        break;
    case ACCESS_SERVICE_TIER:
        if (usage->service != SERVICE_STANDARD)
            put_member(pen, STRING("service_tier"), text_of(service_tier_name(usage->service)));
        break;
    case ACCESS_COST_USD:
        put(pen, NAME("cost_usd"));
        put_usd(pen, row->cost_nanos);
        break;
    case ACCESS_FINISH:
        put_member(pen, STRING("finish"), row->finish);
        break;
    case ACCESS_CACHE:
        put_member(pen, STRING("cache"), extra->cache);
        break;
    case ACCESS_BYTES_IN:
        put(pen, NAME("bytes_in"));
        put_number(pen, extra->bytes_in);
        break;
    case ACCESS_BYTES_OUT:
        put(pen, NAME("bytes_out"));
        put_number(pen, extra->bytes_out);
        break;
    case ACCESS_DECISION:
        if (extra->decision.len && extra->decision.len <= DECISION_BYTES_MAX) {
            put(pen, NAME("decision"));
            put(pen, extra->decision);
        }
        break;
    case ACCESS_FIELDS:
        break;
    }
}

static void put_chosen(struct pen *pen, const struct ledger_row *row,
                       const struct access_extra *extra)
{
    for (size_t i = 0; i < extra->field_count; i++)
        put_field(pen, (enum access_field)extra->fields[i], row, extra);
}

static void put_all(struct pen *pen, const struct ledger_row *row, const struct access_extra *extra)
{
    put_field(pen, ACCESS_TS, row, extra);
    put_field(pen, ACCESS_LEVEL, row, extra);
    put_field(pen, ACCESS_COMPONENT, row, extra);
    put_field(pen, ACCESS_MSG, row, extra);
    put_field(pen, ACCESS_REQUEST_ID, row, extra);
    put_field(pen, ACCESS_TRACE_ID, row, extra);
    put_field(pen, ACCESS_LISTENER, row, extra);
    put_field(pen, ACCESS_PEER, row, extra);
    put_field(pen, ACCESS_METHOD, row, extra);
    put_field(pen, ACCESS_PATH, row, extra);
    put_field(pen, ACCESS_TENANT, row, extra);
    put_field(pen, ACCESS_KEY, row, extra);
    put_field(pen, ACCESS_TAGS, row, extra);
    put_field(pen, ACCESS_OPERATION, row, extra);
    put_field(pen, ACCESS_DIALECT, row, extra);
    put_field(pen, ACCESS_MODEL, row, extra);
    put_field(pen, ACCESS_ROUTE, row, extra);
    put_field(pen, ACCESS_RULE, row, extra);
    put_field(pen, ACCESS_PROVIDER, row, extra);
    put_field(pen, ACCESS_TARGET, row, extra);
    put_field(pen, ACCESS_UPSTREAM_MODEL, row, extra);
    put_field(pen, ACCESS_STATUS, row, extra);
    put_field(pen, ACCESS_OUTCOME, row, extra);
    put_field(pen, ACCESS_ERROR_TYPE, row, extra);
    put_field(pen, ACCESS_STREAM, row, extra);
    put_field(pen, ACCESS_ATTEMPTS, row, extra);
    put_field(pen, ACCESS_TTFT_MS, row, extra);
    put_field(pen, ACCESS_DURATION_MS, row, extra);
    put_field(pen, ACCESS_OVERHEAD_MS, row, extra);
    put_field(pen, ACCESS_INPUT_TOKENS, row, extra);
    put_field(pen, ACCESS_OUTPUT_TOKENS, row, extra);
    put_field(pen, ACCESS_CACHED_TOKENS, row, extra);
    put_field(pen, ACCESS_CACHE_WRITE_TOKENS, row, extra);
    put_field(pen, ACCESS_REASONING_TOKENS, row, extra);
    put_field(pen, ACCESS_UNITS, row, extra);
    put_field(pen, ACCESS_COUNTED, row, extra);
    put_field(pen, ACCESS_SERVICE_TIER, row, extra);
    put_field(pen, ACCESS_COST_USD, row, extra);
    put_field(pen, ACCESS_FINISH, row, extra);
    put_field(pen, ACCESS_CACHE, row, extra);
    put_field(pen, ACCESS_BYTES_IN, row, extra);
    put_field(pen, ACCESS_BYTES_OUT, row, extra);
    put_field(pen, ACCESS_DECISION, row, extra);
}

static void put_json(struct pen *pen, const struct ledger_row *row,
                     const struct access_extra *extra)
{
    char *begin = pen->at;
    *pen->at = '{'; /* where none of those that were chosen has a value */
    if (extra->field_count)
        put_chosen(pen, row, extra);
    else
        put_all(pen, row, extra);
    if (pen->at == begin)
        pen->at++;
    *begin = '{'; /* in place of the first comma */
    PUT(pen, "}\n");
}

/* ---------------------------------------------------------------------------- text */

static void put_words(struct pen *pen, const struct ledger_row *row,
                      const struct access_extra *extra)
{
    put_stamp(pen, row->started_us + row->duration_us);
    put(pen, is_warning(row) ? TEXT(" WARN access: ") : TEXT(" INFO access: "));
    put(pen, text_of(method_name(extra->method)));
    *pen->at++ = ' ';
    put_escaped(pen, extra->path);
    *pen->at++ = ' ';
    put_count(pen, row->status);
    *pen->at++ = ' ';
    put(pen, outcome_word(row->outcome));
    if (row->fault.len > 0) {
        PUT(pen, " (");
        put_escaped(pen, row->fault);
        *pen->at++ = ')';
    }
    PUT(pen, "  ");
    put_escaped(pen, row->tenant.len > 0 ? row->tenant : TEXT("-"));
    PUT(pen, "  ");
    put_escaped(pen, row->model.len > 0 ? row->model : TEXT("-"));
    PUT(pen, " -> ");
    put_escaped(pen, row->target.len > 0 ? row->target : TEXT("-"));
    PUT(pen, "  ");
    put_count(pen, row->usage.input_tokens);
    *pen->at++ = '+';
    put_count(pen, row->usage.output_tokens);
    PUT(pen, " tokens  ");
    put_usd(pen, row->cost_nanos);
    PUT(pen, " USD  ");
    put_ms(pen, row->duration_us);
    PUT(pen, " ms, ours ");
    put_ms(pen, row->overhead_us);
    PUT(pen, " ms  ");
    put_escaped(pen, row->id);
    *pen->at++ = '\n';
}

bool access_write(struct buffer *out, bool json, const struct ledger_row *row,
                  const struct access_extra *extra)
{
    struct pen pen = {buffer_room(out, ACCESS_LINE_BYTES)};
    if (pen.at == NULL)
        return false;
    char *begin = pen.at;
    if (json)
        put_json(&pen, row, extra);
    else
        put_words(&pen, row, extra);
    size_t length = (size_t)(pen.at - begin);
    assert(length <= ACCESS_LINE_BYTES);
    buffer_grow(out, length);
    return true;
}

void access_log(const struct ledger_row *row, const struct access_extra *extra)
{
    static _Thread_local void *mine;
    char *line = memory_of_thread(&mine, ACCESS_LINE_BYTES);
    struct pen pen = {line};
    if (log_is_json())
        put_json(&pen, row, extra);
    else
        put_words(&pen, row, extra);
    log_raw((struct text){line, (size_t)(pen.at - line)});
}
