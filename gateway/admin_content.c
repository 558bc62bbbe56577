/* SPDX-License-Identifier: Apache-2.0 */
/* What was said in calls, where it is kept: shown, and deleted. On the ledger's desk. */
#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/scan.h"
#include "gateway/content.h"
#include "gateway/service_state.h"
#include "gateway/usage_query.h"

enum {
    CATCH_UP_US = 1000000,
    DELETE_US = 2000000, /* others wait for the desk, and who is stopped for its end */
};

/* They were written as JSON; what a damaged file gives may be none. */
static void write_value(struct json_write *json, const char *name, struct text value)
{
    json_name(json, name);
    if (value.len > 0 && scan_is_valid(value))
        json_raw(json, value);
    else
        json_null(json);
}

static void write_entry(void *with, const struct content_entry *entry)
{
    struct json_write *json = with;
    json_open(json, '{');
    write_value(json, "input", entry->input);
    write_value(json, "system", entry->system);
    write_value(json, "tools", entry->tools);
    write_value(json, "output", entry->output);
    json_bool_member(json, "cut", entry->cut);
    json_close(json, '}');
}

void admin_content_write(struct service *service, const struct ledger_row *row,
                         struct json_write *json)
{
    struct content_name name = {row->id, row->tenant, row->started_us};
    struct fault fault;
    content_catch_up(service->content, CATCH_UP_US);
    switch (content_find(service->content, &name, write_entry, json, &fault)) {
    case CONTENT_FOUND:
        return;
    case CONTENT_FAILED:
        log_line(LOG_WARN, "content", "what was said in %.*s cannot be read: %s",
                 TEXT_ARGS(row->id), fault.text);
        break;
    case CONTENT_NONE:
        break;
    }
    json_null(json);
}

/* Whose it is, and from when. */
struct question {
    struct admin_sight sight;
    struct text tenant, user;
    int64_t before_us;
    char rooms[3][ADMIN_VALUE_BYTES];
};

static bool read_question(struct admin_call *call, struct question *question)
{
    struct fault fault;
    struct text before;
    if (!admin_value(call, "tenant", question->rooms[0], &question->tenant) ||
        !admin_value(call, "user", question->rooms[1], &question->user) ||
        !admin_value(call, "until", question->rooms[2], &before))
        return false;
    if (before.len > 0 &&
        !usage_time_read("until", before, clock_wall_us(), &question->before_us, &fault)) {
        admin_field_problem(call, 400, fault.param, text_of(fault.text));
        return false;
    }
    if (question->tenant.len > 0 || question->user.len > 0 || before.len > 0)
        return true;
    admin_field_problem(call, 400, "tenant",
                        TEXT("say whose: tenant, user, until, or several of them"));
    return false;
}

void admin_content_delete(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct question question = {.before_us = INT64_MAX};
    struct fault fault;
    struct content_deleted deleted;
    (void)config;
    if (!read_question(call, &question))
        return;
    if (!content_catch_up(service->content, CATCH_UP_US)) {
        admin_problem(call, 503, TEXT("not all content is in the store yet; try again"));
        return;
    }
    admin_sight_init(&question.sight, call, question.tenant);
    struct content_wish wish = {.is_of = admin_sees,
                                .with = &question.sight,
                                .user = question.user,
                                .before_us = question.before_us,
                                .within_us = DELETE_US};
    if (!content_delete(service->content, &wish, &deleted, &fault)) {
        log_line(LOG_ERROR, "content", "not all of it was deleted: %s", fault.text);
        admin_problem(call, 503, TEXT("not all of it was deleted; the log says why"));
        return;
    }
    service_event(service, "admin", call->caller.name, "content of %lld calls deleted",
                  (long long)deleted.calls);
    json_open(&json, '{');
    json_int_member(&json, "deleted", deleted.calls);
    json_bool_member(&json, "more", deleted.more);
    json_close(&json, '}');
    admin_done(call, &json);
}
