/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>

#include "gateway/base/hash.h"
#include "gateway/wire/redis_inside.h"

/* "*3\r\n" and "$5\r\nwords\r\n", as in the RESP specification. */
enum { HEAD_BYTES_MAX = 24 };

static size_t put_head(char *out, char kind, size_t number)
{
    char room[TEXT_NUMBER_BYTES];
    struct text digits = text_write_number(number, room);
    out[0] = kind;
    memcpy(out + 1, digits.at, digits.len);
    memcpy(out + 1 + digits.len, "\r\n", 2);
    return digits.len + 3;
}

static size_t put_word(char *out, struct text word)
{
    size_t len = put_head(out, '$', word.len);
    if (word.len)
        memcpy(out + len, word.at, word.len);
    len += word.len;
    memcpy(out + len, "\r\n", 2);
    return len + 2;
}

static struct redis_command *command_new(size_t room)
{
    struct redis_command *command = memory_new(sizeof(*command) + room);
    list_init(&command->link);
    list_init(&command->all);
    command->slot = REDIS_NO_SLOT;
    return command;
}

struct redis_command *redis_command_new(const struct text *words, size_t count)
{
    size_t room = HEAD_BYTES_MAX;
    for (size_t i = 0; i < count; i++)
        room += HEAD_BYTES_MAX + words[i].len + 2;
    struct redis_command *command = command_new(room);
    command->len = put_head(command->bytes, '*', count);
    for (size_t i = 0; i < count; i++) {
        command->len += put_word(command->bytes + command->len, words[i]);
        if (i == 1)
            command->rest_at = command->len;
    }
    assert(command->len <= room);
    return command;
}

struct redis_command *redis_command_with_source(struct redis_command *command)
{
    const struct redis_script *script = command->script;
    struct text all = {command->bytes, command->len};
    struct text head = text_head(all, text_find_byte(all, '\n') + 1); /* the same count of words */
    struct text rest = text_from(all, command->rest_at);
    struct redis_command *whole = command_new(all.len + 2 * HEAD_BYTES_MAX + script->source.len);
    memcpy(whole->bytes, head.at, head.len);
    whole->len = head.len;
    whole->len += put_word(whole->bytes + whole->len, TEXT("EVAL"));
    whole->len += put_word(whole->bytes + whole->len, script->source);
    memcpy(whole->bytes + whole->len, rest.at, rest.len);
    whole->len += rest.len;
    whole->answer = command->answer;
    whole->with = command->with;
    whole->due_us = command->due_us;
    whole->sent_us = command->sent_us;
    whole->slot = command->slot;
    whole->redirects = command->redirects;
    list_push_back(&command->all, &whole->all);
    redis_command_free(command);
    return whole;
}

void redis_command_free(struct redis_command *command)
{
    list_remove(&command->link);
    list_remove(&command->all);
    memory_free(command);
}

void redis_command_end(struct redis_command *command, enum redis_fault fault,
                       const struct redis_reply *reply)
{
    redis_answer *answer = command->answer;
    void *with = command->with;
    redis_command_free(command);
    if (answer)
        answer(with, fault, reply);
}

void redis_script_init(struct redis_script *script, struct text source)
{
    uint8_t digest[20];
    script->source = source;
    hash_sha1(source, digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(script->sha + 2 * i, 3, "%02x", digest[i]);
}
