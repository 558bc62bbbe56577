/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/words.h"

enum { WORDS_FIRST = 64, DIGITS_MAX = 20, BLOCK_BYTES = 8 * 1024 };

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
    char *end = (char *)arena_take(&words->arena, DIGITS_MAX) + DIGITS_MAX, *at = end;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        *--at = '-';
    words_add(words, (struct text){at, (size_t)(end - at)});
}
