/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * config_document - a configuration while it is read: the tree of what the files say, each value
 * with its position, and the problems found so far. Private to gateway/config, and
 * to gateway/cli/convert*.c, which read files of other gateways.
 *
 * The document owns everything that a `struct config` points to, and lives as long as it does.
 */

#include "gateway/base/list.h"
#include "gateway/base/memory.h"
#include "gateway/config/config.h"
#include "gateway/made/made.h"

enum {
    CONFIG_FILE_BYTES_MAX = 64 << 20,
    CONFIG_SOURCES_MAX = 256, /* the file, what it includes, environment variables */
    CONFIG_NODES_MAX = 8 << 20,
    CONFIG_ALIASED_MAX = 1 << 16, /* values that aliases stand for */
    CONFIG_DEPTH_MAX = 24,
    CONFIG_PROBLEMS_MAX = 200, /* more are counted, not printed */
    CONFIG_AREAS_MAX = 128,
};

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

/* A value, together with its key when it stands in a mapping. */
struct node {
    struct node *next;  /* the next entry of the same mapping or list */
    struct node *first; /* the first entry */
    struct node *above; /* the mapping or list it is in; of an alias' entries: where they stand */
    const char *key;    /* NUL-terminated; NULL in a list */
    const char *at;     /* NUL-terminated text of a scalar, after interpolation */
    const char *raw;    /* as it stood before interpolation, or NULL when there was none */
    uint32_t key_len, len;
    uint32_t key_line, line; /* from 1; 0 = not from a file */
    uint16_t key_column, column;
    uint16_t source; /* index into document.sources */
    uint8_t kind;
    bool plain;    /* a scalar without quotes: "5" is a number, "true" a truth value */
    uint16_t made; /* an entry of deployments.models of the store: its number there, from 1 */
    bool broken;   /* a problem of this value was reported already */
};

struct problem {
    enum severity severity;
    const char *file;
    unsigned line, column;
    const struct node *node; /* for the path; may be NULL */
    const char *text;
    const char *hint; /* what was probably meant, or NULL */
    unsigned order;
};

/* A run of equal things in the arena. */
struct items {
    void *at;
    size_t count;
};

struct pair {
    struct text name, value;
    const struct node *node;
};

/* What the tables of config/options.c fill in before references are resolved. Each begins with its
 * node, so that offset 0 can mean "kept nowhere". */
struct listener_draft {
    const struct node *node;
    struct listener_settings settings;
    struct text name;
    unsigned serve; /* bits in the order of the option's words */
    int proxy_protocol, min_version;
    struct items trusted_proxies; /* struct text */
};

struct provider_draft {
    const struct node *node;
    struct provider_settings settings;
    struct text type;
    struct items headers;  /* struct pair */
    struct items retry_on; /* struct text */
    struct items api_keys; /* struct text */
    struct items tags;     /* struct text */
    double error_rate;
    int health_mode;
    int service; /* enum service_tier */
    struct text entra_tenant, entra_client, entra_secret;
    const char *credentials_file;         /* of Vertex AI */
    struct provider_settings *to;         /* where it ends up */
    const struct provider_type *resolved; /* NULL when the type is unknown */
    bool unusable;                        /* off for a reason that its targets repeat */
};

struct target_draft {
    const struct node *node;
    struct target target;
    struct text provider;
    struct items capabilities, tags; /* struct text */
    int prefill;
};

struct model_draft {
    const struct node *node;
    struct route route;
    struct items aliases;      /* struct text */
    struct items capabilities; /* struct text */
    struct items targets;      /* struct target_draft */
    struct text policy;
};

struct budget_draft {
    const struct node *node; /* NULL = none is given */
    int64_t amount, window_us;
    struct text time_zone;
    struct items warn_at; /* struct text */
    int exceeded, away;
};

/* Rows of requests and tokens per second, minute, hour, day, and of calls at once. */
enum { RATES = 17 };

/* A `limits` section, or what one says for one model. */
struct rates_draft {
    const struct node *node; /* NULL = none is given */
    int64_t amounts[RATES];  /* 0 also stands for none: the node knows */
    bool strict;
    int algorithm, away;
    struct items models; /* struct rates_draft, whose node's key is the model */
    struct budget_draft budget;
    struct items budgets; /* struct budget_draft */
};

/* What a key, a tenant, or each end user of one may use. */
struct level_draft {
    const struct node *node; /* of `users` */
    struct rates_draft limits;
    struct budget_draft budget;
    struct items budgets; /* struct budget_draft */
};

