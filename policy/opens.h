/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * opens - the calls of one journal that were opened and not settled yet, by the sequence of the
 * opening line.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/segment.h"

struct open_call {
    uint64_t sequence;             /* 0 = free place */
    const struct segment *segment; /* where its line stands; NULL = in the database */
    uint32_t offset;
    bool settled; /* by the transaction that is under way */
};

struct opens {
    struct open_call *places;
    size_t capacity, count; /* capacity: a power of two, or 0 */
};

void opens_done(struct opens *opens);
/* Add a call, unless it is there. */
void opens_put(struct opens *opens, const struct open_call *call);
/* NULL when it is not there; valid until the next change. */
struct open_call *opens_find(const struct opens *opens, uint64_t sequence);
void opens_remove(struct opens *opens, uint64_t sequence);
/* Walk: start with *at = 0; NULL at the end. Do not change them meanwhile. */
struct open_call *opens_next(const struct opens *opens, size_t *at);
