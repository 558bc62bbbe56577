/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/fault.h"

#include <stdarg.h>
#include <stdio.h>

#define BAD "invalid_request_error"
#define SRV "server_error"

/* clang-format off */
static const struct fault_rule rules[FAULT_KINDS] = {
    /*                         name               status type                code                    anthropic                gemini                 retry  blame */
    [FAULT_NONE] =           {"none",             200, "",                 NULL,                   "",                      "",                    false, false},
    [FAULT_BAD_HTTP] =       {"bad_http",         400, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_BAD_REQUEST] =    {"bad_request",      400, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_BAD_KEY] =        {"bad_key",          401, BAD,                "invalid_api_key",      "authentication_error",  "UNAUTHENTICATED",     false, false},
    [FAULT_MODEL_DENIED] =   {"model_denied",     403, "permission_error", "model_not_allowed",    "permission_error",      "PERMISSION_DENIED",   false, false},
    [FAULT_UNKNOWN_PATH] =   {"unknown_path",     404, BAD,                NULL,                   "not_found_error",       "NOT_FOUND",           false, false},
    [FAULT_UNKNOWN_MODEL] =  {"unknown_model",    404, BAD,                "model_not_found",      "not_found_error",       "NOT_FOUND",           false, false},
    [FAULT_UNKNOWN_OBJECT] = {"unknown_object",   404, BAD,                NULL,                   "not_found_error",       "NOT_FOUND",           false, false},
    [FAULT_BAD_METHOD] =     {"bad_method",       405, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_TIMED_OUT] =      {"timed_out",        408, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_NO_LENGTH] =      {"no_length",        411, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_TOO_LARGE] =      {"too_large",        413, BAD,                "request_too_large",    "request_too_large",     "INVALID_ARGUMENT",    false, false},
    [FAULT_LONG_TARGET] =    {"long_target",      414, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_BAD_MEDIA] =      {"bad_media",        415, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_BAD_EXPECT] =     {"bad_expect",       417, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_LARGE_HEAD] =     {"large_head",       431, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_BAD_TRANSFER] =   {"bad_transfer",     501, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_GUARDED] =        {"guarded",          400, BAD,                "content_policy_violation", BAD,                 "INVALID_ARGUMENT",    false, false},
    [FAULT_CONFLICT] =       {"conflict",         409, BAD,                "idempotency_conflict", BAD,                     "ABORTED",             false, false},
    [FAULT_RATE_REQUESTS] =  {"rate_requests",    429, "requests",         "rate_limit_exceeded",  "rate_limit_error",      "RESOURCE_EXHAUSTED",  false, false},
    [FAULT_RATE_TOKENS] =    {"rate_tokens",      429, "tokens",           "rate_limit_exceeded",  "rate_limit_error",      "RESOURCE_EXHAUSTED",  false, false},
    [FAULT_BUDGET] =         {"budget",           429, "insufficient_quota", "insufficient_quota", "rate_limit_error",      "RESOURCE_EXHAUSTED",  false, false},
    [FAULT_STORE_AWAY] =     {"store_away",       503, SRV,                "store_unavailable",    "api_error",             "UNAVAILABLE",         false, false},
    [FAULT_UNSUPPORTED] =    {"unsupported",      400, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_NOT_SET_UP] =     {"not_set_up",       501, BAD,                NULL,                   BAD,                     "UNIMPLEMENTED",       false, false},
    [FAULT_BAD_VERSION] =    {"bad_version",      505, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_TARGET_BUSY] =    {"target_busy",      429, "requests",         "rate_limit_exceeded",  "rate_limit_error",      "RESOURCE_EXHAUSTED",  true,  false},
    [FAULT_TARGET_ERROR] =   {"target_error",     503, SRV,                "upstream_unavailable", "overloaded_error",      "UNAVAILABLE",         true,  true},
    [FAULT_TARGET_REFUSED] = {"target_refused",   400, BAD,                NULL,                   BAD,                     "INVALID_ARGUMENT",    false, false},
    [FAULT_TARGET_DOWN] =    {"target_down",      503, SRV,                "upstream_unavailable", "overloaded_error",      "UNAVAILABLE",         true,  true},
    [FAULT_TARGET_SLOW] =    {"target_slow",      504, SRV,                "upstream_timeout",     "timeout_error",         "DEADLINE_EXCEEDED",   true,  true},
    [FAULT_TOO_LATE] =       {"too_late",         504, SRV,                "upstream_timeout",     "timeout_error",         "DEADLINE_EXCEEDED",   false, false},
    [FAULT_TARGET_INVALID] = {"target_invalid",   502, SRV,                "upstream_invalid",     "api_error",             "INTERNAL",            true,  true},
    [FAULT_TARGET_CUT] =     {"target_cut",       502, SRV,                "upstream_invalid",     "api_error",             "INTERNAL",            false, true},
    [FAULT_NO_TARGET] =      {"no_target",        503, SRV,                "upstream_unavailable", "overloaded_error",      "UNAVAILABLE",         false, false},
    [FAULT_OVERLOADED] =     {"overloaded",       503, SRV,                "overloaded",           "overloaded_error",      "UNAVAILABLE",         false, false},
    [FAULT_LEDGER_FULL] =    {"ledger_full",      503, SRV,                "overloaded",           "overloaded_error",      "UNAVAILABLE",         false, false},
    [FAULT_CLIENT_GONE] =    {"client_gone",      499, "",                 NULL,                   "",                      "",                    false, false},
    [FAULT_INTERNAL] =       {"internal",         500, SRV,                "internal_error",       "api_error",             "INTERNAL",            false, false},
};
/* clang-format on */

const struct fault fault_none = {.kind = FAULT_NONE};

const struct fault_rule *fault_rule(enum fault_kind kind)
{
    return &rules[kind];
}

bool fault_set(struct fault *fault, enum fault_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fault->kind = kind;
    fault->param = NULL;
    vsnprintf(fault->text, sizeof(fault->text), format, args);
    va_end(args);
    return false;
}
