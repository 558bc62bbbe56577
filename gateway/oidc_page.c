/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/oidc_page.h"

#include <stdio.h>
#include <string.h>

#include "gateway/admin.h"
#include "gateway/base/json_write.h"
#include "gateway/base/log.h"
#include "gateway/client.h"
#include "gateway/dashboard.h"
#include "gateway/exchange.h"
#include "gateway/http/form.h"
#include "gateway/pages.h"
#include "gateway/service_state.h"
#include "gateway/worker_inside.h"

enum {
    CODE_MAX = 8192,
    WORD_MAX = 512,
    LOCATION_MAX = 16 << 10,
    SAID_MAX = 160,
};

struct oidc_page {
    struct oidc_flow *flow;
};

static const struct text sign_in_path = {"/ui/sign-in.json", 16};
static const struct text begin_path = {"/ui/oidc/begin", 14};
static const struct text callback_path = {"/ui/oidc/callback", 17};

bool oidc_page_is_path(struct text path)
{
    return text_equal(path, sign_in_path) || text_equal(path, begin_path) ||
           text_equal(path, callback_path);
}

void oidc_page_forget(struct exchange *x)
{
    struct oidc_page *page = x->oidc_page;
    x->oidc_page = NULL;
    if (!page)
        return;
    oidc_end(page->flow);
    memory_free(page);
}

static const struct oidc_settings *settings_of(const struct exchange *x)
{
    return &x->snapshot->config->oidc;
}

static bool is_tls(const struct exchange *x)
{
    return text_starts(x->seeking->own_origin, TEXT("https:"));
}

static struct text peer_of(const struct exchange *x)
{
    return x->peer.len || !x->client ? x->peer : text_of(x->client->peer);
}

/* --------------------------------------------------------------------------------- pages */

static void put_html(struct buffer *out, struct text words)
{
    for (size_t i = 0; i < words.len; i++) {
        char c = words.at[i];
        struct text as = c == '<'   ? TEXT("&lt;")
                         : c == '>' ? TEXT("&gt;")
                         : c == '&' ? TEXT("&amp;")
                         : c == '"' ? TEXT("&quot;")
                                    : (struct text){&c, 1};
        buffer_append_text(out, as);
    }
}

/* Header lines: careful ones, and the ticket is used up, but not by who only looks. */
static struct text lines_of(struct exchange *x, struct text more)
{
    if (x->head_only)
        return arena_format(&x->arena, "cache-control: no-store\r\n%.*s%.*s",
                            TEXT_ARGS(dashboard_careful()), TEXT_ARGS(more));
    return arena_format(&x->arena,
                        "cache-control: no-store\r\n%.*s"
                        "set-cookie: %s=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax%s\r\n%.*s",
                        TEXT_ARGS(dashboard_careful()), session_ticket_cookie(is_tls(x)),
                        is_tls(x) ? "; Secure" : "", TEXT_ARGS(more));
}

/* A page for a human, with a way back. */
static bool say(struct exchange *x, unsigned status, const char *title, const char *words,
                const char *detail)
{
    struct buffer *out = &x->held;
    buffer_format(out,
                  "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                  "<meta name=\"color-scheme\" content=\"light dark\"><title>sluice</title>"
                  "<link rel=\"stylesheet\" href=\"../%.*s\"></head>\n<body><div id=\"app\">"
                  "<main class=\"sign-in\"><section><h1>%s</h1><p>%s</p>",
                  TEXT_ARGS(dashboard_style()), title, words);
    if (*detail) {
        buffer_append_text(out, TEXT("<p class=\"alert\">"));
        put_html(out, text_of(detail));
        buffer_append_text(out, TEXT("</p>"));
    }
    buffer_append_text(out, TEXT("<p><a class=\"button primary\" href=\"begin\">Try again</a></p>"
                                 "<p><a class=\"button\" href=\"../\">To the dashboard</a></p>"
                                 "</section></main></div></body></html>\n"));
    pages_finish_as(x, status, TEXT("text/html; charset=utf-8"), lines_of(x, TEXT("")));
    return true;
}

static void tell(struct exchange *x, const char *title, const char *detail)
{
    unsigned left_out;
    struct text peer = peer_of(x);
    if (oidc_may_tell(&x->worker->oidc.told, loop_now_us(x->worker->loop), &left_out))
        log_line(LOG_WARN, "oidc", "a sign-in failed (%.*s, %s): %s%s%s", TEXT_ARGS(peer), x->id,
                 title, *detail ? ": " : "", detail);
    if (left_out)
        log_line(LOG_WARN, "oidc", "before that, %u more sign-ins failed", left_out);
}

