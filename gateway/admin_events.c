/* SPDX-License-Identifier: Apache-2.0 */
/* What happened lately, in a ring: starts, reloads, drains, and who changed what. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/service_state.h"

void service_event(struct service *service, const char *kind, const char *by, const char *format,
                   ...)
{
    struct events *events = service->events;
    va_list args;
    pthread_mutex_lock(&events->lock);
    struct event *event = &events->ring[events->count % EVENTS_KEPT];
    event->id = (int64_t)events->count++ + service->started_wall_us;
    event->at_us = clock_wall_us();
    snprintf(event->kind, sizeof event->kind, "%s", kind);
    snprintf(event->by, sizeof event->by, "%s", by);
    va_start(args, format);
    vsnprintf(event->words, sizeof event->words, format, args);
    va_end(args);
    pthread_mutex_unlock(&events->lock);
}

static void write_event(const struct event *event, struct json_write *json)
{
    json_open(json, '{');
    json_int_member(json, "id", event->id);
    json_time_member(json, "at", event->at_us);
    json_text_member(json, "kind", text_of(event->kind));
    json_text_member(json, "by", text_of(event->by));
    json_text_member(json, "text", text_of(event->words));
    json_close(json, '}');
}

/* The oldest first, so that who asks again with the last id gets what is new. */
static void write_events(struct events *events, int64_t after, size_t limit,
                         struct json_write *json)
{
    size_t count = 0;
    int64_t last = after;
    uint64_t i = events->count > EVENTS_KEPT ? events->count - EVENTS_KEPT : 0;
    json_name(json, "data");
    json_open(json, '[');
    for (; i < events->count && count < limit; i++) {
        const struct event *event = &events->ring[i % EVENTS_KEPT];
        if (event->id <= after)
            continue;
        write_event(event, json);
        last = event->id;
        count++;
    }
    json_close(json, ']');
    json_name(json, "next");
    char cursor[24];
    snprintf(cursor, sizeof cursor, "%lld", (long long)last);
    if (i < events->count)
        json_text(json, text_of(cursor));
    else
        json_null(json);
}

void admin_events(struct service *service, struct config *config, struct admin_call *call)
{
    char room[ADMIN_VALUE_BYTES];
    struct json_write json = {.out = &call->out};
    struct text value;
    uint64_t after = 0;
    size_t limit;
    (void)config;
    if (!admin_limit(call, &limit) || !admin_value(call, "after", room, &value))
        return;
    if (value.len > 0 && !text_number(value, INT64_MAX, &after)) {
        admin_field_problem(call, 400, "after", TEXT("after is the id of an event"));
        return;
    }
    json_open(&json, '{');
    pthread_mutex_lock(&service->events->lock);
    write_events(service->events, (int64_t)after, limit, &json);
    pthread_mutex_unlock(&service->events->lock);
    json_close(&json, '}');
    admin_done(call, &json);
}
