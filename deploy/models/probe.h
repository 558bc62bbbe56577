/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * probe - asks one replica's server over and over whether it is well, and sends it to sleep and
 * wakes it where its engine can (vLLM, "Sleep Mode").
 *
 * Well is a success of its probe path; and, until it was well for the first time, a list of models
 * (GET /v1/models, where the engine has it) that has something in it, and the name it is wanted to
 * serve: a server that answers its health check and has no model, or another one, is not well.
 *
 * One thread. Nothing is told from within a call.
 */

#include "deploy/models/launcher.h"

struct probe;

struct probe_site {
    struct loop *loop;
    struct upstreams *upstreams;
    /* The probe may be freed from within. <words>: why not; for people. */
    void (*on_answer)(void *with, bool good, const char *words);
    /* What it was sent to do went wrong; for people. */
    void (*on_trouble)(void *with, const char *words);
    void *with;
};

enum { PROBE_NAME_MAX = 200 };

/* Its first question goes out at once, the next each <every_us>. NULL when the address cannot be
 * one. */
struct probe *probe_new(const struct probe_site *site, const struct launch_address *address,
                        struct deployment_spec *spec, int64_t every_us);
void probe_free(struct probe *probe);
/* How often from now on; 0 = not at all. */
void probe_pace(struct probe *probe, int64_t every_us);
/* What the server calls its model: as the spec says, else what it lists first; empty = not known
 * yet. */
const char *probe_served_name(const struct probe *probe);

/* What it holds of memory is let go, and calls would fail: nothing is asked until it is woken. */
void probe_send_to_sleep(struct probe *probe);
/* It is asked again as soon as it has said that it is awake. */
void probe_wake(struct probe *probe);

/* For others who have a question to the same server. */
struct remote *probe_remote(struct probe *probe);
