/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: the content of a message is written, and what cannot stand in it is named.
 */
#include <stdio.h>

#include "gateway/base/hash.h"
#include "providers/openai_chat.h"

enum { ID_MAX = 40, MISTRAL_ID = 9 };

void openai_list_add(struct arena *arena, struct placed_list *list, struct placed placed)
{
    list->items = arena_grow(arena, list->items, list->count, &list->room, sizeof(placed));
    list->items[list->count++] = placed;
}

/* ------------------------------------------------------------------------------------- losses */

static const char *name_of(struct call_writing *w, const struct placed *placed, const char *more)
{
    size_t message = placed->message >= w->lead ? placed->message - w->lead : placed->message;
    const char *list = placed->message >= w->lead ? "messages" : "system";
    struct text inside = {"", 0};
    if (placed->inside != SIZE_MAX)
        inside = arena_format(w->arena, ".content[%zu]", placed->inside);
    return arena_format(w->arena, "%s[%zu].content[%zu]%.*s%s", list, message, placed->index,
                        TEXT_ARGS(inside), more)
        .at;
}

static void lose_demand(struct call_writing *w, const struct placed *placed, const char *more)
{
    loss_demand(w->losses, "%s", name_of(w, placed, more));
}

void openai_lose_hint(struct call_writing *w, const struct placed *placed, const char *more)
{
    loss_hint(w->losses, "%s", name_of(w, placed, more));
}

/* ---------------------------------------------------------------------------------------- ids */

static bool is_mistral_id(struct text id)
{
    for (size_t i = 0; i < id.len; i++) {
        unsigned char c = (unsigned char)id.at[i], letter = c | 0x20u;
        if (!(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'z'))
            return false;
    }
    return id.len == MISTRAL_ID;
}

/* The same id always becomes the same. */
struct text openai_call_id(struct call_writing *w, struct text id)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if (w->is_mistral ? is_mistral_id(id) : id.len <= ID_MAX)
        return id;
    struct digest digest = hash_sha256(id);
    size_t len = w->is_mistral ? MISTRAL_ID : 24;
    char made[25] = "";
    for (size_t i = 0; i < len; i++)
        made[i] = digits[digest.bytes[i] % (sizeof(digits) - 1)];
    return arena_format(w->arena, "%s%s", w->is_mistral ? "" : "call_", made);
}

/* -------------------------------------------------------------------- what may stand in content */

bool openai_is_own_raw(const struct call_writing *w, const struct part *part)
{
    return part->raw.at && part->from == w->own;
}

bool openai_takes_media(const struct call_writing *w, const struct part *part, enum place place)
{
    bool there = place == IN_USER || (place == IN_RESULT && (w->type->tool_media || w->is_mistral));
    bool whole = part->data.at || part->url.at;
    bool strict = w->type->openai_fields && !w->type->conventions;
    if (part->kind == PART_IMAGE)
        return there && whole;
    if (part->kind == PART_VIDEO)
        return there && whole && !strict && !w->is_mistral;
    if (part->kind == PART_AUDIO)
        return there && (part->data.at || (part->url.at && w->is_mistral));
    if (w->is_mistral)
        return there && whole;
    return there && (part->data.at || part->id.at || (part->url.at && w->type->conventions));
}

/* Does it go into the content? What does not, and has no other place, is named. */
bool openai_takes_part(struct call_writing *w, const struct placed *placed, enum place place)
{
    const struct part *part = placed->part;
    bool good = false;
    switch (part->kind) {
    case PART_TEXT:
        return true;
    case PART_REFUSAL:
        return place != IN_ASSISTANT || !w->type->openai_fields; /* as a text, or outside */
    case PART_REASONING:
        if (place == IN_ASSISTANT)
            return w->is_mistral && part->text.len; /* else outside */
        break;
    case PART_CALL:
        good = place == IN_ASSISTANT; /* outside */
        break;
    case PART_RESULT:
        good = place == IN_USER; /* a message of its own */
        break;
    case PART_AUDIO:
        if (place == IN_ASSISTANT && part->id.at)
            return false; /* outside */
        if (openai_takes_media(w, part, place))
            return true;
        break;
    case PART_FILE:
        if (part->text.at && !part->data.at && part->name.len > 0)
            openai_lose_hint(w, placed, ".filename"); /* it is a text */
        if (part->text.at || openai_takes_media(w, part, place))
            return true;
        break;
    case PART_IMAGE:
    case PART_VIDEO:
        if (openai_takes_media(w, part, place))
            return true;
        break;
    case PART_RAW:
        if (openai_is_own_raw(w, part))
            return true;
        break;
    }
    if (!good)
        lose_demand(w, placed, "");
    return false;
}

/* ---------------------------------------------------------------------------------- the parts */

static void put_type(struct buffer *out, const char *type)
{
    put_open(out, NULL, '{');
    put_inner(out, "type", text_of(type));
}

