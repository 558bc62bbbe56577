/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * config - the configuration in force: an immutable snapshot that every exchange holds while it
 * lives, so that a reload changes nothing under a running call.
 *
 * Read from YAML by the option tables in config/options.c; the same rows give `check`, the JSON
 * Schema, the reference in docs/CONFIG.md and `config show`. Every problem of a file is reported at
 * once as FILE:LINE:COL: error: … did you mean "…"?
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "deploy/models/deployment.h"
#include "gateway/base/hash.h"
#include "gateway/base/text.h"
#include "gateway/http/forwarded.h"
#include "gateway/http/url.h"
#include "gateway/wire/redis.h"
#include "policy/directory.h"
#include "policy/guard.h"
#include "policy/policy.h"
#include "providers/provider.h"
#include "routing/route.h"
#include "routing/rule.h"

enum serve { SERVE_API = 1, SERVE_ADMIN = 2, SERVE_UI = 4, SERVE_METRICS = 8, SERVE_HEALTH = 16 };
enum admin_role { ADMIN_ROLE_ADMIN, ADMIN_ROLE_VIEWER, ADMIN_ROLE_TENANT };
enum capture_level { CAPTURE_NOTHING, CAPTURE_METADATA, CAPTURE_CONTENT }; /* store.capture */
enum proxy_protocol { PROXY_NONE, PROXY_V1, PROXY_V2, PROXY_ANY };

struct tls_settings {
    const char *cert_file, *key_file; /* NULL = none */
    const char *ca_file;              /* of clients for a listener, of servers for a provider */
    bool tls13_only;
};

struct listener_settings {
    const char *name;
    const char *address; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path", "systemd:name" */
    unsigned serve;      /* enum serve bits */
    enum proxy_protocol proxy_protocol;
    struct networks trusted_proxies;
    bool http2;
    bool has_tls;
    struct tls_settings tls;
};

struct header_setting {
    const char *name, *value;
};

/* Where spans go (tracing.h). */
struct tracing_settings {
    bool enabled;
    const char *endpoint; /* as asked, with /v1/traces; url borrows from it */
    struct url url;
    double sample;
    bool capture_content; /* of calls and answers, where the tenant lets it be */
    struct header_setting *headers;
    size_t header_count;
    struct text resource; /* its attributes as OTLP's JSON, without the brackets */
};

/* Short-lived credentials: where a provider's tokens come from (sign_in.h). */
enum sign_in_kind {
    SIGN_IN_NONE,
    SIGN_IN_ENTRA,           /* Entra ID: a client's id and secret */
    SIGN_IN_SERVICE_ACCOUNT, /* Google: a service account's key */
    SIGN_IN_METADATA,        /* Google: the metadata server of the machine */
    SIGN_IN_AWS_CONTAINER,   /* AWS: what a container is told to ask */
    SIGN_IN_AWS_WEB,         /* AWS: a role, for who shows a token of a file */
    SIGN_IN_AWS_MACHINE,     /* AWS: the metadata server of the machine, version 2 */
};

struct sign_in_settings {
    enum sign_in_kind kind;
    struct text address; /* of the token endpoint; url borrows from it */
    struct url url;
    struct text id;     /* of the client, or the service account's address, or AWS' role */
    struct text secret; /* of the client, or the private key in PEM, or a container's token */
    struct text key_id; /* of the private key; of AWS: the file with a token */
    struct text scope;  /* of AWS: the session's name */
};

struct standing;

