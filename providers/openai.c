/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/openai.h"

#include "gateway/base/member.h"
#include "gateway/base/memory.h"

/* ------------------------------------------------------------- what stands in one chunk */

/* What a look at a chunk found. A chunk of a stream is a few hundred bytes of which a handful
 * matter, and there are very many of them; so the chunk is not parsed: the look goes from colon to
 * colon, and judges by the name in front of it. */
struct look {
    bool usage, error; /* such a member stands somewhere, and is not null */
    bool spoken;       /* an object "audio" stands in it, whose "data" is sound */
    struct text finish;
    int64_t content_bytes;
    size_t sound_bytes; /* of base64 */
};

enum key { KEY_OTHER, KEY_CONTENT, KEY_FINISH, KEY_USAGE, KEY_ERROR, KEY_AUDIO, KEY_DATA };

/* A token is 50 ms of sound. Chats are streamed as 16 bits at 24 kHz; speech is MP3 unless it is
 * asked for otherwise, of 160 kbit/s. */
enum { CHAT_SOUND_BYTES = 3200, SPEECH_SOUND_BYTES = 1333 };

static bool is_name(const char *begin, const char *quote, const char *name, size_t len)
{
    return (size_t)(quote - begin) > len && quote[-1 - (ptrdiff_t)len] == '"' &&
           memcmp(quote - len, name, len) == 0;
}

#define IS(name) is_name(begin, quote, name, sizeof(name) - 1)

/* The name whose closing quote is at <quote>. Its last letter tells most of them apart. */
static enum key key_before(const char *begin, const char *quote)
{
    if (quote == begin)
        return KEY_OTHER;
    switch (quote[-1]) {
    case 't': /* also: object, system_fingerprint */
        return IS("content") || IS("text") || IS("reasoning_content") || IS("transcript") ||
                       IS("input")
                   ? KEY_CONTENT
                   : KEY_OTHER;
    case 'g':
        return IS("reasoning") || IS("thinking") ? KEY_CONTENT : KEY_OTHER;
    case 's':
        return IS("arguments") ? KEY_CONTENT : KEY_OTHER;
    case 'l':
        return IS("refusal") ? KEY_CONTENT : KEY_OTHER;
    case 'a':
        return IS("delta") ? KEY_CONTENT : IS("data") ? KEY_DATA : KEY_OTHER;
    case 'o':
        return IS("audio") ? KEY_AUDIO : KEY_OTHER;
    case 'n':
        return IS("finish_reason") ? KEY_FINISH : KEY_OTHER;
    case 'e':
        return IS("usage") ? KEY_USAGE : KEY_OTHER;
    case 'r':
        return IS("error") ? KEY_ERROR : KEY_OTHER;
    default:
        return KEY_OTHER;
    }
}

/* Note what the value behind a name is; returns where to go on. */
static const char *look_at_value(struct look *look, enum key key, const char *at, const char *end)
{
    if (at == end)
        return end;
    if (*at != '"') {
        look->usage |= key == KEY_USAGE && *at == '{';
        look->error |= key == KEY_ERROR && *at == '{';
        look->spoken |= key == KEY_AUDIO && *at == '{';
        return at;
    }
    const char *close = member_string_end(at, end);
    int64_t len = close - at - 1;
    if (key == KEY_CONTENT)
        look->content_bytes += len;
    else if (key == KEY_FINISH)
        look->finish = (struct text){at + 1, (size_t)len};
    else if (key == KEY_ERROR)
        look->error |= len > 0;
    else if (key == KEY_AUDIO || (key == KEY_DATA && look->spoken))
        look->sound_bytes += (size_t)len;
    return close;
}

static const char *skip_blank(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

static void look_at(struct look *look, struct text data)
{
    const char *begin = data.at, *end = data.at + data.len, *at = begin;
    while (at < end) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        if (colon == NULL)
            return;
        at = colon + 1;
        const char *quote = colon;
        while (quote > begin && (quote[-1] == ' ' || quote[-1] == '\t'))
            quote--;
        /* A quote with a backslash is inside a string: what is said there is not said here. */
        if (quote - begin < 3 || *--quote != '"' || quote[-1] == '\\')
            continue;
        enum key key = key_before(begin, quote);
        if (key != KEY_OTHER)
            at = look_at_value(look, key, skip_blank(at, end), end);
    }
}

/* ------------------------------------------------------------------------------ small parts */

static void copy_cut(char *to, size_t room, struct text from)
{
    size_t len = from.len < room ? from.len : room - 1;
    memcpy(to, from.at, len);
    to[len] = '\0';
}

static void note_finish(struct answer *answer, struct text reason)
{
    if (reason.len > 0)
        copy_cut(answer->finish, sizeof(answer->finish), reason);
}