struct key_draft {
    const struct node *node;
    struct key key;
    struct items models; /* struct text */
    struct items tags;   /* struct pair */
    struct level_draft level;
};

struct tenant_draft {
    const struct node *node;
    struct tenant tenant;
    struct text parent;
    struct items models;    /* struct text */
    struct items tags;      /* struct pair */
    struct items residency; /* struct text */
    struct items keys;      /* struct key_draft */
    unsigned may_set;
    int capture;
    struct level_draft level, users;
};

struct admin_key_draft {
    const struct node *node;
    struct admin_key key;
    int role;
};

struct oidc_role_draft {
    const struct node *node;
    struct oidc_role role;
    int word;
};

struct guard_draft {
    const struct node *node;
    struct guard_rule rule;
    int stage, type, action, on_error;
    struct items patterns, terms, entities, tenants, models; /* struct text */
};

struct policy_draft {
    const struct node *node;
    struct route_policy policy;
    int strategy, signal, sticky_by;
    double cost, latency, load, explore, hedge_share;
    bool resume;
    struct items fallback; /* struct text */
};

struct rule_draft {
    const struct node *node;
    struct rule rule;
    struct items tenants, keys, users, models; /* struct text */
    struct items tags, headers;                /* struct pair */
    struct text input_tokens, from, to, zone;
    unsigned days, needs;
    double sample;
    int sticky;
    struct text use_model, use_policy, mirror_target;
    struct items use_targets, use_tags, use_fallback; /* struct text */
    double mirror_share;
    size_t mirror_bytes;
    unsigned mirror_calls;
    int64_t max_cost;
};

/* A node that model servers are placed on. */
struct machine_draft {
    const struct node *node;
    struct node_spec spec;
    int launcher;
    const char *ca_file, *cert_file, *key_file, *token_file;
    size_t memory, vram;
    int64_t cpus; /* billionths */
    unsigned gpus;
};

struct adapter_draft {
    const struct node *node;
    struct adapter_spec spec;
};

struct attachment_draft {
    const struct node *node;
    struct text model;
    unsigned priority, weight;
};

struct volume_draft {
    const struct node *node;
    struct spec_volume spec;
    size_t size;
};

struct toleration_draft {
    const struct node *node;
    struct spec_toleration spec;
    int effect;
};

struct deployment_draft {
    const struct node *node;
    struct deployment_spec spec;
    struct text description;
    int launcher, engine, idle_action, hold_policy, eviction_policy, strategy;
    size_t memory, vram, hold_bytes;
    int64_t cpus, max_slowdown; /* billionths */
    unsigned gpus, priority;
    double target_share, max_errors;
    int64_t context_tokens, first_byte_us, total_us;
    struct price price;
    struct items command, steps, capabilities, tags; /* struct text */
    struct items env;                                /* struct pair */
    struct items adapters;                           /* struct adapter_draft */
    struct items attach_to;                          /* struct attachment_draft */
    struct items volumes;                            /* struct volume_draft */
    struct items node_selector;                      /* struct pair */
    struct items tolerations;                        /* struct toleration_draft */
    bool of_model;                /* its name is that of a model that it is a target of */
    struct provider_settings *to; /* where its calls go; NULL = it is broken */
};

/* What a Monster deploy call starts. */
struct profile_draft {
    const struct node *node; /* its key: "24x1" */
    int launcher, engine;
    struct text machine, image;
    struct items command; /* struct text */
    struct items models;  /* struct pair */
    size_t memory;
};

struct source {
    const char *name; /* a file, or the name of an environment variable */
    bool is_variable;
    bool is_made; /* what the store has: a problem in it is a warning */
};

struct document {
    const struct node *node; /* the root mapping */
    struct config config;
    struct arena arena;
    struct node *root; /* the same as <node> */

    struct source sources[CONFIG_SOURCES_MAX];
    size_t source_count;
    size_t node_count, aliased_count;
    bool allow_inert, allow_unset, json;
    const struct made_list *made; /* while it is loaded */

    struct problem problems[CONFIG_PROBLEMS_MAX];
    size_t problem_count;
    unsigned errors, warnings;
    const struct node *inert[CONFIG_AREAS_MAX]; /* first use of each inert option */
    size_t inert_count;

