/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * realtime_tally - what the responses of a realtime session have used before their provider says
 * so: of what both sides send it counts how much a response reads and has written so far. Knows
 * only events; owns nothing; nothing in it fails. Figures are tokens.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"
#include "providers/call.h"

struct realtime_tally {
    int64_t context_most;           /* a conversation has no more; what is older falls out of it */
    bool is_pcm;                    /* sound is 16 bits at 24 kHz, else 8 bits at 8 kHz */
    unsigned open;                  /* responses that have begun and not ended */
    int64_t context, context_sound; /* of the conversation, as it was last counted */
    int64_t read;                   /* the most that one response has read */
    int64_t said_bytes, said_chars; /* by the client since: of text, and of sound in base64 */
    int64_t begun_bytes, begun_chars; /* the same, of what the open ones read besides */
    unsigned own_input;    /* responses that were asked for and may read something else instead */
    bool has_said;         /* something else than what its session is like */
    bool odd;              /* the client has changed what responses read besides */
    bool shrunk;           /* an item was deleted since a response has begun */
    bool fresh;            /* the only open one has begun after that, and reads what is left */
    bool unsure;           /* one of the open ones, or that were open with them, may have done so */
    int64_t words, events; /* written by those that are open: bytes, and in how many */
    int64_t sound_chars;   /* and of sound in base64 */
};

enum tally_says {
    TALLY_NOTHING,
    TALLY_MORE,  /* a response has begun, or written something */
    TALLY_ENDED, /* one has: realtime_tally_ended() */
};

/* <context_most> 0 = nobody knows. */
void realtime_tally_init(struct realtime_tally *tally, int64_t context_most);
/* One message of the client, which a response may read. One that only stops a response is none. */
void realtime_tally_said(struct realtime_tally *tally, struct text message);
/* So many bytes of the client's that could not be looked at: a message, which may ask for a
 * response, too, or <more> of the same one. */
void realtime_tally_unread(struct realtime_tally *tally, int64_t bytes, bool more);
/* One message of the provider. */
enum tally_says realtime_tally_heard(struct realtime_tally *tally, struct text message);
/* The one that has just ended, with <message>, used this; NULL = it does not say. */
void realtime_tally_ended(struct realtime_tally *tally, struct text message,
                          const struct usage *usage);

/* The most that those that are open have used so far; with <next>, and another one, that has
 * written nothing yet, if it began now. */
void realtime_tally_most(const struct realtime_tally *tally, bool next, struct usage *usage);
/* What those that are open have likely used. */
void realtime_tally_likely(const struct realtime_tally *tally, struct usage *usage);
