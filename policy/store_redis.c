/* SPDX-License-Identifier: Apache-2.0 */
/* No shared store can be reached yet: the file of the same name on h/store takes this one's place.
 */
#include "policy/store_redis.h"

struct shared *shared_new(struct meter *meter, const struct shared_options *options)
{
    (void)meter, (void)options;
    return NULL;
}

void shared_free(struct shared *shared)
{
    (void)shared;
}

struct store_redis *store_redis_new(struct shared *shared, struct loop *loop, struct dns *dns,
                                    unsigned worker, struct fault *fault)
{
    (void)shared, (void)loop, (void)dns, (void)worker, (void)fault;
    return NULL;
}

void store_redis_free(struct store_redis *store)
{
    (void)store;
}

bool store_redis_ask(struct store_redis *store, struct reservation *reservation)
{
    (void)store, (void)reservation;
    return false;
}

void store_redis_abandon(struct store_redis *store, struct reservation *reservation)
{
    (void)store, (void)reservation;
}

void store_redis_ask_ahead(struct store_redis *store, struct reservation *reservation,
                           enum limit_kind kind, int64_t more)
{
    (void)store, (void)reservation, (void)kind, (void)more;
}

struct shared_figures shared_figures(const struct shared *shared)
{
    (void)shared;
    return (struct shared_figures){0};
}
