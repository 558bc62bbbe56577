/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis_inside.h"

enum {
    READ_BYTES = 16 * 1024,
    READ_PER_ROUND = 1024 * 1024,
    PIECES_MAX = 64, /* of one writev */
    PING_EVERY_US = 1000000,
    PING_MIN_US = 500000, /* a time-out for calls may be too short to call a quiet server dead */
    RETRY_MIN_US = 50000,
    RETRY_MAX_US = 2000000,
    STEADY_US = 2000000, /* up for so long: a break is the first one */
};

static bool is_open(const struct redis_line *line)
{
    return line->state != REDIS_LINE_CLOSED;
}

/* -------------------------------------------------------------------------------- ends */

/* All bytes of those in <asked> were written. Of the others none was done: a server does nothing
 * before it has all of a command. */
static void end_commands(struct redis_line *line)
{
    struct link asked, unsent;
    list_init(&asked);
    list_init(&unsent);
    redis_list_move(&asked, &line->asked);
    redis_list_move(&unsent, &line->queued);
    redis_list_move(&unsent, &line->waiting);
    while (!list_is_empty(&asked))
        redis_end(line->redis, LIST_MEMBER(asked.next, struct redis_command, link), REDIS_UNKNOWN,
                  NULL);
    while (!list_is_empty(&unsent))
        redis_end(line->redis, LIST_MEMBER(unsent.next, struct redis_command, link), REDIS_AWAY,
                  NULL);
}

void redis_line_close(struct redis_line *line)
{
    if (!is_open(line))
        return;
    if (line->state == REDIS_LINE_UP && clock_now_us() - line->up_us > STEADY_US)
        line->failures = 0;
    line->state = REDIS_LINE_CLOSED;
    timer_stop(&line->step);
    timer_stop(&line->deadline);
    dns_cancel(&line->query);
    if (line->watch.fd >= 0) {
        loop_remove(line->redis->loop, &line->watch);
        line->watch.fd = -1;
        stream_close(&line->stream);
    }
    end_commands(line);
}

void redis_line_fail(struct redis_line *line, const char *format, ...)
{
    va_list args;
    if (!is_open(line))
        return;
    va_start(args, format);
    vsnprintf(line->why, sizeof(line->why), format, args);
    va_end(args);
    redis_line_close(line);
    line->failures++;
    if (!line->redis->freed)
        line->owner->on_down(line, line->why);
}

uint64_t redis_line_retry_us(const struct redis_line *line)
{
    unsigned doubled = line->failures > 6 ? 6 : line->failures ? line->failures - 1 : 0;
    uint64_t least = (uint64_t)RETRY_MIN_US << doubled, random = 0;
    if (least > RETRY_MAX_US * 2U / 3U)
        least = RETRY_MAX_US * 2U / 3U;
    hash_random(&random, sizeof(random));
    return least + random % (least / 2 + 1);
}

/* ------------------------------------------------------------------------------ writing */

void redis_line_push(struct redis_line *line, struct redis_command *command)
{
    assert(is_open(line));
    bool now =
        line->state == REDIS_LINE_UP || (line->state == REDIS_LINE_LOGIN && !command->due_us);
    list_push_back(now ? &line->queued : &line->waiting, &command->link);
    if (command->due_us && (!line->deadline.due_us || command->due_us < line->deadline.due_us))
        timer_set(line->redis->loop, &line->deadline, command->due_us);
    if (!now || line->flushing)
        return;
    line->flushing = true;
    loop_again(line->redis->loop, &line->watch, LOOP_WRITE);
}

void redis_line_ask(struct redis_line *line, const struct text *words, size_t count,
                    redis_answer *answer, void *with)
{
    struct redis_command *command = redis_command_new(words, count);
    command->answer = answer;
    command->with = with;
    if (line->state == REDIS_LINE_UP) {
        uint64_t wait = (uint64_t)line->redis->timeout_us;
        command->due_us = clock_now_us() + (wait > PING_MIN_US ? wait : PING_MIN_US);
    }
    redis_line_push(line, command);
}

static int gather(const struct redis_line *line, struct iovec *pieces, size_t *total)
{
    int count = 0;
    size_t offset = line->offset;
    *total = 0;
    for (struct link *at = line->queued.next; at != &line->queued && count < PIECES_MAX;
         at = at->next) {
        struct redis_command *command = LIST_MEMBER(at, struct redis_command, link);
        pieces[count++] = (struct iovec){command->bytes + offset, command->len - offset};
        *total += command->len - offset;
        offset = 0;
    }
    return count;
}

