/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * outbound_sign - the signature of a call that goes to AWS (providers/sigv4.h). Inside gateway.
 */

#include <sys/uio.h>

#include "gateway/exchange.h"

/* Sign the call with the keys of AWS that its target's provider has, or is given (sign_in.h), where
 * it has such and no api_key; else do nothing. <out>: its head so far, which says where it goes;
 * the lines of the signature are appended. <pieces>: all of its body. */
void outbound_sign(struct exchange *x, struct buffer *out, const struct iovec *pieces, int count);
