/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * deploy_store - deployments made, changed and removed at run time: checked as the file is, written
 * down, put in force. Inside gateway; the service's thread.
 *
 * First the configuration is loaded as it would be with the change; if that is good, the change is
 * written (on disk before anything else happens), then put in force on all workers. Whatever dies
 * between the two, the next start has it.
 */

#include "deploy/models/deployment.h"
#include "gateway/base/buffer.h"
#include "gateway/base/text.h"
#include "gateway/made/made.h"

struct service;

/* One change: what is asked for, and what came of it. */
struct deploy_change {
    const char *by;                /* who asks */
    struct text if_match;          /* only if this is its version; empty = whatever it is */
    struct text id, tenant, token; /* of one that is made: by default the name, nobody's, none */
    char name[SPEC_NAME_MAX + 1];  /* of the deployment; in: which one, out: which one it was */

    int status; /* 0 = it is done; else why not, for people: */
    char words[400], field[64];
    struct buffer errors; /* JSON objects with commas between; to be freed by the caller */
};

/* <document>: one entry of deployments.models, as JSON. 201. */
void deploy_store_create(struct service *service, struct text document,
                         struct deploy_change *change);
/* <patch>: a merge patch (RFC 7396) of its document. */
void deploy_store_patch(struct service *service, struct text patch, struct deploy_change *change);
void deploy_store_delete(struct service *service, struct deploy_change *change);

/* Would a replica of <document> have a place? Nothing is made. */
struct deploy_fit {
    bool fits;
    char words[400];
};
void deploy_store_fit(struct service *service, struct text document, struct deploy_change *change,
                      struct deploy_fit *fit);
