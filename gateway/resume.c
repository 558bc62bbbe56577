/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/resume.h"

#include <assert.h>
#include <string.h>

#include "gateway/admission.h"
#include "gateway/base/member.h"
#include "gateway/detour.h"
#include "gateway/guarding.h"
#include "gateway/relay.h"
#include "gateway/reserve.h"
#include "gateway/tries.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"

enum { SAID_MAX = 1024 * 1024 };

/* What is kept of an answer that may be continued. */
struct resumable {
    struct buffer said;  /* the inside of a JSON string */
    struct buffer plain; /* the call as it came, when it was made one that goes on */
    int64_t plain_bytes; /* its length; 0 = it was not */
    size_t at;           /* in the body: where the message with what was said ends; 0 = nowhere */
    struct text blank;   /* the white space at the end of what was said, in JSON's escapes */
    size_t blank_again;  /* so much of it has been said again */
    bool joined;         /* what is said now stands behind it as it ought to */
    bool begun;          /* the one that goes on has said more than a beginning */
};

/* ------------------------------------------------------------------------------ who can do it */

static const struct route *route_of(const struct exchange *x)
{
    return x->detour ? x->detour : x->route;
}

/* What stands beside the message is said in the client's own words only. */
static bool goes_on(const struct exchange *x, const struct target *target)
{
    return target->prefill == PREFILL_ASSISTANT ||
           (target->prefill != PREFILL_NONE && target->provider->dialect == x->dialect &&
            x->match.shape == SHAPE_OPENAI);
}

/* Bits of those that cannot, or are out of order. */
static uint64_t unable(const struct exchange *x)
{
    const struct route *route = route_of(x);
    uint64_t bits = 0;
    for (size_t i = 0; i < route->target_count; i++)
        if (route->targets[i].off || !goes_on(x, &route->targets[i]))
            bits |= UINT64_C(1) << i;
    return bits;
}

static bool is_plain_call(struct exchange *x)
{
    bool shape = x->match.shape == SHAPE_OPENAI || x->match.shape == SHAPE_ANTHROPIC;
    return x->call.operation == OPERATION_CHAT && x->call.choices <= 1 && x->call.stream && shape &&
           !x->odd_body && x->dialect && !x->dialect->next_event &&
           x->match.endpoint->body == BODY_JSON && !guarding_watches(x);
}

void resume_watch(struct exchange *x)
{
    if (x->resume.state != RESUME_UNKNOWN || x->attempts == 0)
        return;
    x->resume.state = RESUME_NOT;
    if (!x->route || x->pinned || x->upload || x->tries_left == 0 || ruling_policy(x)->no_resume ||
        !is_plain_call(x))
        return;
    uint64_t out = x->tried | unable(x);
    if (!tries_find_well(x, out))
        return;
    x->resume.state = RESUME_WATCHES;
    x->resume.more = arena_new(&x->arena, sizeof(*x->resume.more));
    buffer_init(&x->resume.more->said, SAID_MAX);
}

/* --------------------------------------------------------------------------- what is said */

static void say(struct exchange *x, struct text inside)
{
    if (!buffer_append_text(&x->resume.more->said, inside))
        x->resume.state = RESUME_NOT;
}

static bool is_nothing(struct text value)
{
    return !value.len || text_equal(value, TEXT("null")) || text_equal(value, TEXT("\"\"")) ||
           text_equal(value, TEXT("[]")) || text_equal(value, TEXT("{}"));
}

/* A delta of OpenAI's: text, and nothing else that would have to be said again. */
static void note_delta(struct exchange *x, struct text delta)
{
    struct text name, value;
    while (delta.len && member_next(&delta, &name, &value)) {
        if (text_equal(name, TEXT("content")) && member_string(value).at)
            say(x, member_string(value));
        else if (!text_equal(name, TEXT("role")) && !is_nothing(value))
            x->resume.state = RESUME_NOT;
    }
}

static void note_chunk(struct exchange *x, struct text data)
{
    struct text choices = member_find(data, TEXT("choices")), name, choice;
    for (int i = 0; choices.len && member_next(&choices, &name, &choice); i++) {
        if (i > 0 || !text_equal(member_find(choice, TEXT("index")), TEXT("0")) ||
            !is_nothing(member_find(choice, TEXT("logprobs"))))
            x->resume.state = RESUME_NOT;
        note_delta(x, member_find(choice, TEXT("delta")));
    }
}

static struct text type_of(const struct sse_event *event)
{
    return event->name.len ? event->name : member_string(member_find(event->data, TEXT("type")));
}

static void note_block(struct exchange *x, struct text type, struct text data)
{
    bool first = text_equal(member_find(data, TEXT("index")), TEXT("0"));
    if (text_equal(type, TEXT("content_block_start"))) {
        struct text block = member_find(data, TEXT("content_block"));
        if (!first || !text_equal(member_string(member_find(block, TEXT("type"))), TEXT("text")))
            x->resume.state = RESUME_NOT;
    } else if (text_equal(type, TEXT("content_block_delta"))) {
        struct text delta = member_find(data, TEXT("delta"));
        struct text text = member_string(member_find(delta, TEXT("text")));
        if (!first || !text.at)
            x->resume.state = RESUME_NOT;
        else
            say(x, text);
    }
}

