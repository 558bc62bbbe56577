/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * job_page - what is answered about jobs: /v1/jobs, Monster's paths, and files by their links.
 * Inside gateway; each on the exchange's thread.
 *
 * A page that has to ask the jobs' thread, or waits for a job's end, takes its time:
 * job_page_answer() is false until the exchange is run again.
 */

#include "gateway/exchange.h"

/* Look at the request's head, before its body. False: its fault says why. */
bool job_page_begin(struct exchange *x, const struct head *head);
bool job_file_begin(struct exchange *x);
/* The next bytes of a file. */
bool job_upload_take(struct exchange *x, struct text piece);
/* Answer; false: not yet. */
bool job_page_answer(struct exchange *x);
void job_page_forget(struct exchange *x);
void job_upload_forget(struct exchange *x);
