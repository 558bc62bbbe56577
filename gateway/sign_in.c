/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/sign_in.h"

#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/sign.h"
#include "gateway/http/form.h"
#include "gateway/outbound.h"
#include "gateway/sign_in_inside.h"

enum {
    CONNECT_US = 5000000,
    ANSWER_US = 10000000,
    DOUBT_US = 10000000, /* between two that were asked for */
    SOON_US = 200000,    /* at least until the next one */
    FAILED_US = 500000,  /* after a failure, doubled each time */
    DOUBLINGS_MAX = 7,   /* about a minute */
    LIFE_MAX_S = 86400,
    ASSERTION_S = 3600, /* Google takes no longer ones */
};

void sign_in_wipe(struct buffer *buffer)
{
    if (buffer->data)
        memory_wipe(buffer->data, buffer->capacity);
    buffer_done(buffer);
}

/* -------------------------------------------------------------------------------- waiting */

static void wake(struct sign_in *sign_in)
{
    struct link woken;
    list_init(&woken);
    while (!list_is_empty(&sign_in->waiting)) {
        struct link *first = sign_in->waiting.next;
        list_remove(first);
        list_push_back(&woken, first);
    }
    while (!list_is_empty(&woken)) {
        struct sign_in_wait *wait = LIST_MEMBER(woken.next, struct sign_in_wait, link);
        sign_in_leave(wait);
        wait->on_end(wait);
    }
}

static void on_late(struct timer *timer)
{
    struct sign_in_wait *wait = LIST_MEMBER(timer, struct sign_in_wait, timer);
    sign_in_leave(wait);
    wait->on_end(wait);
}

bool sign_in_wait(struct sign_in *sign_in, struct sign_in_wait *wait, uint64_t until_us)
{
    if (sign_in->is_stopped || (!sign_in->asking && sign_in->timer.due_us > until_us))
        return false;
    wait->sign_in = sign_in;
    wait->timer.on_time = on_late;
    list_push_back(&sign_in->waiting, &wait->link);
    timer_set(sign_in->all->loop, &wait->timer, until_us);
    return true;
}

void sign_in_leave(struct sign_in_wait *wait)
{
    if (!wait->sign_in)
        return;
    wait->sign_in = NULL;
    list_remove(&wait->link);
    timer_stop(&wait->timer);
}

/* --------------------------------------------------------------------------------- answer */

static bool is_visible(struct text token)
{
    for (size_t i = 0; i < token.len; i++)
        if (token.at[i] <= ' ' || token.at[i] > '~')
            return false;
    return token.len > 0 && token.len <= SIGN_IN_TOKEN_MAX;
}

/* "expires_in" is a number, of some a number in quotes. */
static bool read_life(const struct json *value, int64_t *seconds)
{
    struct text words;
    uint64_t number;
    if (json_to_int(value, 1, INT32_MAX, seconds))
        return true;
    if (!json_to_text(value, &words) || !text_number(words, INT32_MAX, &number) || number == 0)
        return false;
    *seconds = (int64_t)number;
    return true;
}

void sign_in_take(struct sign_in *sign_in, struct text token, int64_t seconds)
{
    if (seconds > LIFE_MAX_S)
        seconds = LIFE_MAX_S;
    uint64_t life_us = (uint64_t)seconds * 1000000;
    sign_in_wipe(&sign_in->token);
    buffer_init(&sign_in->token, SIGN_IN_TOKEN_MAX);
    buffer_append_text(&sign_in->token, token);
    sign_in->until_us = sign_in->asked_us + life_us;
    uint64_t next = sign_in->asked_us + life_us / 5 * 4;
    uint64_t soon = loop_now_us(sign_in->all->loop) + SOON_US;
    timer_set(sign_in->all->loop, &sign_in->timer, next > soon ? next : soon);
}

static const char *take_token(struct sign_in *sign_in, const struct json *root)
{
    const struct json *token = json_member(root, "access_token");
    const struct json *life = json_member(root, "expires_in");
    struct text words;
    int64_t seconds;
    if (!token || !json_to_text(token, &words) || !is_visible(words))
        return "the answer has no access_token";
    if (!life || !read_life(life, &seconds))
        return "the answer does not say how long its token lives";
    sign_in_take(sign_in, words, seconds);
    return NULL;
}

