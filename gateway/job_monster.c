/* SPDX-License-Identifier: Apache-2.0 */
/* Monster API's asynchronous calls: /v1/generate/{model} and /v1/status/{id}, fine-tuning, and what
 * its first version called add-task and task-status. Sources: job_map.h. */
#include <stdio.h>
#include <unistd.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/job_files.h"
#include "gateway/job_map.h"
#include "gateway/job_page_inside.h"
#include "gateway/worker_inside.h"

enum { NANOS = 1000000000 };

/* ------------------------------------------------------------------------------ accepted */

static void accepted(struct exchange *x, const struct job_facts *facts, bool is_new)
{
    (void)is_new;
    buffer_format(&x->held,
                  "{\"message\":\"Request accepted successfully\",\"process_id\":\"%s\"}\n",
                  facts->id);
    job_page_finish(x, 200);
}

static void accepted_command(struct exchange *x, const struct job_facts *facts, bool is_new)
{
    (void)is_new;
    buffer_format(&x->held,
                  "{\"message\":\"Request accepted successfully\",\"deployment_id\":\"%s\","
                  "\"process_id\":\"%s\"}\n",
                  facts->id, facts->id);
    job_page_finish(x, 200);
}

/* ------------------------------------------------------------------------------- generate */

/* A file that was uploaded here by the same tenant. */
static bool read_own(void *with, struct arena *arena, struct text url, struct job_field *file)
{
    struct exchange *x = with;
    struct job_files *files = jobs_files(job_page_jobs(x));
    struct job_link link;
    int fd;
    if (!job_files_read_url(files, url, &link) || !job_files_is_of(link.file, x->key->tenant->name))
        return false;
    int64_t length = job_files_read(files, link.file, x->started_wall_us, &fd);
    if (length < 0)
        return false;
    bool fits = (size_t)length <= x->snapshot->config->jobs.payload_max;
    char *room = arena_take(arena, fits ? (size_t)length + 1 : 1);
    bool good = fits && read(fd, room, (size_t)length) == (ssize_t)length;
    close(fd);
    *file = (struct job_field){.bytes = {room, (size_t)length},
                               .file_name = arena_copy(arena, text_of(link.name)),
                               .type = arena_copy(arena, text_of(link.type))};
    return good;
}

/* Where the name says nothing, what the catalogue says of the model that it leads to. */
static enum job_kind kind_of(const struct exchange *x, struct text model, bool *edits)
{
    static const struct {
        const char *mode;
        enum job_kind kind;
    } modes[] = {{"image_generation", JOB_IMAGE},
                 {"audio_speech", JOB_SPEECH},
                 {"audio_transcription", JOB_TRANSCRIPT}};
    enum job_kind kind = job_kind_of_name(model, edits);
    const struct route *route = routes_find(x->snapshot->config->routes, model);
    for (size_t i = 0; kind == JOB_TEXT && route && i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        struct model_facts facts = {0};
        struct price unused;
        if (!catalogue_find(target->provider->type->catalogue, target->model, &facts, &unused))
            continue;
        for (size_t j = 0; j < sizeof(modes) / sizeof(modes[0]); j++)
            if (text_equal(text_of(facts.mode), text_of(modes[j].mode)))
                kind = modes[j].kind;
    }
    return kind;
}

static bool generate(struct exchange *x, struct job_page *page, struct text model,
                     struct text content_type, struct text body)
{
    struct job_fields *fields = arena_take(&x->arena, sizeof(*fields));
    struct job_reader reader = {read_own, x};
    struct job_spec spec = {0};
    bool edits;
    if (model.len >= JOB_NAME_BYTES)
        return job_page_refuse_with(x, FAULT_UNKNOWN_MODEL, "There is no model of that name.");
    if (!job_page_may_call(x, model))
        return true;
    enum job_kind kind = kind_of(x, model, &edits);
    if (!job_page_prepare(x, page, kind))
        return true;
    struct job_ask *ask = page->ask;
    struct job_wish wish = {.kind = kind,
                            .edits = edits,
                            .model = model,
                            .fields = fields,
                            .reader = &reader,
                            .max = x->snapshot->config->jobs.payload_max};
    if (!job_fields_read(&ask->arena, content_type, body, fields, exchange_fault(x)) ||
        !job_map_call(&ask->arena, &wish, &spec, exchange_fault(x)))
        return job_page_refuse(x);
    snprintf(ask->facts.model, sizeof(ask->facts.model), "%.*s", TEXT_ARGS(model));
    ask->spec.path = spec.path;
    ask->spec.content_type = spec.content_type;
    ask->spec.payload = spec.payload;
    page->accepted = accepted;
    return job_page_submit(x, page);
}

bool monster_generate(struct exchange *x, struct job_page *page)
{
    if (page->ask)
        return job_page_submit(x, page);
    return generate(x, page, x->call.model, x->seeking->content_type, buffer_text(&x->body));
}

