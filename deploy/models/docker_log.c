/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/docker_log.h"

#include <time.h>

enum {
    FRAME_MAX = 16 * 1024 * 1024, /* a larger one is none: engines cut lines at 16 KiB */
    STAMP_MIN = 20,               /* 2026-11-26T11:25:30Z */
};

enum docker_frame docker_frame_next(struct docker_frames *frames, struct text *bytes,
                                    unsigned *stream, struct text *piece)
{
    while (frames->left == 0) {
        while (frames->have < sizeof(frames->head) && bytes->len > 0) {
            frames->head[frames->have++] = (unsigned char)bytes->at[0];
            *bytes = text_from(*bytes, 1);
        }
        if (frames->have < sizeof(frames->head))
            return DOCKER_FRAME_WAIT;
        const unsigned char *head = frames->head;
        frames->left = (uint32_t)head[4] << 24 | (uint32_t)head[5] << 16 | (uint32_t)head[6] << 8 |
                       (uint32_t)head[7];
        frames->have = 0;
        /* 3 is what went wrong in the engine itself. */
        if (head[0] > 3 || head[1] || head[2] || head[3] || frames->left > FRAME_MAX)
            return DOCKER_FRAME_BAD;
    }
    if (bytes->len == 0)
        return DOCKER_FRAME_WAIT;
    *stream = frames->head[0];
    *piece = text_head(*bytes, frames->left);
    *bytes = text_from(*bytes, piece->len);
    frames->left -= (uint32_t)piece->len;
    return DOCKER_FRAME_DATA;
}

/* ------------------------------------------------------------------------------- times */

/* <digits> decimal digits at <from>; -1 when they are not. */
static int read_digits(struct text from, size_t at, size_t digits)
{
    uint64_t number;
    if (at + digits > from.len ||
        !text_number(text_head(text_from(from, at), digits), 9999, &number))
        return -1;
    return (int)number;
}

/* ".123456789"; *at is moved behind it. */
static int64_t read_fraction(struct text stamp, size_t *at)
{
    int64_t ns = 0, unit = 100000000;
    if (*at >= stamp.len || stamp.at[*at] != '.')
        return 0;
    for (++*at; *at < stamp.len && stamp.at[*at] >= '0' && stamp.at[*at] <= '9'; ++*at) {
        ns += unit * (stamp.at[*at] - '0');
        unit /= 10;
    }
    return ns;
}

/* "Z" or "+01:00", in seconds. */
static bool read_zone(struct text zone, int64_t *east)
{
    *east = 0;
    if (text_equal(zone, TEXT("Z")))
        return true;
    int hours = read_digits(zone, 1, 2), minutes = read_digits(zone, 4, 2);
    if (zone.len != 6 || zone.at[3] != ':' || (zone.at[0] != '+' && zone.at[0] != '-') ||
        hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *east = (zone.at[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

static bool read_day_and_time(struct text stamp, struct tm *tm)
{
    static const char marks[] = "0000-00-00T00:00:00";
    for (size_t i = 0; i + 1 < sizeof(marks); i++)
        if (marks[i] != '0' && stamp.at[i] != marks[i])
            return false;
    int year = read_digits(stamp, 0, 4), month = read_digits(stamp, 5, 2),
        day = read_digits(stamp, 8, 2), hour = read_digits(stamp, 11, 2),
        minute = read_digits(stamp, 14, 2), second = read_digits(stamp, 17, 2);
    /* The nanoseconds of other years do not fit. */
    if (year < 1970 || year > 2200 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
        hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return false;
    *tm = (struct tm){.tm_year = year - 1900,
                      .tm_mon = month - 1,
                      .tm_mday = day,
                      .tm_hour = hour,
                      .tm_min = minute,
                      .tm_sec = second};
    return true;
}

bool docker_take_time(struct text *line, int64_t *time_ns)
{
    size_t end = text_find_byte(text_head(*line, 48), ' ');
    struct text stamp = text_head(*line, end == SIZE_MAX ? line->len : end);
    size_t at = STAMP_MIN - 1;
    int64_t east;
    struct tm tm;
    if (stamp.len < STAMP_MIN || stamp.len > 48 || !read_day_and_time(stamp, &tm))
        return false;
    int64_t ns = read_fraction(stamp, &at);
    if (!read_zone(text_from(stamp, at), &east))
        return false;
    *time_ns = ((int64_t)timegm(&tm) - east) * 1000000000 + ns;
    *line = text_from(*line, stamp.len + 1);
    return true;
}
