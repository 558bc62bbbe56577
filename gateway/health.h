/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * health - /livez, /readyz and their other names, for probes and people.
 *
 * /livez        200 while every event loop goes round (503 when one is busy for over a second)
 * /readyz       200 while new calls are taken: configuration in force, ledger not full, not
 * draining /healthz      the same as /readyz; and so are /health, /health/readiness
 * /health/liveliness, /health/liveness   the same as /livez (other gateways' names)
 *
 * The body is one word, "ok" or why not; with ?verbose one line for each check. Any thread.
 */

#include <stdbool.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

struct service;

bool health_is_path(struct text path);

/* Append the body (text/plain) to <out> and return the HTTP status. */
int health_answer(struct service *service, struct text path, struct text query, struct buffer *out);
