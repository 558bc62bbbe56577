/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * redis_thread - a thread that does nothing but speak with one Redis: a loop, names, a connection,
 * a channel that is listened to, and a timer for looking whether something has changed though
 * nobody said so. For who may wait: what others ask of it comes by loop_post().
 */

#include <pthread.h>
#include <stdbool.h>

#include "gateway/base/fault.h"
#include "gateway/base/loop.h"
#include "gateway/wire/dns.h"
#include "gateway/wire/redis.h"

/* All on the thread. */
struct redis_thread_work {
    void (*on_poll)(struct timer *timer); /* at once, and whenever it sets <poll> again */
    void (*on_message)(void *with, struct text text);
    void (*on_connection)(void *with); /* it has come, or gone */
    void (*on_end)(void *with);        /* last, when there is no Redis any more; or NULL */
    void *with;
};

struct redis_thread {
    struct redis_thread_work work;
    struct loop *loop;
    struct dns *dns;
    struct redis *redis;
    struct timer poll;
    bool closing; /* the loop has ended: nothing is asked any more; the thread's own */
    bool has_thread;
    pthread_t thread;
};

/* False and *fault: it does not run; redis_thread_end() in any case. */
bool redis_thread_start(struct redis_thread *thread, const struct redis_options *options,
                        struct text channel, const struct redis_thread_work *work,
                        struct fault *fault);
void redis_thread_end(struct redis_thread *thread);
