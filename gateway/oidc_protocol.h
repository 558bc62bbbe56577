/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * oidc_protocol - what is said between us, a browser and an OpenID provider when somebody signs in
 * to the dashboard: as functions without sockets, for oidc.c and oidc_page.c.
 *
 * Written against: OpenID Connect Core 1.0 (3.1), OpenID Connect Discovery 1.0 (3, 4), RFC 6749
 * (2.3.1, 4.1, 5), RFC 7636 (PKCE), RFC 9207 (iss in the answer), RFC 9700 (best current practice).
 *
 * A sign-in is known by its ticket, the time, random bytes and a MAC of both, which only the
 * browser keeps, in a cookie: who has not begun here has none. State, nonce and code verifier are
 * digests of it: nobody gets from one to another, and nothing is kept here until the browser is
 * back.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/hash.h"
#include "gateway/config/config.h"
#include "policy/id_token.h"

struct upstream_pool;

enum {
    OIDC_TICKET_BYTES = 20 + 1 + HEX_BYTES + HEX_BYTES,
    OIDC_TICKET_S = 600,     /* so long somebody may take at the issuer's */
    OIDC_DERIVED_BYTES = 44, /* 32 bytes in base64url, and a NUL */
    OIDC_WORDS_BYTES = 320,
};

/* ------------------------------------------------------------------------- the ticket */

void oidc_ticket_write(const struct digest *secret, int64_t now_s, char ticket[OIDC_TICKET_BYTES]);
/* Was it made with <secret>, to the letter, and in the last OIDC_TICKET_S? */
bool oidc_ticket_is_good(const struct digest *secret, struct text ticket, int64_t now_s);

enum oidc_derived { OIDC_STATE, OIDC_NONCE, OIDC_VERIFIER };
void oidc_derive(struct text ticket, enum oidc_derived what, char out[OIDC_DERIVED_BYTES]);
/* The challenge to a verifier (S256). */
void oidc_challenge(const char *verifier, char out[OIDC_DERIVED_BYTES]);

/* ------------------------------------------------------------------------- the provider */

/* Where something is asked for. */
struct oidc_endpoint {
    struct url url;     /* its scheme, host and port */
    struct text target; /* path and query; never empty */
};
/* https, or http on loopback; without a user or a fragment. Borrows from <address>. */
bool oidc_read_endpoint(struct text address, struct oidc_endpoint *endpoint);

/* Append where a provider says what it offers. */
void oidc_put_discovery(const char *issuer, struct buffer *out);

/* What it offers; texts in its arena. */
struct oidc_provider {
    struct arena arena;
    struct text authorization;                  /* its address, checked */
    struct oidc_endpoint token, jwks, userinfo; /* userinfo.target empty: it has none */
    bool takes_basic, takes_post;               /* how a client shows its secret */
    bool names_itself;                          /* iss stands in its answers */
    bool is_near; /* it is itself reached by http on loopback: only then its endpoints may be so */
};
/* NULL and *why, OIDC_WORDS_BYTES of words, when <document> is none of <issuer>. */
struct oidc_provider *oidc_provider_read(struct text document, struct text issuer, char *why);
void oidc_provider_free(struct oidc_provider *provider); /* NULL is nobody */

/* ------------------------------------------------------------------------- the questions */

/* Append the address that the browser is sent to. False when it is too long. */
bool oidc_put_authorization(const struct oidc_provider *provider,
                            const struct oidc_settings *settings, struct text redirect,
                            struct text ticket, struct buffer *out);

/* A browser that has come back. */
struct oidc_return {
    struct text redirect; /* where it was sent back to, as it was asked for */
    struct text ticket, code;
};

/* Append the form that changes its code for tokens; *authorization, in <header>, is the value of
 * that field, or empty. False: the issuer takes no kind of secret that we have. */
bool oidc_put_exchange(const struct oidc_provider *provider, const struct oidc_settings *settings,
                       const struct oidc_return *back, struct buffer *form, struct buffer *header);

/* Append a whole request for <endpoint>, by way of <pool>: GET, or with <form> POST.
 * <authorization> may be empty. */
void oidc_put_request(const struct oidc_endpoint *endpoint, const struct upstream_pool *pool,
                      struct text authorization, const struct text *form, struct buffer *out);

/* ------------------------------------------------------------------------- the answers */

/* Read what was given for the code. False: *why (OIDC_WORDS_BYTES) says what is wrong. */
bool oidc_read_tokens(unsigned status, struct text body, struct arena *arena, struct text *id_token,
                      struct text *access_token, char *why);

/* Append the printable beginning of what somebody else has said, at most <max> bytes, to <words> of
 * <bytes>. */
void oidc_put_said(char *words, size_t bytes, struct text said, size_t max);

/* How many sign-ins that failed the log has been told of. */
struct oidc_told {
    uint64_t since_us;
    unsigned count, left_out;
};
enum { OIDC_TOLD_MAX = 100, OIDC_TOLD_US = 10000000 };
/* May another one be told? At most OIDC_TOLD_MAX are in OIDC_TOLD_US: strangers can make any number
 * of them. *left_out: how many were not, once that has gone by; else 0. */
bool oidc_may_tell(struct oidc_told *told, uint64_t now_us, unsigned *left_out);

enum oidc_access {
    OIDC_ACCESS,
    OIDC_NO_CLAIM,    /* the claim is not there, or nobody has verified the address */
    OIDC_NO_ROLE,     /* none of its values gives one */
    OIDC_TWO_TENANTS, /* without admin.oidc.roles, which says what comes first */
};
/* What <claims> give; *role is set with OIDC_ACCESS. */
enum oidc_access oidc_find_role(const struct oidc_settings *settings,
                                const struct id_claims *claims, struct oidc_role *role);
