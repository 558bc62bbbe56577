/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "gateway/base/log.h"
#include "policy/directory_view.h"

static struct text text_of_digest(const struct digest *digest)
{
    return (struct text){(const char *)digest->bytes, sizeof(digest->bytes)};
}

/* ----------------------------------------------------------------------------- records */

static void ref_record(void *of)
{
    struct roster_record *record = of;
    atomic_fetch_add_explicit(&record->references, 1, memory_order_relaxed);
}

static void unref_record(void *of)
{
    struct roster_record *record = of;
    if (atomic_fetch_sub_explicit(&record->references, 1, memory_order_acq_rel) > 1)
        return;
    arena_done(&record->arena);
    memory_free(record);
}

static const struct trie_type record_type = {ref_record, unref_record};

struct roster_record *roster_record_ref(struct roster_record *record)
{
    ref_record(record);
    return record;
}

void roster_record_unref(struct roster_record *record)
{
    unref_record(record);
}

struct digest member_place(const struct digest *owner_hash, enum record_of kind, struct text name)
{
    struct digest place, hash = hash_sha256(name);
    memcpy(place.bytes, owner_hash->bytes, 16);
    place.bytes[16] = kind == RECORD_TENANT ? 't' : 'k';
    memcpy(place.bytes + 17, hash.bytes, 15);
    return place;
}

void roster_record_seal(struct roster_record *record)
{
    static atomic_uint_fast64_t numbers;
    record->number = atomic_fetch_add_explicit(&numbers, 1, memory_order_relaxed);
    record->owner_hash = hash_sha256(record->owner);
    record->place = member_place(&record->owner_hash, record->kind, record->name);
    record->by_id = (struct leaf){record->id, record};
    record->by_place = (struct leaf){text_of_digest(&record->place), record};
    record->by_secret = (struct leaf){text_of_digest(&record->digest), record};
    record->by_old = (struct leaf){text_of_digest(&record->old_digest), record};
}

/* ---------------------------------------------------------------------- the file's part */

static struct declared *declared_new(const struct roster_file *file)
{
    struct declared *declared = memory_new(sizeof(*declared));
    declared->references = 1;
    declared->file = *file;
    if (file->owner)
        file->owner_ref(file->owner);
    declared->keys = keys_new(file->keys, file->key_count, NULL);
    declared->digests = memory_new((file->key_count + 1) * sizeof(*declared->digests));
    table_init(&declared->tenants);
    table_init(&declared->places);
    table_reserve(&declared->tenants, file->tenant_count);
    table_reserve(&declared->places, file->key_count);
    for (size_t i = 0; i < file->tenant_count; i++)
        table_set(&declared->tenants, file->tenants[i].name, (void *)(uintptr_t)&file->tenants[i]);
    const struct tenant *tenant = NULL;
    struct digest owner = {{0}};
    for (size_t i = 0; i < file->key_count; i++) {
        const struct key *key = &file->keys[i];
        if (!tenant || tenant != key->tenant) /* those of one stand together */
            owner = hash_sha256(key->tenant->name);
        tenant = key->tenant;
        declared->digests[i] = member_place(&owner, RECORD_KEY, key->name);
        table_set(&declared->places, text_of_digest(&declared->digests[i]), (void *)(uintptr_t)key);
    }
    return declared;
}

static void declared_unref(struct declared *declared)
{
    if (atomic_fetch_sub_explicit(&declared->references, 1, memory_order_acq_rel) > 1)
        return;
    keys_free(declared->keys);
    table_done(&declared->tenants);
    table_done(&declared->places);
    memory_free(declared->digests);
    if (declared->file.owner)
        declared->file.owner_unref(declared->file.owner);
    memory_free(declared);
}

/* ------------------------------------------------------------------------------- domains */

static struct domain *find_domain(const struct directory *directory, const struct digest *hash)
{
    return trie_find(&directory->domains, text_of_digest(hash));
}

/* The first member of the owner with this hash, a key if there is one; NULL when there is none. */
static struct roster_record *first_member(const struct directory *directory,
                                          const struct digest *owner)
{
    struct text below = {(const char *)owner->bytes, 16};
    const struct leaf *leaf = trie_after(&directory->members, below);
    return leaf && text_starts(leaf->key, below) ? leaf->of : NULL;
}

