/* SPDX-License-Identifier: Apache-2.0 */
/* Which calls a question is about: what its parameters say, and what the caller may see. */
#include <string.h>

#include "gateway/admin_inside.h"
#include "gateway/service_state.h"

/* ---------------------------------------------------------------------------- whose calls */

void admin_sight_init(struct admin_sight *sight, const struct admin_call *call, struct text asked)
{
    bool is_bound = call->caller.role == ADMIN_ROLE_TENANT;
    *sight = (struct admin_sight){.directory = call->directory, .asked = asked};
    sight->role_tenant = text_of(is_bound ? call->caller.tenant : "");
}

/* Is <name> the tenant <above>, or one in it? Those that are gone are in nobody. */
static bool is_below(const struct directory *directory, struct text name, struct text above)
{
    if (above.len == 0 || text_equal(name, above))
        return true;
    const struct tenant *tenant = directory_find_tenant(directory, name);
    while (tenant != NULL && !text_equal(tenant->name, above))
        tenant = tenant->parent;
    return tenant != NULL;
}

bool admin_sees(void *with, struct text tenant)
{
    struct admin_sight *sight = with;
    if (sight->has_last && text_equal(tenant, (struct text){sight->last, sight->last_len}))
        return sight->last_seen;
    bool seen = is_below(sight->directory, tenant, sight->role_tenant) &&
                is_below(sight->directory, tenant, sight->asked);
    sight->has_last = tenant.len < sizeof sight->last;
    if (sight->has_last) {
        memcpy(sight->last, tenant.at, tenant.len);
        sight->last_len = tenant.len;
        sight->last_seen = seen;
    }
    return seen;
}

/* ---------------------------------------------------------------------------- parameters */

/* "200", "4xx", "400-499". */
static bool read_status(struct text t, int *min, int *max)
{
    uint64_t low, high;
    if (t.len == 3 && text_ends(t, TEXT("xx")) && t.at[0] >= '1' && t.at[0] <= '5') {
        *min = (t.at[0] - '0') * 100;
        *max = *min + 99;
        return true;
    }
    struct text first = text_head(t, text_find_byte(t, '-'));
    struct text last = first.len < t.len ? text_from(t, first.len + 1) : first;
    if (!text_number(first, 999, &low) || !text_number(last, 999, &high) || low > high || low == 0)
        return false;
    *min = (int)low;
    *max = (int)high;
    return true;
}

bool admin_filter_read(struct admin_call *call, struct admin_filter *filter)
{
    struct text status, values[FILTER_NAMES];
    char room[ADMIN_VALUE_BYTES];
    memset(&filter->calls, 0, sizeof filter->calls);
    for (int i = 0; i < FILTER_NAMES; i++)
        if (!admin_value(call, usage_by_name((enum usage_by)i), filter->rooms[i], &values[i]))
            return false;
    if (!admin_value(call, "status", room, &status))
        return false;
    if (status.len > 0 &&
        !read_status(status, &filter->calls.status_min, &filter->calls.status_max)) {
        admin_field_problem(call, 400, "status", TEXT("status is 200, 4xx or 400-499"));
        return false;
    }
    /* A tenant stands for those in it, too. */
    admin_sight_init(&filter->sight, call, values[BY_TENANT]);
    for (int i = BY_TENANT + 1; i < FILTER_NAMES; i++)
        filter->calls.only[i] = values[i];
    if (filter->sight.role_tenant.len > 0 || filter->sight.asked.len > 0) {
        filter->calls.sees = admin_sees;
        filter->calls.with = &filter->sight;
    }
    return true;
}

bool admin_times_read(struct admin_call *call, struct text since_default, struct admin_times *times)
{
    if (!admin_value(call, "since", times->rooms[0], &times->since) ||
        !admin_value(call, "until", times->rooms[1], &times->until))
        return false;
    if (times->since.len == 0)
        times->since = since_default;
    return true;
}

bool admin_nodes_read(struct service *service, struct admin_call *call, struct ledger **ledger)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    if (!admin_value(call, "nodes", room, &value))
        return false;
    bool is_this = text_equal(value, TEXT("this"));
    *ledger = is_this ? NULL : service->ledger;
    if (is_this || value.len == 0 || text_equal(value, TEXT("all")))
        return true;
    admin_field_problem(call, 400, "nodes", TEXT("nodes is all or this"));
    return false;
}
