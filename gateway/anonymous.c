/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/anonymous.h"

const struct key *anonymous_key(const struct config *config, const struct directory *directory)
{
    if (!config->anonymous || (config->anonymous_implied && directory_has_stored(directory)))
        return NULL;
    return config->anonymous_key;
}
