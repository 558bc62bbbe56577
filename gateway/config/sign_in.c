/* SPDX-License-Identifier: Apache-2.0 */

/* Where the short-lived credentials of a provider come from, and where Vertex AI is. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/base/json.h"
#include "gateway/base/memory.h"
#include "gateway/base/sign.h"
#include "gateway/config/document.h"

enum { SIGNED_MAX = 64 << 10 };

static const char *environment(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value && *value ? value : fallback;
}

static bool is_of(struct text word, const char *marks)
{
    for (size_t i = 0; i < word.len; i++) {
        char c = word.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!plain && !(c && strchr(marks, c)))
            return false;
    }
    return word.len > 0;
}

static bool set_address(struct document *document, struct sign_in_settings *sign_in,
                        struct text address, const struct node *at)
{
    const char *problem;
    sign_in->address = arena_copy(&document->arena, address);
    if (!url_read(sign_in->address, &sign_in->url, &problem))
        problem_at_value(document, at, SEVERITY_ERROR, "the token endpoint \"%.*s\": %s",
                         TEXT_ARGS(text_head(address, 100)), problem);
    else if (!sign_in->url.tls && !host_is_loopback(sign_in->url.host))
        problem_at_value(document, at, SEVERITY_ERROR,
                         "the token endpoint \"%.*s\" must begin with https://: a secret is sent "
                         "there",
                         TEXT_ARGS(text_head(address, 100)));
    else
        return true;
    return false;
}

/* ---------------------------------------------------------------------------------- Entra */

static void resolve_entra(struct document *document, struct provider_draft *draft)
{
    const struct node *node = node_find(draft->node, "entra");
    if (!node || node->kind != NODE_MAP)
        return;
    if (!draft->resolved->is_azure) {
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"entra\" is for the type azure-openai only");
        return;
    }
    if (draft->settings.api_key.len || draft->api_keys.count)
        problem_at_value(document, node, SEVERITY_ERROR,
                         "a provider signs in with \"entra\" or has an \"api_key\", not both");
    if (!draft->entra_tenant.len || !draft->entra_client.len || !draft->entra_secret.len)
        return; /* missing: said already, or its variable is empty: then it has no key */
    if (!is_of(draft->entra_tenant, "-.")) {
        problem_at_value(document, node_of(node, "tenant"), SEVERITY_ERROR,
                         "\"tenant\" is the id or a domain of a directory");
        return;
    }
    struct text authority =
        text_of(environment("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com"));
    bool is_bare = text_find(authority, TEXT("://")) == SIZE_MAX;
    while (text_ends(authority, TEXT("/")))
        authority.len--;
    struct sign_in_settings *sign_in = &draft->settings.sign_in;
    struct text address =
        arena_format(&document->arena, "%s%.*s/%.*s/oauth2/v2.0/token", is_bare ? "https://" : "",
                     TEXT_ARGS(authority), TEXT_ARGS(draft->entra_tenant));
    *sign_in =
        (struct sign_in_settings){.kind = SIGN_IN_ENTRA,
                                  .id = draft->entra_client,
                                  .secret = draft->entra_secret,
                                  .scope = TEXT("https://cognitiveservices.azure.com/.default")};
    set_address(document, sign_in, address, node);
}

/* ----------------------------------------------------------------------------- Vertex AI */

static struct text member_of(struct document *document, const struct json *root, const char *name)
{
    struct text words = {"", 0};
    const struct json *value = json_member(root, name);
    if (value && json_to_text(value, &words))
        return arena_copy(&document->arena, words);
    return (struct text){"", 0};
}

static bool can_sign(struct text pem)
{
    struct buffer signature;
    buffer_init(&signature, SIGNED_MAX);
    bool good = sign_rs256(pem, TEXT("x"), &signature);
    buffer_done(&signature);
    return good;
}

static void read_account(struct document *document, struct provider_draft *draft,
                         const struct node *node, const struct json *root)
{
    struct sign_in_settings *sign_in = &draft->settings.sign_in;
    struct text type = member_of(document, root, "type");
    if (!text_equal(type, TEXT("service_account"))) {
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"credentials_file\" holds no key of a service account (\"type\": "
                         "\"service_account\")");
        return;
    }
    *sign_in =
        (struct sign_in_settings){.kind = SIGN_IN_SERVICE_ACCOUNT,
                                  .id = member_of(document, root, "client_email"),
                                  .secret = member_of(document, root, "private_key"),
                                  .key_id = member_of(document, root, "private_key_id"),
                                  .scope = TEXT("https://www.googleapis.com/auth/cloud-platform")};
    if (!draft->settings.project.len)
        draft->settings.project = member_of(document, root, "project_id");
    struct text address = member_of(document, root, "token_uri");
    if (!sign_in->id.len || !can_sign(sign_in->secret))
        problem_at_value(document, node, SEVERITY_ERROR,
                         "\"credentials_file\" has no \"client_email\", or no \"private_key\" that "
                         "is an RSA key");
    set_address(document, sign_in,
                address.len ? address : TEXT("https://oauth2.googleapis.com/token"), node);
}

