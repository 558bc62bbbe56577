/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis client, driven by lines on standard input; tests/redis/driver.py speaks with it.
 *
 *   driver URL [name=value …]         options of struct redis_options; free_at=EVENT
 *
 *   send ID KEY TIMEOUT WORD …        words in hexadecimal, "-" for an empty one
 *   many ID COUNT TIMEOUT WORD …      the same command so often, in one round; key is the 2nd word
 *   eval ID SCRIPT KEYS TIMEOUT WORD …
 *   forget ID                         answers to ID come to nobody
 *   listen CHANNEL
 *   figures, free
 *   free_at EVENT                     in the next answer, change or message
 *   life KEY
 *
 * What is answered: "answer ID FAULT REPLY", "refused ID", "change UP LIFE", "message TEXT",
 * "figures …", "life LIFE".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"

enum { INPUT_BYTES = 64 * 1024 * 1024, WORDS_MAX = 1024, REQUESTS_MAX = 65536, SCRIPTS_MAX = 64 };

struct request {
    char id[32];
};

struct driver {
    struct watch watch;
    struct loop *loop;
    struct redis *redis;
    struct buffer in;
    struct redis_script scripts[SCRIPTS_MAX];
    size_t script_count;
    char free_at[16]; /* empty = only at the end */
    bool freed;
    struct request *requests[REQUESTS_MAX]; /* all, to the end */
    size_t request_count;
};

static struct driver driver;

/* ------------------------------------------------------------------------------ output */

static void put_hex(struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        printf("%02x", (unsigned char)t.at[i]);
}

static void put_reply(const struct redis_reply *reply)
{
    static const char marks[] = {[REDIS_NIL] = 'n',    [REDIS_STATUS] = 's', [REDIS_TEXT] = 't',
                                 [REDIS_NUMBER] = 'i', [REDIS_LIST] = 'l',   [REDIS_ERROR] = 'e'};
    enum redis_kind kind = redis_kind(reply);
    printf(" %c", marks[kind]);
    if (kind == REDIS_NUMBER)
        printf("%" PRId64, redis_number(reply));
    put_hex(redis_text(reply));
    if (kind != REDIS_LIST)
        return;
    printf("%zu", redis_count(reply));
    for (size_t i = 0; i < redis_count(reply); i++)
        put_reply(redis_item(reply, i));
}

static void free_at(const char *event)
{
    if (strcmp(driver.free_at, event) != 0 || driver.freed)
        return;
    driver.freed = true;
    redis_free(driver.redis);
    loop_stop(driver.loop);
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    const struct request *request = with;
    printf("answer %s %d", request->id, (int)fault);
    if (reply)
        put_reply(reply);
    printf("\n");
    free_at("answer");
}

static void on_change(void *with)
{
    (void)with;
    printf("change %d %" PRIu64 "\n", redis_is_up(driver.redis), redis_life(driver.redis));
    free_at("change");
}

static void on_message(void *with, struct text text)
{
    (void)with;
    printf("message ");
    put_hex(text);
    printf("\n");
    free_at("message");
}

/* ------------------------------------------------------------------------------- input */