static bool fail(struct exchange *x, unsigned status, const char *title, const char *words,
                 const char *detail)
{
    tell(x, title, detail);
    return say(x, status, title, words, detail);
}

/* The flow has come to its end, and not to a good one. What has been said to us on the way may be
 * of somewhere that a stranger shall not hear from. */
static bool fail_of(struct exchange *x, const struct oidc_flow *flow)
{
    char reference[64];
    bool is_refused = oidc_outcome(flow) == OIDC_REFUSED;
    const char *title =
        is_refused ? "The issuer's answer was not believed" : "The issuer did not help";
    tell(x, title, oidc_why(flow));
    snprintf(reference, sizeof(reference), "Request %s", x->id);
    if (is_refused)
        return say(x, 403, title,
                   "What it says of you could not be checked, so nobody was signed in. An "
                   "operator finds the reason in the log, by the request's name.",
                   reference);
    return say(x, 502, title,
               "The OpenID provider of this dashboard cannot be reached, or did not answer as "
               "such. With an admin key you can sign in all the same. An operator finds the "
               "reason in the log, by the request's name.",
               reference);
}

/* --------------------------------------------------------------------------- waiting */

static void on_end(void *with)
{
    exchange_run(with);
}

/* The flow of <x>, which is begun when there is none. NULL: too many are on their way. */
static struct oidc_flow *flow_of(struct exchange *x, const struct oidc_question *question)
{
    if (x->oidc_page)
        return x->oidc_page->flow;
    struct oidc_flow *flow = oidc_begin(&x->worker->oidc, question);
    if (!flow)
        return NULL;
    x->oidc_page = memory_new(sizeof(*x->oidc_page));
    x->oidc_page->flow = flow;
    return flow;
}

static bool too_many(struct exchange *x)
{
    return fail(x, 503, "Too many are signing in", "Try again in a moment.", "");
}

/* Where the issuer sends the browser back to. */
static struct text redirect_of(struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    const char *base =
        config->base_path && strcmp(config->base_path, "/") != 0 ? config->base_path : "";
    if (config->oidc.redirect_url)
        return text_of(config->oidc.redirect_url);
    return arena_format(&x->arena, "%.*s%s%.*s", TEXT_ARGS(x->seeking->own_origin), base,
                        TEXT_ARGS(callback_path));
}

/* ------------------------------------------------------------------------------ sign-in.json */

static bool answer_sign_in(struct exchange *x)
{
    const struct oidc_settings *settings = settings_of(x);
    struct json_write json = {.out = &x->held};
    json_open(&json, '{');
    json_name(&json, "oidc");
    if (settings->enabled) {
        json_open(&json, '{');
        json_text_member(&json, "issuer", text_of(settings->issuer));
        json_text_member(&json, "name", settings->url.host);
        json_text_member(&json, "begin", TEXT("oidc/begin"));
        json_close(&json, '}');
    } else {
        json_null(&json);
    }
    json_close(&json, '}');
    pages_finish_as(
        x, 200, TEXT("application/json"),
        arena_format(&x->arena, "cache-control: no-store\r\n%.*s", TEXT_ARGS(dashboard_careful())));
    return true;
}

/* ------------------------------------------------------------------------------------ begin */

static bool answer_begin(struct exchange *x)
{
    const struct oidc_settings *settings = settings_of(x);
    const struct oidc_provider *provider = oidc_known(&x->worker->oidc, settings);
    if (!provider) {
        struct oidc_question question = {.settings = settings,
                                         .only_provider = true,
                                         .peer = peer_of(x),
                                         .on_end = on_end,
                                         .with = x};
        struct oidc_flow *flow = flow_of(x, &question);
        if (!flow)
            return too_many(x);
        if (oidc_outcome(flow) == OIDC_WAITS)
            return false;
        provider = oidc_provider(flow);
        if (oidc_outcome(flow) != OIDC_KNOWN || !provider)
            return fail_of(x, flow);
    }
    char ticket[OIDC_TICKET_BYTES];
    struct buffer location;
    admin_sign_in_ticket(x->worker->options.service, x->started_wall_us / 1000000, ticket);
    buffer_init(&location, LOCATION_MAX);
    if (!oidc_put_authorization(provider, settings, redirect_of(x), text_of(ticket), &location)) {
        buffer_done(&location);
        return fail(x, 502, "The issuer did not help", "Its address is too long.", "");
    }
    /* Lax: the cookie must come along when the issuer sends the browser back. */
    struct text lines = arena_format(
        &x->arena,
        "cache-control: no-store\r\n%.*slocation: %.*s\r\n"
        "set-cookie: %s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%s\r\n",
        TEXT_ARGS(dashboard_careful()), TEXT_ARGS(buffer_text(&location)),
        session_ticket_cookie(is_tls(x)), ticket, OIDC_TICKET_S, is_tls(x) ? "; Secure" : "");
    buffer_done(&location);
    buffer_append_text(&x->held, TEXT("On to the issuer.\n"));
    pages_finish_as(x, 303, TEXT("text/plain; charset=utf-8"), lines);
    return true;
}

