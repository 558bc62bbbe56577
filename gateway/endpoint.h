/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * endpoint - the one table of what can be asked for: path and method to operation and dialect.
 *
 * Deny by default. What is authorised later (operation, object id, target path) is taken from the
 * match, which was made from the very bytes of the path.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/http/head.h"
#include "providers/call.h"

/* In whose shape errors are written. */
enum shape {
    SHAPE_OPENAI,
    SHAPE_ANTHROPIC,
    SHAPE_GEMINI,
    SHAPE_OLLAMA,
    SHAPE_BEDROCK,
    SHAPE_COHERE,
    SHAPE_MONSTER,
    SHAPE_PROBLEM, /* RFC 9457 */
};

enum request_body {
    BODY_ABSENT,
    BODY_JSON,
    BODY_FORM,   /* streamed through */
    BODY_EITHER, /* JSON, or a form that is gathered */
    BODY_ANY,    /* a file */
};

/* What is answered here, without an exchange with a target. */
enum page {
    PAGE_NONE,
    PAGE_MODELS,
    PAGE_MODEL,
    PAGE_SHOW,    /* a model, asked for in the body: Ollama's */
    PAGE_LOADED,  /* the models in memory: Ollama's */
    PAGE_VERSION, /* of Ollama's API */
    PAGE_ALIVE,   /* HEAD /, which clients ask before they ask for more; without a key */
    PAGE_HEALTH,
    PAGE_METRICS,
    PAGE_ADMIN,
    PAGE_DASHBOARD, /* files of web/dist: dashboard.h */
    PAGE_DEPLOY,    /* Monster's deploy calls */
    PAGE_JOB,       /* jobs: job_page.h */
    PAGE_FILE,      /* a file of theirs, opened by its link alone */
};

struct endpoint {
    /* Below its dialect's roots; "{id}" stands for one segment, "{model}" for one that may have
     * escapes in it, and may have more behind it ("{model}:generateContent"). */
    struct text path;
    enum method method;
    enum operation operation;
    enum request_body body;
    enum page page;
    bool creates; /* what it answers with is an object that its tenant then owns */
    bool lists;   /* it answers with a list of objects: only the tenant's own are shown */
    bool streams; /* the path says that the answer is a stream */
};

struct match {
    const struct endpoint *endpoint; /* NULL: nothing matched */
    enum shape shape;
    struct text dialect; /* what the client speaks: "openai"; static */
    struct text suffix;  /* the path below the dialect's root: goes behind a provider's base URL */
    struct text deployment; /* of /d/{id}/…: asked of this one's own endpoint; or empty */
    struct text id;         /* of the object or model, or empty; as it stands in the path */
};

/*
 * Find what <head> asks for, on a listener that serves <serve> (enum serve bits), below <base_path>
 * for what is not an API path. False with FAULT_UNKNOWN_PATH, FAULT_BAD_METHOD or FAULT_BAD_HTTP;
 * match->shape is right in any case.
 */
bool endpoint_find(const struct head *head, unsigned serve, struct text metrics_path,
                   struct match *match, struct fault *fault);

/* Make what endpoint_find() looks in, which the first call would else wait for: a millisecond. Any
 * thread, any number of times. */
void endpoint_prepare(void);

/* The methods a path allows, as "GET, POST"; for 405 and CORS. */
void endpoint_methods(struct text path, char out[64]);