static void note_content(struct answer *answer, int64_t bytes)
{
    if (bytes == 0)
        return;
    answer->events++;
    answer->content_bytes += bytes;
    if (answer->usage_seen) {
        answer->late_events++;
        answer->late_bytes += bytes;
    }
}

/* A response object tells whether it is kept ("store"); when it does not, whoever set <owns>
 * before has read it in the request. */
static void note_stored(struct answer *answer, struct text store)
{
    if (text_equal(store, TEXT("true")))
        answer->owns = true;
    else if (text_equal(store, TEXT("false")))
        answer->owns = false;
}

static enum event_verdict fail(struct answer *answer)
{
    answer->failed = true;
    return EVENT_FAIL;
}

/* ------------------------------------------------------------- chat and completion chunks */

/* The usage of a chunk, wherever it may stand. */
static struct text chunk_usage(struct text data)
{
    struct text usage = member_find(data, TEXT("usage"));
    if (usage.len == 0 || usage.at[0] != '{') /* Groq, when it was not asked for one */
        usage = member_find(member_find(data, TEXT("x_groq")), TEXT("usage"));
    if (usage.len == 0) { /* Moonshot */
        struct text choices = member_find(data, TEXT("choices")), name, choice;
        if (member_next(&choices, &name, &choice))
            usage = member_find(choice, TEXT("usage"));
    }
    return usage;
}

static bool has_no_choices(struct text data)
{
    struct text choices = member_find(data, TEXT("choices")), name, choice;
    return choices.len > 0 && choices.at[0] == '[' && !member_next(&choices, &name, &choice);
}

static enum event_verdict watch_chunk(struct answer *answer, struct text data)
{
    struct look look = {0};
    look_at(&look, data);
    note_content(answer, look.content_bytes);
    answer_note_sound(answer, look.sound_bytes, CHAT_SOUND_BYTES);
    if (look.finish.len > 0) {
        note_finish(answer, look.finish);
        answer->ended = true; /* some servers send no [DONE] */
    }
    if (look.error && member_is_something(member_find(data, TEXT("error"))))
        return fail(answer);
    if (!look.usage)
        return EVENT_PASS;
    openai_read_usage(answer, chunk_usage(data));
    answer_note_service(answer, member_string(member_find(data, TEXT("service_tier"))));
    bool is_extra = answer->hide_usage && has_no_choices(data);
    return is_extra && member_find(data, TEXT("usage")).len > 2 ? EVENT_HIDE : EVENT_PASS;
}

/* --------------------------------------------------------------------- events with a type */

bool response_is_search(struct text type, struct text action)
{
    return text_equal(type, TEXT("web_search_call")) &&
           (action.len == 0 || text_equal(action, TEXT("search")));
}

static bool is_search(struct text item)
{
    struct text action = member_find(item, TEXT("action"));
    return response_is_search(member_string(member_find(item, TEXT("type"))),
                              member_string(member_find(action, TEXT("type"))));
}

int64_t response_searches(struct text response)
{
    struct text items = member_find(response, TEXT("output")), name, item;
    bool is_list = items.len && items.at[0] == '[';
    int64_t count = 0;
    while (is_list && member_next(&items, &name, &item))
        count += is_search(item);
    return count;
}

static void read_response(struct answer *answer, struct text response)
{
    struct text name, value, tools = {NULL, 0};
    while (member_next(&response, &name, &value)) {
        if (text_equal(name, TEXT("id")))
            answer_note_id(answer, member_string(value));
        else if (text_equal(name, TEXT("store")))
            note_stored(answer, value);
        else if (text_equal(name, TEXT("service_tier")))
            answer_note_service(answer, member_string(value));
        else if (text_equal(name, TEXT("usage")))
            openai_read_usage(answer, value);
        else if (text_equal(name, TEXT("tool_usage")))
            tools = value;
    }
    openai_add_tools(answer, tools);
}

/* The event that ends a response: completed, incomplete (with a reason), failed, cancelled. */
static enum event_verdict end_response(struct answer *answer, struct text data, struct text how)
{
    struct text response = member_find(data, TEXT("response"));
    read_response(answer, response);
    int64_t searches = response_searches(response);
    if (searches < answer->searches) /* some send no items at the end */
        searches = answer->searches;
    if (searches > answer->usage.searches)
        answer->usage.searches = searches;
    note_finish(answer, how);
    struct text details = member_find(response, TEXT("incomplete_details"));
    note_finish(answer, member_string(member_find(details, TEXT("reason"))));
    answer->failed = text_equal(how, TEXT("failed"));
    answer->ended = true;
    return EVENT_LAST;
}

