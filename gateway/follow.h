/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * follow - what is written by a deployment's servers, or happens to it, as an endless stream of
 * server-sent events for an operator. Inside gateway.
 *
 * The desk is asked four times a second; a client that does not read is not written to, and misses
 * nothing that the desk still has. It ends with its client, or with a drain.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

struct exchange;

enum { FOLLOWERS_MAX = 64 }; /* of one worker */

/* Begin to answer <x> with the lines (or <events>) of <deployment> behind <after>. False: too many
 * follow already. */
bool follow_begin(struct exchange *x, struct text deployment, uint64_t after, bool events);
/* The exchange ends. */
void follow_forget(struct exchange *x);
