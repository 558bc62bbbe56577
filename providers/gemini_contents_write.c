/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contents of a call, written. The API is strict about turns: the responses to a model's calls
 * stand in one content right behind it, and no two contents of the model follow each other when one
 * of them calls.
 */
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/gemini.h"
#include "providers/index.h"

struct writing {
    struct arena *arena;
    const struct chat *chat;
    struct buffer *out;
    struct losses *losses;
    bool own;    /* the call is of this dialect: it goes back as it came */
    bool levels; /* the model wants its signatures back */
    size_t message, part;
    struct text signature; /* of reasoning without a text: it belongs to the part that follows */
    bool called;           /* a call of this message has been written */
    bool late_media;       /* media of a response go behind it */
    struct call_index calls;
};

static bool is_of(struct text json, char bracket)
{
    return json.len && json.at[0] == bracket;
}

static void demand(const struct writing *w, const char *what)
{
    loss_demand(w->losses, "messages[%zu].content[%zu]%s", w->message, w->part, what);
}

static void hint(const struct writing *w, const char *what)
{
    loss_hint(w->losses, "messages[%zu].content[%zu]%s", w->message, w->part, what);
}

/* ------------------------------------------------------------------------------- signatures */

/* What stands in front of a run of base64, decoded; how many bytes of it. */
static size_t decode_head(struct text base64, unsigned char *out, size_t room)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, value = 0;
    size_t count = 0;
    for (size_t i = 0; i < base64.len && count < room; i++) {
        char c = base64.at[i];
        c = (char)(c == '-' ? '+' : c == '_' ? '/' : c);
        const char *digit = c ? strchr(digits, c) : NULL;
        if (!digit)
            continue; /* '/' may stand behind a backslash */
        value = value << 6 | (unsigned)(digit - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[count++] = (unsigned char)(value >> bits);
        }
    }
    return count;
}

