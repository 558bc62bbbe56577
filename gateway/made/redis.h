/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * made_redis - a thread that asks Redis about deployments for the service's thread, which waits for
 * the answers, and tells it when others have changed something. Inside gateway.
 *
 *   <prefix>{deployments}:head    hash: number (of changes), life (of this content)
 *   <prefix>{deployments}:docs    hash: name -> version, newline, JSON
 *   <prefix>{deployments}:orders  hash: name -> "stopped pinned unpinned low high"
 *   <prefix>{deployments}:verdicts hash: name -> what became of the declared revision, as JSON
 *   <prefix>{deployments}:asks    list: orders that the leader is to carry out, as JSON
 *   <prefix>{deployments}:said    hash: what came of them; ends by itself
 *   channel <prefix>{deployments} "change" or "ask"
 */

#include "gateway/base/fault.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"

struct made_redis;

struct made_redis_options {
    const struct redis_options *redis;
    const char *prefix;
    /* Others may have changed something; an order waits for a leader. On the thread of this. */
    void (*on_change)(void *with);
    void (*on_ask)(void *with);
    void *with;
};

struct made_redis *made_redis_open(const struct made_redis_options *options, struct fault *fault);
void made_redis_close(struct made_redis *shared);

enum made_script {
    MADE_READ,    /* life, number: SAME, EMPTY, or ALL, number, life, and what there is */
    MADE_GET,     /* name: its value */
    MADE_WRITE,   /* name, version it has now, value (empty = remove): DONE, STALE or EMPTY */
    MADE_MERGE,   /* life (for a store without), least number, then kind, name, version, value: DONE
                   */
    MADE_ORDER,   /* name, value: DONE */
    MADE_VERDICT, /* name, value (empty = none any more): DONE */
    MADE_ASK,     /* document: the number of the question */
    MADE_TAKE,    /* the next question: nothing, or number, document */
    MADE_ANSWER,  /* number, document */
    MADE_HEAR,    /* number: nothing, or the answer */
    MADE_SCRIPTS
};

/* What Redis answered, flat; borrowed from <arena>, which is the caller's to end. */
struct made_answer {
    struct arena arena;
    struct text *items;
    size_t count;
};

enum { MADE_WORDS_MAX = 64, MADE_WAIT_US = 2000000 };

/* Ask, and wait at most MADE_WAIT_US for it. False: Redis is away, or has answered an error; what
 * was to be written may have been. answer_done() in any case. Any thread but a loop's. */
bool made_redis_ask(struct made_redis *shared, enum made_script script, const struct text *words,
                    size_t count, struct made_answer *answer);
void made_answer_done(struct made_answer *answer);
/* Item <i>, or an empty text. */
struct text made_answer_text(const struct made_answer *answer, size_t i);
