/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sizes - does a call fit what a provider takes at most (`limits` of its row in
 * providers/providers.json)? Inside gateway.
 *
 * What its provider would refuse is not sent: another target that has more room is asked, and where
 * there is none the client is told which limit it was.
 */

#include "gateway/exchange.h"

/* Ask once the call is ready for its present target (crossing_prepare). False, with a fault that
 * names the limit, when the target's provider would refuse it. */
bool sizes_fit(struct exchange *x);
