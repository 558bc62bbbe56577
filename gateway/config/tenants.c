/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/table.h"
#include "gateway/config/document.h"
#include "gateway/config/scalar.h"

enum { CAPTURE_ALLOWED, CAPTURE_NONE };
enum { MAY_SET_TAGS = 1, MAY_SET_POLICY = 2, MAY_SET_EXPLAIN = 4 };

/* --------------------------------------------------------------------------- names of models */

static struct text next_model(void *with, size_t i)
{
    const struct config *config = with;
    return i < config->model_count ? config->models[i].name : (struct text){NULL, 0};
}

bool model_is_known(const struct document *document, struct text name)
{
    if (text_find_byte(name, '*') != SIZE_MAX || text_find_byte(name, '/') != SIZE_MAX ||
        (document->config.routes && routes_find(document->config.routes, name)))
        return true;
    const struct node *deployed = node_at(document->root, "deployments.models");
    for (deployed = deployed ? deployed->first : NULL; deployed; deployed = deployed->next)
        if (text_equal(node_text(node_of(deployed, "name")), name))
            return true;
    return false;
}

void say_unknown_model(struct document *document, const struct node *node, struct text name)
{
    struct problem *problem =
        problem_at_key(document, node, SEVERITY_WARNING, "there is no model \"%.*s\"",
                       TEXT_ARGS(text_head(name, SCALAR_NAME_MAX)));
    struct text near = nearest(name, next_model, &document->config);
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
}

void check_model_names(struct document *document, const struct node *list)
{
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        if (entry->kind == NODE_SCALAR && !entry->broken &&
            !model_is_known(document, node_text(entry)))
            say_unknown_model(document, entry, node_shown(entry));
}

/* ------------------------------------------------------- names of tenants, of keys, of their tags
 */

/* The names that the file has of something: every one of them, then {NULL, 0}. */
typedef struct text names_of(void *document, size_t at);

static struct text next_tenant(void *with, size_t i)
{
    const struct document *document = with;
    const struct tenant_draft *drafts = document->tenants.at;
    return i < document->tenants.count ? drafts[i].tenant.name : (struct text){NULL, 0};
}

static struct text next_key(void *with, size_t at)
{
    const struct items *tenants = &((const struct document *)with)->tenants;
    const struct tenant_draft *drafts = tenants->at;
    for (size_t i = 0; i < tenants->count; at -= drafts[i++].keys.count)
        if (at < drafts[i].keys.count)
            return ((const struct key_draft *)drafts[i].keys.at)[at].key.name;
    return (struct text){NULL, 0};
}

static struct text next_call_tag(void *with, size_t at)
{
    const struct items *tenants = &((const struct document *)with)->tenants;
    const struct tenant_draft *drafts = tenants->at;
    for (size_t i = 0; i < tenants->count; i++) {
        const struct key_draft *keys = drafts[i].keys.at;
        for (size_t k = 0; k <= drafts[i].keys.count; k++) {
            const struct items *tags = k ? &keys[k - 1].tags : &drafts[i].tags;
            if (at < tags->count)
                return ((const struct pair *)tags->at)[at].name;
            at -= tags->count;
        }
    }
    return (struct text){NULL, 0};
}

/* Tenants and keys may be made while it runs, and callers may set tags, so a name that the file
 * does not have is no mistake by itself: only one that is nearly what it has is told. */
static void check_name(struct document *document, const struct node *node, struct text name,
                       const char *what, names_of *names)
{
    enum { SLIPS = 2 };
    struct text have;
    for (size_t i = 0; (have = names(document, i)).at; i++)
        if (text_matches(have, name))
            return;
    struct text near = nearest(name, names, document);
    if (!near.at ||
        (text_distance(name, near, SLIPS + 1) > SLIPS && !text_equal_nocase(name, near)))
        return;
    struct problem *problem =
        problem_at_key(document, node, SEVERITY_WARNING, "there is no %s \"%.*s\" in the file",
                       what, TEXT_ARGS(text_head(name, SCALAR_NAME_MAX)));
    problem->hint = arena_copy(&document->arena, near).at;
}

static void check_names(struct document *document, const struct node *list, const char *what,
                        names_of *names)
{
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        if (entry->kind == NODE_SCALAR && !entry->broken)
            check_name(document, entry, node_text(entry), what, names);
}