/* {"model":"txt2img","data":{…}} */
bool monster_add_task(struct exchange *x, struct job_page *page)
{
    static const struct text wants[] = {{"model", 5}, {"data", 4}};
    struct scan_value values[2];
    struct scan_problem problem;
    if (page->ask)
        return job_page_submit(x, page);
    if (!scan_request(buffer_text(&x->body), wants, 2, values, &problem, NULL)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "The body is no JSON object: %s.",
                  problem.what);
        return job_page_refuse(x);
    }
    char *room = arena_take(&x->arena, values[0].raw.len + 1);
    size_t len = values[0].kind == SCAN_STRING ? scan_string(&values[0], room) : SIZE_MAX;
    if (len == SIZE_MAX || len == 0 || values[1].kind != SCAN_OBJECT)
        return job_page_refuse_with(x, FAULT_BAD_REQUEST,
                                    "'model' has to be the name of a model, and 'data' an object.");
    return generate(x, page, (struct text){room, len}, TEXT("application/json"), values[1].raw);
}

/* --------------------------------------------------------------------------------- status */

/* Who is asked only in Monster's words knows four states. */
static struct text state_of(const struct job_facts *facts)
{
    bool failed = job_has_ended(facts->state) && facts->state != JOB_COMPLETED;
    return job_state_name(failed ? JOB_FAILED : facts->state);
}

static void put_result(struct json_write *json, const struct job_facts *facts,
                       const struct job_result *result)
{
    json_name(json, "result");
    if (result) {
        json_raw(json, (struct text){result->bytes, result->length});
        return;
    }
    json_open(json, '{');
    if (job_has_ended(facts->state) && facts->error[0]) {
        json_text_member(json, "errorMessage", text_of(facts->error));
        json_text_member(json, "errorType", text_of(facts->error_type));
    }
    json_close(json, '}');
}

static void put_status(struct json_write *json, const struct job_facts *facts,
                       const struct job_result *result)
{
    json_text_member(json, "process_id", text_of(facts->id));
    json_text_member(json, "status", state_of(facts));
    put_result(json, facts, result);
}

bool monster_status(struct exchange *x, struct job_page *page)
{
    struct job_facts facts;
    struct job_result *result;
    struct json_write json = {.out = &x->held};
    bool found;
    if (!job_page_look(x, page, x->match.id, &facts, &result, &found))
        return false;
    if (!found)
        return true;
    x->held.limit += result ? result->length : 0;
    json_open(&json, '{');
    put_status(&json, &facts, result);
    json_close(&json, '}');
    job_result_unref(result);
    return job_page_finish(x, 200);
}

/* What it has cost, in dollars. */
static void put_credits(struct json_write *json, const struct job_facts *facts)
{
    char number[48];
    int64_t nanos = facts->cost_nanos > 0 ? facts->cost_nanos : 0;
    int len = snprintf(number, sizeof(number), "%lld.%09lld", (long long)(nanos / NANOS),
                       (long long)(nanos % NANOS));
    json_name(json, "credit_used");
    json_raw(json, (struct text){number, (size_t)len});
    json_int_member(json, "overage", 0);
}

bool monster_task_status(struct exchange *x, struct job_page *page)
{
    struct text want = TEXT("process_id");
    struct scan_value value;
    struct scan_problem problem;
    struct job_facts facts;
    struct job_result *result;
    bool found;
    if (!scan_request(buffer_text(&x->body), &want, 1, &value, &problem, NULL) ||
        value.kind != SCAN_STRING)
        return job_page_refuse_with(x, FAULT_BAD_REQUEST, "'process_id' has to be a string.");
    if (!job_page_look(x, page, member_string(value.raw), &facts, &result, &found))
        return false;
    if (!found)
        return true;
    struct json_write json = {.out = &x->held};
    x->held.limit += result ? result->length : 0;
    json_open(&json, '{');
    json_text_member(&json, "message", TEXT("Request fetched successfully"));
    json_name(&json, "response_data");
    json_open(&json, '{');
    put_status(&json, &facts, result);
    put_credits(&json, &facts);
    json_close(&json, '}');
    json_close(&json, '}');
    job_result_unref(result);
    return job_page_finish(x, 200);
}

/* ------------------------------------------------------------------------------ fine-tuning */

bool monster_finetune(struct exchange *x, struct job_page *page)
{
    struct text body = buffer_text(&x->body),
                kind = text_from(x->match.suffix, strlen("/v1/finetune/"));
    struct scan_value none;
    struct scan_problem problem;
    if (page->ask)
        return job_page_submit(x, page);
    if (!x->snapshot->config->jobs.finetune.count)
        return job_page_refuse_with(x, FAULT_NOT_SET_UP,
                                    "Nothing is set that fine-tunes: jobs.finetune.command.");
    if (!scan_json(body, NULL, 0, &none, &problem)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "The body is no JSON object: %s.",
                  problem.what);
        return job_page_refuse(x);
    }
    if (!job_page_prepare(x, page, JOB_COMMAND))
        return true;
    struct job_ask *ask = page->ask;
    snprintf(ask->facts.model, sizeof(ask->facts.model), "%.*s", TEXT_ARGS(text_head(kind, 100)));
    ask->spec.path = arena_copy(&ask->arena, kind);
    ask->spec.content_type = TEXT("application/json");
    ask->spec.payload = arena_copy(&ask->arena, body);
    page->accepted = accepted_command;
    return job_page_submit(x, page);
}
