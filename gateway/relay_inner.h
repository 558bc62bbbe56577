/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * relay_inner - what the files of the relay share: the head of an answer (relay_head), its events
 * (relay_events), other words (relay_crossing), what goes to the client (relay_out), and the way
 * from one to the next (relay). For these files only.
 */

#include "gateway/http/sse.h"
#include "gateway/relay.h"

enum {
    RELAY_ERROR_BYTES = 8192,         /* of an error's body that are read */
    RELAY_REFUSED = 400,              /* the status of a refusal that came inside a stream */
    RELAY_WHOLE_MAX = 256 * 1024,     /* an answer up to here is gathered and checked */
    RELAY_LIST_MAX = 8 * 1024 * 1024, /* a list of objects, which is filtered */
    RELAY_EVENT_MAX = 1024 * 1024,    /* an event up to here is held until it is whole */
};

/* --- relay.c --- */

/* An answer begins: where its object's name is needed, there is room for it. */
void relay_lend_id(struct exchange *x);

/* Is why a session ends for its client to know? Then it is told, and closed in good order. */
static inline bool relay_tells_session(const struct exchange *x)
{
    enum fault_kind why = exchange_why(x)->kind;
    return fault_rule(why)->status < 500 || why == FAULT_STORE_AWAY;
}

/* --- relay_out.c --- */

/* Send the head (when it has not gone yet), what is gathered, and the end of the framing. */
void relay_flush(struct exchange *x, bool end);
/* Borrow <piece> for the next flush. */
void relay_gather(struct exchange *x, struct text piece);
/* It goes to the client: others that listen, and the call's spans, get it, too. */
void relay_note_given(struct exchange *x, struct text bytes);
/* Tell whoever else listens what was kept early: it is this target's answer now. */
void relay_tell_early(struct exchange *x);
/* The same for bytes that are part of the answer, to whoever else listens to it. The beginning of a
 * stream that says nothing yet is kept while another target could be asked instead. */
void relay_give(struct exchange *x, struct text piece);
/* What was gathered does not go. */
void relay_forget(struct exchange *x);
/* Make x->ready usable. */
void relay_ready(struct exchange *x);

/* --- relay.c --- */

/* Count the time since the last news as ours. */
void relay_add_ours(struct exchange *x);

/* --- relay_events.c --- */

/* Whose words the answer is in. */
const struct dialect *relay_dialect(const struct exchange *x);
bool relay_is_good(const struct exchange *x);
/* Read the members that matter. False when it is not JSON at all. */
bool relay_watch_whole(struct exchange *x, struct text body);
void relay_feed_tap(struct exchange *x, struct text piece);
/* Do guardrails look at this answer? */
bool relay_is_guarded(struct exchange *x);
void relay_stop_guarded(struct exchange *x);
void relay_pass_event(struct exchange *x, struct text event, bool last);
/* The same, in the client's dialect, of a stream that may be continued elsewhere or is. */
void relay_pass_noted(struct exchange *x, const struct sse_event *event, bool last);
/* Pass on what the guardrails have let pass. */
void relay_leave_guarded(struct exchange *x);
/* The next piece of a stream of the client's own dialect. */
void relay_take_events(struct exchange *x, struct text piece);
/* Are these blanks behind what was left out, with nothing sent yet? Then they are no answer. */
bool relay_is_left_out(const struct exchange *x, struct text rest);

/* --- relay_crossing.c --- */

/* Translate a piece of the target's stream. Behind the end of the answer nothing comes any more. */
void relay_take_translated(struct exchange *x, struct text piece);
/* It has ended. */
void relay_end_translated(struct exchange *x);
/* It is silent: end it when it is whole by what came; <late>: even when its usage was not told. */
void relay_rest_translated(struct exchange *x, bool late);
/* Translate an answer that is whole. */
void relay_translate_whole(struct exchange *x);
/* What the guardrails have let pass, in the client's words where it was in others for them: of a
 * stream, to be given before the next call; and x->whole. False: that failed, and so has the try.
 */
bool relay_restate(struct exchange *x, struct text *passed);
bool relay_restate_whole(struct exchange *x);

/* --- relay_head.c --- */

/* The try on the present target has failed. */
void relay_fail(struct exchange *x, enum fault_kind kind, const char *words);
bool relay_is_json(struct text type);
/* An answer that is whole refuses the call: can another target, or a later time, cure that? Then
 * nothing of it goes to the client. */
bool relay_is_turned_away(struct exchange *x);
/* With which of the provider's keys does the call go? */
void relay_choose_key(struct exchange *x);
void relay_on_head(struct upstream_call *call, const struct head *head);
