/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * carrier - a client's connection in HTTP/2: between its socket and its streams (http/h2.h), each
 * of which is a client of its own.
 *
 * Made by the client that has the socket, in state CLIENT_CARRIER, and ended with it; takes its
 * watch, timer and what it puts off over until then. What the connection does wrong ends it; what
 * a stream does wrong ends that. While the worker drains the client is told to go elsewhere
 * (GOAWAY), and its open streams are served.
 */

#include <stdbool.h>

#include "gateway/base/text.h"

struct carrier;
struct client;

struct carrier *carrier_new(struct client *client);
/* What has been read already; else what the socket has is read soon. */
void carrier_take(struct carrier *carrier, struct text bytes);
/* The client is being closed. Its streams learn of it soon. */
void carrier_end(struct carrier *carrier);
/* The worker drains. The client may be closed within the call. */
void carrier_drain(struct carrier *carrier);
/* Say that it will be closed, and close it when its streams have ended. */
void carrier_leave(struct carrier *carrier);
/* Is no stream open, and nothing to be sent? */
bool carrier_is_idle(const struct carrier *carrier);