    /* Options that need work after reading. */
    int64_t version;
    struct items listeners, providers, models, tenants, policies, rules;
    struct items cors_origins, include, access_fields;
    struct items tracing_headers;  /* struct pair */
    bool tracing_as_is;            /* a variable has the whole address */
    struct items finetune_command; /* struct text */
    int ledger_sync, unknown_price, unknown_model, store_type;
    struct price price_cap;
    struct text default_policy;
    struct text admin_key;
    struct items admin_keys;
    struct items oidc_roles, oidc_scopes; /* struct oidc_role_draft; struct text */
    int redis_mode, away_limits, away_budgets;
    struct items sentinels;
    struct rates_draft default_limits;
    int algorithm;
    unsigned limit_headers;
    int cache_scope;
    int64_t max_temperature; /* billionths */
    double threshold;
    struct items guardrails;
    int on_exit;
    struct items machines, deployments, profiles;
};

/* ---------------------------------------------------------------------------- the tree */

/* The entry of the mapping <node> that is called <name>, or NULL. */
struct node *node_find(const struct node *node, const char *name);
/* The same, or else <node> itself: where a problem with it is shown. */
const struct node *node_of(const struct node *node, const char *name);
/* Does the file give this value, and not as null? */
bool node_is_given(const struct node *node);
/* The same as node_find(), down a dotted path such as "telemetry.log.level". */
struct node *node_at(const struct node *node, const char *path);
/* An empty value, at <node>, or of its own in the arena; either counts as one more. */
void node_begin(struct document *document, struct node *node, enum node_kind kind, size_t source);
struct node *node_new(struct document *document, enum node_kind kind, size_t source);
void node_append(struct node *parent, struct node *entry);
/* Set a scalar below <map> at a dotted path, making the mappings on the way. */
struct node *node_set(struct document *document, struct node *map, const char *path,
                      struct text value, size_t source);

static inline struct text node_text(const struct node *node)
{
    return (struct text){node->at, node->len};
}

static inline struct text node_key(const struct node *node)
{
    return (struct text){node->key, node->key_len};
}

/* Where it stands, e.g. "/providers/0/api_key"; cut when it does not fit. */
void node_path(const struct document *document, const struct node *node, char *path, size_t room);
/* On one line, as in "[a, b]" or "{a: 1}", into the arena; at most 4 KiB, then cut. */
struct text node_flow(struct document *document, const struct node *node);
/* The text to show in a message: never what a variable held. */
struct text node_shown(const struct node *node);

/* "line 12", or "other.yaml:12" when <seen_from> is in another file; in the arena. */
const char *node_place(struct document *document, const struct node *node,
                       const struct node *seen_from);

/* An empty one, and its end. */
struct document *document_new(const struct config_options *options);
void document_free(struct document *document);

/* Add a source of values; returns its index. */
size_t document_source(struct document *document, const char *name, bool is_variable);

/* ------------------------------------------------------------------------------- problems */

/* Report a problem at the key or at the value of <node> (NULL: the file as a whole). The result
 * may be given a hint; it is never NULL. */
