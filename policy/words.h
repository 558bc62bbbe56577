/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* words - a command to Redis being put together, used again and again. */

#include <stdint.h>

#include "gateway/base/memory.h"

/* Its texts are its own, or live until it is sent. */
struct words {
    struct arena arena;
    struct text *at;
    size_t count, room, keys; /* keys: how many of the first are names of keys; set by who adds */
};

void words_init(struct words *words);
void words_done(struct words *words);
/* Forget the command before. */
void words_begin(struct words *words);
void words_add(struct words *words, struct text text);
void words_number(struct words *words, int64_t number);
