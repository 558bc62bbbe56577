/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * outbound_edit - the body of a call that goes up, with what policy and the target change spliced
 * in: the model's name, the longest answer, usage in a stream. Inside gateway.
 */

#include <sys/uio.h>

#include "gateway/exchange.h"

/* The body for the exchange's present target - the client's own, or the translated one - as
 * <pieces> behind <count> others; they borrow from the exchange. Returns how many there are then,
 * at most UPSTREAM_PIECES, and in *total the bytes of the body. */
int outbound_edit(struct exchange *x, bool claude_on_vertex, struct iovec *pieces, int count,
                  uint64_t *total);
