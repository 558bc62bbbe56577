/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * directory - everybody who may call: the tenants and keys of the file, those made through the API,
 * and the bearers of tokens. A door of policy.
 *
 * A `struct directory` is an immutable view, counted (any thread); whoever holds one may use the
 * keys and tenants found in it. A `struct roster` is what the API makes: kept in the store (SQLite,
 * or Redis when that is the store), changed here, and the maker of new views when something changed
 * here or on another replica.
 *
 * What a file declares is never changed by the API, and a name is never in both: making one that is
 * in the file is refused; one that the file declares later wins, with a warning in the log.
 */

#include "gateway/base/buffer.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"
#include "policy/policy.h"

/* -------------------------------------------------------------------------------- the view */

struct directory;

struct directory *directory_ref(struct directory *directory);
void directory_unref(struct directory *directory);
/* Rises from view to view: of two that come on different ways, the later one is in force. */
uint64_t directory_version(const struct directory *directory);

/* Is each tenant of <directory> what it is in <other>, with the same limits? False may be said of
 * some that are. At once, however many there are. */
bool directory_has_tenants_of(const struct directory *directory, const struct directory *other);
/* Is what both have of the file the same? Never after a reload. */
bool directory_has_file_of(const struct directory *directory, const struct directory *other);
/* Has a stored key got a limit, between the two, that it had not before? True may be said where
 * none has. At once, however many there are; <other> is of the same roster. */
bool directory_has_gained(const struct directory *directory, const struct directory *other);
/* <base> with the stored keys that <later> has: those that were revoked since are refused. Of
 * the same version, with a reference for the caller. */
struct directory *directory_with_keys(struct directory *base, const struct directory *later);

/* Is there a tenant, or a key that is not revoked, that was made through the API? At once, however
 * many there are. */
bool directory_has_stored(const struct directory *directory);
/* Is nothing known of those: they are in Redis, which has not answered since the database was new?
 * At once. */
bool directory_is_unknown(const struct directory *directory);

/*
 * Who owns <secret>? NULL for a key that is unknown, revoked, expired at <wall_us>, or whose tenant
 * is off: one answer for every failure. By SHA-256, compared in constant time.
 */
const struct key *directory_find_key(const struct directory *directory, struct text secret,
                                     int64_t wall_us);
/* The key of this name in <tenant>, be it expired or its tenant off; NULL when there is none that
 * is not revoked. */
const struct key *directory_find_named(const struct directory *directory, struct text tenant,
                                       struct text name);
/* For who proves that he knows a secret without saying it: what is kept of the secrets (their
 * SHA-256) that open the key of this name in <tenant> at <wall_us>, at most two (of a key that was
 * rotated). How many; 0 for a key that is unknown, revoked, expired, or whose tenant is off. */
enum { KEY_SECRETS_MAX = 2 };
size_t directory_find_secrets(const struct directory *directory, struct text tenant,
                              struct text name, int64_t wall_us,
                              struct digest secrets[KEY_SECRETS_MAX], const struct key **key);
/* Call <see> for every key, or tenant, in no order. A key is good for the time of the call only. */
void directory_each_key(const struct directory *directory,
                        void (*see)(void *with, const struct key *key), void *with);
void directory_each_tenant(const struct directory *directory,
                           void (*see)(void *with, const struct tenant *tenant), void *with);
const struct tenant *directory_find_tenant(const struct directory *directory, struct text name);

/* ------------------------------------------------------------------------------ the roster */

struct roster;

/* Where the stored ones are. */
struct roster_options {
    const char *database;              /* SQLite file; NULL = none */
    const struct redis_options *redis; /* NULL = embedded; borrowed while it is open. The file then
                                          keeps what is there for a start without Redis */
    const char *prefix;                /* of the names in Redis, "sluice:" */
    /* A new view, with a reference that is the callee's: on the thread that changed something, or
     * that learnt of it. Two may come at once; see directory_version(). */
    void (*on_change)(void *with, struct directory *directory);
    void *with;
};

