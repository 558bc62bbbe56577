/* SPDX-License-Identifier: Apache-2.0 */

/* The low-level digests: half the time of EVP (a kept context, a fetched digest) for the short
 * texts we hash on the path of a request, nothing to allocate, nothing to fail. OpenSSL 3 calls
 * them deprecated. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "gateway/base/hash.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <zlib.h>

struct digest hash_sha256(struct text data)
{
    struct digest digest;
    SHA256_CTX state;
    SHA256_Init(&state);
    if (data.len)
        SHA256_Update(&state, data.at, data.len);
    SHA256_Final(digest.bytes, &state);
    return digest;
}

struct digest hash_hmac_sha256(struct text key, struct text data)
{
    uint8_t pad[SHA256_CBLOCK] = {0};
    if (key.len > sizeof(pad)) {
        struct digest shorter = hash_sha256(key);
        memcpy(pad, shorter.bytes, sizeof(shorter.bytes));
    } else if (key.len) {
        memcpy(pad, key.at, key.len);
    }
    SHA256_CTX state;
    struct digest digest;
    for (int round = 0; round < 2; round++) {
        uint8_t mask = round ? 0x5c : 0x36, block[SHA256_CBLOCK];
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = pad[i] ^ mask;
        SHA256_Init(&state);
        SHA256_Update(&state, block, sizeof(block));
        if (round)
            SHA256_Update(&state, digest.bytes, sizeof(digest.bytes));
        else if (data.len)
            SHA256_Update(&state, data.at, data.len);
        SHA256_Final(digest.bytes, &state);
        OPENSSL_cleanse(block, sizeof(block));
    }
    OPENSSL_cleanse(pad, sizeof(pad));
    return digest;
}

void hash_sha1(struct text data, uint8_t out[20])
{
    SHA_CTX state;
    SHA1_Init(&state);
    if (data.len)
        SHA1_Update(&state, data.at, data.len);
    SHA1_Final(out, &state);
}

void hash_hex(const struct digest *digest, char hex[HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        hex[2 * i] = digits[digest->bytes[i] >> 4];
        hex[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    hex[HEX_BYTES - 1] = '\0';
}

/* The value of a hexadecimal digit; 16 and more: it is none. */
static inline unsigned value_of_hex(char c)
{
    unsigned digit = (unsigned char)c - (unsigned)'0', letter = ((unsigned char)c | 0x20U) - 'a';
    return digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
}

bool hash_from_hex(struct text hex, struct digest *digest)
{
    unsigned all = 0;
    if (hex.len != HEX_BYTES - 1)
        return false;
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        unsigned high = value_of_hex(hex.at[2 * i]), low = value_of_hex(hex.at[2 * i + 1]);
        all |= high | low;
        digest->bytes[i] = (uint8_t)(high * 16 + low);
    }
    return all < 16;
}

bool hash_same(const struct digest *a, const struct digest *b)
{
    /* A word at a time, and all of them: how long it takes tells nothing. */
    uint64_t differ = 0, of_a, of_b;
    for (size_t at = 0; at < SHA256_BYTES; at += sizeof(of_a)) {
        memcpy(&of_a, a->bytes + at, sizeof(of_a));
        memcpy(&of_b, b->bytes + at, sizeof(of_b));
        differ |= of_a ^ of_b;
    }
    return differ == 0;
}

uint32_t hash_crc32(struct text data)
{
    return data.len ? (uint32_t)crc32_z(0, (const Bytef *)data.at, data.len) : 0;
}

/* SipHash-1-3: one round per 8 bytes, three at the end (Aumasson and Bernstein, 2012). */

struct sip {
    uint64_t a, b, c, d;
};

static uint64_t name_key[2];
static pthread_once_t name_key_once = PTHREAD_ONCE_INIT;
static atomic_bool name_key_made;

static void make_name_key(void)
{
    hash_random(name_key, sizeof(name_key));
    atomic_store_explicit(&name_key_made, true, memory_order_release);
}

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
    s->a += s->b;
    s->c += s->d;
    s->b = rotate(s->b, 13) ^ s->a;
    s->d = rotate(s->d, 16) ^ s->c;
    s->a = rotate(s->a, 32);
    s->c += s->b;
    s->a += s->d;
    s->b = rotate(s->b, 17) ^ s->c;
    s->d = rotate(s->d, 21) ^ s->a;
    s->c = rotate(s->c, 32);
}