static void resolve_account(struct document *document, struct provider_draft *draft)
{
    const struct node *node = node_find(draft->node, "credentials_file");
    struct json_problem problem;
    struct text words;
    if (!node || !secret_read(document, node, &words))
        return;
    struct json *root = json_read(words, &problem);
    memory_wipe((void *)(uintptr_t)words.at, words.len);
    if (root)
        read_account(document, draft, node, root);
    else
        problem_at_value(document, node, SEVERITY_ERROR, "\"credentials_file\" is no JSON");
    json_free(root);
}

static void resolve_metadata(struct document *document, struct provider_draft *draft)
{
    struct sign_in_settings *sign_in = &draft->settings.sign_in;
    const char *problem, *host = environment("GCE_METADATA_HOST", "169.254.169.254");
    sign_in->kind = SIGN_IN_METADATA;
    sign_in->address =
        arena_format(&document->arena,
                     "http://%s/computeMetadata/v1/instance/service-accounts/default/token", host);
    if (!url_read(sign_in->address, &sign_in->url, &problem))
        problem_at_value(document, draft->node, SEVERITY_ERROR, "GCE_METADATA_HOST: %s", problem);
}

/* Hosts of Vertex AI's regions, of its two continents, and of none. */
static void resolve_host(struct document *document, struct provider_draft *draft)
{
    struct text location = draft->settings.location, host;
    if (text_equal(location, TEXT("global")))
        host = TEXT("https://aiplatform.googleapis.com");
    else if (text_equal(location, TEXT("us")) || text_equal(location, TEXT("eu")))
        host = arena_format(&document->arena, "https://aiplatform.%.*s.rep.googleapis.com",
                            TEXT_ARGS(location));
    else
        host = arena_format(&document->arena, "https://%.*s-aiplatform.googleapis.com",
                            TEXT_ARGS(location));
    if (!draft->settings.base_url)
        draft->settings.base_url = host.at;
}

static void resolve_vertex(struct document *document, struct provider_draft *draft)
{
    const struct node *at = draft->node;
    if (draft->settings.api_key.len || draft->api_keys.count)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "the type \"%.*s\" has no \"api_key\": it signs in with "
                         "\"credentials_file\", or by the metadata server",
                         TEXT_ARGS(draft->type));
    if (draft->credentials_file)
        resolve_account(document, draft);
    else
        resolve_metadata(document, draft);
    if (!is_of(draft->settings.location, "-"))
        problem_at_value(document, node_of(at, "location"), SEVERITY_ERROR,
                         "the type \"%.*s\" needs a \"location\": a region, us, eu or global",
                         TEXT_ARGS(draft->type));
    else
        resolve_host(document, draft);
    if (!is_of(draft->settings.project, "-.:"))
        problem_at_value(document, node_of(at, "project"), SEVERITY_ERROR,
                         "the type \"%.*s\" needs a \"project\"", TEXT_ARGS(draft->type));
}

/* -------------------------------------------------------------------------------------- AWS */

const char *aws_domain(struct text region)
{
    return text_starts(region, TEXT("cn-")) ? "amazonaws.com.cn" : "amazonaws.com";
}

#define CONTAINER_HOST "http://169.254.170.2"

/* Where a container may be sent to: over TLS, to itself, or to what ECS and EKS have there. */
static bool is_container_host(const struct url *url)
{
    static const struct text hosts[] = {
        {"169.254.170.2", 13}, {"169.254.170.23", 14}, {"fd00:ec2::23", 12}};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        if (text_equal(url->host, hosts[i]))
            return true;
    return url->tls || host_is_loopback(url->host);
}

