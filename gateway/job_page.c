/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/job_page.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/admission.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/client.h"
#include "gateway/http/path.h"
#include "gateway/http/url.h"
#include "gateway/job_files.h"
#include "gateway/job_hook.h"
#include "gateway/job_page_inside.h"
#include "gateway/pages.h"
#include "gateway/worker_inside.h"

enum {
    SECOND_US = 1000000,
    LIST_USUAL = 100,
    LOG_LINES_USUAL = 100,
    LOG_LINES_MAX = 10000,
    DIGEST_DIGITS = 16,
};

struct jobs *job_page_jobs(const struct exchange *x)
{
    return x->worker->options.jobs;
}

/* -------------------------------------------------------------------------------- refusing */

bool job_page_refuse(struct exchange *x)
{
    x->facts.request_bad = true;
    exchange_run(x); /* from within: the step looks again */
    return true;
}

bool job_page_refuse_with(struct exchange *x, enum fault_kind kind, const char *words)
{
    fault_set(exchange_fault(x), kind, "%s", words);
    return job_page_refuse(x);
}

bool job_page_finish(struct exchange *x, unsigned status)
{
    pages_finish_as(x, status, TEXT("application/json"), TEXT("cache-control: no-store\r\n"));
    return true;
}

static bool refuse_outcome(struct exchange *x, enum job_outcome outcome)
{
    switch (outcome) {
    case JOBS_FULL:
        return job_page_refuse_with(x, FAULT_OVERLOADED, "The queue of jobs is full; try again.");
    case JOBS_MANY:
        return job_page_refuse_with(
            x, FAULT_RATE_REQUESTS,
            "Too many jobs of this tenant are waiting (jobs.queue_max_per_tenant).");
    case JOBS_CONFLICT:
        return job_page_refuse_with(x, FAULT_CONFLICT,
                                    "This Idempotency-Key was used for another job.");
    case JOBS_AWAY:
        return job_page_refuse_with(x, FAULT_STORE_AWAY, "The store of jobs does not answer.");
    case JOBS_NO_ROOM:
        return job_page_refuse_with(
            x, FAULT_STORE_AWAY,
            "The disk of the store of jobs is full: none is accepted until there is room.");
    case JOBS_UNKNOWN:
        return job_page_refuse_with(x, FAULT_UNKNOWN_OBJECT, "There is no such job.");
    case JOBS_DONE:
    case JOBS_THERE:
    case JOBS_OVER:
        break;
    }
    return job_page_refuse_with(x, FAULT_INTERNAL, "The job could not be looked at.");
}

/* ---------------------------------------------------------------------------------- asking */

static void on_answered(struct job_ask *ask)
{
    struct exchange *x = ask->with;
    x->worker->questions--;
    x->job_page->answered = true;
    x->job_page->sent = false;
    exchange_run(x);
}

/* Its exchange has gone. */
static void on_unwanted(struct job_ask *ask)
{
    struct worker *worker = ask->with;
    worker->questions--;
    job_ask_free(ask);
}

struct job_ask *job_page_ask(struct exchange *x, enum job_question question)
{
    struct job_page *page = x->job_page;
    if (page->ask)
        job_ask_free(page->ask);
    page->answered = false;
    page->ask = job_ask_new(job_page_jobs(x), question, x->worker->loop);
    page->ask->with = x;
    page->ask->done = on_answered;
    if (x->key)
        snprintf(page->ask->facts.tenant, sizeof(page->ask->facts.tenant), "%.*s",
                 TEXT_ARGS(x->key->tenant->name));
    return page->ask;
}

bool job_page_send(struct exchange *x)
{
    x->worker->questions++;
    x->job_page->sent = true;
    jobs_ask(job_page_jobs(x), x->job_page->ask);
    return false;
}

void job_page_forget(struct exchange *x)
{
    struct job_page *page = x->job_page;
    x->job_page = NULL;
    if (!page)
        return;
    timer_stop(&page->timer);
    jobs_wait_leave(&page->wait);
    if (page->sent) {
        page->ask->with = x->worker;
        page->ask->done = on_unwanted;
    } else if (page->ask) {
        job_ask_free(page->ask);
    }
}

