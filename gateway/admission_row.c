/* SPDX-License-Identifier: Apache-2.0 */
/* What is booked of who calls for what: the part of the ledger's row that is known beforehand. */
#include "gateway/admin.h"
#include "gateway/admission.h"
#include "gateway/batch.h"
#include "gateway/crossing.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

static void reserve(struct exchange *x, struct ledger_row *row)
{
    if (x->background) /* it will be booked at this: its body is there now */
        reserve_estimate(x);
    reserve_row(x, row);
    if (x->batch)
        batch_bound(x->batch, row);
}

static bool keeps_little(const struct exchange *x)
{
    return x->snapshot->config->capture == CAPTURE_NOTHING;
}

struct text admission_booked_user(const struct exchange *x)
{
    bool counts = x->key && x->key->tenant->user_limits.count > 0;
    return keeps_little(x) && !counts ? (struct text){"", 0} : x->call.user;
}

struct text admission_booked_tags(const struct exchange *x)
{
    if (!keeps_little(x))
        return x->tags;
    return x->key ? x->key->tags : (struct text){"", 0};
}

void admission_row(struct exchange *x, struct ledger_row *row)
{
    *row = (struct ledger_row){
        .id = text_of(x->id),
        .started_us = x->started_wall_us,
        .user = admission_booked_user(x),
        .tags = admission_booked_tags(x),
        .model = x->call.model.len || !x->route ? x->call.model : x->route->name,
        .dialect = x->match.dialect.len ? x->match.dialect : TEXT("openai"),
        .operation = text_of(operation_name(x->call.operation)),
        .stream = x->call.stream,
        .attempts = x->attempts,
    };
    if (x->match.shape == SHAPE_PROBLEM) { /* only for the log: no call of a model */
        row->dialect = row->operation = TEXT("admin");
        row->tenant = text_of(x->admin ? x->admin->tenant : "");
        row->key = text_of(x->admin ? x->admin->name : "");
    }
    if (x->key) {
        row->tenant = x->key->tenant->name;
        row->key = x->key->name;
    }
    if (x->target) {
        row->target = x->target->id;
        row->provider = x->target->provider->name;
        row->upstream_model = x->upstream_model;
        row->upstream_dialect = crossing_target_dialect(x);
        row->price_version = x->target->price.version;
    }
    if (!x->settled && !x->opened)
        reserve(x, row);
}
