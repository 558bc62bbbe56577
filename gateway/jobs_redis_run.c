/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs in Redis: those that this replica runs, from the claim to what became of them. */
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/jobs_redis_inside.h"

enum { AGAIN_US = 300000 }; /* what could not be told is told again */

/* --------------------------------------------------------------------------------- claiming */

static void begin(struct jobs *jobs, const struct redis_reply *reply)
{
    const struct redis_reply *spec = redis_item(reply, 2);
    struct job_run *run = job_run_new(jobs);
    struct text *const to[] = {&run->spec.path, &run->spec.content_type, &run->spec.payload,
                               &run->spec.hook, &run->spec.base};
    jobs_reply_facts(redis_item(reply, 1), &run->facts);
    for (size_t i = 0; i < 5; i++)
        *to[i] = arena_copy(&run->arena, jobs_reply_item(spec, i));
    struct job *job = jobs_find(jobs, text_of(run->facts.id));
    if (job && job->run) { /* its lease was lost, and came back to us */
        job_run_unref(run);
        return;
    }
    if (job)
        jobs_change(jobs, job, &run->facts);
    else
        job = jobs_add(jobs, &run->facts);
    job->is_foreign = false;
    job->run = run;
    run->job = job;
    jobs_start(jobs, run);
}

static void on_claimed(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct jobs *jobs = question->jobs;
    struct text word = jobs_reply_verdict(fault, reply);
    shared_of(jobs)->claiming[question->class] = false;
    memory_free(question);
    if (text_equal(word, TEXT("JOB"))) {
        begin(jobs, reply);
        jobs_redis_dispatch(jobs);
    } else if (text_equal(word, TEXT("NONE")) && jobs_reply_number(reply, 2) > 0) {
        jobs_look_again(jobs, clock_wall_us() + jobs_reply_number(reply, 1));
    }
}

void jobs_redis_dispatch(struct jobs *jobs)
{
    struct shared *shared = shared_of(jobs);
    struct config *config = jobs_config(jobs);
    for (int class = 0; class < 2; class ++) {
        if (shared->claiming[class] || !redis_is_up(shared->redis) ||
            !jobs_may_run(jobs, config, class) || (class && !config->jobs.finetune.count))
            continue;
        struct jobs_words words;
        struct question *question = jobs_question_new(jobs, NULL);
        question->class = class;
        jobs_words_begin(&words, shared);
        jobs_words_put_number(&words, class);
        jobs_words_put_number(&words, config->jobs.per_tenant);
        jobs_words_put_number(&words, config->jobs.lease_us);
        jobs_words_put(&words, text_of(jobs->node));
        shared->claiming[class] =
            jobs_words_send(&words, shared, SCRIPT_CLAIM, on_claimed, question);
        if (!shared->claiming[class])
            memory_free(question);
    }
    config_unref(config);
}

/* --------------------------------------------------------------------- what became of a run */

static void hold(struct question *question)
{
    struct shared *shared = shared_of(question->jobs);
    if (question->link.next == &question->link)
        list_push_back(&shared->held, &question->link);
    if (!shared->timer.due_us)
        timer_set(question->jobs->loop, &shared->timer,
                  loop_now_us(question->jobs->loop) + AGAIN_US);
}

static void told(struct question *question, bool ours)
{
    struct jobs *jobs = question->jobs;
    struct job_run *run = question->run;
    struct job *job = run->job;
    struct job_facts *facts = &run->facts;
    job->run = NULL;
    if (!ours) { /* another one has it: what it says counts */
        log_line(LOG_WARN, "jobs", "job %s was lost to another replica: what was made is not kept",
                 facts->id);
        job_result_unref(question->result);
        jobs_forget(jobs, job);
    } else if (job_has_ended(facts->state)) {
        atomic_fetch_add(&jobs->ended_as[facts->state], 1);
        jobs_tell(jobs, facts, run->spec.hook, question->result, jobs_redis_hook_told);
        jobs_end(jobs, job, facts, question->result);
    } else {
        atomic_fetch_add(&jobs->again, 1);
        job->is_foreign = true; /* whoever comes first */
        job->seen_us = clock_now_us();
        jobs_change(jobs, job, facts);
    }
    list_remove(&question->link);
    memory_free(question);
    shared_of(jobs)->telling--;
    jobs_run_told(jobs, run);
    jobs_check_quiet(jobs);
}

