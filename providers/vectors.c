/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/vectors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/member.h"

enum { NUMBER_BYTES = 64, FLOAT_BYTES = 4 };

/* ------------------------------------------------------------------------------ a call is read */

bool vectors_refuse(struct vector_reading *r, const char *param, const char *what)
{
    fault_set(r->fault, FAULT_BAD_REQUEST, "'%s' %s.", param, what);
    r->fault->param = param;
    return false;
}

bool vectors_add(struct vector_reading *r, const char *param)
{
    struct chat *chat = r->chat;
    if (chat->message_count == VECTORS_MAX)
        return vectors_refuse(r, param, "has more than 4096 texts in it");
    chat->messages = arena_grow(r->arena, chat->messages, chat->message_count, &r->room,
                                sizeof(*chat->messages));
    chat->messages[chat->message_count++] = (struct message){.role = ROLE_USER};
    r->part_room = 0;
    return true;
}

struct part *vectors_part(struct vector_reading *r, const char *param, enum part_kind kind)
{
    struct message *message = &r->chat->messages[r->chat->message_count - 1];
    if (message->part_count == CHAT_PARTS_MAX || !chat_takes_parts(r->chat, 1)) {
        vectors_refuse(r, param, "has a text of too many parts in it");
        return NULL;
    }
    message->parts = arena_grow(r->arena, message->parts, message->part_count, &r->part_room,
                                sizeof(*message->parts));
    struct part *part = &message->parts[message->part_count++];
    *part = (struct part){.kind = kind, .from = r->chat->from};
    return part;
}

bool vectors_add_value(struct vector_reading *r, const char *param, struct text json)
{
    struct text string = member_string(json);
    if (!vectors_add(r, param))
        return false;
    struct part *part = vectors_part(r, param, string.at ? PART_TEXT : PART_RAW);
    if (!part)
        return false;
    part->text = string;
    part->raw = string.at ? (struct text){NULL, 0} : json;
    return true;
}

bool vectors_add_values(struct vector_reading *r, const char *param, struct text json)
{
    struct text none, item;
    if (!json.len || json.at[0] != '[')
        return vectors_refuse(r, param, "has to be an array");
    while (member_next(&json, &none, &item))
        if (!vectors_add_value(r, param, item))
            return false;
    return true;
}

bool vectors_number(struct vector_reading *r, const char *param, struct text json, int64_t *number)
{
    if (json_is_absent(json) || member_count(json, VECTOR_TOKENS_MAX, number))
        return true;
    return vectors_refuse(r, param, "has to be a whole number");
}

bool vectors_string(struct vector_reading *r, const char *param, struct text json,
                    struct text *inner)
{
    if (json_is_absent(json))
        return true;
    *inner = member_string(json);
    return inner->at ? true : vectors_refuse(r, param, "has to be a string");
}

void vectors_keep(struct vector_reading *r, struct text name, struct text json, bool is_demand)
{
    if (!json_is_absent(json))
        chat_keep_field(r->chat, name, json, is_demand);
}

/* --------------------------------------------------------------------------- a call is written */

void vectors_put_text(struct buffer *out, const struct chat *chat, size_t i, struct losses *losses)
{
    const struct message *message = &chat->messages[i];
    put_comma(out);
    put_literal(out, "\"");
    for (size_t p = 0; p < message->part_count; p++) {
        if (message->parts[p].kind == PART_TEXT)
            put_text(out, message->parts[p].text);
        else
            loss_demand(losses, "input[%zu]", i);
    }
    put_literal(out, "\"");
}

void vectors_put_texts(struct buffer *out, const char *name, const struct chat *chat, size_t first,
                       struct losses *losses)
{
    put_open(out, name, '[');
    for (size_t i = first; i < chat->message_count; i++)
        vectors_put_text(out, chat, i, losses);
    put_literal(out, "]");
}

void vectors_put_own(struct buffer *out, const struct chat *chat, const struct translator *own)
{
    for (size_t i = 0; chat->from == own && i < chat->field_count; i++) {
        const struct chat_field *field = &chat->fields[i];
        if (!field->value.at)
            continue;
        put_comma(out);
        put_literal(out, "\"");
        put_text(out, field->name);
        put_literal(out, "\":");
        put_text(out, field->value);
    }
}

/* ------------------------------------------------------------------------------------- answers */

void vectors_begin(struct answer_sink *sink, struct text id, struct text model)
{
    struct answer_event event = {.kind = ANSWER_BEGIN, .id = id, .model = model};
    sink->take(sink, &event);
}

void vectors_say(struct answer_sink *sink, unsigned number, struct text raw)
{
    struct answer_event event = {.kind = ANSWER_PART, .part_kind = PART_RAW, .part = number};
    sink->take(sink, &event);
    event.kind = ANSWER_RAW;
    event.raw = raw;
    sink->take(sink, &event);
    event.kind = ANSWER_PART_END;
    sink->take(sink, &event);
}

