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
#include "gateway/service_state.h"
#include "gateway/session.h"

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
    hash_random(service->session_secret.bytes, sizeof service->session_secret.bytes);
    if (!serves_dashboard(service->config))
        return;
    char *path = memory_format("%s/session_secret", service->config->state);
    struct digest kept;
    if (admin_read_digest(path, &kept))
        service->session_secret = kept;
    else if (errno != ENOENT || !admin_write_digest(path, &service->session_secret))
        log_line(LOG_WARN, "admin", "%s: %s; a restart will end the dashboard's sessions", path,
                 strerror(errno));
    memory_free(path);
}

/* ---------------------------------------------------------------------------- who asks */

static bool is_session_of(const struct service *service, const struct config *config,
                          const struct digest *key, struct text value, int64_t *until_s)
{
    return session_is_good(&service->session_secret, key, value, clock_wall_us() / SECOND_US,
                           config->session_ttl_us / SECOND_US, until_s);
}

bool admin_know_session(const struct service *service, const struct config *config,
                        const struct head *head, struct admin_caller *caller)
{
    struct text values[SESSION_TRIED_MAX];
    size_t count = session_may_ask(head) ? session_find(head, values) : 0;
    int64_t until_s;
    for (size_t v = 0; v < count; v++) {
        if (service->has_admin_key &&
            is_session_of(service, config, &service->admin_key, values[v], &until_s)) {
            admin_set_caller(caller, ADMIN_ROLE_ADMIN, TEXT("admin"), TEXT(""));
            caller->session_until_s = until_s;
            return true;
        }
        for (size_t i = 0; i < config->admin_key_count; i++) {
            const struct admin_key *one = &config->admin_keys[i];
            if (!is_session_of(service, config, &one->digest, values[v], &until_s))
                continue;
            admin_set_caller(caller, one->role, one->name, one->tenant);
            caller->session_until_s = until_s;
            return true;
        }
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

static void put_cookie(struct admin_call *call, const char *value, int64_t age_s)
{
    snprintf(call->cookie, sizeof call->cookie,
             "sluice_session=%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Strict%s", value,
             (long long)age_s, call->is_tls ? "; Secure" : "");
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
    session_write(&service->session_secret, &call->caller.key, until_s, value);
    put_cookie(call, value, ttl_s);
    write_session(config, call, until_s);
}

void admin_session_end(struct service *service, struct config *config, struct admin_call *call)
{
    (void)service;
    (void)config;
    put_cookie(call, "", 0);
    call->status = 204;
}
