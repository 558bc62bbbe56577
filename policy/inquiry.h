/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * inquiry - questions to Redis by a thread that waits for the answers: they are asked on the loop
 * of forward, over its connection. For the usage and the calls of other nodes.
 */

#include <pthread.h>

#include "gateway/base/table.h"
#include "policy/forward_inside.h"

enum { INQUIRY_WINDOW = 64, INQUIRY_WAIT_US = 5 * 1000000 };

struct inquiry;

/* What a question was about, for who takes its answer. */
struct inquiry_about {
    int kind;
    int64_t number;
};

struct inquiry_ask {
    struct inquiry *inquiry;
    bool busy;
    struct inquiry_about about;
};

/* Embedded in what belongs to it. What is called here is called on the loop. */
struct inquiry {
    /* set by who asks */
    struct forward *forward;
    bool (*begin)(struct inquiry *inquiry); /* send the first; false: it failed */
    /* An answer, a list; borrowed. */
    void (*take)(struct inquiry *inquiry, struct inquiry_about about,
                 const struct redis_reply *reply);
    /* After each answer: send more. False: it failed. It is over when nothing is under way. */
    bool (*go_on)(struct inquiry *inquiry);

    struct words words; /* for the next question */
    size_t under_way;   /* at most INQUIRY_WINDOW */
    /* inside */
    struct errand errand;
    struct timer late;
    struct inquiry_ask asks[INQUIRY_WINDOW];
    bool is_done, is_good;
    pthread_mutex_t lock;
    pthread_cond_t done;
};

/* Ask, and wait until it is over. False when Redis is away, took too long, or said an error. */
bool inquiry_run(struct inquiry *inquiry);
/* After it. */
void inquiry_done(struct inquiry *inquiry);

/* Send the words: a command whose second word is its key. */
bool inquiry_send(struct inquiry *inquiry, struct inquiry_about about);
/* Begin such words: <command> "<prefix>{ledger}:<name>". */
void inquiry_words(struct inquiry *inquiry, struct text command, const char *name);

/* The ledgers of other nodes and their epochs: an answer to HGETALL …ledgers, marks of <what>
 * ("sums", "rows"). Name → epoch, as digits; both in <arena>. */
void inquiry_ledgers(struct inquiry *inquiry, const struct redis_reply *reply, const char *what,
                     struct arena *arena, struct table *ledgers);
