/* SPDX-License-Identifier: Apache-2.0 */
#include <cjose/cjose.h>

#include "gateway/base/json.h"
#include "policy/jwt_inside.h"

enum { RSA_BYTES_MIN = 2048 / 8, RSA_BYTES_MAX = 8192 / 8 };

/* Which algorithms a key may be used with: bits of (1 << enum token_algorithm). Pinned to its type,
 * so that no token chooses how its signature is looked at (RFC 8725, 3.1). */
enum {
    OF_RSA = 1U << TOKEN_RS256 | 1U << TOKEN_RS384 | 1U << TOKEN_RS512 | 1U << TOKEN_PS256 |
             1U << TOKEN_PS384 | 1U << TOKEN_PS512,
};

struct token_key {
    cjose_jwk_t *jwk;
    struct text kid; /* empty = not said */
    unsigned algorithms;
    size_t signature_bytes;
};

struct token_keys {
    struct arena arena;
    size_t count;
    struct token_key at[JWKS_KEYS_MAX];
};

/* A number of at most <max> bytes. */
static bool is_figure(struct text text, size_t max)
{
    return token_is_base64url(text) && text.len <= (max * 4 + 2) / 3;
}

/* Import from what is looked at here and nothing else: no private part, no certificate. */
static bool import(struct token_key *key, struct text json)
{
    cjose_err error;
    key->jwk = cjose_jwk_import(json.at, json.len, &error);
    return key->jwk != NULL;
}

static bool read_rsa(const struct json *value, struct arena *arena, struct token_key *key)
{
    struct text n, e;
    cjose_err error;
    if (!json_to_text(json_member(value, "n"), &n) || !json_to_text(json_member(value, "e"), &e) ||
        !is_figure(n, RSA_BYTES_MAX) || !is_figure(e, 8) || text_equal(e, TEXT("AQ")))
        return false;
    struct text json = arena_format(arena, "{\"kty\":\"RSA\",\"n\":\"%.*s\",\"e\":\"%.*s\"}",
                                    TEXT_ARGS(n), TEXT_ARGS(e));
    if (!import(key, json))
        return false;
    size_t bits = cjose_jwk_get_keysize(key->jwk, &error);
    key->algorithms = OF_RSA;
    key->signature_bytes = (bits + 7) / 8;
    return key->signature_bytes >= RSA_BYTES_MIN && key->signature_bytes <= RSA_BYTES_MAX;
}

static bool read_ec(const struct json *value, struct arena *arena, struct token_key *key)
{
    static const struct {
        struct text name;
        enum token_algorithm algorithm;
        size_t bytes;
    } curves[] = {{{"P-256", 5}, TOKEN_ES256, 32},
                  {{"P-384", 5}, TOKEN_ES384, 48},
                  {{"P-521", 5}, TOKEN_ES512, 66}};
    struct text curve, x, y;
    if (!json_to_text(json_member(value, "crv"), &curve) ||
        !json_to_text(json_member(value, "x"), &x) || !json_to_text(json_member(value, "y"), &y))
        return false;
    for (size_t i = 0; i < sizeof(curves) / sizeof(*curves); i++) {
        if (!text_equal(curve, curves[i].name) || !is_figure(x, curves[i].bytes) ||
            !is_figure(y, curves[i].bytes))
            continue;
        key->algorithms = 1U << curves[i].algorithm;
        key->signature_bytes = 2 * curves[i].bytes;
        return import(
            key,
            arena_format(arena, "{\"kty\":\"EC\",\"crv\":\"%.*s\",\"x\":\"%.*s\",\"y\":\"%.*s\"}",
                         TEXT_ARGS(curve), TEXT_ARGS(x), TEXT_ARGS(y)));
    }
    return false;
}

/* Is it meant for signatures? (RFC 7517, 4.2 to 4.4) */
static bool read_use(const struct json *value, unsigned *algorithms)
{
    struct text word;
    const struct json *use = json_member(value, "use"), *ops = json_member(value, "key_ops"),
                      *algorithm = json_member(value, "alg");
    enum token_algorithm only;
    if (use && !(json_to_text(use, &word) && text_equal(word, TEXT("sig"))))
        return false;
    bool verifies = ops == NULL;
    for (size_t i = 0; json_kind(ops) == SCAN_ARRAY && i < json_count(ops); i++)
        verifies |= json_to_text(json_item(ops, i), &word) && text_equal(word, TEXT("verify"));
    if (!verifies)
        return false;
    if (!algorithm)
        return true;
    if (!json_to_text(algorithm, &word) || !token_algorithm_read(word, &only))
        return false;
    *algorithms &= 1U << only;
    return *algorithms != 0;
}

static bool read_key(const struct json *value, struct arena *arena, struct token_key *key)
{
    struct text type, kid = {"", 0};
    const struct json *named = json_member(value, "kid");
    if (json_kind(value) != SCAN_OBJECT || !json_to_text(json_member(value, "kty"), &type) ||
        (named && !json_to_text(named, &kid)))
        return false;
    bool good = text_equal(type, TEXT("RSA"))  ? read_rsa(value, arena, key)
                : text_equal(type, TEXT("EC")) ? read_ec(value, arena, key)
                                               : false;
    if (good && read_use(value, &key->algorithms)) {
        key->kid = arena_copy(arena, kid);
        return true;
    }
    if (key->jwk)
        cjose_jwk_release(key->jwk);
    return false;
}

struct token_keys *token_keys_read(struct text jwks)
{
    struct json_problem problem;
    struct json *root = jwks.len <= JWKS_BYTES_MAX ? json_read(jwks, &problem) : NULL;
    const struct json *list = json_kind(root) == SCAN_OBJECT ? json_member(root, "keys") : NULL;
    struct token_keys *keys = memory_new(sizeof(*keys));
    arena_init(&keys->arena, 4096);
    for (size_t i = 0; json_kind(list) == SCAN_ARRAY && i < json_count(list); i++) {
        struct token_key key = {.jwk = NULL};
        if (keys->count < JWKS_KEYS_MAX && read_key(json_item(list, i), &keys->arena, &key))
            keys->at[keys->count++] = key;
    }
    json_free(root);
    if (keys->count > 0)
        return keys;
    token_keys_free(keys);
    return NULL;
}

void token_keys_free(struct token_keys *keys)
{
    if (!keys)
        return;
    for (size_t i = 0; i < keys->count; i++)
        cjose_jwk_release(keys->at[i].jwk);
    arena_done(&keys->arena);
    memory_free(keys);
}

static bool has_signed(const struct token_key *key, cjose_jws_t *jws)
{
    cjose_err error;
    return cjose_jws_verify(jws, key->jwk, &error);
}

enum token_result token_keys_verify(const struct token_keys *keys, struct text token,
                                    const struct token_head *head, size_t signature_bytes)
{
    cjose_err error;
    unsigned tries = 0;
    bool good = false;
    cjose_jws_t *jws = cjose_jws_import(token.at, token.len, &error);
    for (size_t i = 0; jws && keys && !good && i < keys->count && tries < JWKS_TRIES_MAX; i++) {
        const struct token_key *key = &keys->at[i];
        if (!(key->algorithms & 1U << head->algorithm) ||
            (head->kid.len && !text_equal(head->kid, key->kid)))
            continue;
        tries++;
        good = key->signature_bytes == signature_bytes && has_signed(key, jws);
    }
    if (jws)
        cjose_jws_release(jws);
    if (good)
        return TOKEN_GOOD;
    /* Where no key is named, that of the signer may be one that is not known yet. */
    return !jws || (head->kid.len && tries) ? TOKEN_BAD : TOKEN_NO_KEY;
}