static inline void sip_mix(struct sip *s, uint64_t word)
{
    s->d ^= word;
    sip_round(s);
    s->a ^= word;
}

/* The last bytes, fewer than 8, with the length in the highest byte. */
static inline uint64_t sip_tail(struct text name)
{
    uint64_t word = (uint64_t)name.len << 56;
    size_t from = name.len & ~(size_t)7;
    for (size_t i = from; i < name.len; i++)
        word |= (uint64_t)(unsigned char)name.at[i] << (8 * (i - from));
    return word;
}

uint64_t hash_name(struct text name)
{
    if (!atomic_load_explicit(&name_key_made, memory_order_acquire))
        pthread_once(&name_key_once, make_name_key);
    struct sip s = {name_key[0] ^ 0x736f6d6570736575U, name_key[1] ^ 0x646f72616e646f6dU,
                    name_key[0] ^ 0x6c7967656e657261U, name_key[1] ^ 0x7465646279746573U};
    for (size_t i = 0; i + 8 <= name.len; i += 8) {
        uint64_t word;
        memcpy(&word, name.at + i, sizeof(word));
        sip_mix(&s, word);
    }
    sip_mix(&s, sip_tail(name));
    s.c ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}

void hash_random(void *out, size_t bytes)
{
    char *at = out;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            /* Nothing that follows would be safe. */
            fprintf(stderr, "sluice: the kernel gives no random bytes: %s\n", strerror(errno));
            abort();
        }
        at += got;
        bytes -= (size_t)got;
    }
}

size_t hash_base64(const void *data, size_t bytes, char *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    char *to = out;
    for (; bytes >= 3; bytes -= 3, in += 3) {
        *to++ = letters[in[0] >> 2];
        *to++ = letters[(in[0] & 3) << 4 | in[1] >> 4];
        *to++ = letters[(in[1] & 15) << 2 | in[2] >> 6];
        *to++ = letters[in[2] & 63];
    }
    if (bytes > 0) {
        unsigned second = bytes > 1 ? in[1] : 0;
        *to++ = letters[in[0] >> 2];
        *to++ = letters[(in[0] & 3U) << 4 | second >> 4];
        *to++ = letters[(second & 15) << 2];
        if (bytes == 1)
            to[-1] = '=';
        *to++ = '=';
    }
    *to = '\0';
    return (size_t)(to - out);
}

/* What a letter of base64 says, and more than six bits for all else. */
static const uint8_t sextets[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

/* Each letter is one more than it says, so that nought is none. */
static inline uint32_t sextet(char c)
{
    return (uint32_t)sextets[(unsigned char)c] - 1;
}

size_t hash_unbase64(struct text coded, uint8_t *out)
{
    const char *at = coded.at;
    size_t len = coded.len, made = 0;
    while (len > 0 && len + 2 >= coded.len && at[len - 1] == '=')
        len--;
    if (len % 4 == 1 || (len != coded.len && coded.len % 4 != 0))
        return SIZE_MAX;
    for (; len >= 4; len -= 4, at += 4) {
        uint32_t a = sextet(at[0]), b = sextet(at[1]), c = sextet(at[2]), d = sextet(at[3]);
        if ((a | b | c | d) > 63)
            return SIZE_MAX;
        uint32_t word = a << 18 | b << 12 | c << 6 | d;
        out[made++] = (uint8_t)(word >> 16);
        out[made++] = (uint8_t)(word >> 8);
        out[made++] = (uint8_t)word;
    }
    if (len == 0)
        return made;
    uint32_t a = sextet(at[0]), b = sextet(at[1]), c = len > 2 ? sextet(at[2]) : 0;
    if ((a | b | c) > 63)
        return SIZE_MAX;
    out[made++] = (uint8_t)(a << 2 | b >> 4);
    if (len > 2)
        out[made++] = (uint8_t)(b << 4 | c >> 2);
    return made;
}
