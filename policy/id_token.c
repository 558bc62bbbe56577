/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/id_token.h"

#include <string.h>

#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "policy/jwt_inside.h"

/* A sign-in takes ten minutes at most, and its token is made at the end of it. */
enum { LEEWAY_S = 60, AGE_MAX_S = 600, SUBJECT_MAX = 255 };

struct token_keys *id_token_keys(struct text jwks)
{
    return token_keys_read(jwks);
}

void id_token_keys_free(struct token_keys *keys)
{
    token_keys_free(keys);
}

/* --------------------------------------------------------------------------- checking */

static bool is_text(const struct json *value, struct text wanted)
{
    struct text text;
    return json_to_text(value, &text) && text_equal(text, wanted);
}

/* One of several audiences is ours only when the issuer says that we are who has asked. */
static const char *check_audience(const struct json *root, struct text client_id)
{
    const struct json *audience = json_member(root, "aud"), *party = json_member(root, "azp");
    size_t count = json_kind(audience) == SCAN_ARRAY ? json_count(audience) : 1;
    bool is_ours = is_text(audience, client_id);
    for (size_t i = 0; json_kind(audience) == SCAN_ARRAY && i < count; i++)
        is_ours |= is_text(json_item(audience, i), client_id);
    if (!is_ours)
        return "its audience (aud) is another client";
    if (party ? !is_text(party, client_id) : count > 1)
        return "it was made for another client (azp)";
    return NULL;
}

static const char *check_times(const struct json *root, int64_t now_s)
{
    double ends, made, begins;
    const struct json *from = json_member(root, "nbf");
    if (!json_to_number(json_member(root, "exp"), &ends) ||
        !json_to_number(json_member(root, "iat"), &made))
        return "it does not say when it was made and when it ends (iat, exp)";
    if (!(ends > (double)(now_s - LEEWAY_S)))
        return "it has expired (exp)";
    if (!(made <= (double)(now_s + LEEWAY_S)) ||
        (from && !(json_to_number(from, &begins) && begins <= (double)(now_s + LEEWAY_S))))
        return "it was made in the future (iat, nbf): one of the clocks is wrong";
    if (!(made >= (double)(now_s - AGE_MAX_S)))
        return "it is too old (iat)";
    return NULL;
}

static const char *check_claims(const struct json *root, const struct id_token_settings *settings,
                                int64_t now_s)
{
    const char *why;
    if (!is_text(json_member(root, "iss"), settings->issuer))
        return "its issuer (iss) is another one";
    why = check_audience(root, settings->client_id);
    if (!why)
        why = check_times(root, now_s);
    if (!why && !is_text(json_member(root, "nonce"), settings->nonce))
        why = "it belongs to another sign-in (nonce)";
    return why;
}

/* NULL, or what is wrong with it. */
static const char *check_payload(struct text payload, const struct id_token_settings *settings)
{
    struct json_problem ignored;
    struct json *root = json_read(payload, &ignored);
    const char *why = json_kind(root) == SCAN_OBJECT
                          ? check_claims(root, settings, settings->wall_us / 1000000)
                          : "it holds no JSON object";
    json_free(root);
    return why;
}

enum id_token_result id_token_check(const struct token_keys *keys, struct text token,
                                    const struct id_token_settings *settings, struct arena *arena,
                                    struct text *payload, const char **why)
{
    struct token_parts parts;
    struct token_head head;
    *why = "it is no signed token";
    if (token_split(token, ID_TOKEN_BYTES_MAX, arena, &parts) != TOKEN_GOOD)
        return ID_TOKEN_BAD;
    *why = "it is not signed in a way that is accepted (RS, PS or ES with SHA-2)";
    if (!token_read_head(parts.header, arena, &head))
        return ID_TOKEN_BAD;
    *why = check_payload(parts.payload, settings);
    if (*why)
        return ID_TOKEN_BAD;
    *payload = parts.payload;
    switch (token_keys_verify(keys, token, &head, parts.signature_bytes)) {
    case TOKEN_GOOD:
        return ID_TOKEN_GOOD;
    case TOKEN_NO_KEY:
        *why = "the issuer has no key that it is signed with";
        return ID_TOKEN_NO_KEY;
    case TOKEN_NONE:
    case TOKEN_BAD:
        break;
    }
    *why = "its signature is wrong";
    return ID_TOKEN_BAD;
}