static void take_written(struct redis_line *line, size_t sent)
{
    sent += line->offset;
    while (!list_is_empty(&line->queued)) {
        struct redis_command *command = LIST_MEMBER(line->queued.next, struct redis_command, link);
        if (sent < command->len)
            break;
        sent -= command->len;
        list_remove(&command->link);
        list_push_back(&line->asked, &command->link);
    }
    line->offset = sent;
}

static void write_queued(struct redis_line *line)
{
    __attribute__((uninitialized)) struct iovec pieces[PIECES_MAX];
    while (!list_is_empty(&line->queued)) {
        size_t total;
        int count = gather(line, pieces, &total);
        ssize_t sent = stream_write(&line->stream, pieces, count);
        if (sent == STREAM_WAIT)
            return;
        if (sent < 0) {
            redis_line_fail(line, "%s: the connection broke", line->name);
            return;
        }
        take_written(line, (size_t)sent);
    }
}

/* ------------------------------------------------------------------------------ reading */

static void take_reply(struct redis_line *line, const struct redis_reply *reply)
{
    line->heard_us = clock_now_us();
    if (line->owner->on_push && text_equal(redis_text(redis_item(reply, 0)), TEXT("message"))) {
        line->owner->on_push(line, reply);
        return;
    }
    if (list_is_empty(&line->asked)) {
        redis_line_fail(line, "%s: an answer that nobody asked for: %.*s", line->name,
                        (int)text_head(redis_text(reply), 100).len, redis_text(reply).at);
        return;
    }
    struct redis_command *command = LIST_MEMBER(line->asked.next, struct redis_command, link);
    list_remove(&command->link);
    if (command == line->loading)
        line->loading = NULL;
    if (list_is_empty(&command->all)) /* our own */
        redis_command_end(command, REDIS_ANSWERED, reply);
    else
        line->owner->on_answer(line, command, reply);
}

static void take_replies(struct redis_line *line)
{
    const struct redis_reply *reply;
    enum redis_parsed parsed = REDIS_PARSED;
    while (is_open(line) && parsed == REDIS_PARSED) {
        parsed = redis_parser_next(&line->parser, &reply);
        if (parsed == REDIS_PARSED)
            take_reply(line, reply);
    }
    if (is_open(line) && parsed == REDIS_PARSE_BAD)
        redis_line_fail(line, "%s: this is not Redis' protocol: %s", line->name,
                        redis_parser_why(&line->parser));
}

static void read_replies(struct redis_line *line)
{
    static _Thread_local void *mine;
    char *bytes = memory_of_thread(&mine, READ_BYTES);
    for (size_t total = 0; is_open(line);) {
        ssize_t got = stream_read(&line->stream, bytes, READ_BYTES);
        if (got == STREAM_WAIT)
            return;
        if (got <= 0) {
            redis_line_fail(line, "%s: the server closed the connection", line->name);
            return;
        }
        if (!redis_parser_feed(&line->parser, (struct text){bytes, (size_t)got})) {
            redis_line_fail(line, "%s: this is not Redis' protocol: %s", line->name,
                            redis_parser_why(&line->parser));
            return;
        }
        take_replies(line);
        total += (size_t)got;
        if (!is_open(line))
            return;
        if (!line->hangup && !stream_may_have_more(&line->stream, (size_t)got, READ_BYTES))
            return;
        if (total >= READ_PER_ROUND) {
            loop_again(line->redis->loop, &line->watch, LOOP_READ);
            return;
        }
    }
}

static void on_event(struct watch *watch, unsigned events)
{
    struct redis_line *line = (struct redis_line *)watch;
    if (line->state < REDIS_LINE_LOGIN)
        redis_connect_event(line, events);
    if (line->state < REDIS_LINE_LOGIN)
        return;
    line->flushing = false;
    line->hangup = line->hangup || events & LOOP_HANGUP;
    /* First what the server says, also when it closes; TLS may wait for the one to do the other. */
    if (events & (LOOP_READ | LOOP_HANGUP) || line->redis->tls)
        read_replies(line);
    if (is_open(line))
        write_queued(line);
}

