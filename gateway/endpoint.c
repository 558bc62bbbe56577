/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/endpoint.h"

#include <stdio.h>
#include <string.h>

#include "gateway/admin.h"
#include "gateway/config.h"
#include "gateway/health.h"
#include "gateway/http/path.h"

/* clang-format off */
static const struct endpoint endpoints[] = {
    /* path below /v1                     method          operation                body         page        creates lists */
    {{"/chat/completions", 17},           METHOD_POST,    OPERATION_CHAT,          BODY_JSON,   PAGE_NONE,   false, false},
    {{"/completions", 12},                METHOD_POST,    OPERATION_COMPLETION,    BODY_JSON,   PAGE_NONE,   false, false},
    {{"/responses", 10},                  METHOD_POST,    OPERATION_RESPONSE,      BODY_JSON,   PAGE_NONE,   true,  false},
    {{"/responses/{id}", 15},             METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/responses/{id}", 15},             METHOD_DELETE,  OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/responses/{id}/cancel", 22},      METHOD_POST,    OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/responses/{id}/input_items", 27}, METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/embeddings", 11},                 METHOD_POST,    OPERATION_EMBEDDING,     BODY_JSON,   PAGE_NONE,   false, false},
    {{"/moderations", 12},                METHOD_POST,    OPERATION_MODERATION,    BODY_JSON,   PAGE_NONE,   false, false},
    {{"/images/generations", 19},         METHOD_POST,    OPERATION_IMAGE,         BODY_JSON,   PAGE_NONE,   false, false},
    {{"/images/edits", 13},               METHOD_POST,    OPERATION_IMAGE,         BODY_FORM,   PAGE_NONE,   false, false},
    {{"/images/variations", 18},          METHOD_POST,    OPERATION_IMAGE,         BODY_FORM,   PAGE_NONE,   false, false},
    {{"/audio/speech", 13},               METHOD_POST,    OPERATION_SPEECH,        BODY_JSON,   PAGE_NONE,   false, false},
    {{"/audio/transcriptions", 21},       METHOD_POST,    OPERATION_TRANSCRIPTION, BODY_FORM,   PAGE_NONE,   false, false},
    {{"/audio/translations", 19},         METHOD_POST,    OPERATION_TRANSCRIPTION, BODY_FORM,   PAGE_NONE,   false, false},
    {{"/rerank", 7},                      METHOD_POST,    OPERATION_RERANK,        BODY_JSON,   PAGE_NONE,   false, false},
    {{"/files", 6},                       METHOD_POST,    OPERATION_FILE,          BODY_FORM,   PAGE_NONE,   true,  false},
    {{"/files", 6},                       METHOD_GET,     OPERATION_FILE,          BODY_ABSENT, PAGE_NONE,   false, true},
    {{"/files/{id}", 11},                 METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/files/{id}", 11},                 METHOD_DELETE,  OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/files/{id}/content", 19},         METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/uploads", 8},                     METHOD_POST,    OPERATION_FILE,          BODY_JSON,   PAGE_NONE,   true,  false},
    {{"/uploads/{id}/parts", 19},         METHOD_POST,    OPERATION_OBJECT,        BODY_FORM,   PAGE_NONE,   false, false},
    {{"/uploads/{id}/complete", 22},      METHOD_POST,    OPERATION_OBJECT,        BODY_JSON,   PAGE_NONE,   false, false},
    {{"/uploads/{id}/cancel", 20},        METHOD_POST,    OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/batches", 8},                     METHOD_POST,    OPERATION_BATCH,         BODY_JSON,   PAGE_NONE,   true,  false},
    {{"/batches", 8},                     METHOD_GET,     OPERATION_BATCH,         BODY_ABSENT, PAGE_NONE,   false, true},
    {{"/batches/{id}", 13},               METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/batches/{id}/cancel", 20},        METHOD_POST,    OPERATION_OBJECT,        BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/realtime", 9},                    METHOD_GET,     OPERATION_REALTIME,      BODY_ABSENT, PAGE_NONE,   false, false},
    {{"/models", 7},                      METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_MODELS, false, false},
    {{"/models/{model}", 15},             METHOD_GET,     OPERATION_OBJECT,        BODY_ABSENT, PAGE_MODEL,  false, false},
};

static const struct endpoint health_page =  {{"", 0}, METHOD_GET, OPERATION_OBJECT, BODY_ABSENT, PAGE_HEALTH, false, false};
static const struct endpoint metrics_page = {{"", 0}, METHOD_GET, OPERATION_OBJECT, BODY_ABSENT, PAGE_METRICS, false, false};
static const struct endpoint admin_page =   {{"", 0}, METHOD_GET, OPERATION_OBJECT, BODY_JSON, PAGE_ADMIN, false, false};

/* Paths of dialects that are spoken in their own shape, also when it is to say no. */
static const struct {
    struct text prefix;
    enum shape shape;
} shapes[] = {
    {{"/v1/messages", 12}, SHAPE_ANTHROPIC}, {{"/anthropic/", 11}, SHAPE_ANTHROPIC},
    {{"/v1beta/", 8}, SHAPE_GEMINI},         {{"/gemini/", 8}, SHAPE_GEMINI},
    {{"/genai/", 7}, SHAPE_GEMINI},
};
/* clang-format on */

