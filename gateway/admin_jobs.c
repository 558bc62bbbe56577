/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs, for operators. On a desk, which waits for the jobs' thread. */
#include <pthread.h>
#include <stdio.h>

#include "gateway/admin_inside.h"
#include "gateway/jobs.h"
#include "gateway/service_state.h"

/* A question that this thread waits for. The jobs' thread answers each, also while sluice ends. */
struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static void on_done(struct job_ask *ask)
{
    struct waiting *waiting = ask->with;
    pthread_mutex_lock(&waiting->lock);
    waiting->done = true;
    pthread_cond_signal(&waiting->wake);
    pthread_mutex_unlock(&waiting->lock);
}

static void wait_for(struct jobs *jobs, struct job_ask *ask)
{
    struct waiting waiting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    // cppcheck-suppress autoVariables ; it is done before this returns
    ask->with = &waiting;
    ask->done = on_done;
    jobs_ask(jobs, ask);
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.done)
        pthread_cond_wait(&waiting.wake, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    pthread_cond_destroy(&waiting.wake);
    pthread_mutex_destroy(&waiting.lock);
}

static bool has_jobs(const struct service *service, struct admin_call *call)
{
    if (service->jobs)
        return true;
    admin_problem(call, 503, TEXT("there are no jobs here; the log says why"));
    return false;
}

static void write_job(struct json_write *json, const struct job_facts *facts)
{
    json_open(json, '{');
    job_write(json, facts, NULL);
    json_text_member(json, "tenant", text_of(facts->tenant));
    json_text_member(json, "key", text_of(facts->key));
    json_close(json, '}');
}

static bool read_wish(struct admin_call *call, struct job_ask *ask, struct admin_sight *sight)
{
    char room[ADMIN_VALUE_BYTES];
    struct text value;
    enum job_state state;
    uint64_t before = 0;
    if (!admin_limit(call, &ask->limit) || !admin_value(call, "after", room, &value))
        return false;
    if (value.len > 0 && !text_number(value, INT64_MAX, &before)) {
        admin_field_problem(call, 400, "after", TEXT("after is what the page before called next"));
        return false;
    }
    ask->before_us = (int64_t)before;
    if (!admin_value(call, "status", room, &value))
        return false;
    if (value.len > 0 && !job_state_find(value, &state)) {
        admin_field_problem(call, 400, "status",
                            TEXT("status is one of IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED, "
                                 "CANCELLED, EXPIRED"));
        return false;
    }
    ask->state = value.len > 0 ? (int)state : -1;
    if (!admin_value(call, "tenant", room, &value))
        return false;
    admin_sight_init(sight, call, (struct text){NULL, 0});
    snprintf(ask->facts.tenant, sizeof ask->facts.tenant, "%.*s",
             TEXT_ARGS(text_head(value, JOB_NAME_BYTES - 1)));
    return true;
}

static void write_page(const struct job_ask *ask, struct admin_sight *sight,
                       struct json_write *json)
{
    char cursor[24];
    bool full = ask->count == ask->limit;
    json_open(json, '{');
    json_name(json, "data");
    json_open(json, '[');
    for (size_t i = 0; i < ask->count; i++)
        if (admin_sees(sight, text_of(ask->list[i].tenant)))
            write_job(json, &ask->list[i]);
    json_close(json, ']');
    json_name(json, "next");
    if (full) {
        snprintf(cursor, sizeof cursor, "%lld", (long long)ask->list[ask->count - 1].created_us);
        json_text(json, text_of(cursor));
    } else {
        json_null(json);
    }
    json_close(json, '}');
}

void admin_jobs(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct admin_sight sight;
    (void)config;
    if (!has_jobs(service, call))
        return;
    struct job_ask *ask = job_ask_new(service->jobs, JOBS_LIST, NULL);
    if (read_wish(call, ask, &sight)) {
        wait_for(service->jobs, ask);
        if (ask->outcome == JOBS_DONE) {
            write_page(ask, &sight, &json);
            admin_done(call, &json);
        } else {
            admin_problem(call, 503, TEXT("the store of jobs does not answer"));
        }
    }
    job_ask_free(ask);
}

/* Is there a job of that id that the caller may see? */
static bool find(struct service *service, struct admin_call *call, struct job_facts *facts)
{
    struct admin_sight sight;
    struct job_ask *ask = job_ask_new(service->jobs, JOBS_LOOK, NULL);
    admin_sight_init(&sight, call, (struct text){NULL, 0});
    bool is_id = job_id_is_one(text_of(call->id));
    if (is_id) {
        snprintf(ask->facts.id, sizeof ask->facts.id, "%.36s", call->id);
        wait_for(service->jobs, ask);
    }
    bool away = is_id && ask->outcome == JOBS_AWAY;
    bool found =
        is_id && ask->outcome == JOBS_DONE && admin_sees(&sight, text_of(ask->facts.tenant));
    *facts = ask->facts;
    job_ask_free(ask);
    if (away)
        admin_problem(call, 503, TEXT("the store of jobs does not answer"));
    else if (!found)
        admin_problem(call, 404, TEXT("there is no such job"));
    return found;
}

static void answer_job(struct admin_call *call, const struct job_facts *facts)
{
    struct json_write json = {.out = &call->out};
    write_job(&json, facts);
    admin_done(call, &json);
}

void admin_job(struct service *service, struct config *config, struct admin_call *call)
{
    struct job_facts facts;
    (void)config;
    if (has_jobs(service, call) && find(service, call, &facts))
        answer_job(call, &facts);
}

void admin_job_cancel(struct service *service, struct config *config, struct admin_call *call)
{
    struct job_facts facts;
    (void)config;
    if (!has_jobs(service, call) || !find(service, call, &facts))
        return;
    struct job_ask *ask = job_ask_new(service->jobs, JOBS_CANCEL, NULL);
    snprintf(ask->facts.id, sizeof ask->facts.id, "%.36s", call->id);
    wait_for(service->jobs, ask);
    if (ask->outcome == JOBS_DONE || ask->outcome == JOBS_OVER)
        answer_job(call, &ask->facts);
    else
        admin_problem(call, ask->outcome == JOBS_UNKNOWN ? 404 : 503,
                      TEXT("the job could not be cancelled"));
    job_ask_free(ask);
}
