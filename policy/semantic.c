/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/semantic.h"

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "policy/semantic_inside.h"

enum { WAITING_MAX = 256, MILLION = 1000000 };

struct semantic *semantic_new(const struct semantic_options *options)
{
    struct semantic *semantic = memory_new(sizeof(*semantic));
    semantic->helper = helper_new("semantic", WAITING_MAX);
    if (!semantic->helper) {
        memory_free(semantic);
        return NULL;
    }
    semantic->shelves = shelves_new();
    semantic_set_options(semantic, options);
    return semantic;
}

void semantic_free(struct semantic *semantic)
{
    if (!semantic)
        return;
    helper_free(semantic->helper);
    shelves_free(semantic->shelves);
    memory_free(semantic);
}

void semantic_set_options(struct semantic *semantic, const struct semantic_options *options)
{
    atomic_store(&semantic->threshold, options->threshold);
    atomic_store(&semantic->ttl_us, options->ttl_us);
    atomic_store(&semantic->max_entries, options->max_entries);
}

struct semantic_figures semantic_figures(struct semantic *semantic)
{
    return (struct semantic_figures){atomic_load(&semantic->entries),
                                     atomic_load(&semantic->places), atomic_load(&semantic->finds),
                                     atomic_load(&semantic->found)};
}

struct semantic_desk *semantic_desk_new(struct semantic *semantic, struct loop *loop,
                                        struct redis *redis, const char *prefix)
{
    struct semantic_desk *desk = memory_new(sizeof(*desk));
    *desk = (struct semantic_desk){semantic, loop, redis, prefix, 0, false, {NULL, NULL}};
    list_init(&desk->asked);
    return desk;
}

void semantic_desk_free(struct semantic_desk *desk)
{
    if (!desk)
        return;
    helper_cancel(desk->semantic->helper, desk);
    semantic_leave_redis(desk);
    memory_free(desk);
}

/* ------------------------------------------------------------------------------- tasks */

static struct semantic_task *task_new(struct semantic_desk *desk, const struct digest *place)
{
    struct semantic_task *task = memory_new(sizeof(*task));
    task->semantic = desk->semantic;
    task->desk = desk;
    task->place = *place;
    list_init(&task->link);
    return task;
}

void semantic_task_free(struct semantic_task *task)
{
    list_remove(&task->link);
    semantic_vector_free(task->vector);
    memory_free(task);
}

void semantic_tell(struct semantic_task *task)
{
    struct semantic_search *search = task->search;
    if (search) {
        search->task = NULL;
        search->vector = task->vector;
        task->vector = NULL;
        search->name = task->name;
        search->likeness = task->likeness;
        search->found = task->found && task->likeness >= atomic_load(&task->semantic->threshold);
        if (search->found)
            atomic_fetch_add(&task->semantic->found, 1);
    }
    semantic_task_free(task);
    if (search)
        search->on_found(search);
}

static void on_told(struct errand *errand)
{
    semantic_tell(LIST_MEMBER(errand, struct semantic_task, errand));
}

/* ------------------------------------------------------------------------ on the helper */

/* Before when something must have been put not to count. */
static int64_t since(const struct semantic *semantic)
{
    return (int64_t)clock_now_us() - atomic_load(&semantic->ttl_us);
}

static void tidy(struct semantic *semantic)
{
    shelves_trim(semantic->shelves, atomic_load(&semantic->max_entries), since(semantic));
    atomic_store(&semantic->entries, shelves_entries(semantic->shelves));
    atomic_store(&semantic->places, shelves_places(semantic->shelves));
}

static void run_find(struct task *done)
{
    struct semantic_task *task = LIST_MEMBER(done, struct semantic_task, task);
    struct semantic *semantic = task->semantic;
    task->likeness =
        shelves_find(semantic->shelves, &task->place, task->vector, since(semantic), &task->name);
    task->found = task->likeness >= -MILLION;
    loop_post(task->desk->loop, &task->errand);
}

static void drop_find(struct task *dropped)
{
    struct semantic_task *task = LIST_MEMBER(dropped, struct semantic_task, task);
    loop_post(task->desk->loop, &task->errand);
}

static void run_put(struct task *done)
{
    struct semantic_task *task = LIST_MEMBER(done, struct semantic_task, task);
    struct semantic *semantic = task->semantic;
    shelves_put(semantic->shelves, &task->place, task->vector, &task->name,
                (int64_t)clock_now_us());
    tidy(semantic);
    semantic_task_free(task);
}

static void run_drop(struct task *done)
{
    struct semantic_task *task = LIST_MEMBER(done, struct semantic_task, task);
    shelves_drop(task->semantic->shelves, &task->place, &task->name);
    tidy(task->semantic);
    semantic_task_free(task);
}

bool semantic_ask_helper(struct semantic_task *task)
{
    task->task.run = run_find;
    task->task.drop = drop_find;
    task->task.owner = task->desk;
    task->errand.run = on_told;
    return helper_give(task->semantic->helper, &task->task);
}

/* ------------------------------------------------------------------------------ the door */

bool semantic_find(struct semantic_desk *desk, struct semantic_search *search)
{
    struct semantic_task *task = task_new(desk, &search->place);
    task->search = search;
    task->vector = search->vector;
    search->found = false;
    atomic_fetch_add(&desk->semantic->finds, 1);
    if ((semantic_has_sets(desk) && semantic_ask_redis(desk, task)) || semantic_ask_helper(task)) {
        search->task = task;
        return true;
    }
    task->vector = NULL;
    semantic_task_free(task);
    return false;
}

void semantic_forget(struct semantic_search *search)
{
    if (!search->task)
        return;
    search->task->search = NULL;
    search->task = NULL;
    search->vector = NULL;
}

/* What nobody waits for: done when there is room for it. */
static void give(struct semantic_task *task, void (*run)(struct task *task))
{
    task->task.run = run;
    task->desk = NULL;
    if (!helper_give(task->semantic->helper, &task->task))
        semantic_task_free(task);
}

void semantic_put(struct semantic_desk *desk, const struct digest *place,
                  struct semantic_vector *vector, const struct digest *name)
{
    struct semantic_task *task = task_new(desk, place);
    task->vector = vector;
    task->name = *name;
    if (semantic_has_sets(desk))
        semantic_put_redis(desk, task);
    else
        give(task, run_put);
}

void semantic_drop(struct semantic_desk *desk, const struct digest *place,
                   const struct digest *name)
{
    struct semantic_task *task = task_new(desk, place);
    task->name = *name;
    if (semantic_has_sets(desk))
        semantic_drop_redis(desk, place, name);
    give(task, run_drop);
}
