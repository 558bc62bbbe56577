/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants and keys: the roster answers; docs/KEYS.md has the shapes. */
#include "gateway/admin_inside.h"
#include "gateway/service_state.h"
#include "policy/directory.h"

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
        call->status = ask.status;
        call->content_type = "application/json";
        buffer_append_text(&call->out, buffer_text(&ask.out));
    } else {
        admin_problem(call, ask.status, buffer_text(&ask.out));
    }
    buffer_done(&ask.out);
}