/* ------------------------------------------------------------------------------- timers */

static void on_pong(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    (void)with, (void)fault, (void)reply; /* it is its time-out that matters */
}

/* A connection whose other end has gone without a word looks like one where nothing happens. */
static void on_step(struct timer *timer)
{
    struct redis_line *line = LIST_MEMBER(timer, struct redis_line, step);
    if (line->state != REDIS_LINE_UP) {
        redis_connect_late(line);
        return;
    }
    uint64_t now = clock_now_us();
    bool is_idle = list_is_empty(&line->asked) && list_is_empty(&line->queued);
    if (is_idle && now - line->heard_us >= PING_EVERY_US)
        redis_line_ask(line, (struct text[]){TEXT("PING")}, 1, on_pong, line);
    timer_set(line->redis->loop, &line->step, now + PING_EVERY_US);
}

static uint64_t earliest(struct link *commands, uint64_t due)
{
    for (struct link *at = commands->next; at != commands; at = at->next) {
        const struct redis_command *command = LIST_MEMBER(at, struct redis_command, link);
        if (command->due_us && command->due_us < due)
            due = command->due_us;
    }
    return due;
}

/* Those that wait for the connection wait no longer than their time-outs either. */
static void end_late(struct redis_line *line, uint64_t now)
{
    struct link *at = line->waiting.next;
    while (at != &line->waiting) {
        struct redis_command *command = LIST_MEMBER(at, struct redis_command, link);
        at = at->next;
        if (command->due_us && command->due_us <= now) {
            redis_end(line->redis, command, REDIS_AWAY, NULL);
            at = line->waiting.next; /* whoever was told may have changed the list */
        }
    }
}

/* The oldest decides: after it nothing can be told from its late answer any more. */
static void on_deadline(struct timer *timer)
{
    struct redis_line *line = LIST_MEMBER(timer, struct redis_line, deadline);
    if (line->state == REDIS_LINE_UP)
        read_replies(line); /* if it was us who were late, its answer is here */
    uint64_t now = clock_now_us();
    if (is_open(line))
        end_late(line, now);
    if (!is_open(line))
        return;
    uint64_t due = earliest(&line->queued, earliest(&line->asked, UINT64_MAX));
    if (due <= now) {
        redis_line_fail(line, "%s: timed out", line->name);
        return;
    }
    due = earliest(&line->waiting, due);
    if (due != UINT64_MAX)
        timer_set(line->redis->loop, &line->deadline, due);
}

/* --------------------------------------------------------------------------- open, done */

void redis_line_init(struct redis_line *line, struct redis *redis,
                     const struct redis_line_owner *owner)
{
    *line = (struct redis_line){.redis = redis, .owner = owner};
    line->watch = (struct watch){.fd = -1, .on_event = on_event};
    line->user = line->password = "";
    line->step.on_time = on_step;
    line->deadline.on_time = on_deadline;
    list_init(&line->query.link);
    list_init(&line->waiting);
    list_init(&line->queued);
    list_init(&line->asked);
}

void redis_line_open(struct redis_line *line)
{
    assert(!is_open(line));
    redis_parser_done(&line->parser);
    redis_parser_init(&line->parser);
    if (line->place.is_unix)
        snprintf(line->name, sizeof(line->name), "%s", line->place.host);
    else
        snprintf(line->name, sizeof(line->name), "%s:%u", line->place.host, line->place.port);
    line->offset = 0;
    line->loading = NULL;
    line->flushing = line->hangup = false;
    redis_connect_begin(line);
}

void redis_line_up(struct redis_line *line)
{
    struct loop *loop = line->redis->loop;
    line->state = REDIS_LINE_UP;
    line->logged[0] = '\0';
    line->up_us = line->heard_us = clock_now_us();
    timer_stop(&line->step);
    timer_set(loop, &line->step, line->up_us + PING_EVERY_US);
    redis_list_move(&line->queued, &line->waiting);
    if (!list_is_empty(&line->queued) && !line->flushing) {
        line->flushing = true;
        loop_again(loop, &line->watch, LOOP_WRITE);
    }
    line->owner->on_up(line);
}

void redis_line_done(struct redis_line *line)
{
    assert(!is_open(line));
    redis_parser_done(&line->parser);
}