enum { ENDPOINTS = sizeof(endpoints) / sizeof(endpoints[0]) };

static enum shape shape_of(struct text path)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (text_starts(path, shapes[i].prefix))
            return shapes[i].shape;
    return SHAPE_OPENAI;
}

/* The path below /v1, which may be left out, and which may stand below /openai; or nothing. */
static bool below_v1(struct text *path)
{
    if (text_starts(*path, TEXT("/openai/")))
        *path = text_from(*path, 7);
    if (text_starts(*path, TEXT("/v1/")))
        *path = text_from(*path, 3);
    return path->len > 1;
}

static struct text next_segment(struct text *path)
{
    struct text rest = text_from(*path, 1);
    size_t slash = text_find_byte(rest, '/');
    struct text segment = text_head(rest, slash);
    *path = text_from(rest, segment.len);
    return segment;
}

/* Does <path> have the form of <pattern>? What stands for its placeholder goes to <id>. */
static bool has_form(struct text path, struct text pattern, struct text *id)
{
    *id = (struct text){"", 0};
    while (pattern.len && path.len) {
        struct text want = next_segment(&pattern), have = next_segment(&path);
        if (want.len && want.at[0] == '{') {
            *id = have;
            /* Only a model's name may be written with escapes. */
            if (!path_is_clean((struct text){have.at - 1, have.len + 1},
                               text_equal(want, TEXT("{model}"))))
                return false;
        } else if (!text_equal(want, have)) {
            return false;
        }
    }
    return pattern.len == 0 && path.len == 0;
}

static bool find_api(const struct head *head, struct match *match, struct fault *fault)
{
    struct text path = head->path;
    bool known = false;
    if (below_v1(&path)) {
        for (size_t i = 0; i < ENDPOINTS; i++) {
            struct text id;
            if (!has_form(path, endpoints[i].path, &id))
                continue;
            known = true;
            bool head_of_page = head->method == METHOD_HEAD && endpoints[i].page != PAGE_NONE;
            if (endpoints[i].method != head->method && !head_of_page)
                continue;
            match->endpoint = &endpoints[i];
            match->suffix = path;
            match->id = id;
            return true;
        }
    }
    int len = (int)(head->path.len < 100 ? head->path.len : 100);
    if (known)
        return fault_set(fault, FAULT_BAD_METHOD, "%s is not allowed for %.*s.",
                         method_name(head->method), len, head->path.at);
    return fault_set(fault, FAULT_UNKNOWN_PATH, "There is nothing at %.*s%s.", len, head->path.at,
                     match->shape == SHAPE_OPENAI ? "" : " (this dialect is not in this version)");
}

static bool find_page(const struct head *head, const struct endpoint *page, struct match *match)
{
    match->endpoint = page;
    match->suffix = head->path;
    return true;
}

static bool only_get(const struct head *head, struct fault *fault)
{
    return head->method == METHOD_GET || head->method == METHOD_HEAD ||
           fault_set(fault, FAULT_BAD_METHOD, "Only GET is allowed here.");
}

/* Is every '%' of the path in the one segment that may hold escapes? */
static bool may_escape(struct text path)
{
    return below_v1(&path) && text_starts(path, TEXT("/models/"));
}

bool endpoint_find(const struct head *head, unsigned serve, struct text metrics_path,
                   struct match *match, struct fault *fault)
{
    *match = (struct match){.shape = shape_of(head->path)};
    bool is_admin = serve & SERVE_ADMIN && admin_is_path(head->path);
    if (is_admin)
        match->shape = SHAPE_PROBLEM;
    /* Names of tenants stand in the paths of the admin API. */
    bool escapes = is_admin || match->shape == SHAPE_GEMINI || may_escape(head->path);
    if (!path_is_clean(head->path, escapes))
        return fault_set(fault, FAULT_BAD_HTTP, "The path is not in canonical form.");
    if (serve & SERVE_HEALTH && health_is_path(head->path))
        return only_get(head, fault) && find_page(head, &health_page, match);
    if (serve & SERVE_METRICS && text_equal(head->path, metrics_path))
        return only_get(head, fault) && find_page(head, &metrics_page, match);
    if (is_admin)
        return find_page(head, &admin_page, match);
    if (serve & SERVE_API)
        return find_api(head, match, fault);
    return fault_set(fault, FAULT_UNKNOWN_PATH, "There is nothing at this path on this listener.");
}

void endpoint_methods(struct text path, char out[64])
{
    size_t len = 0;
    out[0] = '\0';
    if (!below_v1(&path)) {
        snprintf(out, 64, "GET");
        return;
    }
    for (size_t i = 0; i < ENDPOINTS; i++) {
        struct text id;
        if (has_form(path, endpoints[i].path, &id) && len < 48)
            len += (size_t)snprintf(out + len, 64 - len, "%s%s", len ? ", " : "",
                                    method_name(endpoints[i].method));
    }
    if (!len)
        snprintf(out, 64, "GET");
}