/* ----------------------------------------------------------------------------- reading */

static bool add_value(const struct json *value, struct arena *arena, struct id_claims *claims)
{
    struct text text;
    if (!json_to_text(value, &text) || text.len == 0 || text.len > ID_VALUE_MAX)
        return false;
    claims->values[claims->value_count++] = arena_copy(arena, text);
    return true;
}

static void read_values(const struct json *value, struct arena *arena, struct id_claims *claims)
{
    size_t count = json_kind(value) == SCAN_ARRAY ? json_count(value) : 1;
    if (count > ID_VALUES_MAX)
        count = ID_VALUES_MAX;
    claims->has_values = true;
    claims->values = arena_new(arena, (count + 1) * sizeof(*claims->values));
    if (json_kind(value) != SCAN_ARRAY)
        add_value(value, arena, claims);
    for (size_t i = 0; json_kind(value) == SCAN_ARRAY && i < count; i++)
        add_value(json_item(value, i), arena, claims);
}

/* Does a character at the beginning of <rest> steer a terminal, turn the direction of writing, or
 * not show itself? (C0, C1; U+061C, U+200B to U+200F, U+2028 to U+202E, U+2060 to U+206F, U+FEFF)
 */
static bool is_unseen(struct text rest)
{
    unsigned char a = (unsigned char)rest.at[0], b = rest.len > 1 ? (unsigned char)rest.at[1] : 0,
                  c = rest.len > 2 ? (unsigned char)rest.at[2] : 0;
    return a < ' ' || a == 0x7f || (a == 0xc2 && b < 0xa0) || (a == 0xd8 && b == 0x9c) ||
           (a == 0xe2 && b == 0x80 && ((c >= 0x8b && c <= 0x8f) || (c >= 0xa8 && c <= 0xae))) ||
           (a == 0xe2 && b == 0x81 && c >= 0xa0 && c <= 0xaf) ||
           (a == 0xef && b == 0xbb && c == 0xbf);
}

static bool is_name(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (is_unseen(text_from(text, i)))
            return false;
    return text.len > 0 && text.len <= ID_NAME_MAX;
}

static bool is_verified(const struct json *root)
{
    bool is = false;
    /* Of some it is a text. */
    return (json_to_bool(json_member(root, "email_verified"), &is) && is) ||
           is_text(json_member(root, "email_verified"), TEXT("true"));
}

static struct text name_of(const struct json *root, struct text subject, struct arena *arena)
{
    struct text name;
    if (is_verified(root) && json_to_text(json_member(root, "email"), &name) && is_name(name))
        return arena_copy(arena, name);
    if (json_to_text(json_member(root, "preferred_username"), &name) && is_name(name)) {
        /* Who chose it himself shall not be taken for whose address it is. */
        if (text_find_byte(name, '@') == SIZE_MAX)
            return arena_copy(arena, name);
        name = arena_format(arena, "%.*s (not verified)", TEXT_ARGS(name));
        if (name.len <= ID_NAME_MAX)
            return name;
    }
    if (is_name(subject))
        return subject;
    char hex[HEX_BYTES];
    struct digest digest = hash_sha256(subject);
    hash_hex(&digest, hex);
    return arena_copy(arena, text_of(hex));
}

static bool read_claims(const struct json *root, struct text claim, struct arena *arena,
                        struct id_claims *claims)
{
    struct text subject;
    if (!json_to_text(json_member(root, "sub"), &subject) || subject.len == 0 ||
        subject.len > SUBJECT_MAX)
        return false;
    claims->subject = arena_copy(arena, subject);
    claims->name = name_of(root, claims->subject, arena);
    const struct json *value = token_find_claim(root, claim, arena);
    if (value)
        read_values(value, arena, claims);
    claims->unverified = text_equal(claim, TEXT("email")) && !is_verified(root);
    return true;
}

bool id_claims_read(struct text payload, struct text claim, struct arena *arena,
                    struct id_claims *claims)
{
    struct json_problem ignored;
    struct json *root = json_read(payload, &ignored);
    *claims = (struct id_claims){.has_values = false};
    bool good = json_kind(root) == SCAN_OBJECT && read_claims(root, claim, arena, claims);
    json_free(root);
    return good;
}
