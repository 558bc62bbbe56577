/* SPDX-License-Identifier: Apache-2.0 */

/* A whole body: its texts one after the other, and the body anew when one of them has changed. */

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/base/utf8.h"
#include "policy/guard_inside.h"

struct look {
    const struct guard *guard;
    uint64_t rules, schemas;
    struct guard_verdict *verdict;
    struct buffer *out;
    struct text rest; /* what is not copied to <out> yet */
    struct hunter *hunter;
    struct marks marks;
    unsigned last; /* the rule that has redacted last */
};

static bool rewrite(struct look *look, const struct found *found)
{
    size_t before = (size_t)(found->raw.at - look->rest.at);
    bool fits = buffer_append(look->out, look->rest.at, before) &&
                guard_rewrite(look->guard, &look->marks, found->raw, found->escaped, 0, look->out);
    look->rest = text_from(look->rest, before + found->raw.len);
    look->verdict->changed = true;
    look->last = look->marks.list[0].rule;
    return fits || guard_stop(look->guard, look->last, look->verdict);
}

static bool check_schemas(struct look *look, const struct found *found)
{
    char *plain = memory_new(found->raw.len + 1);
    struct text text = {plain, text_unescape(found->raw, plain)};
    bool passes = true;
    for (size_t i = 0; i < look->guard->count && passes; i++)
        if ((look->schemas >> i & 1) &&
            !schema_fits(look->guard->matchers[i].schema, text, look->hunter))
            passes = guard_match(look->guard, i, look->verdict);
    memory_free(plain);
    return passes;
}

static bool look_at(void *with, const struct found *found)
{
    struct look *look = with;
    if (found->kind == TEXT_DROP || found->kind == TEXT_FINISH)
        return true;
    if (look->schemas && found->kind == TEXT_ANSWER && !check_schemas(look, found))
        return false;
    look->marks.count = 0;
    if (!guard_hunt_whole(look->guard, look->rules, found, look->hunter, look->verdict,
                          &look->marks))
        return false;
    return look->marks.count == 0 || rewrite(look, found);
}

static bool is_utf8(struct text t)
{
    for (size_t at = 0, len; at < t.len; at += len)
        if ((len = utf8_length(t.at + at, t.len - at)) == 0)
            return false;
    return true;
}

/* What was redacted must not stand among the tokens. */
static void drop_tokens(struct look *look, enum text_set set)
{
    struct buffer again;
    buffer_init(&again, look->out->limit);
    if (guard_drop_tokens(set, buffer_text(look->out), &again)) {
        buffer_clear(look->out);
        buffer_append_text(look->out, buffer_text(&again)); /* shorter than before */
    }
    buffer_done(&again);
}

void guard_look(const struct guard *guard, uint64_t rules, enum guard_stage stage, struct text body,
                struct guard_verdict *verdict, struct buffer *out)
{
    enum text_set set = stage == GUARD_REQUEST ? TEXTS_OF_REQUESTS : TEXTS_OF_ANSWERS;
    *verdict = (struct guard_verdict){0};
    struct look look = {
        .guard = guard,
        .rules = guard_only(guard, rules, TYPES_OF_TEXT),
        .schemas = guard_only(guard, rules, TYPE_SCHEMA),
        .verdict = verdict,
        .out = out,
        .rest = body,
    };
    if (!(look.rules | look.schemas))
        return;
    look.hunter = hunter_new();
    struct found all = {.kind = TEXT_RAW, .raw = body};
    if (stage == GUARD_REQUEST || scan_is_valid(body))
        texts_find(set, body, look_at, &look);
    else if (is_utf8(body))
        look_at(&look, &all);
    if (verdict->blocks)
        verdict->changed = false;
    if (verdict->changed && !buffer_append_text(out, look.rest)) {
        guard_stop(guard, look.last, verdict);
        verdict->changed = false;
    }
    if (verdict->changed)
        drop_tokens(&look, set);
    else
        buffer_clear(out);
    marks_done(&look.marks);
    hunter_free(look.hunter);
}
