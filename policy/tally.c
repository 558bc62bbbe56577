/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/tally.h"

#include <string.h>

/* clang-format off */
const struct span_facts span_facts[SPANS] = {
    [SPAN_MINUTE] = {"rollup_minute",    60},
    [SPAN_HOUR] =   {"rollup_hour",    3600},
    [SPAN_DAY] =    {"rollup_day",    86400},
};

const char *const tally_columns[TALLY_SUMS] = {
    [SUM_REQUESTS] =     "requests",
    [SUM_INPUT] =        "input_tokens",
    [SUM_CACHED] =       "cached_tokens",
    [SUM_CACHE_WRITE] =  "cache_write_tokens",
    [SUM_OUTPUT] =       "output_tokens",
    [SUM_REASONING] =    "reasoning_tokens",
    [SUM_AUDIO_INPUT] =  "audio_input_tokens",
    [SUM_AUDIO_OUTPUT] = "audio_output_tokens",
    [SUM_IMAGE] =        "image_tokens",
    [SUM_UNITS] =        "units",
    [SUM_COST] =         "cost_nanos",
    [SUM_SAVED] =        "saved_nanos",
    [SUM_ESTIMATED] =    "estimated",
    [SUM_ATTEMPTS] =     "attempts",
    [SUM_DURATION_US] =  "duration_us",
    [SUM_OVERHEAD_US] =  "overhead_us",
    [SUM_TTFT_US] =      "ttft_us",
    [SUM_TTFTS] =        "ttfts",
};

const char *const series_columns[SERIES_NAMES] = {
    [NAME_TENANT] =    "tenant",
    [NAME_KEY] =       "key",
    [NAME_USER] =      "user",
    [NAME_MODEL] =     "model",
    [NAME_TARGET] =    "target",
    [NAME_PROVIDER] =  "provider",
    [NAME_OPERATION] = "operation",
};
/* clang-format on */

static int64_t floor_to(int64_t at, int64_t step)
{
    int64_t over = at % step;
    return at - (over < 0 ? over + step : over);
}

int64_t span_bucket(enum span span, int64_t seconds)
{
    return floor_to(seconds, span_facts[span].seconds);
}

int64_t span_bucket_us(enum span span, int64_t at_us)
{
    return span_bucket(span, floor_to(at_us, 1000000) / 1000000);
}

int64_t sum_up(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

void tally_add_call(struct tally *tally, const struct ledger_row *row)
{
    const struct usage *usage = &row->usage;
    const struct tally call = {{
        [SUM_REQUESTS] = 1,
        [SUM_INPUT] = usage->input_tokens,
        [SUM_CACHED] = usage->cached_tokens,
        [SUM_CACHE_WRITE] = usage->cache_write_tokens,
        [SUM_OUTPUT] = usage->output_tokens,
        [SUM_REASONING] = usage->reasoning_tokens,
        [SUM_AUDIO_INPUT] = usage->audio_input_tokens,
        [SUM_AUDIO_OUTPUT] = usage->audio_output_tokens,
        [SUM_IMAGE] = usage->image_tokens,
        [SUM_UNITS] = sum_up(usage->units, usage->searches),
        [SUM_COST] = row->cost_nanos,
        [SUM_SAVED] = row->saved_nanos,
        [SUM_ESTIMATED] = row->counted == COUNTED_ESTIMATE,
        [SUM_ATTEMPTS] = row->attempts,
        [SUM_DURATION_US] = row->duration_us,
        [SUM_OVERHEAD_US] = row->overhead_us,
        [SUM_TTFT_US] = row->ttft_us,
        [SUM_TTFTS] = row->ttft_us > 0,
    }};
    tally_add(tally, &call);
}

void tally_add(struct tally *tally, const struct tally *more)
{
    for (int i = 0; i < TALLY_SUMS; i++)
        tally->sums[i] = sum_up(tally->sums[i], more->sums[i]);
}

void series_key_of(const struct ledger_row *row, struct series_key *key)
{
    *key = (struct series_key){
        .names = {[NAME_TENANT] = row->tenant,
                  [NAME_KEY] = row->key,
                  [NAME_USER] = row->user,
                  [NAME_MODEL] = row->model,
                  [NAME_TARGET] = row->target,
                  [NAME_PROVIDER] = row->provider,
                  [NAME_OPERATION] = row->operation},
        .status = row->status,
        .outcome = row->outcome,
    };
}

struct text series_pack(const struct series_key *key, char *out)
{
    char *at = out;
    *at++ = (char)(key->status & 0xff);
    *at++ = (char)(key->status >> 8 & 0xff);
    *at++ = (char)key->outcome;
    for (int i = 0; i < SERIES_NAMES; i++) {
        size_t len = key->names[i].len & 0xff;
        *at++ = (char)len;
        if (len)
            memcpy(at, key->names[i].at, len);
        at += len;
    }
    return (struct text){out, (size_t)(at - out)};
}

bool series_unpack(struct text packed, struct series_key *key)
{
    enum { HEAD = 3 };
    if (packed.len < HEAD || (uint8_t)packed.at[2] > LEDGER_LOST)
        return false;
    key->status = (uint8_t)packed.at[0] | (uint8_t)packed.at[1] << 8;
    key->outcome = (enum ledger_outcome)(uint8_t)packed.at[2];
    packed = text_from(packed, HEAD);
    for (int i = 0; i < SERIES_NAMES; i++) {
        size_t len = packed.len ? (uint8_t)packed.at[0] : SIZE_MAX;
        if (packed.len < 1 || packed.len - 1 < len)
            return false;
        key->names[i] = (struct text){packed.at + 1, len};
        packed = text_from(packed, 1 + len);
    }
    return packed.len == 0;
}
