/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * admin - the operators' API below /admin/v1 (docs/API.md): what is going on, reload, drain.
 *
 * Asked on a worker's thread. What would take long there (a reload, reading the ledger) is done by
 * the service's own thread, and the answer is posted back to the worker's loop. Errors are problem
 * details (RFC 9457). Whether the caller may ask is decided before: by SO_PEERCRED on the admin
 * socket, by admin_key_is_right() elsewhere.
 */

#include <stdbool.h>

#include "gateway/base/buffer.h"
#include "gateway/base/loop.h"
#include "gateway/http/head.h"

struct service;

/* One question. The caller owns it; when admin_ask() returned false it must live until <done> was
 * called, also when the client has gone meanwhile. */
struct admin_call {
    enum method method;
    struct text path, query; /* as routed; borrowed until it is done */
    struct loop *loop;       /* of the thread that asks */
    void (*done)(struct admin_call *call);

    /* the answer */
    int status;
    const char *content_type;
    struct buffer out; /* buffer_init() before, buffer_done() after, by the caller */

    struct errand errand; /* the service's, while it works on the call */
    struct admin_call *next;
};

enum { ADMIN_ANSWER_BYTES = 16 << 20 }; /* a limit for <out> that every answer fits into */

/* Is <path> one of ours (/admin/v1 or below)? */
bool admin_is_path(struct text path);

/* Answer <call>. True: it is answered now. False: <done> will be called on <loop>. Refuses methods
 * (405) and paths (404) by itself. HEAD is answered like GET. */
bool admin_ask(struct service *service, struct admin_call *call);

/* Is <key> the admin key (SLUICE_ADMIN_KEY)? Constant time; never when none is set. */
bool admin_key_is_right(const struct service *service, struct text key);

/* May the process behind this connection of the admin socket ask (same user, or root)? */
bool admin_peer_is_right(int fd);
