/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * access_field - the members of a line in the access log (gateway/access.h), by their names: what
 * telemetry.access_log.fields chooses from. Nothing here fails.
 */

#include "gateway/base/text.h"

/* In the order in which a whole line has them. */
enum access_field {
    ACCESS_TS,
    ACCESS_LEVEL,
    ACCESS_COMPONENT,
    ACCESS_MSG,
    ACCESS_REQUEST_ID,
    ACCESS_TRACE_ID,
    ACCESS_LISTENER,
    ACCESS_PEER,
    ACCESS_METHOD,
    ACCESS_PATH,
    ACCESS_TENANT,
    ACCESS_KEY,
    ACCESS_TAGS,
    ACCESS_OPERATION,
    ACCESS_DIALECT,
    ACCESS_MODEL,
    ACCESS_ROUTE,
    ACCESS_RULE,
    ACCESS_PROVIDER,
    ACCESS_TARGET,
    ACCESS_UPSTREAM_MODEL,
    ACCESS_STATUS,
    ACCESS_OUTCOME,
    ACCESS_ERROR_TYPE,
    ACCESS_STREAM,
    ACCESS_ATTEMPTS,
    ACCESS_TTFT_MS,
    ACCESS_DURATION_MS,
    ACCESS_OVERHEAD_MS,
    ACCESS_INPUT_TOKENS,
    ACCESS_OUTPUT_TOKENS,
    ACCESS_CACHED_TOKENS,
    ACCESS_CACHE_WRITE_TOKENS,
    ACCESS_REASONING_TOKENS,
    ACCESS_UNITS,
    ACCESS_COUNTED,
    ACCESS_SERVICE_TIER,
    ACCESS_COST_USD,
    ACCESS_FINISH,
    ACCESS_CACHE,
    ACCESS_BYTES_IN,
    ACCESS_BYTES_OUT,
    ACCESS_DECISION,
    ACCESS_FIELDS
};

/* "request_id", ...; at == NULL behind the last. */
struct text access_field_name(size_t field);
/* ACCESS_FIELDS when there is none of that name. */
enum access_field access_field_find(struct text name);
