/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * owning - who may call a deployment that belongs to a tenant: that tenant, whatever its list of
 * models says, and nobody else; to others it is not there. Inside gateway.
 */

#include "policy/policy.h"
#include "routing/route.h"

/* Does it belong to another tenant than <key>'s? Then there is no such model for it. */
bool owning_hides(const struct key *key, const struct route *route);
/* May <key> call <route>, which it asks for as <asked>? */
bool owning_may_call(const struct key *key, const struct route *route, struct text asked);
