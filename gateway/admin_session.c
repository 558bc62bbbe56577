/* SPDX-License-Identifier: Apache-2.0 */
/* Signing in to the dashboard: an admin key is given once, and a cookie stands for it (session.h).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/oidc_protocol.h"
#include "gateway/service_state.h"
#include "gateway/session.h"
#include "gateway/spent.h"

enum { SECOND_US = 1000000 };

static const char *const role_words[] = {
    [ADMIN_ROLE_ADMIN] = "admin",
    [ADMIN_ROLE_VIEWER] = "viewer",
    [ADMIN_ROLE_TENANT] = "tenant",
};

/* ---------------------------------------------------------------------------- the secret */

static bool serves_dashboard(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].serve & SERVE_UI)
            return true;
    return false;
}

void admin_open_sessions(struct service *service)
{
    const char *state = service->config->state;
    bool serves = serves_dashboard(service->config);
    char *path = memory_format("%s/ended_sessions", state);
    service->ended_sessions = spent_new(serves ? path : NULL);
    service->ended_sign_ins = spent_new(NULL); /* their codes are good once by themselves */
    memory_free(path);
    hash_random(service->session_secret.bytes, sizeof service->session_secret.bytes);
    if (!serves)
        return;
    path = memory_format("%s/session_secret", state);
    struct digest kept;
    if (admin_read_digest(path, &kept))
        service->session_secret = kept;
    else if (errno != ENOENT || !admin_write_digest(path, &service->session_secret))
        log_line(LOG_WARN, "admin", "%s: %s; a restart will end the dashboard's sessions", path,
                 strerror(errno));
    memory_free(path);
}

/* ---------------------------------------------------------------------------- who asks */

/* The secret of all replicas, where it is known: what is given now is good at each of them. */
static const struct digest *secret_of(const struct service *service)
{
    const struct digest *shared = atomic_load(&service->shared_secret);
    return shared ? shared : &service->session_secret;
}

void admin_share_sessions(struct service *service, const struct digest *secret)
{
    const struct digest *now = atomic_load(&service->shared_secret);
    if (now && hash_same(now, secret))
        return;
    /* Others may be reading the one that was there, for as long as a request is looked at. Another
     * one comes when somebody has removed it, or Redis has lost it, each time SESSION_DESK_AGAIN_US
     * later at the soonest: nobody reads the oldest any more. */
    struct digest *oldest = &service->shared_secrets[service->shared_count % SHARED_SECRETS_MAX];
    *oldest = *secret;
    service->shared_count++;
    atomic_store(&service->shared_secret, oldest);
    if (now)
        log_line(LOG_WARN, "admin",
                 "the dashboard's sessions begin anew: Redis has another secret of them");
}

/* Of an issuer that we have a secret of, nobody knows the settings who knows the secret of all
 * alone: of a public client everybody may know them, and a session would be his to make. */
static const struct digest *secret_of_people(const struct service *service,
                                             const struct config *config)
{
    return config->oidc.client_secret.len ? secret_of(service) : &service->session_secret;
}

/* What was given while the secret of all was not known stays good here. */
static size_t secrets_of(const struct service *service, const struct digest *first,
                         const struct digest *secrets[2])
{
    secrets[0] = first;
    secrets[1] = &service->session_secret;
    return secrets[0] == secrets[1] ? 1 : 2;
}

static bool is_session_of(const struct service *service, const struct config *config,
                          const struct digest *key, struct text value, int64_t *until_s)
{
    const struct digest *secrets[2];
    size_t count = secrets_of(service, secret_of(service), secrets);
    for (size_t i = 0; i < count; i++)
        if (session_is_good(secrets[i], key, value, clock_wall_us() / SECOND_US,
                            config->session_ttl_us / SECOND_US, until_s))
            return true;
    return false;
}

static bool know_key_session(const struct service *service, const struct config *config,
                             struct text value, struct admin_caller *caller)
{
    int64_t until_s;
    bool is_known = service->has_admin_key &&
                    is_session_of(service, config, &service->admin_key, value, &until_s);
    if (is_known)
        admin_set_caller(caller, ADMIN_ROLE_ADMIN, TEXT("admin"), TEXT(""));
    for (size_t i = 0; !is_known && i < config->admin_key_count; i++) {
        const struct admin_key *one = &config->admin_keys[i];
        is_known = is_session_of(service, config, &one->digest, value, &until_s);
        if (is_known)
            admin_set_caller(caller, one->role, one->name, one->tenant);
    }
    if (is_known)
        caller->session_until_s = until_s;
    return is_known;
}

