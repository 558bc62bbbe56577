/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/anonymous.h"

const struct key *anonymous_key(const struct config *config, const struct directory *directory)
{
    if (!config->anonymous || (config->anonymous_implied && (directory_has_stored(directory) ||
                                                             directory_is_unknown(directory))))
        return NULL;
    return config->anonymous_key;
}

bool anonymous_refuse(const struct config *config, const struct directory *directory, bool shown,
                      struct fault *fault, const char *words)
{
    if (directory_is_unknown(directory) && (shown || config->anonymous_implied))
        return fault_set(fault, FAULT_STORE_AWAY,
                         "Which tenants and keys there are is not known yet: Redis has not "
                         "answered since this node was set up.");
    return fault_set(fault, FAULT_BAD_KEY, "%s", words);
}
