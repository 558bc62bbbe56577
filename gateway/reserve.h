/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * reserve - what a call is allowed to use: its way through policy's limits. Which limits concern
 * it, what it may use at most, what is held for it, what its client is told about that, and what it
 * used in the end.
 */

#include "gateway/base/buffer.h"
#include "gateway/exchange.h"

/*
 * Hold what the call may use, of every limit that concerns it, or nothing. GRANTED: go on;
 * REFUSED or AWAY: the exchange's fault says why; WAITS: facts.reserve_known comes later.
 * <free_of_charge>: the answer is there already, and takes no tokens and no money.
 */
enum reserve_result reserve_begin(struct exchange *x, bool free_of_charge);
/* The same for an answer that came later: sets the fault. */
enum reserve_result reserve_answered(struct exchange *x);

/* What would be held is put together in x->reservation; nothing is asked or held. False: the fault
 * says why it cannot be made. */
bool reserve_imagine(struct exchange *x);
/* Why <reservation> was refused: by uses[refused], for retry_after_us. Words in <arena>. */
void reserve_say_refused(const struct reservation *reservation, struct arena *arena,
                         struct fault *fault);
/* With x-sluice-explain: a header line with what is left of each limit of the call, beside what it
 * holds itself. */
void reserve_put_explained(struct exchange *x, struct buffer *out);

/* For hold.c: try once more. */
void reserve_again(struct exchange *x);

/* A budget of `degrade` is exceeded: of the route's targets only the cheapest may be tried. */
void reserve_degrade(struct exchange *x);

/* Has the stream stayed within what is held for it, or could more be held? False: it must end; the
 * fault says why. */
bool reserve_watch(struct exchange *x);

/* A try of this usage and cost was given up, is booked by itself, and settled with the call: hold
 * for it, too. False when there is no room, not even for a shorter next try. */
bool reserve_beside(struct exchange *x, const struct usage *usage, int64_t cost_nanos);
/* The call may go to <route>'s targets instead of its model's: hold what they may cost beyond what
 * is held; an answer that may be longer than the model's is held for, or made no longer. False when
 * there is no room for it. */
bool reserve_detour(struct exchange *x, const struct route *route);
/* A further try reads <tokens> more than the call has: hold what they may cost. */
bool reserve_input(struct exchange *x, int64_t tokens);
/* A second target is asked beside the first: hold what that may cost at most. False when there is
 * no room. reserve_beside() of the one that loses takes it from there. */
bool reserve_hedge(struct exchange *x);
/* It was not booked after all. */
void reserve_beside_not(struct exchange *x, const struct usage *usage, int64_t cost_nanos);

enum session_result {
    SESSION_HELD,
    SESSION_ASKS,  /* the store is asked for more: ask here again soon */
    SESSION_SHORT, /* the same, and what is held does not suffice: nothing may be used until then */
    SESSION_ENDS,  /* there is no more */
};
/* A response of a session (a WebSocket) was booked: the budget must pay for another two such, a
 * strict window of tokens allow them, and no other one be full. If it ENDS the fault says why. */
enum session_result reserve_session(struct exchange *x, const struct usage *usage,
                                    int64_t cost_nanos);
/* The same, later. */
enum session_result reserve_session_again(struct exchange *x);
/* Its responses under way, and with <next> another one, have used so much so far, at most: it must
 * be held, of money and strict windows, beside what those before have used. ENDS, with the fault:
 * it is not to be had. ASKS: it is held; what the next moments will need is asked for. SHORT lasts
 * some of the store's timeouts at most. */
enum session_result reserve_session_running(struct exchange *x, const struct usage *usage,
                                            bool next);
/* What a response has used is only counted: nothing comes after it. */
void reserve_session_used(struct exchange *x, const struct usage *usage, int64_t cost_nanos);

/* Count what was used and give the rest back; <row> is what is booked. Also when nothing is held.
 */
void reserve_settle(struct exchange *x, const struct ledger_row *row);
/* What went on after its call was settled: did uses[i] take a budget over one of its marks, by
 * used[i]? Then it is said. */
void reserve_warn(struct worker *worker, struct reservation *r, const struct used *used);
/* Give all of it back: nothing was used, and it will be asked for anew. */
void reserve_return(struct exchange *x);
/* Nobody waits for an answer any more. */
void reserve_forget(struct exchange *x);

/* What is known of the call besides its body, for an estimate. */
void reserve_facts(const struct exchange *x, struct estimate_facts *facts);
/* What the length of answers is learnt under for this key (estimate_facts.key). */
uint64_t reserve_key_hash(const struct key *key);
/* The most that the call may use. */
void reserve_bound(const struct exchange *x, struct usage *usage);
/* Put in that, and what it costs at the present target: for the ledger's opening line, and for what
 * nobody sees the end of. */
void reserve_row(const struct exchange *x, struct ledger_row *row);
/* Put in what a call has likely used whose tokens nobody told; <usage> is what was said of it
 * before its end, which is the least. Of a stream what was seen tells. An
 * answer in one piece that was <cut> was not seen: it is taken for as long as such answers are, and
 * to have searched as often as the call allows. */
void reserve_expect(const struct exchange *x, bool cut, struct usage *usage);
/* Pieces that are priced one by one and booked where the answer does not say how many: images by
 * their number, speech by its characters, sound by its seconds, rankings by their searches. */
int64_t reserve_units(const struct exchange *x);
/* How many pictures a call may be answered with; of others, how many choices. */
int64_t reserve_pictures(const struct exchange *x);

/* Does a budget of the call's key, tenants or end user that does more than warn concern <route> (or
 * NULL)? Before anything is held, too. */
bool reserve_has_budget(const struct exchange *x, const struct route *route);
/* How many tokens the call may have. */
const struct estimate *reserve_estimate(struct exchange *x);
/* Header lines: our limits' state in the names of the client's dialect. Nothing where there are no
 * limits. */
void reserve_put_headers(struct exchange *x, struct buffer *out);
/* Does one of our limits give this header line of a provider (a name in lower or upper case)? Then
 * the provider's own is not shown. */
bool reserve_replaces(const struct exchange *x, struct text name);
/* Header lines of a refusal: retry-after and its like; in the exchange's arena. */
struct text reserve_refusal_lines(struct exchange *x);
