/* SPDX-License-Identifier: Apache-2.0 */
#include <cjose/base64.h>
#include <stdlib.h>

#include "gateway/base/json.h"
#include "policy/jwt_inside.h"

/* Of a name that cannot stay as it is: what is kept of it before "~" and the digest. */
enum { NAME_KEPT = 90, NAME_DIGITS = 32 };

static const int64_t SECOND = 1000000;
/* 9999-12-31T23:59:59Z: what is later is as good as never. */
static const double LAST_SECOND = 253402300799.0;

/* ---------------------------------------------------------------------------------- parts */

bool token_is_base64url(struct text part)
{
    for (size_t i = 0; i < part.len; i++) {
        char c = part.at[i];
        bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_';
        if (!good)
            return false;
    }
    return part.len > 0 && part.len % 4 != 1;
}

static bool decode(struct text part, struct arena *arena, struct text *out)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    cjose_err error;
    if (!token_is_base64url(part) ||
        !cjose_base64url_decode(part.at, part.len, &bytes, &length, &error))
        return false;
    *out = arena_copy(arena, (struct text){(const char *)bytes, length});
    free(bytes);
    return true;
}

enum token_result token_split(struct text token, size_t max, struct arena *arena,
                              struct token_parts *parts)
{
    size_t first = text_find_byte(token, '.');
    struct text rest = first == SIZE_MAX ? (struct text){"", 0} : text_from(token, first + 1);
    size_t second = text_find_byte(rest, '.');
    /* An object begins with {" or { and white space, in base64url. What does not begin so may be a
     * key that happens to have dots in it. */
    bool is_object = text_starts(token, TEXT("ey")) || text_starts(token, TEXT("ew"));
    if (first == SIZE_MAX || second == SIZE_MAX || !is_object)
        return TOKEN_NONE;
    struct text signature = text_from(rest, second + 1);
    if (token.len > max || !token_is_base64url(signature) ||
        !decode(text_head(token, first), arena, &parts->header) ||
        !decode(text_head(rest, second), arena, &parts->payload))
        return TOKEN_BAD;
    parts->signature_bytes = signature.len * 3 / 4;
    return TOKEN_GOOD;
}

/* ----------------------------------------------------------------------------------- head */

bool token_algorithm_read(struct text name, enum token_algorithm *algorithm)
{
    static const struct text names[TOKEN_ALGORITHMS] = {
        [TOKEN_RS256] = {"RS256", 5}, [TOKEN_RS384] = {"RS384", 5}, [TOKEN_RS512] = {"RS512", 5},
        [TOKEN_PS256] = {"PS256", 5}, [TOKEN_PS384] = {"PS384", 5}, [TOKEN_PS512] = {"PS512", 5},
        [TOKEN_ES256] = {"ES256", 5}, [TOKEN_ES384] = {"ES384", 5}, [TOKEN_ES512] = {"ES512", 5},
    };
    for (int i = 0; i < TOKEN_ALGORITHMS; i++)
        if (text_equal(name, names[i])) {
            *algorithm = (enum token_algorithm)i;
            return true;
        }
    return false;
}

/* Tokens that an issuer makes for other ends (logout, security events, DPoP proofs) say so here. */
static bool is_type(const struct json *value)
{
    struct text type;
    if (!value)
        return true;
    if (!json_to_text(value, &type))
        return false;
    if (text_starts_nocase(type, TEXT("application/")))
        type = text_from(type, 12);
    return text_equal_nocase(type, TEXT("JWT")) || text_equal_nocase(type, TEXT("at+jwt"));
}

static struct json *read_object(struct text document)
{
    struct json_problem problem;
    struct json *root = json_read(document, &problem);
    if (json_kind(root) == SCAN_OBJECT)
        return root;
    json_free(root);
    return NULL;
}

bool token_read_head(struct text header, struct arena *arena, struct token_head *head)
{
    struct text algorithm, kid = {"", 0};
    struct json *root = read_object(header);
    const struct json *named = json_member(root, "kid");
    bool good = root && json_to_text(json_member(root, "alg"), &algorithm) &&
                token_algorithm_read(algorithm, &head->algorithm) &&
                is_type(json_member(root, "typ")) && !json_member(root, "crit") &&
                (!named || json_to_text(named, &kid));
    if (good)
        head->kid = arena_copy(arena, kid);
    json_free(root);
    return good;
}

/* --------------------------------------------------------------------------------- claims */

