/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * affinity - who has answered this lately: the beginning of a prompt (it is in that target's
 * cache), or somebody's calls (they stay together).
 *
 * A table of fixed size: rows of one cache line, found by the hash; a row has a few entries, each
 * one word: a part of the hash, whose it is, and when that was. An entry that is new takes the
 * place of the oldest of its row. Any thread; no lock: what two threads write at once, one of them
 * loses, and a hash that looks like another (one in 16 million) costs a cache miss and nothing
 * else.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

struct affinity;

/* <rows> is a power of two; 64 bytes each. */
struct affinity *affinity_new(unsigned rows);
void affinity_free(struct affinity *affinity);
/* The one of this process, made when it is first asked for. */
struct affinity *affinity_shared(void);

/* <hash> was answered by <owner> (24 bits, not 0). */
void affinity_note(struct affinity *affinity, uint64_t hash, uint32_t owner, uint64_t now_us);
/* Who answered it within the last <ttl_us> (at most three days)? The owners, the latest first. */
enum { AFFINITY_OWNERS = 8 };
unsigned affinity_find(const struct affinity *affinity, uint64_t hash, uint64_t now_us,
                       int64_t ttl_us, uint32_t owners[AFFINITY_OWNERS]);
/* The name of an owner. */
uint32_t affinity_owner(uint64_t identity);

/* 64 bits of <bytes>, the same in every process; not for what somebody may want to forge. */
uint64_t affinity_hash(struct text bytes, uint64_t salt);
/* The same of an eighth of what is longer than a page: two prompts that differ in the rest alone
 * are taken for one, which at worst costs a miss. */
uint64_t affinity_mark(struct text bytes, uint64_t salt);
