/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/jwks.h"

#include <string.h>

#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    DOCUMENT_MAX = 1 << 20,
    REQUEST_MAX = 64 * 1024,
    CONNECT_US = 5000000,
    ANSWER_US = 10000000,
    WANT_US = 10000000,  /* between two that were asked for */
    FAILED_US = 2000000, /* after a failure, doubled up to the usual interval */
    DOUBLINGS_MAX = 8,
};

static void plan(struct jwks *jwks)
{
    uint64_t wait = (uint64_t)jwks->config->jwt.refresh_us;
    if (jwks->failures > 0) {
        unsigned doublings =
            jwks->failures - 1 < DOUBLINGS_MAX ? jwks->failures - 1 : DOUBLINGS_MAX;
        uint64_t soon = (uint64_t)FAILED_US << doublings;
        wait = soon < wait ? soon : wait;
    }
    timer_set(jwks->loop, &jwks->timer, loop_now_us(jwks->loop) + wait);
}

static void on_over(struct ask *ask, const char *problem)
{
    struct jwks *jwks = LIST_MEMBER(ask, struct jwks, ask);
    if (!problem && jwks->ask.status != 200)
        problem = "it did not answer with 200";
    if (problem) {
        if (jwks->failures++ == 0)
            log_line(LOG_WARN, "jwt", "the issuer's keys cannot be fetched: %s", problem);
    } else if (jwks->on_keys(jwks->with, buffer_text(&jwks->ask.answer))) {
        jwks->failures = 0;
        memory_free(jwks->keys);
        jwks->keys = memory_string(buffer_text(&jwks->ask.answer));
    } else {
        if (jwks->failures++ == 0)
            log_line(LOG_ERROR, "jwt", "the issuer's document has no key that can be used");
    }
    buffer_done(&jwks->ask.answer);
    plan(jwks);
}

static void fetch(struct jwks *jwks)
{
    jwks->asked_us = loop_now_us(jwks->loop);
    timer_stop(&jwks->timer); /* it is asked before its time */
    ask_begin(&jwks->ask, jwks->pool, buffer_text(&jwks->request), (struct text){"", 0});
}

static void on_time(struct timer *timer)
{
    fetch(LIST_MEMBER(timer, struct jwks, timer));
}

/* ------------------------------------------------------------------------------- settings */

static void stop(struct jwks *jwks)
{
    timer_stop(&jwks->timer);
    ask_done(&jwks->ask);
    buffer_done(&jwks->request);
    if (jwks->pool)
        upstream_pool_unref(jwks->pool);
    jwks->pool = NULL;
    if (jwks->config)
        config_unref((struct config *)(uintptr_t)jwks->config);
    jwks->config = NULL;
}

static bool open_pool(struct jwks *jwks, const struct url *url)
{
    struct fault fault;
    char *host = memory_string(url->host);
    struct upstream_place place = {.host = host,
                                   .port = url->port,
                                   .has_tls = url->tls,
                                   .connect_us = CONNECT_US,
                                   .idle_us = CONNECT_US,
                                   .max_connections = 1,
                                   .max_idle = 1};
    jwks->pool = upstream_pool_ref(jwks->upstreams, &place, &fault);
    memory_free(host);
    if (!jwks->pool)
        log_line(LOG_ERROR, "jwt", "%s", fault.text);
    return jwks->pool != NULL;
}

void jwks_set(struct jwks *jwks, struct config *config)
{
    bool same = jwks->config && config->jwt.enabled &&
                strcmp(jwks->config->jwt.jwks_url, config->jwt.jwks_url) == 0;
    stop(jwks);
    if (!same) {
        memory_free(jwks->keys);
        jwks->keys = NULL;
    }
    if (!config->jwt.enabled || !open_pool(jwks, &config->jwt.jwks))
        return;
    jwks->config = config_ref(config);
    jwks->failures = 0;
    buffer_init(&jwks->request, REQUEST_MAX);
    ask_put_head(&jwks->request, "GET", &config->jwt.jwks, NULL, jwks->pool);
    buffer_append_text(&jwks->request, TEXT("Accept: application/json\r\n\r\n"));
    fetch(jwks);
}

void jwks_want(struct jwks *jwks)
{
    if (jwks->config && !ask_is_busy(&jwks->ask) &&
        loop_now_us(jwks->loop) - jwks->asked_us >= WANT_US)
        fetch(jwks);
}

void jwks_init(struct jwks *jwks, struct loop *loop, struct upstreams *upstreams,
               bool (*on_keys)(void *with, struct text keys), void *with)
{
    *jwks = (struct jwks){.loop = loop, .upstreams = upstreams, .on_keys = on_keys, .with = with};
    jwks->timer.on_time = on_time;
    jwks->ask = (struct ask){
        .loop = loop, .timeout_us = ANSWER_US, .answer_max = DOCUMENT_MAX, .on_over = on_over};
}

void jwks_done(struct jwks *jwks)
{
    stop(jwks);
    memory_free(jwks->keys);
}