static bool know_person(const struct service *service, const struct config *config,
                        struct text value, struct admin_caller *caller)
{
    const struct digest *secrets[2];
    size_t count =
        config->oidc.enabled ? secrets_of(service, secret_of_people(service, config), secrets) : 0;
    struct session_person person;
    for (size_t i = 0; i < count; i++)
        if (session_is_person(secrets[i], &config->oidc.identity, value,
                              clock_wall_us() / SECOND_US, config->session_ttl_us / SECOND_US,
                              &person)) {
            admin_set_caller(caller, (enum admin_role)person.role, text_of(person.name),
                             text_of(person.tenant));
            caller->session_until_s = person.until_s;
            return true;
        }
    return false;
}

bool admin_know_session(const struct service *service, const struct config *config,
                        const struct head *head, bool is_tls, struct admin_caller *caller)
{
    struct text values[SESSION_TRIED_MAX];
    size_t count = session_may_ask(head) ? session_find(head, session_cookie(is_tls), values) : 0;
    for (size_t v = 0; v < count; v++) {
        if (values[v].len >= sizeof caller->session ||
            (!know_key_session(service, config, values[v], caller) &&
             !know_person(service, config, values[v], caller)))
            continue;
        if (spent_has(service->ended_sessions, values[v], clock_wall_us() / SECOND_US)) {
            caller->session_until_s = 0;
            continue;
        }
        snprintf(caller->session, sizeof caller->session, "%.*s", TEXT_ARGS(values[v]));
        return true;
    }
    return false;
}

/* ---------------------------------------------------------------------------- the answers */

static void write_session(const struct config *config, struct admin_call *call, int64_t until_s)
{
    struct json_write json = {.out = &call->out};
    const struct admin_caller *caller = &call->caller;
    json_open(&json, '{');
    json_text_member(&json, "name", text_of(caller->name));
    json_text_member(&json, "role", text_of(role_words[caller->role]));
    json_name(&json, "tenant");
    if (caller->role == ADMIN_ROLE_TENANT)
        json_text(&json, text_of(caller->tenant));
    else
        json_null(&json);
    json_bool_member(&json, "read_only", config->admin_read_only);
    json_text_member(&json, "version", TEXT(PROGRAM_VERSION));
    json_name(&json, "until");
    if (until_s > 0)
        json_int(&json, until_s);
    else
        json_null(&json);
    json_close(&json, '}');
    admin_done(call, &json);
}

static void write_cookie(const char *value, int64_t age_s, bool is_tls, char *cookie, size_t bytes)
{
    snprintf(cookie, bytes, "%s=%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Strict%s",
             session_cookie(is_tls), value, (long long)age_s, is_tls ? "; Secure" : "");
}

static void put_cookie(struct admin_call *call, const char *value, int64_t age_s)
{
    write_cookie(value, age_s, call->is_tls, call->cookie, sizeof call->cookie);
}

void admin_session_of_person(struct service *service, const struct config *config,
                             const struct session_person *person, bool is_tls, char *cookie,
                             size_t bytes)
{
    char value[SESSION_PERSON_BYTES];
    int64_t ttl_s = config->session_ttl_us / SECOND_US;
    struct session_person lasting = *person;
    lasting.until_s = clock_wall_us() / SECOND_US + ttl_s;
    session_write_person(secret_of_people(service, config), &config->oidc.identity, &lasting,
                         value);
    write_cookie(value, ttl_s, is_tls, cookie, bytes);
}

void admin_sign_in_ticket(const struct service *service, int64_t now_s, char *ticket)
{
    oidc_ticket_write(secret_of(service), now_s, ticket);
}

bool admin_know_ticket(const struct service *service, struct text ticket, int64_t now_s)
{
    const struct digest *secrets[2];
    size_t count = secrets_of(service, secret_of(service), secrets);
    for (size_t i = 0; i < count; i++)
        if (oidc_ticket_is_good(secrets[i], ticket, now_s))
            return true;
    return false;
}

void admin_session(struct service *service, struct config *config, struct admin_call *call)
{
    (void)service;
    write_session(config, call, call->caller.session_until_s);
}

void admin_session_begin(struct service *service, struct config *config, struct admin_call *call)
{
    char value[SESSION_BYTES];
    if (!call->has_dashboard) {
        admin_problem(call, 404,
                      TEXT("the dashboard is not served here: add ui to the listener's "
                           "serve"));
        return;
    }
    /* A session does not make itself longer. */
    if (call->caller.session_until_s > 0) {
        admin_problem(call, 403, TEXT("signing in takes an admin key, not a session"));
        return;
    }
    int64_t ttl_s = config->session_ttl_us / SECOND_US;
    int64_t until_s = clock_wall_us() / SECOND_US + ttl_s;
    session_write(secret_of(service), &call->caller.key, until_s, value);
    put_cookie(call, value, ttl_s);
    write_session(config, call, until_s);
}

void admin_session_end(struct service *service, struct config *config, struct admin_call *call)
{
    (void)config;
    if (call->caller.session_until_s > 0)
        spent_add(service->ended_sessions, text_of(call->caller.session),
                  call->caller.session_until_s, clock_wall_us() / SECOND_US);
    put_cookie(call, "", 0);
    call->status = 204;
}
