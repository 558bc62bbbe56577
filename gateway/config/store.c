/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/table.h"
#include "gateway/config/document.h"

/* What stands elsewhere or comes from there: the store, administrators' keys, an issuer's keys. */

/* --------------------------------------------------------------------------------- the store */

static bool is_authority(struct text text)
{
    struct text host;
    uint16_t port;
    return url_read_host(text, &host, &port) && port != 0;
}

static void resolve_sentinels(struct document *document)
{
    struct redis_options *redis = &document->config.store.redis;
    const struct node *list = node_at(document->root, "store.redis.sentinel.addresses");
    const struct text *addresses = document->sentinels.at;
    const struct node *entry = list ? list->first : NULL;
    for (size_t i = 0; i < document->sentinels.count && entry; i++, entry = entry->next) {
        if (i == REDIS_SENTINELS_MAX) {
            problem_at_value(document, entry, SEVERITY_ERROR, "at most %d sentinels",
                             REDIS_SENTINELS_MAX);
            return;
        }
        redis->sentinels[i] = addresses[i].at;
        if (!entry->broken && !is_authority(addresses[i]))
            problem_at_value(document, entry, SEVERITY_ERROR,
                             "the address of a sentinel is written like 10.0.0.5:26379, not "
                             "\"%.*s\"",
                             TEXT_ARGS(node_shown(entry)));
    }
}

static void check_sentinel(struct document *document)
{
    const struct redis_options *redis = &document->config.store.redis;
    const struct node *sentinel = node_at(document->root, "store.redis.sentinel");
    const struct node *mode = node_at(document->root, "store.redis.mode");
    bool by_sentinel = redis->mode == REDIS_SENTINEL;
    if (by_sentinel && (!redis->sentinel_master || !redis->sentinels[0]))
        problem_at_value(document, mode, SEVERITY_ERROR,
                         "\"mode: sentinel\" needs \"sentinel.master\" and \"sentinel.addresses\"");
    else if (!by_sentinel && redis->mode != REDIS_AUTO && redis->sentinel_master)
        problem_at_value(document, node_of(sentinel, "master"), SEVERITY_WARNING,
                         "\"sentinel\" does nothing with \"mode: %s\"",
                         redis->mode == REDIS_CLUSTER ? "cluster" : "single");
    else if (!redis->sentinel_master != !redis->sentinels[0])
        problem_at_value(document, sentinel, SEVERITY_ERROR,
                         "\"sentinel\" needs both \"master\" and \"addresses\"");
}

static void check_redis_tls(struct document *document)
{
    const struct tls_options *tls = &document->config.store.redis.tls;
    const struct node *node = node_at(document->root, "store.redis.tls");
    if (!tls->cert_file != !tls->key_file)
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"cert_file\" and \"key_file\" come together");
}

/* It becomes part of every name, around the {hash tag}. */
static void check_prefix(struct document *document)
{
    enum { PREFIX_MAX = 64 };
    const struct node *node = node_at(document->root, "store.redis.key_prefix");
    struct text prefix = text_of(document->config.store.key_prefix);
    bool fine = prefix.len > 0 && prefix.len <= PREFIX_MAX;
    for (size_t i = 0; i < prefix.len; i++)
        fine &= prefix.at[i] > ' ' && prefix.at[i] <= '~' && !strchr("{}*?[]\\\"", prefix.at[i]);
    if (!fine && node && !node->broken)
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"key_prefix\" has 1 to %d visible characters and none of {}*?[]\\\", "
                         "not \"%.*s\"",
                         PREFIX_MAX, TEXT_ARGS(node_shown(node)));
}

static void check_redis_url(struct document *document)
{
    const struct node *node = node_at(document->root, "store.redis.url");
    struct fault fault = {FAULT_NONE, NULL, ""};
    if (!node)
        node = node_at(document->root, "store.redis.url_file");
    if (node && !node->broken && !redis_url_read(document->config.store.redis.url, &fault))
        problem_at_value(document, node, SEVERITY_ERROR, "\"url\": %s", fault.text);
}

void resolve_store(struct document *document)
{
    enum { TYPE_EMBEDDED, TYPE_REDIS };
    struct config *config = &document->config;
    config->store.is_redis = document->store_type == TYPE_REDIS;
    config->store.redis.mode = (enum redis_mode)document->redis_mode;
    config->store.away_limits = (enum limit_away)document->away_limits;
    config->store.away_budgets = (enum limit_away)document->away_budgets;
    check_redis_url(document);
    resolve_sentinels(document);
    check_sentinel(document);
    check_redis_tls(document);
    check_prefix(document);
}

/* ----------------------------------------------------------------------------- administrators */

static struct text next_tenant(void *with, size_t i)
{
    const struct document *document = with;
    const struct tenant_draft *drafts = document->tenants.at;
    return i < document->tenants.count ? drafts[i].tenant.name : (struct text){NULL, 0};
}

static bool has_tenant(const struct document *document, struct text name)
{
    const struct tenant_draft *drafts = document->tenants.at;
    for (size_t i = 0; i < document->tenants.count; i++)
        if (text_equal(drafts[i].tenant.name, name))
            return true;
    return false;
}

