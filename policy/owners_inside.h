/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * owners_inside - objects in words for Redis: what owners_remote.c, which tells at once (ledger.h),
 * and forward.c, which tells from the ledger, share; nobody else includes it.
 *
 *   <prefix>{ledger}:object:<id>   "<when> <body>" (record.h); without a body: it is gone
 *   <prefix>{ledger}:objects       since when Redis has known all, in microseconds
 */

#include "gateway/wire/redis.h"
#include "policy/record.h"
#include "policy/words.h"

/* The name of an object's key, as a word. */
void owners_words_key(struct words *words, const char *prefix, struct text id);
/* What owned.lua reads of an object: four words. <number>: of the change, 0 = at once. */
void owners_words_object(struct words *words, int64_t number, const struct object *object,
                         bool is_gone);
/* owned.lua */
void owners_script_init(struct redis_script *script);
