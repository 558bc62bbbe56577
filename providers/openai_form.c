/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The openai dialect: one answer in its two forms, a JSON body (chat.completion, text_completion)
 * and a stream of chunks, each made of the other. For kept answers: what was asked for as a stream
 * may be asked for again as a whole. What the other form cannot say (log probabilities cut across
 * chunks, more choices than one) is not converted at all.
 */
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "providers/openai.h"

enum { CALLS_MAX = 128, FIELDS_MAX = 32, PIECE_MAX = 16 << 20 };

static void put(struct buffer *out, struct text t)
{
    buffer_append_text(out, t);
}

static bool is_null(struct text value)
{
    return value.at == NULL || text_equal(value, TEXT("null"));
}

/* A value as it came, on one line: many servers write their JSON on several, and each line of an
 * event is one of its own. In JSON no line ends inside a string. */
static void put_value(struct buffer *out, struct text value)
{
    for (size_t at = 0; at < value.len;) {
        size_t from = at;
        while (at < value.len && value.at[at] != '\n' && value.at[at] != '\r')
            at++;
        buffer_append(out, value.at + from, at - from);
        while (at < value.len && (value.at[at] == '\n' || value.at[at] == '\r'))
            at++;
    }
}

static void put_member(struct buffer *out, struct text name, struct text value)
{
    put(out, TEXT("\""));
    put(out, name);
    put(out, TEXT("\":"));
    put_value(out, value);
}

/* --------------------------------------------------------------------------- into a stream */

/* What stands around the choices, the same in each chunk. */
static void put_chunk_begin(struct buffer *out, struct text body, bool chat)
{
    struct text rest = body, name, value;
    put(out, TEXT("data: {"));
    while (member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("choices")) || text_equal(name, TEXT("usage")))
            continue;
        if (text_equal(name, TEXT("object")) && chat)
            value = TEXT("\"chat.completion.chunk\"");
        put_member(out, name, value);
        put(out, TEXT(","));
    }
}

/* In a delta each call of a tool says which one it is. */
static void put_calls(struct buffer *out, struct text calls)
{
    struct text none, call, name, value;
    unsigned index = 0;
    put(out, TEXT("["));
    while (member_next(&calls, &none, &call)) {
        buffer_format(out, "%s{\"index\":%u", index ? "," : "", index);
        while (member_next(&call, &name, &value)) {
            put(out, TEXT(","));
            put_member(out, name, value);
        }
        put(out, TEXT("}"));
        index++;
    }
    put(out, TEXT("]"));
}

static void put_delta(struct buffer *out, struct text message)
{
    struct text name, value;
    bool first = true;
    put(out, TEXT("{"));
    while (member_next(&message, &name, &value)) {
        bool calls = text_equal(name, TEXT("tool_calls"));
        if (calls && is_null(value))
            continue;
        put(out, first ? TEXT("") : TEXT(","));
        first = false;
        if (!calls) {
            put_member(out, name, value);
            continue;
        }
        put(out, TEXT("\"tool_calls\":"));
        put_calls(out, value);
    }
    put(out, TEXT("}"));
}

static void put_choice(struct buffer *out, struct text choice, bool chat, bool last)
{
    struct text finish = member_find(choice, TEXT("finish_reason"));
    put(out, TEXT("\"choices\":[{\"index\":0,"));
    if (chat && last)
        put(out, TEXT("\"delta\":{}"));
    else if (chat) {
        put(out, TEXT("\"delta\":"));
        put_delta(out, member_find(choice, TEXT("message")));
    } else
        put_member(out, TEXT("text"), last ? TEXT("\"\"") : member_find(choice, TEXT("text")));
    struct text logprobs = member_find(choice, TEXT("logprobs"));
    put(out, TEXT(",\"logprobs\":"));
    put_value(out, last || is_null(logprobs) ? TEXT("null") : logprobs);
    put(out, TEXT(",\"finish_reason\":"));
    put_value(out, last && finish.at ? finish : TEXT("null"));
    put(out, TEXT("}]}\n\n"));
}

/* The one choice of an answer; false when there are others. */
static bool only_choice(struct text body, struct text *choice)
{
    struct text choices = member_find(body, TEXT("choices")), name, more;
    return choices.at && member_next(&choices, &name, choice) &&
           !member_next(&choices, &name, &more);
}

