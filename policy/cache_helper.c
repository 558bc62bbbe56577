/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/cache_helper.h"

#include <pthread.h>
#include <signal.h>

#include "gateway/base/memory.h"

struct helper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct task *tasks, **tasks_end;
    size_t waiting, waiting_max;
    const void *owner; /* of what is being done */
    bool stopping;
};

/* Under the lock. */
static struct task *take(struct helper *helper)
{
    struct task *task = helper->tasks;
    helper->tasks = task->next;
    if (!helper->tasks)
        helper->tasks_end = &helper->tasks;
    helper->waiting--;
    helper->owner = task->owner;
    return task;
}

static void *helper_main(void *with)
{
    struct helper *helper = with;
    pthread_mutex_lock(&helper->lock);
    for (;;) {
        if (helper->tasks) {
            struct task *task = take(helper);
            pthread_mutex_unlock(&helper->lock);
            task->run(task);
            pthread_mutex_lock(&helper->lock);
            helper->owner = NULL;
            pthread_cond_broadcast(&helper->done);
        } else if (helper->stopping) {
            break;
        } else {
            pthread_cond_wait(&helper->work, &helper->lock);
        }
    }
    pthread_mutex_unlock(&helper->lock);
    return NULL;
}

static void helper_end(struct helper *helper)
{
    pthread_mutex_destroy(&helper->lock);
    pthread_cond_destroy(&helper->work);
    pthread_cond_destroy(&helper->done);
    memory_free(helper);
}

struct helper *helper_new(const char *name, size_t waiting_max)
{
    struct helper *helper = memory_new(sizeof(*helper));
    helper->waiting_max = waiting_max;
    helper->tasks_end = &helper->tasks;
    pthread_mutex_init(&helper->lock, NULL);
    pthread_cond_init(&helper->work, NULL);
    pthread_cond_init(&helper->done, NULL);
    /* It gets none of the signals of the whole. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = pthread_create(&helper->thread, NULL, helper_main, helper) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!good) {
        helper_end(helper);
        return NULL;
    }
    pthread_setname_np(helper->thread, name);
    return helper;
}

void helper_free(struct helper *helper)
{
    if (!helper)
        return;
    pthread_mutex_lock(&helper->lock);
    helper->stopping = true;
    pthread_cond_signal(&helper->work);
    pthread_mutex_unlock(&helper->lock);
    pthread_join(helper->thread, NULL);
    helper_end(helper);
}

bool helper_give(struct helper *helper, struct task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&helper->lock);
    bool has_room = helper->waiting < helper->waiting_max;
    if (has_room) {
        *helper->tasks_end = task;
        helper->tasks_end = &task->next;
        helper->waiting++;
        pthread_cond_signal(&helper->work);
    }
    pthread_mutex_unlock(&helper->lock);
    return has_room;
}

/* Under the lock: take the tasks of <owner> out. */
static struct task *take_all(struct helper *helper, const void *owner)
{
    struct task *taken = NULL, **taken_end = &taken, **at = &helper->tasks;
    while (*at) {
        struct task *task = *at;
        if (task->owner != owner) {
            at = &task->next;
            continue;
        }
        *at = task->next;
        task->next = NULL;
        *taken_end = task;
        taken_end = &task->next;
        helper->waiting--;
    }
    helper->tasks_end = at;
    return taken;
}

void helper_cancel(struct helper *helper, const void *owner)
{
    pthread_mutex_lock(&helper->lock);
    struct task *tasks = take_all(helper, owner);
    while (helper->owner == owner)
        pthread_cond_wait(&helper->done, &helper->lock);
    pthread_mutex_unlock(&helper->lock);
    for (struct task *next; tasks; tasks = next) {
        next = tasks->next;
        tasks->drop(tasks);
    }
}
