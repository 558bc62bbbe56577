/* SPDX-License-Identifier: Apache-2.0 */
/* Single calls. On the ledger's desk. */
#include <stdio.h>

#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/decided.h"
#include "gateway/service_state.h"
#include "gateway/usage_query.h"

enum { CATCH_UP_US = 1000000 };

/* A place as "20000-123" or, with other nodes, "20000-123-1763913600123-5". */
static bool read_place(struct text t, struct rows_place *place)
{
    uint64_t numbers[4] = {0};
    struct text number;
    size_t count = 0;
    for (; count < 4 && text_next(&t, '-', &number); count++)
        if (!text_number(number, INT64_MAX, &numbers[count]))
            return false;
    if ((count != 2 && count != 4) || t.len > 0 || numbers[0] > 1 << 30)
        return false;
    *place = (struct rows_place){(int64_t)numbers[0], (int64_t)numbers[1], (int64_t)numbers[2],
                                 (int64_t)numbers[3]};
    return true;
}

static bool read_times(struct admin_call *call, struct rows_question *question)
{
    struct admin_times times;
    struct fault fault;
    int64_t now = clock_wall_us();
    question->until_us = INT64_MAX;
    if (!admin_times_read(call, TEXT(""), &times))
        return false;
    if ((times.since.len == 0 ||
         usage_time_read("since", times.since, now, &question->since_us, &fault)) &&
        (times.until.len == 0 ||
         usage_time_read("until", times.until, now, &question->until_us, &fault)))
        return true;
    admin_field_problem(call, 400, fault.param, text_of(fault.text));
    return false;
}

static bool read_order(struct admin_call *call, bool *oldest_first)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    if (!admin_value(call, "order", room, &value))
        return false;
    *oldest_first = text_equal(value, TEXT("asc"));
    if (value.len == 0 || *oldest_first || text_equal(value, TEXT("desc")))
        return true;
    admin_field_problem(call, 400, "order", TEXT("order is asc or desc"));
    return false;
}

static bool read_after(struct admin_call *call, struct rows_question *question,
                       struct rows_place *after)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    if (!admin_value(call, "after", room, &value))
        return false;
    if (value.len == 0)
        return true;
    question->after = after;
    if (read_place(value, after))
        return true;
    admin_field_problem(call, 400, "after", TEXT("after is what the page before called next"));
    return false;
}

static void write_one(void *with, const struct ledger_row *row)
{
    call_write_json(row, with);
}

static void write_next(struct json_write *json, enum rows_result result, struct rows_place next)
{
    char cursor[96];
    int len =
        snprintf(cursor, sizeof cursor, "%lld-%lld", (long long)next.day, (long long)next.row);
    if (next.other_ms > 0)
        snprintf(cursor + len, sizeof cursor - (size_t)len, "-%lld-%lld", (long long)next.other_ms,
                 (long long)next.other);
    json_name(json, "next");
    if (result == ROWS_MORE)
        json_text(json, text_of(cursor));
    else
        json_null(json);
}

void admin_requests(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct admin_filter filter;
    struct rows_place after, next;
    struct fault fault;
    bool others_away = false;
    struct rows_question question = {.database = service->start->database,
                                     .see = write_one,
                                     .with = &json,
                                     .others_away = &others_away};
    (void)config;
    if (!admin_nodes_read(service, call, &question.with_others) || !read_times(call, &question) ||
        !read_order(call, &question.oldest_first) || !read_after(call, &question, &after) ||
        !admin_limit(call, &question.max) || !admin_filter_read(call, &filter))
        return;
    question.filter = filter.calls;
    bool is_up_to_date = ledger_catch_up(service->ledger, CATCH_UP_US);
    json_open(&json, '{');
    json_name(&json, "data");
    json_open(&json, '[');
    enum rows_result result = rows_read(&question, &next, &fault);
    if (result == ROWS_FAILED) {
        admin_ledger_problem(call, &fault);
        return;
    }
    json_close(&json, ']');
    write_next(&json, result, next);
    json_bool_member(&json, "up_to_date", is_up_to_date && !others_away);
    json_close(&json, '}');
    admin_done(call, &json);
}

/* What is written of a single call. */
struct single {
    struct service *service;
    const struct config *config;
    bool with_decision; /* who sees no targets sees none considered either */
    bool with_content;  /* only who may do all */
    struct json_write *json;
};

static void write_single(void *with, const struct ledger_row *row)
{
    const struct single *single = with;
    json_open(single->json, '{');
    call_write_members(row, single->json);
    if (single->with_decision) {
        char *directory = memory_format("%s/decisions", single->service->start->state);
        json_name(single->json, "decision");
        decided_write(directory, single->config, row, single->json);
        memory_free(directory);
    }
    if (single->with_content) {
        json_name(single->json, "content");
        admin_content_write(single->service, row, single->json);
    }
    json_close(single->json, '}');
}

void admin_request(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct admin_filter filter;
    struct fault fault;
    struct single single = {.service = service,
                            .config = config,
                            .with_decision = call->caller.role != ADMIN_ROLE_TENANT,
                            .with_content = call->caller.role == ADMIN_ROLE_ADMIN,
                            .json = &json};
    struct rows_question question = {
        .database = service->start->database, .see = write_single, .with = &single};
    if (!admin_nodes_read(service, call, &question.with_others) || !read_times(call, &question) ||
        !admin_filter_read(call, &filter))
        return;
    question.filter = filter.calls;
    bool is_up_to_date = ledger_catch_up(service->ledger, CATCH_UP_US);
    switch (rows_find(&question, text_of(call->id), &fault)) {
    case ROWS_END:
        admin_done(call, &json);
        break;
    case ROWS_MORE:
        if (is_up_to_date)
            admin_problem(call, 404, TEXT("there is no such call, or it has not ended yet"));
        else
            admin_problem(call, 503, TEXT("not all calls are in the store yet; try again"));
        break;
    case ROWS_FAILED:
        admin_ledger_problem(call, &fault);
        break;
    }
}
