/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants and keys: the roster answers; docs/KEYS.md has the shapes. */
#include <stdio.h>

#include "gateway/admin_inside.h"
#include "gateway/service_state.h"
#include "policy/directory.h"

/* The member that the words of a refusal begin with: "'name' is …". */
static void refuse(struct admin_call *call, int status, struct text words)
{
    char field[ADMIN_NAME_BYTES] = "";
    size_t end = text_find_byte(text_from(words, 1), '\'');
    if (status == 400 && text_starts(words, TEXT("'")) && end < sizeof field)
        snprintf(field, sizeof field, "%.*s", (int)end, words.at + 1);
    admin_field_problem(call, status, field, words);
}

void admin_roster(struct service *service, struct config *config, struct admin_call *call)
{
    bool is_bound = call->caller.role == ADMIN_ROLE_TENANT;
    struct roster_call ask = {
        .method = method_name(call->method == METHOD_HEAD ? METHOD_GET : call->method),
        .path = text_from(call->path, sizeof "/admin/v1/" - 1),
        .query = call->query,
        .body = call->body,
        .only_tenant = text_of(is_bound ? call->caller.tenant : "")};
    (void)config;
    buffer_init(&ask.out, ADMIN_ANSWER_BYTES);
    roster_ask(service->roster, &ask);
    if (ask.status / 100 == 2) {
        bool is_gone =
            call->method == METHOD_DELETE && text_equal(call->route->path, TEXT("/tenants/{id}"));
        call->status = is_gone ? 204 : ask.status;
        call->content_type = "application/json";
        if (!is_gone)
            buffer_append_text(&call->out, buffer_text(&ask.out));
    } else {
        refuse(call, ask.status, buffer_text(&ask.out));
    }
    buffer_done(&ask.out);
}
