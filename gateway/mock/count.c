/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/mock/inside.h"

enum { MODELS_MAX = 512, ROWS_FIRST = 256 };

/* What was done under one model's name. */
struct model_counts {
    char model[136];
    uint64_t received, ended[OUTCOMES], in_flight;
    int64_t prompt_tokens, completion_tokens;
};

struct counters {
    struct model_counts
        models[MODELS_MAX + 1]; /* the last one takes all names that found no room */
    size_t model_count;
    struct tally *log; /* a ring once it is full */
    size_t log_capacity, log_max;
    uint64_t logged; /* calls that ended, ever */
};

static const char *const outcomes[OUTCOMES] = {
    [OUTCOME_WHOLE] = "whole",
    [OUTCOME_CUT] = "cut",
    [OUTCOME_BROKEN] = "broken",
    [OUTCOME_REFUSED] = "refused",
};

struct counters *counters_new(size_t log_rows)
{
    struct counters *counters = memory_new(sizeof(*counters));
    counters->log_max = log_rows;
    snprintf(counters->models[MODELS_MAX].model, sizeof(counters->models[0].model), "(others)");
    return counters;
}

void counters_free(struct counters *counters)
{
    memory_free(counters->log);
    memory_free(counters);
}

void counters_reset(struct counters *counters)
{
    for (size_t i = 0; i <= MODELS_MAX; i++) {
        struct model_counts *at = &counters->models[i], old = *at;
        *at = (struct model_counts){.in_flight = old.in_flight};
        memcpy(at->model, old.model, sizeof(at->model));
    }
    counters->logged = 0;
}

static struct model_counts *counts_of(struct counters *counters, const char *model)
{
    for (size_t i = 0; i < counters->model_count; i++)
        if (strcmp(counters->models[i].model, model) == 0)
            return &counters->models[i];
    if (counters->model_count == MODELS_MAX)
        return &counters->models[MODELS_MAX];
    struct model_counts *counts = &counters->models[counters->model_count++];
    snprintf(counts->model, sizeof(counts->model), "%s", model);
    return counts;
}

uint64_t counters_begin(struct counters *counters, struct tally *tally)
{
    tally->at_us = clock_now_us();
    struct model_counts *counts = counts_of(counters, tally->model);
    counts->received++;
    counts->in_flight++;
    return counts->received;
}

static void log_call(struct counters *counters, const struct tally *tally)
{
    if (counters->logged >= counters->log_capacity && counters->log_capacity < counters->log_max) {
        size_t capacity = counters->log_capacity ? counters->log_capacity * 2 : ROWS_FIRST;
        counters->log_capacity = capacity < counters->log_max ? capacity : counters->log_max;
        counters->log =
            memory_resize(counters->log, counters->log_capacity * sizeof(counters->log[0]));
    }
    if (counters->log_capacity > 0) {
        struct tally *row = &counters->log[counters->logged % counters->log_capacity];
        *row = *tally;
        row->until_us = clock_now_us();
    }
    counters->logged++;
}

void counters_end(struct counters *counters, const struct tally *tally)
{
    struct model_counts *counts = counts_of(counters, tally->model);
    counts->in_flight -= counts->in_flight > 0;
    counts->ended[tally->outcome]++;
    if (tally->outcome != OUTCOME_REFUSED) {
        counts->prompt_tokens += tally->prompt_tokens;
        counts->completion_tokens += tally->completion_tokens;
    }
    log_call(counters, tally);
}

static void write_counts(const struct model_counts *counts, struct buffer *out)
{
    put_format(out, "\"received\":%llu,\"in_flight\":%llu", (unsigned long long)counts->received,
               (unsigned long long)counts->in_flight);
    for (size_t i = 0; i < OUTCOMES; i++)
        put_format(out, ",\"%s\":%llu", outcomes[i], (unsigned long long)counts->ended[i]);
    put_format(out, ",\"prompt_tokens\":%lld,\"completion_tokens\":%lld",
               (long long)counts->prompt_tokens, (long long)counts->completion_tokens);
}

void counters_write(const struct counters *counters, size_t connections, struct buffer *out)
{
    struct model_counts all = {0};
    for (size_t i = 0; i <= MODELS_MAX; i++) {
        const struct model_counts *at = &counters->models[i];
        all.received += at->received;
        all.in_flight += at->in_flight;
        for (size_t k = 0; k < OUTCOMES; k++)
            all.ended[k] += at->ended[k];
        all.prompt_tokens += at->prompt_tokens;
        all.completion_tokens += at->completion_tokens;
    }
    put(out, TEXT("{"));
    write_counts(&all, out);
    put_format(out, ",\"connections\":%zu,\"logged\":%llu,\"models\":{", connections,
               (unsigned long long)counters->logged);
    const char *comma = "";
    for (size_t i = 0; i <= MODELS_MAX; i++) {
        if (counters->models[i].received == 0)
            continue;
        put_format(out, "%s\"%s\":{", comma, counters->models[i].model);
        write_counts(&counters->models[i], out);
        put(out, TEXT("}"));
        comma = ",";
    }
    put(out, TEXT("}}"));
}

bool counters_write_call(const struct counters *counters, uint64_t *number, struct buffer *out)
{
    uint64_t kept =
        counters->logged < counters->log_capacity ? counters->logged : counters->log_capacity;
    if (*number < counters->logged - kept)
        *number = counters->logged - kept;
    if (*number >= counters->logged)
        return false;
    const struct tally *call = &counters->log[*number % counters->log_capacity];
    put_format(out, "{\"number\":%llu,\"id\":\"%s\",\"request_id\":\"", (unsigned long long)*number,
               call->id);
    put_escaped(out, text_of(call->request_id));
    put_format(out,
               "\",\"model\":\"%s\",\"stream\":%s,\"prompt_tokens\":%lld,"
               "\"completion_tokens\":%lld,\"outcome\":\"%s\",\"at_us\":%llu,\"until_us\":%llu}",
               call->model, call->stream ? "true" : "false", (long long)call->prompt_tokens,
               (long long)call->completion_tokens, outcomes[call->outcome],
               (unsigned long long)call->at_us, (unsigned long long)call->until_us);
    ++*number;
    return true;
}
