/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/standing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"

struct standing {
    struct text name;
    atomic_bool known;
    atomic_int state, progress_permille;
    atomic_int_fast64_t eta_us;
    atomic_uint ready;
    atomic_bool knocked;
    atomic_uint_fast64_t counts[STANDING_TIMES][STANDING_BUCKETS], evictions;
    atomic_int_fast64_t sums_us[STANDING_TIMES];
    pthread_mutex_t lock; /* over the reason, which only pages and refusals ask for */
    char reason[FLEET_REASON_MAX];
};

/* Made when a configuration is loaded, never freed: calls that began under an old one look on. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table registry;
static struct loop *desk;
static struct errand *desk_errand;
static atomic_bool posted;
static _Atomic(struct deployments *) running;

struct standing *standing_of(struct text deployment)
{
    pthread_mutex_lock(&lock);
    struct standing *standing = table_find(&registry, deployment);
    if (!standing) {
        standing = memory_new(sizeof(*standing));
        standing->name = text_of(memory_string(deployment));
        pthread_mutex_init(&standing->lock, NULL);
        atomic_init(&standing->progress_permille, -1);
        atomic_init(&standing->eta_us, -1);
        table_set(&registry, standing->name, standing);
    }
    pthread_mutex_unlock(&lock);
    return standing;
}

void standing_set_fleet(struct deployments *fleet)
{
    atomic_store(&running, fleet);
}

struct deployments *standing_fleet(void)
{
    return atomic_load(&running);
}

/* What the desk knows this moment, where there is one. */
static bool ask_desk(const struct standing *standing, struct standing_view *view)
{
    struct deployments *fleet = standing_fleet();
    struct fleet_view now;
    if (!fleet || !deployments_look(fleet, standing->name, &now))
        return false;
    *view = (struct standing_view){.known = true,
                                   .state = now.state,
                                   .progress_permille = now.progress_permille,
                                   .eta_us = now.eta_us,
                                   .ready = now.ready};
    memcpy(view->reason, now.reason, sizeof(view->reason));
    return true;
}

struct standing_view standing_look(struct standing *standing)
{
    struct standing_view said;
    if (ask_desk(standing, &said))
        return said;
    struct standing_view view = {
        .known = atomic_load_explicit(&standing->known, memory_order_acquire),
        .state = (enum deployment_state)atomic_load(&standing->state),
        .progress_permille = atomic_load(&standing->progress_permille),
        .eta_us = atomic_load(&standing->eta_us),
        .ready = atomic_load(&standing->ready),
    };
    pthread_mutex_lock(&standing->lock);
    memcpy(view.reason, standing->reason, sizeof(view.reason));
    pthread_mutex_unlock(&standing->lock);
    return view;
}

void standing_say(struct standing *standing, const struct fleet_view *view)
{
    if (!view) {
        atomic_store(&standing->known, false);
        return;
    }
    atomic_store(&standing->state, (int)view->state);
    atomic_store(&standing->progress_permille, view->progress_permille);
    atomic_store(&standing->eta_us, view->eta_us);
    atomic_store(&standing->ready, view->ready);
    pthread_mutex_lock(&standing->lock);
    snprintf(standing->reason, sizeof(standing->reason), "%s", view->reason);
    pthread_mutex_unlock(&standing->lock);
    atomic_store_explicit(&standing->known, true, memory_order_release);
}

bool standing_is_off(struct standing *standing)
{
    int state = atomic_load_explicit(&standing->state, memory_order_relaxed);
    return atomic_load_explicit(&standing->known, memory_order_acquire) &&
           (state == DEPLOYMENT_STOPPED || state == DEPLOYMENT_STOPPING ||
            state == DEPLOYMENT_FAILED);
}

void standing_knock(struct standing *standing)
{
    if (atomic_exchange(&standing->knocked, true))
        return;
    pthread_mutex_lock(&lock);
    if (desk && !atomic_exchange(&posted, true))
        loop_post(desk, desk_errand);
    pthread_mutex_unlock(&lock);
}

bool standing_knocked(struct standing *standing)
{
    atomic_store(&posted, false); /* an errand that is posted from now on looks again */
    return atomic_exchange(&standing->knocked, false);
}

void standing_set_desk(struct loop *loop, struct errand *errand)
{
    pthread_mutex_lock(&lock);
    desk = loop;
    desk_errand = errand;
    pthread_mutex_unlock(&lock);
}

/* ------------------------------------------------------------------------------- figures */

const int64_t standing_bounds_us[STANDING_BUCKETS - 1] = {
    100000, 500000, 1000000, 2000000, 5000000, 10000000, 30000000, 60000000, 120000000, 300000000,
};

void standing_note(struct standing *standing, enum standing_time what, int64_t us)
{
    int bucket = 0;
    while (bucket < STANDING_BUCKETS - 1 && us > standing_bounds_us[bucket])
        bucket++;
    atomic_fetch_add_explicit(&standing->counts[what][bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&standing->sums_us[what], us, memory_order_relaxed);
}

struct standing_histogram standing_histogram(struct standing *standing, enum standing_time what)
{
    struct standing_histogram out = {.sum_us = atomic_load(&standing->sums_us[what])};
    for (int i = 0; i < STANDING_BUCKETS; i++) {
        out.counts[i] = atomic_load(&standing->counts[what][i]);
        out.count += out.counts[i];
    }
    return out;
}

void standing_note_eviction(struct standing *standing)
{
    atomic_fetch_add_explicit(&standing->evictions, 1, memory_order_relaxed);
}

uint64_t standing_evictions(struct standing *standing)
{
    return atomic_load_explicit(&standing->evictions, memory_order_relaxed);
}
