/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/words.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/cli/ask.h"

enum { TIME_BYTES = 24, MONEY_BYTES = 40 };

const char *words_member(struct text json, const char *name, char *room, size_t bytes)
{
    struct text word = cli_member_text(json, name, room, bytes - 1);
    room[word.at == room ? word.len : 0] = '\0';
    for (char *at = room; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    return room;
}

const char *words_time(int64_t us, char *room)
{
    double ms = (double)us / 1000;
    if (us <= 0)
        snprintf(room, TIME_BYTES, "-");
    else if (us < 1000)
        snprintf(room, TIME_BYTES, "%" PRId64 " us", us);
    else if (us < 100000)
        snprintf(room, TIME_BYTES, "%.1f ms", ms);
    else if (us < 1000000)
        snprintf(room, TIME_BYTES, "%.0f ms", ms);
    else if (us < 60000000)
        snprintf(room, TIME_BYTES, "%.2f s", ms / 1000);
    else
        snprintf(room, TIME_BYTES, "%" PRId64 " min %" PRId64 " s", us / 60000000,
                 us / 1000000 % 60);
    return room;
}

const char *words_money(int64_t nanos, bool is_exact, char *room)
{
    int64_t whole = nanos / 1000000000, rest = nanos % 1000000000;
    if (is_exact)
        snprintf(room, MONEY_BYTES, "%" PRId64 ".%09" PRId64, whole, rest);
    else if (nanos >= 100000000000)
        snprintf(room, MONEY_BYTES, "%" PRId64 ".%02" PRId64, whole, rest / 10000000);
    else
        snprintf(room, MONEY_BYTES, "%" PRId64 ".%06" PRId64, whole, rest / 1000);
    return room;
}