/* "name":"data:...;base64,..." or the address itself. */
static void put_address(struct buffer *out, const char *name, const struct part *part,
                        struct text otherwise)
{
    if (!part->data.at) {
        put_inner(out, name, part->url);
        return;
    }
    openai_open_string(out, name);
    put_literal(out, "data:");
    put_text(out, part->media_type.len ? part->media_type : otherwise);
    put_literal(out, ";base64,");
    put_text(out, part->data);
    put_literal(out, "\"");
}

static void write_image(struct call_writing *w, const struct part *part)
{
    bool video = part->kind == PART_VIDEO;
    put_type(w->out, video ? "video_url" : "image_url");
    put_open(w->out, video ? "video_url" : "image_url", '{');
    put_address(w->out, "url", part, video ? TEXT("video/mp4") : TEXT("image/png"));
    if (!video)
        put_inner(w->out, "detail", part->detail);
    put_literal(w->out, "}");
}

static struct text audio_format(struct text media_type)
{
    if (text_ends(media_type, TEXT("mpeg")))
        return TEXT("mp3");
    if (text_ends(media_type, TEXT("wav")) || text_ends(media_type, TEXT("wave")))
        return TEXT("wav");
    size_t slash = text_find_byte(media_type, '/');
    return slash == SIZE_MAX ? TEXT("wav") : text_from(media_type, slash + 1);
}

static void write_audio(struct call_writing *w, const struct part *part)
{
    put_type(w->out, "input_audio");
    if (w->is_mistral) {
        put_inner(w->out, "input_audio", part->data.at ? part->data : part->url);
        return;
    }
    put_open(w->out, "input_audio", '{');
    put_inner(w->out, "data", part->data);
    put_inner(w->out, "format", audio_format(part->media_type));
    put_literal(w->out, "}");
}

static void write_file(struct call_writing *w, const struct part *part)
{
    if (w->is_mistral) {
        put_type(w->out, "document_url");
        put_address(w->out, "document_url", part, TEXT("application/pdf"));
        put_inner(w->out, "document_name", part->name);
        return;
    }
    put_type(w->out, "file");
    put_open(w->out, "file", '{');
    put_inner(w->out, "filename",
              part->name.at || !part->data.at ? part->name : TEXT("document.pdf"));
    if (part->id.at)
        put_inner(w->out, "file_id", part->id);
    else
        put_address(w->out, "file_data", part, TEXT("application/pdf"));
    put_literal(w->out, "}");
}

static void write_text(struct call_writing *w, struct text text)
{
    put_type(w->out, "text");
    put_inner(w->out, "text", text.at ? text : TEXT(""));
}

static void write_thinking(struct call_writing *w, const struct part *part)
{
    put_type(w->out, "thinking");
    put_open(w->out, "thinking", '[');
    write_text(w, part->text);
    put_literal(w->out, "}]");
}

static void write_part(struct call_writing *w, const struct placed *placed)
{
    const struct part *part = placed->part;
    if (openai_is_own_raw(w, part)) {
        put_comma(w->out);
        put_text(w->out, part->raw);
        return;
    }
    switch (part->kind) {
    case PART_IMAGE:
    case PART_VIDEO:
        write_image(w, part);
        break;
    case PART_AUDIO:
        write_audio(w, part);
        break;
    case PART_FILE:
        if (part->text.at && !part->data.at)
            write_text(w, part->text);
        else
            write_file(w, part);
        break;
    case PART_REASONING:
        write_thinking(w, part);
        break;
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_CALL:
    case PART_RESULT:
    case PART_RAW:
        write_text(w, part->text);
        break;
    }
    if (w->type->conventions)
        put_json(w->out, "cache_control", part->cache);
    put_literal(w->out, "}");
}

/* "content": a string where one text is all there is. <empty>: what it is without anything. */
void openai_write_content(struct call_writing *w, const struct placed_list *list, bool null)
{
    const struct part *first = list->count ? list->items[0].part : NULL;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].part->cache.at && !w->type->conventions)
            openai_lose_hint(w, &list->items[i], ".cache_control");
    bool text = first && (first->kind == PART_TEXT || first->kind == PART_REFUSAL ||
                          (first->kind == PART_FILE && first->text.at && !first->data.at));
    bool plain = list->count == 1 && text && !(first->cache.at && w->type->conventions) &&
                 !openai_is_own_raw(w, first);
    if (!first)
        put_json(w->out, "content", null ? TEXT("null") : TEXT("\"\""));
    else if (plain)
        put_inner(w->out, "content", first->text.at ? first->text : TEXT(""));
    if (!first || plain)
        return;
    put_open(w->out, "content", '[');
    for (size_t i = 0; i < list->count; i++)
        write_part(w, &list->items[i]);
    put_literal(w->out, "]");
}

/* The parts of a message that go into its content. */
struct placed_list openai_content_of(struct call_writing *w, size_t number, enum place place)
{
    const struct message *message = &w->messages[number];
    struct placed_list list = {.count = 0};
    for (size_t i = 0; i < message->part_count; i++) {
        struct placed placed = {&message->parts[i], number, i, SIZE_MAX};
        if (openai_takes_part(w, &placed, place))
            openai_list_add(w->arena, &list, placed);
    }
    return list;
}
