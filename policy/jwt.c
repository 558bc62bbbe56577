/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "policy/jwt_inside.h"

/* Verified tokens are remembered in sets of four by digest; of these the first to end makes room.
 */
enum { SETS = 1024, SET_PLACES = 4, SCRATCH_BYTES = 16 * 1024 };

static const int64_t LEEWAY_US = 60 * 1000000LL;

struct remembered {
    struct digest digest;        /* SHA-256 of the token */
    struct token_claims *claims; /* NULL = free; one piece of memory with its texts */
};

struct tokens {
    struct token_settings settings;
    struct token_keys *keys;
    struct digest set; /* SHA-256 of the document they are of */
    struct arena scratch;
    struct remembered remembered[SETS * SET_PLACES];
};

struct tokens *tokens_new(const struct token_settings *settings)
{
    struct tokens *tokens = memory_new(sizeof(*tokens));
    tokens->settings = *settings;
    if (settings->tenant_claim.len == 0)
        tokens->settings.tenant_claim = TEXT("tenant");
    if (settings->models_claim.len == 0)
        tokens->settings.models_claim = TEXT("models");
    arena_init(&tokens->scratch, SCRATCH_BYTES);
    return tokens;
}

static void forget_all(struct tokens *tokens)
{
    for (size_t i = 0; i < SETS * SET_PLACES; i++) {
        memory_free(tokens->remembered[i].claims);
        tokens->remembered[i].claims = NULL;
    }
}

void tokens_free(struct tokens *tokens)
{
    forget_all(tokens);
    token_keys_free(tokens->keys);
    arena_done(&tokens->scratch);
    memory_free(tokens);
}

bool tokens_set_keys(struct tokens *tokens, struct text jwks)
{
    struct digest set = hash_sha256(jwks);
    if (tokens->keys && hash_same(&set, &tokens->set))
        return true;
    struct token_keys *keys = token_keys_read(jwks);
    if (!keys)
        return false;
    /* A key that the issuer has taken back opens nothing any more. */
    forget_all(tokens);
    token_keys_free(tokens->keys);
    tokens->keys = keys;
    tokens->set = set;
    return true;
}

/* ---------------------------------------------------------------------------- remembering */

static struct remembered *set_of(struct tokens *tokens, const struct digest *digest)
{
    uint32_t first;
    memcpy(&first, digest->bytes, sizeof(first));
    return &tokens->remembered[(size_t)(first % SETS) * SET_PLACES];
}

static const struct token_claims *recall(struct tokens *tokens, const struct digest *digest)
{
    const struct remembered *set = set_of(tokens, digest);
    for (size_t i = 0; i < SET_PLACES; i++)
        if (set[i].claims && hash_same(&set[i].digest, digest))
            return set[i].claims;
    return NULL;
}

static char *put_text(char *at, struct text *text)
{
    if (text->len)
        memcpy(at, text->at, text->len);
    text->at = at;
    return at + text->len;
}

/* <claims> and all its texts in one piece. */
static struct token_claims *copy_of(const struct token_claims *claims)
{
    size_t bytes = sizeof(*claims) + claims->model_count * sizeof(struct text) + claims->name.len +
                   claims->tenant.len;
    for (size_t i = 0; i < claims->model_count; i++)
        bytes += claims->models[i].len;
    struct token_claims *copy = memory_new(bytes);
    *copy = *claims;
    copy->models = (struct text *)(void *)(copy + 1);
    char *at = (char *)(copy->models + claims->model_count);
    at = put_text(at, &copy->name);
    at = put_text(at, &copy->tenant);
    for (size_t i = 0; i < claims->model_count; i++) {
        copy->models[i] = claims->models[i];
        at = put_text(at, &copy->models[i]);
    }
    return copy;
}

static void remember(struct tokens *tokens, const struct digest *digest,
                     const struct token_claims *claims)
{
    struct remembered *set = set_of(tokens, digest), *place = set;
    for (size_t i = 0; i < SET_PLACES && place->claims; i++)
        if (!set[i].claims || set[i].claims->expires_us < place->claims->expires_us)
            place = &set[i];
    memory_free(place->claims);
    *place = (struct remembered){*digest, copy_of(claims)};
}

/* --------------------------------------------------------------------------------- asking */

static bool is_in_time(const struct token_claims *claims, int64_t wall_us)
{
    return wall_us < claims->expires_us + LEEWAY_US && wall_us >= claims->begins_us - LEEWAY_US;
}

/* Of the subject within its tenant: the same for each of its tokens, and like no secret's. */
static struct digest digest_of(const struct token_claims *claims, struct arena *arena)
{
    return hash_sha256(arena_format(arena, "token/%zu/%.*s/%.*s", claims->tenant.len,
                                    TEXT_ARGS(claims->tenant), TEXT_ARGS(claims->name)));
}

static const struct key *make_key(const struct token_claims *claims, const struct tenant *tenant,
                                  struct arena *arena)
{
    struct key *key = arena_new(arena, sizeof(*key));
    *key = (struct key){
        /* Not the name of a key that the tenant has: each is counted and booked by itself. */
        .name = arena_format(arena, TOKEN_KEY_BEGIN "%.*s", TEXT_ARGS(claims->name)),
        .digest = digest_of(claims, arena),
        .tenant = tenant,
        .model_count = claims->model_count,
        .tags = tenant->tags,
        .expires_us = claims->expires_us + LEEWAY_US,
    };
    if (claims->model_count)
        key->models = arena_take(arena, claims->model_count * sizeof(*key->models));
    for (size_t i = 0; i < claims->model_count; i++)
        key->models[i] = arena_copy(arena, claims->models[i]);
    return key;
}

static enum token_result admit(const struct token_claims *claims, struct directory *directory,
                               int64_t wall_us, struct arena *arena, const struct key **key)
{
    const struct tenant *tenant = directory_find_tenant(directory, claims->tenant);
    if (!tenant || !is_in_time(claims, wall_us))
        return TOKEN_BAD;
    for (const struct tenant *at = tenant; at; at = at->parent)
        if (at->is_off)
            return TOKEN_BAD;
    *key = make_key(claims, tenant, arena);
    return TOKEN_GOOD;
}

/* Everything but the tenant. What it says is looked at before who signed it: that costs less, and
 * strangers' tokens make nobody fetch keys. */
static enum token_result verify(struct tokens *tokens, struct text token, int64_t wall_us,
                                struct token_claims *claims)
{
    struct token_parts parts;
    struct token_head head;
    enum token_result result = token_split(token, TOKEN_BYTES_MAX, &tokens->scratch, &parts);
    if (result != TOKEN_GOOD)
        return result;
    if (!token_read_head(parts.header, &tokens->scratch, &head) ||
        !token_read_claims(parts.payload, &tokens->settings, &tokens->scratch, claims) ||
        !is_in_time(claims, wall_us))
        return TOKEN_BAD;
    return token_keys_verify(tokens->keys, token, &head, parts.signature_bytes);
}

enum token_result tokens_check(struct tokens *tokens, struct directory *directory,
                               struct text token, int64_t wall_us, struct arena *arena,
                               const struct key **key)
{
    struct token_claims claims;
    struct digest digest = hash_sha256(text_head(token, TOKEN_BYTES_MAX + 1));
    const struct token_claims *known = recall(tokens, &digest);
    if (known)
        return admit(known, directory, wall_us, arena, key);
    enum token_result result = verify(tokens, token, wall_us, &claims);
    if (result == TOKEN_GOOD) {
        remember(tokens, &digest, &claims);
        result = admit(&claims, directory, wall_us, arena, key);
    }
    arena_reset(&tokens->scratch);
    return result;
}
