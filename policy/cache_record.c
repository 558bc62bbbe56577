/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/cache_record.h"

#include <assert.h>
#include <stddef.h>

#include "policy/cache_inside.h"

enum {
    MAGIC_BYTES = 3,
    /* All that is told to clients, but the tier of service: what it cost stands beside them. */
    USAGE_FIGURES = offsetof(struct usage, service) / sizeof(int64_t),
    FLAG_STREAM = 1,
};

static const char magic[MAGIC_BYTES] = {'s', 'a', '1'};

_Static_assert(sizeof(struct usage) == 15 * sizeof(int64_t) &&
                   offsetof(struct usage, service) == 9 * sizeof(int64_t),
               "a new figure of usage needs a new magic");

/* ------------------------------------------------------------------------------ writing */

static void put(struct buffer *out, const void *at, size_t len)
{
    bool has_room = buffer_append(out, at, len);
    assert(has_room);
}

static void put_number(struct buffer *out, uint64_t number, size_t bytes)
{
    unsigned char out_bytes[sizeof(number)];
    for (size_t i = 0; i < bytes; i++)
        out_bytes[i] = (unsigned char)(number >> (8 * i));
    put(out, out_bytes, bytes);
}

static void put_text(struct buffer *out, const char *text)
{
    size_t len = strnlen(text, UINT8_MAX);
    put_number(out, len, 1);
    put(out, text, len);
}

static void put_head(struct buffer *out, enum record_kind kind, const struct digest *body)
{
    put(out, magic, MAGIC_BYTES);
    put_number(out, (uint64_t)kind, 1);
    put(out, body->bytes, sizeof(body->bytes));
}

static void put_answer(struct buffer *out, const struct cache_facts *facts,
                       const struct cache_end *end, int64_t ttl_us)
{
    int64_t figures[USAGE_FIGURES];
    memcpy(figures, &end->usage, sizeof(figures)); /* in the order of the struct */
    put_number(out, (uint64_t)ttl_us / 1000, 8);
    put_number(out, facts->status, 4);
    put_number(out, facts->stream ? FLAG_STREAM : 0, 1);
    put_number(out, (uint64_t)end->cost_nanos, 8);
    for (size_t i = 0; i < USAGE_FIGURES; i++)
        put_number(out, (uint64_t)figures[i], 8);
    put_text(out, facts->type);
    put_text(out, facts->target);
    put_text(out, facts->provider);
    put_text(out, facts->upstream_model);
    put_text(out, end->finish);
}

void record_write(const struct cache_entry *entry, size_t max_bytes, int64_t ttl_us,
                  struct buffer *out)
{
    bool is_kept = !entry->deaf && !entry->closed && entry->size <= max_bytes;
    put_head(out, is_kept ? RECORD_ANSWER : RECORD_NOT_KEPT, &entry->body);
    if (!is_kept)
        return;
    put_answer(out, &entry->facts, &entry->end, ttl_us);
    for (const struct cache_chunk *chunk = entry->first; chunk; chunk = chunk->next)
        put(out, chunk->bytes, chunk->len);
}

void record_write_claim(const struct digest *body, struct text who, struct buffer *out)
{
    put_head(out, RECORD_CLAIM, body);
    put(out, who.at, who.len);
}

/* ------------------------------------------------------------------------------ reading */

static bool take(struct text *rest, void *to, size_t len)
{
    if (rest->len < len)
        return false;
    memcpy(to, rest->at, len);
    *rest = text_from(*rest, len);
    return true;
}

static bool take_number(struct text *rest, uint64_t *number, size_t bytes)
{
    unsigned char in[sizeof(*number)];
    if (!take(rest, in, bytes))
        return false;
    *number = 0;
    for (size_t i = bytes; i-- > 0;)
        *number = *number << 8 | in[i];
    return true;
}

static bool take_text(struct text *rest, char *to, size_t room)
{
    uint64_t len;
    if (!take_number(rest, &len, 1) || len >= room || !take(rest, to, len))
        return false;
    to[len] = '\0';
    /* They go into heads and logs. */
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)to[i] < ' ' || to[i] == 0x7F)
            return false;
    return true;
}

/* Figures that nobody could have counted are not taken over. */
static bool take_usage(struct text *rest, struct usage *usage)
{
    int64_t figures[USAGE_FIGURES] = {0};
    for (size_t i = 0; i < USAGE_FIGURES; i++) {
        uint64_t number;
        if (!take_number(rest, &number, 8) || number > (uint64_t)INT64_MAX / 1000000)
            return false;
        figures[i] = (int64_t)number;
    }
    memcpy(usage, figures, sizeof(figures));
    return true;
}

static bool take_answer(struct record *record)
{
    struct text *rest = &record->rest;
    struct cache_facts *facts = &record->facts;
    struct cache_end *end = &record->end;
    uint64_t ttl_ms, status, flags, cost;
    if (!take_number(rest, &ttl_ms, 8) || ttl_ms > INT64_MAX / 1000 ||
        !take_number(rest, &status, 4) || status < 200 || status > 599 ||
        !take_number(rest, &flags, 1) || !take_number(rest, &cost, 8) || cost > INT64_MAX)
        return false;
    record->ttl_us = (int64_t)ttl_ms * 1000;
    facts->status = (unsigned)status;
    facts->stream = flags & FLAG_STREAM;
    end->cost_nanos = (int64_t)cost;
    return take_usage(rest, &end->usage) && take_text(rest, facts->type, sizeof(facts->type)) &&
           take_text(rest, facts->target, sizeof(facts->target)) &&
           take_text(rest, facts->provider, sizeof(facts->provider)) &&
           take_text(rest, facts->upstream_model, sizeof(facts->upstream_model)) &&
           take_text(rest, end->finish, sizeof(end->finish));
}

bool cache_record_read(struct text bytes, struct record *record)
{
    char head[MAGIC_BYTES];
    uint64_t kind;
    *record = (struct record){.rest = bytes};
    if (!take(&record->rest, head, sizeof(head)) || memcmp(head, magic, sizeof(head)) != 0 ||
        !take_number(&record->rest, &kind, 1) ||
        !take(&record->rest, record->body.bytes, sizeof(record->body.bytes)))
        return false;
    if (kind == RECORD_NOT_KEPT || kind == RECORD_CLAIM ||
        (kind == RECORD_ANSWER && take_answer(record)))
        record->kind = (enum record_kind)kind;
    return record->kind != RECORD_NONE;
}
