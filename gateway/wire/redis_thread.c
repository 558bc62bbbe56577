/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/wire/redis_thread.h"

static void done(struct redis_thread *thread)
{
    thread->closing = true;
    if (thread->redis)
        redis_free(thread->redis);
    timer_stop(&thread->poll);
    if (thread->has_thread && thread->work.on_end)
        thread->work.on_end(thread->work.with);
    loop_clear(thread->loop);
    dns_free(thread->dns);
    loop_clear(thread->loop);
}

static void *run(void *with)
{
    struct redis_thread *thread = with;
    loop_run(thread->loop, NULL, NULL);
    done(thread);
    return NULL;
}

bool redis_thread_start(struct redis_thread *thread, const struct redis_options *options,
                        struct text channel, const struct redis_thread_work *work,
                        struct fault *fault)
{
    thread->work = *work;
    thread->loop = loop_new();
    thread->dns = dns_new(thread->loop);
    list_init(&thread->poll.link);
    thread->poll.on_time = work->on_poll;
    thread->redis = redis_new(thread->loop, thread->dns, options, fault);
    if (!thread->redis)
        return false;
    redis_on_change(thread->redis, work->on_connection, work->with);
    redis_subscribe(thread->redis, channel, work->on_message, work->with);
    timer_set(thread->loop, &thread->poll, loop_now_us(thread->loop));
    thread->has_thread = true; /* before it runs */
    if (pthread_create(&thread->thread, NULL, run, thread) == 0)
        return true;
    thread->has_thread = false;
    return fault_set(fault, FAULT_INTERNAL, "no thread could be started for Redis");
}

void redis_thread_end(struct redis_thread *thread)
{
    if (!thread->loop)
        return;
    if (thread->has_thread) {
        loop_stop(thread->loop);
        pthread_join(thread->thread, NULL);
    } else {
        done(thread);
    }
    loop_free(thread->loop);
    thread->loop = NULL;
}