static bool is_picture_due(const struct answer *answer)
{
    return answer->pictures_done < answer->pictures_due;
}

/* Each of a call's pictures has an event of its own, with what it has used. */
static enum event_verdict end_media(struct answer *answer, struct text data)
{
    struct usage before = answer->usage;
    answer->usage = (struct usage){.service = before.service};
    openai_read_usage(answer, member_find(data, TEXT("usage")));
    usage_add(&answer->usage, &before);
    note_finish(answer, TEXT("completed"));
    answer->ended = true;
    answer->pictures_done++;
    return is_picture_due(answer) ? EVENT_PASS : EVENT_LAST;
}

static bool is_end_of_response(struct text type)
{
    static const struct text ends[] = {
        {"completed", 9}, {"incomplete", 10}, {"failed", 6}, {"cancelled", 9}, {"done", 4}};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (text_equal(type, ends[i]))
            return true;
    return false;
}

static bool is_end_of_media(struct text type)
{
    return text_equal(type, TEXT("transcript.text.done")) ||
           text_equal(type, TEXT("speech.audio.done")) ||
           text_equal(type, TEXT("image_generation.completed")) ||
           text_equal(type, TEXT("image_edit.completed"));
}

/* A picture is paid for whole as soon as there is something of it. Several of a response each begin
 * to be made, several of a call have a first part each. */
static void note_picture(struct answer *answer, struct text type, struct text data)
{
    bool begins = text_equal(type, TEXT("response.image_generation_call.generating"));
    if (text_ends(type, TEXT(".partial_image")))
        begins = answer->pictures == 0 ||
                 (answer->operation == OPERATION_IMAGE &&
                  text_equal(member_find(data, TEXT("partial_image_index")), TEXT("0")));
    answer->pictures += begins;
}

/* Of a responses, image, audio or realtime stream: what matters is in a few types of events. */
static enum event_verdict watch_typed(struct answer *answer, struct text type, struct text data)
{
    static const struct text response = {"response.", 9};
    if (text_ends(type, TEXT(".delta"))) {
        struct look look = {0};
        look_at(&look, data);
        note_content(answer, look.content_bytes);
        answer_note_sound(answer, look.sound_bytes, SPEECH_SOUND_BYTES);
        return EVENT_PASS;
    }
    if (text_equal(type, TEXT("error")))
        return fail(answer);
    note_picture(answer, type, data);
    if (is_end_of_media(type))
        return end_media(answer, data);
    if (!text_starts(type, response))
        return EVENT_PASS;
    struct text what = text_from(type, response.len);
    if (is_end_of_response(what))
        return end_response(answer, data, what);
    if (text_equal(what, TEXT("created")))
        read_response(answer, member_find(data, TEXT("response")));
    else if (text_equal(what, TEXT("output_item.done")))
        answer->searches += is_search(member_find(data, TEXT("item")));
    return EVENT_PASS;
}

static bool has_types(enum operation operation)
{
    return operation == OPERATION_RESPONSE || operation == OPERATION_IMAGE ||
           operation == OPERATION_SPEECH || operation == OPERATION_TRANSCRIPTION ||
           operation == OPERATION_REALTIME;
}

/* The type of an event: by its "event:" line, else (some gateways leave it out) by its data. */
static struct text event_type(const struct sse_event *event, struct text data)
{
    static const struct text usual = {"{\"type\":\"", 9};
    if (event->name.len > 0)
        return event->name;
    if (!text_starts(data, usual))
        return member_string(member_find(data, TEXT("type")));
    struct text type = text_from(data, usual.len);
    return text_head(type, text_find_byte(type, '"'));
}

/* --------------------------------------------------------------------------------- the door */

static enum event_verdict watch_data(struct answer *answer, const struct sse_event *event,
                                     struct text data)
{
    bool typed = has_types(answer->operation);
    if (text_equal(data, TEXT("[DONE]"))) {
        /* Did it come after the event that ended all? */
        bool again = typed && answer->ended && !is_picture_due(answer);
        answer->ended = true;
        return again ? EVENT_PASS : EVENT_LAST;
    }
    if (text_equal(event->name, TEXT("error")))
        return fail(answer);
    struct text type = typed ? event_type(event, data) : TEXT("");
    return type.len > 0 ? watch_typed(answer, type, data) : watch_chunk(answer, data);
}

