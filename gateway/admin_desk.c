/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/admin_desk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/admin_inside.h"
#include "gateway/base/list.h"
#include "gateway/base/memory.h"
#include "gateway/crash.h"
#include "gateway/foresight.h"

struct desk {
    struct service *service;
    char name[16];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct admin_call *calls, **end;
    unsigned count;
    bool closed;
};

static void on_answered(struct errand *errand)
{
    struct admin_call *call = LIST_MEMBER(errand, struct admin_call, errand);
    call->done(call);
}

void desk_send(struct admin_call *call)
{
    call->errand.run = on_answered;
    loop_post(call->loop, &call->errand);
}

/* The next one; NULL at the end. *closed: it is too late for an answer. Who has nothing to do keeps
 * nothing: an answer about the ledger takes some megabytes. */
static struct admin_call *take(struct desk *desk, bool *closed)
{
    pthread_mutex_lock(&desk->lock);
    if (desk->calls == NULL && !desk->closed) {
        pthread_mutex_unlock(&desk->lock);
        memory_trim();
        pthread_mutex_lock(&desk->lock);
    }
    while (desk->calls == NULL && !desk->closed)
        pthread_cond_wait(&desk->wake, &desk->lock);
    struct admin_call *call = desk->calls;
    if (call != NULL) {
        desk->calls = call->next;
        desk->count--;
        if (desk->calls == NULL)
            desk->end = &desk->calls;
    }
    *closed = desk->closed;
    pthread_mutex_unlock(&desk->lock);
    return call;
}

static void *desk_main(void *with)
{
    struct desk *desk = with;
    crash_arm_thread();
    pthread_setname_np(pthread_self(), desk->name);
    bool closed = false;
    for (struct admin_call *call; (call = take(desk, &closed)) != NULL;) {
        if (closed) {
            foresight_done(call);
            admin_problem(call, 503, TEXT("sluice is ending"));
        } else {
            admin_work(desk->service, call);
        }
        desk_send(call);
    }
    return NULL;
}

struct desk *desk_new(const char *name, struct service *service)
{
    struct desk *desk = memory_new(sizeof *desk);
    desk->service = service;
    desk->end = &desk->calls;
    snprintf(desk->name, sizeof desk->name, "%s", name);
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->wake, NULL);
    if (pthread_create(&desk->thread, NULL, desk_main, desk) != 0) {
        perror("sluice: pthread_create");
        abort();
    }
    return desk;
}

bool desk_put(struct desk *desk, struct admin_call *call)
{
    pthread_mutex_lock(&desk->lock);
    bool has_room = desk->count < DESK_CALLS_MAX && !desk->closed;
    if (has_room) {
        call->next = NULL;
        *desk->end = call;
        desk->end = &call->next;
        desk->count++;
        pthread_cond_signal(&desk->wake);
    }
    pthread_mutex_unlock(&desk->lock);
    return has_room;
}

void desk_close(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    desk->closed = true;
    pthread_cond_signal(&desk->wake);
    pthread_mutex_unlock(&desk->lock);
    pthread_join(desk->thread, NULL);
}

void desk_free(struct desk *desk)
{
    if (desk == NULL)
        return;
    pthread_cond_destroy(&desk->wake);
    pthread_mutex_destroy(&desk->lock);
    memory_free(desk);
}