struct problem *problem_at_key(struct document *document, const struct node *node,
                               enum severity severity, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
struct problem *problem_at_value(struct document *document, const struct node *node,
                                 enum severity severity, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A problem of a file at a place for which there is no node. */
struct problem *problem_at(struct document *document, size_t source, unsigned line, unsigned column,
                           const char *text);
/* Print all of them, in the order of the file. */
void problems_print(struct document *document, FILE *out);

/* The nearest of the names that <next> gives, one after the other (an empty one ends), or NULL when
 * none is near. */
struct text nearest(struct text word, struct text (*next)(void *with, size_t i), void *with);

/* --------------------------------------------------------------------------------- reading */

/* The tree of one YAML text; <name> stands for the file in messages. NULL when it is none
 * (reported). */
struct node *yaml_read(struct document *document, const char *name, struct text yaml);

/* The tree of a file that is no configuration: nothing is included, added or replaced. NULL when it
 * cannot be read or is no YAML mapping (reported). */
struct node *document_read_plain(struct document *document, const char *path);
/* Read the file, what it includes and what the environment adds into document->root, with ${…}
 * replaced; false when a file cannot be read or is no YAML (reported). */
bool document_read(struct document *document, const char *path);
/* The same from memory. */
bool document_read_text(struct document *document, const char *name, struct text yaml);
/* The text of a file that holds a secret, without the newline at its end, in the arena; false when
 * it cannot be read (reported at <node>, whose text is the path). */
bool secret_read(struct document *document, const struct node *node, struct text *secret);

/* Put the deployments of the store behind those of the file. */
void document_add_made(struct document *document);
/* Put in what the OTEL_* variables say, which wins over the file. */
void document_override_tracing(struct document *document);
/* The entry of the store that <node> belongs to, or NULL. */
struct node *made_entry(const struct node *node);
/* How bad a problem at <node> is; marks the entry of the store that it belongs to as broken. */
enum severity made_severity(struct document *document, const struct node *node,
                            enum severity severity);
/* What the store knows of the entry <node> besides its document. */
void made_mark(struct document *document, const struct node *node, struct deployment_spec *spec);

/* ---------------------------------------------------------------------- checking, resolving */

/* Compare the tree with the option tables and fill in the drafts. */
void document_fill(struct document *document);
/* The same of one mapping and the rows for it, kept in <base>. */
struct option;
void document_fill_mapping(struct document *document, const struct node *node,
                           const struct option *options, void *base);
/* Turn drafts into the configuration: references, defaults, prices, keys. */
void document_resolve(struct document *document);

void resolve_listeners(struct document *document);
void resolve_admin(struct document *document);
void resolve_store(struct document *document);
void resolve_providers(struct document *document);
/* Of one provider, before its URL is looked at. */
void resolve_sign_in(struct document *document, struct provider_draft *draft);
/* Under which name AWS' services of <region> are. */
const char *aws_domain(struct text region);
void resolve_policies(struct document *document);
/* The policy called <name>, NULL when there is none (reported at <at>). */
const struct route_policy *find_policy(struct document *document, struct text name,
                                       const struct node *at);
void resolve_models(struct document *document);
/* Before the models: of each deployment a provider, a spec. */
void resolve_deployments(struct document *document);
/* How many targets and models there are for them, at most. */
size_t deploy_target_count(const struct document *document);
size_t deploy_model_count(const struct document *document);
/* Those that are attached to <route>, behind its own targets. */
void deploy_attach(struct document *document, struct route *route);
/* Their own models, behind all others. */
void deploy_routes(struct document *document);
/* config/deploy_pod.c */
/* As a specification has them. */
struct spec_pair *deploy_pairs(struct document *document, const struct pair *pairs, size_t count);
void deploy_pod_fill(struct document *document, struct deployment_draft *draft);
void deploy_pod_check(struct document *document, const struct deployment_draft *draft);
/* After the models. */
void resolve_rules(struct document *document);
/* What capabilities say that matter for routing, and all where they say nothing. */
unsigned read_capabilities(struct items capabilities);
/* Warn of tags in <list> that no target has. */
void check_tags(struct document *document, const struct node *list);
/* Are the names that policies fall back on those of models or targets? */
void check_fallbacks(struct document *document);
/* Say which names of <list> (or NULL) are neither a model nor a target, and whether it is too long.
 */
void check_fallback_list(struct document *document, const struct node *list);
void resolve_limits(struct document *document);
void resolve_anonymous(struct document *document);
void resolve_tenants(struct document *document);
/* Warn of targets under a budget of whose answers nobody knows how long they may be. */
void check_lengths(struct document *document);
void resolve_jwt(struct document *document);
void resolve_oidc(struct document *document);
void resolve_cache(struct document *document);
void resolve_tracing(struct document *document);

/* May a header that somebody sets stand in a request beside those that are written anyway? */
bool header_may_be_added(struct text name, struct text value);
void resolve_guardrails(struct document *document);

/* The limits that <draft> says; those by default when it has no `limits` section and
 * <or_default>. */
struct limit_list level_limits(struct document *document, const struct level_draft *draft,
                               bool or_default);

/* Can anybody show something: a key of the file, or a token? */
bool document_has_keys(const struct document *document);
/* Is there a model, an alias or a deployment <name>? Patterns and provider/model may be. */
bool model_is_known(const struct document *document, struct text name);
/* Warn at <node> that there is no model of this name. */
void say_unknown_model(struct document *document, const struct node *node, struct text name);
/* The same of the names in <list> (or NULL): most likely typing errors. Patterns, and names of the
 * form provider/model, may be about what is asked for later. */
void check_model_names(struct document *document, const struct node *list);
/* Of tenants, keys and tags of calls only what is nearly a name in the file is warned of: others
 * may be made while it runs, or come with a call. */
void check_tenant_names(struct document *document, const struct node *list);
void check_key_names(struct document *document, const struct node *list);
void check_tag_name(struct document *document, const struct node *node, struct text name);

/* The YAML of a start without any file, in the arena. */
struct text quickstart_yaml(struct document *document);

/* --------------------------------------------------------------------------- this machine */

/* The STATE directory; not made. In the arena. */
const char *host_state_directory(struct arena *arena);
/* Processors this process may use, by affinity and control group; at least 1. */
unsigned host_cpus(void);
