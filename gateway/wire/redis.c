/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/wire/redis_inside.h"

enum { TIMEOUT_US = 1000000 /* where the options have none */ };

/* ---------------------------------------------------------------------------- being told */

bool redis_is_up(const struct redis *redis)
{
    if (redis->cluster)
        return redis_cluster_is_up(redis->cluster);
    return redis->line.state == REDIS_LINE_UP;
}

uint64_t redis_life(const struct redis *redis)
{
    return redis->life;
}

uint64_t redis_life_of(const struct redis *redis, struct text key)
{
    return redis->cluster ? redis_cluster_life_of(redis->cluster, redis_slot(key)) : redis->life;
}

void redis_on_change(struct redis *redis, void (*on_change)(void *with), void *with)
{
    redis->on_change = on_change;
    redis->change_with = with;
}

void redis_tell(struct redis *redis)
{
    bool up = redis_is_up(redis);
    if (redis->freed || (up == redis->was_up && redis->life == redis->was_life))
        return;
    redis->was_up = up;
    redis->was_life = redis->life;
    if (redis->on_change)
        redis->on_change(redis->change_with);
}

void redis_figures(const struct redis *redis, struct redis_figures *figures)
{
    *figures = redis->figures;
    figures->up = redis_is_up(redis);
}

/* ------------------------------------------------------------------------------ commands */

void redis_end(struct redis *redis, struct redis_command *command, enum redis_fault fault,
               const struct redis_reply *reply)
{
    if (!list_is_empty(&command->all)) {
        redis->command_count--;
        redis->command_bytes -= command->len;
        if (fault == REDIS_ANSWERED)
            redis->figures.latency_us = (int64_t)(clock_now_us() - command->sent_us);
        else
            redis->figures.faults++;
    }
    redis_command_end(command, fault, reply);
}

static struct redis_line *line_for(struct redis *redis, uint16_t slot)
{
    if (redis->cluster)
        return redis_cluster_line(redis->cluster, slot);
    return redis->line.state == REDIS_LINE_UP ? &redis->line : NULL;
}

static uint16_t slot_of(const struct redis *redis, struct text key)
{
    return redis->cluster && key.len ? redis_slot(key) : REDIS_NO_SLOT;
}

static bool has_room(const struct redis *redis, const struct text *words, size_t count)
{
    size_t bytes = redis->command_bytes;
    for (size_t i = 0; i < count; i++) {
        if (words[i].len > REDIS_QUEUE_BYTES_MAX)
            return false;
        bytes += words[i].len;
        if (bytes > REDIS_QUEUE_BYTES_MAX)
            return false;
    }
    return redis->command_count < REDIS_COMMANDS_MAX;
}

/* The command on its way, or NULL. */
static struct redis_command *command_send(struct redis *redis, struct text key,
                                          const struct text *words, size_t count,
                                          int64_t timeout_us)
{
    uint16_t slot = slot_of(redis, key);
    struct redis_line *line = redis->freed || count == 0 ? NULL : line_for(redis, slot);
    if (!line || !has_room(redis, words, count))
        return NULL;
    struct redis_command *command = redis_command_new(words, count);
    command->sent_us = clock_now_us();
    command->due_us =
        command->sent_us + (uint64_t)(timeout_us > 0 ? timeout_us : redis->timeout_us);
    command->slot = slot;
    list_push_back(&redis->commands, &command->all);
    redis->command_count++;
    redis->command_bytes += command->len;
    redis->figures.commands++;
    redis_line_push(line, command);
    return command;
}

/* NOLINTNEXTLINE(readability-function-size): seven parameters, by contract */
bool redis_send(struct redis *redis, struct text key, const struct text *words, size_t count,
                int64_t timeout_us, redis_answer *answer, void *with)
{
    struct redis_command *command = command_send(redis, key, words, count, timeout_us);
    if (!command)
        return false;
    command->answer = answer;
    command->with = with;
    return true;
}

void redis_forget(struct redis *redis, const void *with)
{
    for (struct link *at = redis->commands.next; at != &redis->commands; at = at->next) {
        struct redis_command *command = LIST_MEMBER(at, struct redis_command, all);
        if (command->with == with)
            command->answer = NULL;
    }
}

