/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Vectors in Redis, where it has vector sets (Redis 8.0, redis.io/docs/latest/develop/data-types/
 * vector-sets): one set for each place, whose elements are the names of answers.
 *
 *     VECTOR SET <prefix>semantic:<place in hexadecimal>
 *
 * A set expires a TTL after the last put; an element that is older is found, and its answer is not:
 * then it is removed. Beyond max_entries others go, whichever.
 */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"
#include "policy/semantic_inside.h"

enum { KEY_BYTES = 256, NUMBER_BYTES = 24, MILLION = 1000000, SCORE_BYTES = 32 };

static struct text key_of(const struct semantic_desk *desk, const struct digest *place,
                          char room[KEY_BYTES])
{
    char hex[HEX_BYTES];
    hash_hex(place, hex);
    int len = snprintf(room, KEY_BYTES, "%.128ssemantic:%s", desk->prefix, hex);
    return (struct text){room, (size_t)len};
}

/* The bytes of 32-bit floats, little-endian; directions are compared, so any scale will do. */
static struct text floats_of(const struct semantic_vector *vector)
{
    size_t bytes = vector->dimensions * sizeof(uint32_t);
    unsigned char *out = memory_new(bytes);
    for (size_t i = 0; i < vector->dimensions; i++) {
        float number = vector->at[i];
        uint32_t word;
        memcpy(&word, &number, sizeof(word));
        for (size_t b = 0; b < sizeof(word); b++)
            out[i * sizeof(word) + b] = (unsigned char)(word >> (8 * b));
    }
    return (struct text){(char *)out, bytes};
}

static void free_floats(struct text floats)
{
    union {
        const char *borrowed;
        char *own;
    } at = {floats.at};
    memory_free(at.own);
}

/* ----------------------------------------------------------------------- is it new enough? */

static void on_probe(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct semantic_desk *desk = with;
    desk->has_sets = fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST &&
                     redis_count(reply) == 1 && redis_kind(redis_item(reply, 0)) == REDIS_LIST &&
                     redis_count(redis_item(reply, 0)) > 0;
    /* Not known: another time. */
    if (fault != REDIS_ANSWERED)
        desk->life = 0;
}

bool semantic_has_sets(struct semantic_desk *desk)
{
    static const struct text words[] = {TEXT("COMMAND"), TEXT("INFO"), TEXT("VADD")};
    if (!desk->redis || !redis_is_up(desk->redis))
        return false;
    uint64_t life = redis_life(desk->redis);
    if (life == desk->life)
        return desk->has_sets;
    desk->has_sets = false;
    if (redis_send(desk->redis, TEXT(""), words, 3, 0, on_probe, desk))
        desk->life = life;
    return false;
}

/* -------------------------------------------------------------------------------- finding */

/* The score is half of the cosine and one. */
static bool read_likeness(struct text score, int *likeness)
{
    char digits[SCORE_BYTES], *end;
    if (score.len == 0 || score.len >= sizeof(digits))
        return false;
    memcpy(digits, score.at, score.len);
    digits[score.len] = '\0';
    float number = strtof(digits, &end);
    if (*end != '\0' || !(number >= 0 && number <= 1.001F))
        return false;
    *likeness = (int)lroundf((2 * number - 1) * MILLION);
    return true;
}

static void on_found(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct semantic_task *task = with;
    list_remove(&task->link);
    if (fault != REDIS_ANSWERED && semantic_ask_helper(task))
        return;
    task->found = fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST &&
                  redis_count(reply) == 2 &&
                  hash_from_hex(redis_text(redis_item(reply, 0)), &task->name) &&
                  read_likeness(redis_text(redis_item(reply, 1)), &task->likeness);
    semantic_tell(task);
}

bool semantic_ask_redis(struct semantic_desk *desk, struct semantic_task *task)
{
    char room[KEY_BYTES];
    struct text key = key_of(desk, &task->place, room), floats = floats_of(task->vector);
    struct text words[] = {TEXT("VSIM"),       key,           TEXT("FP32"), floats,
                           TEXT("WITHSCORES"), TEXT("COUNT"), TEXT("1")};
    bool asked = redis_send(desk->redis, key, words, 7, 0, on_found, task);
    free_floats(floats);
    if (asked)
        list_push_back(&desk->asked, &task->link);
    return asked;
}

