/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * admin - the operators' API below /admin/v1 (docs/API.md, gateway/openapi.json): what is going on,
 * who may call and how much, what was used; reload, drain.
 *
 * Asked on a worker's thread. What would take long there (a reload, reading the ledger, the store
 * of keys) is done by threads of the service, and the answer is posted back to the worker's loop.
 * Errors are problem details (RFC 9457). Who asks is found out before: by SO_PEERCRED on the admin
 * socket, by admin_know_key() elsewhere; what he may is decided here, by his role.
 */

#include <stdbool.h>

#include "gateway/base/buffer.h"
#include "gateway/base/hash.h"
#include "gateway/base/loop.h"
#include "gateway/config/config.h"
#include "gateway/http/head.h"
#include "gateway/session.h"

struct directory;
struct foresight;
struct service;
struct worker;
struct admin_route;

enum {
    ADMIN_ANSWER_BYTES = 16 << 20, /* a limit for <out> that every answer fits into */
    ADMIN_BODY_BYTES = 256 << 10,  /* a request's body */
    ADMIN_NAME_BYTES = 132,        /* of a key or tenant, with its NUL */
    ADMIN_SEGMENT_BYTES = 272,     /* of an id in a path: "TENANT:NAME" */
};

/* Who asks. */
struct admin_caller {
    enum admin_role role;
    char name[ADMIN_NAME_BYTES];   /* of the key; "uid 1000" on the socket */
    char tenant[ADMIN_NAME_BYTES]; /* ADMIN_ROLE_TENANT: sees and changes only below this one; else
                                      "" */
    struct digest key;             /* of the key that was sent; else zeros */
    int64_t session_until_s;       /* a session of the dashboard stands for it until then; else 0 */
    char session[SESSION_PERSON_BYTES]; /* and its cookie's value; else "" */
};

/* One question. The caller owns it; when admin_ask() returned false it must live until <done> was
 * called, also when the client has gone meanwhile. */
struct admin_call {
    enum method method;
    struct text if_match;          /* of the header; or empty */
    struct text path, query, body; /* as sent; borrowed until it is done */
    struct admin_caller caller;
    struct loop *loop;     /* of the thread that asks */
    struct worker *worker; /* the same */
    const char
        *origin; /* of Monster's deploy calls: "https://HOST" as the client has it; or NULL */
    bool has_dashboard; /* its listener serves it */
    bool is_tls;        /* the client has come by TLS, to us or to a proxy that is trusted */
    void (*done)(struct admin_call *call);

    /* the answer */
    bool follows, events; /* it is an endless one: lines, or events, of the deployment <id> */
    uint64_t after;       /* from there on */
    int status;
    const char *content_type;
    char allow[40];                          /* with 405: the methods; else empty */
    char cookie[SESSION_PERSON_BYTES + 128]; /* to set; or empty */
    struct buffer out; /* buffer_init() before, buffer_done() after, by the caller */

    /* the API's own */
    const struct admin_route *route;
    struct directory *directory;    /* in force, while it is answered */
    char id[ADMIN_SEGMENT_BYTES];   /* what stood for {id} in the path, its escapes resolved */
    struct foresight *foresight;    /* explain.h: what the ledger's desk has yet to add */
    char name[ADMIN_SEGMENT_BYTES]; /* and for {name}, behind it */
    struct errand errand;
    struct admin_call *next;
};

/* Is <path> one of ours (/admin/v1 or below)? */
bool admin_is_path(struct text path);

/* Answer <call>. True: it is answered now. False: <done> will be called on <loop>. Refuses methods
 * (405), paths (404), unknown parameters (400) and what the role does not allow (403) by itself.
 * HEAD is answered like GET. */
bool admin_ask(struct service *service, struct admin_call *call);

/* Too many follow already: the answer is that. */
void admin_problem_too_many(struct admin_call *call);

/* Whose is <key>: the admin key's, or one of admin.keys? Constant time. False: nobody's. */
bool admin_know_key(const struct service *service, const struct config *config, struct text key,
                    struct admin_caller *caller);

/* Whose is the session that <head>, of a browser that has come by TLS or not, has a cookie of?
 * False: nobody's. */
bool admin_know_session(const struct service *service, const struct config *config,
                        const struct head *head, bool is_tls, struct admin_caller *caller);

/* Begin the session of <person>, whom the provider of admin.oidc knows: its cookie, to set. */
void admin_session_of_person(struct service *service, const struct config *config,
                             const struct session_person *person, bool is_tls, char *cookie,
                             size_t bytes);

/* The ticket of a sign-in by that provider (oidc_protocol.h): make one; is <ticket> one of ours, or
 * of another sluice with the same secret, that is good at <now_s>? */
void admin_sign_in_ticket(const struct service *service, int64_t now_s, char *ticket);
bool admin_know_ticket(const struct service *service, struct text ticket, int64_t now_s);

/* May the process behind this connection of the admin socket ask (same user, or root)? */
bool admin_know_peer(int fd, struct admin_caller *caller);
