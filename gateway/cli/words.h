/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cli_words - figures and members of answers in words for people. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/text.h"

/* The member of a JSON document as a C string in <room>, cut to <bytes>; "" when it is no string.
 * Control bytes become '?', so that no name can speak to the terminal. Returns <room>. */
const char *words_member(struct text json, const char *name, char *room, size_t bytes);

/* Microseconds as "850 us", "12.5 ms", "3.20 s" or "4 min 5 s"; "-" for none. At least 24 bytes. */
const char *words_time(int64_t us, char *room);

/* Nano-dollars as dollars: to the nano ("0.000412000"), or to what can be read. At least 40 bytes.
 */
const char *words_money(int64_t nanos, bool is_exact, char *room);
