/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Event streams: the events, and the bytes they are made of, are the same however the stream is
 * cut, and are those that the standard's own line by line reading finds. The first byte of the
 * input says how it is cut.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/http/sse.h"

/* What an event says, added up: order and content of all events in one number. */
static uint64_t mix(uint64_t sum, struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        sum = (sum ^ (unsigned char)t.at[i]) * 0x100000001b3;
    return (sum ^ t.len) * 0x100000001b3;
}

struct outcome {
    uint64_t sum;
    size_t events, whole;
};

static void take_events(struct text bytes, struct outcome *out)
{
    struct sse_event event;
    const char *at = bytes.at;
    while (sse_next(&bytes, &event)) {
        char *joined = malloc(event.raw.len);
        size_t len = sse_data(&event, joined);
        assert(event.raw.at == at && event.raw.len > 0 && bytes.at == at + event.raw.len);
        assert(len <= event.raw.len);
        assert(event.lines != 1 || text_equal(event.data, (struct text){joined, len}));
        at = bytes.at;
        out->sum = mix(mix(mix(out->sum, event.name), (struct text){joined, len}), event.raw);
        out->events++;
        free(joined);
    }
    assert(bytes.len == 0);
}

static struct outcome feed(struct text from, size_t first, size_t step)
{
    struct outcome out = {0};
    size_t seen = 0;
    for (size_t len = first;; len += step) {
        if (len > from.len)
            len = from.len;
        size_t left = len - out.whole;
        char *copy = malloc(left ? left : 1);
        memcpy(copy, from.at + out.whole, left);
        struct text bytes = {copy, left};
        size_t whole = sse_whole_after(bytes, seen);
        assert(whole == sse_whole(bytes) && whole <= left);
        take_events(text_head(bytes, whole), &out);
        free(copy);
        out.whole += whole;
        seen = left - whole;
        if (len == from.len)
            return out;
    }
}

/* Byte by byte, as the standard tells it: where the last whole event ends. A CR at the very end may
 * be half of a CRLF. */
static size_t whole_plainly(struct text from)
{
    size_t whole = 0, line = 0; /* bytes in the line so far */
    for (size_t i = 0; i < from.len; i++) {
        if (from.at[i] != '\n' && from.at[i] != '\r') {
            line++;
            continue;
        }
        if (from.at[i] == '\r' && i + 1 == from.len)
            break;
        if (from.at[i] == '\r' && from.at[i + 1] == '\n')
            i++;
        if (line == 0)
            whole = i + 1;
        line = 0;
    }
    return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 20000)
        return 0;
    struct text from = {(const char *)data + 1, size - 1};
    struct outcome all = feed(from, from.len, 1);
    assert(all.whole == whole_plainly(from));
    struct outcome cuts[] = {feed(from, 0, 1), feed(from, data[0], 5),
                             feed(from, data[0] & 15, from.len + 1)};
    for (size_t i = 0; i < 3; i++)
        assert(cuts[i].whole == all.whole && cuts[i].sum == all.sum &&
               cuts[i].events == all.events);
    return 0;
}