/* ------------------------------------------------------------------------------- waiting */

static void on_woken(struct job_wait *wait)
{
    struct job_page *page = LIST_MEMBER(wait, struct job_page, wait);
    page->waits = false;
    page->waited = true;
    exchange_run(page->x);
}

static void on_time(struct timer *timer)
{
    struct job_page *page = LIST_MEMBER(timer, struct job_page, timer);
    jobs_wait_leave(&page->wait);
    on_woken(&page->wait);
}

/* The parameter <name> as a number up to <max>; 0 when it is not given, or none. */
static uint64_t number_in_query(const struct exchange *x, const char *name, uint64_t max)
{
    struct text value;
    bool repeated = false;
    uint64_t number = 0;
    if (query_find(x->query, text_of(name), &value, &repeated) && !repeated)
        text_number(value, UINT32_MAX, &number);
    return number < max ? number : max;
}

/* Wait, where the client wishes to and the job has not ended. */
static bool begin_wait(struct exchange *x, struct job_page *page, struct text id,
                       const struct job_facts *facts)
{
    int64_t idle_us = x->snapshot->config->timeouts.client_idle_us;
    int64_t wish_us = (int64_t)number_in_query(x, "wait", JOB_WAIT_MAX_S) * SECOND_US;
    if (idle_us > 0 && wish_us > idle_us)
        wish_us = idle_us;
    if (page->waited || wish_us == 0 || job_has_ended(facts->state))
        return false;
    page->wait.loop = x->worker->loop;
    page->wait.woken = on_woken;
    page->timer.on_time = on_time;
    if (!jobs_wait(job_page_jobs(x), id, &page->wait))
        return false; /* it has ended just now: the next look says so */
    page->waits = true;
    timer_set(x->worker->loop, &page->timer, loop_now_us(x->worker->loop) + (uint64_t)wish_us);
    return true;
}

bool job_page_look(struct exchange *x, struct job_page *page, struct text id,
                   struct job_facts *facts, struct job_result **result, bool *found)
{
    struct jobs *jobs = job_page_jobs(x);
    struct text tenant = x->key->tenant->name;
    *found = true;
    if (page->waits)
        return false;
    for (;;) {
        *result = NULL;
        bool known = job_id_is_one(id) && jobs_look(jobs, id, tenant, facts, result);
        if (!known && page->ask && page->answered && page->ask->outcome == JOBS_DONE) {
            *facts = page->ask->facts;
            *result = job_result_ref(page->ask->result);
        } else if (!known && page->ask && page->answered) {
            *found = false;
            return refuse_outcome(x, page->ask->outcome);
        } else if (!known && !job_id_is_one(id)) {
            *found = false;
            return refuse_outcome(x, JOBS_UNKNOWN);
        } else if (!known && page->ask) {
            return false;
        } else if (!known) {
            struct job_ask *ask = job_page_ask(x, JOBS_LOOK);
            snprintf(ask->facts.id, sizeof(ask->facts.id), "%.*s", TEXT_ARGS(id));
            return job_page_send(x);
        }
        if (page->waited || job_has_ended(facts->state))
            return true;
        if (begin_wait(x, page, id, facts)) {
            job_result_unref(*result);
            *result = NULL;
            if (page->ask && page->answered) { /* what it said is old by then */
                job_ask_free(page->ask);
                page->ask = NULL;
            }
            return false;
        }
        bool wishes = number_in_query(x, "wait", JOB_WAIT_MAX_S) > 0;
        if (!wishes)
            return true;
        page->waited = true;
        job_result_unref(*result);
    }
}

/* ----------------------------------------------------------------------------- submitting */

bool job_page_may_call(struct exchange *x, struct text model)
{
    x->call.model = model;
    bool may = head_may_write(model)
                   ? admission_find_model(x)
                   : fault_set(exchange_fault(x), FAULT_BAD_REQUEST,
                               "The model's name has characters that are not allowed.");
    if (!may)
        job_page_refuse(x);
    return may;
}