/* The next tenant in it behind <place> (empty = the first); NULL after the last. */
static struct roster_record *next_tenant(const struct directory *directory,
                                         const struct digest *owner, struct text place)
{
    struct digest begin = *owner;
    begin.bytes[16] = 't';
    struct text below = {(const char *)begin.bytes, 17};
    const struct leaf *leaf = trie_after(&directory->members, place.len ? place : below);
    return leaf && text_starts(leaf->key, below) ? leaf->of : NULL;
}

static void put_domain(struct directory *directory, struct domain *domain)
{
    trie_put(&directory->domains, domain_leaf(domain));
    domain_type.unref(domain);
}

/* Of the file, or of a record whose parent has one. NULL: it hangs in the air. */
static struct domain *make_domain(const struct directory *directory, struct text name)
{
    const struct tenant *declared = table_find(&directory->declared->tenants, name);
    if (declared) {
        struct digest above = hash_sha256(declared->parent ? declared->parent->name : TEXT(""));
        return domain_new(declared, NULL, find_domain(directory, &above));
    }
    struct roster_record *record = trie_find(&directory->tenants, name);
    if (!record)
        return NULL;
    struct domain *parent = find_domain(directory, &record->owner_hash);
    if (record->owner.len && (!parent || domain_tenant(parent)->depth + 1 >= TENANT_DEPTH_MAX))
        return NULL;
    return domain_new(NULL, record, parent);
}

/*
 * Make the domain of <name> anew, and all in it. <depth> ends circles, which come about when the
 * file takes a tenant away and somebody has made another of its name meanwhile.
 */
static void renew_domain(struct directory *directory, struct text name, unsigned depth)
{
    struct digest hash = hash_sha256(name);
    struct domain *domain = make_domain(directory, name);
    struct text place = {"", 0};
    struct roster_record *member;
    if (!domain && !trie_remove(&directory->domains, text_of_digest(&hash)))
        return;
    if (domain)
        put_domain(directory, domain);
    if (depth >= TENANT_DEPTH_MAX)
        return;
    while ((member = next_tenant(directory, &hash, place)) != NULL) {
        place = member->by_place.key;
        if (!table_find(&directory->declared->tenants, member->name))
            renew_domain(directory, member->name, depth + 1);
    }
}

void directory_log_aside(const struct directory *directory)
{
    const struct roster_file *file = &directory->declared->file;
    for (size_t i = 0; i < file->tenant_count; i++)
        if (trie_find(&directory->tenants, file->tenants[i].name))
            log_line(LOG_WARN, "keys",
                     "the tenant \"%.*s\" of the file counts, and not the one made through the API",
                     TEXT_ARGS(file->tenants[i].name));
    for (size_t i = 0; i < file->key_count; i++)
        if (trie_find(&directory->members, text_of_digest(&directory->declared->digests[i])))
            log_line(
                LOG_WARN, "keys",
                "the key \"%.*s\" of the tenant \"%.*s\" in the file counts, and not the one made "
                "through the API",
                TEXT_ARGS(file->keys[i].name), TEXT_ARGS(file->keys[i].tenant->name));
}

/* From the file's tenants and the topmost of the store down: what is not reached has none. */
static void renew_all_domains(struct directory *directory)
{
    const struct roster_file *file = &directory->declared->file;
    struct digest nobody = hash_sha256(TEXT(""));
    struct text place = {"", 0};
    struct roster_record *member;
    trie_done(&directory->domains);
    for (unsigned depth = 0; depth < TENANT_DEPTH_MAX; depth++)
        for (size_t i = 0; i < file->tenant_count; i++)
            if (file->tenants[i].depth == depth)
                renew_domain(directory, file->tenants[i].name, 0);
    while ((member = next_tenant(directory, &nobody, place)) != NULL) {
        place = member->by_place.key;
        if (!table_find(&directory->declared->tenants, member->name))
            renew_domain(directory, member->name, 0);
    }
}

/* --------------------------------------------------------------------------- making views */

