/* SPDX-License-Identifier: Apache-2.0 */
/* monster.h: the older way, of a deployment's own endpoint. */
#include <string.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "providers/monster.h"
#include "providers/openai.h"
#include "providers/openai_chat.h"

enum {
    TEXTS_MAX = 128,
    SO_FAR_MAX = TRANSLATED_ANSWER_MAX,
    /* A stream says each time all there is. It says it again when that has grown by one part in so
     * many, so that a long answer is no longer on the wire than so many times itself. */
    GROWTH_PARTS = 64,
};

/* ---------------------------------------------------------------------------------- the call */

/* What the client's data model says of a call that says nothing. */
static const struct text temperature_unsaid = {"0.6", 3};

static bool is_conversation(const struct chat *chat)
{
    return chat->message_count > 1 ||
           (chat->message_count == 1 &&
            (chat->messages[0].role != ROLE_USER || chat->messages[0].part_count != 1));
}

static bool read_call(struct arena *arena, const struct call_source *source, struct chat *chat,
                      struct fault *fault)
{
    if (!monster_read_call(arena, source, chat, fault, true))
        return false;
    if (!chat->temperature.at)
        chat->temperature = temperature_unsaid;
    if (!is_conversation(chat))
        return true;
    fault_set(fault, FAULT_BAD_REQUEST,
              "'messages' are not for this path: ask chat/completions, or give a prompt.");
    fault->param = "messages";
    return false;
}

/* A conversation is no prompt: what is more than one text of a user is not said. */
static void write_prompt(const struct chat *chat, struct buffer *out, struct losses *losses)
{
    const struct message *last = &chat->messages[chat->message_count ? chat->message_count - 1 : 0];
    if (chat->message_count != 1)
        loss_demand(losses, "messages");
    put_literal(out, "{\"prompt\":\"");
    for (size_t i = 0; chat->message_count && i < last->part_count; i++) {
        if (last->parts[i].kind == PART_TEXT)
            put_text(out, last->parts[i].text);
        else
            loss_demand(losses, "messages[%zu].content[%zu]", chat->message_count - 1, i);
    }
    put_literal(out, "\"");
}

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    static const struct provider_type plain = {.name = {"", 0}};
    struct call_writing w = {.arena = arena,
                             .chat = chat,
                             .target = target,
                             .type = &plain,
                             .own = &translator_monster_endpoint,
                             .out = out,
                             .losses = losses};
    int64_t tokens = openai_max_tokens(&w);
    write_prompt(chat, out, losses);
    if (tokens > 0)
        put_number(out, "max_tokens", tokens);
    put_json(out, "temperature", chat->temperature);
    if (chat->choices > 1)
        put_number(out, "n", chat->choices);
    if (target->stream)
        put_literal(out, ",\"stream\":true");
    monster_lose(&w);
    loss_fields(losses, chat, &translator_monster_endpoint);
    put_literal(out, "}");
}

/* -------------------------------------------------------------------------------- the answer */

/* What was said of each choice so far, inner. It lives in the arena: what grows leaves its old
 * place behind, so a place is twice as large as the one before. */
struct so_far {
    char *at;
    size_t len, room;
};

struct endpoint_writer {
    struct writer_state base;
    struct so_far *texts;
    size_t count, room;
    size_t bytes, told; /* of all texts: now, and when they were last told */
    bool too_long;
};

static struct so_far *choice_of(struct endpoint_writer *w, unsigned number)
{
    if (number >= TEXTS_MAX)
        return NULL;
    while (w->count <= number) {
        w->texts = arena_grow(&w->base.arena, w->texts, w->count, &w->room, sizeof(*w->texts));
        w->texts[w->count++] = (struct so_far){.at = NULL};
    }
    return &w->texts[number];
}

static void add(struct endpoint_writer *w, struct so_far *to, struct text more)
{
    if (more.len > SO_FAR_MAX - w->bytes) {
        w->too_long = true;
        return;
    }
    if (to->len + more.len > to->room) {
        size_t room = 2 * (to->len + more.len);
        char *at = arena_take(&w->base.arena, room);
        if (to->len)
            memcpy(at, to->at, to->len);
        to->at = at;
        to->room = room;
    }
    memcpy(to->at + to->len, more.at, more.len);
    to->len += more.len;
    w->bytes += more.len;
}

static void tell(struct endpoint_writer *w, struct buffer *out)
{
    put_literal(out, "{\"text\":[");
    for (size_t i = 0; i < w->count; i++)
        put_item(out, w->texts[i].len ? (struct text){w->texts[i].at, w->texts[i].len} : TEXT(""));
    put_literal(out, "]}");
    buffer_append(out, "", 1);
    w->told = w->bytes;
}

static void write_event(void *state, const struct answer_event *event, struct buffer *out)
{
    struct endpoint_writer *w = state;
    bool says = event->kind == ANSWER_TEXT && monster_is_text(event->part_kind) && event->text.len;
    if (event->kind == ANSWER_PART)
        choice_of(w, event->choice);
    if (says && choice_of(w, event->choice))
        add(w, choice_of(w, event->choice), event->text);
    if (w->too_long)
        out->overrun = true;
    else if (event->kind == ANSWER_END || (says && w->bytes - w->told > w->bytes / GROWTH_PARTS))
        tell(w, out);
}

/* A JSON text within a JSON string. */
static void write_whole(const struct answer_way *way, struct arena *arena,
                        const struct whole_answer *whole, struct buffer *out)
{
    struct buffer inside;
    (void)way;
    (void)arena;
    buffer_init(&inside, 2 * (size_t)TRANSLATED_ANSWER_MAX);
    monster_write_texts(whole, &inside);
    put_literal(out, "\"");
    put_json_inner(out, buffer_text(&inside));
    put_literal(out, "\"");
    out->overrun |= inside.overrun;
    buffer_done(&inside);
}

/* ------------------------------------------------------------------------- the answer, read */

static void fail(struct answer_sink *sink)
{
    struct answer_event event = {.kind = ANSWER_FAIL,
                                 .fault = FAULT_TARGET_INVALID,
                                 .text = {"The target's answer has no texts in it.", 39}};
    sink->take(sink, &event);
}

/* No target is asked for a stream in these words. */
static void read_frame(void *state, const struct frame *frame, struct answer_sink *sink)
{
    (void)state;
    (void)frame;
    fail(sink);
}

static void read_body(void *state, struct text body, struct answer_sink *sink)
{
    struct reader_state *reader = state;
    struct text inner = scan_is_valid(body) ? member_string(text_trim(body)) : TEXT("");
    struct text inside = inner_plain(&reader->arena, inner);
    if (inside.len && scan_is_valid(inside))
        monster_say_texts(member_find(inside, TEXT("text")), sink);
    else
        fail(sink);
}

const struct translator translator_monster_endpoint = {
    .name = {"monster-endpoint", 16},
    .dialect = {"monster", 7},
    .operation = OPERATION_COMPLETION,
    .is_bare = true,
    .read_call = read_call,
    .write_call = write_call,
    .write_path = monster_write_path,
    .headers = {"", 0},
    .framing = FRAMING_LINES,
    .reader_bytes = sizeof(struct reader_state),
    .read_frame = read_frame,
    .read_body = read_body,
    .read_end = monster_read_end,
    .read_error = openai_read_error,
    .stream_type = {"application/octet-stream", 24},
    .writer_bytes = sizeof(struct endpoint_writer),
    .write_event = write_event,
    .write_whole = write_whole,
};
