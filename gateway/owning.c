/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/owning.h"

#include "gateway/config/config.h"

/* Whose the route is: of a deployment's own one; else empty, for all. */
static struct text owner_of(const struct route *route)
{
    const struct provider_settings *provider =
        route->target_count == 1 ? route->targets[0].provider : NULL;
    const struct deployment_spec *spec = provider ? provider->spec : NULL;
    bool own = spec && text_equal(route->name, route->targets[0].id);
    return own ? spec->tenant : (struct text){"", 0};
}

static bool is_of(const struct key *key, struct text owner)
{
    return key && key->tenant && text_equal(key->tenant->name, owner);
}

bool owning_hides(const struct key *key, const struct route *route)
{
    struct text owner = owner_of(route);
    return owner.len && !is_of(key, owner);
}

bool owning_may_call(const struct key *key, const struct route *route, struct text asked)
{
    struct text owner = owner_of(route);
    if (!owner.len)
        return key_may_call(key, asked) || key_may_call(key, route->name);
    return is_of(key, owner) &&
           (key->model_count == 0 || key_may_call(key, asked) || key_may_call(key, route->name));
}