/* <declared>: its reference is taken. */
static struct directory *begin(struct declared *declared)
{
    struct directory *directory = memory_new(sizeof(*directory));
    directory->references = 1;
    directory->version = 1;
    directory->declared = declared;
    trie_init(&directory->tenants, &record_type);
    trie_init(&directory->keys, &record_type);
    trie_init(&directory->secrets, &record_type);
    trie_init(&directory->members, &record_type);
    trie_init(&directory->revoked, &record_type);
    trie_init(&directory->domains, &domain_type);
    renew_all_domains(directory);
    return directory;
}

struct directory *directory_new(const struct roster_file *file)
{
    return begin(declared_new(file));
}

static struct declared *declared_ref(struct declared *declared)
{
    atomic_fetch_add_explicit(&declared->references, 1, memory_order_relaxed);
    return declared;
}

struct directory *directory_blank(const struct directory *like)
{
    return begin(declared_ref(like->declared));
}

struct directory *directory_copy(const struct directory *before)
{
    struct directory *directory = memory_new(sizeof(*directory));
    directory->references = 1;
    directory->version = before->version + 1;
    directory->gains = before->gains;
    directory->mark = before->mark;
    directory->unknown = before->unknown;
    directory->declared = declared_ref(before->declared);
    trie_copy(&directory->tenants, &before->tenants);
    trie_copy(&directory->keys, &before->keys);
    trie_copy(&directory->secrets, &before->secrets);
    trie_copy(&directory->members, &before->members);
    trie_copy(&directory->revoked, &before->revoked);
    trie_copy(&directory->domains, &before->domains);
    return directory;
}

void directory_set_file(struct directory *directory, const struct roster_file *file)
{
    declared_unref(directory->declared);
    directory->declared = declared_new(file);
    renew_all_domains(directory);
}

/* Only where it is <record> that stands there: another may have taken the place. */
static void take_out(struct trie *trie, const struct leaf *leaf)
{
    if (trie_find(trie, leaf->key) == leaf->of)
        trie_remove(trie, leaf->key);
}

static void forget_key(struct directory *directory, struct roster_record *record)
{
    take_out(&directory->secrets, &record->by_secret);
    if (record->has_old)
        take_out(&directory->secrets, &record->by_old);
    take_out(&directory->members, &record->by_place);
    take_out(&directory->revoked, &record->by_place);
    struct domain *domain = find_domain(directory, &record->owner_hash);
    if (domain && domain_note_stale(domain))
        renew_domain(directory, record->owner, 0);
}

static void put_key(struct directory *directory, struct roster_record *record)
{
    struct roster_record *before = trie_find(&directory->keys, record->id);
    if (before)
        forget_key(directory, before);
    trie_put(&directory->keys, &record->by_id);
    if (record->revoked_us) {
        trie_put(&directory->revoked, &record->by_place);
        return;
    }
    trie_put(&directory->members, &record->by_place);
    trie_put(&directory->secrets, &record->by_secret);
    if (record->has_old)
        trie_put(&directory->secrets, &record->by_old);
}

static void put_tenant(struct directory *directory, struct roster_record *record)
{
    struct roster_record *before = trie_find(&directory->tenants, record->id);
    if (before)
        take_out(&directory->members, &before->by_place);
    trie_put(&directory->members, &record->by_place);
    trie_put(&directory->tenants, &record->by_id);
    if (!table_find(&directory->declared->tenants, record->name))
        renew_domain(directory, record->name, 0);
}

void directory_put(struct directory *directory, struct roster_record *record)
{
    (record->kind == RECORD_TENANT ? put_tenant : put_key)(directory, record);
}

void directory_drop(struct directory *directory, enum record_of kind, struct text id)
{
    struct roster_record *record = directory_record(directory, kind, id);
    if (!record)
        return;
    roster_record_ref(record);
    if (kind == RECORD_KEY) {
        forget_key(directory, record);
        trie_remove(&directory->keys, record->id);
    } else {
        take_out(&directory->members, &record->by_place);
        trie_remove(&directory->tenants, record->id);
        if (!table_find(&directory->declared->tenants, record->name))
            renew_domain(directory, record->name, 0);
    }
    roster_record_unref(record);
}