bool job_page_prepare(struct exchange *x, struct job_page *page, enum job_kind kind)
{
    const struct config *config = x->snapshot->config;
    struct text tenant = x->key->tenant->name, key = x->key->name;
    if (!directory_find_named(x->snapshot->directory, tenant, key) &&
        x->key != config->anonymous_key) {
        job_page_refuse_with(x, FAULT_MODEL_DENIED,
                             "A job needs a key that will be there when it runs: a token is none.");
        return false;
    }
    struct job_ask *ask = job_page_ask(x, JOBS_SUBMIT);
    struct job_facts *facts = &ask->facts;
    facts->kind = kind;
    facts->state = JOB_QUEUED;
    facts->created_us = x->started_wall_us;
    facts->expires_us = facts->created_us + config->jobs.expires_us;
    snprintf(facts->key, sizeof(facts->key), "%.*s", TEXT_ARGS(key));
    ask->spec.base = arena_copy(&ask->arena, page->base);
    ask->spec.hook = TEXT("");
    if (x->idempotency_key.len)
        job_id_of(tenant, x->idempotency_key, facts->id);
    else
        job_id_new(facts->id);
    char hex[HEX_BYTES];
    struct digest digest = hash_sha256(buffer_text(&x->body));
    hash_hex(&digest, hex);
    snprintf(facts->digest, sizeof(facts->digest), "%.*s", DIGEST_DIGITS, hex);
    return true;
}

bool job_page_submit(struct exchange *x, struct job_page *page)
{
    if (!page->answered)
        return job_page_send(x);
    if (page->ask->outcome != JOBS_DONE && page->ask->outcome != JOBS_THERE)
        return refuse_outcome(x, page->ask->outcome);
    page->accepted(x, &page->ask->facts, page->ask->outcome == JOBS_DONE);
    return true;
}

/* ----------------------------------------------------------------------------- /v1/jobs */

enum { WANT_PATH, WANT_BODY, WANT_MODEL, WANT_HOOK, WANT_EXPIRES, WANTS };

static bool refuse_field(struct exchange *x, const char *name, const char *words)
{
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "'%s' %s.", name, words);
    exchange_fault(x)->param = name;
    job_page_refuse(x);
    return false;
}

static bool read_string(struct exchange *x, const struct scan_value *value, const char *name,
                        size_t max, struct text *out)
{
    *out = TEXT("");
    if (value->kind == SCAN_ABSENT || value->kind == SCAN_NULL)
        return true;
    if (value->kind != SCAN_STRING || value->raw.len > max)
        return refuse_field(x, name, "has to be a string, and not a long one");
    char *room = arena_take(&x->arena, value->raw.len);
    size_t len = scan_string(value, room);
    if (len == SIZE_MAX)
        return refuse_field(x, name, "is no valid string");
    *out = (struct text){room, len};
    return true;
}

/* Is <path> one of a call that has an answer, and no stream? */
static bool check_path(struct exchange *x, struct text path, struct match *match)
{
    struct head head = {.method = METHOD_POST, .path = path, .target = path};
    struct fault fault;
    bool found = endpoint_find(&head, SERVE_API, TEXT(""), match, &fault);
    const struct endpoint *endpoint = found ? match->endpoint : NULL;
    if (!endpoint || endpoint->page != PAGE_NONE || endpoint->body != BODY_JSON)
        return refuse_field(x, "path",
                            "has to be that of a call with a JSON body, such as "
                            "/v1/chat/completions");
    bool makes = endpoint->creates || endpoint->lists || endpoint->operation == OPERATION_OBJECT ||
                 endpoint->operation == OPERATION_BATCH;
    if (endpoint->streams || makes)
        return refuse_field(x, "path", "is none of a call that a job can make");
    return true;
}