/* The code of an error (RFC 6749 5.2), which holds no secret. */
static void put_error(const struct json *root, char *out, size_t size)
{
    const struct json *error = root ? json_member(root, "error") : NULL;
    struct text words = {"", 0};
    if (error && json_to_text(error, &words))
        snprintf(out, size, ": %.*s", TEXT_ARGS(text_head(words, 80)));
}

static void put_off(struct sign_in *sign_in, const char *problem)
{
    unsigned doublings = sign_in->failures < DOUBLINGS_MAX ? sign_in->failures : DOUBLINGS_MAX;
    if (sign_in->failures++ == 0)
        log_line(LOG_WARN, "sign-in", "provider %s: no token: %s", sign_in->name, problem);
    timer_set(sign_in->all->loop, &sign_in->timer,
              loop_now_us(sign_in->all->loop) + ((uint64_t)FAILED_US << doublings));
}

static void finish(struct sign_in *sign_in)
{
    sign_in->asking = false;
    sign_in_wipe(&sign_in->request);
    sign_in_wipe(&sign_in->ask.answer);
    wake(sign_in);
}

static void failed(struct sign_in *sign_in, const char *problem)
{
    put_off(sign_in, problem);
    finish(sign_in);
}

static void begin(struct sign_in *sign_in);

/* NULL, or what is wrong with the answer; some of it in <words>. */
static const char *read_answer(struct sign_in *sign_in, bool *more, char *words, size_t size)
{
    struct json_problem nowhere;
    const char *problem = words;
    *more = false;
    if (sign_in->ask.status == 200 && sign_in_is_aws(&sign_in->settings))
        return sign_in_aws_answer(sign_in, more);
    struct json *root = json_read(buffer_text(&sign_in->ask.answer), &nowhere);
    snprintf(words, size, "the answer was %u", sign_in->ask.status);
    if (sign_in->ask.status != 200)
        put_error(root, words + strlen(words), size - strlen(words));
    else
        problem = root ? take_token(sign_in, root) : "the answer is no JSON";
    json_free(root);
    return problem;
}

static void on_over(struct ask *ask, const char *problem)
{
    struct sign_in *sign_in = LIST_MEMBER(ask, struct sign_in, ask);
    char words[160];
    bool more = false;
    if (!problem)
        problem = read_answer(sign_in, &more, words, sizeof(words));
    if (more) { /* the next question of several; the time is that of all */
        begin(sign_in);
        return;
    }
    if (problem) {
        failed(sign_in, problem);
        return;
    }
    if (sign_in->failures > 0)
        log_line(LOG_INFO, "sign-in", "provider %s: there is a token again", sign_in->name);
    sign_in->failures = 0;
    finish(sign_in);
}

/* -------------------------------------------------------------------------------- request */

static void put_entra(const struct sign_in_settings *settings, struct buffer *body)
{
    form_put_pair(body, "grant_type", TEXT("client_credentials"));
    form_put_pair(body, "client_id", settings->id);
    form_put_pair(body, "client_secret", settings->secret);
    form_put_pair(body, "scope", settings->scope);
}

static bool put_assertion(const struct sign_in_settings *settings, struct buffer *body)
{
    struct buffer claims, token;
    int64_t now_s = clock_wall_us() / 1000000;
    buffer_init(&claims, SIGN_IN_REQUEST_MAX);
    buffer_init(&token, SIGN_IN_REQUEST_MAX);
    buffer_append_text(&claims, TEXT("{\"iss\":"));
    json_write_string(&claims, settings->id);
    buffer_append_text(&claims, TEXT(",\"scope\":"));
    json_write_string(&claims, settings->scope);
    buffer_append_text(&claims, TEXT(",\"aud\":"));
    json_write_string(&claims, settings->address);
    buffer_format(&claims, ",\"iat\":%lld,\"exp\":%lld}", (long long)now_s,
                  (long long)now_s + ASSERTION_S);
    bool good = sign_token(settings->secret, settings->key_id, buffer_text(&claims), &token);
    if (good) {
        form_put_pair(body, "grant_type", TEXT("urn:ietf:params:oauth:grant-type:jwt-bearer"));
        form_put_pair(body, "assertion", buffer_text(&token));
    }
    buffer_done(&claims);
    sign_in_wipe(&token);
    return good;
}

