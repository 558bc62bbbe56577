/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * anonymous - who may call without a key. Functions of what they are given: any thread.
 */

#include "gateway/config/config.h"
#include "policy/directory.h"

/* The key that callers without one have, or NULL where one is needed: where the configuration does
 * not let them in; and where it does so for want of tenants alone, once there is a tenant or a key
 * that was made through the API, and until that is known. At once. Borrowed from <config>. */
const struct key *anonymous_key(const struct config *config, const struct directory *directory);

/* Refuse who has shown no key that opens something (<shown>: but one that is not known): as
 * <words> say (text that lives for ever), or, while nobody can know, because Redis is away. False.
 */
bool anonymous_refuse(const struct config *config, const struct directory *directory, bool shown,
                      struct fault *fault, const char *words);
