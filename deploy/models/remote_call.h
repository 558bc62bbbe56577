/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * remote_call - questions to the HTTP API of an engine that runs what we start (Docker,
 * Kubernetes), over a unix socket, TCP or TLS.
 *
 * A question has an answer that is gathered whole, or (with on_piece) one that is given out as it
 * comes, for as long as it lasts. One thread, on the loop: nothing here blocks, and nothing is told
 * from within remote_ask().
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/loop.h"
#include "gateway/base/text.h"
#include "gateway/http/head.h"
#include "gateway/wire/upstream.h"

struct remote;      /* where an engine's API is */
struct remote_call; /* one question, until it is over */

struct remote_site {
    struct loop *loop;
    struct upstreams *upstreams;
    /* unix:/path, unix:///path, tcp://host:port, http://host:port/base, https://host:port/base; tcp
     * is TLS as soon as one of the files is named. */
    struct text endpoint;
    struct text ca_file, cert_file, key_file; /* or empty */
    uint16_t plain_port, tls_port;            /* of tcp:// without one */
};

/* NULL and *fault when the endpoint or its TLS files cannot be used. Connects to nobody yet. */
struct remote *remote_open(const struct remote_site *site, struct fault *fault);
/* What is being asked is dropped. */
void remote_close(struct remote *remote);
/* From now on each question shows this as a bearer's token; empty = none. */
void remote_set_token(struct remote *remote, struct text token);
/* The host of the API; of a unix socket 127.0.0.1. */
const char *remote_host(const struct remote *remote);
/* Is it on this machine: a unix socket or a loopback address? */
bool remote_is_here(const struct remote *remote);

struct remote_answer {
    unsigned status;  /* 0 = none came */
    const char *why;  /* NULL = it came whole; else what went wrong, for people */
    struct text body; /* gathered; of a stream only when its status was no success */
    struct text field;
};

enum { REMOTE_FIELD_MAX = 128, REMOTE_WHY_MAX = 200 };

struct remote_question {
    enum method method;
    struct text path;       /* with its query */
    struct text body, type; /* of the request; without a type it is application/json */
    struct text fields;     /* header lines of its own, each with its CRLF, or empty */
    const char *field;      /* the answer's field that is wanted, static; or NULL */
    size_t answer_max;      /* more than that and it failed; 0 = REMOTE_ANSWER_MAX */
    int64_t timeout_us;     /* for the answer; of a stream for its head */
    int64_t quiet_us; /* of a stream: it failed when nothing comes for so long; 0 = for ever */
    /* A stream of a status 2xx: the next bytes, cut anywhere. The call may be dropped from within.
     */
    void (*on_piece)(void *with, struct text piece);
    /* It is over, and the call gone; told once. Texts are borrowed until it returns. */
    void (*on_done)(void *with, const struct remote_answer *answer);
    void *with;
};
enum { REMOTE_ANSWER_MAX = 8 * 1024 * 1024 };

/* Texts of <question> are copied. */
struct remote_call *remote_ask(struct remote *remote, const struct remote_question *question);
/* Nobody wants to know any more; NULL is allowed. */
void remote_drop(struct remote_call *call);

static inline bool remote_is_well(const struct remote_answer *answer)
{
    return !answer->why && answer->status / 100 == 2;
}
