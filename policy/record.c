/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/record.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "policy/checksum.h"

/* What we write. Older versions stay readable: a row in readers[] for each. */
enum { VERSION = 1 };

enum { CALL_NUMBERS = 23, CALL_TEXTS = 14, OBJECT_TEXTS = 5, VARINT_MAX = 10 };
enum { FIXED_BYTES = RECORD_HEAD_BYTES + 2 };
/* An object that nothing more is known of, and a call that has none of the figures that came later,
 * is written in the first version. */
enum { OBJECT_VERSION = 2, CALL_VERSION = 2 };

_Static_assert(FIXED_BYTES + 1 + CALL_NUMBERS * VARINT_MAX + CALL_TEXTS * (1 + RECORD_TEXT_MAX) <=
                   RECORD_MAX_BYTES,
               "a record must fit");
_Static_assert(FIXED_BYTES + 2 * VARINT_MAX + OBJECT_TEXTS * (1 + RECORD_TEXT_MAX) +
                       OBJECT_FACTS_BYTES <=
                   RECORD_MAX_BYTES,
               "an object must fit");

/* The bits of the byte that holds the small facts. */
enum {
    OUTCOME_MASK = 3,
    COUNTED_SHIFT = 2,
    COUNTED_MASK = 3,
    STREAM_BIT = 16,
    SERVICE_SHIFT = 5,
    SERVICE_MASK = 3,
};
_Static_assert(SERVICE_TIERS - 1 <= SERVICE_MASK, "a tier of service has two bits");

/* -------------------------------------------------------------------------------------- writing */

static char *put_number(char *at, int64_t number)
{
    uint64_t left = number > 0 ? (uint64_t)number : 0;
    for (; left >= 0x80; left >>= 7)
        *at++ = (char)(left | 0x80);
    *at++ = (char)left;
    return at;
}

static char *put_text(char *at, struct text text)
{
    size_t len = text.len < RECORD_TEXT_MAX ? text.len : RECORD_TEXT_MAX;
    *at++ = (char)len;
    if (len)
        memcpy(at, text.at, len);
    return at + len;
}

static char *put_usage(char *at, const struct usage *usage)
{
    at = put_number(at, usage->input_tokens);
    at = put_number(at, usage->cached_tokens);
    at = put_number(at, usage->cache_write_tokens);
    at = put_number(at, usage->output_tokens);
    at = put_number(at, usage->reasoning_tokens);
    at = put_number(at, usage->audio_input_tokens);
    at = put_number(at, usage->audio_output_tokens);
    at = put_number(at, usage->image_tokens);
    return put_number(at, usage->units);
}

static bool has_more(const struct usage *usage)
{
    return usage->cache_write_1h_tokens > 0 || usage->image_output_tokens > 0 ||
           usage->searches > 0 || usage->surcharge_percent > 0;
}

static char *put_more(char *at, const struct usage *usage)
{
    at = put_number(at, usage->cache_write_1h_tokens);
    at = put_number(at, usage->image_output_tokens);
    at = put_number(at, usage->searches);
    return put_number(at, usage->surcharge_percent);
}

static char *put_call_texts(char *at, const struct ledger_row *row)
{
    at = put_text(at, row->id);
    at = put_text(at, row->tenant);
    at = put_text(at, row->key);
    at = put_text(at, row->user);
    at = put_text(at, row->tags);
    at = put_text(at, row->model);
    at = put_text(at, row->target);
    at = put_text(at, row->provider);
    at = put_text(at, row->upstream_model);
    at = put_text(at, row->dialect);
    at = put_text(at, row->upstream_dialect);
    at = put_text(at, row->operation);
    at = put_text(at, row->finish);
    return put_text(at, row->fault);
}

static char *put_call(char *at, enum record_kind kind, uint64_t opened,
                      const struct ledger_row *row)
{
    bool more = has_more(&row->usage);
    *at++ = (char)kind;
    *at++ = more ? CALL_VERSION : VERSION;
    *at++ = (char)((row->outcome & OUTCOME_MASK) | (row->counted & COUNTED_MASK) << COUNTED_SHIFT |
                   (row->stream ? STREAM_BIT : 0) |
                   (row->usage.service & SERVICE_MASK) << SERVICE_SHIFT);
    at = put_number(at, (int64_t)opened);
    at = put_number(at, row->started_us);
    at = put_number(at, row->status);
    at = put_usage(at, &row->usage);
    at = put_number(at, row->price_version);
    at = put_number(at, row->cost_nanos);
    at = put_number(at, row->saved_nanos);
    at = put_number(at, row->attempts);
    at = put_number(at, row->ttft_us);
    at = put_number(at, row->duration_us);
    at = put_number(at, row->overhead_us);
    at = put_call_texts(at, row);
    return more ? put_more(at, &row->usage) : at;
}

static uint32_t sum_of(const char *at, uint32_t length)
{
    uint32_t sum = checksum(0, &length, sizeof(length));
    return checksum(sum, at + 8, length - 8);
}