/* The members that are the job's own are left out of the call. */
static struct text body_of(struct exchange *x, const struct scan_value values[WANTS])
{
    static const struct text own[] = {{"path", 4}, {"webhook_url", 11}, {"expires_in", 10}};
    struct text rest = buffer_text(&x->body), name, value;
    struct buffer out;
    bool first = true;
    if (values[WANT_BODY].kind == SCAN_OBJECT)
        return values[WANT_BODY].raw;
    buffer_init(&out, rest.len + 16);
    buffer_append_text(&out, TEXT("{"));
    while (member_next(&rest, &name, &value)) {
        bool is_own = false;
        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
            is_own = is_own || text_equal(name, own[i]);
        if (is_own)
            continue;
        buffer_append_text(&out, first ? TEXT("\"") : TEXT(",\""));
        buffer_append_text(&out, name);
        buffer_append_text(&out, TEXT("\":"));
        buffer_append_text(&out, value);
        first = false;
    }
    buffer_append_text(&out, TEXT("}"));
    struct text copy = arena_copy(&x->arena, buffer_text(&out));
    buffer_done(&out);
    return copy;
}

static bool read_model(struct exchange *x, const struct match *match, struct text body,
                       struct text *model)
{
    *model = TEXT("");
    if (text_find(match->endpoint->path, TEXT("{model}")) != SIZE_MAX) {
        char *room = arena_take(&x->arena, match->id.len);
        size_t len;
        if (match->id.len < JOB_NAME_BYTES && path_decode(match->id, room, &len))
            *model = (struct text){room, len};
    } else {
        struct text raw = member_find(body, TEXT("model"));
        struct scan_value value = {.kind = SCAN_STRING, .raw = raw};
        if (member_string(raw).at && raw.len <= JOB_NAME_BYTES) {
            char *room = arena_take(&x->arena, raw.len);
            size_t len = scan_string(&value, room);
            *model = len == SIZE_MAX ? TEXT("") : (struct text){room, len};
        }
    }
    if (!model->len)
        return refuse_field(x, "model", "has to be the name of a model");
    return job_page_may_call(x, *model);
}

static bool read_expiry(struct exchange *x, const struct scan_value *value, int64_t *expires_us)
{
    uint64_t seconds;
    if (value->kind == SCAN_ABSENT || value->kind == SCAN_NULL)
        return true;
    int64_t most = x->snapshot->config->jobs.expires_us / SECOND_US;
    if (!scan_count(value, (uint64_t)most, &seconds) || seconds == 0)
        return refuse_field(x, "expires_in", "has to be a number of seconds, at most jobs.expires");
    *expires_us = x->started_wall_us + (int64_t)seconds * SECOND_US;
    return true;
}

static void write_job(struct exchange *x, const struct job_facts *facts,
                      const struct job_result *result, unsigned status)
{
    struct json_write json = {.out = &x->held};
    x->held.limit += result ? result->length : 0;
    json_open(&json, '{');
    job_write(&json, facts, result);
    json_close(&json, '}');
    buffer_append_text(&x->held, TEXT("\n"));
    job_page_finish(x, status);
}

static void accepted(struct exchange *x, const struct job_facts *facts, bool is_new)
{
    write_job(x, facts, NULL, is_new ? 202 : 200);
}

