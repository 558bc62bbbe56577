/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/made/redis.h"

#include <pthread.h>
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/wire/redis_thread.h"

enum { POLL_US = 1000000, COMMAND_US = 1500000, KEYS = 6, ARENA_BLOCK = 4096 };

/* KEYS: head, docs, orders, asks, said, verdicts. ARGV[1]: the channel. Numbers stay below 2^53. */
static const char *const sources[MADE_SCRIPTS] = {
    [MADE_READ] = "local s = redis.call('HMGET', KEYS[1], 'number', 'life')\n"
                  "if not s[2] then return {'EMPTY'} end\n"
                  "if s[2] == ARGV[2] and s[1] == ARGV[3] then return {'SAME'} end\n"
                  "local out = {'ALL', s[1], s[2]}\n"
                  "for at, key in ipairs({KEYS[2], KEYS[3], KEYS[6]}) do\n"
                  "  local all = redis.call('HGETALL', key)\n"
                  "  for i = 1, #all, 2 do\n"
                  "    out[#out + 1] = string.sub('dov', at, at)\n"
                  "    out[#out + 1] = all[i]\n"
                  "    out[#out + 1] = at == 1 and string.match(all[i + 1], '^%d+') or all[i + 1]\n"
                  "  end\n"
                  "end\n"
                  "return out\n",
    [MADE_GET] = "return {redis.call('HGET', KEYS[2], ARGV[2]) or ''}\n",
    [MADE_WRITE] = "if redis.call('HEXISTS', KEYS[1], 'life') == 0 then return {'EMPTY'} end\n"
                   "local it = redis.call('HGET', KEYS[2], ARGV[2])\n"
                   "local version = it and string.match(it, '^%d+') or '0'\n"
                   "if version ~= ARGV[3] then return {'STALE', version} end\n"
                   "if ARGV[4] == '' then\n"
                   "  redis.call('HDEL', KEYS[2], ARGV[2])\n"
                   "  redis.call('HDEL', KEYS[3], ARGV[2])\n"
                   "  redis.call('HDEL', KEYS[6], ARGV[2])\n"
                   "else redis.call('HSET', KEYS[2], ARGV[2], ARGV[4]) end\n"
                   "redis.call('HINCRBY', KEYS[1], 'number', 1)\n"
                   "redis.call('PUBLISH', ARGV[1], 'change')\n"
                   "return {'DONE'}\n",
    [MADE_MERGE] =
        "redis.call('HSETNX', KEYS[1], 'life', ARGV[2])\n"
        "local n = math.max(tonumber(redis.call('HGET', KEYS[1], 'number') or 0),\n"
        "  tonumber(ARGV[3]))\n"
        "for i = 4, #ARGV, 4 do\n"
        "  if ARGV[i] == 'o' then redis.call('HSETNX', KEYS[3], ARGV[i + 1], ARGV[i + 3])\n"
        "  elseif ARGV[i] == 'v' then redis.call('HSETNX', KEYS[6], ARGV[i + 1], ARGV[i + 3])\n"
        "  else\n"
        "    local it = redis.call('HGET', KEYS[2], ARGV[i + 1])\n"
        "    local there = it and tonumber(string.match(it, '^%d+')) or -1\n"
        "    if tonumber(ARGV[i + 2]) > there then\n"
        "      redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 3])\n"
        "    end\n"
        "  end\n"
        "end\n"
        "redis.call('HSET', KEYS[1], 'number', string.format('%.0f', n + 1))\n"
        "redis.call('PUBLISH', ARGV[1], 'change')\n"
        "return {'DONE'}\n",
    [MADE_ORDER] = "redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])\n"
                   "redis.call('HINCRBY', KEYS[1], 'number', 1)\n"
                   "redis.call('PUBLISH', ARGV[1], 'change')\n"
                   "return {'DONE'}\n",
    /* What is over stays there as an empty one, which says so to nodes that had it. */
    [MADE_VERDICT] = "redis.call('HSET', KEYS[6], ARGV[2], ARGV[3])\n"
                     "redis.call('HINCRBY', KEYS[1], 'number', 1)\n"
                     "redis.call('PUBLISH', ARGV[1], 'change')\n"
                     "return {'DONE'}\n",
    /* A question is one for a few seconds only: nobody is to be surprised by it later. */
    [MADE_ASK] = "local t = redis.call('TIME')\n"
                 "local n = redis.call('HINCRBY', KEYS[5], 'count', 1)\n"
                 "redis.call('PEXPIRE', KEYS[5], 60000)\n"
                 "redis.call('RPUSH', KEYS[4], n .. ' ' .. t[1] .. ' ' .. ARGV[2])\n"
                 "redis.call('LTRIM', KEYS[4], -100, -1)\n"
                 "redis.call('PEXPIRE', KEYS[4], 10000)\n"
                 "redis.call('PUBLISH', ARGV[1], 'ask')\n"
                 "return {tostring(n)}\n",
    [MADE_TAKE] = "local now = tonumber(redis.call('TIME')[1])\n"
                  "while true do\n"
                  "  local it = redis.call('LPOP', KEYS[4])\n"
                  "  if not it then return {} end\n"
                  "  local n, at, ask = string.match(it, '^(%d+) (%d+) (.*)$')\n"
                  "  if n and now - tonumber(at) <= 4 then return {n, ask} end\n"
                  "end\n",
    [MADE_ANSWER] = "redis.call('HSET', KEYS[5], 'a' .. ARGV[2], ARGV[3])\n"
                    "redis.call('PEXPIRE', KEYS[5], 60000)\n"
                    "return {'DONE'}\n",
    [MADE_HEAR] = "local it = redis.call('HGET', KEYS[5], 'a' .. ARGV[2])\n"
                  "if not it then return {} end\n"
                  "redis.call('HDEL', KEYS[5], 'a' .. ARGV[2])\n"
                  "return {it}\n",
};

