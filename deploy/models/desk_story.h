/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * desk_story - what a deployment's replicas wrote and what happened to them, the newest of both, in
 * one order with one numbering, so that they can be followed. Bounded by bytes and by count; not
 * locked: its owner is.
 */

#include "deploy/models/deployment.h"
#include "gateway/base/buffer.h"
#include "gateway/base/list.h"

enum {
    STORY_BYTES = 256 * 1024,
    STORY_EVENTS = 200,
    STORY_REPLICA_MAX = 24,
};

struct story {
    struct link lines, events; /* oldest first */
    size_t bytes, event_count;
    uint64_t newest; /* number of the last one; 0 = there was none */
};

void story_init(struct story *story);
/* Forget all of it, but not the numbering. */
void story_clear(struct story *story);
/* <replica>: its number's word, as in launch_name. */
void story_line(struct story *story, const char *replica, struct text line);
void story_event(struct story *story, const char *replica, const char *reason, const char *words);

/* The last <count> lines of <replica> (empty = of all), oldest first. */
void story_last(const struct story *story, struct text replica, unsigned count, struct buffer *out);
/* Lines and events behind number <after>, as far as <out> has room; returns where to go on. */
uint64_t story_follow(const struct story *story, uint64_t after, struct buffer *out);
size_t story_events(const struct story *story, uint64_t after, struct deployment_event *into,
                    size_t max);
