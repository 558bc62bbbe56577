/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * webhook - asks somebody else's service whether texts may pass. Inside gateway.
 *
 * Each webhook rule of a guard names a URL. What is asked of it, in one POST:
 *
 *   {"stage":"request","tenant":"acme","key":"ci","model":"fast","request_id":"req_…",
 *    "texts":["…"]}
 *
 * and what it answers, with status 200 and at most WEBHOOK_ANSWER_MAX bytes:
 *
 *   {"action":"allow|block|redact|flag","message":"…","texts":["…"]}
 *
 * `message` (of block) is what the caller is told; `texts` (of redact) replaces those of the
 * question, as many. All else - another status, a time-out, no JSON, another number of texts - is a
 * failure, for which the rule's on_error says what happens. Rules are asked one after the other, in
 * the order of the configuration; the next one sees what the one before has redacted. A rule whose
 * own action is `flag` only notes what is answered.
 *
 * Connections are direct (no proxy), never to link-local or metadata addresses, and kept.
 */

#include "gateway/base/buffer.h"
#include "gateway/base/loop.h"
#include "gateway/wire/upstream.h"
#include "policy/guard.h"

enum { WEBHOOK_ANSWER_MAX = 1024 * 1024, WEBHOOK_MESSAGE_MAX = 200 };

/* The places of all webhooks of <guard> (NULL: none), for one worker and one configuration. Calls
 * may outlive it, but not the guard. */
struct webhooks;
struct webhooks *webhooks_new(struct loop *loop, struct upstreams *upstreams,
                              const struct guard *guard);
void webhooks_free(struct webhooks *webhooks);
/* Which of <rules> (bits) are webhooks. */
uint64_t webhooks_among(const struct webhooks *webhooks, uint64_t rules);

/* What is to be asked: embedded in its owner, zeroed, and the first part filled in. */
struct webhook_call {
    struct webhooks *webhooks;
    uint64_t rules; /* only the webhooks among them are asked */
    enum guard_form form;
    struct text body; /* borrowed until it is done */
    struct text tenant, key, model, request_id;
    /* Once, perhaps from within webhook_ask(). The call may be given up and its owner buried. */
    void (*done)(struct webhook_call *call);

    /* The verdict, when it is done: <rule> is the one that blocks. Texts live until
     * webhook_forget(). */
    struct guard_verdict verdict;
    bool failed; /* it blocks because it could not be asked */
    char message[WEBHOOK_MESSAGE_MAX + 1];
    struct buffer out; /* the new body, when verdict.changed */

    struct webhook_state *state; /* while it is asked */
};

/* Ask them all, then call done(). */
void webhook_ask(struct webhook_call *call);
/* Give up, or give back what a call that is done has in it. Twice is once. */
void webhook_forget(struct webhook_call *call);