void check_tenant_names(struct document *document, const struct node *list)
{
    check_names(document, list, "tenant", next_tenant);
}

void check_key_names(struct document *document, const struct node *list)
{
    check_names(document, list, "key", next_key);
}

void check_tag_name(struct document *document, const struct node *node, struct text name)
{
    check_name(document, node, name, "tag", next_call_tag);
}

/* --------------------------------------------------------------------------------------- tags */

/* "k=v,k=v" has no escapes. */
static bool is_tag(struct text text, bool is_key)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] == ',' || text.at[i] == '=' || (unsigned char)text.at[i] < ' ')
            return false;
    return text.len > 0 || !is_key;
}

/* Is there a pair of this name, among <count>? */
static bool has_pair(const struct pair *pairs, size_t count, struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(pairs[i].name, name))
            return true;
    return false;
}

static void append_tag(struct buffer *out, struct text tag)
{
    if (buffer_length(out))
        buffer_append_text(out, TEXT(","));
    buffer_append_text(out, tag);
}

/* What stands above and is not said anew, then its own. */
static struct text join_tags(struct document *document, struct items items, struct text above,
                             const struct node *node)
{
    enum { ALL_TAGS_MAX = 64 << 10 };
    const struct pair *pairs = items.at;
    struct text rest = above, tag;
    struct buffer out;
    if (!items.count)
        return above;
    buffer_init(&out, ALL_TAGS_MAX);
    while (text_next(&rest, ',', &tag))
        if (!has_pair(pairs, items.count, text_head(tag, text_find_byte(tag, '='))))
            append_tag(&out, tag);
    for (size_t i = 0; i < items.count; i++) {
        if (!is_tag(pairs[i].name, true) || !is_tag(pairs[i].value, false))
            problem_at_key(document, pairs[i].node, SEVERITY_ERROR,
                           "a tag has a name, and neither \",\" nor \"=\" in it or its value");
        append_tag(&out, pairs[i].name);
        buffer_append_text(&out, TEXT("="));
        buffer_append_text(&out, pairs[i].value);
    }
    size_t len = buffer_length(&out);
    if (len > TENANT_TAGS_MAX)
        problem_at_key(document, node_of(node, "tags"), SEVERITY_ERROR,
                       "\"tags\" are %zu bytes together with those above; at most %d fit", len,
                       TENANT_TAGS_MAX);
    struct text tags = arena_copy(&document->arena, text_head(buffer_text(&out), TENANT_TAGS_MAX));
    buffer_done(&out);
    return tags;
}

/* ------------------------------------------------------------------------------------ parents */

/* Tenants while it is found out who stands above whom: the one above comes first. */
struct family {
    struct document *document;
    struct table names; /* of drafts */
    unsigned char *state;
    size_t *line; /* those on the way to the topmost one, from below */
};

enum { STATE_NEW, STATE_UNDER_WAY, STATE_DONE };

static const struct tenant_draft *find_parent(const struct family *family,
                                              const struct tenant_draft *draft)
{
    struct document *document = family->document;
    if (!draft->parent.len)
        return NULL;
    const struct tenant_draft *parent = table_find(&family->names, draft->parent);
    if (parent)
        return parent;
    struct problem *problem =
        problem_at_value(document, node_of(draft->node, "parent"), SEVERITY_ERROR,
                         "there is no tenant \"%.*s\" in the file", TEXT_ARGS(draft->parent));
    struct text near = nearest(draft->parent, next_tenant, document);
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
    return NULL;
}

static void check_depth(struct document *document, const struct tenant_draft *draft,
                        const struct tenant *tenant)
{
    if (tenant->depth == TENANT_DEPTH_MAX)
        problem_at_value(document, node_of(draft->node, "parent"), SEVERITY_ERROR,
                         "the tenant \"%.*s\" would be %d deep; at most %d are",
                         TEXT_ARGS(tenant->name), TENANT_DEPTH_MAX + 1, TENANT_DEPTH_MAX);
}

