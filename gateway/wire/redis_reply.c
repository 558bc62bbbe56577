/* SPDX-License-Identifier: Apache-2.0 */
#include <hiredis/read.h>
#include <stdlib.h>

#include "gateway/wire/redis_inside.h"

enum { ARENA_BYTES = 4096, KEEP_BYTES = 64 * 1024, LENGTH_LINE_MAX = 32 };

/* --------------------------------------------------- what hiredis' reader builds replies with */

/* The place of a task's reply: inside its list, or a new one. NULL ends the reading. */
static struct redis_reply *reply_of(const redisReadTask *task)
{
    struct redis_parser *parser = task->privdata;
    if (task->parent) {
        const struct redis_reply *list = task->parent->obj;
        return &list->items[task->idx];
    }
    return arena_new(&parser->arena, sizeof(struct redis_reply));
}

static enum redis_kind kind_of(const redisReadTask *task)
{
    if (task->type == REDIS_REPLY_ERROR)
        return REDIS_ERROR;
    return task->type == REDIS_REPLY_STATUS ? REDIS_STATUS : REDIS_TEXT;
}

static void *create_string(const redisReadTask *task, char *at, size_t len)
{
    struct redis_parser *parser = task->privdata;
    struct redis_reply *reply = reply_of(task);
    if (len > REDIS_REPLY_BYTES_MAX - parser->bytes)
        return NULL;
    parser->bytes += len;
    reply->kind = kind_of(task);
    reply->text = arena_copy(&parser->arena, (struct text){at, len});
    return reply;
}

static void *create_array(const redisReadTask *task, int count)
{
    struct redis_parser *parser = task->privdata;
    struct redis_reply *reply = reply_of(task);
    if (count < 0 || (size_t)count > REDIS_REPLY_ITEMS_MAX - parser->items)
        return NULL;
    parser->items += (size_t)count;
    reply->kind = REDIS_LIST;
    reply->count = (size_t)count;
    reply->items = arena_new(&parser->arena, (size_t)count * sizeof(struct redis_reply));
    return reply;
}

static void *create_integer(const redisReadTask *task, long long number)
{
    struct redis_reply *reply = reply_of(task);
    reply->kind = REDIS_NUMBER;
    reply->number = number;
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    struct redis_reply *reply = reply_of(task);
    reply->kind = REDIS_NIL;
    return reply;
}

static void free_object(void *reply)
{
    (void)reply; /* lives in the arena */
}

static redisReplyObjectFunctions functions = {create_string, create_array, create_integer,
                                              create_nil, free_object};

/* ------------------------------------------------------------------------------- parser */

void redis_parser_init(struct redis_parser *parser)
{
    *parser = (struct redis_parser){.reader = redisReaderCreateWithFunctions(&functions)};
    if (!parser->reader)
        abort(); /* out of memory, as in memory_new() */
    parser->reader->privdata = parser;
    parser->reader->maxbuf = KEEP_BYTES;
    arena_init(&parser->arena, ARENA_BYTES);
}

void redis_parser_done(struct redis_parser *parser)
{
    if (!parser->reader)
        return;
    redisReaderFree(parser->reader);
    parser->reader = NULL;
    arena_done(&parser->arena);
}

static bool refuse(redisReader *reader, const char *why)
{
    reader->err = REDIS_ERR_PROTOCOL;
    snprintf(reader->errstr, sizeof(reader->errstr), "%s", why);
    return false;
}

/* hiredis looks for the end of a line anew with every feed, and waits for as many bytes as it is
 * told; neither is left to the server. */
static bool may_wait(redisReader *reader)
{
    struct text rest = {reader->buf + reader->pos, reader->len - reader->pos};
    if (reader->err || rest.len == 0)
        return !reader->err;
    int type = reader->ridx >= 0 ? reader->rstack[reader->ridx].type : -1;
    if (type != REDIS_REPLY_STRING)
        return rest.len <= REDIS_REPLY_LINE_MAX || refuse(reader, "a line is too long");
    size_t end = text_find_byte(text_head(rest, LENGTH_LINE_MAX), '\r');
    if (end == SIZE_MAX)
        return rest.len < LENGTH_LINE_MAX || refuse(reader, "a length is too long");
    uint64_t length;
    struct text digits = text_head(rest, end);
    return text_number(digits, REDIS_REPLY_BYTES_MAX, &length) || text_equal(digits, TEXT("-1")) ||
           refuse(reader, "a text is too long");
}

bool redis_parser_feed(struct redis_parser *parser, struct text bytes)
{
    if (bytes.len == 0)
        return !parser->reader->err;
    return redisReaderFeed(parser->reader, bytes.at, bytes.len) == REDIS_OK;
}

/* Of a large reply nothing is kept: the arena's first block is small. */
static void forget(struct redis_parser *parser)
{
    parser->is_whole = false;
    arena_reset(&parser->arena);
    parser->bytes = parser->items = 0;
}

enum redis_parsed redis_parser_next(struct redis_parser *parser, const struct redis_reply **reply)
{
    void *found = NULL;
    if (parser->is_whole)
        forget(parser);
    if (redisReaderGetReply(parser->reader, &found) != REDIS_OK)
        return REDIS_PARSE_BAD;
    if (!found)
        return may_wait(parser->reader) ? REDIS_PARSE_MORE : REDIS_PARSE_BAD;
    *reply = found;
    parser->is_whole = true;
    return REDIS_PARSED;
}

const char *redis_parser_why(const struct redis_parser *parser)
{
    return parser->reader->errstr;
}

/* ------------------------------------------------------------------------------ answers */

enum redis_kind redis_kind(const struct redis_reply *reply)
{
    return reply->kind;
}

struct text redis_text(const struct redis_reply *reply)
{
    return reply->text.at ? reply->text : TEXT("");
}

int64_t redis_number(const struct redis_reply *reply)
{
    if (reply->kind == REDIS_NUMBER)
        return reply->number;
    if (reply->kind != REDIS_TEXT)
        return 0;
    bool minus = reply->text.len > 0 && reply->text.at[0] == '-';
    uint64_t number;
    uint64_t most = (uint64_t)INT64_MAX + minus;
    if (!text_number(text_from(reply->text, minus), most, &number))
        return 0;
    return minus ? (int64_t)(0 - number) : (int64_t)number;
}

size_t redis_count(const struct redis_reply *reply)
{
    return reply->count;
}

const struct redis_reply *redis_item(const struct redis_reply *reply, size_t i)
{
    static const struct redis_reply nothing = {.kind = REDIS_NIL};
    return i < reply->count ? &reply->items[i] : &nothing;
}

bool redis_is_error(const struct redis_reply *reply, const char *word)
{
    size_t len = strlen(word);
    return reply->kind == REDIS_ERROR && text_starts(reply->text, (struct text){word, len}) &&
           (reply->text.len == len || reply->text.at[len] == ' ');
}