/* NOLINTNEXTLINE(readability-function-size): eight parameters, by contract */
bool redis_eval(struct redis *redis, const struct redis_script *script, size_t key_count,
                const struct text *words, size_t count, int64_t timeout_us, redis_answer *answer,
                void *with)
{
    enum { FEW = 32 };
    struct text few[FEW], *all = few;
    char number[TEXT_NUMBER_BYTES];
    assert(key_count <= count);
    if (count + 3 > FEW)
        all = memory_new((count + 3) * sizeof(*all));
    all[0] = TEXT("EVALSHA");
    all[1] = text_of(script->sha);
    all[2] = text_write_number(key_count, number);
    if (count)
        memcpy(all + 3, words, count * sizeof(*words));
    struct text key = key_count ? words[0] : TEXT("");
    struct redis_command *command = command_send(redis, key, all, count + 3, timeout_us);
    if (all != few)
        memory_free(all);
    if (!command)
        return false;
    command->script = script;
    command->answer = answer;
    command->with = with;
    return true;
}

bool redis_sent_again(struct redis_line *line, struct redis_command *command,
                      const struct redis_reply *reply)
{
    struct redis *redis = line->redis;
    const struct redis_script *script = command->script;
    /* All of it: what a script that was run says itself must not have it run again. */
    if (!script || reply->kind != REDIS_ERROR ||
        !text_starts(reply->text, TEXT("NOSCRIPT No matching script")))
        return false;
    if (line->loading && line->loading_script == script && !command->was_unknown) {
        command->was_unknown = true; /* the source is on its way, and this comes behind it */
        redis_line_push(line, command);
        return true;
    }
    if (redis->command_bytes + script->source.len > 2 * REDIS_QUEUE_BYTES_MAX)
        return false;
    redis->command_bytes -= command->len;
    command = redis_command_with_source(command);
    redis->command_bytes += command->len;
    line->loading = command;
    line->loading_script = script;
    redis_line_push(line, command);
    return true;
}

/* Redis before 7 wraps what a script runs into. */
bool redis_is_demoted(const struct redis_reply *reply)
{
    if (redis_is_error(reply, "READONLY") || redis_is_error(reply, "MASTERDOWN") ||
        redis_is_error(reply, "LOADING"))
        return true;
    return redis_kind(reply) == REDIS_ERROR &&
           text_starts(reply->text, TEXT("ERR Error running script")) &&
           text_find(reply->text, TEXT("-READONLY ")) != SIZE_MAX;
}

/* -------------------------------------------------------------------- the line of the client */

void redis_blame(struct redis_line *line, const char *why)
{
    if (strcmp(line->logged, why) == 0)
        return; /* not every two seconds for hours */
    log_line(LOG_WARN, "redis", "%s", why);
    snprintf(line->logged, sizeof(line->logged), "%s", why);
}

void redis_retry(struct redis *redis, uint64_t wait_us)
{
    timer_stop(&redis->retry);
    timer_set(redis->loop, &redis->retry, clock_now_us() + wait_us);
}

/* What it is shows what it can be used for. */
static bool is_of_use(struct redis *redis, const struct redis_line *line)
{
    if (redis->mode == REDIS_AUTO && line->mode == REDIS_CLUSTER && !redis->cluster)
        redis->cluster = redis_cluster_new(redis);
    if (redis->cluster && line->mode != REDIS_CLUSTER)
        redis_line_fail(&redis->line, "%s is no node of a Cluster", line->name);
    else if (line->mode == REDIS_SENTINEL)
        redis_line_fail(&redis->line, "%s is a Sentinel, but no master is named", line->name);
    return line->state == REDIS_LINE_UP;
}

static void on_up(struct redis_line *line)
{
    struct redis *redis = line->redis;
    if (!is_of_use(redis, line))
        return;
    if (redis->cluster) {
        redis_cluster_seed(redis->cluster);
        return;
    }
    redis->life = line->life;
    redis->figures.connects++;
    memcpy(redis->figures.server, line->version, sizeof(line->version));
    log_line(LOG_INFO, "redis", "connected to %s, version %s", line->name, line->version);
    redis_tell(redis);
    if (!redis->freed)
        redis_listen_move(redis);
}

static void on_down(struct redis_line *line, const char *why)
{
    struct redis *redis = line->redis;
    redis->figures.faults++;
    redis_blame(line, why);
    redis_retry(redis, redis_line_retry_us(line));
    redis_tell(redis);
}

