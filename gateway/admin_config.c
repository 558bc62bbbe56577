/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: shown, compared with the file, and read anew. On the service's thread. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/admin_inside.h"
#include "gateway/answer.h"
#include "gateway/service_state.h"

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
    json_text_member(&json, "title", text_of(answer_reason(422)));
    json_int_member(&json, "status", 422);
    json_text_member(&json, "detail",
                     TEXT("the configuration has errors; the old one stays in force"));
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
void admin_config_reload(struct service *service, struct config *config, struct admin_call *call)
{
    (void)config;
    if (service_is_upgrading(service)) /* who takes over has read the file already */
        admin_problem(call, 503, TEXT("an upgrade is under way; try again"));
    else if (service_reload(service))
        write_good(service, call, &service->last_reload);
    else
        write_bad(service, call, &service->last_reload);
}

/* What a reload would do, without doing it. */
void admin_config_diff(struct service *service, struct config *config, struct admin_call *call)
{
    struct reload_outcome outcome;
    struct config_options load = *service->options->load;
    struct made_list *made = made_read(service->made);
    load.made = made;
    struct config *next = reload_load(&load, config, service->start, &outcome);
    made_list_free(made);
    if (next != NULL) {
        write_good(service, call, &outcome);
        config_unref(next);
    } else {
        write_bad(service, call, &outcome);
    }
    reload_outcome_done(&outcome);
}

/* ---------------------------------------------------------------------------- configuration */

void admin_config(struct service *service, struct config *config, struct admin_call *call)
{
    (void)service;
    char *words = NULL, room[ADMIN_VALUE_BYTES];
    size_t length = 0;
    struct text origin;
    if (!admin_value(call, "origin", room, &origin))
        return;
    bool plain = text_equal(origin, TEXT("false"));
    if (origin.len > 0 && !plain && !text_equal(origin, TEXT("true"))) {
        admin_field_problem(call, 400, "origin", TEXT("origin is true or false"));
        return;
    }
    FILE *out = open_memstream(&words, &length);
    assert(out != NULL);
    /* Of a secret that somebody made up himself its hash is enough to guess it. */
    bool sees_hashes = call->caller.role == ADMIN_ROLE_ADMIN;
    config_show(config, out, (plain ? 0 : SHOW_ORIGINS) | (sees_hashes ? SHOW_HASHES : 0));
    fclose(out);
    if (buffer_append(&call->out, words, length)) {
        call->status = 200;
        call->content_type = "application/yaml";
    } else {
        admin_problem(call, 500, TEXT("the configuration is too long to be shown"));
    }
    free(words);
}
