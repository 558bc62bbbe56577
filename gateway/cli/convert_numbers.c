/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/cli/convert_inside.h"

enum { FORMAT_BYTES_MAX = 1024 };

/* Digits and where their point is: <digits> times ten to the <power>. */
struct decimal {
    uint64_t digits;
    int power;
};

static bool read_digits(struct text *rest, struct decimal *decimal, bool behind_point)
{
    enum { DIGITS_MAX = 17 };
    size_t len = 0;
    for (; len < rest->len && rest->at[len] >= '0' && rest->at[len] <= '9'; len++) {
        if (decimal->digits >= 10000000000000000) {
            if (!behind_point)
                return false;
            continue; /* what is that small is no matter */
        }
        decimal->digits = decimal->digits * 10 + (uint64_t)(rest->at[len] - '0');
        decimal->power -= behind_point;
    }
    *rest = text_from(*rest, len);
    return len > 0;
}

static bool read_decimal(struct text text, struct decimal *decimal)
{
    *decimal = (struct decimal){0, 0};
    bool any = read_digits(&text, decimal, false);
    if (text_starts(text, TEXT("."))) {
        text = text_from(text, 1);
        any |= read_digits(&text, decimal, true);
    }
    if (any && text.len && (text.at[0] | 0x20) == 'e') {
        text = text_from(text, 1);
        bool is_negative = text_starts(text, TEXT("-"));
        if (is_negative || text_starts(text, TEXT("+")))
            text = text_from(text, 1);
        uint64_t exponent;
        if (!text_number(text, 100, &exponent))
            return false;
        decimal->power += is_negative ? -(int)exponent : (int)exponent;
        text.len = 0;
    }
    return any && !text.len;
}

/* To at most <decimals> digits behind the point, the last one rounded up. */
static void round_up(struct decimal *decimal, int decimals)
{
    bool rest = false;
    for (; decimal->power < -decimals; decimal->power++) {
        rest |= decimal->digits % 10 != 0;
        decimal->digits /= 10;
    }
    decimal->digits += rest;
    while (decimal->power < 0 && decimal->digits % 10 == 0) {
        decimal->digits /= 10;
        decimal->power++;
    }
}

struct text convert_shifted(struct convert *c, struct text number, int shift)
{
    enum { DECIMALS = 9 };
    const uint64_t DIGITS_END = 100000000000000000;
    struct decimal decimal;
    if (!read_decimal(number, &decimal))
        return (struct text){"", 0};
    decimal.power += shift;
    round_up(&decimal, DECIMALS);
    if (decimal.digits == 0)
        return TEXT("0");
    for (; decimal.power > 0 && decimal.digits < DIGITS_END; decimal.power--)
        decimal.digits *= 10;
    if (decimal.power > 0)
        return (struct text){"", 0};
    if (decimal.power == 0)
        return arena_format(c->arena, "%llu", (unsigned long long)decimal.digits);
    uint64_t unit = 1;
    for (int i = decimal.power; i < 0; i++)
        unit *= 10;
    return arena_format(c->arena, "%llu.%0*llu", (unsigned long long)(decimal.digits / unit),
                        -decimal.power, (unsigned long long)(decimal.digits % unit));
}

struct text convert_time(struct convert *c, struct text number, int digits)
{
    struct decimal decimal;
    if (!read_decimal(number, &decimal))
        return (struct text){"", 0};
    decimal.power += 3 - digits;
    round_up(&decimal, 0);
    for (; decimal.power > 0 && decimal.digits < 1000000000000; decimal.power--)
        decimal.digits *= 10;
    if (decimal.digits >= 1000000000000)
        return (struct text){"", 0};
    bool whole = decimal.digits % 1000 == 0;
    return arena_format(c->arena, "%llu%s",
                        (unsigned long long)(whole ? decimal.digits / 1000 : decimal.digits),
                        whole ? "s" : "ms");
}

struct text convert_money(struct convert *c, const struct node *node)
{
    struct text none = {"", 0};
    struct text amount = node_is_text(node) ? convert_shifted(c, node_text(node), 0) : none;
    return amount.len ? arena_format(c->arena, "\"%.*s USD\"", TEXT_ARGS(amount)) : none;
}

struct text convert_format(struct convert *c, const char *format, ...)
{
    char room[FORMAT_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(room, sizeof(room), format, args);
    va_end(args);
    return arena_copy(c->arena, text_of(room));
}

/* A number and the unit behind it, in seconds; 0: it is none. Months have 30 days. */
uint64_t convert_span(struct text text)
{
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = {{"s", 1},       {"m", 60},       {"h", 3600},     {"d", 86400},   {"w", 604800},
                 {"M", 2592000}, {"mo", 2592000}, {"Y", 31536000}, {"y", 31536000}};
    size_t digits = 0;
    while (digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9')
        digits++;
    uint64_t number;
    if (!text_number(text_head(text, digits), 100000, &number))
        return 0;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
        if (text_equal(text_from(text, digits), text_of(units[i].unit)))
            return number * units[i].seconds;
    return 0;
}

struct text convert_period(struct convert *c, const struct node *node)
{
    uint64_t seconds = node_is_text(node) ? convert_span(node_text(node)) : 0;
    if (!seconds)
        return (struct text){"", 0};
    if (node_says(node, "1M") || node_says(node, "1mo"))
        return TEXT("month");
    if (seconds % 86400 == 0)
        return arena_format(c->arena, "%llud", (unsigned long long)(seconds / 86400));
    return arena_format(c->arena, "%llus", (unsigned long long)seconds);
}

const char *convert_limit(struct convert *c, const char *what, const struct node *span)
{
    uint64_t seconds = node_is_text(span) ? convert_span(node_text(span)) : 0;
    const char *unit = seconds == 1       ? "second"
                       : seconds == 60    ? "minute"
                       : seconds == 3600  ? "hour"
                       : seconds == 86400 ? "day"
                                          : NULL;
    return unit ? arena_format(c->arena, "%s_per_%s", what, unit).at : NULL;
}