static size_t read_varint(const unsigned char *bytes, size_t count, size_t *at)
{
    size_t number = 0;
    for (unsigned shift = 0; *at < count && shift < 28; shift += 7) {
        unsigned char byte = bytes[(*at)++];
        number |= (size_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            break;
    }
    return number;
}

/*
 * Is it a signature of Claude's? Both are protobufs in base64 that begin with field 2; Claude's
 * holds a short header as field 1 and more behind it, Gemini's holds nothing but its field 1.
 * Another maker's signature makes the API refuse the whole call, and reasoning may come without
 * one.
 */
static bool is_foreign(struct text signature)
{
    unsigned char head[16];
    size_t count = decode_head(signature, head, sizeof(head)), at = 1;
    if (count < 8 || head[0] != 0x12)
        return false;
    size_t outer = read_varint(head, count, &at), begin = at;
    if (at >= count || head[at++] != 0x0A)
        return false;
    size_t inner = read_varint(head, count, &at);
    return at - begin + inner != outer;
}

/* The first call of a step must have a signature; this one says that the model did not make it, or
 * that it was lost on the way (Google's guide on thought signatures). */
static const struct text no_signature = {"skip_thought_signature_validator", 32};

static void put_signature(struct writing *w, struct text signature)
{
    if (w->signature.len && !signature.len)
        signature = w->signature;
    w->signature = (struct text){NULL, 0};
    if (signature.len)
        put_inner(w->out, "thoughtSignature", signature);
}

/* ------------------------------------------------------------------------------------ media */

/* Types by the end of a file's name, where nobody said one. */
static const struct {
    const char *ending, *type;
} endings[] = {
    {".jpg", "image/jpeg"},      {".jpeg", "image/jpeg"}, {".png", "image/png"},
    {".webp", "image/webp"},     {".gif", "image/gif"},   {".heic", "image/heic"},
    {".pdf", "application/pdf"}, {".txt", "text/plain"},  {".md", "text/markdown"},
    {".html", "text/html"},      {".csv", "text/csv"},    {".mp3", "audio/mpeg"},
    {".wav", "audio/wav"},       {".mp4", "video/mp4"},   {".mov", "video/quicktime"},
    {".webm", "video/webm"},
};

static bool ends_nocase(struct text t, struct text ending)
{
    return t.len >= ending.len && text_equal_nocase(text_from(t, t.len - ending.len), ending);
}

static struct text media_type_of(const struct part *part)
{
    struct text name = part->url.len ? part->url : part->name;
    size_t query = text_find_byte(name, '?');
    name = text_head(name, query);
    if (part->media_type.len)
        return part->media_type;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
        if (ends_nocase(name, text_of(endings[i].ending)))
            return text_of(endings[i].type);
    switch (part->kind) {
    case PART_IMAGE:
        return TEXT("image/jpeg");
    case PART_AUDIO:
        return TEXT("audio/mpeg");
    case PART_VIDEO:
        return TEXT("video/mp4");
    case PART_FILE:
    case PART_TEXT:
    case PART_REFUSAL:
    case PART_REASONING:
    case PART_CALL:
    case PART_RESULT:
    case PART_RAW:
        break;
    }
    return TEXT("application/pdf");
}

/* Append inlineData or fileData, without the part around it. False when it cannot be said. */
static bool put_media(const struct writing *w, const struct part *part)
{
    bool inline_data = part->data.at != NULL;
    if (!inline_data && !part->url.len)
        return false;
    put_open(w->out, inline_data ? "inlineData" : "fileData", '{');
    put_inner(w->out, "mimeType", media_type_of(part));
    put_inner(w->out, inline_data ? "data" : "fileUri", inline_data ? part->data : part->url);
    if (w->own)
        put_inner(w->out, "displayName", part->name);
    put_literal(w->out, "}");
    return true;
}

static void write_media(struct writing *w, const struct part *part)
{
    struct text detail = part->detail;
    size_t begin = buffer_length(w->out);
    put_open(w->out, NULL, '{');
    if (part->text.at && !part->data.at && !part->url.at)
        put_inner(w->out, "text", part->text);
    else if (!put_media(w, part)) {
        gemini_cut_back(w->out, begin);
        demand(w, part->id.len ? ".file_id" : "");
        return;
    }
    put_signature(w, part->signature);
    put_literal(w->out, "}");
    if (!w->own && part->name.len)
        hint(w, ".filename");
    if (detail.len && !inner_is(detail, "auto"))
        hint(w, ".detail");
}

/* -------------------------------------------------------------------------- calls, results */

/* Ids that were made here for calls that had none stay here. */
static bool is_made_up(struct text id)
{
    return text_starts(id, TEXT("gemini_call_"));
}

static void put_id(const struct writing *w, struct text id)
{
    if (id.len && !is_made_up(id))
        put_inner(w->out, "id", id);
}

static void write_call(struct writing *w, const struct part *part)
{
    put_open(w->out, NULL, '{');
    put_open(w->out, "functionCall", '{');
    put_id(w, part->id);
    put_inner(w->out, "name", part->name);
    put_json(w->out, "args", is_of(part->arguments, '{') ? part->arguments : TEXT("{}"));
    put_literal(w->out, "}");
    bool first = !w->called;
    w->called = true;
    if (part->signature.len || w->signature.len || w->own || !w->levels || !first)
        put_signature(w, part->signature);
    else
        put_signature(w, no_signature);
    put_literal(w->out, "}");
}

static size_t count_texts(const struct part *result, const struct part **only)
{
    size_t count = 0;
    for (size_t i = 0; i < result->part_count; i++)
        if (result->parts[i].kind == PART_TEXT) {
            *only = &result->parts[i];
            count++;
        }
    return count;
}

/* An object that is not taken for one that holds a text. */
static bool is_open_object(struct text plain)
{
    struct text rest = plain, name, value, other;
    if (!is_of(plain, '{') || !scan_is_valid(plain))
        return false;
    bool alone = member_next(&rest, &name, &value) && !member_next(&rest, &other, &other);
    return !alone || !member_string(value).at ||
           !(text_equal(name, TEXT("output")) || text_equal(name, TEXT("error")));
}

/* What the function said: an object as it is, else under "output", or "error". */
static void put_response(const struct writing *w, const struct part *result)
{
    const struct part *only = result; /* of a result without parts: its own text */
    size_t texts = count_texts(result, &only);
    struct text inner = only->text.at ? only->text : TEXT("");
    struct text plain = text_trim(inner_plain(w->arena, inner));
    if (texts < 2 && !result->is_error && is_open_object(plain)) {
        put_json(w->out, "response", plain);
        return;
    }
    put_open(w->out, "response", '{');
    const char *name = result->is_error ? "error" : "output";
    if (texts < 2) {
        put_inner(w->out, name, inner);
    } else {
        put_open(w->out, name, '[');
        for (size_t i = 0; i < result->part_count; i++)
            if (result->parts[i].kind == PART_TEXT)
                put_item(w->out, result->parts[i].text);
        put_literal(w->out, "]");
    }
    put_literal(w->out, "}");
}

static bool is_media(const struct part *part)
{
    return part->kind == PART_IMAGE || part->kind == PART_AUDIO || part->kind == PART_VIDEO ||
           part->kind == PART_FILE;
}

/* Media within the response, which models of 3 and later take. */
static void put_response_media(struct writing *w, const struct part *result)
{
    size_t begin = buffer_length(w->out);
    bool some = false;
    put_open(w->out, "parts", '[');
    for (size_t i = 0; i < result->part_count; i++) {
        const struct part *part = &result->parts[i];
        if (part->kind == PART_TEXT)
            continue;
        size_t before = buffer_length(w->out);
        put_open(w->out, NULL, '{');
        if (!is_media(part) || !put_media(w, part)) {
            gemini_cut_back(w->out, before);
            demand(w, "");
            continue;
        }
        put_literal(w->out, "}");
        some = true;
    }
    put_literal(w->out, "]");
    if (!some)
        gemini_cut_back(w->out, begin);
}

static struct text result_name(struct writing *w, const struct part *result)
{
    const struct part *call = result->name.len ? NULL : call_index_find(&w->calls, result->id);
    if (call)
        return call->name;
    return result->name.len ? result->name : result->id.len ? result->id : TEXT("unknown");
}

static void write_result(struct writing *w, const struct part *result)
{
    put_open(w->out, NULL, '{');
    put_open(w->out, "functionResponse", '{');
    put_id(w, result->id);
    put_inner(w->out, "name", result_name(w, result));
    put_response(w, result);
    if (w->own || w->levels)
        put_response_media(w, result);
    else
        w->late_media = true;
    put_literal(w->out, "}}");
}

/* Media of responses, which older models take only beside them. */
static void write_late_media(struct writing *w, const struct message *message)
{
    for (size_t i = 0; w->late_media && i < message->part_count; i++) {
        const struct part *result = &message->parts[i];
        for (size_t j = 0; result->kind == PART_RESULT && j < result->part_count; j++) {
            w->part = i;
            if (is_media(&result->parts[j]))
                write_media(w, &result->parts[j]);
            else if (result->parts[j].kind != PART_TEXT)
                demand(w, "");
        }
    }
    w->late_media = false;
}

/* ------------------------------------------------------------------------------------ parts */

static void write_text(struct writing *w, const struct part *part)
{
    if (!part->text.len && !part->signature.len && !w->signature.len && !w->own)
        return; /* refused, and says nothing */
    put_open(w->out, NULL, '{');
    put_inner(w->out, "text", part->text.at ? part->text : TEXT(""));
    put_signature(w, part->signature);
    put_literal(w->out, "}");
    if (part->kind == PART_REFUSAL)
        hint(w, ".refusal");
    if (part->citation_count && !w->own)
        hint(w, ".citations");
}

static void write_reasoning(struct writing *w, const struct part *part)
{
    struct text signature = part->signature;
    if (!w->own && signature.len && is_foreign(signature)) {
        signature = (struct text){NULL, 0};
        hint(w, ".signature");
    }
    if (part->encrypted.len)
        hint(w, ".encrypted");
    if (!part->text.len && !w->own) {
        w->signature = signature;
        return;
    }
    put_open(w->out, NULL, '{');
    put_inner(w->out, "text", part->text.at ? part->text : TEXT(""));
    put_json(w->out, "thought", TEXT("true"));
    put_signature(w, signature);
    put_literal(w->out, "}");
}

static void write_part(struct writing *w, const struct part *part)
{
    if (w->own && part->raw.at) {
        put_comma(w->out);
        put_text(w->out, part->raw);
        return;
    }
    if (!json_is_absent(part->cache))
        hint(w, ".cache_control");
    switch (part->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        write_text(w, part);
        break;
    case PART_REASONING:
        write_reasoning(w, part);
        break;
    case PART_CALL:
        write_call(w, part);
        break;
    case PART_RESULT:
        write_result(w, part);
        break;
    case PART_IMAGE:
    case PART_AUDIO:
    case PART_VIDEO:
    case PART_FILE:
        write_media(w, part);
        break;
    case PART_RAW:
        demand(w, "");
        break;
    }
}

/* A signature that found no part to go with. */
static void flush_signature(struct writing *w)
{
    if (!w->signature.len)
        return;
    put_open(w->out, NULL, '{');
    put_inner(w->out, "text", TEXT(""));
    put_signature(w, (struct text){NULL, 0});
    put_literal(w->out, "}");
}

static void write_parts(struct writing *w, size_t i)
{
    const struct message *message = &w->chat->messages[i];
    w->message = i;
    for (w->part = 0; w->part < message->part_count; w->part++)
        write_part(w, &message->parts[w->part]);
    write_late_media(w, message);
    if (message->name.len)
        loss_hint(w->losses, "messages[%zu].name", i);
}

/* --------------------------------------------------------------------------------- messages */

static bool is_model(const struct message *message)
{
    return message->role == ROLE_ASSISTANT;
}

static bool has_results(const struct message *message)
{
    for (size_t i = 0; i < message->part_count; i++)
        if (message->parts[i].kind == PART_RESULT)
            return true;
    return message->role == ROLE_TOOL;
}

static bool is_system(const struct message *message)
{
    return message->role == ROLE_SYSTEM || message->role == ROLE_DEVELOPER;
}

/* Do both make one content? */
static bool joins(const struct writing *w, const struct message *a, const struct message *b)
{
    if (w->own)
        return false;
    return (is_model(a) && is_model(b)) || (has_results(a) && has_results(b));
}

/* How many messages at the front make the systemInstruction. */
static size_t count_system(const struct chat *chat)
{
    size_t count = 0;
    while (count < chat->message_count && is_system(&chat->messages[count]))
        count++;
    /* A call must have contents: what is nothing but instructions is said by the user. */
    return count < chat->message_count ? count : 0;
}

static void put_system(struct writing *w, size_t count)
{
    if (!count)
        return;
    put_open(w->out, "systemInstruction", '{');
    put_open(w->out, "parts", '[');
    for (size_t i = 0; i < count; i++)
        write_parts(w, i);
    put_literal(w->out, "]}");
}

/* One content, of the messages from <i> on that belong together; returns the next one. */
static size_t write_content(struct writing *w, size_t i)
{
    const struct message *messages = w->chat->messages;
    size_t begin = buffer_length(w->out);
    w->called = false;
    w->signature = (struct text){NULL, 0};
    put_open(w->out, NULL, '{');
    put_inner(w->out, "role", is_model(&messages[i]) ? TEXT("model") : TEXT("user"));
    put_open(w->out, "parts", '[');
    size_t inside = buffer_length(w->out);
    do {
        if (is_system(&messages[i]))
            loss_hint(w->losses, "messages[%zu].role", i);
        write_parts(w, i++);
    } while (i < w->chat->message_count && joins(w, &messages[i - 1], &messages[i]));
    flush_signature(w);
    if (buffer_length(w->out) == inside && !w->own)
        gemini_cut_back(w->out, begin);
    else
        put_literal(w->out, "]}");
    return i;
}

void gemini_put_contents(struct arena *arena, const struct chat *chat,
                         const struct call_target *target, struct buffer *out,
                         struct losses *losses)
{
    struct writing w = {.arena = arena,
                        .chat = chat,
                        .out = out,
                        .losses = losses,
                        .own = chat->from == &translator_gemini,
                        .levels = gemini_age_of(target->model) == GEMINI_LEVELS,
                        .calls = {.chat = chat}};
    size_t i = count_system(chat);
    put_system(&w, i);
    put_open(out, "contents", '[');
    while (i < chat->message_count)
        i = write_content(&w, i);
    put_literal(out, "]");
    call_index_done(&w.calls);
}
