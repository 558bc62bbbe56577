/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/crossing.h"
#include "gateway/http/sse.h"
#include "gateway/relay_inner.h"
#include "gateway/worker_inside.h"

/* What was made of the target's bytes, at the ends of events. */
static void pass_translated(struct exchange *x, struct text made, bool last)
{
    struct sse_event event;
    if (!relay_is_guarded(x)) {
        relay_give(x, made);
        return;
    }
    while (!x->guard_blocked && sse_next(&made, &event))
        relay_pass_event(x, event.raw, last && !made.len);
    if (!x->guard_blocked)
        relay_leave_guarded(x);
}

static void fail_translated(struct exchange *x)
{
    x->fault = *translation_fault(x->translation);
    upstream_abandon(&x->upstream);
    x->facts.upstream = UPSTREAM_FAILED;
}

void relay_take_translated(struct exchange *x, struct text piece, bool end)
{
    struct buffer *out = &x->translated_out;
    if (x->facts.last_held)
        return;
    if (x->worker->gather.owner == x)
        relay_flush(x, false); /* it may stand in <out>, which begins anew */
    buffer_clear(out);
    enum translation_state state =
        end ? translation_close(x->translation, out) : translation_feed(x->translation, piece, out);
    struct text made = buffer_text(out);
    size_t end_at = translation_end_at(x->translation);
    pass_translated(x, text_head(made, end_at), false);
    if (x->guard_blocked || state == TRANSLATION_GOES)
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

void relay_translate_whole(struct exchange *x)
{
    struct buffer *out = &x->translated_out;
    translation_feed(x->translation, x->whole, out);
    if (translation_close(x->translation, out) != TRANSLATION_ENDED) {
        fail_translated(x);
        return;
    }
    x->whole = buffer_text(out);
    x->length_out = (int64_t)x->whole.len;
}