/* Data on several lines (nobody sends it, everybody may): put together again with the newlines. */
static enum event_verdict watch_lines(struct answer *answer, const struct sse_event *event)
{
    char *joined = memory_new(event->raw.len + 1);
    size_t len = 0;
    struct text rest = event->raw;
    while (rest.len > 0) {
        size_t line_len = 0;
        while (line_len < rest.len && rest.at[line_len] != '\n' && rest.at[line_len] != '\r')
            line_len++;
        struct text line = text_head(rest, line_len);
        rest = text_from(rest, line_len + 1);
        if (!text_starts(line, TEXT("data:")))
            continue;
        line = text_from(line, line.len > 5 && line.at[5] == ' ' ? 6 : 5);
        memcpy(joined + len, line.at, line.len);
        len += line.len;
        joined[len++] = '\n';
    }
    struct text data = {joined, len > 0 ? len - 1 : 0};
    enum event_verdict verdict = watch_data(answer, event, data);
    memory_free(joined);
    return verdict;
}

static enum event_verdict watch_event(struct answer *answer, const struct sse_event *event)
{
    if (event->lines == 1)
        return watch_data(answer, event, event->data);
    return event->lines == 0 ? EVENT_PASS : watch_lines(answer, event);
}

enum want {
    WANT_USAGE,
    WANT_ID,
    WANT_ERROR,
    WANT_STORE,
    WANT_STATUS,
    WANT_META,
    WANT_SERVICE,
    WANT_DURATION,
    WANT_TOOLS,
    WANTS
};

static const struct text wants[WANTS] = {
    [WANT_USAGE] = {"usage", 5},           [WANT_ID] = {"id", 2},
    [WANT_ERROR] = {"error", 5},           [WANT_STORE] = {"store", 5},
    [WANT_STATUS] = {"status", 6},         [WANT_META] = {"meta", 4},
    [WANT_SERVICE] = {"service_tier", 12}, [WANT_DURATION] = {"duration", 8},
    [WANT_TOOLS] = {"tool_usage", 10},
};

static void watch_body(struct answer *answer, const struct scan_value *values)
{
    answer->ended = true;
    if (values[WANT_USAGE].kind == SCAN_OBJECT)
        openai_read_usage(answer, values[WANT_USAGE].raw);
    if (values[WANT_TOOLS].kind == SCAN_OBJECT && answer->operation == OPERATION_RESPONSE)
        openai_add_tools(answer, values[WANT_TOOLS].raw);
    if (values[WANT_META].kind == SCAN_OBJECT && answer->operation == OPERATION_RERANK)
        openai_read_meta(answer, values[WANT_META].raw);
    if (values[WANT_DURATION].kind != SCAN_ABSENT && answer->operation == OPERATION_TRANSCRIPTION)
        openai_read_duration(answer, values[WANT_DURATION].raw);
    if (values[WANT_SERVICE].kind == SCAN_STRING)
        answer_note_service(answer, member_string(values[WANT_SERVICE].raw));
    if (values[WANT_ID].kind == SCAN_STRING)
        answer_note_id(answer, member_string(values[WANT_ID].raw));
    if (values[WANT_STATUS].kind == SCAN_STRING)
        note_finish(answer, member_string(values[WANT_STATUS].raw));
    if (values[WANT_ERROR].kind == SCAN_OBJECT || values[WANT_ERROR].kind == SCAN_STRING)
        answer->failed = member_is_something(values[WANT_ERROR].raw);
    if (answer->operation == OPERATION_RESPONSE)
        note_stored(answer, values[WANT_STORE].raw);
    else if (answer->operation == OPERATION_FILE || answer->operation == OPERATION_BATCH)
        answer->owns = true;
    answer->owns = answer->owns && answer_has_id(answer);
}

const struct dialect dialect_openai = {
    .name = {"openai", 6},
    .last_event = {"data: [DONE]\n\n", 14},
    .watch_event = watch_event,
    .wants = wants,
    .want_count = WANTS,
    .watch_body = watch_body,
    .read_error = openai_read_error,
    .to_events = openai_to_events,
    .to_body = openai_to_body,
};

void answer_note_id(struct answer *answer, struct text id)
{
    if (!answer->object_id || id.len == 0 || id.len >= ANSWER_ID_BYTES)
        return;
    memcpy(answer->object_id, id.at, id.len);
    answer->object_id[id.len] = '\0';
}

void answer_note_sound(struct answer *answer, size_t bytes, int64_t of_token)
{
    answer->sound_tokens += ((int64_t)bytes + of_token - 1) / of_token;
}

void answer_note_service(struct answer *answer, struct text word)
{
    if (service_tier_read(word, &answer->service))
        answer->service_seen = true;
}

int64_t answer_estimate(const struct answer *answer)
{
    int64_t by_bytes = (answer->content_bytes + 3) / 4;
    return answer->events > by_bytes ? answer->events : by_bytes;
}

int64_t answer_surely(const struct answer *answer)
{
    int64_t by_bytes = answer->content_bytes / 4;
    return answer->events < by_bytes ? answer->events : by_bytes;
}
