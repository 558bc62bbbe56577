/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What embedding models answer, what clients ask, and what stands in Redis, whoever wrote it there.
 *
 * A vector that was read is like itself. The place of a call does not depend on the text that was
 * taken out of it. A record that was read is in bounds. The first byte chooses.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "policy/cache_record.h"
#include "policy/semantic.h"

enum { INPUT_MAX = 1 << 14, MILLION = 1000000 };

static void check_vector(struct text json)
{
    struct semantic_vector *vector = semantic_vector_read(json);
    if (!vector)
        return;
    int likeness = semantic_likeness(vector, vector);
    assert(likeness > MILLION - 10 && likeness < MILLION + 10);
    semantic_vector_free(vector);
}

static bool take_apart(enum operation operation, struct text body, struct buffer *text,
                       struct digest *place)
{
    buffer_init(text, SEMANTIC_TEXT_MAX);
    return semantic_read(TEXT("t"), TEXT("r"), operation, body, text, place);
}

/* Write something else for the text wherever it stands as it is; the place stays, unless it was
 * elsewhere that it stood. */
static void check_call(enum operation operation, struct text body)
{
    struct buffer text, other_text, again;
    struct digest place, other;
    bool good = take_apart(operation, body, &text, &place);
    assert(!good || buffer_length(&text) > 0);
    size_t at = good ? text_find(body, buffer_text(&text)) : SIZE_MAX;
    buffer_init(&again, 2 * INPUT_MAX);
    if (at != SIZE_MAX && at > 0 && body.at[at - 1] == '"' && buffer_length(&text) > 3) {
        buffer_append_text(&again, text_head(body, at));
        buffer_append_text(&again, TEXT("zzzz"));
        buffer_append_text(&again, text_from(body, at + buffer_length(&text)));
        if (take_apart(operation, buffer_text(&again), &other_text, &other) &&
            text_equal(buffer_text(&other_text), TEXT("zzzz")))
            assert(hash_same(&place, &other));
        buffer_done(&other_text);
    }
    buffer_done(&again);
    buffer_done(&text);
}

static void check_record(struct text bytes)
{
    struct record record;
    if (!cache_record_read(bytes, &record))
        return;
    assert(record.rest.at >= bytes.at && record.rest.at + record.rest.len == bytes.at + bytes.len);
    assert(record.kind == RECORD_ANSWER || record.kind == RECORD_NOT_KEPT ||
           record.kind == RECORD_CLAIM);
    assert(strlen(record.facts.type) < sizeof(record.facts.type));
    assert(record.ttl_us >= 0 && record.end.cost_nanos >= 0 && record.end.usage.units >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum operation operations[] = {OPERATION_CHAT, OPERATION_COMPLETION,
                                                OPERATION_RESPONSE};
    if (size < 1 || size > INPUT_MAX)
        return 0;
    /* Of exactly its size, so that reading behind its end is seen. */
    char *own = malloc(size > 1 ? size - 1 : 1);
    memcpy(own, data + 1, size - 1);
    struct text input = {own, size - 1};
    if (data[0] % 5 < 3)
        check_call(operations[data[0] % 5], input);
    else if (data[0] % 5 == 3)
        check_vector(input);
    else
        check_record(input);
    free(own);
    return 0;
}
