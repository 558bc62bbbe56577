/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/buffer.h"
#include "gateway/config/document.h"

/* Sign-in to the dashboard by an OpenID provider: admin.oidc. */

enum { SCOPES_BYTES = 2048, IDENTITY_BYTES = 1 << 20 };

/* https, or http on loopback; without a user. url_read() takes neither a query nor a fragment. */
static bool check_url(struct document *document, const char *name, const char *value,
                      struct url *url)
{
    const struct node *node = node_find(node_at(document->root, "admin.oidc"), name);
    const char *problem = NULL;
    if (!value || !node || node->broken)
        return false;
    if (!url_read(text_of(value), url, &problem))
        problem_at_value(document, node, SEVERITY_ERROR, "\"%s\": %s", name, problem);
    else if (url->is_unix)
        problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" begins with https://", name);
    else if (url->user.len)
        problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" holds no user or password", name);
    else if (!url->tls && !host_is_loopback(url->host))
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"%s\" must begin with https://: who can change what passes on the way "
                         "could sign in as anybody",
                         name);
    else
        return true;
    return false;
}

/* What a browser is sent back to is not ours to reach, and may be plain where the operator says. */
static void check_redirect(struct document *document)
{
    const struct oidc_settings *oidc = &document->config.oidc;
    const struct node *node = node_at(document->root, "admin.oidc.redirect_url");
    const char *problem;
    struct url url;
    if (!oidc->redirect_url || !node || node->broken)
        return;
    if (!url_read(text_of(oidc->redirect_url), &url, &problem) || url.is_unix || url.user.len)
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"redirect_url\" is written like "
                         "https://sluice.example.com/ui/oidc/callback");
    else if (!text_ends(url.path, TEXT("/ui/oidc/callback")))
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"redirect_url\" must end with /ui/oidc/callback, where the dashboard "
                         "takes what the issuer says");
    else if (!url.tls && !host_is_loopback(url.host))
        problem_at_value(document, node, SEVERITY_WARNING,
                         "\"redirect_url\" is not https: who listens on the way can sign in in a "
                         "browser's place");
}

static void check_empty(struct document *document, const char *name)
{
    const struct node *node = node_find(node_at(document->root, "admin.oidc"), name);
    if (node && node->kind == NODE_SCALAR && !node->len && !node->broken)
        problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must not be empty", name);
}

static bool is_scope(struct text scope)
{
    for (size_t i = 0; i < scope.len; i++)
        if (scope.at[i] <= ' ' || scope.at[i] > '~' || scope.at[i] == '"' || scope.at[i] == '\\')
            return false;
    return scope.len > 0;
}

static void resolve_scopes(struct document *document)
{
    struct oidc_settings *oidc = &document->config.oidc;
    const struct text *scopes = document->oidc_scopes.at;
    const struct node *oidc_node = node_at(document->root, "admin.oidc");
    const struct node *list = node_of(oidc_node, "scopes");
    const struct node *entry = list != oidc_node ? list->first : NULL;
    bool has_openid = false;
    struct buffer all;
    buffer_init(&all, SCOPES_BYTES);
    for (size_t i = 0; i < document->oidc_scopes.count; i++) {
        if (!is_scope(scopes[i]) ||
            !buffer_format(&all, i > 0 ? " %.*s" : "%.*s", TEXT_ARGS(scopes[i])))
            problem_at_value(document, entry ? entry : list, SEVERITY_ERROR,
                             "a scope is a word without spaces, as in groups");
        has_openid |= text_equal(scopes[i], TEXT("openid"));
        entry = entry ? entry->next : NULL;
    }
    if (!has_openid)
        problem_at_value(document, list, SEVERITY_ERROR,
                         "\"scopes\" needs openid: without it the issuer does not say who it is");
    oidc->scopes = arena_copy(&document->arena, buffer_text(&all)).at;
    buffer_done(&all);
}

