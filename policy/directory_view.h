/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * directory, from inside: what a view is made of. For directory.c and roster*.c only.
 *
 * A record is one tenant or key as the store has it: read once, never changed, counted (any
 * thread). A view holds the records it was made of and the owner of the file's part.
 */

#include <stdatomic.h>

#include "gateway/base/memory.h"
#include "policy/directory.h"

enum record_of { RECORD_TENANT, RECORD_KEY };

struct roster_record {
    atomic_uint references;
    enum record_of kind;
    struct arena arena; /* everything below borrows from it */
    struct text id;     /* a tenant's name, or "key_…" */
    struct text name;   /* of a key within its tenant; of a tenant the same as id */
    struct text owner;  /* a key's tenant, a tenant's parent; empty = topmost */
    struct text body;   /* the JSON that the store has */
    struct text *models;
    size_t model_count;
    struct text tags; /* its own: "k=v,k=v" */
    struct limit_list limits, user_limits;
    unsigned may_set; /* bits: tags, policy, explain */
    bool off;         /* of a tenant */
    struct digest digest, old_digest;
    bool has_old;
    int64_t expires_us, overlap_until_us, revoked_us, created_us; /* 0 = none */
    uint64_t version;                                             /* of this record in the store */
};

struct roster_record *roster_record_ref(struct roster_record *record);
void roster_record_unref(struct roster_record *record);

/* Make a view of the file's part and of <records> (each is given a reference of the view's own).
 * What hangs on a tenant that does not exist, or has a name that the file has, too, is left out. */
struct directory *directory_new(const struct roster_file *file,
                                struct roster_record *const *records, size_t count);