/* What the file declares; borrowed from <owner>, which the views made of it keep: <owner_ref> and
 * <owner_unref> are called for it (any thread). */
struct roster_file {
    const struct tenant *tenants;
    size_t tenant_count;
    const struct key *keys;
    size_t key_count;
    const struct limit *defaults; /* limits.default: for stored tenants and keys that set none */
    size_t default_count;
    enum limit_algorithm algorithm;
    bool strict_tokens;
    enum limit_away away_limits, away_budgets;
    void *owner;
    void (*owner_ref)(void *owner);
    void (*owner_unref)(void *owner);
};

/* Open the store and start the roster's thread. When the store cannot be read now, there are only
 * the file's keys until it can be. NULL and *fault for a file of SQLite that cannot be used. */
struct roster *roster_open(const struct roster_options *options, const struct roster_file *file,
                           struct fault *fault);
void roster_close(struct roster *roster);
/* A reload: the view in force from now on, with a reference for the caller; no on_change for it. */
struct directory *roster_set_file(struct roster *roster, const struct roster_file *file);
/* The view in force now, with a reference for the caller. Any thread. */
struct directory *roster_view(struct roster *roster);

/*
 * The API's operations: JSON in, JSON out (shapes: docs/KEYS.md). Block for at most 2 s: not for a
 * worker's thread. <status> is HTTP's; beyond 2xx <out> has the words of the problem as text.
 *
 *   GET    tenants            GET keys            lists: query tenant=, limit= (1-500), after=
 *   GET    tenants/NAME       GET keys/ID         ID: "key_" + 20 letters; of the file: TENANT:NAME
 *   POST   tenants            POST keys           make; a key's secret is in this answer only
 *   PATCH  tenants/NAME       PATCH keys/ID       change limits, budget, models, tags, expires, …
 *   DELETE tenants/NAME       DELETE keys/ID      a tenant must be empty; a key is revoked
 *   POST   keys/ID/rotate                         a second secret; the old one lives on for
 *                                                 `overlap` (default 24h, at most 30d)
 */
struct roster_call {
    const char *method; /* "GET" … */
    struct text path;   /* "keys", "keys/key_abc/rotate" … */
    struct text query, body;
    struct text only_tenant; /* role tenant: sees and changes only below this one; else empty */
    int status;
    struct buffer out; /* buffer_init() before */
};
void roster_ask(struct roster *roster, struct roster_call *call);

struct roster_figures {
    uint64_t tenants, keys, version;
    bool up;
};
struct roster_figures roster_figures(struct roster *roster);

/* ------------------------------------------------------------------------- tokens (JWT) */

/* What is accepted as a token. Texts are borrowed for its life. */
struct token_settings {
    struct text issuer, audience;
    struct text tenant_claim,
        models_claim; /* default "tenant", "models"; a dotted path is one too */
};

/* One thread. */
struct tokens;
struct tokens *tokens_new(const struct token_settings *settings);
void tokens_free(struct tokens *tokens);
/* Put the issuer's keys in force (RFC 7517) instead of those before. False, and nothing changes,
 * when it is no set of at least one usable key. */
bool tokens_set_keys(struct tokens *tokens, struct text jwks);

enum token_result {
    TOKEN_NONE, /* not a token at all (no three parts): look for a key */
    TOKEN_GOOD,
    TOKEN_BAD,    /* signature, issuer, audience, time, tenant */
    TOKEN_NO_KEY, /* signed by a key that is not known (yet): fetch the set, at most every 10 s */
};
/*
 * Check <token> (RFC 7519; RS256/384/512, PS256…, ES256/384/512; never none or HMAC): signature,
 * iss, aud, exp and nbf with 60 s of leeway. Verified tokens are remembered by digest until they
 * expire (bounded). *key is a key made of it, in <arena>: name = "token:" and sub, tenant of
 * <directory>, models of the claim, no limits of its own; it lives as long as <arena> and
 * <directory>. A subject has the same name and digest each time.
 */
enum token_result tokens_check(struct tokens *tokens, struct directory *directory,
                               struct text token, int64_t wall_us, struct arena *arena,
                               const struct key **key);
