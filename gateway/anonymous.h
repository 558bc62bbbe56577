/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * anonymous - who may call without a key. Functions of what they are given: any thread.
 */

#include "gateway/config/config.h"
#include "policy/directory.h"

/* The key that callers without one have, or NULL where one is needed: where the configuration does
 * not let them in; and where it does so for want of tenants alone, once there is a tenant or a key
 * that was made through the API. At once. Borrowed from <config>. */
const struct key *anonymous_key(const struct config *config, const struct directory *directory);