/* Of both threads: whoever is the second to be done with it frees it. */
struct question {
    struct errand errand;
    struct made_redis *shared;
    enum made_script script;
    struct arena arena; /* of the words, and of the answer */
    struct text words[KEYS + 1 + MADE_WORDS_MAX];
    size_t count;
    struct text *items;
    size_t item_count;
    bool good, done, left; /* left: nobody waits for it any more */
};

struct made_redis {
    struct made_redis_options options;
    struct redis_script scripts[MADE_SCRIPTS];
    char *names[KEYS], *channel;
    struct redis_thread own;
    bool polling, was_told;
    char told[128]; /* the head that on_change() was last called for */

    pthread_mutex_t lock;
    pthread_cond_t bell;
};

/* --------------------------------------------------------------------------------- looking */

static void on_polled(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct made_redis *shared = with;
    char now[sizeof(shared->told)];
    shared->polling = false;
    if (fault != REDIS_ANSWERED || redis_kind(reply) != REDIS_LIST || redis_count(reply) < 2)
        return;
    snprintf(now, sizeof(now), "%.*s %.*s",
             TEXT_ARGS(text_head(redis_text(redis_item(reply, 0)), 40)),
             TEXT_ARGS(text_head(redis_text(redis_item(reply, 1)), 40)));
    if (shared->was_told && strcmp(now, shared->told) == 0)
        return;
    shared->was_told = true;
    snprintf(shared->told, sizeof(shared->told), "%s", now);
    shared->options.on_change(shared->options.with);
}

static void look(struct made_redis *shared)
{
    const struct text words[] = {TEXT("HMGET"), text_of(shared->names[0]), TEXT("number"),
                                 TEXT("life")};
    if (!shared->polling)
        shared->polling = redis_send(shared->own.redis, text_of(shared->names[0]), words, 4,
                                     COMMAND_US, on_polled, shared);
}

static void tell_asked(struct made_redis *shared)
{
    if (shared->options.on_ask)
        shared->options.on_ask(shared->options.with);
}

static void on_poll(struct timer *timer)
{
    struct made_redis *shared = LIST_MEMBER(timer, struct made_redis, own.poll);
    timer_set(shared->own.loop, timer, loop_now_us(shared->own.loop) + POLL_US);
    look(shared);
    tell_asked(shared);
}

static void on_message(void *with, struct text text)
{
    struct made_redis *shared = with;
    if (text_equal(text, TEXT("ask")))
        tell_asked(shared);
    else
        look(shared);
}

static void on_connection(void *with)
{
    struct made_redis *shared = with;
    if (redis_is_up(shared->own.redis))
        look(shared);
}

/* ---------------------------------------------------------------------------------- asking */

static void question_free(struct question *question)
{
    arena_done(&question->arena);
    memory_free(question);
}

