/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * miscount - what a provider's count cannot be right in.
 *
 * Some servers say nothing of the prompt, or something that is no count; count before they have
 * written all of the answer; give a total that is no sum; or tell of each picture when it is whole,
 * and not of the one that the client left at. What they did say counts, zeros too, and the rest is
 * estimated, as where nobody counts.
 */

#include "gateway/exchange.h"

/* Mend <usage>, which the provider of <x> has told at its end; true where something was estimated.
 * <cut>: the answer was not seen to its end. */
bool miscount_mend(const struct exchange *x, bool cut, struct usage *usage);
