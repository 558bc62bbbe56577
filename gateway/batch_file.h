/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * batch_file - what the calls in a batch's input file may use, read while the file goes by.
 *
 * The file is JSONL: {"custom_id", "method", "url", "body"} a line (OpenAI API reference, "The
 * request input object"). One line at a time is in memory. What is remembered is a sum for each
 * model, written as a text that is kept with the file's object (ledger_own_file()); when the file
 * cannot be understood, that text says why.
 *
 * Bounds: a line BATCH_LINE_MAX, BATCH_PARTS_MAX models of BATCH_NAME_MAX bytes, one url.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"
#include "policy/ledger.h"

struct config;
struct estimates;

enum {
    BATCH_LINE_MAX = 4 * 1024 * 1024,
    BATCH_NAME_MAX = 200,
    BATCH_URL_BYTES = 32,
    BATCH_PROBLEM_BYTES = 160,
};

/* The calls of one model: tokens of all of them together. */
struct batch_model {
    char name[BATCH_NAME_MAX + 1]; /* as it stands in the file: the provider's own */
    int64_t calls;
    int64_t input_tokens;  /* at most, and for each of <contexts> a whole context more */
    int64_t contexts;      /* how often something is referred to that is not in the file */
    int64_t output_tokens; /* at most, where a length is stated, */
    int64_t open_answers;  /* and answers whose length is not */
    int64_t units;         /* pictures */
    int64_t searches;      /* of the web, at most */
    int64_t input_likely, output_likely;
};

struct batch_facts {
    char url[BATCH_URL_BYTES]; /* "/v1/chat/completions": the same in all lines */
    struct batch_model models[BATCH_PARTS_MAX];
    size_t count;       /* 0: there is a problem */
    bool names_objects; /* files or responses that were made before: whose, is not known */
    char problem[BATCH_PROBLEM_BYTES]; /* why it cannot be understood */
};

/* What a call to <url> ("/v1/embeddings") does; false when it cannot be in a batch. */
bool batch_operation(struct text url, enum operation *operation);

struct batch_reader;

/* <config> and <estimates> are borrowed; <key> is estimate_facts.key. */
struct batch_reader *batch_reader_new(const struct config *config, struct estimates *estimates,
                                      uint64_t key);
void batch_reader_free(struct batch_reader *reader);
/* The next bytes of the file. */
void batch_reader_feed(struct batch_reader *reader, struct text piece);
/* The file is whole; the facts live as long as the reader. */
const struct batch_facts *batch_reader_end(struct batch_reader *reader);

/* As a text of at most OBJECT_FACTS_BYTES, in <out> of one byte more; and back. An empty or broken
 * text is a file of which nothing is known. */
struct text batch_facts_write(const struct batch_facts *facts, char *out);
void batch_facts_read(struct text text, struct batch_facts *facts);