static bool submit(struct exchange *x, struct job_page *page)
{
    static const struct text wants[WANTS] = {
        {"path", 4}, {"body", 4}, {"model", 5}, {"webhook_url", 11}, {"expires_in", 10}};
    struct scan_value values[WANTS];
    struct scan_problem problem;
    struct match match;
    struct text path, hook, model;
    if (page->ask)
        return job_page_submit(x, page);
    if (!scan_request(buffer_text(&x->body), wants, WANTS, values, &problem, NULL)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "The body is no JSON object: %s.",
                  problem.what);
        return job_page_refuse(x);
    }
    if (!read_string(x, &values[WANT_PATH], "path", HEAD_TARGET_MAX, &path) ||
        !read_string(x, &values[WANT_HOOK], "webhook_url", JOB_URL_MAX, &hook))
        return true;
    path = path.len ? path : TEXT("/v1/chat/completions");
    struct text body = body_of(x, values);
    if (values[WANT_BODY].kind != SCAN_ABSENT && values[WANT_BODY].kind != SCAN_OBJECT) {
        refuse_field(x, "body", "has to be an object");
        return true;
    }
    if (!check_path(x, path, &match) || !read_model(x, &match, body, &model))
        return true;
    if (text_equal(member_find(body, TEXT("stream")), TEXT("true"))) {
        refuse_field(x, "stream", "is not for a job: its answer is kept whole");
        return true;
    }
    if (hook.len && !job_hook_check(x->snapshot->config, hook, exchange_fault(x))) {
        exchange_fault(x)->param = "webhook_url";
        return job_page_refuse(x);
    }
    if (!job_page_prepare(x, page, JOB_CALL))
        return true;
    struct job_ask *ask = page->ask;
    assert(ask);
    if (!read_expiry(x, &values[WANT_EXPIRES], &ask->facts.expires_us))
        return true;
    snprintf(ask->facts.model, sizeof(ask->facts.model), "%.*s", TEXT_ARGS(model));
    ask->facts.hook = hook.len > 0;
    ask->spec.path = arena_copy(&ask->arena, path);
    ask->spec.content_type = TEXT("application/json");
    ask->spec.payload = arena_copy(&ask->arena, body);
    ask->spec.hook = arena_copy(&ask->arena, hook);
    page->accepted = accepted;
    return job_page_submit(x, page);
}

static bool show(struct exchange *x, struct job_page *page)
{
    struct job_facts facts;
    struct job_result *result;
    bool found;
    if (!job_page_look(x, page, x->match.id, &facts, &result, &found))
        return false;
    if (!found)
        return true;
    write_job(x, &facts, result, 200);
    job_result_unref(result);
    return true;
}

static bool cancel(struct exchange *x, struct job_page *page)
{
    if (!job_id_is_one(x->match.id))
        return refuse_outcome(x, JOBS_UNKNOWN);
    if (!page->ask) {
        struct job_ask *ask = job_page_ask(x, JOBS_CANCEL);
        snprintf(ask->facts.id, sizeof(ask->facts.id), "%.*s", TEXT_ARGS(x->match.id));
        return job_page_send(x);
    }
    if (!page->answered)
        return false;
    if (page->ask->outcome != JOBS_DONE && page->ask->outcome != JOBS_OVER)
        return refuse_outcome(x, page->ask->outcome);
    write_job(x, &page->ask->facts, NULL, 200);
    return true;
}

