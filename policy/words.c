/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/words.h"

enum { WORDS_FIRST = 64, BLOCK_BYTES = 8 * 1024 };

void words_init(struct words *words)
{
    arena_init(&words->arena, BLOCK_BYTES);
    words->room = WORDS_FIRST;
    words->at = memory_new(words->room * sizeof(*words->at));
}

void words_done(struct words *words)
{
    arena_done(&words->arena);
    memory_free(words->at);
}

void words_begin(struct words *words)
{
    arena_reset(&words->arena);
    words->count = words->keys = 0;
}

void words_add(struct words *words, struct text text)
{
    if (words->count == words->room) {
        words->room *= 2;
        words->at = memory_resize(words->at, words->room * sizeof(*words->at));
    }
    words->at[words->count++] = text;
}

void words_number(struct words *words, int64_t number)
{
    char *room = arena_take(&words->arena, 1 + TEXT_NUMBER_BYTES);
    uint64_t plain = number < 0 ? -(uint64_t)number : (uint64_t)number;
    struct text digits = text_write_number(plain, room + 1);
    if (number < 0) {
        digits.at--;
        digits.len++;
        room[digits.at - room] = '-';
    }
    words_add(words, digits);
}
