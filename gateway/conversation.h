/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * conversation - which calls are turns of the same one. Pure.
 *
 * Clients send all of a conversation with each turn: its beginning - all up to the first message of
 * the user - stays, and tells it from others. Two that begin with the same words are taken for one.
 */

#include <stdint.h>

#include "gateway/base/text.h"

/* A hash of the beginning of what a body of any dialect says; 0 = it has none. <body> is valid
 * JSON. */
uint64_t conversation_of(struct text body);