static void resolve_tenant(struct document *document, const struct tenant_draft *draft,
                           struct tenant *tenant, const struct tenant *parent)
{
    *tenant = draft->tenant;
    tenant->parent = parent;
    tenant->depth = parent ? parent->depth + 1 : 0;
    check_depth(document, draft, tenant);
    tenant->models = draft->models.at;
    tenant->model_count = draft->models.count;
    tenant->model_index = model_index_new(&document->arena, draft->models.at, draft->models.count);
    tenant->residency = draft->residency.at;
    tenant->residency_count = draft->residency.count;
    tenant->no_capture = draft->capture == CAPTURE_NONE;
    tenant->may_set_tags = draft->may_set & MAY_SET_TAGS;
    tenant->may_set_policy = draft->may_set & MAY_SET_POLICY;
    tenant->may_set_explain = draft->may_set & MAY_SET_EXPLAIN;
    tenant->tags = join_tags(document, draft->tags, parent ? parent->tags : (struct text){NULL, 0},
                             draft->node);
    tenant->limits = level_limits(document, &draft->level, true);
    tenant->user_limits = level_limits(document, &draft->users, false);
    check_model_names(document, node_find(draft->node, "models"));
    check_tags(document, node_find(draft->node, "residency"));
}

/* Go up from tenant <i> until one that is done, then come down and do the others. */
static void resolve_line(struct family *family, size_t i)
{
    struct document *document = family->document;
    const struct tenant_draft *drafts = document->tenants.at, *parent = NULL;
    struct tenant *tenants = document->config.tenants;
    size_t length = 0;
    for (;;) {
        family->state[i] = STATE_UNDER_WAY;
        family->line[length++] = i;
        parent = find_parent(family, &drafts[i]);
        if (!parent || family->state[parent - drafts] != STATE_NEW)
            break;
        i = (size_t)(parent - drafts);
    }
    if (parent && family->state[parent - drafts] == STATE_UNDER_WAY) {
        problem_at_value(document, node_of(drafts[i].node, "parent"), SEVERITY_ERROR,
                         "the tenant \"%.*s\" would be in itself", TEXT_ARGS(parent->tenant.name));
        parent = NULL;
    }
    const struct tenant *above = parent ? &tenants[parent - drafts] : NULL;
    while (length > 0) {
        i = family->line[--length];
        resolve_tenant(document, &drafts[i], &tenants[i], above);
        family->state[i] = STATE_DONE;
        above = &tenants[i];
    }
}

static void name_tenants(struct family *family)
{
    struct document *document = family->document;
    const struct tenant_draft *drafts = document->tenants.at;
    for (size_t i = document->tenants.count; i-- > 0;) {
        /* The first of a name is the one that is meant. */
        const struct tenant_draft *later =
            table_set(&family->names, drafts[i].tenant.name, (void *)(uintptr_t)&drafts[i]);
        if (later && drafts[i].tenant.name.len)
            problem_at_value(document, node_of(later->node, "name"), SEVERITY_ERROR,
                             "a tenant \"%.*s\" is declared already in %s",
                             TEXT_ARGS(drafts[i].tenant.name),
                             node_place(document, drafts[i].node, later->node));
    }
}

static void resolve_family(struct document *document)
{
    size_t count = document->tenants.count;
    struct family family = {.document = document};
    family.state = arena_new(&document->arena, count + 1);
    family.line = arena_new(&document->arena, (count + 1) * sizeof(*family.line));
    table_init(&family.names);
    name_tenants(&family);
    for (size_t i = 0; i < count; i++)
        if (family.state[i] == STATE_NEW)
            resolve_line(&family, i);
    table_done(&family.names);
}

/* -------------------------------------------------------------------------------------- keys */

/* One call may meet so many limits at most: of its key, its tenant, those above, and its user. */
static void check_met(struct document *document, const struct node *node,
                      const struct tenant *tenant, const struct limit_list *own)
{
    size_t met = own ? limits_met(own) : 0;
    for (; tenant; tenant = tenant->parent)
        met += limits_met(&tenant->limits) + limits_met(&tenant->user_limits);
    if (met > USES_MAX)
        problem_at_value(
            document, node, SEVERITY_ERROR,
            "a call may meet %zu limits here, with those of the tenants above; at most "
            "%d can be",
            met, USES_MAX);
}

