/* SPDX-License-Identifier: Apache-2.0 */
/* What was used, summed up. On the ledger's desk. */
#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/service_state.h"
#include "gateway/usage_query.h"

enum { ROWS_MAX = 100000 };

void admin_ledger_problem(struct admin_call *call, const struct fault *fault)
{
    if (fault->kind == FAULT_TOO_LARGE)
        admin_field_problem(call, 400, "by", text_of(fault->text));
    else if (fault->kind == FAULT_STORE_AWAY)
        admin_problem(call, 503, text_of(fault->text));
    else
        admin_problem(call, 500, text_of(fault->text));
}

void admin_usage(struct service *service, struct config *config, struct admin_call *call)
{
    char room[ADMIN_VALUE_BYTES];
    struct text by;
    struct admin_filter filter;
    struct admin_times times;
    struct usage_query query;
    struct fault fault;
    (void)config;
    if (!admin_value(call, "by", room, &by) || !admin_times_read(call, TEXT("30d"), &times) ||
        !admin_filter_read(call, &filter))
        return;
    if (!usage_query_read(by, times.since, times.until, clock_wall_us(), &query, &fault)) {
        admin_field_problem(call, 400, fault.param, text_of(fault.text));
        return;
    }
    query.filter = &filter.calls;
    query.rows_max = ROWS_MAX;
    if (!admin_nodes_read(service, call, &query.with_others))
        return;
    struct usage_report *report = usage_query_run(&query, service->start, &fault);
    if (report == NULL) {
        admin_ledger_problem(call, &fault);
        return;
    }
    struct json_write json = {.out = &call->out};
    usage_write_json(&query, report, &json);
    usage_report_free(report);
    admin_done(call, &json);
}
