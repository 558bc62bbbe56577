/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns what was made through any node, by way of Redis. */
#include <string.h>

#include "gateway/base/clock.h"
#include "policy/book.h"
#include "policy/owners_inside.h"

extern const char owned_lua[], owned_lua_end[];
extern const char owners_lua[], owners_lua_end[];

struct owners_remote {
    struct redis *redis;
    char *prefix;
    struct redis_script owned, owners;
    struct words words;
    bool was_up;
    uint64_t young_until_us; /* it had been away: what was made meanwhile is being told */
};

/* ------------------------------------------------------------------------------- small parts */

static void on_change(void *with)
{
    struct owners_remote *remote = with;
    if (!redis_is_up(remote->redis))
        return;
    if (remote->was_up)
        remote->young_until_us = clock_now_us() + OWNERS_YOUNG_US;
    remote->was_up = true;
}

void owners_script_init(struct redis_script *script)
{
    redis_script_init(script, (struct text){owned_lua, (size_t)(owned_lua_end - owned_lua)});
}

struct owners_remote *owners_remote_new(struct redis *redis, const char *prefix)
{
    struct owners_remote *remote = memory_new(sizeof(*remote));
    remote->redis = redis;
    remote->prefix = memory_string(text_of(prefix));
    owners_script_init(&remote->owned);
    redis_script_init(&remote->owners,
                      (struct text){owners_lua, (size_t)(owners_lua_end - owners_lua)});
    words_init(&remote->words);
    redis_on_change(redis, on_change, remote);
    return remote;
}

void owners_remote_free(struct owners_remote *remote)
{
    if (!remote)
        return;
    words_done(&remote->words);
    memory_free(remote->prefix);
    memory_free(remote);
}

static struct text key_of(struct words *words, const char *prefix, const char *name)
{
    return arena_format(&words->arena, "%s{ledger}:%s", prefix, name);
}

void owners_words_key(struct words *words, const char *prefix, struct text id)
{
    size_t len = strlen(prefix);
    static const struct text middle = TEXT("{ledger}:object:");
    char *key = arena_take(&words->arena, len + middle.len + id.len);
    memcpy(key, prefix, len);
    memcpy(key + len, middle.at, middle.len);
    memcpy(key + len + middle.len, id.at, id.len);
    words_add(words, (struct text){key, len + middle.len + id.len});
}

/* In seconds; 0 = until it is deleted. */
static int64_t kept_until(const struct object *object)
{
    if (!text_equal(object->kind, TEXT("response")))
        return 0;
    return object->made_us / 1000000 + OBJECT_KEPT_DAYS * INT64_C(86400);
}

void owners_words_object(struct words *words, int64_t number, const struct object *object,
                         bool is_gone)
{
    char body[RECORD_MAX_BYTES];
    size_t len = is_gone ? 0 : record_write_own_body(body, object);
    words_number(words, number);
    words_number(words, object->made_us);
    words_number(words, is_gone ? 0 : kept_until(object));
    words_add(words, arena_copy(&words->arena, (struct text){body, len}));
}

/* ------------------------------------------------------------------------------------ telling */

struct telling {
    void (*told)(void *with);
    void *with;
};

static void on_told(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct telling *telling = with, copy = *telling;
    (void)fault, (void)reply; /* what it did not hear the ledger says again */
    memory_free(telling);
    copy.told(copy.with);
}

bool owners_remote_tell(struct owners_remote *remote, const struct object *object, bool is_gone,
                        void (*told)(void *with), void *with)
{
    struct words *words = &remote->words;
    words_begin(words);
    words_add(words, key_of(words, remote->prefix, "ledgers"));
    words_add(words, key_of(words, remote->prefix, "objects"));
    owners_words_key(words, remote->prefix, object->id);
    words->keys = words->count;
    words_add(words, TEXT("")); /* no ledger, epoch, marks; nothing anew */
    for (int i = 0; i < 4; i++)
        words_number(words, 0);
    owners_words_object(words, 0, object, is_gone);
    struct telling *telling = memory_new(sizeof(*telling));
    *telling = (struct telling){told, with};
    if (redis_eval(remote->redis, &remote->owned, words->keys, words->at, words->count, 0, on_told,
                   telling))
        return true;
    memory_free(telling);
    return false;
}

/* ------------------------------------------------------------------------------------- asking */

struct asking {
    struct owners_remote *remote;
    struct owner_question *question;
    void (*answered)(struct owner_question *question);
};

static struct text id_of(const struct owner *owner)
{
    return (struct text){owner->id, strnlen(owner->id, OWNER_TEXT_BYTES)};
}

static bool is_wanted(const struct owner *owner)
{
    return !owner->found && owner->id[0];
}

/* "<when> <body>"; false when it cannot be read. */
static bool take_object(struct text value, struct owner *owner, char *facts)
{
    struct record record;
    size_t space = text_find_byte(value, ' ');
    struct text body = space == SIZE_MAX ? value : text_from(value, space + 1);
    if (body.len == 0) /* it is gone */
        return true;
    if (!record_read_body(body, &record) || record.kind != RECORD_OWN ||
        !text_equal(record.object.id, id_of(owner)))
        return false;
    owner_set(owner, record.object.tenant, record.object.target, record.object.model);
    if (facts)
        owner_set_facts(facts, record.object.facts);
    return true;
}

static void take_answer(struct asking *asking, const struct redis_reply *reply)
{
    struct owner_question *question = asking->question;
    bool young = redis_number(redis_item(reply, 0)) < OWNERS_YOUNG_US ||
                 clock_now_us() < asking->remote->young_until_us;
    size_t at = 1;
    for (size_t i = 0; i < question->count; i++) {
        struct owner *owner = &question->owners[i];
        if (!is_wanted(owner))
            continue;
        const struct redis_reply *item = at < redis_count(reply) ? redis_item(reply, at++) : NULL;
        bool good = !young && item;
        if (item && redis_kind(item) == REDIS_TEXT)
            good = take_object(redis_text(item), owner, i == 0 ? question->facts : NULL);
        question->failed = question->failed || !good;
    }
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct asking *asking = with, copy = *asking;
    if (fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST && redis_count(reply) > 0)
        take_answer(asking, reply);
    else
        asking->question->failed = true;
    memory_free(asking);
    copy.answered(copy.question);
}

bool owners_remote_ask(struct owners_remote *remote, struct owner_question *question,
                       void (*answered)(struct owner_question *question))
{
    struct words *words = &remote->words;
    if (question->failed)
        return false;
    words_begin(words);
    words_add(words, key_of(words, remote->prefix, "objects"));
    for (size_t i = 0; i < question->count; i++)
        if (is_wanted(&question->owners[i]))
            owners_words_key(words, remote->prefix, id_of(&question->owners[i]));
    words->keys = words->count;
    if (words->count == 1)
        return false;
    struct asking *asking = memory_new(sizeof(*asking));
    *asking = (struct asking){remote, question, answered};
    if (redis_eval(remote->redis, &remote->owners, words->keys, words->at, words->count, 0,
                   on_answer, asking))
        return true;
    memory_free(asking);
    question->failed = true;
    return false;
}
