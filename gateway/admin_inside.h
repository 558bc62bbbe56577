/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* admin, from inside: what its parts share. For admin*.c and service.c only. */

#include "gateway/admin.h"
#include "gateway/base/json_write.h"
#include "policy/ledger.h"
#include "policy/limits.h"

/* Which thread answers. */
enum admin_place {
    ON_WORKER,  /* at once */
    ON_SERVICE, /* what only the service's own thread may do */
    ON_ROSTER,  /* what asks the store of keys, and may wait for it */
    ON_LEDGER,  /* what reads the ledger */
};

typedef void admin_answer(struct service *service, struct config *config, struct admin_call *call);

enum {
    MAY_ADMIN = 1 << ADMIN_ROLE_ADMIN,
    MAY_VIEWER = 1 << ADMIN_ROLE_VIEWER,
    MAY_TENANT = 1 << ADMIN_ROLE_TENANT
};

struct admin_route {
    struct text path; /* below /admin/v1; "{id}" stands for one segment */
    enum method method;
    unsigned may; /* roles */
    enum admin_place place;
    admin_answer *answer;
    struct text query; /* the parameters it takes, with commas between */
    bool changes;      /* refused under admin.read_only */
    bool takes_body;   /* else one that says anything is refused */
};

/* Answer a call that was put off, on the thread it was put off to. */
void admin_work(struct service *service, struct admin_call *call);

/* ------------------------------------------------------------------------- admin_answer.c */

/* Put a problem (RFC 9457) in the place of the answer. */
void admin_problem(struct admin_call *call, int status, struct text detail);
/* The same; <field> is the member of the body or the parameter that is wrong. */
void admin_field_problem(struct admin_call *call, int status, const char *field,
                         struct text detail);
/* 200 and JSON, or 500 when it did not fit. */
void admin_done(struct admin_call *call, const struct json_write *json);

/* The value of a parameter, its escapes resolved, in <room>; empty when it was not given. False,
 * and the problem is set, when it cannot be read. */
enum { ADMIN_VALUE_BYTES = 1024 };
bool admin_value(struct admin_call *call, const char *name, char room[ADMIN_VALUE_BYTES],
                 struct text *value);
/* Resolve the escapes of <raw> into <room>, closed with a NUL. False when it is longer, or no
 * printable text. */
bool admin_decode(struct text raw, bool plus_is_space, char *room, size_t bytes, size_t *length);
/* The parameter <limit>: 1 to 500, 100 when it was not given. */
bool admin_limit(struct admin_call *call, size_t *limit);

/* ------------------------------------------------------------------------- admin_filter.c */

/* Tenants that the caller may see, of those that he asked for; during the call. */
struct admin_sight {
    const struct directory *directory;
    struct text role_tenant, asked; /* below these; empty = no bound */
    char last[ADMIN_VALUE_BYTES];   /* the last name that was looked at */
    size_t last_len;
    bool last_seen, has_last;
};
bool admin_sees(void *sight, struct text tenant);
void admin_sight_init(struct admin_sight *sight, const struct admin_call *call, struct text asked);

/* The parameters that say which calls are meant, and what the role leaves of them. */
struct admin_filter {
    struct call_filter calls;
    struct admin_sight sight;
    char rooms[FILTER_NAMES][ADMIN_VALUE_BYTES];
};
/* False, and the problem is set, when one is wrong. <filter> must stay where it is. */
bool admin_filter_read(struct admin_call *call, struct admin_filter *filter);

/* The parameters since and until, as texts. */
struct admin_times {
    struct text since, until;
    char rooms[2][ADMIN_VALUE_BYTES];
};
bool admin_times_read(struct admin_call *call, struct text since_default,
                      struct admin_times *times);

/* The parameter nodes: *ledger is that of the service when other nodes are meant, too, else NULL.
 */
bool admin_nodes_read(struct service *service, struct admin_call *call, struct ledger **ledger);

/* ------------------------------------------------------------------------- admin_who.c */

void admin_set_caller(struct admin_caller *caller, enum admin_role role, struct text name,
                      struct text tenant);
/* 32 bytes that are kept in a file of mode 0600. Read: false with errno when there are none. Write:
 * all of it or nothing, never over a file that is there. */
bool admin_read_digest(const char *path, struct digest *digest);
bool admin_write_digest(const char *path, const struct digest *digest);

/* ------------------------------------------------------------------------- the answers */

admin_answer admin_overview, admin_models, admin_targets, admin_drain; /* admin_overview.c */
admin_answer admin_config, admin_config_diff, admin_config_reload;     /* admin_config.c */
admin_answer admin_usage, admin_series, admin_requests, admin_request;
admin_answer admin_content_delete;       /* admin_content.c */
admin_answer admin_percentiles;          /* admin_percentiles.c */
admin_answer admin_replay;               /* admin_replay.c */
admin_answer admin_roster, admin_limits; /* admin_keys.c, admin_limits.c */
/* admin_deployments.c */
admin_answer admin_deployments, admin_deployment, admin_deployment_create, admin_deployment_patch;
admin_answer admin_deployment_delete, admin_deployment_order, admin_deployment_revisions;
admin_answer admin_deployment_adapters, admin_deployment_adapter_add, admin_deployment_adapter_drop;
admin_answer admin_deployment_logs, admin_deployment_events;
admin_answer admin_placement, admin_placement_simulate;
admin_answer admin_events, admin_openapi, admin_explain;
admin_answer admin_session, admin_session_begin, admin_session_end; /* admin_session.c */
admin_answer admin_jobs, admin_job, admin_job_cancel;               /* admin_jobs.c */

/* What was said in the call of <row>, as a value: an object, or null when nothing of it is kept
 * here. Reads a file. */
void admin_content_write(struct service *service, const struct ledger_row *row,
                         struct json_write *json);

/* What a limit of that kind counts: "requests", "tokens", "calls", "nanos". */
const char *admin_limit_unit(enum limit_kind kind);

/* The ledger could not be read, or too much was asked. */
void admin_ledger_problem(struct admin_call *call, const struct fault *fault);
