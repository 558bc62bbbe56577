/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * oidc - asks an OpenID provider who somebody is that has come back from it: what it offers, the
 * tokens for his code, its keys, and where the ID token says too little its UserInfo. What it
 * offers, its keys and the ways to it, with the authorities it is checked by, are kept by each
 * worker for itself, for ten minutes; for five seconds after one that it could not be reached by.
 *
 * All of a sign-in has 20 seconds, an answer OIDC_ANSWER_MAX bytes, and a worker OIDC_FLOWS_MAX
 * sign-ins at once, OIDC_PEER_FLOWS_MAX of one address. Redirects are not followed. One thread.
 */

#include "gateway/base/list.h"
#include "gateway/base/loop.h"
#include "gateway/oidc_protocol.h"
#include "gateway/wire/upstream.h"

enum { OIDC_FLOWS_MAX = 32, OIDC_PEER_FLOWS_MAX = 4, OIDC_ANSWER_MAX = 256 << 10 };

struct oidc_issuer; /* what is known of one */

/* Of one worker. */
struct oidc {
    struct loop *loop;
    struct upstreams *upstreams;
    struct link flows; /* struct oidc_flow */
    struct oidc_told told;
    struct oidc_issuer *issuer; /* NULL = none was asked yet */
};

void oidc_init(struct oidc *oidc, struct loop *loop, struct upstreams *upstreams);
/* No flow is left. */
void oidc_done(struct oidc *oidc);

/* What came of it. */
enum oidc_outcome {
    OIDC_WAITS,
    OIDC_KNOWN,   /* only_provider: what it offers is known; else who it is */
    OIDC_FAILED,  /* the issuer, or the way to it */
    OIDC_REFUSED, /* what it says is not to be believed */
};

struct oidc_flow;

/* What a flow is to find out; texts are copied. */
struct oidc_question {
    const struct oidc_settings *settings; /* must stay until the flow is freed */
    bool only_provider;                   /* no more than what it offers */
    struct oidc_return back;
    bool names_itself;          /* iss stood in the issuer's answer, and was right (RFC 9207) */
    struct text peer;           /* the address of who asks */
    void (*on_end)(void *with); /* it waits no longer; not called from within oidc_begin() */
    void *with;
};

/* What the issuer offers, when that is known: nothing is to be asked. Until the loop goes on. */
const struct oidc_provider *oidc_known(struct oidc *oidc, const struct oidc_settings *settings);

/* NULL: too many are on their way. */
struct oidc_flow *oidc_begin(struct oidc *oidc, const struct oidc_question *question);
/* Give up, or be done with it; also from within on_end(). NULL is nothing. */
void oidc_end(struct oidc_flow *flow);

enum oidc_outcome oidc_outcome(const struct oidc_flow *flow);
/* What is wrong, for an operator, with OIDC_FAILED and OIDC_REFUSED. */
const char *oidc_why(const struct oidc_flow *flow);
/* With OIDC_KNOWN, until the flow is ended. */
const struct id_claims *oidc_claims(const struct oidc_flow *flow);
const struct oidc_provider *oidc_provider(const struct oidc_flow *flow);
