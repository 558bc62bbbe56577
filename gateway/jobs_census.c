/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits: counted each second, for metrics and for the deployments that they wait for. */
#include "gateway/jobs_inside.h"

enum { MODELS_MAX = 256 }; /* beyond, jobs count for no model */

struct census_line {
    char model[JOB_NAME_BYTES];
    unsigned count;
};

struct job_census {
    struct table lines; /* by model */
    int64_t eldest_us;
};

struct job_census *job_census_new(void)
{
    struct job_census *census = memory_new(sizeof(*census));
    table_init(&census->lines);
    return census;
}

void job_census_free(struct job_census *census)
{
    struct text name;
    void *value;
    if (!census)
        return;
    for (size_t at = 0; table_next(&census->lines, &at, &name, &value);)
        memory_free(value);
    table_done(&census->lines);
    memory_free(census);
}

static struct census_line *line_of(struct job_census *census, const char *model)
{
    struct census_line *line = table_find(&census->lines, text_of(model));
    if (line || census->lines.count >= MODELS_MAX)
        return line;
    line = memory_new(sizeof(*line));
    snprintf(line->model, sizeof(line->model), "%s", model);
    table_set(&census->lines, text_of(line->model), line);
    return line;
}

void job_census_add(struct job_census *census, const struct job_facts *facts, int64_t wall_us)
{
    if (facts->state != JOB_QUEUED)
        return;
    if (!census->eldest_us || facts->created_us < census->eldest_us)
        census->eldest_us = facts->created_us;
    bool is_due = facts->due_us <= wall_us && facts->kind != JOB_COMMAND;
    struct census_line *line = is_due ? line_of(census, facts->model) : NULL;
    if (line)
        line->count++;
}

void jobs_set_census(struct jobs *jobs, struct job_census *census)
{
    pthread_mutex_lock(&jobs->waiting_lock);
    struct job_census *before = jobs->census;
    jobs->census = census;
    pthread_mutex_unlock(&jobs->waiting_lock);
    atomic_store(&jobs->eldest_us, census->eldest_us);
    job_census_free(before);
}

void jobs_waiting_each(struct jobs *jobs,
                       void (*see)(void *with, struct text model, unsigned count), void *with)
{
    struct text name;
    void *value;
    if (!jobs)
        return;
    pthread_mutex_lock(&jobs->waiting_lock);
    for (size_t at = 0; jobs->census && table_next(&jobs->census->lines, &at, &name, &value);)
        see(with, name, ((const struct census_line *)value)->count);
    pthread_mutex_unlock(&jobs->waiting_lock);
}
