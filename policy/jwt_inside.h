/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * jwt, from inside: what a token says (jwt_claims.c), and the keys that may have signed it
 * (jwt_keys.c). For jwt*.c only.
 *
 * Written against: RFC 7515 (JWS), 7517 (JWK), 7518 (algorithms), 7519 (JWT), 8725 (best current
 * practices). Signatures are checked by cjose; everything that decides what is checked is here.
 */

#include "gateway/base/memory.h"
#include "policy/directory.h"

enum {
    TOKEN_BYTES_MAX = 8192,
    TOKEN_NAME_MAX = 128,
    TOKEN_MODELS_MAX = 1000,
    JWKS_BYTES_MAX = 1 << 20,
    JWKS_KEYS_MAX = 64,
    JWKS_TRIES_MAX = 16, /* keys that are tried for a token that names none */
};

/* In pairs with the algorithms of RFC 7518, 3.1; HMAC and none are no members. */
enum token_algorithm {
    TOKEN_RS256,
    TOKEN_RS384,
    TOKEN_RS512,
    TOKEN_PS256,
    TOKEN_PS384,
    TOKEN_PS512,
    TOKEN_ES256,
    TOKEN_ES384,
    TOKEN_ES512,
    TOKEN_ALGORITHMS
};

/* False for one that is not accepted. */
bool token_algorithm_read(struct text name, enum token_algorithm *algorithm);

/* Is it base64url (RFC 4648, 5) without padding, of at least one byte? */
bool token_is_base64url(struct text part);

/* A token taken apart; texts borrow from <arena>, or from the token. */
struct token_parts {
    struct text header, payload;
    size_t signature_bytes;
};

/* Take <token> of at most <max> bytes apart: TOKEN_GOOD, TOKEN_NONE when it has not the form of
 * one, TOKEN_BAD when it has and is none all the same. */
enum token_result token_split(struct text token, size_t max, struct arena *arena,
                              struct token_parts *parts);

struct token_head {
    enum token_algorithm algorithm;
    struct text kid; /* empty = not said */
};

/* False for what is not accepted: another algorithm, another type, extensions (crit). */
bool token_read_head(struct text header, struct arena *arena, struct token_head *head);

struct token_claims {
    struct text name;   /* of the subject: at most TOKEN_NAME_MAX printable bytes, its own */
    struct text tenant; /* its name */
    struct text *models;
    size_t model_count;
    int64_t begins_us, expires_us; /* wall clock, without leeway */
};

/* The claim with this very name, else the one that the dots lead to; or NULL. */
struct json;
const struct json *token_find_claim(const struct json *root, struct text path, struct arena *arena);

/* False when a claim is missing, is of the wrong type, or is not what <settings> want. Says nothing
 * about the time. */
bool token_read_claims(struct text payload, const struct token_settings *settings,
                       struct arena *arena, struct token_claims *claims);

/* A set of keys. */
struct token_keys;

/* NULL when there is no usable key in it. */
struct token_keys *token_keys_read(struct text jwks);
void token_keys_free(struct token_keys *keys); /* NULL is nobody */
/* TOKEN_GOOD, TOKEN_BAD when a key of that name did not sign it, TOKEN_NO_KEY when there is no key
 * that it may have been signed with. */
enum token_result token_keys_verify(const struct token_keys *keys, struct text token,
                                    const struct token_head *head, size_t signature_bytes);