static void on_answer(struct redis_line *line, struct redis_command *command,
                      const struct redis_reply *reply)
{
    bool demoted = redis_is_demoted(reply);
    if (redis_sent_again(line, command, reply))
        return;
    redis_end(line->redis, command, REDIS_ANSWERED, reply);
    if (demoted)
        redis_line_fail(line, "%s takes no commands now: it is a replica, or loading", line->name);
}

static const struct redis_line_owner owner = {on_up, on_down, on_answer, NULL};

static void on_retry(struct timer *timer)
{
    struct redis *redis = LIST_MEMBER(timer, struct redis, retry);
    if (redis->sentinel)
        redis_sentinel_seek(redis->sentinel);
    else if (!redis->cluster || redis_cluster_place(redis->cluster, &redis->line.place))
        redis_line_open(&redis->line);
}

/* -------------------------------------------------------------------------- its beginning */

static bool begin_tls(struct redis *redis, const struct redis_options *options, struct fault *fault)
{
    if (options->server_name)
        redis->server_name = memory_string(text_of(options->server_name));
    if (!redis->url.tls)
        return true;
    redis->tls = tls_new_client(&options->tls, fault);
    if (redis->tls)
        tls_no_alpn(redis->tls);
    return redis->tls != NULL;
}

static bool begin_mode(struct redis *redis, const struct redis_options *options,
                       struct fault *fault)
{
    redis->mode = options->mode;
    if (redis->mode == REDIS_SENTINEL || (redis->mode == REDIS_AUTO && options->sentinel_master)) {
        redis->sentinel = redis_sentinel_new(redis, options, fault);
        redis->line.must_be_master = true;
        return redis->sentinel != NULL;
    }
    if (redis->mode == REDIS_CLUSTER && redis->url.db != 0)
        return fault_set(fault, FAULT_BAD_REQUEST, "a Cluster has database 0 only");
    if (redis->mode == REDIS_CLUSTER)
        redis->cluster = redis_cluster_new(redis);
    return true;
}

static void redis_done(struct redis *redis)
{
    redis_line_done(&redis->line);
    redis_line_done(&redis->listener);
    if (redis->sentinel)
        redis_sentinel_free(redis->sentinel);
    if (redis->cluster)
        redis_cluster_free(redis->cluster);
    if (redis->tls)
        tls_unref(redis->tls);
    memory_free(redis->server_name);
    memory_free(redis->channel);
    memory_wipe(&redis->url, sizeof(redis->url));
    memory_free(redis);
}

struct redis *redis_new(struct loop *loop, struct dns *dns, const struct redis_options *options,
                        struct fault *fault)
{
    struct redis *redis = memory_new(sizeof(*redis));
    redis->loop = loop;
    redis->dns = dns;
    redis->timeout_us = options->timeout_us > 0 ? options->timeout_us : TIMEOUT_US;
    list_init(&redis->commands);
    redis_line_init(&redis->line, redis, &owner);
    redis_listen_init(redis);
    redis->retry.on_time = on_retry;
    if (!redis_url_parse(options->url, &redis->url, fault) || !begin_tls(redis, options, fault) ||
        !begin_mode(redis, options, fault)) {
        redis_done(redis);
        return NULL;
    }
    redis->line.place = redis->url.place;
    redis->line.user = redis->url.user;
    redis->line.password = redis->url.password;
    redis->line.db = redis->url.db;
    redis_retry(redis, 0);
    return redis;
}

/* ---------------------------------------------------------------------------- and its end */

static void bury(struct grave *grave)
{
    redis_done(LIST_MEMBER(grave, struct redis, grave));
}

void redis_free(struct redis *redis)
{
    assert(!redis->freed);
    redis->freed = true;
    timer_stop(&redis->retry);
    timer_stop(&redis->listen_again);
    redis_line_close(&redis->line);
    redis_line_close(&redis->listener);
    if (redis->sentinel)
        redis_sentinel_close(redis->sentinel);
    if (redis->cluster)
        redis_cluster_close(redis->cluster);
    /* Those that were being told of a broken line when this was called. */
    while (!list_is_empty(&redis->commands))
        redis_end(redis, LIST_MEMBER(redis->commands.next, struct redis_command, all),
                  REDIS_UNKNOWN, NULL);
    loop_bury(redis->loop, &redis->grave, bury);
}
