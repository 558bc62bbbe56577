/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input files of batches: the same sums however the file is cut, never below zero, and the same
 * again when they were written as a text. The first byte says how it is cut; with its highest bit
 * set, what follows is such a text instead.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "gateway/batch_file.h"
#include "policy/estimate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

static void read_in(struct text file, size_t step, struct batch_facts *facts)
{
    static struct estimates *estimates; /* nothing is learnt: one does for all */
    if (!estimates)
        estimates = estimates_new();
    struct batch_reader *reader = batch_reader_new(NULL, estimates, 1);
    for (size_t at = 0; at < file.len; at += step) {
        struct text piece = text_head(text_from(file, at), step);
        char *copy = memory_string(piece);
        batch_reader_feed(reader, (struct text){copy, piece.len});
        memory_free(copy);
    }
    *facts = *batch_reader_end(reader);
    batch_reader_free(reader);
}

static void check_facts(const struct batch_facts *facts)
{
    static struct batch_facts again;
    char text[OBJECT_FACTS_BYTES + 1];
    check(facts->count <= BATCH_PARTS_MAX && (facts->count > 0) == !facts->problem[0]);
    for (size_t i = 0; i < facts->count; i++) {
        const struct batch_model *model = &facts->models[i];
        check(model->input_tokens >= 0 && model->input_likely >= 0 && model->contexts >= 0);
        check(model->output_tokens >= 0 && model->output_likely >= 0 && model->calls >= 0);
        check(model->name[0] && !strchr(model->name, '\n'));
    }
    struct text written = batch_facts_write(facts, text);
    check(written.len <= OBJECT_FACTS_BYTES && text[written.len] == '\0');
    batch_facts_read(written, &again);
    check(again.count == facts->count);
    for (size_t i = 0; i < facts->count; i++)
        check(memcmp(&again.models[i], &facts->models[i], sizeof(again.models[i])) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct batch_facts one, two;
    if (size < 1 || size > 64 << 10)
        return 0;
    char *copy = memory_string((struct text){(const char *)data + 1, size - 1});
    struct text rest = {copy, size - 1};
    if (data[0] & 128) {
        batch_facts_read(text_head(rest, OBJECT_FACTS_BYTES), &one);
        check((one.count > 0) == !one.problem[0]);
    } else {
        read_in(rest, rest.len + 1, &one);
        read_in(rest, 1 + data[0] % 64, &two);
        check(one.count == two.count && memcmp(one.models, two.models, sizeof(one.models)) == 0);
        check(strcmp(one.problem, two.problem) == 0);
        check_facts(&one);
    }
    memory_free(copy);
    return 0;
}
