/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bedrock.h: the blocks of messages are written.
 */
#include <stdio.h>

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "providers/anthropic.h"
#include "providers/bedrock.h"

static void lose(struct bedrock_writing *w, bool demand, const char *member)
{
    if (demand)
        loss_demand(w->losses, "messages[%zu].content[%zu]%s", w->message, w->part, member);
    else
        loss_hint(w->losses, "messages[%zu].content[%zu]%s", w->message, w->part, member);
}

void bedrock_put_coded(struct buffer *out, const char *name, struct text plain)
{
    char *coded = memory_new(4 * ((plain.len + 2) / 3) + 1);
    size_t len = hash_base64(plain.at, plain.len, coded);
    put_inner(out, name, (struct text){coded, len});
    memory_free(coded);
}

void bedrock_put_cache(struct buffer *out, struct text cache)
{
    struct text ttl = member_string(member_find(cache, TEXT("ttl")));
    put_open(out, NULL, '{');
    put_open(out, "cachePoint", '{');
    put_inner(out, "type", TEXT("default"));
    if (ttl.len)
        put_inner(out, "ttl", ttl);
    put_literal(out, "}}");
}

/* ------------------------------------------------------------------------------- reasoning */

static bool takes_reasoning(struct bedrock_writing *w, const struct part *part)
{
    if (w->own || (w->claude && anthropic_is_ours(part)))
        return true;
    lose(w, false, ".reasoning");
    return false;
}

static void put_reasoning(struct bedrock_writing *w, const struct part *part)
{
    put_open(w->out, NULL, '{');
    put_open(w->out, "reasoningContent", '{');
    if (part->encrypted.len && !part->signature.len) {
        bedrock_put_coded(w->out, "redactedContent", inner_plain(w->arena, part->encrypted));
    } else {
        put_open(w->out, "reasoningText", '{');
        put_inner(w->out, "text", part->text.at ? part->text : TEXT(""));
        put_inner(w->out, "signature", part->signature);
        put_literal(w->out, "}");
    }
    put_literal(w->out, "}}");
}

/* ------------------------------------------------------------------------ calls and results */

struct text bedrock_id(struct arena *arena, struct text id)
{
    return chat_plain_id(arena, id, 64);
}

static void put_call(struct bedrock_writing *w, const struct part *part)
{
    bool object = part->arguments.len && part->arguments.at[0] == '{';
    put_open(w->out, NULL, '{');
    put_open(w->out, "toolUse", '{');
    put_inner(w->out, "toolUseId", w->own ? part->id : bedrock_id(w->arena, part->id));
    put_inner(w->out, "name", part->name);
    put_json(w->out, "input", object ? part->arguments : TEXT("{}"));
    put_literal(w->out, "}}");
}

static void put_result(struct bedrock_writing *w, const struct part *part)
{
    put_open(w->out, NULL, '{');
    put_open(w->out, "toolResult", '{');
    put_inner(w->out, "toolUseId", w->own ? part->id : bedrock_id(w->arena, part->id));
    put_open(w->out, "content", '[');
    for (size_t i = 0; i < part->part_count; i++)
        bedrock_put_part(w, &part->parts[i], true);
    put_literal(w->out, "]");
    if (part->is_error)
        put_inner(w->out, "status", TEXT("error"));
    put_literal(w->out, "}}");
}

/* ------------------------------------------------------------------------- images and files */

static struct text format_of(struct bedrock_writing *w, const struct part *part)
{
    struct text type = inner_plain(w->arena, part->media_type.at ? part->media_type : TEXT(""));
    if (part->kind == PART_FILE && part->text.at && !part->media_type.at)
        return TEXT("txt");
    return bedrock_format_of(part->kind, type);
}

/* Images, videos: in the call itself, or where AWS keeps them. */
static bool takes_media(struct bedrock_writing *w, const struct part *part)
{
    bool good = part->data.at && format_of(w, part).at;
    if (!good)
        lose(w, true, "");
    else if (part->detail.len && !inner_is(part->detail, "auto"))
        lose(w, false, ".detail");
    return good;
}

static void put_media(struct bedrock_writing *w, const struct part *part)
{
    put_open(w->out, NULL, '{');
    put_open(w->out, part->kind == PART_IMAGE ? "image" : "video", '{');
    put_inner(w->out, "format", format_of(w, part));
    put_open(w->out, "source", '{');
    put_inner(w->out, "bytes", part->data);
    put_literal(w->out, "}}}");
}

/* Letters, digits, single spaces, dashes and brackets are taken in names of documents, no more. */
static struct text name_of(struct bedrock_writing *w, const struct part *part)
{
    struct text name = inner_plain(w->arena, part->name.at ? part->name : TEXT(""));
    char *room = arena_new(w->arena, name.len + 1);
    size_t dot = name.len, len = 0;
    w->documents++;
    if (w->own && part->name.at)
        return part->name;
    for (size_t i = name.len; i-- > 0 && name.len - i < 6;)
        if (name.at[i] == '.')
            dot = i;
    for (size_t i = 0; i < dot && len < 200; i++) {
        char c = name.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '(' || c == ')' || c == '[' || c == ']' || c == '-';
        if (plain)
            room[len++] = c;
        else if (c == ' ' && len && room[len - 1] != ' ')
            room[len++] = c;
        else if (len && room[len - 1] != '-' && room[len - 1] != ' ')
            room[len++] = '-';
    }
    while (len && (room[len - 1] == ' ' || room[len - 1] == '-'))
        len--;
    return len ? (struct text){room, len} : arena_format(w->arena, "document-%zu", w->documents);
}