struct directory *directory_ref(struct directory *directory)
{
    atomic_fetch_add_explicit(&directory->references, 1, memory_order_relaxed);
    return directory;
}

void directory_unref(struct directory *directory)
{
    if (atomic_fetch_sub_explicit(&directory->references, 1, memory_order_acq_rel) > 1)
        return;
    trie_done(&directory->domains);
    trie_done(&directory->secrets);
    trie_done(&directory->members);
    trie_done(&directory->revoked);
    trie_done(&directory->keys);
    trie_done(&directory->tenants);
    declared_unref(directory->declared);
    memory_free(directory);
}

/* --------------------------------------------------------------------------------- asking */

uint64_t directory_version(const struct directory *directory)
{
    return directory->version;
}

bool directory_has_file_of(const struct directory *directory, const struct directory *other)
{
    return directory->declared == other->declared;
}

bool directory_has_gained(const struct directory *directory, const struct directory *other)
{
    return directory->gains != other->gains;
}

bool directory_has_stored(const struct directory *directory)
{
    return directory->members.count > 0;
}

bool directory_is_unknown(const struct directory *directory)
{
    return directory->unknown;
}

/* What is equal is shared: see trie.h. */
bool directory_has_tenants_of(const struct directory *directory, const struct directory *other)
{
    return directory_has_file_of(directory, other) &&
           directory->domains.root == other->domains.root;
}

static void share(struct trie *trie, const struct trie *from)
{
    trie_done(trie);
    trie_copy(trie, from);
}

struct directory *directory_with_keys(struct directory *base, const struct directory *later)
{
    struct directory *next = directory_copy(base);
    next->version = base->version;
    next->gains = later->gains;
    next->unknown = later->unknown;
    share(&next->keys, &later->keys);
    share(&next->secrets, &later->secrets);
    share(&next->members, &later->members);
    share(&next->revoked, &later->revoked);
    return next;
}

/* Until when <digest> opens it: never, the end of the key, or that of the overlap. */
static bool is_open(const struct roster_record *record, const struct digest *digest,
                    int64_t wall_us)
{
    bool is_now = hash_same(digest, &record->digest);
    bool is_old = record->has_old && hash_same(digest, &record->old_digest);
    if (!is_now && !(is_old && wall_us < record->overlap_until_us))
        return false;
    return record->expires_us == 0 || wall_us < record->expires_us;
}

static const struct key *find_stored(const struct directory *directory, const struct digest *digest,
                                     int64_t wall_us)
{
    static struct roster_record nobody;
    struct roster_record *record = trie_find(&directory->secrets, text_of_digest(digest));
    /* An unknown key takes the same comparisons as a known one. */
    bool open = is_open(record ? record : &nobody, digest, wall_us);
    struct domain *domain = find_domain(directory, record ? &record->owner_hash : digest);
    if (!record || !open || !domain || domain_is_closed(domain))
        return NULL;
    return domain_key(domain, directory->declared, record);
}

static bool is_closed(const struct tenant *tenant)
{
    for (; tenant; tenant = tenant->parent)
        if (tenant->is_off)
            return true;
    return false;
}

const struct key *directory_find_key(const struct directory *directory, struct text secret,
                                     int64_t wall_us)
{
    struct digest digest = hash_sha256(secret);
    const struct key *declared = keys_find_digest(directory->declared->keys, &digest, wall_us);
    const struct key *stored = find_stored(directory, &digest, wall_us);
    memory_wipe(&digest, sizeof(digest));
    if (secret.len == 0)
        return NULL;
    if (declared)
        return is_closed(declared->tenant) ? NULL : declared;
    return stored;
}

const struct tenant *directory_find_tenant(const struct directory *directory, struct text name)
{
    struct digest hash = hash_sha256(name);
    const struct domain *domain = find_domain(directory, &hash);
    return domain ? domain_tenant(domain) : NULL;
}

const struct key *directory_find_named(const struct directory *directory, struct text tenant,
                                       struct text name)
{
    const struct key *declared = directory_file_key(directory, tenant, name);
    struct roster_record *record = declared ? NULL : directory_member(directory, tenant, name);
    struct domain *domain = record ? find_domain(directory, &record->owner_hash) : NULL;
    return domain ? domain_key(domain, directory->declared, record) : declared;
}

