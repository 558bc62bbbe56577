/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * directory, from inside: what a view is made of. For directory*.c and roster*.c only.
 *
 * A record is one tenant or key as the store has it: read once, never changed, counted (any
 * thread). A view holds the file's part and indexes of records; the next view begins as a copy of
 * it, which shares what does not change (trie.h), so that a change costs the same however many keys
 * there are.
 *
 * A *domain* is a tenant in a view, with its parent and its tags. What `struct key` says of a
 * stored key hangs on the domain it is in, so it is made when the key is first used (a *seat*) and
 * kept by the domain: who changes a tenant does not touch its keys.
 */

#include <stdatomic.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "policy/directory.h"
#include "policy/trie.h"

enum record_of { RECORD_TENANT, RECORD_KEY };

enum { ROSTER_WORD_BYTES = 24 };

/* Where the store was when it was looked at last; see roster_inside.h. */
struct roster_mark {
    uint64_t number; /* of the last change; 0 = none */
    char tag[ROSTER_WORD_BYTES], life[ROSTER_WORD_BYTES];
};

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
    /* Its own, and behind the first <own_limits> those of the file's limits.default. */
    struct limit_list limits, user_limits;
    size_t own_limits;
    struct text prefix; /* of its secret */
    struct text scope;  /* of a tenant; see policy.h. Empty = made before there were any */
    unsigned may_set;   /* bits: tags, policy, explain */
    bool off;           /* of a tenant */
    struct digest digest, old_digest;
    bool has_old;
    /* 0 = none */
    int64_t expires_us, overlap_until_us, revoked_us, created_us, updated_us, rotated_us;
    uint64_t version; /* of this record in the store */

    /* for the indexes; set by roster_record_seal() */
    uint64_t number;          /* no other record of this process has it */
    struct digest owner_hash; /* SHA-256 of <owner> */
    struct digest place;      /* below whom, and which: see member_place() */
    struct leaf by_id, by_secret, by_old, by_place;
};

struct roster_record *roster_record_ref(struct roster_record *record);
void roster_record_unref(struct roster_record *record);
/* All else is there: make it ready for indexes. */
void roster_record_seal(struct roster_record *record);

/* ------------------------------------------------------------------------------ the view */

/* The file's part; counted. */
struct declared {
    atomic_uint references;
    struct roster_file file;
    struct keys *keys;
    struct table tenants, places; /* by name; keys by member_place() */
    struct digest *digests;       /* of the places */
};

struct domain;

struct directory {
    atomic_uint references;
    uint64_t version;
    uint64_t
        gains; /* how often a key has got a limit since the start: see directory_has_gained() */
    struct roster_mark mark;
    bool unknown; /* see directory_is_unknown(); never again once it is not */
    struct declared *declared;
    struct trie tenants; /* records by name */
    struct trie keys;    /* records by id, revoked ones too */
    struct trie secrets; /* records of keys by digest, old ones too; without revoked ones */
    struct trie members; /* records by place; without revoked keys */
    struct trie revoked; /* revoked keys by place; of several the last */
    struct trie domains; /* struct domain by SHA-256 of the name */
};

/* A view with the file's part and no records. */
struct directory *directory_new(const struct roster_file *file);
/* The same, with the file's part of <like>. */
struct directory *directory_blank(const struct directory *like);
/* The next view: not to be seen by anybody until it is as it should be. */
struct directory *directory_copy(const struct directory *before);
/* Put <record> in the place of the one with its id. A reference is taken. */
void directory_put(struct directory *directory, struct roster_record *record);
void directory_drop(struct directory *directory, enum record_of kind, struct text id);
/* Another file. */
void directory_set_file(struct directory *directory, const struct roster_file *file);
/* Say in the log which records are not in force because the file has their names. */
void directory_log_aside(const struct directory *directory);

/* The record with this id, or NULL; borrowed from the view. */
struct roster_record *directory_record(const struct directory *directory, enum record_of kind,
                                       struct text id);
/* The key of this name in <tenant> that is not revoked. */
struct roster_record *directory_member(const struct directory *directory, struct text tenant,
                                       struct text name);
/* The key that stands where <key> does and is not revoked; one that stood there and is. */
struct roster_record *directory_member_like(const struct directory *directory,
                                            const struct roster_record *key);
struct roster_record *directory_revoked_like(const struct directory *directory,
                                             const struct roster_record *key);
/* A tenant in <tenant>, or a key of it that is not revoked; NULL when it is empty. */
const struct roster_record *directory_any_member(const struct directory *directory,
                                                 struct text tenant);
/* Walk in the order of ids: the first record behind <id> (empty = the first). */
struct roster_record *directory_next(const struct directory *directory, enum record_of kind,
                                     struct text id);
/* What the file has; NULL when it has none of that name. */
const struct tenant *directory_file_tenant(const struct directory *directory, struct text name);
const struct key *directory_file_key(const struct directory *directory, struct text tenant,
                                     struct text name);

/* ------------------------------------------------------------------------------- domains */

/* Where <name> stands among the members of <owner>: 16 bytes of the owner's SHA-256, a letter for
 * the kind, 15 bytes of the name's. */
struct digest member_place(const struct digest *owner_hash, enum record_of kind, struct text name);

extern const struct trie_type domain_type;

/* The tenant that <domain> is. */
const struct tenant *domain_tenant(const struct domain *domain);
/* Is it, or one above it, off? */
bool domain_is_closed(const struct domain *domain);
/* A domain for a tenant of the file (<tenant>) or the store (<record>), in <parent> (NULL =
 * topmost). One reference, the caller's. */
struct domain *domain_new(const struct tenant *tenant, struct roster_record *record,
                          struct domain *parent);
struct leaf *domain_leaf(struct domain *domain);
/* A record in it was replaced: its seat, if it has one, is of no use any more. True when there are
 * so many that the domain should be made anew. */
bool domain_note_stale(struct domain *domain);
/* What <record> is as a key here; NULL when the file has a key of its name. Any thread; lives as
 * long as the domain. */
const struct key *domain_key(struct domain *domain, const struct declared *declared,
                             struct roster_record *record);
/* The same for a moment, without keeping anything; its tags are its own only. False when the file
 * has a key of its name. */
bool domain_describe(const struct domain *domain, const struct declared *declared,
                     const struct roster_record *record, struct key *key);