/* --------------------------------------------------------------------------------- callback */

/* What the browser has brought, in the exchange's arena. */
struct brought {
    struct text state, code, error, description, issuer;
};

static struct text find(struct exchange *x, const char *name, size_t max, bool *bad)
{
    struct text value;
    char *room = arena_take(&x->arena, max);
    *bad |= form_find(x->query, text_of(name), room, max, &value) == FORM_BAD;
    return value;
}

static bool read_brought(struct exchange *x, struct brought *brought)
{
    bool bad = false;
    brought->state = find(x, "state", WORD_MAX, &bad);
    brought->code = find(x, "code", CODE_MAX, &bad);
    brought->error = find(x, "error", WORD_MAX, &bad);
    brought->issuer = find(x, "iss", 2 * WORD_MAX, &bad);
    if (bad)
        return false;
    brought->description = find(x, "error_description", 4 * WORD_MAX, &bad);
    return true;
}

/* Is it the answer to what this browser has begun here? In constant time. */
static bool is_of_ticket(const struct exchange *x, const struct brought *brought)
{
    char state[OIDC_DERIVED_BYTES];
    if (!admin_know_ticket(x->worker->options.service, x->seeking->page_header,
                           x->started_wall_us / 1000000))
        return false;
    oidc_derive(x->seeking->page_header, OIDC_STATE, state);
    struct digest wanted = hash_sha256(text_of(state)), given = hash_sha256(brought->state);
    return hash_same(&wanted, &given);
}

static bool stale(struct exchange *x)
{
    return fail(x, 400, "This sign-in is not one of yours, or is over",
                "A sign-in takes ten minutes at most, in one browser that keeps its cookies, and "
                "its answer counts once. Another one that was begun since takes its place.",
                "");
}

static bool refused_by_issuer(struct exchange *x, const struct brought *brought)
{
    char words[OIDC_WORDS_BYTES] = "";
    oidc_put_said(words, sizeof(words), brought->error, SAID_MAX);
    if (brought->description.len) {
        snprintf(words + strlen(words), sizeof(words) - strlen(words), ": ");
        oidc_put_said(words, sizeof(words), brought->description, SAID_MAX);
    }
    return fail(x, 403, "The issuer has not let you in", "It says:", words);
}

/* A list of what somebody has, as far as there is room: an operator sees at once what to write down
 * in admin.oidc.roles. */
static void put_values(const struct id_claims *claims, char *words, size_t bytes)
{
    for (size_t i = 0; i < claims->value_count && i < 8; i++) {
        snprintf(words + strlen(words), bytes - strlen(words), i ? ", " : " ");
        oidc_put_said(words, bytes, claims->values[i], 60);
    }
    if (claims->value_count > 8)
        snprintf(words + strlen(words), bytes - strlen(words), " and %zu more",
                 claims->value_count - 8);
}

static bool no_role(struct exchange *x, const struct id_claims *claims, enum oidc_access access)
{
    const struct oidc_settings *settings = settings_of(x);
    char words[1024] = "";
    oidc_put_said(words, sizeof(words), claims->name, ID_NAME_MAX);
    snprintf(words + strlen(words), sizeof(words) - strlen(words), " (sub ");
    oidc_put_said(words, sizeof(words), claims->subject, 80);
    snprintf(words + strlen(words), sizeof(words) - strlen(words), "): ");
    size_t len = strlen(words);
    if (access == OIDC_NO_CLAIM && claims->unverified)
        snprintf(words + len, sizeof(words) - len,
                 "the address in the claim email is not verified (email_verified)");
    else if (access == OIDC_NO_CLAIM)
        snprintf(words + len, sizeof(words) - len,
                 "the issuer does not give the claim %.*s (admin.oidc.role_claim); perhaps it "
                 "needs another scope (admin.oidc.scopes)",
                 TEXT_ARGS(text_head(settings->role_claim, 120)));
    else if (access == OIDC_TWO_TENANTS)
        snprintf(words + len, sizeof(words) - len,
                 "more than one tenant: admin.oidc.roles can say which comes first");
    else {
        snprintf(words + len, sizeof(words) - len, "none of what the claim %.*s has gives a role:",
                 TEXT_ARGS(text_head(settings->role_claim, 120)));
        put_values(claims, words, sizeof(words));
    }
    return fail(x, 403, "You are known, and have no access here",
                "Who you are is not in doubt. But the issuer gives you no role in this sluice.",
                words);
}

