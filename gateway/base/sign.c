/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/sign.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/memory.h"

enum { SIGNATURE_MAX = 2048, PEM_MAX = 64 << 10, HEADER_MAX = 1024 };

void sign_put_base64url(struct buffer *out, const void *data, size_t bytes)
{
    char *coded = memory_new(4 * ((bytes + 2) / 3) + 1);
    size_t length = hash_base64(data, bytes, coded);
    while (length > 0 && coded[length - 1] == '=')
        length--;
    for (size_t i = 0; i < length; i++)
        coded[i] = coded[i] == '+' ? '-' : coded[i] == '/' ? '_' : coded[i];
    buffer_append(out, coded, length);
    memory_free(coded);
}

/* Nobody is asked for a pass phrase. */
static int no_phrase(char *phrase, int size, int writes, void *with)
{
    (void)phrase;
    (void)size;
    (void)writes;
    (void)with;
    return 0;
}

static EVP_PKEY *read_key(struct text pem)
{
    if (pem.len == 0 || pem.len > PEM_MAX)
        return NULL;
    BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
    BIO_free(bio);
    if (key && EVP_PKEY_base_id(key) == EVP_PKEY_RSA)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

bool sign_rs256(struct text pem, struct text data, struct buffer *out)
{
    EVP_PKEY *key = read_key(pem);
    EVP_MD_CTX *state = key ? EVP_MD_CTX_new() : NULL;
    unsigned char signature[SIGNATURE_MAX];
    size_t length = sizeof(signature);
    bool good =
        state && (size_t)EVP_PKEY_size(key) <= sizeof(signature) &&
        EVP_DigestSignInit(state, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(state, signature, &length, (const unsigned char *)data.at, data.len) == 1;
    EVP_MD_CTX_free(state);
    EVP_PKEY_free(key);
    ERR_clear_error();
    if (good)
        sign_put_base64url(out, signature, length);
    return good;
}

bool sign_token(struct text pem, struct text key_id, struct text claims, struct buffer *out)
{
    struct buffer header, token;
    buffer_init(&header, HEADER_MAX);
    buffer_init(&token, PEM_MAX);
    buffer_append_text(&header, TEXT("{\"alg\":\"RS256\",\"typ\":\"JWT\""));
    if (key_id.len) {
        buffer_append_text(&header, TEXT(",\"kid\":"));
        json_write_string(&header, key_id);
    }
    buffer_append_text(&header, TEXT("}"));
    sign_put_base64url(&token, buffer_text(&header).at, buffer_length(&header));
    buffer_append_text(&token, TEXT("."));
    sign_put_base64url(&token, claims.at, claims.len);
    struct buffer signature;
    buffer_init(&signature, PEM_MAX);
    bool good = sign_rs256(pem, buffer_text(&token), &signature);
    if (good) {
        buffer_append_text(out, buffer_text(&token));
        buffer_append_text(out, TEXT("."));
        buffer_append_text(out, buffer_text(&signature));
    }
    buffer_done(&signature);
    buffer_done(&token);
    buffer_done(&header);
    return good;
}