void semantic_leave_redis(struct semantic_desk *desk)
{
    struct link *next;
    for (struct link *at = desk->asked.next; at != &desk->asked; at = next) {
        struct semantic_task *task = LIST_MEMBER(at, struct semantic_task, link);
        next = at->next;
        redis_forget(desk->redis, task);
        semantic_tell(task);
    }
    if (desk->redis)
        redis_forget(desk->redis, desk);
}

/* ---------------------------------------------- putting: one thing after the other, unwatched */

static void on_nothing(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    (void)with, (void)fault, (void)reply;
}

/* Of the task's set, and nobody looks at what comes of it. */
static void send_alone(struct semantic_desk *desk, const struct digest *place, struct text verb,
                       struct text word)
{
    char room[KEY_BYTES];
    struct text key = key_of(desk, place, room);
    struct text words[] = {verb, key, word};
    (void)redis_send(desk->redis, key, words, word.len > 0 ? 3 : 2, 0, on_nothing, desk);
}

/* The next step of a put; it ends when it cannot be sent. */
static void send_next(struct semantic_task *task, struct text verb, struct text word,
                      redis_answer *answer)
{
    char room[KEY_BYTES];
    struct text key = key_of(task->desk, &task->place, room);
    struct text words[] = {verb, key, word};
    if (!redis_send(task->desk->redis, key, words, word.len > 0 ? 3 : 2, 0, answer, task))
        semantic_task_free(task);
}

static void on_random(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct semantic_task *task = with;
    for (size_t i = 0; fault == REDIS_ANSWERED && i < redis_count(reply); i++)
        send_alone(task->desk, &task->place, TEXT("VREM"), redis_text(redis_item(reply, i)));
    semantic_task_free(task);
}

static void on_counted(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct semantic_task *task = with;
    int64_t max = (int64_t)atomic_load(&task->semantic->max_entries);
    int64_t count = fault == REDIS_ANSWERED ? redis_number(reply) : 0;
    /* One for the one that came, and one more, as others put, too, and remove the same. */
    if (count > max)
        send_next(task, TEXT("VRANDMEMBER"), count > max + 1 ? TEXT("2") : TEXT("1"), on_random);
    else
        semantic_task_free(task);
}

static void on_added(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct semantic_task *task = with;
    if (fault != REDIS_ANSWERED) {
        semantic_task_free(task);
        return;
    }
    if (redis_kind(reply) == REDIS_ERROR) {
        /* Another embedding model has other dimensions: begin anew. */
        send_alone(task->desk, &task->place, TEXT("DEL"), TEXT(""));
        semantic_task_free(task);
        return;
    }
    char life[NUMBER_BYTES];
    int64_t ttl_ms = atomic_load(&task->semantic->ttl_us) / 1000;
    int len = snprintf(life, sizeof(life), "%" PRId64, ttl_ms > 0 ? ttl_ms : 1);
    send_alone(task->desk, &task->place, TEXT("PEXPIRE"), (struct text){life, (size_t)len});
    send_next(task, TEXT("VCARD"), TEXT(""), on_counted);
}

void semantic_put_redis(struct semantic_desk *desk, struct semantic_task *task)
{
    char room[KEY_BYTES], name[HEX_BYTES];
    hash_hex(&task->name, name);
    struct text key = key_of(desk, &task->place, room), floats = floats_of(task->vector);
    struct text words[] = {TEXT("VADD"), key, TEXT("FP32"), floats, text_of(name)};
    list_push_back(&desk->asked, &task->link);
    if (!redis_send(desk->redis, key, words, 5, 0, on_added, task))
        semantic_task_free(task);
    free_floats(floats);
}

void semantic_drop_redis(struct semantic_desk *desk, const struct digest *place,
                         const struct digest *name)
{
    char hex[HEX_BYTES];
    hash_hex(name, hex);
    send_alone(desk, place, TEXT("VREM"), text_of(hex));
}
