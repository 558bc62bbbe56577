/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * outbound - what goes up to a provider: where it is, which header lines, and the body with what
 * policy changes spliced in.
 */

#include "gateway/config/config.h"
#include "gateway/exchange.h"
#include "gateway/wire/upstream.h"

struct mock;
struct snapshot;

/* The connections to <provider>; <workers> share what it allows. NULL and *fault when it cannot be
 * reached at all (off, bad TLS files, bad proxy). */
struct upstream_pool *outbound_pool(struct upstreams *upstreams,
                                    const struct provider_settings *provider, unsigned workers,
                                    struct mock *mock, struct fault *fault);

/* Does a client's header of that name go up as it is? */
bool outbound_forwards(struct text name);

/* Append the head of a POST of our own: to <suffix> ("/embeddings") behind the target's base,
 * with its provider's credentials, for a JSON body of <length> bytes. It is one of <snapshot>'s. */
void outbound_put_post(struct buffer *out, const struct snapshot *snapshot,
                       const struct target *target, struct text suffix, size_t length);

/* The same of a call of a client: with <forward>, header lines of its dialect. */
void outbound_put_copy(struct buffer *out, const struct snapshot *snapshot,
                       const struct target *target, struct text suffix, struct text forward,
                       size_t length);

/* The same of a GET. */
void outbound_put_get(struct buffer *out, const struct snapshot *snapshot,
                      const struct target *target, struct text suffix);

/* Write the request for the exchange's present target into its arena and hand it to its upstream
 * call, which must be connected. */
void outbound_send(struct exchange *x);
