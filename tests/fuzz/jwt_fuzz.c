/* SPDX-License-Identifier: Apache-2.0 */

/* Tokens and sets of keys. First byte: what the rest is - a token as it comes, the header and the
 * claims (a line each) of one that is put together here, or a set of keys. No token is ever good:
 * nobody signs any here. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "policy/directory_view.h"
#include "policy/jwt_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct tenant acme = {.name = {"acme", 4}};
static const struct roster_file file = {.tenants = &acme, .tenant_count = 1};
static const struct token_settings settings = {{"https://id.example", 18}, {"sluice", 6}, {0}, {0}};

static const char keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
    "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"; /* RFC 7515, A.3.1 */

static void encode(struct buffer *out, struct text part)
{
    char *text = memory_new(4 * ((part.len + 2) / 3) + 1);
    struct text coded = {text, hash_base64(part.at, part.len, text)};
    for (size_t i = 0; i < coded.len; i++)
        text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    while (coded.len && coded.at[coded.len - 1] == '=')
        coded.len--;
    buffer_append_text(out, coded);
    memory_free(text);
}

static void check_parts(struct text header, struct text payload, struct arena *arena)
{
    struct token_head head;
    struct token_claims claims;
    if (token_read_head(header, arena, &head))
        assert(head.algorithm < TOKEN_ALGORITHMS);
    if (token_read_claims(payload, &settings, arena, &claims)) {
        assert(claims.name.len > 0 && claims.name.len <= TOKEN_NAME_MAX);
        assert(claims.model_count <= TOKEN_MODELS_MAX);
        assert(claims.begins_us >= 0 && claims.expires_us >= 0);
    }
}

static void check_token(struct text token, struct arena *arena)
{
    const struct key *key = NULL;
    struct directory *directory = directory_new(&file);
    struct tokens *tokens = tokens_new(&settings);
    assert(tokens_set_keys(tokens, TEXT(keys)));
    enum token_result result =
        tokens_check(tokens, directory, token, 1800000000000000, arena, &key);
    assert(result != TOKEN_GOOD && !key);
    tokens_free(tokens);
    directory_unref(directory);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct arena arena;
    struct text rest = {(const char *)bytes + 1, len - 1};
    if (len == 0)
        return 0;
    arena_init(&arena, 4096);
    if (bytes[0] % 3 == 0) {
        check_token(rest, &arena);
    } else if (bytes[0] % 3 == 1) {
        struct buffer token;
        size_t line = text_find_byte(rest, '\n');
        struct text header = text_head(rest, line);
        struct text payload = line == SIZE_MAX ? TEXT("{}") : text_from(rest, line + 1);
        check_parts(header, payload, &arena);
        buffer_init(&token, 1 << 24);
        encode(&token, header);
        buffer_append(&token, ".", 1);
        encode(&token, payload);
        buffer_append_text(&token,
                           TEXT(".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8"
                                "ISlSApmWQxfKTUJqPP3-Kg6NU1Q"));
        check_token(buffer_text(&token), &arena);
        buffer_done(&token);
    } else {
        token_keys_free(token_keys_read(rest));
    }
    arena_done(&arena);
    return 0;
}
