/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache_record - an entry as bytes, for where it is kept besides memory: the database beside the
 * ledger, or Redis.
 *
 *     "sa1"  kind  body's digest (32 bytes, zero when there is none)
 *     A (an answer):  for how many ms it was to be kept u64, status u32, flags u8, cost i64, 9
 *                     figures of usage i64, little-endian;
 *                     type, target, provider, upstream model, finish: each u8 length and bytes;
 *                     the answer's bytes
 *     N (an answer that was too large to be kept):  nothing more
 *     C (a call under way):  who makes it, as text
 *
 * What is read is checked: others may write there, too.
 */

#include "gateway/base/buffer.h"
#include "policy/cache.h"

enum record_kind { RECORD_NONE, RECORD_ANSWER = 'A', RECORD_NOT_KEPT = 'N', RECORD_CLAIM = 'C' };

enum { RECORD_HEAD_BYTES = 3 + 1 + SHA256_BYTES, RECORD_EXTRA_BYTES = 2048 };

struct record {
    enum record_kind kind;
    struct digest body;
    struct cache_facts facts;
    struct cache_end end;
    int64_t ttl_us;   /* for how long it was to be kept when it was new */
    struct text rest; /* the answer, or who; borrowed */
};

/* Append the record of a whole entry, to be kept for <ttl_us>; as NOT_KEPT when its bytes were
 * dropped or are more than <max_bytes>. <out> must have room for these and RECORD_EXTRA_BYTES. */
void record_write(const struct cache_entry *entry, size_t max_bytes, int64_t ttl_us,
                  struct buffer *out);
/* Append a claim. */
void record_write_claim(const struct digest *body, struct text who, struct buffer *out);
/* False, and the kind is NONE, when it is none. */
bool cache_record_read(struct text bytes, struct record *record);