static void on_told(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    struct text word = jobs_reply_verdict(fault, reply);
    if (!word.len) {
        question->rests = question->rests || fault == REDIS_UNKNOWN;
        hold(question);
        return;
    }
    told(question, text_equal(word, TEXT("OK")));
}

static void send_end(struct question *question)
{
    struct jobs *jobs = question->jobs;
    struct job_run *run = question->run;
    const struct job_facts *facts = &run->facts;
    struct config *config = jobs_config(jobs);
    struct jobs_words words;
    struct text result = {"", 0};
    if (question->result)
        result = (struct text){question->result->bytes, question->result->length};
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put(&words, text_of(facts->id));
    jobs_words_put_number(&words, facts->starts);
    jobs_words_put_number(&words, (int64_t)result.len);
    jobs_words_put_number(&words, config->jobs.keep_us * 2 / 1000);
    jobs_words_put_count(&words, "state", facts->state);
    jobs_words_put_count(&words, "ended", facts->ended_us);
    jobs_words_put_count(&words, "cost", facts->cost_nanos);
    jobs_words_put_count(&words, "attempts", facts->attempts);
    jobs_words_put_count(&words, "status", facts->status);
    jobs_words_put_pair(&words, "request", text_of(facts->request_id));
    jobs_words_put_pair(&words, "error", text_of(facts->error));
    jobs_words_put_pair(&words, "error_type", text_of(facts->error_type));
    if (question->result)
        jobs_words_put_pair(&words, "result", result);
    config_unref(config);
    if (!jobs_words_send(&words, shared_of(jobs), SCRIPT_END, on_told, question))
        hold(question);
}

static void send_again(struct question *question)
{
    struct jobs *jobs = question->jobs;
    const struct job_facts *facts = &question->run->facts;
    int64_t wait = facts->due_us ? facts->due_us - clock_wall_us() : 0;
    struct jobs_words words;
    jobs_words_begin(&words, shared_of(jobs));
    jobs_words_put(&words, text_of(facts->id));
    jobs_words_put_number(&words, facts->starts);
    jobs_words_put_number(&words, wait > 0 ? wait : 0);
    jobs_words_put(&words, question->rests ? TEXT("1") : TEXT("0"));
    jobs_words_put_number(&words, facts->attempts);
    jobs_words_put(&words, text_of(facts->error));
    if (!jobs_words_send(&words, shared_of(jobs), SCRIPT_AGAIN, on_told, question))
        hold(question);
}

void jobs_redis_end(struct jobs *jobs, struct job_run *run, struct job_result *result)
{
    struct question *question = jobs_question_new(jobs, NULL);
    question->run = run;
    question->result = result;
    question->send = send_end;
    shared_of(jobs)->telling++;
    send_end(question);
}

void jobs_redis_again(struct jobs *jobs, struct job_run *run, bool rests)
{
    struct question *question = jobs_question_new(jobs, NULL);
    question->run = run;
    question->rests = rests;
    question->send = send_again;
    shared_of(jobs)->telling++;
    run->facts.state = JOB_QUEUED;
    send_again(question);
}

void jobs_redis_on_hold_time(struct timer *timer)
{
    struct shared *shared = LIST_MEMBER(timer, struct shared, timer);
    struct link waiting;
    list_init(&waiting);
    while (!list_is_empty(&shared->held)) {
        struct link *first = shared->held.next;
        list_remove(first);
        list_push_back(&waiting, first);
    }
    while (!list_is_empty(&waiting)) {
        struct question *question = LIST_MEMBER(waiting.next, struct question, link);
        list_remove(&question->link);
        question->send(question);
    }
}
