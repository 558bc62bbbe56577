/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * forward_inside - what the files of forward share; nobody else includes it.
 *
 *   forward.c        the thread, the marks, when to tell
 *   forward_batch.c  what is told, read from the database and put into words
 */

#include <pthread.h>
#include <stdatomic.h>

#include "policy/forward.h"
#include "policy/words.h"

enum {
    FORWARD_SUMS = 400,          /* of each span, in one batch */
    FORWARD_ROWS = 256,          /* calls in one batch */
    FORWARD_STREAM = SHARE_KEPT, /* calls that the stream keeps, about */
};

/* What is read for one command. */
struct batch {
    int64_t before, after; /* marks */
    size_t count;          /* sums or calls; 0 = nothing is left */
};

struct forward_reader; /* its connection to the database, and statements */

struct forward_reader *forward_reader_open(const char *path, struct fault *fault);
void forward_reader_close(struct forward_reader *reader);
/* The facts of this moment. False when the database cannot be read. */
bool forward_read_facts(struct forward_reader *reader, struct share *facts);
/* Read what comes behind <before> and put it into <words>. The facts are those of the same moment.
 * False when the database cannot be read. */
bool forward_read_sums(struct forward_reader *reader, const struct forward_options *options,
                       struct batch *batch, struct words *words, struct share *facts);
bool forward_read_rows(struct forward_reader *reader, const struct forward_options *options,
                       struct batch *batch, struct words *words, struct share *facts);
const char *forward_reader_problem(struct forward_reader *reader);

/* "<prefix>{ledger}:<name>" */
struct text forward_key(struct arena *arena, const char *prefix, const char *name);

/* The singular and plural of a span, as in names of keys. */
struct forward_span {
    const char *one, *all;
};
extern const struct forward_span forward_spans[SPANS];
