/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Replies of a Redis: the same ones however the bytes are cut; what is read can be written anew and
 * is read the same. And what the words of a Cluster, or an address, are made of: no byte of them
 * leads outside.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/wire/redis_inside.h"

enum { DEPTH_MAX = 8 };

struct outcome {
    char *bytes; /* all replies, written anew */
    size_t len;
    FILE *out;
    enum redis_parsed end;
};

static void write_text(FILE *out, struct text text)
{
    fprintf(out, "$%zu\r\n", text.len);
    fwrite(text.at, 1, text.len, out);
    fputs("\r\n", out);
}

static void write_reply(FILE *out, const struct redis_reply *reply, int depth)
{
    assert(depth <= DEPTH_MAX);
    struct text text = redis_text(reply);
    switch (redis_kind(reply)) {
    case REDIS_NIL:
        fputs("$-1\r\n", out);
        break;
    case REDIS_STATUS:
    case REDIS_ERROR:
        fputc(redis_kind(reply) == REDIS_ERROR ? '-' : '+', out);
        fwrite(text.at, 1, text.len, out);
        fputs("\r\n", out);
        break;
    case REDIS_TEXT:
        write_text(out, text);
        break;
    case REDIS_NUMBER:
        fprintf(out, ":%lld\r\n", (long long)redis_number(reply));
        break;
    case REDIS_LIST:
        assert(redis_count(reply) <= REDIS_REPLY_ITEMS_MAX);
        fprintf(out, "*%zu\r\n", redis_count(reply));
        for (size_t i = 0; i < redis_count(reply); i++)
            write_reply(out, redis_item(reply, i), depth + 1);
        break;
    }
}

/* Whoever follows these reads what a server chose. */
static void read_words(const struct redis_reply *reply)
{
    struct redis_redirect redirect;
    struct redis_range range;
    if (redis_redirect_read(reply, &redirect)) {
        assert(redis_kind(reply) == REDIS_ERROR && redirect.slot < REDIS_SLOTS);
        assert(redirect.place.port > 0 && strlen(redirect.place.host) < REDIS_HOST_BYTES);
    }
    if (redis_range_read(reply, &range)) {
        assert(redis_kind(reply) == REDIS_LIST && range.from <= range.to);
        assert(range.to < REDIS_SLOTS && range.place.port > 0);
    }
    assert(redis_slot(redis_text(reply)) < REDIS_SLOTS);
    assert(redis_kind(redis_item(reply, redis_count(reply))) == REDIS_NIL);
}

static struct outcome feed(struct text from, size_t step)
{
    struct outcome outcome = {.end = REDIS_PARSE_MORE};
    struct redis_parser parser;
    const struct redis_reply *reply;
    outcome.out = open_memstream(&outcome.bytes, &outcome.len);
    redis_parser_init(&parser);
    for (size_t at = 0; at < from.len && outcome.end != REDIS_PARSE_BAD; at += step) {
        struct text part = text_head(text_from(from, at), step);
        char *copy = malloc(part.len);
        memcpy(copy, part.at, part.len);
        assert(redis_parser_feed(&parser, (struct text){copy, part.len}));
        free(copy);
        while ((outcome.end = redis_parser_next(&parser, &reply)) == REDIS_PARSED) {
            write_reply(outcome.out, reply, 0);
            read_words(reply);
        }
    }
    assert(outcome.end != REDIS_PARSE_BAD || redis_parser_why(&parser)[0]);
    redis_parser_done(&parser);
    fclose(outcome.out);
    return outcome;
}

static void check_same(const struct outcome *a, struct outcome b)
{
    assert(a->end == b.end);
    assert(text_equal((struct text){a->bytes, a->len}, (struct text){b.bytes, b.len}));
    free(b.bytes);
}

static void check_url(struct text from)
{
    char *z = memory_string(from);
    struct redis_url url;
    struct fault fault = {0};
    if (strlen(z) == from.len && !redis_url_parse(z, &url, &fault))
        assert(fault.kind != FAULT_NONE && fault.text[0]);
    else if (strlen(z) == from.len)
        assert(url.place.host[0] && (url.place.port > 0) != url.place.is_unix &&
               (!url.user[0] || url.password[0]));
    memory_free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text from = {(const char *)data, size};
    struct outcome whole = feed(from, size + 1);
    check_same(&whole, feed(from, 1));
    check_same(&whole, feed(from, size ? data[size - 1] % 16 + 2U : 7));
    struct outcome again = feed((struct text){whole.bytes, whole.len}, 5);
    assert(again.end != REDIS_PARSE_BAD);
    assert(
        text_equal((struct text){again.bytes, again.len}, (struct text){whole.bytes, whole.len}));
    free(again.bytes);
    free(whole.bytes);
    check_url(from);
    return 0;
}
