/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate - all workers stand still at once, for what concerns them all (worker.h).
 */
#include "gateway/acceptor.h"
#include "gateway/base/clock.h"
#include "gateway/worker_inside.h"

void gate_init(struct gate *gate)
{
    pthread_condattr_t attributes;
    *gate = (struct gate){0};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void gate_done(struct gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

void worker_stand_still(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, gate_errand);
    struct gate *gate = worker->gate;
    pthread_mutex_lock(&gate->lock);
    gate->inside++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    bool listen = gate->listen;
    gate->left--;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
    if (listen)
        acceptor_open(worker);
    else
        acceptor_close(worker);
}

bool workers_hold(struct worker *const *workers, unsigned count, struct gate *gate, int64_t wait_us)
{
    uint64_t until = clock_now_us() + (uint64_t)wait_us;
    struct timespec end = {(time_t)(until / 1000000), (long)(until % 1000000) * 1000};
    pthread_mutex_lock(&gate->lock);
    gate->inside = 0;
    gate->left = count;
    gate->open = false;
    for (unsigned i = 0; i < count; i++) {
        workers[i]->gate = gate;
        loop_post(workers[i]->loop, &workers[i]->gate_errand);
    }
    bool waits = true;
    while (gate->inside < count && waits)
        waits = pthread_cond_timedwait(&gate->changed, &gate->lock, &end) == 0;
    bool all = gate->inside == count;
    pthread_mutex_unlock(&gate->lock);
    return all;
}

void workers_release(struct gate *gate, bool listen)
{
    pthread_mutex_lock(&gate->lock);
    gate->listen = listen;
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    while (gate->left > 0)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}
