/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * made, from inside: the file (made.c), and what of it is shared (made/shared.c).
 */

#include "gateway/base/database.h"
#include "gateway/made/made.h"
#include "gateway/made/redis.h"

struct made {
    char *path;
    struct database *database; /* NULL = there is no file yet, since nothing was made */
    struct made_redis *shared; /* NULL = not shared */
};

/* What of the store this file has seen. */
struct made_mark {
    char life[40];
    int64_t number;
};

/* made.c: the file alone. */
bool made_keep(struct made *made, const struct made_deployment *one, struct fault *fault);
bool made_drop(struct made *made, struct text name, struct fault *fault);
bool made_order_keep(struct made *made, const struct made_order *order, struct fault *fault);
void made_orders_each(struct made *made, void (*each)(void *with, const struct made_order *order),
                      void *with);
bool made_verdict_keep(struct made *made, struct text name, struct text words, struct fault *fault);
struct made_mark made_mark_of(struct made *made);
bool made_set_mark(struct made *made, const struct made_mark *mark);

/* made/shared.c: the store alone. */
bool made_tell(struct made *made, const struct made_deployment *one, struct fault *fault);
bool made_tell_end(struct made *made, const struct made_deployment *one, struct fault *fault);
bool made_tell_order(struct made *made, const struct made_order *order, struct fault *fault);
bool made_tell_verdict(struct made *made, struct text name, struct text words, struct fault *fault);
