/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/follow.h"

#include "deploy/models/standing.h"
#include "gateway/deploy_page.h"
#include "gateway/relay_inner.h"
#include "gateway/worker_inside.h"

enum { ROUND_BYTES = 64 << 10, ROUND_EVENTS = 64, OUT_BYTES = 512 << 10 };

static const uint64_t LOOK_US = 250000, PING_US = 15000000;

struct follow {
    struct exchange *x;
    struct timer timer;
    uint64_t after, told_us;
    bool events;
    size_t name_len;
    char name[SPEC_NAME_MAX + 1];
};

static void put_lines(struct follow *follow, struct deployments *desk, struct buffer *out)
{
    struct buffer lines;
    struct text rest, line;
    uint64_t next = follow->after;
    buffer_init(&lines, ROUND_BYTES);
    if (deployments_follow(desk, (struct text){follow->name, follow->name_len}, follow->after,
                           &lines, &next)) {
        rest = buffer_text(&lines);
        while (rest.len && text_next(&rest, '\n', &line)) {
            buffer_append_text(out, TEXT("data: "));
            for (size_t i = 0; i < line.len; i++) /* one line is one line, for whoever reads it */
                if (line.at[i] != '\r')
                    buffer_append(out, &line.at[i], 1);
            if (!rest.len)
                buffer_format(out, "\nid: %llu", (unsigned long long)next);
            buffer_append_text(out, TEXT("\n\n"));
        }
        follow->after = next;
    }
    buffer_done(&lines);
}

static void put_events(struct follow *follow, struct deployments *desk, struct buffer *out)
{
    struct deployment_event *events = memory_new(ROUND_EVENTS * sizeof(*events));
    size_t count = deployments_events(desk, (struct text){follow->name, follow->name_len},
                                      follow->after, events, ROUND_EVENTS);
    for (size_t i = 0; i < count; i++) {
        struct json_write json = {.out = out};
        buffer_format(out, "id: %llu\ndata: ", (unsigned long long)events[i].number);
        deploy_write_event(&json, &events[i]);
        buffer_append_text(out, TEXT("\n\n"));
        follow->after = events[i].number;
    }
    memory_free(events);
}

static void look(struct follow *follow)
{
    struct exchange *x = follow->x;
    struct deployments *desk = standing_fleet();
    uint64_t now = loop_now_us(x->worker->loop);
    struct buffer out;
    buffer_init(&out, OUT_BYTES);
    if (desk && !relay_is_full(x)) {
        if (follow->events)
            put_events(follow, desk, &out);
        else
            put_lines(follow, desk, &out);
    }
    if (!buffer_length(&out) && now - follow->told_us >= PING_US)
        buffer_append_text(&out, TEXT(": ping\n\n"));
    if (buffer_length(&out) || !x->head_sent) {
        follow->told_us = now;
        relay_gather(x, buffer_text(&out));
        relay_flush(x, false);
    }
    buffer_done(&out);
}

static void on_time(struct timer *timer)
{
    struct follow *follow = LIST_MEMBER(timer, struct follow, timer);
    struct exchange *x = follow->x;
    if (x->worker->draining || x->worker->leaving || x->worker->stopping) {
        x->facts.upstream = UPSTREAM_ANSWERED;
        x->facts.page_ready = true;
        exchange_run(x);
        return;
    }
    look(follow);
    timer_set(x->worker->loop, timer, loop_now_us(x->worker->loop) + LOOK_US);
}

bool follow_begin(struct exchange *x, struct text deployment, uint64_t after, bool events)
{
    if (x->worker->followers >= FOLLOWERS_MAX)
        return false;
    struct follow *follow = x->follow = memory_new(sizeof(*follow));
    x->worker->followers++;
    follow->x = x;
    follow->events = events;
    follow->after = after;
    follow->name_len = text_head(deployment, SPEC_NAME_MAX).len;
    memcpy(follow->name, deployment.at, follow->name_len);
    follow->told_us = loop_now_us(x->worker->loop);
    follow->timer.on_time = on_time;
    x->status = 200;
    x->answer_type = TEXT("text/event-stream");
    x->answer_head =
        arena_format(&x->arena, "request-id: %s\r\n%s", x->id,
                     x->match.endpoint->page == PAGE_ADMIN ? "" : "cache-control: no-store\r\n");
    x->length_out = -1;
    x->relay = RELAY_EVENTS;
    x->facts.upstream = UPSTREAM_ANSWERING;
    timer_set(x->worker->loop, &follow->timer, loop_now_us(x->worker->loop) + LOOK_US);
    look(follow);
    return true;
}

void follow_forget(struct exchange *x)
{
    if (!x->follow)
        return;
    timer_stop(&x->follow->timer);
    x->worker->followers--;
    memory_free(x->follow);
    x->follow = NULL;
}
