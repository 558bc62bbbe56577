/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/abandoned.h"

#include "gateway/admission.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/reserve.h"
#include "gateway/steps.h"
#include "gateway/worker_inside.h"

enum { TAGS_ROOM = 240 };

bool abandoned_is_paid(const struct exchange *x)
{
    bool given_up =
        exchange_why(x)->kind == FAULT_TARGET_SLOW || exchange_why(x)->kind == FAULT_TOO_LATE;
    return x->target && operation_has_tokens(x->call.operation) &&
           (x->was_begun || (x->was_sent && given_up));
}

static void fill(struct exchange *x, char id[32], struct ledger_row *row)
{
    bool was_opened = x->opened;
    worker_new_id(x->worker, id);
    x->opened = true; /* no reservation in this one */
    admission_row(x, row);
    x->opened = was_opened;
    row->id = text_of(id);
    row->tags = row->tags.len ? arena_format(&x->arena, "abandoned=1,%.*s",
                                             TEXT_ARGS(text_head(row->tags, TAGS_ROOM)))
                              : TEXT("abandoned=1");
    row->attempts = 1;
    row->outcome = LEDGER_PARTIAL;
    row->status = (int)fault_rule(exchange_why(x)->kind)->status;
    row->fault = text_of(fault_rule(exchange_why(x)->kind)->name);
    step_count(x, row);
    row->duration_us = (int64_t)(clock_now_us() - x->begun_us);
}

bool abandoned_book(struct exchange *x)
{
    char id[32];
    struct ledger_row row;
    struct ledger_mark mark = {0};
    fill(x, id, &row);
    if (!reserve_beside(x, &row.usage, row.cost_nanos))
        return false;
    if (!ledger_open_call(x->worker->journal, &row, &mark)) {
        reserve_beside_not(x, &row.usage, row.cost_nanos);
        return false;
    }
    ledger_settle_call(x->worker->journal, &row, &mark);
    metrics_call(x->worker->metrics, &row, row.model);
    log_line(LOG_INFO, "upstream", "%s: the try on target %.*s is booked as %s", x->id,
             TEXT_ARGS(row.target), id);
    return true;
}