static bool let_in(struct exchange *x, const struct id_claims *claims)
{
    struct service *service = x->worker->options.service;
    struct oidc_role role;
    char cookie[SESSION_PERSON_BYTES + 128], subject[128] = "";
    enum oidc_access access = oidc_find_role(settings_of(x), claims, &role);
    if (access != OIDC_ACCESS)
        return no_role(x, claims, access);
    static const char *const roles[] = {[ADMIN_ROLE_ADMIN] = "admin",
                                        [ADMIN_ROLE_VIEWER] = "viewer",
                                        [ADMIN_ROLE_TENANT] = "tenant"};
    struct session_person person = {.role = role.role};
    /* No key can be called so by chance: what is changed is seen to be a person's doing. */
    snprintf(person.name, sizeof(person.name), "oidc:%.*s", TEXT_ARGS(claims->name));
    snprintf(person.tenant, sizeof(person.tenant), "%.*s", TEXT_ARGS(role.tenant));
    admin_session_of_person(service, x->snapshot->config, &person, is_tls(x), cookie,
                            sizeof(cookie));
    oidc_put_said(subject, sizeof(subject), claims->subject, 100);
    service_event(service, "admin", person.name, "signed in as %s%s%s (sub %s)", roles[role.role],
                  person.tenant[0] ? " of " : "", person.tenant, subject);
    log_line(LOG_INFO, "oidc", "%s signed in as %s%s%s (sub %s)", person.name, roles[role.role],
             person.tenant[0] ? " of " : "", person.tenant, subject);
    struct text more =
        arena_format(&x->arena, "location: ../#signed-in\r\nset-cookie: %s\r\n", cookie);
    buffer_append_text(&x->held, TEXT("On to the dashboard.\n"));
    pages_finish_as(x, 303, TEXT("text/plain; charset=utf-8"), lines_of(x, more));
    return true;
}

/* What came is looked at once, before the issuer is asked anything. True: it is answered. */
static bool refuse_brought(struct exchange *x, struct brought *brought)
{
    struct service *service = x->worker->options.service;
    int64_t now_s = x->started_wall_us / 1000000;
    const char *issuer = settings_of(x)->issuer;
    if (!read_brought(x, brought) || !is_of_ticket(x, brought) ||
        !spent_add(service->ended_sign_ins, x->seeking->page_header, now_s + 2 * OIDC_TICKET_S,
                   now_s))
        return stale(x);
    if (brought->issuer.len && !text_equal(brought->issuer, text_of(issuer)))
        return fail(x, 403, "Another issuer has answered",
                    "The answer names an issuer that was not asked (iss).", "");
    if (brought->error.len)
        return refused_by_issuer(x, brought);
    if (brought->code.len == 0)
        return fail(x, 400, "The issuer did not help", "Its answer has no code in it.", "");
    return false;
}

static bool answer_callback(struct exchange *x)
{
    struct brought brought = {.code = {"", 0}};
    if (!x->oidc_page && refuse_brought(x, &brought))
        return true;
    struct oidc_question question = {.settings = settings_of(x),
                                     .back = {.redirect = redirect_of(x),
                                              .ticket = x->seeking->page_header,
                                              .code = brought.code},
                                     .names_itself = brought.issuer.len > 0,
                                     .peer = peer_of(x),
                                     .on_end = on_end,
                                     .with = x};
    struct oidc_flow *flow = flow_of(x, &question);
    if (!flow)
        return too_many(x);
    if (oidc_outcome(flow) == OIDC_WAITS)
        return false;
    return oidc_outcome(flow) == OIDC_KNOWN ? let_in(x, oidc_claims(flow)) : fail_of(x, flow);
}

bool oidc_page_answer(struct exchange *x)
{
    if (text_equal(x->path, sign_in_path))
        return answer_sign_in(x);
    if (!settings_of(x)->enabled)
        return say(x, 404, "Nobody can sign in here so", "admin.oidc is not configured.", "");
    if (!x->seeking->own_origin.len)
        return say(x, 400, "Which address is this?", "The request has no Host.", "");
    /* Who only looks whether there is something must not use up what counts once. */
    if (x->head_only)
        return say(x, 200, "Signing in", "", "");
    return text_equal(x->path, begin_path) ? answer_begin(x) : answer_callback(x);
}