static bool list(struct exchange *x, struct job_page *page)
{
    struct text value;
    bool repeated = false;
    enum job_state state;
    if (!page->ask) {
        struct job_ask *ask = job_page_ask(x, JOBS_LIST);
        size_t limit = number_in_query(x, "limit", JOB_LIST_MAX);
        uint64_t before = 0;
        ask->limit = limit ? limit : LIST_USUAL;
        if (query_find(x->query, TEXT("after"), &value, &repeated) &&
            text_number(value, INT64_MAX, &before))
            ask->before_us = (int64_t)before;
        if (query_find(x->query, TEXT("status"), &value, &repeated) &&
            job_state_find(value, &state))
            ask->state = (int)state;
        return job_page_send(x);
    }
    if (!page->answered)
        return false;
    if (page->ask->outcome != JOBS_DONE)
        return refuse_outcome(x, page->ask->outcome);
    struct json_write json = {.out = &x->held};
    const struct job_ask *ask = page->ask;
    json_open(&json, '{');
    json_text_member(&json, "object", TEXT("list"));
    json_name(&json, "data");
    json_open(&json, '[');
    for (size_t i = 0; i < ask->count; i++) {
        json_open(&json, '{');
        job_write(&json, &ask->list[i], NULL);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_bool_member(&json, "has_more", ask->count == ask->limit);
    if (ask->count == ask->limit)
        json_int_member(&json, "after", ask->list[ask->count - 1].created_us);
    json_close(&json, '}');
    return job_page_finish(x, 200);
}

static bool logs(struct exchange *x, struct job_page *page)
{
    uint64_t count = number_in_query(x, "n_lines", LOG_LINES_MAX);
    (void)page;
    buffer_append_text(&x->held, TEXT("{\"logs\":"));
    if (!job_id_is_one(x->match.id) ||
        !jobs_logs(job_page_jobs(x), x->match.id, x->key->tenant->name,
                   count ? count : LOG_LINES_USUAL, &x->held))
        return refuse_outcome(x, JOBS_UNKNOWN);
    buffer_append_text(&x->held, TEXT("}\n"));
    return job_page_finish(x, 200);
}

static bool hook_secret(struct exchange *x, struct job_page *page)
{
    const struct config *config = x->snapshot->config;
    char hex[HEX_BYTES];
    (void)page;
    if (!config->jobs.hook.secret.len)
        return job_page_refuse_with(x, FAULT_NOT_SET_UP,
                                    "There are no webhooks here: jobs.webhook.secret is not set.");
    struct digest secret = jobs_hook_secret(config, x->key->tenant->name);
    hash_hex(&secret, hex);
    buffer_format(&x->held, "{\"secret\":\"%s\"}\n", hex);
    return job_page_finish(x, 200);
}

/* ---------------------------------------------------------------------------- which page */

static const struct {
    enum method method;
    const char *path;
    job_answer_page *answer;
} answers[] = {
    {METHOD_POST, "/jobs", submit},
    {METHOD_GET, "/jobs", list},
    {METHOD_GET, "/jobs/webhook_secret", hook_secret},
    {METHOD_GET, "/jobs/{id}", show},
    {METHOD_DELETE, "/jobs/{id}", cancel},
    {METHOD_GET, "/jobs/{id}/logs", logs},
    {METHOD_POST, "/v1/generate/{model}", monster_generate},
    {METHOD_GET, "/v1/status/{id}", monster_status},
    {METHOD_GET, "/v1/upload", job_upload_link},
    {METHOD_PUT, "/v1/upload/{id}", job_file_answer},
    {METHOD_GET, "/v1/download/{id}", job_file_answer},
    {METHOD_POST, "/v1/finetune/llm", monster_finetune},
    {METHOD_POST, "/v1/finetune/speech2text/whisper", monster_finetune},
    {METHOD_POST, "/v1/finetune/text2image/sdxl-dreambooth", monster_finetune},
    {METHOD_POST, "/apis/add-task", monster_add_task},
    {METHOD_POST, "/apis/task-status", monster_task_status},
};

/* What links begin with. The Host is one that was read strictly: a name and a port. */
static struct text base_of(struct exchange *x, const struct head *head)
{
    const struct config *config = x->snapshot->config;
    if (config->jobs.public_url)
        return text_of(config->jobs.public_url);
    struct text host = head->host.len ? head->host : TEXT("localhost");
    return arena_format(&x->arena, "%s://%.*s", x->client->listener->tls ? "https" : "http",
                        TEXT_ARGS(host));
}

static struct job_page *page_new(struct exchange *x)
{
    struct job_page *page = arena_new(&x->arena, sizeof(*page));
    const struct endpoint *endpoint = x->match.endpoint;
    page->x = x;
    x->job_page = page;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        if (answers[i].method == endpoint->method &&
            text_equal(endpoint->path, text_of(answers[i].path)))
            page->answer = answers[i].answer;
    return page;
}

bool job_page_begin(struct exchange *x, const struct head *head)
{
    if (!job_page_jobs(x))
        return fault_set(exchange_fault(x), FAULT_NOT_SET_UP,
                         "There are no jobs here; the log says why.");
    page_new(x)->base = base_of(x, head);
    return true;
}

bool job_page_answer(struct exchange *x)
{
    if (!x->job_page)
        page_new(x);
    bool done = x->job_page->answer(x, x->job_page);
    return done && !x->facts.request_bad;
}
