/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "policy/roster_remote.h"

/*
 * A change on its way from the thread that asks for it to ours, and its result back. When nobody
 * knows whether it was done, the next look at the store says so.
 */

enum job_state { JOB_WAITS, JOB_SENT, JOB_IN_DOUBT, JOB_DONE };

struct job {
    struct link link; /* in the remote's, until it is done */
    struct errand errand;
    struct roster_remote *remote;
    struct arena arena;
    struct roster_change change;
    struct roster_mark mark; /* that it is based on; then: its own */

    /* under the door's lock */
    enum job_state state;
    enum roster_written result;
    bool left; /* nobody waits for it */
    unsigned owners;
};

/* Under the door's lock. */
static void job_unref(struct job *job)
{
    if (--job->owners > 0)
        return;
    arena_done(&job->arena);
    memory_free(job);
}

static void set_state(struct job *job, enum job_state state)
{
    pthread_mutex_lock(&job->remote->door);
    job->state = state;
    pthread_mutex_unlock(&job->remote->door);
}

static void end(struct job *job, enum roster_written result)
{
    struct roster_remote *remote = job->remote;
    list_remove(&job->link);
    pthread_mutex_lock(&remote->door);
    job->state = JOB_DONE;
    job->result = result;
    job_unref(job);
    pthread_cond_broadcast(&remote->bell);
    pthread_mutex_unlock(&remote->door);
}

/* ---------------------------------------------------------------------------- the thread */

/* False: nobody waits for it any more, and who did was told that it is not done. */
static bool claim(struct job *job)
{
    pthread_mutex_lock(&job->remote->door);
    bool left = job->left;
    if (!left)
        job->state = JOB_SENT;
    pthread_mutex_unlock(&job->remote->door);
    return !left;
}

static void apply(struct roster_remote *remote, struct job *job, uint64_t number)
{
    size_t kept;
    job->mark.number = job->change.version = number;
    roster_apply(remote->roster, &job->change, 1, &job->mark, &kept);
    if (remote->roster->local)
        roster_local_keep(remote->roster->local, &job->change, 1, &job->mark);
}

static struct job *job_sent(struct roster_remote *remote)
{
    for (struct link *at = remote->jobs.next; at != &remote->jobs; at = at->next) {
        struct job *job = LIST_MEMBER(at, struct job, link);
        if (job->state == JOB_SENT)
            return job;
    }
    return NULL;
}

static void on_written(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    struct job *job = job_sent(remote);
    bool answered = fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST;
    if (fault == REDIS_UNKNOWN) {
        set_state(job, JOB_IN_DOUBT);
        remote_rest(remote, false);
    } else if (!answered) {
        remote_note(remote, fault == REDIS_ANSWERED ? reply : NULL);
        end(job, ROSTER_AWAY);
        remote_rest(remote, false);
    } else if (text_equal(remote_text(reply, 0), TEXT("DONE"))) {
        apply(remote, job, remote_number(remote_text(reply, 1)));
        end(job, ROSTER_WRITTEN);
        remote_rest(remote, true);
    } else {
        end(job, ROSTER_STALE);
        remote->again = true;
        remote_rest(remote, true);
    }
}

static void send_job(struct roster_remote *remote, struct job *job)
{
    char number[24], tag[ROSTER_WORD_BYTES];
    const struct roster_change *change = &job->change;
    snprintf(number, sizeof(number), "%llu", (unsigned long long)job->mark.number);
    roster_make_word(tag);
    const struct text words[] = {text_of(number),
                                 text_of(job->mark.tag),
                                 text_of(job->mark.life),
                                 text_of(tag),
                                 change->kind == RECORD_KEY ? TEXT("k") : TEXT("t"),
                                 change->id,
                                 change->body.at ? change->body : TEXT(""),
                                 text_of(remote->channel)};
    remote->step = STEP_WRITE;
    if (!remote_eval(remote, &remote_scripts[SCRIPT_WRITE], words, 8, on_written)) {
        end(job, ROSTER_AWAY);
        remote_rest(remote, false);
        return;
    }
    memcpy(job->mark.tag, tag, sizeof(tag));
}

void remote_write_next(struct roster_remote *remote)
{
    struct link *at = remote->jobs.next, *next;
    for (; remote->step == STEP_REST && at != &remote->jobs; at = next) {
        struct job *job = LIST_MEMBER(at, struct job, link);
        next = at->next;
        if (job->state != JOB_WAITS)
            continue;
        if (!claim(job)) {
            end(job, ROSTER_AWAY);
            continue;
        }
        send_job(remote, job);
        return;
    }
}

