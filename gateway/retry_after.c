/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/retry_after.h"

#include <string.h>
#include <time.h>

#include "gateway/base/quantity.h"

enum { DATE_BYTES = 40, NAME_BYTES = 64 };

static const int64_t SECOND_US = 1000000, DAY_US = INT64_C(86400) * 1000000,
                     EPOCH_FROM_S = 300000000; /* a larger number of seconds is a date */

static const uint64_t EPOCH_MOST_S = 9000000000;

static int64_t bounded(int64_t us)
{
    return us < 0 ? 0 : us > DAY_US ? DAY_US : us;
}

/* Decimal seconds, or milliseconds with <unit_us> 1000. */
static bool read_number(struct text value, int64_t unit_us, int64_t *us)
{
    int64_t billionths;
    uint64_t whole;
    if (text_number(value, INT64_MAX, &whole) && whole > EPOCH_MOST_S) {
        *us = DAY_US;
        return true;
    }
    if (!value.len || value.len > 18 || !decimal_read(value, &billionths))
        return false;
    __int128 exact = (__int128)billionths * unit_us / 1000000000;
    *us = exact > INT64_MAX / 2 ? DAY_US : (int64_t)exact;
    return true;
}

/* IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT". */
static bool read_http_date(struct text value, int64_t *wall_us)
{
    char z[DATE_BYTES];
    struct tm utc = {0};
    if (!value.len || value.len >= sizeof(z))
        return false;
    memcpy(z, value.at, value.len);
    z[value.len] = '\0';
    const char *end = strptime(z, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    if (!end || *end)
        return false;
    *wall_us = (int64_t)timegm(&utc) * SECOND_US;
    return true;
}

/* "1s", "6m0s", "250ms", "1h2m3.5s", as Go writes them. */
static bool read_go_duration(struct text value, int64_t *us)
{
    int64_t sum = 0, part;
    while (value.len) {
        size_t digits = 0;
        while (digits < value.len &&
               ((value.at[digits] >= '0' && value.at[digits] <= '9') || value.at[digits] == '.'))
            digits++;
        struct text number = text_head(value, digits);
        value = text_from(value, digits);
        bool is_ms = text_starts(value, TEXT("ms"));
        int64_t unit = is_ms                           ? 1000
                       : text_starts(value, TEXT("h")) ? 3600 * SECOND_US
                       : text_starts(value, TEXT("m")) ? 60 * SECOND_US
                       : text_starts(value, TEXT("s")) ? SECOND_US
                                                       : 0;
        if (!unit || !read_number(number, unit, &part))
            return false;
        sum = bounded(sum + bounded(part));
        value = text_from(value, is_ms ? 2 : 1);
    }
    *us = sum;
    return true;
}

/* What stands in a reset field, whichever form it has, from <wall_us> on. */
int64_t retry_reset_us(struct text value, int64_t wall_us)
{
    int64_t us;
    if (read_number(value, SECOND_US, &us))
        return us / SECOND_US > EPOCH_FROM_S ? bounded(us - wall_us) : bounded(us);
    if (read_go_duration(value, &us))
        return bounded(us);
    return date_read(value, &us) ? bounded(us - wall_us) : 0;
}

/* "x-ratelimit-reset-tokens" -> is "x-ratelimit-remaining-tokens" there, and 0? */
static bool is_spent(const struct head *head, struct text name, size_t at)
{
    char other[NAME_BYTES];
    static const char reset[] = "reset", remaining[] = "remaining";
    if (name.len + sizeof(remaining) - sizeof(reset) > sizeof(other))
        return false;
    memcpy(other, name.at, at);
    memcpy(other + at, remaining, sizeof(remaining) - 1);
    size_t rest = name.len - at - (sizeof(reset) - 1);
    memcpy(other + at + sizeof(remaining) - 1, name.at + at + sizeof(reset) - 1, rest);
    struct text value = head_value(head, (struct text){other, at + sizeof(remaining) - 1 + rest});
    return text_equal(value, TEXT("0"));
}

static bool is_about_limits(struct text name)
{
    return text_starts_nocase(name, TEXT("x-ratelimit-")) ||
           text_starts_nocase(name, TEXT("anthropic-ratelimit-")) ||
           text_starts_nocase(name, TEXT("ratelimit-"));
}

/* The latest of those that are spent. */
static int64_t read_resets(const struct head *head, int64_t wall_us)
{
    int64_t latest = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        struct text name = head->fields[i].name;
        if (!is_about_limits(name))
            continue;
        bool plain = text_equal_nocase(name, TEXT("x-ratelimit-reset")) ||
                     text_equal_nocase(name, TEXT("ratelimit-reset"));
        size_t at = 0;
        while (at + 5 <= name.len &&
               !text_equal_nocase(text_head(text_from(name, at), 5), TEXT("reset")))
            at++;
        if (at + 5 > name.len || (!plain && !is_spent(head, name, at)))
            continue;
        int64_t us = retry_reset_us(head->fields[i].value, wall_us);
        latest = us > latest ? us : latest;
    }
    return latest;
}

int64_t retry_after_us(const struct head *head, int64_t wall_us)
{
    int64_t us;
    struct text after = head_value(head, TEXT("retry-after"));
    if (read_number(head_value(head, TEXT("retry-after-ms")), 1000, &us))
        return bounded(us);
    if (read_number(after, SECOND_US, &us))
        return bounded(us);
    if (read_http_date(after, &us))
        return bounded(us - wall_us);
    return head->status == 429 ? read_resets(head, wall_us) : 0;
}