static bool takes_file(struct bedrock_writing *w, const struct part *part)
{
    bool good = part->text.at || (part->data.at && format_of(w, part).at);
    if (!good)
        lose(w, true, "");
    return good;
}

static void put_file(struct bedrock_writing *w, const struct part *part)
{
    struct text format = format_of(w, part);
    put_open(w->out, NULL, '{');
    put_open(w->out, "document", '{');
    put_inner(w->out, "format", format.at ? format : TEXT("txt"));
    put_inner(w->out, "name", name_of(w, part));
    put_open(w->out, "source", '{');
    if (part->text.at)
        bedrock_put_coded(w->out, "bytes", inner_plain(w->arena, part->text));
    else
        put_inner(w->out, "bytes", part->data);
    put_literal(w->out, "}}}");
}

/* -------------------------------------------------------------------------------- the rest */

void bedrock_put_citation(struct buffer *out, const struct citation *citation)
{
    if (citation->from == &translator_bedrock && citation->raw.at) {
        put_text(out, text_from(citation->raw, 1)); /* its brace was opened */
        return;
    }
    put_inner(out, "title", citation->title);
    if (citation->quote.at) {
        put_open(out, "sourceContent", '[');
        put_open(out, NULL, '{');
        put_inner(out, "text", citation->quote);
        put_literal(out, "}]");
    }
    if (citation->url.at) {
        put_open(out, "location", '{');
        put_open(out, "web", '{');
        put_inner(out, "url", citation->url);
        put_literal(out, "}}");
    }
    put_literal(out, "}");
}

static void put_words(struct bedrock_writing *w, const struct part *part)
{
    struct text text = part->text;
    if (w->claude && !w->own && chat_goes_on_from(w->chat, w->message, w->part))
        text = chat_without_blank_end(text);
    put_open(w->out, NULL, '{');
    if (part->citation_count == 0) {
        put_inner(w->out, "text", text);
        put_literal(w->out, "}");
        return;
    }
    put_open(w->out, "citationsContent", '{');
    put_open(w->out, "content", '[');
    put_open(w->out, NULL, '{');
    put_inner(w->out, "text", part->text);
    put_literal(w->out, "}]");
    put_open(w->out, "citations", '[');
    for (size_t i = 0; i < part->citation_count; i++) {
        put_open(w->out, NULL, '{');
        bedrock_put_citation(w->out, &part->citations[i]);
    }
    put_literal(w->out, "]}}");
}

/* Texts of nothing but blanks are refused by AWS. */
static bool is_blank(struct text inner)
{
    for (size_t i = 0; i < inner.len; i++) {
        char c = inner.at[i];
        if (c == '\\' && i + 1 < inner.len && strchr("nrt", inner.at[i + 1]))
            i++;
        else if (c != ' ')
            return false;
    }
    return true;
}

bool bedrock_takes(struct bedrock_writing *w, const struct part *part)
{
    if (part->raw.at && part->from == &translator_bedrock)
        return true;
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        return w->own || !is_blank(part->text);
    case PART_REASONING:
        return takes_reasoning(w, part);
    case PART_CALL:
    case PART_RESULT:
        return true;
    case PART_IMAGE:
    case PART_VIDEO:
        return takes_media(w, part);
    case PART_FILE:
        return takes_file(w, part);
    case PART_AUDIO:
    case PART_RAW:
        break;
    }
    lose(w, true, "");
    return false;
}

bool bedrock_put_part(struct bedrock_writing *w, const struct part *part, bool nested)
{
    struct buffer *out = w->out;
    if (nested && !bedrock_takes(w, part))
        return false;
    if (part->raw.at && part->from == &translator_bedrock) {
        put_comma(out);
        put_text(out, part->raw);
    } else if (part->kind == PART_TEXT || part->kind == PART_REFUSAL) {
        put_words(w, part);
    } else if (part->kind == PART_REASONING) {
        put_reasoning(w, part);
    } else if (part->kind == PART_CALL) {
        put_call(w, part);
    } else if (part->kind == PART_RESULT) {
        put_result(w, part);
    } else if (part->kind == PART_FILE) {
        put_file(w, part);
    } else {
        put_media(w, part);
    }
    bool unsaid = part->kind == PART_CALL || part->kind == PART_TEXT;
    if (unsaid && part->signature.len && !w->own)
        lose(w, false, ".signature");
    if (!part->cache.at)
        return true;
    if (!nested && (w->own || w->claude || w->nova))
        bedrock_put_cache(out, part->cache);
    else
        lose(w, false, ".cache_control");
    return true;
}