struct provider_settings {
    struct text name;
    const struct provider_type *type;
    const struct dialect *dialect;
    const struct dialect *second_dialect; /* where its type has one; else NULL */
    const char *base_url;                 /* as written; url borrows from it */
    struct url url;
    struct text api_key;   /* empty = none */
    struct text *api_keys; /* all there are: that one, and those it takes turns with */
    size_t api_key_count;
    struct tls_settings tls;
    struct text organization;
    struct text region, access_key, secret_key, session_token; /* of AWS; with keys of its own a
                                                                  call is signed, not borne */
    struct text api_version;       /* of Azure; empty = its newer API, which has none */
    struct text project, location; /* of Vertex AI */
    struct sign_in_settings sign_in;
    struct header_setting *headers; /* checked: names are tokens, values may be written */
    size_t header_count;
    int64_t connect_us, first_byte_us, total_us;
    unsigned max_connections, max_idle; /* of the whole process; workers take their share */
    bool http2;                         /* where it is offered by ALPN */
    int64_t idle_us;
    unsigned retry_attempts; /* tries on other targets after the first one failed */
    bool retry_connect;
    uint16_t retry_statuses[16]; /* zero-terminated */
    int64_t backoff_us, max_backoff_us;
    struct breaker_settings breaker;
    const char *metrics_url; /* what it says of itself (gauges.h); NULL = nothing */
    struct url metrics;
    struct quota rate;     /* what it allows; figures NULL = no limit */
    const char *proxy;     /* URL or NULL: then the environment's */
    bool allow_link_local; /* the dialer may connect to 169.254/16, fe80::/10, metadata addresses */
    bool health_active;    /* it is asked how it is, */
    int64_t health_interval_us;
    const char *health_path; /* by a GET of this path behind its base URL */
    bool lenient;            /* what it cannot do is left out of a call, and named, not refused */
    const struct text *tags; /* of all its targets */
    size_t tag_count;
    enum service_tier service; /* of a call that does not say which: as the account is set up */
    bool off;                  /* no key: its targets are off */
    /* Of a deployment, whose replicas have addresses of their own; else NULL. Held by the
     * configuration. */
    struct deployment_spec *spec;
    struct slots *slots;
    struct standing *standing;
};

/* Who may use the admin API. */
struct admin_key {
    struct text name;
    struct digest digest; /* SHA-256 of the secret */
    enum admin_role role;
    struct text tenant; /* of ADMIN_ROLE_TENANT: sees and changes only below this one */
};

/* A value of the claim that says the role of somebody, and what it gives. */
struct oidc_role {
    struct text value;
    enum admin_role role;
    struct text tenant; /* of ADMIN_ROLE_TENANT */
};

/* Sign-in to the dashboard by an OpenID provider (oidc.h). */
struct oidc_settings {
    bool enabled;
    const char *issuer; /* as written; url borrows from it */
    struct url url;
    struct text client_id, client_secret; /* the secret may be empty */
    struct text role_claim;
    const struct oidc_role *roles; /* none: the values are the roles themselves */
    size_t role_count;
    const char *scopes;       /* with spaces between */
    const char *redirect_url; /* NULL = as the browser has asked */
    const char *ca_file;      /* NULL = the system's authorities */
    struct digest identity;   /* of all of it: other settings end the sessions of these */
};

/* What a deploy call of Monster's starts, by its size ("24x1"). */
struct deploy_profile {
    struct text name;
    enum launcher_word launcher;
    enum engine engine;
    struct text node, image;
    const struct text *command; /* {model} stands for the model */
    size_t command_count;
    int64_t memory_bytes;
    const struct spec_pair *models; /* what a name of a model stands for; none = the hub's names */
    size_t model_count;
};

/* One thing that `config show` prints: path, value as text, where it comes from. */
struct config;

struct config {
    atomic_uint references;
    const char *path;    /* of the file, or NULL: built in */
    uint64_t generation; /* counts reloads */

    struct listener_settings *listeners;
    size_t listener_count;
    const char *base_path;
    struct {
        size_t max_header_bytes, max_body_bytes, max_upload_bytes, client_buffer_bytes;
        unsigned max_connections, max_streams; /* those of one connection in HTTP/2 */
    } limits;
    struct {
        int64_t client_header_us, client_body_us, client_idle_us, stream_idle_us, keepalive_ping_us;
        int64_t client_body_min_rate; /* bytes per second; 0 = none */
    } timeouts;
    struct text *cors_origins;
    size_t cors_origin_count;
    int64_t drain_delay_us, grace_us;
    unsigned workers; /* resolved: at least 1 */

