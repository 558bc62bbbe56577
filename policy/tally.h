/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * tally - sums over calls, and what they are summed by: the words that rollups are made of, for
 * those who write them (rollup.c) and those who read them (usage.c).
 */

#include "policy/ledger.h"

/* The three lengths of time that are summed up. Buckets begin at whole UTC minutes, hours, days. */
enum span { SPAN_MINUTE, SPAN_HOUR, SPAN_DAY, SPANS };

/* One table of the database each. */
struct span_facts {
    const char *table;
    int64_t seconds;
};
extern const struct span_facts span_facts[SPANS];

/* The bucket that <seconds> (since 1970) falls into: when it begins. Rounds down, below 0 too. */
int64_t span_bucket(enum span span, int64_t seconds);
/* The same of microseconds. */
int64_t span_bucket_us(enum span span, int64_t at_us);

/* What is added up; one column each. The order is the order of the columns. */
enum tally_sum {
    SUM_REQUESTS,
    SUM_INPUT,
    SUM_CACHED,
    SUM_CACHE_WRITE,
    SUM_OUTPUT,
    SUM_REASONING,
    SUM_AUDIO_INPUT,
    SUM_AUDIO_OUTPUT,
    SUM_IMAGE,
    SUM_UNITS,
    SUM_COST,
    SUM_SAVED,
    SUM_ESTIMATED, /* calls counted by estimate */
    SUM_ATTEMPTS,
    SUM_DURATION_US,
    SUM_OVERHEAD_US,
    SUM_TTFT_US,
    SUM_TTFTS, /* calls that had a first byte */
    TALLY_SUMS
};
extern const char *const tally_columns[TALLY_SUMS];

struct tally {
    int64_t sums[TALLY_SUMS];
};

/* All sums are cut at INT64_MAX. */
void tally_add_call(struct tally *tally, const struct ledger_row *row);
void tally_add(struct tally *tally, const struct tally *more);
int64_t sum_up(int64_t a, int64_t b);

/* What calls are told apart by. */
enum series_name {
    NAME_TENANT,
    NAME_KEY,
    NAME_USER,
    NAME_MODEL,
    NAME_TARGET,
    NAME_PROVIDER,
    NAME_OPERATION,
    SERIES_NAMES
};
extern const char *const series_columns[SERIES_NAMES];

struct series_key {
    struct text names[SERIES_NAMES]; /* each at most 255 bytes */
    int status;
    enum ledger_outcome outcome;
};

void series_key_of(const struct ledger_row *row, struct series_key *key);

/* The key as one text, to look it up by: at most SERIES_PACKED_MAX bytes in <out>. */
enum { SERIES_PACKED_MAX = SERIES_NAMES * 256 + 3 };
struct text series_pack(const struct series_key *key, char *out);
/* The same backwards; the names are borrowed. False when it is none. */
bool series_unpack(struct text packed, struct series_key *key);
