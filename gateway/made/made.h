/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * made - deployments that were made at run time (admin API, Monster's deploy calls), as they lie in
 * STATE/deployments.db, which is there once anything was made. Inside gateway; the service's
 * thread.
 *
 * With a Redis (made_share()) that has them, and the file is what this node has seen of it: what is
 * changed is changed there first, and only if nobody else has changed it since; made_pull() takes
 * over what others did. Where the store has begun empty, or has forgotten its last changes, it gets
 * from each node what it lacks.
 *
 * Each is a document: the JSON of one entry of deployments.models. Whoever loads the configuration
 * puts them behind those of the file, so that they are checked and put in force in the same way.
 */

#include "gateway/base/fault.h"
#include "gateway/base/memory.h"
#include "gateway/base/text.h"

struct made_deployment {
    struct text name;
    struct text id;       /* what Monster's calls and /d/{id}/ know it by */
    struct text tenant;   /* whose it is; empty = the operator's */
    struct text token;    /* opens its own endpoint; or empty */
    struct text document; /* JSON, with its name and its secrets */
    struct text by;       /* who changed it last */
    int64_t version;      /* counts its changes, from 1 */
    int64_t made_us, changed_us;
};

struct made_list {
    struct arena arena;
    struct made_deployment *at;
    size_t count;
};

struct made; /* the store */

enum { MADE_SCHEMA = 4 }; /* the version of its file */

/* NULL and *fault when the file cannot be used. */
struct made *made_open(const char *state, struct fault *fault);
void made_close(struct made *made);

/* All there are, by name. An empty list where there is no store. Free with made_list_free(). */
struct made_list *made_read(struct made *made);
void made_list_free(struct made_list *list);
/* A copy with <more> (NULL = none) in the place of what has its name, or behind the others, and
 * without <less> (empty = all stay). */
struct made_list *made_list_with(const struct made_list *list, const struct made_deployment *more,
                                 struct text less);
const struct made_deployment *made_find(const struct made_list *list, struct text name);

/* Write <one> as its next version. On disk when it returns; false: nothing was changed, with
 * FAULT_CONFLICT because another node has changed it meanwhile, FAULT_STORE_AWAY because the store
 * is away (then it may have been changed all the same, which made_pull() finds out). */
bool made_put(struct made *made, const struct made_deployment *one, struct fault *fault);
/* <one> as it was read. */
bool made_remove(struct made *made, const struct made_deployment *one, struct fault *fault);

struct made_redis;
/* What is in Redis counts from now on; borrowed. */
void made_share(struct made *made, struct made_redis *shared);
enum made_pulled { MADE_SAME, MADE_CHANGED, MADE_AWAY };
/* Take over what others have changed. MADE_SAME where nothing is shared. */
enum made_pulled made_pull(struct made *made);

/* What was removed in the last day: its name, id and tenant, in the memory of <list>. */
bool made_find_ended(struct made *made, struct text id, struct made_list *list,
                     struct made_deployment *ended);

/* Its documents, the newest first; only those of the last MADE_VERSIONS are kept. */
enum { MADE_VERSIONS = 20 };
struct made_list *made_versions(struct made *made, struct text name);

/* What was ordered of one, of the file's too, and holds over restarts. */
struct made_order {
    struct text name;
    bool stopped, pinned, unpinned;
    int64_t low, high; /* -1 = as the spec says */
};
bool made_order_put(struct made *made, const struct made_order *order, struct fault *fault);
struct made_order made_order_of(struct made *made, struct text name);

/* What became of a declared revision that does not serve, of the file's too, in the words of
 * deployments_verdicts(); <words> empty: there is nothing to be said of it any more. */
bool made_verdict_put(struct made *made, struct text name, struct text words, struct fault *fault);
/* All there are: lines of "<name> <words>". */
struct text made_verdicts(struct made *made, struct arena *arena);

/* What deployments have spent, as deployments_spent() says it; of this node alone. */
bool made_keep_spent(struct made *made, struct text lines, struct fault *fault);
struct text made_spent(struct made *made, struct arena *arena);