bool remote_has_doubts(const struct roster_remote *remote)
{
    for (struct link *at = remote->jobs.next; at != &remote->jobs; at = at->next)
        if (LIST_MEMBER(at, struct job, link)->state == JOB_IN_DOUBT)
            return true;
    return false;
}

/* Is what was to be written there? No other has the same body: there are times and digests in it.
 */
static bool is_there(const struct directory *view, const struct roster_change *change)
{
    const struct roster_record *record = directory_record(view, change->kind, change->id);
    return change->body.at ? record && text_equal(record->body, change->body) : !record;
}

void remote_settle_doubts(struct roster_remote *remote)
{
    if (!remote_has_doubts(remote))
        return;
    struct directory *view = roster_view(remote->roster);
    struct link *at = remote->jobs.next, *next;
    for (; at != &remote->jobs; at = next) {
        struct job *job = LIST_MEMBER(at, struct job, link);
        next = at->next;
        if (job->state == JOB_IN_DOUBT)
            end(job, is_there(view, &job->change) ? ROSTER_WRITTEN : ROSTER_STALE);
    }
    directory_unref(view);
}

void remote_drop_jobs(struct roster_remote *remote)
{
    while (!list_is_empty(&remote->jobs)) {
        struct job *job = LIST_MEMBER(remote->jobs.next, struct job, link);
        end(job, job->state == JOB_WAITS ? ROSTER_AWAY : ROSTER_UNKNOWN);
    }
}

static void on_job(struct errand *errand)
{
    struct job *job = LIST_MEMBER(errand, struct job, errand);
    struct roster_remote *remote = job->remote;
    list_push_back(&remote->jobs, &job->link);
    if (remote->own.closing)
        end(job, ROSTER_AWAY);
    else
        remote_write_next(remote);
}

/* ------------------------------------------------------------------------- who asks for it */

static struct job *job_new(struct roster_remote *remote, const struct directory *based_on,
                           const struct roster_change *change)
{
    struct job *job = memory_new(sizeof(*job));
    job->remote = remote;
    job->owners = 2;
    job->errand.run = on_job;
    arena_init(&job->arena, 1024);
    job->mark = based_on->mark;
    job->change = *change;
    job->change.id = arena_copy(&job->arena, change->id);
    if (change->body.at)
        job->change.body = arena_copy(&job->arena, change->body);
    return job;
}

enum roster_written roster_remote_write(struct roster_remote *remote,
                                        const struct directory *based_on,
                                        const struct roster_change *change)
{
    if (!roster_remote_is_up(remote))
        return ROSTER_AWAY;
    struct timespec until = clock_until(ROSTER_ASK_US);
    struct job *job = job_new(remote, based_on, change);
    loop_post(remote->own.loop, &job->errand);
    pthread_mutex_lock(&remote->door);
    while (job->state != JOB_DONE &&
           pthread_cond_timedwait(&remote->bell, &remote->door, &until) == 0)
        continue;
    enum roster_written result = job->state == JOB_DONE    ? job->result
                                 : job->state == JOB_WAITS ? ROSTER_AWAY
                                                           : ROSTER_UNKNOWN;
    job->left = true;
    job_unref(job);
    pthread_mutex_unlock(&remote->door);
    return result;
}

struct look {
    struct errand errand;
    struct roster_remote *remote;
};

static void on_look(struct errand *errand)
{
    struct look *look = LIST_MEMBER(errand, struct look, errand);
    if (!look->remote->own.closing)
        remote_look(look->remote);
    memory_free(look);
}

bool roster_remote_look(struct roster_remote *remote)
{
    if (!roster_remote_is_up(remote))
        return false;
    struct timespec until = clock_until(ROSTER_ASK_US);
    struct look *look = memory_new(sizeof(*look));
    *look = (struct look){.errand.run = on_look, .remote = remote};
    uint64_t before = atomic_load(&remote->looks);
    loop_post(remote->own.loop, &look->errand);
    pthread_mutex_lock(&remote->door);
    while (atomic_load(&remote->looks) == before &&
           pthread_cond_timedwait(&remote->bell, &remote->door, &until) == 0)
        continue;
    pthread_mutex_unlock(&remote->door);
    return atomic_load(&remote->looks) != before;
}