static unsigned nibble(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* In place. */
static struct text unhex(struct text t)
{
    char *at = (char *)(uintptr_t)t.at;
    if (text_equal(t, TEXT("-")))
        return TEXT("");
    for (size_t i = 0; i + 1 < t.len; i += 2)
        at[i / 2] = (char)(nibble(t.at[i]) << 4 | nibble(t.at[i + 1]));
    return (struct text){at, t.len / 2};
}

static int64_t number(struct text t)
{
    uint64_t n = 0;
    text_number(t, INT64_MAX, &n);
    return (int64_t)n;
}

static struct request *request_of(struct text id)
{
    struct request *request = memory_new(sizeof(*request));
    snprintf(request->id, sizeof(request->id), "%.*s", TEXT_ARGS(id));
    if (driver.request_count == REQUESTS_MAX)
        abort();
    driver.requests[driver.request_count++] = request;
    return request;
}

static void refused(const struct request *request, bool sent)
{
    if (!sent)
        printf("refused %s\n", request->id);
}

static const struct redis_script *script_of(struct text source)
{
    for (size_t i = 0; i < driver.script_count; i++)
        if (text_equal(driver.scripts[i].source, source))
            return &driver.scripts[i];
    if (driver.script_count == SCRIPTS_MAX)
        abort();
    struct redis_script *script = &driver.scripts[driver.script_count++];
    redis_script_init(script, (struct text){memory_string(source), source.len});
    return script;
}

static void run_send(struct text *words, size_t count)
{
    struct request *request = request_of(words[1]);
    for (size_t i = 4; i < count; i++)
        words[i] = unhex(words[i]);
    refused(request, redis_send(driver.redis, unhex(words[2]), words + 4, count - 4,
                                number(words[3]), on_answer, request));
}

static void run_many(struct text *words, size_t count)
{
    struct request *request = request_of(words[1]);
    for (size_t i = 4; i < count; i++)
        words[i] = unhex(words[i]);
    struct text key = count > 5 ? words[5] : TEXT("");
    for (int64_t i = number(words[2]); i > 0; i--)
        refused(request, redis_send(driver.redis, key, words + 4, count - 4, number(words[3]),
                                    on_answer, request));
}

static void run_eval(struct text *words, size_t count)
{
    struct request *request = request_of(words[1]);
    for (size_t i = 5; i < count; i++)
        words[i] = unhex(words[i]);
    refused(request, redis_eval(driver.redis, script_of(unhex(words[2])), (size_t)number(words[3]),
                                words + 5, count - 5, number(words[4]), on_answer, request));
}

static void run_forget(struct text id)
{
    for (size_t i = 0; i < driver.request_count; i++)
        if (text_equal(text_of(driver.requests[i]->id), id))
            redis_forget(driver.redis, driver.requests[i]);
}

static void run_figures(void)
{
    struct redis_figures figures;
    redis_figures(driver.redis, &figures);
    printf("figures %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %s\n", figures.up,
           figures.commands, figures.connects, figures.faults, figures.latency_us, figures.server);
}

static void run_line(struct text line)
{
    static struct text words[WORDS_MAX];
    size_t count = 0;
    while (count < WORDS_MAX && text_next(&line, ' ', &words[count]))
        count++;
    if (text_equal(words[0], TEXT("send")))
        run_send(words, count);
    else if (text_equal(words[0], TEXT("many")))
        run_many(words, count);
    else if (text_equal(words[0], TEXT("eval")))
        run_eval(words, count);
    else if (text_equal(words[0], TEXT("forget")))
        run_forget(words[1]);
    else if (text_equal(words[0], TEXT("listen")))
        redis_subscribe(driver.redis, unhex(words[1]), on_message, NULL);
    else if (text_equal(words[0], TEXT("figures")))
        run_figures();
    else if (text_equal(words[0], TEXT("life")))
        printf("life %" PRIu64 "\n", redis_life_of(driver.redis, unhex(words[1])));
    else if (text_equal(words[0], TEXT("free_at")))
        snprintf(driver.free_at, sizeof(driver.free_at), "%.*s", TEXT_ARGS(words[1]));
    else if (text_equal(words[0], TEXT("free")))
        loop_stop(driver.loop);
}

static void on_input(struct watch *watch, unsigned events)
{
    (void)events;
    char *room = buffer_room(&driver.in, 65536);
    ssize_t got = room ? read(watch->fd, room, 65536) : 0;
    if (got <= 0) {
        loop_stop(driver.loop);
        return;
    }
    buffer_grow(&driver.in, (size_t)got);
    while (!driver.freed) {
        struct text held = buffer_text(&driver.in);
        size_t end = text_find_byte(held, '\n');
        if (end == SIZE_MAX)
            break;
        run_line(text_head(held, end));
        buffer_drop(&driver.in, end + 1);
    }
}

static void on_round(void *with)
{
    (void)with;
    fflush(stdout);
}

/* ------------------------------------------------------------------------------- begin */

static enum redis_mode mode_of(const char *name)
{
    return strcmp(name, "single") == 0     ? REDIS_SINGLE
           : strcmp(name, "sentinel") == 0 ? REDIS_SENTINEL
           : strcmp(name, "cluster") == 0  ? REDIS_CLUSTER
                                           : REDIS_AUTO;
}

static void read_option(struct redis_options *options, char *option)
{
    char *value = strchr(option, '=');
    size_t sentinel = 0;
    if (!value)
        abort();
    *value++ = '\0';
    while (sentinel < REDIS_SENTINELS_MAX && options->sentinels[sentinel])
        sentinel++;
    if (strcmp(option, "free_at") == 0)
        snprintf(driver.free_at, sizeof(driver.free_at), "%s", value);
    else if (strcmp(option, "mode") == 0)
        options->mode = mode_of(value);
    else if (strcmp(option, "master") == 0)
        options->sentinel_master = value;
    else if (strcmp(option, "sentinel") == 0 && sentinel < REDIS_SENTINELS_MAX)
        options->sentinels[sentinel] = value;
    else if (strcmp(option, "sentinel_password") == 0)
        options->sentinel_password = value;
    else if (strcmp(option, "ca_file") == 0)
        options->tls.ca_file = value;
    else if (strcmp(option, "cert_file") == 0)
        options->tls.cert_file = value;
    else if (strcmp(option, "key_file") == 0)
        options->tls.key_file = value;
    else if (strcmp(option, "server_name") == 0)
        options->server_name = value;
    else if (strcmp(option, "timeout_us") == 0)
        options->timeout_us = atoll(value);
    else
        abort();
}

static void run(void)
{
    redis_on_change(driver.redis, on_change, NULL);
    driver.watch = (struct watch){.fd = STDIN_FILENO, .on_event = on_input};
    loop_add_level(driver.loop, &driver.watch, LOOP_READ);
    loop_run(driver.loop, on_round, NULL);
    if (!driver.freed)
        redis_free(driver.redis);
    loop_clear(driver.loop);
    printf("freed\n");
}

int main(int count, char **words)
{
    struct redis_options options = {.url = words[1], .timeout_us = 1000000};
    struct fault fault = {0};
    for (int i = 2; i < count; i++)
        read_option(&options, words[i]);
    log_set_level(LOG_DEBUG);
    driver.loop = loop_new();
    struct dns *dns = dns_new(driver.loop);
    buffer_init(&driver.in, INPUT_BYTES);
    driver.redis = redis_new(driver.loop, dns, &options, &fault);
    if (driver.redis)
        run();
    else
        printf("fault %s\n", fault.text);
    dns_free(dns);
    loop_free(driver.loop);
    buffer_done(&driver.in);
    for (size_t i = 0; i < driver.request_count; i++)
        memory_free(driver.requests[i]);
    for (size_t i = 0; i < driver.script_count; i++)
        memory_free((void *)(uintptr_t)driver.scripts[i].source.at);
    return driver.redis ? 0 : 1;
}
