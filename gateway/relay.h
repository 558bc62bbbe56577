/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * relay - the way of an answer from the target to the client: watched, framed anew, held back at
 * its end until it is booked. Inside gateway.
 */

#include "gateway/exchange.h"

/* What an exchange's upstream call reports to. */
extern const struct upstream_handlers relay_handlers;

/* Begin the call on the exchange's target. */
void relay_begin(struct exchange *x);

/* The answer comes from another exchange (replay.h): its head, its bytes, its end. <length> are all
 * its bytes, -1 = not known; a piece of so many stays where it is as long as the exchange runs.
 * With <is_known> x->answer is filled in already, and the bytes were looked at when they were kept.
 */
void relay_replay_head(struct exchange *x, unsigned status, struct text type, bool stream,
                       int64_t length);
void relay_replay_piece(struct exchange *x, struct text piece);
void relay_replay_end(struct exchange *x, bool is_known);
/* Is the beginning of a stream kept, because it says nothing yet and another target could be asked?
 */
bool relay_keeps_early(const struct exchange *x);
/* What a target has said by this status, which is none of a good answer. */
enum fault_kind relay_refusal(unsigned status);
/* Does so much wait for the client that no more should be read? */
bool relay_is_full(const struct exchange *x);

/* The webhooks that were asked about the answer have spoken: go by it. */
void relay_guarded(struct exchange *x);

/* The exchange is booked: send the end of its answer. */
void relay_end(struct exchange *x);
/* It must wait until its line is on the disk: keep what is borrowed. */
void relay_hold(struct exchange *x);
/* Set the answer to an error of ours (nothing was sent yet); relay_end() sends it. */
void relay_refuse(struct exchange *x);
/* The answer broke off after its head was sent: end it so that the client can tell. */
void relay_break(struct exchange *x);
/* Send what is gathered. */
void relay_give_out(struct exchange *x);
/* Forget what a try has brought, before the next one. */
void relay_reset(struct exchange *x);

/* The target is silent: when (in the loop's time) is it to be asked whether its answer is whole? 0
 * = it is not. */
uint64_t relay_rests_by(const struct exchange *x);
/* Is it whole by what came - is there all but the end of the stream? Then it ends here, and so does
 * the upstream's connection; some servers leave it open. <late>: it is not waited for its usage any
 * longer. False when more must come. */
bool relay_rest(struct exchange *x, bool late);

/* Send a comment into a silent stream, so that nobody on the way takes it for dead. */
void relay_ping(struct exchange *x);

/* Our own part of the time so far, in microseconds: what was not spent waiting for others. */
uint64_t relay_ours(const struct exchange *x, uint64_t now);

/* The client's queue has shrunk. */
void relay_room(struct exchange *x);
/* The protocols were switched: tell the client, and read what it sends from now on. */
void relay_tunnel_begin(struct exchange *x);
/* A session may not go on: <piece>, the last that came of it, is passed on, and then the fault. */
void relay_end_session(struct exchange *x, struct text piece);
/* What a tunnel's target has said and was kept back goes to the client. */
void relay_tunnel_give(struct exchange *x, struct text bytes);
/* Bytes of the client for a tunnel; false to stop reading. */
bool relay_tunnel(struct exchange *x, struct text bytes);
