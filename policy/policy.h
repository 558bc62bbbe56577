/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * policy - tenants and keys: the words of the folder. One of its doors; the others are
 * directory.h (who calls), limits.h (how much), guard.h (what), cache.h (again?), ledger.h (what
 * was used).
 *
 * Pure: no I/O, no clock.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/hash.h"
#include "gateway/base/text.h"
#include "policy/limits.h"
#include "providers/call.h"

/* -------------------------------------------------------------------------------------- who may */

enum { TENANT_DEPTH_MAX = 8, TENANT_TAGS_MAX = 255 };

/* A long list of allowed models, made ready to be looked up in; NULL = none was made, and the list
 * itself is looked through. */
struct model_index;

/* A tenant: an organisation, a team in one, a project in that. All texts live as long as what
 * declares it: the configuration or the directory. */
struct tenant {
    struct text name;            /* unique among all tenants */
    const struct tenant *parent; /* NULL = topmost */
    unsigned depth;              /* of the topmost 0; less than TENANT_DEPTH_MAX */
    struct text *models; /* allowed names; patterns with '*'. None: the topmost allows nothing, a
                            nested one what its parent does; never more than its parent does */
    size_t model_count;
    const struct model_index *model_index;
    struct text tags;              /* "k=v,k=v", its own and those above, noted with every call */
    struct limit_list limits;      /* of all its calls and those of the tenants in it, together */
    struct limit_list user_limits; /* of each of its end users */
    bool may_deploy;               /* by Monster's deploy calls; not inherited */
    bool may_set_tags, may_set_policy, may_set_explain;
    bool no_capture; /* what its calls say is kept nowhere; of those below it, neither */
    const struct text *residency; /* tags that a target must have to see its calls; those of all
                                     tenants above count, too */
    size_t residency_count;
    /* Of one that was made through the API: <name>#<letters that no other one has>, and when it was
     * made. Empty and 0 = declared in the file. See tenant_scope(). */
    struct text scope;
    int64_t made_us; /* wall clock */
    bool is_stored;  /* made through the API, not declared in the file */
    bool is_off;     /* its keys open nothing */
};

/* How the names of keys begin that tokens are; no other key's name does. */
#define TOKEN_KEY_BEGIN "token:"

/* A key. */
struct key {
    struct text name;
    struct digest digest; /* SHA-256 of the secret */
    const struct tenant *tenant;
    struct text *models; /* narrower than the tenant's; none given = all of the tenant's */
    size_t model_count;
    const struct model_index *model_index;
    struct limit_list limits;
    struct text tags;   /* its own and its tenant's */
    int64_t expires_us; /* wall clock; 0 = never */
    bool is_stored;
};

struct keys;

/* Build the lookup over <keys>, which are borrowed and must outlive it. Equal digests: the first
 * counts, and *repeated (if not NULL) gets the second. */
struct keys *keys_new(const struct key *keys, size_t count, const struct key **repeated);
void keys_free(struct keys *keys);

/*
 * Whose secret has this SHA-256? NULL for a key that is unknown, or expired at <wall_us>: one
 * answer for every failure. Compares in constant time. The empty secret is nobody's: who asks sees
 * to that.
 */
const struct key *keys_find_digest(const struct keys *keys, const struct digest *digest,
                                   int64_t wall_us);

/* What the tenant owns, is answered from what was kept, and is counted under: its name; of one that
 * was made through the API it is another one for each that is made under the same name. */
struct text tenant_scope(const struct tenant *tenant);

/* The topmost tenant above <tenant>, or itself. */
const struct tenant *tenant_root(const struct tenant *tenant);

/* The index of <models>, whose texts are borrowed, in <arena>; NULL where they are few. */
struct arena;
const struct model_index *model_index_new(struct arena *arena, const struct text *models,
                                          size_t count);

/* May this key call <model> (a configured model name, or an alias it was asked by)? Its own list,
 * if it has one, and those of its tenant and of all above must name it. */
bool key_may_call(const struct key *key, struct text model);