    const char *state; /* the STATE directory, resolved */
    const char *admin_socket;
    struct admin_key *admin_keys; /* admin.key first, named "admin", when it is given */
    size_t admin_key_count;       /* 0: one is made at the first start */
    bool admin_read_only;
    int64_t session_ttl_us; /* of the dashboard */
    struct oidc_settings oidc;
    const char *database; /* store.embedded.path */
    const char *ledger_path;
    bool ledger_sync_disk, ledger_sync_store;
    int64_t keep_requests_us, keep_minutes_us, keep_hours_us, keep_days_us;
    int64_t keep_decisions_us; /* 0 = none are kept */
    size_t keep_decisions_bytes;
    int capture;             /* enum capture_level */
    int64_t keep_content_us; /* of what is said; at most as long as single calls */
    size_t keep_content_bytes;

    struct provider_settings *providers;
    size_t provider_count;
    struct target *targets; /* of all models, in file order */
    size_t target_count;
    unsigned targets_can; /* enum can: what all of them can */
    struct route *models;
    size_t model_count;
    struct routes *routes;
    struct rules rules;
    struct route_policy *policies;
    size_t policy_count;
    const struct route_policy *default_policy; /* never NULL */
    bool unknown_model_passthrough;

    struct {
        bool is_redis;
        struct redis_options redis;
        const char *key_prefix;
        unsigned replicas_max;
        enum limit_away away_limits, away_budgets;
    } store;

    struct {
        const struct deploy_profile *profiles;
        size_t profile_count;
        unsigned max_per_tenant; /* deployments that its calls have made */
        const struct node_spec *nodes;
        size_t node_count;
        struct deployment_spec **specs;
        size_t spec_count;
        size_t made_from; /* so many entries stand in the file */
        bool leave;       /* what runs is not ended with us */
    } deploy;

    int64_t batch_poll_us;
    struct {
        unsigned concurrency, per_tenant, queue_max, queue_max_per_tenant, attempts;
        size_t payload_max, result_max, disk_max, upload_max, upload_quota;
        int64_t expires_us, keep_us, lease_us, upload_ttl_us;
        const char *public_url; /* without a slash at its end; NULL = the Host that was asked */
        struct {
            struct text secret; /* empty: there are no webhooks */
            unsigned attempts;
            int64_t backoff_us, timeout_us;
            bool allow_private;
        } hook;
        struct {
            struct text *command;
            size_t count; /* 0 = none */
            int64_t timeout_us;
            unsigned concurrency, log_lines;
            size_t memory; /* 0 = no limit */
        } finetune;
    } jobs;
    struct tenant *tenants;
    size_t tenant_count;
    struct key *key_list;
    size_t key_count;
    struct {
        struct limit_list defaults; /* for tenants and keys that set none */
        enum limit_algorithm algorithm;
        bool strict_tokens;
        bool headers_openai, headers_ietf;
        int64_t hold_429_us; /* a wait up to this is held instead of refused; 0 = none */
    } policy_limits;
    struct {
        bool enabled;
        struct token_settings settings;
        const char *jwks_url;
        struct url jwks;
        int64_t refresh_us;
    } jwt;
    struct {
        bool exact, shared_scope, stream;
        int64_t ttl_us;
        size_t max_bytes;
        int64_t max_temperature_milli; /* 1000 = 1.0 */
        bool semantic;
        struct text semantic_model;
        int threshold; /* in millionths */
        int64_t semantic_ttl_us;
        unsigned semantic_entries;
    } cache;
    struct guard_rule *guard_rules;
    size_t guard_rule_count;
    struct guard *guard;             /* NULL = no rules */
    bool anonymous;                  /* no key is needed, and any key is accepted as `local` */
    bool aws_signatures;             /* clients of Bedrock may sign their calls (signature.h) */
    bool anonymous_implied;          /* for the file has no tenant: see anonymous.h */
    const struct key *anonymous_key; /* who such a caller is */

