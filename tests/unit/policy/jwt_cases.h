/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* jwt_cases - an issuer of tokens for tests: keys, their set, and signatures, by OpenSSL alone. */

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void encode(const void *bytes, size_t len, char *out)
{
    EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
    for (char *at = out; *at; at++)
        *at = (char)(*at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? '\0' : *at);
}

static EVP_PKEY *make_rsa(size_t bits)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits);
}

static EVP_PKEY *make_ec(const char *curve)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve);
}

static void put_number(char *out, const char *name, EVP_PKEY *key, const char *param, int bytes)
{
    unsigned char number[1024];
    char text[2048];
    BIGNUM *value = NULL;
    if (!EVP_PKEY_get_bn_param(key, param, &value))
        abort();
    int len = bytes ? BN_bn2binpad(value, number, bytes) : BN_bn2bin(value, number);
    BN_free(value);
    encode(number, (size_t)len, text);
    sprintf(out + strlen(out), ",\"%s\":\"%s\"", name, text);
}

/* One key of a set; <more> is put in: ",\"kid\":\"a\"". */
static void put_jwk(char *out, EVP_PKEY *key, const char *more)
{
    if (EVP_PKEY_is_a(key, "RSA")) {
        strcat(out, "{\"kty\":\"RSA\"");
        put_number(out, "n", key, OSSL_PKEY_PARAM_RSA_N, 0);
        put_number(out, "e", key, OSSL_PKEY_PARAM_RSA_E, 0);
    } else {
        int bits = EVP_PKEY_get_bits(key), bytes = (bits + 7) / 8;
        sprintf(out + strlen(out), "{\"kty\":\"EC\",\"crv\":\"P-%d\"", bits);
        put_number(out, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, bytes);
        put_number(out, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, bytes);
    }
    strcat(out, more);
    strcat(out, "}");
}

static const EVP_MD *digest_of_name(const char *algorithm)
{
    return strstr(algorithm, "384")   ? EVP_sha384()
           : strstr(algorithm, "512") ? EVP_sha512()
                                      : EVP_sha256();
}

/* r and s side by side (RFC 7518, 3.4), out of ASN.1. */
static size_t flatten(unsigned char *signature, size_t len, int bits)
{
    const unsigned char *at = signature;
    int bytes = (bits + 7) / 8;
    ECDSA_SIG *both = d2i_ECDSA_SIG(NULL, &at, (long)len);
    if (!both)
        abort();
    BN_bn2binpad(ECDSA_SIG_get0_r(both), signature, bytes);
    BN_bn2binpad(ECDSA_SIG_get0_s(both), signature + bytes, bytes);
    ECDSA_SIG_free(both);
    return 2 * (size_t)bytes;
}

static size_t sign_bytes(EVP_PKEY *key, const char *algorithm, const char *text,
                         unsigned char *signature)
{
    size_t len = 1024;
    EVP_PKEY_CTX *choice = NULL;
    EVP_MD_CTX *state = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(state, &choice, digest_of_name(algorithm), NULL, key) <= 0)
        abort();
    if (algorithm[0] == 'P') {
        EVP_PKEY_CTX_set_rsa_padding(choice, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(choice, RSA_PSS_SALTLEN_DIGEST);
    }
    if (EVP_DigestSign(state, signature, &len, (const unsigned char *)text, strlen(text)) <= 0)
        abort();
    EVP_MD_CTX_free(state);
    return algorithm[0] == 'E' ? flatten(signature, len, EVP_PKEY_get_bits(key)) : len;
}

/* A token with this header and payload, signed as <algorithm> says ("" = with nothing); to be
 * freed. */
static char *make_token(const char *header, const char *payload, EVP_PKEY *key,
                        const char *algorithm)
{
    size_t room = 2 * (strlen(header) + strlen(payload)) + 4096;
    char *token = malloc(room);
    unsigned char signature[1024];
    encode(header, strlen(header), token);
    strcat(token, ".");
    encode(payload, strlen(payload), token + strlen(token));
    size_t len = *algorithm ? sign_bytes(key, algorithm, token, signature) : 0;
    strcat(token, ".");
    encode(signature, len, token + strlen(token));
    return token;
}
