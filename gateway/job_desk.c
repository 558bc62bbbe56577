/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/job_desk.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "gateway/anonymous.h"
#include "gateway/base/version.h"
#include "gateway/client.h"
#include "gateway/jobs_inside.h"
#include "gateway/worker_inside.h"

enum {
    CONNECTIONS_MAX = 16384, /* jobs.concurrency bounds them before */
    IDLE_MAX = 16,
    CONNECT_US = 1000000,
    HEAD_ROOM = 8192,
    RETRY_MAX_S = 3600,
};

static const int64_t IDLE_US = 10000000;

struct job_desk {
    struct worker *worker;
    struct worker_listener listener; /* of the connections that jobs come in on */
    struct upstream_pool *pool;
    struct link runs;
    bool stopped;
};

/* A run's connection: the upstream's call, and what is sent. */
struct job_call {
    struct upstream_call upstream;
    struct job_run *run;
    struct buffer head;
    bool fresh;
};

static struct job_call *call_of(struct job_run *run)
{
    return LIST_MEMBER(run->upstream, struct job_call, upstream);
}

/* A socket pair: one end is a client of this worker, which has no address. */
static int connect_pair(void *with)
{
    struct job_desk *desk = with;
    struct sockaddr_storage from = {.ss_family = AF_UNIX};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    client_new(desk->worker, &desk->listener, ends[1], &from);
    return ends[0];
}

struct job_desk *job_desk_new(struct worker *worker)
{
    struct job_desk *desk = memory_new(sizeof(*desk));
    struct fault fault;
    desk->worker = worker;
    list_init(&desk->runs);
    desk->listener = (struct worker_listener){.watch = {.fd = -1},
                                              .worker = worker,
                                              .name = TEXT("jobs"),
                                              .serve = SERVE_API,
                                              .is_unix = true,
                                              .is_jobs = true};
    struct upstream_place place = {.host = "jobs",
                                   .connect = connect_pair,
                                   .with = desk,
                                   .connect_us = CONNECT_US,
                                   .idle_us = IDLE_US,
                                   .max_connections = CONNECTIONS_MAX,
                                   .max_idle = IDLE_MAX};
    desk->pool = upstream_pool_ref(worker->upstreams, &place, &fault);
    return desk;
}

/* ---------------------------------------------------------------------------------- the end */

static void over(struct job_run *run)
{
    struct job_call *call = call_of(run);
    list_remove(&run->link);
    if (run->x) {
        run->x->job = NULL;
        run->x = NULL;
    }
    run->is_over = true;
    run->upstream = NULL;
    buffer_done(&call->head);
    memory_free(call);
    jobs_run_over(run);
}

/* The client that its call came in with leaves, so that the call is settled at once. */
static void leave(struct job_run *run)
{
    upstream_abandon(run->upstream);
    if (run->x && run->x->client)
        client_close(run->x->client);
    run->cut = true;
    over(run);
}

void job_desk_stop(struct job_desk *desk)
{
    if (!desk)
        return;
    desk->stopped = true;
    while (!list_is_empty(&desk->runs))
        leave(LIST_MEMBER(desk->runs.next, struct job_run, link));
    upstream_pool_unref(desk->pool);
    desk->pool = NULL;
}

void job_desk_free(struct job_desk *desk)
{
    if (!desk)
        return;
    if (desk->pool)
        upstream_pool_unref(desk->pool);
    memory_free(desk);
}

/* --------------------------------------------------------------------------------- the call */

static void put_head(struct job_run *run, struct buffer *out)
{
    buffer_append_text(out, TEXT("POST "));
    buffer_append_text(out, run->spec.path);
    buffer_append_text(out,
                       TEXT(" HTTP/1.1\r\nHost: jobs\r\nUser-Agent: sluice-jobs/" PROGRAM_VERSION
                            "\r\nx-sluice-job: "));
    buffer_append_text(out, text_of(run->facts.id));
    buffer_append_text(out, TEXT("\r\nContent-Type: "));
    buffer_append_text(out, run->spec.content_type);
    /* What was answered before the result could be written down is not asked for twice. */
    buffer_format(out, "\r\nIdempotency-Key: job-%s\r\nContent-Length: %zu\r\n\r\n", run->facts.id,
                  run->spec.payload.len);
}

static void on_connected(struct upstream_call *upstream)
{
    struct job_call *call = LIST_MEMBER(upstream, struct job_call, upstream);
    struct text payload = call->run->spec.payload;
    buffer_clear(&call->head);
    put_head(call->run, &call->head);
    struct text head = buffer_text(&call->head);
    struct iovec pieces[] = {{(void *)(uintptr_t)head.at, head.len},
                             {(void *)(uintptr_t)payload.at, payload.len}};
    upstream_send(upstream, pieces, payload.len ? 2 : 1, false);
}

static void on_nothing(struct upstream_call *upstream)
{
    (void)upstream;
}