void sign_in_put_head(struct sign_in *sign_in, const char *method, struct text path)
{
    ask_put_head(&sign_in->request, method, &sign_in->settings.url, &path, sign_in->pool);
    buffer_append_text(&sign_in->request, TEXT("Accept: application/json\r\n"));
}

static bool put_request(struct sign_in *sign_in)
{
    struct buffer body;
    bool good = true;
    buffer_init(&body, SIGN_IN_REQUEST_MAX);
    if (sign_in->settings.kind == SIGN_IN_METADATA) {
        sign_in_put_head(sign_in, "GET", sign_in->settings.url.path);
        buffer_append_text(&sign_in->request, TEXT("Metadata-Flavor: Google\r\n\r\n"));
        return true;
    }
    if (sign_in->settings.kind == SIGN_IN_ENTRA)
        put_entra(&sign_in->settings, &body);
    else
        good = put_assertion(&sign_in->settings, &body);
    sign_in_put_head(sign_in, "POST", sign_in->settings.url.path);
    buffer_format(&sign_in->request,
                  "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n",
                  buffer_length(&body));
    buffer_append_text(&sign_in->request, buffer_text(&body));
    sign_in_wipe(&body);
    return good;
}

/* ----------------------------------------------------------------------------------- call */

static void begin(struct sign_in *sign_in)
{
    const char *problem = "its private key cannot be used";
    bool aws = sign_in_is_aws(&sign_in->settings);
    uint64_t until = sign_in->asked_us + ANSWER_US, now = loop_now_us(sign_in->all->loop);
    sign_in_wipe(&sign_in->request);
    sign_in_wipe(&sign_in->ask.answer);
    buffer_init(&sign_in->request, SIGN_IN_REQUEST_MAX);
    if (!(aws ? sign_in_aws_put(sign_in, &problem) : put_request(sign_in))) {
        failed(sign_in, problem);
        return;
    }
    sign_in->ask.timeout_us = now < until ? until - now : 0;
    ask_begin(&sign_in->ask, sign_in->pool, buffer_text(&sign_in->request), (struct text){"", 0});
}

static void ask(struct sign_in *sign_in)
{
    sign_in->asking = true;
    sign_in->stage = 0;
    sign_in->asked_us = loop_now_us(sign_in->all->loop);
    timer_stop(&sign_in->timer);
    begin(sign_in);
}

static void on_time(struct timer *timer)
{
    ask(LIST_MEMBER(timer, struct sign_in, timer));
}

struct text sign_in_token(const struct sign_in *sign_in)
{
    bool lives = loop_now_us(sign_in->all->loop) < sign_in->until_us;
    return lives ? buffer_text(&sign_in->token) : (struct text){"", 0};
}

void sign_in_doubt(struct sign_in *sign_in)
{
    uint64_t now = loop_now_us(sign_in->all->loop);
    if (!sign_in->is_stopped && !sign_in->asking && now - sign_in->asked_us >= DOUBT_US)
        ask(sign_in);
}

/* ------------------------------------------------------------------------------- settings */

static struct digest identity_of(const struct sign_in_settings *settings)
{
    struct text parts[] = {settings->address, settings->id, settings->secret, settings->key_id,
                           settings->scope};
    struct buffer all;
    buffer_init(&all, SIGN_IN_REQUEST_MAX);
    buffer_append_number(&all, settings->kind);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buffer_format(&all, "\n%zu\n", parts[i].len);
        buffer_append_text(&all, parts[i]);
    }
    struct digest identity = hash_sha256(buffer_text(&all));
    sign_in_wipe(&all);
    return identity;
}

/* The endpoint is reached as the provider is: through its proxy. The metadata server never is, and
 * is the only one of its kind that may be reached. */
static struct upstream_pool *open_pool(struct sign_ins *all, const struct sign_in *sign_in,
                                       const struct provider_settings *provider)
{
    enum sign_in_kind kind = sign_in->settings.kind;
    bool is_metadata =
        kind == SIGN_IN_METADATA || kind == SIGN_IN_AWS_MACHINE || kind == SIGN_IN_AWS_CONTAINER;
    struct provider_settings endpoint = {
        .type = provider->type,
        .base_url = sign_in->address,
        .url = sign_in->settings.url,
        .proxy = is_metadata ? "" : provider->proxy,
        .connect_us = CONNECT_US,
        .idle_us = CONNECT_US,
        .max_connections = 2,
        .allow_link_local = is_metadata,
    };
    struct fault fault = {0};
    struct upstream_pool *pool = outbound_pool(all->upstreams, &endpoint, 1, NULL, &fault);
    if (!pool)
        log_line(LOG_ERROR, "sign-in", "provider %s: %s", sign_in->name, fault.text);
    return pool;
}

