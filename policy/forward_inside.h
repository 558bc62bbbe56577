/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * forward_inside - what the files of forward share; nobody else includes it.
 *
 *   forward.c        the thread, the marks, when to tell
 *   forward_batch.c  what is told, read from the database and put into words
 *   forward_waiting.c  how far the journals are in it, where lines wait for that
 */

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/base/table.h"
#include "policy/forward.h"
#include "policy/words.h"

enum {
    FORWARD_SUMS = 400,          /* of each span, in one batch */
    FORWARD_ROWS = 256,          /* calls in one batch */
    FORWARD_OBJECTS = 256,       /* the same of objects */
    FORWARD_STREAM = SHARE_KEPT, /* calls that the stream keeps, about */
};

/* Journals of this database: how far each is in the sums that were told. Lines of theirs may wait
 * in Redis for that (ship.h). */
struct waiting {
    struct table journals; /* "<instance>/<worker>" → struct waiting_journal */
};

/* A journal of which more is in the sums than was told. */
struct waiting_mark {
    struct text name;
    int64_t sequence;
};

struct waiting_list {
    struct waiting_mark *at;
    size_t count;
};

void waiting_init(struct waiting *waiting);
void waiting_done(struct waiting *waiting);
/* What lines wait for, an answer to SMEMBERS: those of this ledger. */
void waiting_note(struct waiting *waiting, struct text ledger, const struct redis_reply *names);
/* Read what is to be told, into <arena>; in the transaction of the sums. False when the database
 * cannot be read. */
bool waiting_read(struct waiting *waiting, struct database *database, struct arena *arena,
                  struct waiting_list *list);
/* It was told; note it in the file <path>, too (told.h). */
void waiting_told(struct waiting *waiting, const struct waiting_list *list, const char *path,
                  const char *ledger);

/* What is read for one command. */
struct batch {
    int64_t before, after; /* marks */
    size_t count;          /* sums or calls, and journals; 0 = nothing is left */
    bool is_anew;          /* in; of objects: others could not know them */
    struct waiting_list journals;
};

struct forward_reader; /* its connection to the database, and statements */

struct forward_reader *forward_reader_open(const char *path, struct fault *fault);
void forward_reader_close(struct forward_reader *reader);
/* The facts of this moment. False when the database cannot be read. */
bool forward_read_facts(struct forward_reader *reader, struct share *facts);
/* Read what comes behind <before> and put it into <words>. The facts are those of the same moment.
 * False when the database cannot be read. */
bool forward_read_sums(struct forward_reader *reader, const struct forward_options *options,
                       struct waiting *waiting, struct batch *batch, struct words *words,
                       struct share *facts);
bool forward_read_rows(struct forward_reader *reader, const struct forward_options *options,
                       struct batch *batch, struct words *words, struct share *facts);
bool forward_read_objects(struct forward_reader *reader, const struct forward_options *options,
                          struct batch *batch, struct words *words, struct share *facts);
const char *forward_reader_problem(struct forward_reader *reader);

/* "<prefix>{ledger}:<name>" */
struct text forward_key(struct arena *arena, const char *prefix, const char *name);

/* The singular and plural of a span, as in names of keys. */
struct forward_span {
    const char *one, *all;
};
extern const struct forward_span forward_spans[SPANS];