/* Fill in the head of the record whose body ends at <end>, but for the length. */
static size_t seal(char *at, const char *end, uint64_t sequence)
{
    size_t length = (size_t)(end - at);
    memcpy(at + 8, &sequence, sizeof(sequence));
    uint32_t sum = sum_of(at, (uint32_t)length);
    memcpy(at + 4, &sum, sizeof(sum));
    return length;
}

size_t record_write_call(char *at, enum record_kind kind, uint64_t sequence, uint64_t opened,
                         const struct ledger_row *row)
{
    return seal(at, put_call(at + RECORD_HEAD_BYTES, kind, opened, row), sequence);
}

static char *put_object(char *end, enum record_kind kind, const struct object *object)
{
    struct text facts = text_head(object->facts, OBJECT_FACTS_BYTES);
    *end++ = (char)kind;
    *end++ = facts.len ? OBJECT_VERSION : VERSION;
    end = put_number(end, object->made_us);
    end = put_text(end, object->id);
    end = put_text(end, object->kind);
    end = put_text(end, object->tenant);
    end = put_text(end, object->target);
    end = put_text(end, object->model);
    if (facts.len) {
        end = put_number(end, (int64_t)facts.len);
        memcpy(end, facts.at, facts.len);
        end += facts.len;
    }
    return end;
}

size_t record_write_object(char *at, enum record_kind kind, uint64_t sequence,
                           const struct object *object)
{
    return seal(at, put_object(at + RECORD_HEAD_BYTES, kind, object), sequence);
}

size_t record_write_own_body(char *out, const struct object *object)
{
    return (size_t)(put_object(out, RECORD_OWN, object) - out);
}

size_t record_write_body(char *out, const struct ledger_row *row)
{
    return (size_t)(put_call(out, RECORD_SETTLE, 0, row) - out);
}

static size_t room_of(struct text text)
{
    return 1 + (text.len < RECORD_TEXT_MAX ? text.len : RECORD_TEXT_MAX);
}

size_t record_room_call(const struct ledger_row *row)
{
    return record_padded(FIXED_BYTES + 1 + CALL_NUMBERS * VARINT_MAX + room_of(row->id) +
                         room_of(row->tenant) + room_of(row->key) + room_of(row->user) +
                         room_of(row->tags) + room_of(row->model) + room_of(row->target) +
                         room_of(row->provider) + room_of(row->upstream_model) +
                         room_of(row->dialect) + room_of(row->upstream_dialect) +
                         room_of(row->operation) + room_of(row->finish) + room_of(row->fault));
}

size_t record_room_object(const struct object *object)
{
    return record_padded(FIXED_BYTES + 2 * VARINT_MAX + room_of(object->id) +
                         room_of(object->kind) + room_of(object->tenant) + room_of(object->target) +
                         room_of(object->model) + text_head(object->facts, OBJECT_FACTS_BYTES).len);
}

void record_publish(char *at, uint32_t length_or_mark)
{
    atomic_store_explicit((_Atomic uint32_t *)(void *)at, length_or_mark, memory_order_release);
}

/* -------------------------------------------------------------------------------------- reading */

struct reader {
    const char *at, *end;
    bool bad;
};

static uint8_t get_byte(struct reader *in)
{
    if (in->at == in->end) {
        in->bad = true;
        return 0;
    }
    return (uint8_t)*in->at++;
}

static int64_t get_long_number(struct reader *in)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint8_t byte = get_byte(in);
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return (int64_t)number;
    }
    in->bad = true; /* more than 63 bits: we never wrote that */
    return 0;
}

/* Most are small. */
static inline int64_t get_number(struct reader *in)
{
    if (in->at < in->end && (uint8_t)*in->at < 0x80)
        return (uint8_t)*in->at++;
    return get_long_number(in);
}

static struct text get_text(struct reader *in)
{
    size_t len = get_byte(in);
    if ((size_t)(in->end - in->at) < len) {
        in->bad = true;
        return (struct text){"", 0};
    }
    struct text text = {in->at, len};
    in->at += len;
    return text;
}

static void get_usage(struct reader *in, struct usage *usage)
{
    usage->input_tokens = get_number(in);
    usage->cached_tokens = get_number(in);
    usage->cache_write_tokens = get_number(in);
    usage->output_tokens = get_number(in);
    usage->reasoning_tokens = get_number(in);
    usage->audio_input_tokens = get_number(in);
    usage->audio_output_tokens = get_number(in);
    usage->image_tokens = get_number(in);
    usage->units = get_number(in);
    usage->cache_write_1h_tokens = usage->image_output_tokens = 0;
    usage->searches = usage->told_nanos = usage->surcharge_percent = 0;
}

static void get_call_texts(struct reader *in, struct ledger_row *row)
{
    row->id = get_text(in);
    row->tenant = get_text(in);
    row->key = get_text(in);
    row->user = get_text(in);
    row->tags = get_text(in);
    row->model = get_text(in);
    row->target = get_text(in);
    row->provider = get_text(in);
    row->upstream_model = get_text(in);
    row->dialect = get_text(in);
    row->upstream_dialect = get_text(in);
    row->operation = get_text(in);
    row->finish = get_text(in);
    row->fault = get_text(in);
}