static void check_key(struct document *document, const struct key_draft *draft, struct table *names,
                      struct table *hashes)
{
    const struct node *hash = node_find(draft->node, "hash");
    const struct node *expires = node_find(draft->node, "expires");
    const struct key_draft *other = table_set(names, draft->key.name, (void *)(uintptr_t)draft);
    if (other && draft->key.name.len)
        problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                         "a key \"%.*s\" of this tenant is declared already in %s",
                         TEXT_ARGS(draft->key.name),
                         node_place(document, other->node, draft->node));
    if (text_starts(draft->key.name, TEXT(TOKEN_KEY_BEGIN)))
        problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                         "\"%s\" is how the names of tokens begin", TOKEN_KEY_BEGIN);
    if (draft->key.expires_us && draft->key.expires_us <= clock_wall_us())
        problem_at_value(document, expires, SEVERITY_WARNING, "the key \"%.*s\" has expired",
                         TEXT_ARGS(draft->key.name));
    if (!hash || hash->broken)
        return;
    struct text digest = {(const char *)draft->key.digest.bytes, SHA256_BYTES};
    other = table_set(hashes, digest, (void *)(uintptr_t)draft);
    if (other)
        problem_at_value(document, hash, SEVERITY_ERROR, "the same hash as the key \"%.*s\" in %s",
                         TEXT_ARGS(other->key.name),
                         node_place(document, other->node, draft->node));
}

/* The placeholder of the example has no digest; it must not match anything either. */
static bool is_usable(const struct key_draft *draft)
{
    const struct node *hash = node_find(draft->node, "hash");
    return hash && !hash->broken;
}

static void resolve_keys(struct document *document, const struct tenant_draft *draft,
                         const struct tenant *tenant, struct table *hashes)
{
    const struct key_draft *keys = draft->keys.at;
    struct config *config = &document->config;
    struct table names;
    table_init(&names);
    table_reserve(&names, draft->keys.count);
    for (size_t i = 0; i < draft->keys.count; i++) {
        check_key(document, &keys[i], &names, hashes);
        check_model_names(document, node_find(keys[i].node, "models"));
        struct key key = keys[i].key;
        key.tenant = tenant;
        key.models = keys[i].models.at;
        key.model_count = keys[i].models.count;
        key.model_index = model_index_new(&document->arena, key.models, key.model_count);
        key.tags = join_tags(document, keys[i].tags, tenant->tags, keys[i].node);
        key.limits = level_limits(document, &keys[i].level, true);
        check_met(document, keys[i].node, tenant, &key.limits);
        if (is_usable(&keys[i]))
            config->key_list[config->key_count++] = key;
    }
    table_done(&names);
}

void resolve_anonymous(struct document *document)
{
    static const struct text every[] = {{"*", 1}};
    struct config *config = &document->config;
    struct tenant *tenant = arena_new(&document->arena, sizeof(*tenant));
    struct key *key = arena_new(&document->arena, sizeof(*key));
    struct text *models = arena_new(&document->arena, sizeof(*models));
    *models = every[0];
    tenant->name = TEXT("local");
    tenant->models = models;
    tenant->model_count = 1;
    tenant->may_set_tags = tenant->may_set_policy = tenant->may_set_explain = true;
    tenant->limits = config->policy_limits.defaults;
    key->name = TEXT("local");
    key->tenant = tenant;
    key->limits = config->policy_limits.defaults;
    config->anonymous_key = key;
    /* On this machine alone a file that says nothing of callers means that anybody is one. Where it
     * has tenants it does: their keys may be made while it runs, or the last one may be gone. */
    config->anonymous_implied = !config->anonymous && !node_find(document->root, "anonymous") &&
                                document->tenants.count == 0 && !document_has_keys(document);
    config->anonymous |= config->anonymous_implied;
}

void resolve_tenants(struct document *document)
{
    struct config *config = &document->config;
    const struct tenant_draft *drafts = document->tenants.at;
    size_t keys = 0;
    for (size_t i = 0; i < document->tenants.count; i++)
        keys += drafts[i].keys.count;
    config->tenant_count = document->tenants.count;
    config->tenants =
        arena_new(&document->arena, (config->tenant_count + 1) * sizeof(*config->tenants));
    config->key_list = arena_new(&document->arena, (keys + 1) * sizeof(*config->key_list));
    resolve_family(document);
    struct table hashes;
    table_init(&hashes);
    table_reserve(&hashes, keys);
    for (size_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        if (drafts[i].keys.count)
            resolve_keys(document, &drafts[i], tenant, &hashes);
        else
            check_met(document, drafts[i].node, tenant, NULL);
    }
    table_done(&hashes);
}
