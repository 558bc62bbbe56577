/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "providers/chat.h"
#include "providers/provider.h"

enum { CODE_BYTES = 60, WORDS_BYTES = 130, ESCAPES_MAX = 6 };

/* Cut where a character ends. */
static struct text cut(struct text t, size_t len)
{
    if (t.len <= len)
        return t;
    while (len > 0 && ((unsigned char)t.at[len] & 0xC0) == 0x80)
        len--;
    return text_head(t, len);
}

/* The beginning of a text, without its escapes. */
static struct text beginning(struct arena *arena, struct text inner, size_t len)
{
    return cut(inner_plain(arena, text_head(inner, len * ESCAPES_MAX)), len);
}

void provider_error_say(struct provider_error *error, struct text code, struct text words)
{
    struct arena arena;
    error->code = code.at ? code : TEXT("");
    error->words = words.at ? words : TEXT("");
    arena_init(&arena, 1024);
    code = beginning(&arena, error->code, CODE_BYTES);
    words = beginning(&arena, error->words, WORDS_BYTES);
    snprintf(error->message, sizeof(error->message), "%.*s%s%.*s", TEXT_ARGS(code),
             code.len && words.len ? ": " : "", TEXT_ARGS(words));
    arena_done(&arena);
}

struct text provider_error_words(const struct provider_error *error, struct arena *arena)
{
    struct text code = inner_plain(arena, error->code), words = inner_plain(arena, error->words);
    return arena_format(arena, "%.*s%s%.*s", TEXT_ARGS(code), code.len && words.len ? ": " : "",
                        TEXT_ARGS(words));
}