const struct json *token_find_claim(const struct json *root, struct text path, struct arena *arena)
{
    const struct json *value = json_member(root, arena_copy(arena, path).at);
    struct text part;
    if (value || text_find_byte(path, '.') == SIZE_MAX)
        return value;
    value = root;
    while (text_next(&path, '.', &part))
        value =
            json_kind(value) == SCAN_OBJECT ? json_member(value, arena_copy(arena, part).at) : NULL;
    return value;
}

static bool read_instant(const struct json *value, int64_t *us)
{
    double seconds;
    if (!json_to_number(value, &seconds) || !(seconds >= 0))
        return false;
    *us = (int64_t)(seconds > LAST_SECOND ? LAST_SECOND : seconds) * SECOND;
    return true;
}

static bool is_for(const struct json *audience, struct text us)
{
    struct text one;
    if (json_to_text(audience, &one))
        return text_equal(one, us);
    for (size_t i = 0; json_kind(audience) == SCAN_ARRAY && i < json_count(audience); i++)
        if (json_to_text(json_item(audience, i), &one) && text_equal(one, us))
            return true;
    return false;
}

static bool is_printable(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f)
            return false;
    return true;
}

/* What cannot stay as it is still is a name of its own: counters and the ledger tell subjects apart
 * by it. */
static struct text name_of(struct text subject, struct arena *arena)
{
    char hex[HEX_BYTES], kept[NAME_KEPT];
    size_t len = 0;
    if (subject.len <= TOKEN_NAME_MAX && is_printable(subject))
        return arena_copy(arena, subject);
    for (; len < NAME_KEPT && len < subject.len; len++) {
        char c = subject.at[len];
        kept[len] = c < ' ' || c == 0x7f ? '?' : c; /* a cut UTF-8 letter would be none either */
    }
    struct digest digest = hash_sha256(subject);
    hash_hex(&digest, hex);
    return arena_format(arena, "%.*s~%.*s", (int)len, kept, NAME_DIGITS, hex);
}

static bool add_model(struct token_claims *claims, struct text name, struct arena *arena)
{
    if (claims->model_count == TOKEN_MODELS_MAX)
        return false;
    claims->models[claims->model_count++] = arena_copy(arena, name);
    return true;
}

/* A list, or names with spaces between them. One that is there and names none allows none. */
static bool read_models(const struct json *value, struct arena *arena, struct token_claims *claims)
{
    struct text names, name;
    bool good = true;
    if (!value)
        return true;
    claims->models = arena_new(arena, (TOKEN_MODELS_MAX + 1) * sizeof(*claims->models));
    if (json_to_text(value, &names)) {
        while (good && text_next(&names, ' ', &name))
            good = name.len == 0 || add_model(claims, name, arena);
    } else {
        good = json_kind(value) == SCAN_ARRAY;
        for (size_t i = 0; good && i < json_count(value); i++)
            good = json_to_text(json_item(value, i), &name) && name.len > 0 &&
                   add_model(claims, name, arena);
    }
    /* The pattern "" is matched by no model. */
    if (claims->model_count == 0)
        claims->models[claims->model_count++] = (struct text){"", 0};
    return good;
}

static bool read_all(const struct json *root, const struct token_settings *settings,
                     struct arena *arena, struct token_claims *claims)
{
    struct text issuer, subject, tenant;
    const struct json *begins = json_member(root, "nbf");
    if (!json_to_text(json_member(root, "iss"), &issuer) || !text_equal(issuer, settings->issuer) ||
        !is_for(json_member(root, "aud"), settings->audience) ||
        !read_instant(json_member(root, "exp"), &claims->expires_us) ||
        (begins && !read_instant(begins, &claims->begins_us)) ||
        !json_to_text(json_member(root, "sub"), &subject) || subject.len == 0 ||
        !json_to_text(token_find_claim(root, settings->tenant_claim, arena), &tenant))
        return false;
    claims->name = name_of(subject, arena);
    claims->tenant = arena_copy(arena, tenant);
    return read_models(token_find_claim(root, settings->models_claim, arena), arena, claims);
}

bool token_read_claims(struct text payload, const struct token_settings *settings,
                       struct arena *arena, struct token_claims *claims)
{
    struct json *root = read_object(payload);
    *claims = (struct token_claims){.begins_us = 0};
    bool good = root && read_all(root, settings, arena, claims);
    json_free(root);
    return good;
}