void resume_note(struct exchange *x, const struct sse_event *event)
{
    if (x->resume.state != RESUME_WATCHES || !event->data.len)
        return;
    if (event->lines > 1) /* only the first of them is read here */
        x->resume.state = RESUME_NOT;
    else if (x->match.shape == SHAPE_ANTHROPIC)
        note_block(x, type_of(event), event->data);
    else
        note_chunk(x, event->data);
}

bool resume_drops(struct exchange *x, const struct sse_event *event)
{
    if (!x->resume.goes_on || x->resume.more->begun)
        return false;
    if (x->match.shape == SHAPE_ANTHROPIC) {
        struct text type = type_of(event);
        bool begins = text_equal(type, TEXT("message_start")) ||
                      text_equal(type, TEXT("content_block_start")) ||
                      text_equal(type, TEXT("ping"));
        x->resume.more->begun = !begins;
        return begins;
    }
    return x->answer.events == 0 && !x->answer.ended && event->data.len && event->data.at[0] == '{';
}

/* ------------------------------------------------------------------------------- the joint */

/* White space in JSON's escapes: so many bytes of it stand at the beginning. */
static size_t blank_at(struct text inside)
{
    bool escape = inside.len >= 2 && inside.at[0] == '\\' &&
                  (inside.at[1] == 'n' || inside.at[1] == 't' || inside.at[1] == 'r');
    return escape ? 2 : inside.len > 0 && inside.at[0] == ' ' ? 1 : 0;
}

static struct text blank_end(struct text inside)
{
    size_t from = 0;
    for (size_t i = 0; i < inside.len;) {
        size_t blank = blank_at(text_from(inside, i));
        i += blank ? blank : inside.at[i] == '\\' ? 2 : 1;
        if (!blank)
            from = i;
    }
    return text_from(inside, from);
}

static bool is_all_blank(const struct exchange *x)
{
    return x->resume.more->blank.len == buffer_length(&x->resume.more->said);
}

size_t resume_blank(const struct exchange *x)
{
    bool must = x->resume.more && x->target->prefill == PREFILL_ASSISTANT;
    return must ? x->resume.more->blank.len : 0;
}

static struct text words_of(const struct exchange *x, const struct sse_event *event)
{
    struct text none = {NULL, 0}, name, choice;
    if (x->match.shape == SHAPE_ANTHROPIC)
        return member_string(member_find(member_find(event->data, TEXT("delta")), TEXT("text")));
    struct text choices = member_find(event->data, TEXT("choices"));
    if (!choices.len || !member_next(&choices, &name, &choice))
        return none;
    return member_string(member_find(member_find(choice, TEXT("delta")), TEXT("content")));
}

/* How many bytes of <words>, which go on, are white space that the client has had. What stood there
 * is said again as it was, and then more of it, or it is said in other ways: then all of it goes.
 */
static size_t said_again(struct resumable *resume, struct text words)
{
    size_t cut = 0, blank;
    while ((blank = blank_at(text_from(words, cut))) != 0) {
        struct text left = text_from(resume->blank, resume->blank_again);
        if (!left.len) {
            resume->joined = true;
            return cut;
        }
        if (text_starts(left, (struct text){words.at + cut, blank}))
            resume->blank_again += blank;
        cut += blank;
    }
    resume->joined = cut < words.len;
    return cut;
}

