/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/crossing.h"
#include "gateway/relay_inner.h"
#include "gateway/tries.h"
#include "gateway/worker_inside.h"

/* What was made of the target's bytes, at the ends of events. */
static void pass_translated(struct exchange *x, struct text made, bool last)
{
    struct sse_event event;
    bool noted = x->resume.state == RESUME_WATCHES || x->resume.goes_on;
    if (!relay_is_guarded(x) && !noted) {
        relay_give(x, made);
        return;
    }
    while (noted && sse_next(&made, &event))
        relay_pass_noted(x, &event, last && !made.len);
    if (noted) {
        relay_give(x, made); /* what is no event of this kind */
        return;
    }
    relay_pass_event(x, made, last);
    if (!x->guard_blocked)
        relay_leave_guarded(x);
}

static void fail_translated(struct exchange *x)
{
    *exchange_fault(x) = *translation_fault(x->translation);
    upstream_abandon(&x->upstream);
    x->facts.upstream = UPSTREAM_FAILED;
}

/* What is gathered may stand in x->translated_out, which begins anew. */
static struct buffer *begin_out(struct exchange *x)
{
    if (x->worker->gather.owner == x)
        relay_flush(x, false);
    buffer_clear(x->translated_out);
    return x->translated_out;
}

/* What failed inside the stream before anything of it has gone: is there another one to ask? */
static void claim_another(struct exchange *x)
{
    const struct fault *why = translation_fault(x->translation);
    if (!tries_claim(x, why->kind, 0) && why->kind == FAULT_TARGET_REFUSED)
        (void)tries_claim_refusal(x, refusal_read(RELAY_REFUSED, text_of(why->text)));
}

/* Pass on what was made in x->translated_out. */
static void take_made(struct exchange *x, enum translation_state state)
{
    struct buffer *out = x->translated_out;
    struct text made = buffer_text(out);
    size_t end_at = translation_end_at(x->translation);
    /* As long as the client has seen nothing, another target may be tried: then what came in front
     * of the failure is nothing either. Nor is what has a hole in it. */
    if (state == TRANSLATION_FAILED && !x->head_sent && x->answer.events == 0)
        claim_another(x);
    bool useless = state == TRANSLATION_FAILED && (!x->head_sent || out->overrun);
    if (!useless)
        pass_translated(x, text_head(made, end_at), false);
    if (x->guard_blocked || state == TRANSLATION_GOES || x->facts.upstream == UPSTREAM_FAILED)
        return;
    if (state == TRANSLATION_FAILED) {
        if (x->worker->gather.owner == x)
            relay_flush(x, false);
        fail_translated(x);
        return;
    }
    x->facts.last_held = true;
    pass_translated(x, text_from(made, end_at), true);
    relay_hold(x);
}

void relay_take_translated(struct exchange *x, struct text piece)
{
    if (!x->facts.last_held)
        take_made(x, translation_feed(x->translation, piece, begin_out(x)));
}

void relay_end_translated(struct exchange *x)
{
    if (!x->facts.last_held)
        take_made(x, translation_close(x->translation, begin_out(x)));
}

void relay_rest_translated(struct exchange *x, bool late)
{
    if (!x->facts.last_held)
        take_made(x, translation_rest(x->translation, !late, begin_out(x)));
}

void relay_translate_whole(struct exchange *x)
{
    struct buffer *out = x->translated_out;
    translation_feed(x->translation, x->whole, out);
    if (translation_close(x->translation, out) != TRANSLATION_ENDED) {
        fail_translated(x);
        return;
    }
    x->whole = buffer_text(out);
    x->length_out = (int64_t)x->whole.len;
}

static bool fail_restated(struct exchange *x)
{
    *exchange_fault(x) = *translation_fault(x->restating);
    upstream_abandon(&x->upstream);
    x->facts.last_held = false;
    x->facts.upstream = UPSTREAM_FAILED;
    return false;
}

bool relay_restate(struct exchange *x, struct text *passed)
{
    if (!x->restating)
        return true;
    buffer_clear(x->restated_out);
    if (translation_feed(x->restating, *passed, x->restated_out) == TRANSLATION_FAILED)
        return fail_restated(x);
    *passed = buffer_text(x->restated_out);
    return true;
}

bool relay_restate_whole(struct exchange *x)
{
    struct text whole = x->whole;
    if (!relay_restate(x, &whole))
        return false;
    if (x->restating && translation_close(x->restating, x->restated_out) != TRANSLATION_ENDED)
        return fail_restated(x);
    if (x->restating)
        x->whole = buffer_text(x->restated_out);
    x->length_out = (int64_t)x->whole.len;
    return true;
}
