/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* inflate - unpack what is built into the program in packed form (zlib, RFC 1950). */

#include <stdbool.h>
#include <stddef.h>

/* Unpack <from> into <to>, which is exactly as large as what is in there; false when it is not, or
 * when it is damaged. */
bool inflate_whole(const void *from, size_t from_bytes, void *to, size_t to_bytes);
