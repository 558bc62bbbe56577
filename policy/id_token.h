/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * id_token - what an OpenID provider says of somebody who has signed in there: its ID token is
 * checked, and the claims that matter are read from it. A door of policy.
 *
 * Written against: OpenID Connect Core 1.0 (2, 3.1.3.7, 5.3), RFC 7519 (JWT), RFC 8725 (best
 * current practices). Signatures as of tokens in directory.h: RS, PS and ES with SHA-2; never none,
 * never HMAC. Pure; any thread. Texts are borrowed from the arena that was given.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/memory.h"
#include "gateway/base/text.h"

enum {
    ID_TOKEN_BYTES_MAX = 64 << 10,
    ID_NAME_MAX = 120,   /* bytes of who it is */
    ID_VALUE_MAX = 256,  /* of one value of a claim; a longer one is left out */
    ID_VALUES_MAX = 1024 /* what stands behind them is not looked at */
};

/* The keys of an issuer (RFC 7517). */
struct token_keys;
/* NULL when there is no usable key in <jwks>. */
struct token_keys *id_token_keys(struct text jwks);
void id_token_keys_free(struct token_keys *keys); /* NULL is nobody */

/* What an ID token has to say. */
struct id_token_settings {
    struct text issuer, client_id, nonce;
    int64_t wall_us; /* now */
};

enum id_token_result {
    ID_TOKEN_GOOD,
    ID_TOKEN_NO_KEY, /* its key is not among <keys>: the issuer may have changed them */
    ID_TOKEN_BAD,
};

/* Check <token>: algorithm, iss, aud, azp, exp, iat, nbf and nonce, with 60 s of leeway, then the
 * signature. <keys> may be NULL: that is no key. GOOD: *payload is what it says, JSON. BAD: *why is
 * a static text. */
enum id_token_result id_token_check(const struct token_keys *keys, struct text token,
                                    const struct id_token_settings *settings, struct arena *arena,
                                    struct text *payload, const char **why);

struct id_claims {
    struct text subject; /* sub, at most 255 bytes */
    struct text name; /* an address that is verified, else preferred_username, which says so when it
                         looks like one, else sub: visible UTF-8 of at most ID_NAME_MAX bytes */
    bool has_values;  /* the claim is there */
    bool unverified;  /* it is the claim email, whose address nobody has verified */
    struct text *values; /* the claim's: a text, or the texts of a list */
    size_t value_count;
};

/* Read <payload>, an ID token's or what the provider's UserInfo has answered (JSON). <claim>: its
 * very name, else with dots the way to it. False: it is no object, or names nobody. */
bool id_claims_read(struct text payload, struct text claim, struct arena *arena,
                    struct id_claims *claims);
