/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* quantity - what people write down: durations, sizes, decimals, money, dates. All return false for
 * what they do not read, and change nothing then. */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

/* "250ms" "30s" "5m" "1h" "7d" "2w" "5y" (365 days), or a plain 0, in microseconds. */
bool duration_read(struct text from, int64_t *us);
/* "64KiB" "4MiB" "1GiB", also kB MB GB, B, and plain bytes. */
bool size_read(struct text from, int64_t *bytes);
/* "0.15" to billionths, exactly: USD to nano-dollars. No sign, no exponent. */
bool decimal_read(struct text from, int64_t *nanos);
/* "12.50 USD" to nano-dollars. */
bool money_read(struct text from, int64_t *nanos);
/* "2027-01-01" (its first moment, UTC) or RFC 3339 "2027-01-01T12:00:00+01:00", in microseconds
 * since 1970. */
bool date_read(struct text from, int64_t *wall_us);