static void take_settings(struct sign_in *sign_in, const struct sign_in_settings *from)
{
    const char *problem;
    sign_in->address = memory_string(from->address);
    sign_in->id = memory_string(from->id);
    sign_in->secret = memory_string(from->secret);
    sign_in->key_id = memory_string(from->key_id);
    sign_in->scope = memory_string(from->scope);
    sign_in->settings = (struct sign_in_settings){.kind = from->kind,
                                                  .address = text_of(sign_in->address),
                                                  .id = text_of(sign_in->id),
                                                  .secret = text_of(sign_in->secret),
                                                  .key_id = text_of(sign_in->key_id),
                                                  .scope = text_of(sign_in->scope)};
    url_read(sign_in->settings.address, &sign_in->settings.url, &problem);
}

static void sign_in_free(struct sign_in *sign_in)
{
    list_remove(&sign_in->link);
    if (sign_in->pool)
        upstream_pool_unref(sign_in->pool);
    sign_in_wipe(&sign_in->request);
    sign_in_wipe(&sign_in->ask.answer);
    sign_in_wipe(&sign_in->token);
    sign_in_wipe(&sign_in->session);
    memory_wipe(sign_in->secret, strlen(sign_in->secret));
    memory_free(sign_in->secret);
    memory_free(sign_in->address);
    memory_free(sign_in->id);
    memory_free(sign_in->key_id);
    memory_free(sign_in->scope);
    memory_free(sign_in->name);
    memory_free(sign_in);
}

static struct sign_in *sign_in_new(struct sign_ins *all, const struct provider_settings *provider)
{
    struct sign_in *sign_in = memory_new(sizeof(*sign_in));
    sign_in->references = 1;
    sign_in->all = all;
    sign_in->name = memory_string(provider->name);
    sign_in->timer.on_time = on_time;
    sign_in->ask = (struct ask){
        .loop = all->loop, .answer_max = SIGN_IN_ANSWER_MAX, .fresh = true, .on_over = on_over};
    list_init(&sign_in->waiting);
    list_init(&sign_in->link);
    take_settings(sign_in, &provider->sign_in);
    sign_in->identity = identity_of(&provider->sign_in);
    sign_in->pool = open_pool(all, sign_in, provider);
    if (!sign_in->pool) {
        sign_in_free(sign_in);
        return NULL;
    }
    list_push_back(&all->all, &sign_in->link);
    ask(sign_in);
    return sign_in;
}

struct sign_in *sign_in_ref(struct sign_ins *all, const struct provider_settings *provider)
{
    if (provider->sign_in.kind == SIGN_IN_NONE || provider->off)
        return NULL;
    struct digest identity = identity_of(&provider->sign_in);
    for (struct link *at = all->all.next; at != &all->all; at = at->next) {
        struct sign_in *sign_in = LIST_MEMBER(at, struct sign_in, link);
        if (hash_same(&sign_in->identity, &identity)) {
            sign_in->references++;
            return sign_in;
        }
    }
    return sign_in_new(all, provider);
}

static void stop(struct sign_in *sign_in)
{
    if (sign_in->is_stopped)
        return;
    sign_in->is_stopped = true;
    timer_stop(&sign_in->timer);
    ask_stop(&sign_in->ask);
    sign_in->asking = false;
}

void sign_in_unref(struct sign_in *sign_in)
{
    if (--sign_in->references > 0)
        return;
    stop(sign_in);
    sign_in_free(sign_in);
}

void sign_ins_init(struct sign_ins *all, struct loop *loop, struct upstreams *upstreams)
{
    *all = (struct sign_ins){.loop = loop, .upstreams = upstreams};
    list_init(&all->all);
}

void sign_ins_stop(struct sign_ins *all)
{
    for (struct link *at = all->all.next; at != &all->all; at = at->next)
        stop(LIST_MEMBER(at, struct sign_in, link));
}
