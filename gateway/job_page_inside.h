/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* job_page, from inside: for job_page.c, job_monster.c and job_file.c only. */

#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/job_page.h"
#include "gateway/jobs.h"

/* One question about jobs; in the exchange's arena. */
struct job_page {
    struct exchange *x;
    bool (*answer)(struct exchange *x, struct job_page *page);
    struct text base;    /* of links */
    struct job_ask *ask; /* under way, or answered */
    bool sent, answered; /* of it: it is on its way; it is back */
    /* a long poll */
    struct job_wait wait;
    struct timer timer;
    bool waits, waited;
    /* what is to be done with a job that was accepted */
    void (*accepted)(struct exchange *x, const struct job_facts *facts, bool is_new);
};

typedef bool job_answer_page(struct exchange *x, struct job_page *page);

/* Monster's pages (job_monster.c); file pages (job_file.c). */
job_answer_page monster_generate, monster_status, monster_add_task, monster_task_status,
    monster_finetune, job_upload_link, job_file_answer;

struct jobs *job_page_jobs(const struct exchange *x);
/* The fault is written down: refuse the request. Returns true. */
bool job_page_refuse(struct exchange *x);
bool job_page_refuse_with(struct exchange *x, enum fault_kind kind, const char *words);
/* What stands in x->held, JSON, is the answer. Returns true. */
bool job_page_finish(struct exchange *x, unsigned status);
/* Begin to ask; nothing else than the question is filled in. */
struct job_ask *job_page_ask(struct exchange *x, enum job_question question);
/* Hand it over. Returns false: the page is not ready. */
bool job_page_send(struct exchange *x);
/* Submit the job that stands in page->ask; then <accepted> writes the answer. */
bool job_page_submit(struct exchange *x, struct job_page *page);
/* Fill in what is known before it is looked at what is asked. */
bool job_page_prepare(struct exchange *x, struct job_page *page, enum job_kind kind);
/* How is the job <id> of this tenant, after waiting as long as the query says? False: not yet. With
 * *found false it was refused. */
bool job_page_look(struct exchange *x, struct job_page *page, struct text id,
                   struct job_facts *facts, struct job_result **result, bool *found);
/* May this key call <model>? False: refused. */
bool job_page_may_call(struct exchange *x, struct text model);
