/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/gauge_text.h"

enum { MILLION = 1000000, DIGITS_MAX = 12 };

enum gauge { GAUGE_WAITING, GAUGE_RUNNING, GAUGE_CACHE };

static const struct {
    struct text name;
    enum gauge gauge;
} names[] = {
    {{"vllm:num_requests_waiting", 25}, GAUGE_WAITING},
    {{"vllm:num_requests_running", 25}, GAUGE_RUNNING},
    {{"vllm:kv_cache_usage_perc", 24}, GAUGE_CACHE},
    {{"vllm:gpu_cache_usage_perc", 25}, GAUGE_CACHE},
    {{"llamacpp:requests_deferred", 26}, GAUGE_WAITING},
    {{"llamacpp:requests_processing", 28}, GAUGE_RUNNING},
    {{"llamacpp:kv_cache_usage_ratio", 29}, GAUGE_CACHE},
    {{"sglang:num_queue_reqs", 21}, GAUGE_WAITING},
    {{"sglang:num_running_reqs", 23}, GAUGE_RUNNING},
    {{"sglang:token_usage", 18}, GAUGE_CACHE},
    {{"tgi_queue_size", 14}, GAUGE_WAITING},
    {{"tgi_batch_current_size", 22}, GAUGE_RUNNING},
};

/* A decimal number in millionths, as far as it can be one: "3", "3.0", "0.25", "1e-05" (which is
 * 0 here, as all that is smaller than a millionth). */
static bool read_millionths(struct text text, int64_t *value)
{
    int64_t sum = 0, unit = MILLION;
    unsigned digits = 0;
    bool fraction = false;
    size_t at = 0;
    for (; at < text.len && digits < DIGITS_MAX; at++) {
        char c = text.at[at];
        if (c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        digits++;
        unit = fraction ? unit / 10 : unit;
        sum = fraction ? sum + (c - '0') * unit : sum * 10 + (int64_t)(c - '0') * MILLION;
    }
    bool small = at + 1 < text.len && text.at[at] == 'e' && text.at[at + 1] == '-';
    if (digits == 0 || (at < text.len && text.at[at] == 'e' && !small))
        return false;
    *value = small ? 0 : sum;
    return true;
}

/* What stands behind the name and its labels, in which '}' may stand in quotes. */
static struct text value_of(struct text rest)
{
    bool quoted = false;
    size_t at = 0;
    if (rest.len && rest.at[0] == '{') {
        for (at = 1; at < rest.len && (quoted || rest.at[at] != '}'); at++) {
            if (rest.at[at] == '\\' && quoted)
                at++;
            else if (rest.at[at] == '"')
                quoted = !quoted;
        }
        at++;
    }
    while (at < rest.len && (rest.at[at] == ' ' || rest.at[at] == '\t'))
        at++;
    return at < rest.len ? text_from(rest, at) : (struct text){"", 0};
}

static bool read_line(struct text line, struct gauges *gauges)
{
    int64_t value;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct text name = names[i].name;
        if (!text_starts(line, name) || line.len <= name.len ||
            (line.at[name.len] != '{' && line.at[name.len] != ' '))
            continue;
        if (!read_millionths(value_of(text_from(line, name.len)), &value))
            return false;
        int64_t *to = names[i].gauge == GAUGE_WAITING   ? &gauges->waiting
                      : names[i].gauge == GAUGE_RUNNING ? &gauges->running
                                                        : &gauges->cache_ppm;
        int64_t before = *to > 0 ? *to : 0;
        if (names[i].gauge == GAUGE_CACHE)
            *to = value > MILLION ? MILLION : value > before ? value : before;
        else
            *to = before + value / MILLION;
        return true;
    }
    return false;
}

bool gauge_text_read(struct text text, struct gauges *gauges)
{
    struct text line;
    bool found = false;
    *gauges = (struct gauges){-1, -1, -1};
    while (text_next(&text, '\n', &line))
        found = read_line(line, gauges) || found;
    return found;
}