static void get_call_1(struct reader *in, struct record *record)
{
    struct ledger_row *row = &record->row;
    uint8_t facts = get_byte(in);
    row->outcome = (enum ledger_outcome)(facts & OUTCOME_MASK);
    row->counted = (enum ledger_counted)(facts >> COUNTED_SHIFT & COUNTED_MASK);
    row->stream = facts & STREAM_BIT;
    row->usage.service = (enum service_tier)(facts >> SERVICE_SHIFT & SERVICE_MASK);
    if (row->counted > COUNTED_ESTIMATE)
        in->bad = true;
    record->opened = (uint64_t)get_number(in);
    row->started_us = get_number(in);
    row->status = (int)(get_number(in) & 0xffff);
    get_usage(in, &row->usage);
    row->price_version = (uint32_t)get_number(in);
    row->cost_nanos = get_number(in);
    row->saved_nanos = get_number(in);
    row->attempts = (unsigned)get_number(in);
    row->ttft_us = get_number(in);
    row->duration_us = get_number(in);
    row->overhead_us = get_number(in);
    get_call_texts(in, row);
}

static void get_call_2(struct reader *in, struct record *record)
{
    struct usage *usage = &record->row.usage;
    get_call_1(in, record);
    usage->cache_write_1h_tokens = get_number(in);
    usage->image_output_tokens = get_number(in);
    usage->searches = get_number(in);
    usage->surcharge_percent = get_number(in);
}

static void get_object_1(struct reader *in, struct record *record)
{
    struct object *object = &record->object;
    object->made_us = get_number(in);
    object->id = get_text(in);
    object->kind = get_text(in);
    object->tenant = get_text(in);
    object->target = get_text(in);
    object->model = get_text(in);
}

static void get_object_2(struct reader *in, struct record *record)
{
    get_object_1(in, record);
    int64_t len = get_number(in);
    if (in->bad || len > OBJECT_FACTS_BYTES || in->end - in->at < len) {
        in->bad = true;
        return;
    }
    record->object.facts = (struct text){in->at, (size_t)len};
    in->at += len;
}

/* How each version of each kind is read; a new version is a new row, the old ones stay. */
/* clang-format off */
static const struct {
    enum record_kind kind;
    uint8_t version;
    void (*read)(struct reader *in, struct record *record);
} readers[] = {
    {RECORD_OPEN,   1, get_call_1},
    {RECORD_SETTLE, 1, get_call_1},
    {RECORD_OWN,    1, get_object_1},
    {RECORD_DISOWN, 1, get_object_1},
    {RECORD_OWN,    2, get_object_2},
    {RECORD_HOLD,   1, get_call_1},
    {RECORD_RELEASE, 1, get_call_1},
    {RECORD_OPEN,   2, get_call_2},
    {RECORD_SETTLE, 2, get_call_2},
    {RECORD_HOLD,   2, get_call_2},
    {RECORD_RELEASE, 2, get_call_2},
};
/* clang-format on */

bool record_read_body(struct text body, struct record *record)
{
    struct reader in = {body.at, body.at + body.len, false};
    uint8_t kind = get_byte(&in), version = get_byte(&in);
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        if ((uint8_t)readers[i].kind != kind || readers[i].version != version)
            continue;
        record->kind = readers[i].kind;
        record->body = body;
        record->opened = 0;
        record->object.facts = (struct text){"", 0};
        readers[i].read(&in, record);
        return !in.bad && in.at == in.end;
    }
    return false;
}

/* The frame of a record: what it is, not what it says. */
static enum record_found read_frame(const char *at, size_t room, struct record *record)
{
    uint32_t length, sum;
    if (room == 0)
        return RECORD_TURN;
    if (room < RECORD_ALIGN)
        return RECORD_BAD;
    length = atomic_load_explicit((const _Atomic uint32_t *)(const void *)at, memory_order_acquire);
    if (length == 0)
        return RECORD_NONE;
    if (length == RECORD_END_MARK)
        return RECORD_TURN;
    if (length < FIXED_BYTES || length > RECORD_MAX_BYTES || record_padded(length) > room)
        return RECORD_BAD;
    memcpy(&sum, at + 4, sizeof(sum));
    if (sum != sum_of(at, length))
        return RECORD_BAD;
    memcpy(&record->sequence, at + 8, sizeof(record->sequence));
    record->bytes = record_padded(length);
    record->body = (struct text){at + RECORD_HEAD_BYTES, length - RECORD_HEAD_BYTES};
    return RECORD_HERE;
}

static enum record_found read_fields(enum record_found found, struct record *record)
{
    if (found == RECORD_HERE && !record_read_body(record->body, record))
        return RECORD_BAD;
    return found;
}

enum record_found record_read(const char *at, size_t room, struct record *record)
{
    return read_fields(read_frame(at, room, record), record);
}

enum record_found record_skim(const char *at, size_t room, struct record *record)
{
    enum record_found found = read_frame(at, room, record);
    if (found != RECORD_HERE || record->body.at[0] != RECORD_OPEN || record->body.at[1] != VERSION)
        return read_fields(found, record);
    record->kind = RECORD_OPEN;
    return RECORD_HERE;
}