bool openai_to_events(struct text body, bool usage, struct buffer *out)
{
    struct text choice;
    if (!only_choice(body, &choice))
        return false;
    bool chat = member_find(choice, TEXT("message")).at != NULL;
    if (!chat && !member_find(choice, TEXT("text")).at)
        return false;
    for (int last = 0; last < 2; last++) {
        put_chunk_begin(out, body, chat);
        put_choice(out, choice, chat, last);
    }
    struct text figures = member_find(body, TEXT("usage"));
    if (usage && !is_null(figures)) {
        put_chunk_begin(out, body, chat);
        put(out, TEXT("\"choices\":[],\"usage\":"));
        put_value(out, figures);
        put(out, TEXT("}\n\n"));
    }
    put(out, TEXT("data: [DONE]\n\n"));
    return true;
}

/* ----------------------------------------------------------------------------- into a body */

/* A string that comes in pieces: joined as JSON writes it, without its quotes. */
struct joined {
    struct text name; /* of the member */
    struct buffer bytes;
    bool seen;
};

struct tool_call {
    struct text id, type, name;
    struct joined arguments;
    bool seen;
};

struct whole {
    struct text first; /* the first chunk: what stands around the choices */
    struct text role, finish, usage;
    struct joined fields[FIELDS_MAX]; /* content, refusal, reasoning … of the message; or text */
    size_t field_count;
    struct tool_call *calls; /* CALLS_MAX */
    size_t call_count;
    bool chat, bad;
};

/* False: it is longer than can be kept. */
static bool join(struct joined *joined, struct text piece)
{
    if (!joined->bytes.limit)
        buffer_init(&joined->bytes, PIECE_MAX);
    joined->seen = true;
    return buffer_append_text(&joined->bytes, piece);
}

static struct joined *field_named(struct whole *whole, struct text name)
{
    for (size_t i = 0; i < whole->field_count; i++)
        if (text_equal(whole->fields[i].name, name))
            return &whole->fields[i];
    if (whole->field_count == FIELDS_MAX)
        return NULL;
    whole->fields[whole->field_count].name = name;
    return &whole->fields[whole->field_count++];
}

static void join_field(struct whole *whole, struct text name, struct text piece)
{
    struct joined *field = field_named(whole, name);
    if (!field || !join(field, piece))
        whole->bad = true;
}

static void take_call(struct whole *whole, struct text part)
{
    int64_t index = 0;
    member_count(member_find(part, TEXT("index")), CALLS_MAX, &index);
    if (index >= CALLS_MAX) {
        whole->bad = true;
        return;
    }
    if (!whole->calls)
        whole->calls = memory_new(CALLS_MAX * sizeof(*whole->calls));
    struct tool_call *call = &whole->calls[index];
    struct text function = member_find(part, TEXT("function"));
    struct text id = member_find(part, TEXT("id")), type = member_find(part, TEXT("type"));
    struct text name = member_find(function, TEXT("name"));
    if (!is_null(id))
        call->id = id;
    if (!is_null(type))
        call->type = type;
    if (!is_null(name) && name.len > 2)
        call->name = name;
    struct text arguments = member_string(member_find(function, TEXT("arguments")));
    if (arguments.at && !join(&call->arguments, arguments))
        whole->bad = true;
    call->seen = true;
    if ((size_t)index + 1 > whole->call_count)
        whole->call_count = (size_t)index + 1;
}

static void take_delta(struct whole *whole, struct text delta)
{
    struct text name, value, none, part;
    while (member_next(&delta, &name, &value)) {
        struct text string = member_string(value);
        if (text_equal(name, TEXT("role"))) {
            whole->role = string.at ? value : whole->role;
        } else if (text_equal(name, TEXT("tool_calls"))) {
            while (member_next(&value, &none, &part))
                take_call(whole, part);
        } else if (string.at) {
            join_field(whole, name, string);
        } else if (!is_null(value)) {
            whole->bad = true; /* something that nobody here knows how to join */
        }
    }
}

