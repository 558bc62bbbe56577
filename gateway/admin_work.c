/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/admin_work.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/base/clock.h"
#include "gateway/http/path.h"
#include "gateway/service_state.h"
#include "gateway/usage_query.h"

enum { QUERY_VALUE_MAX = 256 };

/* ---------------------------------------------------------------------------- reload */

static void write_good(struct service *service, struct admin_call *call,
                       const struct reload_outcome *outcome)
{
    struct json_write json = {.out = &call->out};
    json_open(&json, '{');
    json_int_member(&json, "generation", (int64_t)service->config->generation);
    json_int_member(&json, "changes", outcome->changes);
    json_lines_member(&json, "changed", outcome->words);
    json_lines_member(&json, "needs_restart", outcome->restart);
    json_close(&json, '}');
    admin_done(call, &json);
}

static void write_bad(struct service *service, struct admin_call *call,
                      const struct reload_outcome *outcome)
{
    struct json_write json = {.out = &call->out};
    struct text rest = text_of(outcome->errors), line;
    json_open(&json, '{');
    json_text_member(&json, "type", TEXT("about:blank"));
    json_text_member(&json, "title", TEXT("The configuration has errors"));
    json_int_member(&json, "status", 422);
    json_text_member(&json, "detail", TEXT("the old configuration stays in force"));
    json_int_member(&json, "generation", (int64_t)service->config->generation);
    json_name(&json, "errors");
    json_open(&json, '[');
    while (text_next(&rest, '\n', &line))
        if (line.len > 0)
            json_raw(&json, line);
    json_close(&json, ']');
    json_lines_member(&json, "text", outcome->words);
    json_close(&json, '}');
    admin_done(call, &json);
    if (call->status == 200) {
        call->status = 422;
        call->content_type = "application/problem+json";
    }
}

/* This thread alone changes what is read here, so it needs no lock. */
static void work_reload(struct service *service, struct admin_call *call)
{
    if (service_reload(service))
        write_good(service, call, &service->last_reload);
    else
        write_bad(service, call, &service->last_reload);
}

/* What a reload would do, without doing it. */
static void work_diff(struct service *service, struct admin_call *call)
{
    struct reload_outcome outcome;
    struct config *next =
        reload_load(service->options->load, service->config, service->start, &outcome);
    if (next != NULL) {
        write_good(service, call, &outcome);
        config_unref(next);
    } else {
        write_bad(service, call, &outcome);
    }
    reload_outcome_done(&outcome);
}

/* ---------------------------------------------------------------------------- configuration */

static void work_config(struct service *service, struct admin_call *call)
{
    char *words = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&words, &length);
    assert(out != NULL);
    config_show(service->config, out, true);
    fclose(out);
    if (buffer_append(&call->out, words, length)) {
        call->status = 200;
        call->content_type = "application/yaml";
    } else {
        admin_problem(call, 500, "Too large", TEXT("the configuration is too long to be shown"));
    }
    free(words);
}

/* ---------------------------------------------------------------------------- usage */

/* A value of the query with its escapes resolved into <room>; false when it is bad. */
static bool query_value(struct text query, struct text name, char room[QUERY_VALUE_MAX],
                        struct text *value)
{
    struct text raw;
    bool is_repeated = false;
    *value = (struct text){"", 0};
    if (!query_find(query, name, &raw, &is_repeated))
        return true;
    size_t length = 0;
    if (raw.len == 0 && !is_repeated)
        return true;
    if (is_repeated || raw.len >= QUERY_VALUE_MAX || !path_decode(raw, room, &length))
        return false;
    *value = (struct text){room, length};
    return true;
}

static void work_usage(struct service *service, struct admin_call *call)
{
    char rooms[3][QUERY_VALUE_MAX];
    struct text by, since, until;
    struct usage_query query;
    struct fault fault;
    if (!query_value(call->query, TEXT("by"), rooms[0], &by) ||
        !query_value(call->query, TEXT("since"), rooms[1], &since) ||
        !query_value(call->query, TEXT("until"), rooms[2], &until)) {
        admin_problem(call, 400, "Bad query", TEXT("by, since and until may each stand once"));
        return;
    }
    if (!usage_query_read(by, since, until, clock_wall_us(), &query, &fault)) {
        admin_problem(call, 400, "Bad query", text_of(fault.text));
        return;
    }
    struct usage_report *report = usage_query_run(&query, service->start, &fault);
    if (report == NULL) {
        admin_problem(call, 500, "The ledger cannot be read", text_of(fault.text));
        return;
    }
    struct json_write json = {.out = &call->out};
    usage_write_json(&query, report, &json);
    usage_report_free(report);
    admin_done(call, &json);
}

void admin_work(struct service *service, struct admin_call *call)
{
    struct text path = text_from(call->path, sizeof "/admin/v1" - 1);
    if (text_equal(path, TEXT("/config/reload")))
        work_reload(service, call);
    else if (text_equal(path, TEXT("/config/diff")))
        work_diff(service, call);
    else if (text_equal(path, TEXT("/config")))
        work_config(service, call);
    else
        work_usage(service, call);
}
