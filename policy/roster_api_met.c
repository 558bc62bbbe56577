/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many limits a call would meet once a record is as it shall be: of its key, its tenant, those
 * above, and its end user. More than a reservation has room for is refused here, where somebody can
 * mend it, and not with every call.
 */
#include "policy/roster_api.h"

struct meeting {
    const struct roster_record *record;
    size_t most;
};

/* Of a call for <tenant>; <own>, of its key, may be NULL. *within: the record is one of those that
 * it meets. */
static size_t met_by(const struct roster_record *record, const struct limit_list *own,
                     const struct tenant *tenant, bool *within)
{
    size_t met = own ? limits_met(own) : 0;
    *within = false;
    for (const struct tenant *at = tenant; at; at = at->parent) {
        bool is_it = record && record->kind == RECORD_TENANT && text_equal(at->name, record->name);
        met += limits_met(is_it ? &record->limits : &at->limits);
        if (at == tenant)
            met += limits_met(is_it ? &record->user_limits : &at->user_limits);
        *within = *within || is_it;
    }
    return met;
}

static void see(struct meeting *meeting, const struct limit_list *own, const struct tenant *tenant)
{
    bool within;
    size_t met = met_by(meeting->record, own, tenant, &within);
    if (within && met > meeting->most)
        meeting->most = met;
}

static void see_key(void *with, const struct key *key)
{
    see(with, &key->limits, key->tenant);
}

static void see_tenant(void *with, const struct tenant *tenant)
{
    see(with, NULL, tenant);
}

/* Of a tenant that is there: what it sets, all that is in it meets. */
static size_t most_within(const struct directory *view, const struct roster_record *record)
{
    struct meeting meeting = {.record = record};
    directory_each_tenant(view, see_tenant, &meeting);
    directory_each_key(view, see_key, &meeting);
    return meeting.most;
}

static bool has_more(const struct roster_record *record, const struct roster_record *before)
{
    return limits_met(&record->limits) > limits_met(&before->limits) ||
           limits_met(&record->user_limits) > limits_met(&before->user_limits);
}

bool may_meet(struct asking *asking, const struct roster_record *record)
{
    const struct directory *view = asking->view;
    const struct roster_record *before = directory_record(view, record->kind, record->id);
    const struct tenant *owner = directory_find_tenant(view, record->owner);
    bool within;
    if (before && !has_more(record, before)) /* be it too much: it is no more than it was */
        return true;
    size_t met = met_by(NULL, &record->limits, owner, &within);
    if (record->kind == RECORD_TENANT && before)
        met = most_within(view, record);
    else if (record->kind == RECORD_TENANT) /* the end users of the one above are not its own */
        met += limits_met(&record->user_limits) - (owner ? limits_met(&owner->user_limits) : 0);
    if (met > USES_MAX)
        answer(asking, 400,
               "A call would meet %zu limits and budgets here, with those of the tenants above, of "
               "its end user and limits.default; at most %d can be.",
               met, USES_MAX);
    return met <= USES_MAX;
}