size_t directory_find_secrets(const struct directory *directory, struct text tenant,
                              struct text name, int64_t wall_us,
                              struct digest secrets[KEY_SECRETS_MAX], const struct key **key)
{
    const struct key *declared = directory_file_key(directory, tenant, name);
    struct roster_record *record = declared ? NULL : directory_member(directory, tenant, name);
    struct domain *domain = record ? find_domain(directory, &record->owner_hash) : NULL;
    size_t count = 0;
    *key = declared;
    if (declared) {
        bool is_over = declared->expires_us && wall_us >= declared->expires_us;
        if (!is_over && !is_closed(declared->tenant))
            secrets[count++] = declared->digest;
        return count;
    }
    if (!domain || domain_is_closed(domain))
        return 0;
    if (is_open(record, &record->digest, wall_us))
        secrets[count++] = record->digest;
    if (record->has_old && is_open(record, &record->old_digest, wall_us))
        secrets[count++] = record->old_digest;
    *key = domain_key(domain, directory->declared, record);
    return *key ? count : 0;
}

struct key_walk {
    const struct directory *directory;
    void (*see)(void *with, const struct key *key);
    void *with;
};

static void see_stored(void *of, const struct leaf *leaf)
{
    const struct key_walk *walk = of;
    const struct roster_record *record = leaf->of;
    const struct domain *domain = find_domain(walk->directory, &record->owner_hash);
    struct key key;
    if (!record->revoked_us && domain &&
        domain_describe(domain, walk->directory->declared, record, &key))
        walk->see(walk->with, &key);
}

void directory_each_key(const struct directory *directory,
                        void (*see)(void *with, const struct key *key), void *with)
{
    const struct roster_file *file = &directory->declared->file;
    for (size_t i = 0; i < file->key_count; i++)
        see(with, &file->keys[i]);
    trie_each(&directory->keys, see_stored, &(struct key_walk){directory, see, with});
}

void directory_each_tenant(const struct directory *directory,
                           void (*see)(void *with, const struct tenant *tenant), void *with)
{
    const struct leaf *leaf = NULL;
    while ((leaf = trie_after(&directory->domains, leaf ? leaf->key : TEXT(""))) != NULL)
        see(with, domain_tenant(leaf->of));
}

struct roster_record *directory_record(const struct directory *directory, enum record_of kind,
                                       struct text id)
{
    return trie_find(kind == RECORD_TENANT ? &directory->tenants : &directory->keys, id);
}

struct roster_record *directory_member(const struct directory *directory, struct text tenant,
                                       struct text name)
{
    struct digest owner = hash_sha256(tenant), place = member_place(&owner, RECORD_KEY, name);
    return trie_find(&directory->members, text_of_digest(&place));
}

struct roster_record *directory_member_like(const struct directory *directory,
                                            const struct roster_record *key)
{
    return trie_find(&directory->members, key->by_place.key);
}

struct roster_record *directory_revoked_like(const struct directory *directory,
                                             const struct roster_record *key)
{
    return trie_find(&directory->revoked, key->by_place.key);
}

const struct roster_record *directory_any_member(const struct directory *directory,
                                                 struct text tenant)
{
    struct digest owner = hash_sha256(tenant);
    return first_member(directory, &owner);
}

struct roster_record *directory_next(const struct directory *directory, enum record_of kind,
                                     struct text id)
{
    const struct leaf *leaf =
        trie_after(kind == RECORD_TENANT ? &directory->tenants : &directory->keys, id);
    return leaf ? leaf->of : NULL;
}

const struct tenant *directory_file_tenant(const struct directory *directory, struct text name)
{
    return table_find(&directory->declared->tenants, name);
}

const struct key *directory_file_key(const struct directory *directory, struct text tenant,
                                     struct text name)
{
    struct digest owner = hash_sha256(tenant), place = member_place(&owner, RECORD_KEY, name);
    return table_find(&directory->declared->places, text_of_digest(&place));
}
