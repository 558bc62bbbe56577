/* SPDX-License-Identifier: Apache-2.0 */

/* What people write down: durations, sizes, decimals, money, dates. What is read is in bounds; what
 * is not changes nothing; and a figure that is written out again is read as the same one. */

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { MARK = -77, WRITTEN_MAX = 64 };

typedef bool read_function(struct text from, int64_t *to);

/* The figure, or MARK. */
static int64_t read_one(read_function *read, struct text from)
{
    int64_t figure = MARK;
    bool good = read(from, &figure);
    assert(good ? figure >= 0 : figure == MARK);
    return figure;
}

static void check_again(read_function *read, int64_t figure, const char *written)
{
    assert(figure < 0 || read_one(read, text_of(written)) == figure);
}

static void check_decimal(read_function *read, struct text from, const char *behind)
{
    char written[WRITTEN_MAX];
    int64_t nanos = read_one(read, from);
    snprintf(written, sizeof(written), "%" PRId64 ".%09" PRId64 "%s", nanos / 1000000000,
             nanos < 0 ? 0 : nanos % 1000000000, behind);
    check_again(read, nanos, written);
}

static void check_date(struct text from)
{
    int64_t wall = INT64_MIN;
    bool good = date_read(from, &wall);
    assert(good || wall == INT64_MIN);
    /* Of the years that are written with four digits. */
    assert(!good ||
           (wall >= INT64_C(-62200000000) * 1000000 && wall <= INT64_C(253500000000) * 1000000));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char written[WRITTEN_MAX];
    if (len > 256)
        return 0;
    char *own = malloc(len ? len : 1); /* what is read behind it is seen */
    memcpy(own, bytes, len);
    struct text from = {own, len};
    int64_t size = read_one(size_read, from);
    snprintf(written, sizeof(written), "%" PRId64, size);
    check_again(size_read, size, written);
    int64_t duration = read_one(duration_read, from);
    if (duration % 1000 == 0) {
        snprintf(written, sizeof(written), "%" PRId64 "ms", duration / 1000);
        check_again(duration_read, duration, written);
    }
    check_decimal(decimal_read, from, "");
    check_decimal(money_read, from, " USD");
    check_date(from);
    free(own);
    return 0;
}