    struct {
        int level;  /* enum log_level */
        int format; /* enum log_format */
        const char *file;
        bool access_enabled;
        double access_sample;
        bool decisions; /* in the access log */
        bool metrics_enabled, metrics_public;
        const char *metrics_path;
        bool tenant_label, gen_ai;
        unsigned max_label_values;
        const uint8_t *access_fields; /* enum access_field, in the order of a line; none = all */
        size_t access_field_count;
    } telemetry;
    struct tracing_settings tracing;

    void *memory; /* arena and document that everything above borrows from */
};

struct made_list;

struct config_options {
    const char *path; /* NULL: find sluice.yaml, /etc/sluice/sluice.yaml; see config_find() */
    bool allow_inert; /* keys that protect but are not in force yet are warnings, not errors */
    bool allow_unset; /* values whose variables are not set are left out: for commands that do not
                         serve, and so need no secrets */
    const struct made_list *made; /* deployments of the store, or NULL; during the call */
    bool quickstart;              /* no file: loopback, mock, providers found in the environment */
    FILE *words;                  /* where problems are printed; NULL = nowhere */
    bool json;                    /* problems as JSON, one object per line */
};

struct config_result {
    struct config *config; /* NULL when there was an error; else with one reference */
    unsigned errors, warnings;
};

/* Read, check and resolve. Never touches the network. */
struct config_result config_load(const struct config_options *options);

enum severity { SEVERITY_ERROR, SEVERITY_WARNING };

/* Print a problem of the file that was found after it was read, as config_load() does. */
void config_say(const struct config_options *options, enum severity severity, const char *text);
/* $SLUICE_CONFIG, ./sluice.yaml, /etc/sluice/sluice.yaml - or NULL. */
const char *config_find(void);

struct config *config_ref(struct config *config);
void config_unref(struct config *config);

/* What <model> costs at a provider of <type>, for a target that the file does not declare
 * (provider/model): by the catalogue, else by ledger.unknown_price. Sealed. False: its price is
 * unknown and it must not be called. */
bool config_price(const struct config *config, const struct provider_type *type, struct text model,
                  struct price *price);

/* The mapping in a YAML or JSON file, as JSON. False: it cannot be read; said to <words>. */
bool config_file_to_json(const char *path, struct buffer *out, FILE *words);

/* A file of prices, YAML or JSON: {NAME: PRICE, …}, with the words that a target's `price` has. */
struct prices;
/* NULL when it has errors; they are printed to <words>. */
struct prices *prices_load(const char *path, FILE *words);
void prices_free(struct prices *prices);
/* The price under <name>, sealed; or NULL. */
const struct price *prices_find(const struct prices *prices, struct text name);

/* A file with one routing policy: a mapping as they stand in routing.policies. */
struct policy_file;
/* NULL when it has errors; they are printed to <words>. */
struct policy_file *policy_file_load(const char *path, FILE *words);
/* The same of a text, which is called "policy" in <words>. Variables stand for themselves. */
struct policy_file *policy_file_read(struct text yaml, FILE *words);
void policy_file_free(struct policy_file *file);
const struct route_policy *policy_file_policy(const struct policy_file *file);

/* The words of `config show --effective [--origin]`, `config schema`, docs/CONFIG.md, `init`.
 * Secrets are masked; so are hashes of keys, unless they are asked for. */
enum { SHOW_ORIGINS = 1, SHOW_HASHES = 2 };
void config_show(const struct config *config, FILE *out, unsigned what);
void config_schema(FILE *out);
void config_reference(FILE *out);
void config_example(FILE *out);
/* Print what differs between two configurations, one "path: old -> new" a line; returns how many.
 */
unsigned config_diff(const struct config *before, const struct config *after, FILE *out);
