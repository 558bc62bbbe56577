/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/job_metrics.h"

#include "gateway/base/clock.h"
#include "gateway/jobs.h"

enum { MICROS = 1000000 };

static void put_head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_format(out, "# HELP sluice_%s %s\n# TYPE sluice_%s %s\n", name, help, name, type);
}

static void put(struct buffer *out, const char *name, const char *label, const char *value,
                uint64_t number)
{
    if (label)
        buffer_format(out, "sluice_%s{%s=\"%s\"} %llu\n", name, label, value,
                      (unsigned long long)number);
    else
        buffer_format(out, "sluice_%s %llu\n", name, (unsigned long long)number);
}

static void put_queue(struct buffer *out, const struct jobs_figures *figures)
{
    int64_t eldest = figures->eldest_us ? clock_wall_us() - figures->eldest_us : 0;
    put_head(out, "jobs", "gauge",
             "Jobs that wait (with Redis: of all replicas) and that run here.");
    put(out, "jobs", "state", "waiting", figures->queued);
    put(out, "jobs", "state", "running", figures->running);
    put_head(out, "job_eldest_waiting_seconds", "gauge",
             "How long the job has waited that has waited longest; as of the last second.");
    put(out, "job_eldest_waiting_seconds", NULL, NULL,
        eldest > 0 ? (uint64_t)(eldest / MICROS) : 0);
    put_head(out, "job_bytes", "gauge", "Payloads and results that are kept.");
    put(out, "job_bytes", NULL, NULL, figures->bytes > 0 ? (uint64_t)figures->bytes : 0);
    put_head(out, "job_store_up", "gauge", "1 while the store of jobs can be used.");
    put(out, "job_store_up", NULL, NULL, figures->is_up);
}

static void put_life(struct buffer *out, const struct jobs_figures *figures)
{
    put_head(out, "jobs_submitted_total", "counter", "Jobs that were accepted.");
    put(out, "jobs_submitted_total", NULL, NULL, figures->submitted);
    put_head(out, "jobs_ended_total", "counter", "Jobs that have ended, by how.");
    put(out, "jobs_ended_total", "state", "completed", figures->completed);
    put(out, "jobs_ended_total", "state", "failed", figures->failed);
    put(out, "jobs_ended_total", "state", "cancelled", figures->cancelled);
    put(out, "jobs_ended_total", "state", "expired", figures->expired);
    put_head(out, "job_attempts_total", "counter", "Tries of jobs that were begun here.");
    put(out, "job_attempts_total", NULL, NULL, figures->tries);
    put_head(out, "job_retries_total", "counter",
             "Tries after which a job went back into the queue.");
    put(out, "job_retries_total", NULL, NULL, figures->again);
}

static void put_hooks(struct buffer *out, const struct jobs_figures *figures)
{
    put_head(out, "job_webhooks_total", "counter",
             "Webhooks that were told, or given up after all tries.");
    put(out, "job_webhooks_total", "result", "told", figures->hooks_told);
    put(out, "job_webhooks_total", "result", "failed", figures->hooks_failed);
    put_head(out, "job_webhooks_pending", "gauge", "Webhooks that are still to be told.");
    put(out, "job_webhooks_pending", NULL, NULL, figures->hooks_pending);
}

void job_metrics_write(struct jobs *jobs, struct buffer *out)
{
    if (!jobs)
        return;
    struct jobs_figures figures = jobs_figures(jobs);
    put_queue(out, &figures);
    put_life(out, &figures);
    put_hooks(out, &figures);
}