/* Without the bytes from <from> up to <until>, which stand in its data. */
static void cut_out(struct exchange *x, struct sse_event *event, const char *from,
                    const char *until)
{
    struct text raw = event->raw;
    size_t before = (size_t)(from - raw.at), behind = (size_t)(raw.at + raw.len - until);
    char *bytes = arena_take(&x->arena, before + behind);
    memcpy(bytes, raw.at, before);
    memcpy(bytes + before, until, behind);
    struct text all = {bytes, before + behind};
    bool read = sse_next(&all, event);
    assert(read);
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Who said it is said once: SDKs put the pieces of a message together as they come. */
static void drop_role(struct exchange *x, struct sse_event *event)
{
    struct text choices = member_find(event->data, TEXT("choices")), name, choice, value;
    if (event->lines != 1 || !choices.len || !member_next(&choices, &name, &choice))
        return;
    struct text delta = member_find(choice, TEXT("delta")), rest = delta;
    do {
        if (!rest.len || !member_next(&rest, &name, &value))
            return;
    } while (!text_equal(name, TEXT("role")));
    const char *from = name.at - 1, *until = value.at + value.len, *end = delta.at + delta.len;
    while (until < end && is_blank(*until))
        until++;
    if (until < end && *until == ',') {
        until++;
    } else { /* it is the last one: the comma is in front */
        while (from > delta.at && is_blank(from[-1]))
            from--;
        from -= from > delta.at && from[-1] == ',';
    }
    cut_out(x, event, from, until);
}

void resume_join(struct exchange *x, struct sse_event *event)
{
    struct resumable *resume = x->resume.more;
    if (!x->resume.goes_on)
        return;
    if (!resume->begun && x->match.shape == SHAPE_OPENAI)
        drop_role(x, event);
    resume->begun = true;
    bool is_cut = resume_blank(x) > 0 || is_all_blank(x);
    if (resume->joined || !resume->blank.len || !is_cut || event->lines != 1)
        return;
    struct text words = words_of(x, event);
    size_t cut = words.len ? said_again(resume, words) : 0;
    if (!cut)
        return;
    cut_out(x, event, words.at, words.at + cut);
}

/* ------------------------------------------------------------------------------- going on */

static bool may_be_cured(enum fault_kind kind)
{
    return kind == FAULT_TARGET_CUT || kind == FAULT_TARGET_SLOW || kind == FAULT_TARGET_DOWN ||
           kind == FAULT_TARGET_ERROR || kind == FAULT_TARGET_BUSY ||
           kind == FAULT_TARGET_INVALID || kind == FAULT_TARGET_REFUSED;
}

bool resume_may(struct exchange *x)
{
    uint64_t end = waits_end_us(x);
    return x->resume.state == RESUME_WATCHES && x->head_sent && !x->facts.client_gone &&
           x->client && !x->unwatched && !x->answer.ended && !x->facts.last_held &&
           x->tries_left > 0 && buffer_length(&x->body) > 0 &&
           !(end && loop_now_us(x->worker->loop) >= end) &&
           tries_find_well(x, x->tried | unable(x));
}

/* Where the last message stands: the first byte behind it is where another one may come. */
static size_t end_of_messages(struct text body, struct text *last)
{
    struct text messages = member_find(body, TEXT("messages")), name;
    if (!messages.len || messages.at[0] != '[')
        return 0;
    struct text rest = messages;
    while (member_next(&rest, &name, last))
        continue;
    return (size_t)(messages.at + messages.len - 1 - body.at);
}

/* The call as it came, and behind its messages what was said. */
static bool write_call(struct exchange *x)
{
    struct text whole = buffer_text(&x->body), last = {NULL, 0};
    struct buffer out;
    if (x->resume.more->plain_bytes) /* it was made to go on before */
        whole = buffer_text(&x->resume.more->plain);
    size_t at = end_of_messages(whole, &last);
    if (!at || !last.at)
        return false;
    buffer_init(&out, SIZE_MAX / 2); /* the body, and SAID_MAX */
    buffer_append_text(&out, text_head(whole, at));
    x->resume.more->blank = arena_copy(&x->arena, blank_end(buffer_text(&x->resume.more->said)));
    x->resume.more->blank_again = 0;
    x->resume.more->joined = x->resume.more->begun = false;
    x->resume.more->at = 0;
    if (!is_all_blank(x)) { /* of nothing but white space none goes on: it begins anew */
        buffer_append_text(&out, TEXT(",{\"role\":\"assistant\",\"content\":\""));
        buffer_append_text(&out, buffer_text(&x->resume.more->said));
        buffer_append_text(&out, TEXT("\""));
        x->resume.more->at = buffer_length(&out);
        buffer_append_text(&out, TEXT("}"));
    }
    buffer_append_text(&out, text_from(whole, at));
    if (!x->resume.more->plain_bytes) {
        x->resume.more->plain = x->body;
        x->resume.more->plain_bytes = x->body_bytes;
    } else {
        buffer_done(&x->body);
    }
    x->body = out;
    x->seeking->chat = NULL; /* it is read anew, where it crosses */
    x->seeking->unreadable = x->seeking->uncrossed = NULL;
    x->seeking->crossed_count = 0;
    buffer_done(&x->seeking->translated_body);
    x->seeking->translated_body.limit = 0;
    return admission_read(x);
}

size_t resume_at(const struct exchange *x)
{
    return x->resume.more ? x->resume.more->at : 0;
}

bool resume_begin(struct exchange *x)
{
    struct fault why = *exchange_why(x);
    if (!may_be_cured(why.kind) || !resume_may(x) ||
        !tries_pay(x, tries_find_well(x, x->tried | unable(x))))
        return false;
    relay_give_out(x);
    if (!reserve_input(x, (int64_t)buffer_length(&x->resume.more->said)) || !write_call(x)) {
        *exchange_fault(x) = why;
        return false;
    }
    *exchange_fault(x) = why;
    x->tried |= unable(x);
    x->resume.goes_on = true;
    x->again = AGAIN_OTHER;
    x->again_at_us = 0;
    metrics_count(x->worker->metrics, COUNTER_RESUMED, 1);
    return true;
}

void resume_forget(struct exchange *x)
{
    if (!x->resume.more)
        return;
    buffer_done(&x->resume.more->said);
    buffer_done(&x->resume.more->plain);
}
