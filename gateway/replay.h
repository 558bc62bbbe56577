/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * replay - an exchange and the answers of others: does the cache have it, is somebody asking just
 * now, was it asked before under the same Idempotency-Key? And the other way round: what this
 * exchange's answer is kept as, and who listens to it meanwhile.
 */

#include "gateway/exchange.h"
#include "policy/cache.h"

/* What x-sluice-cache says. */
enum cache_word {
    CACHE_WORD_NONE,
    CACHE_WORD_BYPASS,
    CACHE_WORD_MISS,
    CACHE_WORD_HIT,
    CACHE_WORD_JOIN
};
const char *cache_word_name(enum cache_word word);

/* Note what the request's head says about it: Cache-Control, Idempotency-Key. */
void replay_read_head(struct exchange *x, const struct head *head);

enum recall_result {
    RECALL_NOTHING, /* ask a target; what it answers may be kept: replay_write() */
    RECALL_READS, /* there is an answer, or one in the making: replay_begin() once it is admitted */
    RECALL_WAITS, /* facts.recall_known comes later */
    RECALL_REFUSED, /* the fault says why */
};
enum recall_result replay_recall(struct exchange *x);
/* Header lines of a conflict: clients repeat these by themselves. */
struct text replay_refusal_lines(const struct exchange *x);
bool replay_reads(const struct exchange *x);

/* For semantics.c: what others may be told of this call. */
struct text replay_scope(struct exchange *x);
/* The route in the names of what is kept. */
struct text replay_route(struct exchange *x);
/* The exchange is the writer of an answer that equal calls may have: what it had asked for; else
 * NULL. */
const struct cache_ask *replay_writes(const struct exchange *x);
/* It gets, and those that have joined it get, what <found> has: whole, and its reference is taken
 * over. */
void replay_adopt(struct exchange *x, struct cache_entry *found);

/* Read on. True when the answer is over, or broke off: facts.upstream says which. */
void replay_read(struct exchange *x);

/* The exchange's own answer: bytes that go to its client. */
void replay_write(struct exchange *x, struct text bytes);
/* The try failed and another one is made: what was kept of it is nobody's answer. */
void replay_restart(struct exchange *x);
/* It is booked as <row>: may it be kept? */
void replay_booked(struct exchange *x, const struct ledger_row *row);
/* All of it has been written. */
void replay_written(struct exchange *x);
/* Does anybody else wait for it, or has its client said that it will come back? Then it goes on
 * without its client. */
bool replay_goes_on(const struct exchange *x);
/* The exchange ends. What it has not written to the end never will be. */
void replay_forget(struct exchange *x);