static void on_head(struct upstream_call *upstream, const struct head *head)
{
    struct job_run *run = LIST_MEMBER(upstream, struct job_call, upstream)->run;
    uint64_t number;
    run->status = head->status;
    snprintf(run->type, sizeof(run->type), "%.*s",
             TEXT_ARGS(text_head(head_value(head, TEXT("content-type")), sizeof(run->type) - 1)));
    if (text_number(head_value(head, TEXT("retry-after-ms")), RETRY_MAX_S * UINT64_C(1000),
                    &number))
        run->retry_us = (int64_t)number * 1000;
    else if (text_number(head_value(head, TEXT("retry-after")), RETRY_MAX_S, &number))
        run->retry_us = (int64_t)number * 1000000;
}

static void on_body(struct upstream_call *upstream, struct text piece)
{
    struct job_run *run = LIST_MEMBER(upstream, struct job_call, upstream)->run;
    run->too_long = run->too_long || !buffer_append_text(&run->answer, piece);
}

static void on_end(struct upstream_call *upstream)
{
    over(LIST_MEMBER(upstream, struct job_call, upstream)->run);
}

static void ask(struct job_call *call);

static void on_fault(struct upstream_call *upstream, enum fault_kind kind, const char *why)
{
    struct job_call *call = LIST_MEMBER(upstream, struct job_call, upstream);
    struct job_run *run = call->run;
    if (upstream->reused && !upstream->answered && !call->fresh && !run->x) {
        call->fresh = true; /* the connection had been idle too long */
        ask(call);
        return;
    }
    if (run->fault == FAULT_NONE)
        run->fault = kind;
    if (!run->error[0])
        snprintf(run->error, sizeof(run->error), "%s", why);
    run->status = run->status / 100 == 2 ? 502 : run->status;
    over(run);
}

static const struct upstream_handlers handlers = {
    .on_connected = on_connected,
    .on_sent = on_nothing,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_nothing,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_nothing,
};

static void ask(struct job_call *call)
{
    call->upstream = (struct upstream_call){.on = &handlers, .fresh = call->fresh};
    upstream_begin(call->run->desk->pool, &call->upstream);
}

static void on_put(struct errand *errand)
{
    struct job_run *run = LIST_MEMBER(errand, struct job_run, errand);
    struct job_desk *desk = run->desk;
    if (desk->stopped || run->is_over) {
        run->is_over = run->cut = true;
        jobs_run_over(run);
        return;
    }
    struct job_call *call = memory_new(sizeof(*call));
    call->run = run;
    run->upstream = &call->upstream;
    buffer_init(&call->head, HEAD_ROOM);
    buffer_init(&run->answer, desk->worker->now->config->jobs.result_max);
    list_push_back(&desk->runs, &run->link);
    ask(call);
}

void job_desk_put(struct worker *worker, struct job_run *run)
{
    run->desk = worker->job_desk;
    run->errand.run = on_put;
    loop_post(worker->loop, &run->errand);
}

static void on_cancel(struct errand *errand)
{
    struct job_run *run = LIST_MEMBER(errand, struct job_run, cancel_errand);
    if (!run->is_over && run->upstream)
        leave(run);
    job_run_unref(run);
}

void job_desk_cancel(struct worker *worker, struct job_run *run)
{
    run->cancel_errand.run = on_cancel;
    loop_post(worker->loop, &run->cancel_errand);
}

/* ------------------------------------------------------------------------ the other end of it */

const struct key *job_desk_key(struct exchange *x, const struct head *head)
{
    struct job_desk *desk = LIST_MEMBER(x->client->listener, struct job_desk, listener);
    struct text id = head_value(head, TEXT("x-sluice-job"));
    for (struct link *at = desk->runs.next; at != &desk->runs; at = at->next) {
        struct job_run *run = LIST_MEMBER(at, struct job_run, link);
        if (run->x || !text_equal(text_of(run->facts.id), id))
            continue;
        run->x = x;
        x->job = run;
        const struct key *anybody = anonymous_key(x->snapshot->config, x->snapshot->directory);
        if (anybody && strcmp(run->facts.key, "") == 0)
            return anybody;
        const struct key *key = directory_find_named(
            x->snapshot->directory, text_of(run->facts.tenant), text_of(run->facts.key));
        if (key && (!key->expires_us || key->expires_us > x->started_wall_us))
            return key;
        if (anybody && text_equal(anybody->name, text_of(run->facts.key)))
            return anybody;
        anonymous_refuse(x->snapshot->config, x->snapshot->directory, true, exchange_fault(x),
                         "The key that the job was given with opens nothing any more.");
        return NULL;
    }
    fault_set(exchange_fault(x), FAULT_BAD_KEY, "There is no such job.");
    return NULL;
}

void job_desk_note(struct exchange *x, const struct ledger_row *row)
{
    struct job_run *run = x->job;
    if (!run)
        return;
    struct job_facts *facts = &run->facts;
    facts->cost_nanos = row->cost_nanos ? row->cost_nanos : row->saved_nanos;
    snprintf(facts->request_id, sizeof(facts->request_id), "%s", x->id);
    if (exchange_why(x)->kind == FAULT_NONE || x->status / 100 == 2)
        return;
    run->fault = exchange_why(x)->kind;
    snprintf(run->error, sizeof(run->error), "%s", exchange_why(x)->text);
}

void job_desk_forget(struct exchange *x)
{
    if (x->job)
        x->job->x = NULL;
    x->job = NULL;
}