static void resolve_roles(struct document *document)
{
    struct oidc_settings *oidc = &document->config.oidc;
    const struct oidc_role_draft *drafts = document->oidc_roles.at;
    size_t count = document->oidc_roles.count;
    struct oidc_role *roles = arena_new(&document->arena, (count + 1) * sizeof(*roles));
    for (size_t i = 0; i < count; i++) {
        bool of_tenant = drafts[i].word == ADMIN_ROLE_TENANT;
        roles[i] = drafts[i].role;
        roles[i].role = (enum admin_role)drafts[i].word;
        if (of_tenant && !roles[i].tenant.len)
            problem_at_value(document, node_of(drafts[i].node, "role"), SEVERITY_ERROR,
                             "\"role: tenant\" needs a \"tenant\"");
        if (!of_tenant && roles[i].tenant.len)
            problem_at_value(
                document, node_of(drafts[i].node, "tenant"), SEVERITY_ERROR,
                "\"tenant\" is for the role tenant: this value would give all of them");
        if (!roles[i].value.len)
            problem_at_value(document, node_of(drafts[i].node, "value"), SEVERITY_ERROR,
                             "\"value\" must not be empty");
        for (size_t k = 0; k < i; k++)
            if (text_equal(roles[k].value, roles[i].value))
                problem_at_value(document, node_of(drafts[i].node, "value"), SEVERITY_ERROR,
                                 "there is an entry for this value already");
    }
    oidc->roles = roles;
    oidc->role_count = count;
}

static void put_part(struct buffer *all, struct text part)
{
    buffer_format(all, "%zu:", part.len);
    buffer_append_text(all, part);
}

/* Whoever changes any of it wants those out that have come in by what was. */
static void set_identity(struct document *document)
{
    struct oidc_settings *oidc = &document->config.oidc;
    struct buffer all;
    buffer_init(&all, IDENTITY_BYTES);
    put_part(&all, text_of(oidc->issuer ? oidc->issuer : ""));
    put_part(&all, oidc->client_id);
    put_part(&all, oidc->client_secret);
    put_part(&all, oidc->role_claim);
    put_part(&all, text_of(oidc->scopes));
    for (size_t i = 0; i < oidc->role_count; i++) {
        put_part(&all, oidc->roles[i].value);
        put_part(&all, oidc->roles[i].tenant);
        buffer_format(&all, "%d", (int)oidc->roles[i].role);
    }
    oidc->identity = hash_sha256(buffer_text(&all));
    if (all.data)
        memory_wipe(all.data, all.capacity);
    buffer_done(&all);
}

static bool is_loopback(struct text address)
{
    struct text host;
    uint16_t port;
    return text_starts(address, TEXT("unix:")) ||
           (url_read_host(address, &host, &port) && host_is_loopback(host));
}

/* Where browsers come in: somewhere, and best so that nobody listens. */
static void check_listeners(struct document *document)
{
    const struct listener_draft *drafts = document->listeners.at;
    bool is_served = false;
    for (size_t i = 0; i < document->listeners.count; i++) {
        const struct listener_draft *draft = &drafts[i];
        bool is_ui = draft->settings.serve & SERVE_UI;
        is_served |= is_ui;
        if (!is_ui || !draft->settings.address || draft->settings.tls.cert_file ||
            draft->trusted_proxies.count || is_loopback(text_of(draft->settings.address)))
            continue;
        problem_at_value(document, node_of(draft->node, "address"), SEVERITY_WARNING,
                         "who signs in at %s by \"admin.oidc\" does so in clear: give the listener "
                         "\"tls\", or put a proxy that has it in front and name that in "
                         "\"trusted_proxies\"",
                         draft->settings.address);
    }
    if (!is_served)
        problem_at_value(document, node_at(document->root, "admin.oidc"), SEVERITY_WARNING,
                         "\"oidc\" does nothing: no listener serves the dashboard (\"ui\")");
}

void resolve_oidc(struct document *document)
{
    const struct node *node = node_at(document->root, "admin.oidc");
    struct oidc_settings *oidc = &document->config.oidc;
    if (!node || node->kind != NODE_MAP)
        return;
    oidc->enabled = true;
    check_url(document, "issuer", oidc->issuer, &oidc->url);
    check_redirect(document);
    check_empty(document, "client_id");
    check_empty(document, "role_claim");
    resolve_scopes(document);
    resolve_roles(document);
    set_identity(document);
    check_listeners(document);
}
