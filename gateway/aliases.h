/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * aliases - headers that clients of LiteLLM and Portkey send already (docs/CLIENTS.md). They say
 * what ours say, and are minded under the same conditions: they only narrow what is allowed.
 */

#include "gateway/base/memory.h"
#include "gateway/http/head.h"

struct aliases {
    struct text tags;            /* "k=v,…"; words of LiteLLM's have no '=' */
    struct text user;            /* where the body names none */
    struct text cache_namespace; /* kept answers of this one only */
    bool no_cache;
    int64_t timeout_us, stream_timeout_us; /* 0 = none */
};

/* Zeros and empty texts for what is not there, or cannot be read. Texts live in <arena>. */
void aliases_read(const struct head *head, struct arena *arena, struct aliases *aliases);