unsigned vectors_say_array(struct answer_sink *sink, struct text array)
{
    struct text none, item;
    unsigned number = 0;
    while (number < VECTORS_MAX && member_next(&array, &none, &item))
        vectors_say(sink, number++, item);
    return number;
}

void vectors_end(struct answer_sink *sink, const struct usage *usage)
{
    struct answer_event event = {.kind = ANSWER_USAGE, .usage = usage};
    if (usage)
        sink->take(sink, &event);
    event = (struct answer_event){.kind = ANSWER_END};
    sink->take(sink, &event);
}

void vectors_fail(struct answer_sink *sink, const char *words)
{
    struct answer_event event = {
        .kind = ANSWER_FAIL, .fault = FAULT_TARGET_INVALID, .text = text_of(words)};
    sink->take(sink, &event);
}

const struct whole_choice *vectors_of(const struct whole_answer *whole)
{
    static const struct whole_choice nothing = {.parts = NULL};
    return whole->choice_count ? &whole->choices[0] : &nothing;
}

void vectors_read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    (void)state;
    (void)frame;
    vectors_fail(sink, "The target's answer is a stream, where there is none.");
}

void vectors_read_end(void *state, struct answer_sink *sink)
{
    (void)state;
    (void)sink;
}

void vectors_write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    (void)state;
    (void)event;
    (void)out;
}

/* ------------------------------------------------------------------------------ numbers, base64 */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Bytes on their way into base64. */
struct encoding {
    struct buffer *out;
    uint32_t bits;
    unsigned count;
};

static void encode_byte(struct encoding *e, uint32_t byte)
{
    e->bits = e->bits << 8 | byte;
    if (++e->count < 3)
        return;
    char four[4] = {letters[e->bits >> 18 & 63], letters[e->bits >> 12 & 63],
                    letters[e->bits >> 6 & 63], letters[e->bits & 63]};
    buffer_append_text(e->out, (struct text){four, 4});
    e->bits = e->count = 0;
}

static void encode_end(struct encoding *e)
{
    if (!e->count)
        return;
    uint32_t bits = e->bits << (e->count == 1 ? 16 : 8);
    char four[4] = {letters[bits >> 18 & 63], letters[bits >> 12 & 63],
                    e->count == 1 ? '=' : letters[bits >> 6 & 63], '='};
    buffer_append_text(e->out, (struct text){four, 4});
}

/* What is no number is 0; a copy, because strtof() wants an end. */
static float float_of(struct text json)
{
    char room[NUMBER_BYTES];
    struct text digits = text_head(json, sizeof(room) - 1);
    memcpy(room, digits.at, digits.len);
    room[digits.len] = '\0';
    float value = strtof(room, NULL);
    return isfinite(value) ? value : 0;
}

void vectors_put_base64(struct buffer *out, struct text raw)
{
    struct text none, item;
    struct encoding encoding = {.out = out};
    if (raw.len && raw.at[0] != '[') {
        put_text(out, raw);
        return;
    }
    put_literal(out, "\"");
    while (member_next(&raw, &none, &item)) {
        float value = float_of(item);
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        for (unsigned i = 0; i < FLOAT_BYTES; i++)
            encode_byte(&encoding, bits >> (8 * i) & 255);
    }
    encode_end(&encoding);
    put_literal(out, "\"");
}

static int letter_value(char c)
{
    const char *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

static void put_float(struct buffer *out, uint32_t bits)
{
    char room[NUMBER_BYTES];
    float value;
    memcpy(&value, &bits, sizeof(value));
    snprintf(room, sizeof(room), "%.9g", isfinite(value) ? (double)value : 0.0);
    put_comma(out);
    put_literal(out, room);
}

void vectors_put_numbers(struct buffer *out, struct text raw)
{
    struct text base64 = member_string(raw);
    uint32_t bits = 0, word = 0;
    unsigned held = 0, bytes = 0;
    if (!base64.at) {
        put_text(out, raw.len && raw.at[0] == '[' ? raw : TEXT("[]"));
        return;
    }
    put_literal(out, "[");
    for (size_t i = 0; i < base64.len; i++) {
        int value = letter_value(base64.at[i]);
        if (value < 0)
            continue; /* the padding, or the '\' that JSON may put before '/' */
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        word |= (bits >> held & 255) << (8 * bytes);
        if (++bytes < FLOAT_BYTES)
            continue;
        put_float(out, word);
        word = bytes = 0;
    }
    put_literal(out, "]");
}

void vectors_put_items(struct buffer *out, const struct whole_answer *whole, bool base64)
{
    const struct whole_choice *choice = vectors_of(whole);
    for (size_t i = 0; i < choice->part_count; i++) {
        put_comma(out);
        if (base64)
            vectors_put_base64(out, choice->parts[i].raw);
        else
            vectors_put_numbers(out, choice->parts[i].raw);
    }
}
