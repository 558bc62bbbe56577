/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/access_field.h"

/* clang-format off */
static const char *const names[ACCESS_FIELDS] = {
    [ACCESS_TS] = "ts",
    [ACCESS_LEVEL] = "level",
    [ACCESS_COMPONENT] = "component",
    [ACCESS_MSG] = "msg",
    [ACCESS_REQUEST_ID] = "request_id",
    [ACCESS_TRACE_ID] = "trace_id",
    [ACCESS_LISTENER] = "listener",
    [ACCESS_PEER] = "peer",
    [ACCESS_METHOD] = "method",
    [ACCESS_PATH] = "path",
    [ACCESS_TENANT] = "tenant",
    [ACCESS_KEY] = "key",
    [ACCESS_TAGS] = "tags",
    [ACCESS_OPERATION] = "operation",
    [ACCESS_DIALECT] = "dialect",
    [ACCESS_MODEL] = "model",
    [ACCESS_ROUTE] = "route",
    [ACCESS_RULE] = "rule",
    [ACCESS_PROVIDER] = "provider",
    [ACCESS_TARGET] = "target",
    [ACCESS_UPSTREAM_MODEL] = "upstream_model",
    [ACCESS_STATUS] = "status",
    [ACCESS_OUTCOME] = "outcome",
    [ACCESS_ERROR_TYPE] = "error.type",
    [ACCESS_STREAM] = "stream",
    [ACCESS_ATTEMPTS] = "attempts",
    [ACCESS_TTFT_MS] = "ttft_ms",
    [ACCESS_DURATION_MS] = "duration_ms",
    [ACCESS_OVERHEAD_MS] = "overhead_ms",
    [ACCESS_INPUT_TOKENS] = "input_tokens",
    [ACCESS_OUTPUT_TOKENS] = "output_tokens",
    [ACCESS_CACHED_TOKENS] = "cached_tokens",
    [ACCESS_CACHE_WRITE_TOKENS] = "cache_write_tokens",
    [ACCESS_REASONING_TOKENS] = "reasoning_tokens",
    [ACCESS_UNITS] = "units",
    [ACCESS_COUNTED] = "counted",
    [ACCESS_SERVICE_TIER] = "service_tier",
    [ACCESS_COST_USD] = "cost_usd",
    [ACCESS_FINISH] = "finish",
    [ACCESS_CACHE] = "cache",
    [ACCESS_BYTES_IN] = "bytes_in",
    [ACCESS_BYTES_OUT] = "bytes_out",
    [ACCESS_DECISION] = "decision",
};
/* clang-format on */

struct text access_field_name(size_t field)
{
    return field < ACCESS_FIELDS ? text_of(names[field]) : (struct text){NULL, 0};
}

enum access_field access_field_find(struct text name)
{
    size_t field = 0;
    while (field < ACCESS_FIELDS && !text_equal(text_of(names[field]), name))
        field++;
    return (enum access_field)field;
}