/* A tenant that is not in the file may have been made through the API. */
static void check_role(struct document *document, const struct admin_key_draft *draft)
{
    const struct node *tenant = node_of(draft->node, "tenant");
    bool of_tenant = draft->role == ADMIN_ROLE_TENANT;
    if (of_tenant && !draft->key.tenant.len)
        problem_at_value(document, node_of(draft->node, "role"), SEVERITY_ERROR,
                         "\"role: tenant\" needs a \"tenant\"");
    if (!of_tenant && draft->key.tenant.len)
        problem_at_value(document, tenant, SEVERITY_ERROR,
                         "\"tenant\" is for the role tenant: this key would see all of them");
    if (!of_tenant || !draft->key.tenant.len || has_tenant(document, draft->key.tenant))
        return;
    struct problem *problem =
        problem_at_value(document, tenant, SEVERITY_WARNING,
                         "there is no tenant \"%.*s\" in the file", TEXT_ARGS(draft->key.tenant));
    struct text near = nearest(draft->key.tenant, next_tenant, document);
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
}

static void check_unique(struct document *document, const struct admin_key_draft *draft,
                         struct table *names, struct table *digests)
{
    const struct node *hash = node_of(draft->node, "hash");
    struct text digest = {(const char *)draft->key.digest.bytes, SHA256_BYTES};
    if (table_set(names, draft->key.name, (void *)(uintptr_t)draft) && draft->key.name.len)
        problem_at_value(document, node_of(draft->node, "name"), SEVERITY_ERROR,
                         "an admin key \"%.*s\" is declared already", TEXT_ARGS(draft->key.name));
    if (!hash->broken && table_set(digests, digest, (void *)(uintptr_t)draft))
        problem_at_value(document, hash, SEVERITY_ERROR, "the same hash as another admin key's");
}

static bool take_first_key(struct document *document, struct admin_key_draft *first)
{
    enum { SHORT_BYTES = 16 };
    struct text secret = document->admin_key;
    const struct node *node = node_at(document->root, "admin.key");
    if (!secret.len)
        return false;
    if (secret.len < SHORT_BYTES)
        problem_at_value(
            document, node ? node : node_at(document->root, "admin.key_file"), SEVERITY_WARNING,
            "the admin key has fewer than %d characters and can be guessed", SHORT_BYTES);
    first->node = node;
    first->key = (struct admin_key){.name = TEXT("admin"), .digest = hash_sha256(secret)};
    return true;
}

void resolve_admin(struct document *document)
{
    struct config *config = &document->config;
    const struct admin_key_draft *drafts = document->admin_keys.at;
    struct admin_key_draft first = {0};
    struct table names, digests;
    table_init(&names);
    table_init(&digests);
    config->admin_keys =
        arena_new(&document->arena, (document->admin_keys.count + 1) * sizeof(*config->admin_keys));
    if (take_first_key(document, &first)) {
        check_unique(document, &first, &names, &digests);
        config->admin_keys[config->admin_key_count++] = first.key;
    }
    for (size_t i = 0; i < document->admin_keys.count; i++) {
        const struct node *hash = node_find(drafts[i].node, "hash");
        check_role(document, &drafts[i]);
        check_unique(document, &drafts[i], &names, &digests);
        if (!hash || hash->broken)
            continue;
        struct admin_key *key = &config->admin_keys[config->admin_key_count++];
        *key = drafts[i].key;
        key->role = (enum admin_role)drafts[i].role;
    }
    table_done(&names);
    table_done(&digests);
}

/* -------------------------------------------------------------------------------------- tokens */

static void check_jwks_url(struct document *document)
{
    struct config *config = &document->config;
    const struct node *node = node_at(document->root, "jwt.jwks_url");
    const char *problem;
    if (!config->jwt.jwks_url || !node || node->broken)
        return;
    if (!url_read(text_of(config->jwt.jwks_url), &config->jwt.jwks, &problem))
        problem_at_value(document, node, SEVERITY_ERROR, "\"jwks_url\": %s", problem);
    else if (config->jwt.jwks.user.len)
        problem_at_value(document, node, SEVERITY_ERROR, "\"jwks_url\" holds no user or password");
    else if (!config->jwt.jwks.tls && !host_is_loopback(config->jwt.jwks.host))
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"jwks_url\" must begin with https://: who can change the answer on its "
                         "way could sign tokens");
}

void resolve_jwt(struct document *document)
{
    static const char *const needed[] = {"issuer", "audience", "tenant_claim", "models_claim"};
    const struct node *jwt = node_find(document->root, "jwt");
    if (!jwt || jwt->kind != NODE_MAP)
        return;
    document->config.jwt.enabled = true;
    check_jwks_url(document);
    for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
        const struct node *node = node_find(jwt, needed[i]);
        if (node && node->kind == NODE_SCALAR && !node->len && !node->broken)
            problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must not be empty", needed[i]);
    }
}
