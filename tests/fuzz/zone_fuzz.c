/* SPDX-License-Identifier: Apache-2.0 */

/* Time zones: any bytes as a file of the tz database, or as the rule behind its last change. What
 * is read answers for any second: the offset is that of a clock somewhere, it holds until it
 * changes, and a day on the wall begins at the first second at which it is that day. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "policy/zone.h"
#include "policy/zone_rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const int64_t seconds[] = {-5000000000, -1, 0, 1700000000, 1709164800, 4102444800};
enum { SECONDS = sizeof(seconds) / sizeof(seconds[0]), WEEK_HOURS = 168, HOUR = 3600 };

static void check_change(int64_t second, int64_t change)
{
    assert(change > second);
}

static void check_zone(struct text file)
{
    struct zone *zone = zone_read(file);
    if (!zone)
        return;
    for (size_t i = 0; i < SECONDS; i++) {
        int64_t offset = zone_offset(zone, seconds[i]), change = zone_change(zone, seconds[i]);
        check_change(seconds[i], change);
        uint64_t lasts = (uint64_t)change - (uint64_t)seconds[i];
        assert(offset == zone_offset(zone, seconds[i] + (int64_t)((lasts - 1) / 2)));
        int64_t begin = zone_begin(zone, seconds[i]);
        assert(begin + zone_offset(zone, begin) >= seconds[i]);
    }
    zone_free(zone);
}

static void check_rule(struct text text)
{
    struct zone_rule rule;
    if (!zone_rule_read(text, &rule))
        return;
    for (size_t i = 0; i < SECONDS; i++) {
        int64_t offset = zone_rule_offset(&rule, seconds[i]);
        assert(offset == rule.standard || (rule.has_summer && offset == rule.summer));
        assert(offset >= -WEEK_HOURS * HOUR && offset <= WEEK_HOURS * HOUR);
        check_change(seconds[i], zone_rule_change(&rule, seconds[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 1 || len > 1 << 16)
        return 0;
    /* Of exactly its size, so that reading behind its end is seen. */
    char *own = malloc(len);
    memcpy(own, bytes + 1, len - 1);
    struct text rest = {own, len - 1};
    if (bytes[0] % 2)
        check_zone(rest);
    else
        check_rule(rest);
    free(own);
    return 0;
}
