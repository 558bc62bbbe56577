/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/admin_inside.h"
#include "gateway/openapi.h"

void admin_openapi(struct service *service, struct config *config, struct admin_call *call)
{
    (void)service;
    (void)config;
    struct text document = {openapi_json, (size_t)(openapi_json_end - openapi_json)};
    call->status = 200;
    call->content_type = "application/json";
    if (!buffer_append_text(&call->out, document))
        admin_problem(call, 500, TEXT("the document does not fit"));
}