static void resolve_container(struct document *document, struct provider_draft *draft,
                              const char *relative, const char *full)
{
    struct sign_in_settings *sign_in = &draft->settings.sign_in;
    const char *problem;
    *sign_in = (struct sign_in_settings){
        .kind = SIGN_IN_AWS_CONTAINER,
        .address = arena_format(&document->arena, "%s%s", relative ? CONTAINER_HOST : "",
                                relative ? relative : full),
        .key_id = text_of(environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")),
        .secret = text_of(environment("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")),
    };
    if (!url_read(sign_in->address, &sign_in->url, &problem))
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "AWS_CONTAINER_CREDENTIALS_%s_URI: %s", relative ? "RELATIVE" : "FULL",
                         problem);
    else if (!is_container_host(&sign_in->url))
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "AWS_CONTAINER_CREDENTIALS_FULL_URI must begin with https://, or name an "
                         "address of the container's own");
    for (size_t i = 0; i < sign_in->secret.len; i++)
        if (sign_in->secret.at[i] < ' ' || sign_in->secret.at[i] > '~')
            problem_at_value(document, draft->node, SEVERITY_ERROR,
                             "AWS_CONTAINER_AUTHORIZATION_TOKEN has characters that cannot be "
                             "sent");
}

static void resolve_web(struct document *document, struct provider_draft *draft, const char *file)
{
    struct sign_in_settings *sign_in = &draft->settings.sign_in;
    struct text region = draft->settings.region;
    const char *given = environment("AWS_ENDPOINT_URL_STS", NULL);
    *sign_in = (struct sign_in_settings){
        .kind = SIGN_IN_AWS_WEB,
        .id = text_of(environment("AWS_ROLE_ARN", "")),
        .key_id = text_of(file),
        .scope = text_of(environment("AWS_ROLE_SESSION_NAME", "sluice")),
    };
    struct text address = given ? text_of(given)
                                : arena_format(&document->arena, "https://sts.%.*s.%s",
                                               TEXT_ARGS(region), aws_domain(region));
    if (!sign_in->id.len)
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not");
    else
        set_address(document, sign_in, address, draft->node);
}

static void resolve_machine(struct document *document, struct provider_draft *draft)
{
    struct sign_in_settings *sign_in = &draft->settings.sign_in;
    const char *problem;
    *sign_in = (struct sign_in_settings){
        .kind = SIGN_IN_AWS_MACHINE,
        .address =
            text_of(environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")),
    };
    if (!url_read(sign_in->address, &sign_in->url, &problem))
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "AWS_EC2_METADATA_SERVICE_ENDPOINT: %s", problem);
}

/* The way of AWS' own SDKs, but for the files of people. */
static void resolve_chain(struct document *document, struct provider_draft *draft)
{
    struct provider_settings *settings = &draft->settings;
    const char *access = environment("AWS_ACCESS_KEY_ID", NULL),
               *secret = environment("AWS_SECRET_ACCESS_KEY", NULL),
               *file = environment("AWS_WEB_IDENTITY_TOKEN_FILE", NULL),
               *relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", NULL),
               *full = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", NULL);
    if (access && secret) {
        settings->access_key = text_of(access);
        settings->secret_key = text_of(secret);
        settings->session_token = text_of(environment("AWS_SESSION_TOKEN", ""));
    } else if (file) {
        resolve_web(document, draft, file);
    } else if (relative || full) {
        resolve_container(document, draft, relative, full);
    } else if (strcasecmp(environment("AWS_EC2_METADATA_DISABLED", "false"), "true") != 0) {
        resolve_machine(document, draft);
    }
}

/* A provider that has keys in the file, be they empty, has no others. */
static void resolve_bedrock(struct document *document, struct provider_draft *draft)
{
    static const char *const keys[] = {"api_key",        "api_key_file",    "api_keys",
                                       "access_key",     "access_key_file", "secret_key",
                                       "secret_key_file"};
    struct provider_settings *settings = &draft->settings;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (node_find(draft->node, keys[i]))
            return;
    if (!settings->region.len)
        settings->region =
            text_of(environment("AWS_REGION", environment("AWS_DEFAULT_REGION", "")));
    resolve_chain(document, draft);
    if (settings->sign_in.kind != SIGN_IN_NONE && !settings->region.len)
        problem_at_value(document, draft->node, SEVERITY_ERROR,
                         "calls are signed for a \"region\", and none is given");
}

void resolve_sign_in(struct document *document, struct provider_draft *draft)
{
    if (!draft->resolved)
        return;
    resolve_entra(document, draft);
    if (draft->resolved->is_vertex)
        resolve_vertex(document, draft);
    if (text_equal(draft->resolved->dialect, TEXT("bedrock")))
        resolve_bedrock(document, draft);
}
