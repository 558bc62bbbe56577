/* SPDX-License-Identifier: Apache-2.0 */

/* The PROXY header of a load balancer. First byte: which versions are allowed. However much of it
 * has come, the judgement is the same once there is one: nothing is done before it is whole, what
 * stands behind it changes nothing, and the peer is an address. */

#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/http/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { INPUT_MAX = 4096 };

struct outcome {
    enum proxy_result result;
    size_t length;
    char peer[PROXY_PEER_BYTES];
};

static struct outcome read_head(struct text bytes, uint8_t versions)
{
    struct outcome outcome = {.length = 0};
    char *own = malloc(bytes.len ? bytes.len : 1); /* what is read behind it is seen */
    memcpy(own, bytes.at, bytes.len);
    outcome.result = proxy_read((struct text){own, bytes.len}, versions & 1, versions & 2,
                                &outcome.length, outcome.peer);
    free(own);
    return outcome;
}

static bool is_address(const char *peer)
{
    struct in6_addr address;
    return !peer[0] || inet_pton(AF_INET, peer, &address) == 1 ||
           inet_pton(AF_INET6, peer, &address) == 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > INPUT_MAX)
        return 0;
    struct text rest = {(const char *)bytes + 1, len - 1};
    struct outcome whole = read_head(rest, bytes[0]);
    assert(memchr(whole.peer, 0, sizeof(whole.peer)) && is_address(whole.peer));
    assert(whole.result != PROXY_READ_DONE || (whole.length && whole.length <= rest.len));
    for (size_t i = 0; i < rest.len; i++) {
        struct outcome part = read_head(text_head(rest, i), bytes[0]);
        if (part.result == PROXY_READ_DONE)
            assert(whole.result == PROXY_READ_DONE && i >= whole.length &&
                   part.length == whole.length && !strcmp(part.peer, whole.peer));
        else if (part.result == PROXY_READ_BAD)
            assert(whole.result == PROXY_READ_BAD);
        else
            assert(whole.result != PROXY_READ_DONE || i < whole.length);
    }
    return 0;
}