static void take_chunk(struct whole *whole, struct text chunk)
{
    struct text choices = member_find(chunk, TEXT("choices")), none, choice;
    struct text usage = member_find(chunk, TEXT("usage"));
    if (!whole->first.at)
        whole->first = chunk;
    if (!is_null(usage))
        whole->usage = usage;
    while (choices.at && member_next(&choices, &none, &choice)) {
        struct text index = member_find(choice, TEXT("index"));
        struct text delta = member_find(choice, TEXT("delta"));
        struct text text = member_string(member_find(choice, TEXT("text")));
        struct text finish = member_find(choice, TEXT("finish_reason"));
        whole->bad = whole->bad || (index.at && !text_equal(index, TEXT("0"))) ||
                     !is_null(member_find(choice, TEXT("logprobs")));
        if (delta.at) {
            whole->chat = true;
            take_delta(whole, delta);
        } else if (text.at) {
            join_field(whole, TEXT("text"), text);
        }
        if (!is_null(finish))
            whole->finish = finish;
    }
}

static void put_joined(struct buffer *out, struct joined *joined)
{
    put(out, TEXT("\""));
    put(out, buffer_text(&joined->bytes));
    put(out, TEXT("\""));
}

static void put_tool_calls(struct buffer *out, const struct whole *whole)
{
    const char *between = ",\"tool_calls\":[";
    for (size_t i = 0; i < whole->call_count; i++) {
        struct tool_call *call = &whole->calls[i];
        if (!call->seen)
            continue;
        put(out, text_of(between));
        between = ",";
        put(out, TEXT("{\"id\":"));
        put(out, call->id.at ? call->id : TEXT("null"));
        put(out, TEXT(",\"type\":"));
        put(out, call->type.at ? call->type : TEXT("\"function\""));
        put(out, TEXT(",\"function\":{\"name\":"));
        put(out, call->name.at ? call->name : TEXT("\"\""));
        put(out, TEXT(",\"arguments\":"));
        put_joined(out, &call->arguments);
        put(out, TEXT("}}"));
    }
    if (whole->call_count)
        put(out, TEXT("]"));
}

static void put_message(struct buffer *out, struct whole *whole)
{
    bool content = false;
    put(out, TEXT("\"message\":{\"role\":"));
    put(out, whole->role.at ? whole->role : TEXT("\"assistant\""));
    for (size_t i = 0; i < whole->field_count; i++) {
        struct joined *field = &whole->fields[i];
        bool is_content = text_equal(field->name, TEXT("content"));
        content = content || is_content;
        put(out, TEXT(",\""));
        put(out, field->name);
        put(out, TEXT("\":"));
        /* A call of tools begins with an empty content, which is none. */
        if (is_content && !buffer_length(&field->bytes) && whole->call_count)
            put(out, TEXT("null"));
        else
            put_joined(out, field);
    }
    if (!content)
        put(out, TEXT(",\"content\":null"));
    put_tool_calls(out, whole);
    put(out, TEXT("}"));
}

static void put_whole(struct buffer *out, struct whole *whole)
{
    struct text rest = whole->first, name, value;
    put(out, TEXT("{"));
    while (member_next(&rest, &name, &value)) {
        if (text_equal(name, TEXT("choices")) || text_equal(name, TEXT("usage")) ||
            text_equal(name, TEXT("obfuscation")))
            continue;
        if (text_equal(name, TEXT("object")) && whole->chat)
            value = TEXT("\"chat.completion\"");
        put_member(out, name, value);
        put(out, TEXT(","));
    }
    put(out, TEXT("\"choices\":[{\"index\":0,"));
    if (whole->chat) {
        put_message(out, whole);
    } else {
        put(out, TEXT("\"text\":"));
        put_joined(out, field_named(whole, TEXT("text")));
    }
    put(out, TEXT(",\"logprobs\":null,\"finish_reason\":"));
    put(out, whole->finish.at ? whole->finish : TEXT("null"));
    put(out, TEXT("}]"));
    if (whole->usage.at) {
        put(out, TEXT(",\"usage\":"));
        put(out, whole->usage);
    }
    put(out, TEXT("}"));
}

bool openai_to_body(struct text events, struct buffer *out)
{
    struct whole whole = {.role = {NULL, 0}};
    struct sse_event event;
    while (sse_next(&events, &event)) {
        if (event.lines > 1)
            whole.bad = true;
        else if (event.lines == 1 && text_starts(event.data, TEXT("{")))
            take_chunk(&whole, event.data);
    }
    bool good = whole.first.at && !whole.bad && whole.finish.at;
    if (good)
        put_whole(out, &whole);
    for (size_t i = 0; i < whole.field_count; i++)
        buffer_done(&whole.fields[i].bytes);
    for (size_t i = 0; i < whole.call_count; i++)
        buffer_done(&whole.calls[i].arguments.bytes);
    memory_free(whole.calls);
    return good;
}