static void finish(struct question *question, bool good)
{
    struct made_redis *shared = question->shared;
    pthread_mutex_lock(&shared->lock);
    bool left = question->left;
    question->good = good;
    question->done = true;
    pthread_cond_broadcast(&shared->bell);
    pthread_mutex_unlock(&shared->lock);
    if (left)
        question_free(question);
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    bool good = fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST;
    if (fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_ERROR)
        log_line(LOG_ERROR, "deploy", "Redis: %.*s", TEXT_ARGS(text_head(redis_text(reply), 200)));
    if (good) {
        question->item_count = redis_count(reply);
        question->items =
            arena_new(&question->arena, (question->item_count + 1) * sizeof(*question->items));
        for (size_t i = 0; i < question->item_count; i++)
            question->items[i] = arena_copy(&question->arena, redis_text(redis_item(reply, i)));
    }
    finish(question, good);
}

static void on_question(struct errand *errand)
{
    struct question *question = LIST_MEMBER(errand, struct question, errand);
    struct made_redis *shared = question->shared;
    if (shared->own.closing ||
        !redis_eval(shared->own.redis, &shared->scripts[question->script], KEYS, question->words,
                    question->count, COMMAND_US, on_answer, question))
        finish(question, false);
}

static struct question *question_new(struct made_redis *shared, enum made_script script,
                                     const struct text *words, size_t count)
{
    struct question *question = memory_new(sizeof(*question));
    question->errand.run = on_question;
    question->shared = shared;
    question->script = script;
    arena_init(&question->arena, ARENA_BLOCK);
    for (size_t i = 0; i < KEYS; i++)
        question->words[question->count++] = text_of(shared->names[i]);
    question->words[question->count++] = text_of(shared->channel);
    for (size_t i = 0; i < count && i < MADE_WORDS_MAX; i++)
        question->words[question->count++] = arena_copy(&question->arena, words[i]);
    return question;
}

bool made_redis_ask(struct made_redis *shared, enum made_script script, const struct text *words,
                    size_t count, struct made_answer *answer)
{
    struct question *question = question_new(shared, script, words, count);
    struct timespec until = clock_until(MADE_WAIT_US);
    *answer = (struct made_answer){.count = 0};
    arena_init(&answer->arena, ARENA_BLOCK);
    loop_post(shared->own.loop, &question->errand);
    pthread_mutex_lock(&shared->lock);
    while (!question->done && pthread_cond_timedwait(&shared->bell, &shared->lock, &until) == 0)
        continue;
    bool done = question->done, good = done && question->good;
    question->left = !done;
    pthread_mutex_unlock(&shared->lock);
    if (!done)
        return false;
    if (good) {
        arena_done(&answer->arena);
        answer->arena = question->arena;
        answer->items = question->items;
        answer->count = question->item_count;
        arena_init(&question->arena, ARENA_BLOCK);
    }
    question_free(question);
    return good;
}

void made_answer_done(struct made_answer *answer)
{
    for (size_t i = 0; i < answer->count; i++) /* there may be secrets in them */
        memory_wipe((void *)(uintptr_t)answer->items[i].at, answer->items[i].len);
    arena_done(&answer->arena);
}

struct text made_answer_text(const struct made_answer *answer, size_t i)
{
    return i < answer->count ? answer->items[i] : (struct text){"", 0};
}

/* --------------------------------------------------------------------------- begin and end */

struct made_redis *made_redis_open(const struct made_redis_options *options, struct fault *fault)
{
    static const char *const ends[KEYS] = {"head", "docs", "orders", "asks", "said", "verdicts"};
    struct made_redis *shared = memory_new(sizeof(*shared));
    pthread_condattr_t attributes;
    shared->options = *options;
    for (size_t i = 0; i < KEYS; i++)
        shared->names[i] = memory_format("%s{deployments}:%s", options->prefix, ends[i]);
    shared->channel = memory_format("%s{deployments}", options->prefix);
    for (size_t i = 0; i < MADE_SCRIPTS; i++)
        redis_script_init(&shared->scripts[i], text_of(sources[i]));
    pthread_mutex_init(&shared->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&shared->bell, &attributes);
    pthread_condattr_destroy(&attributes);
    const struct redis_thread_work work = {on_poll, on_message, on_connection, NULL, shared};
    if (redis_thread_start(&shared->own, options->redis, text_of(shared->channel), &work, fault))
        return shared;
    made_redis_close(shared);
    return NULL;
}

void made_redis_close(struct made_redis *shared)
{
    if (!shared)
        return;
    redis_thread_end(&shared->own);
    for (size_t i = 0; i < KEYS; i++)
        memory_free(shared->names[i]);
    memory_free(shared->channel);
    pthread_cond_destroy(&shared->bell);
    pthread_mutex_destroy(&shared->lock);
    memory_free(shared);
}
