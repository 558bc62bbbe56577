/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/probe.h"

#include <stdio.h>

#include "deploy/models/remote_call.h"
#include "gateway/base/json.h"
#include "gateway/base/memory.h"

enum {
    ANSWER_US = 2000000,  /* who takes longer to say that it is well is not */
    SLEEP_US = 120000000, /* to copy its weights out of the way, or back */
    HEALTH_BYTES = 64 * 1024,
    MODELS_BYTES = 1024 * 1024,
    WORDS_MAX = 240,
    URL_MAX = LAUNCH_HOST_MAX + 32,
};

/* What an engine's server answers, beside its probe path. */
static const struct engine_manners {
    bool lists_models; /* must list one before it is well */
    bool names_models; /* takes calls only for the names it lists */
    const char *sleep, *wake;
} manners[] = {
    [ENGINE_OPENAI] = {false, true, NULL, NULL},
    [ENGINE_LLAMA_CPP] = {true, false, NULL, NULL},
    [ENGINE_VLLM] = {true, true, "/sleep?level=1", "/wake_up"},
    [ENGINE_SGLANG] = {true, true, NULL, NULL},
    [ENGINE_TGI] = {false, false, NULL, NULL},
    [ENGINE_LORAX] = {false, false, NULL, NULL},
};

struct probe {
    struct probe_site site;
    struct deployment_spec *spec;
    struct remote *remote;
    struct remote_call *call; /* the one that is out */
    struct timer timer;
    int64_t every_us;
    bool is_known; /* its models have been looked at */
    bool sleeps;
    char served[PROBE_NAME_MAX];
    struct grave grave;
};

static void ask(struct probe *probe, enum method method, const char *path, int64_t timeout_us,
                void (*on_done)(void *, const struct remote_answer *))
{
    struct remote_question question = {.method = method,
                                       .path = text_of(path),
                                       .answer_max = on_done ? MODELS_BYTES : HEALTH_BYTES,
                                       .timeout_us = timeout_us,
                                       .on_done = on_done,
                                       .with = probe};
    probe->call = remote_ask(probe->remote, &question);
}

static void again(struct probe *probe)
{
    if (probe->every_us > 0 && !probe->sleeps)
        timer_set(probe->site.loop, &probe->timer,
                  loop_now_us(probe->site.loop) + (uint64_t)probe->every_us);
}

/* The last thing done: the probe may be gone after it. */
static void tell(struct probe *probe, bool good, const char *words)
{
    again(probe);
    probe->site.on_answer(probe->site.with, good, words);
}

static void describe(const struct remote_answer *answer, const char *path, char words[WORDS_MAX])
{
    if (answer->why)
        snprintf(words, WORDS_MAX, "%s: %s", path, answer->why);
    else
        snprintf(words, WORDS_MAX, "%s: status %u: %.*s", path, answer->status,
                 (int)text_head(answer->body, 120).len, answer->body.at);
}

/* ------------------------------------------------------------------------------ its models */

static void keep_name(struct probe *probe, struct text name)
{
    snprintf(probe->served, sizeof probe->served, "%.*s", TEXT_ARGS(name));
}

/* Look through {"data":[{"id":…},…]}: NULL = well. */
static const char *look_at_models(struct probe *probe, struct text body)
{
    struct json_problem problem;
    const struct engine_manners *its = &manners[probe->spec->engine];
    struct text wanted = probe->spec->served_name, name, first = TEXT("");
    struct json *root = json_read(body, &problem);
    const struct json *list = json_member(root, "data");
    bool is_there = false;
    for (size_t i = 0; i < json_count(list); i++) {
        if (!json_to_text(json_member(json_item(list, i), "id"), &name))
            continue;
        first = first.len > 0 ? first : name;
        is_there = is_there || text_equal(name, wanted);
    }
    const char *why = NULL;
    if (first.len == 0)
        why = its->lists_models ? "it answers, and has no model" : NULL;
    else if (wanted.len > 0 && its->names_models && !is_there)
        why = "it serves another model than served_name says";
    if (!why)
        keep_name(probe, wanted.len > 0 ? wanted : first);
    json_free(root);
    return why;
}

static void on_models(void *with, const struct remote_answer *answer)
{
    struct probe *probe = with;
    char words[WORDS_MAX];
    const char *why = NULL;
    probe->call = NULL;
    if (remote_is_well(answer)) {
        why = look_at_models(probe, answer->body);
    } else if (manners[probe->spec->engine].lists_models || answer->status == 0) {
        describe(answer, "/v1/models", words);
        why = words;
    } else { /* it need not have such a list */
        keep_name(probe, probe->spec->served_name);
    }
    probe->is_known = !why;
    tell(probe, !why, why ? why : "");
}

/* ------------------------------------------------------------------------------ its health */

static void on_health(void *with, const struct remote_answer *answer)
{
    struct probe *probe = with;
    char words[WORDS_MAX], path[WORDS_MAX / 2];
    probe->call = NULL;
    if (!remote_is_well(answer)) {
        snprintf(path, sizeof path, "%.*s", TEXT_ARGS(probe->spec->probe.path));
        describe(answer, path, words);
        tell(probe, false, words);
    } else if (!probe->is_known) {
        ask(probe, METHOD_GET, "/v1/models", ANSWER_US, on_models);
    } else {
        tell(probe, true, "");
    }
}

static void on_time(struct timer *timer)
{
    struct probe *probe = LIST_MEMBER(timer, struct probe, timer);
    char path[WORDS_MAX];
    if (probe->call || probe->sleeps)
        return;
    snprintf(path, sizeof path, "%.*s", TEXT_ARGS(probe->spec->probe.path));
    ask(probe, METHOD_GET, *path ? path : "/health", ANSWER_US, on_health);
}

/* ------------------------------------------------------------------------------- its sleep */

static void report_trouble(struct probe *probe, const struct remote_answer *answer,
                           const char *path)
{
    char words[WORDS_MAX];
    if (remote_is_well(answer))
        return;
    describe(answer, path, words);
    probe->site.on_trouble(probe->site.with, words);
}

static void on_asleep(void *with, const struct remote_answer *answer)
{
    struct probe *probe = with;
    probe->call = NULL;
    report_trouble(probe, answer, manners[probe->spec->engine].sleep);
}

/* Whatever it says: whether it can be used is what its probe tells. */
static void on_awake(void *with, const struct remote_answer *answer)
{
    struct probe *probe = with;
    probe->call = NULL;
    probe->sleeps = false;
    timer_set(probe->site.loop, &probe->timer, loop_now_us(probe->site.loop));
    report_trouble(probe, answer, manners[probe->spec->engine].wake);
}

static void drop_call(struct probe *probe)
{
    remote_drop(probe->call);
    probe->call = NULL;
    timer_stop(&probe->timer);
}

void probe_send_to_sleep(struct probe *probe)
{
    const char *path = manners[probe->spec->engine].sleep;
    drop_call(probe);
    probe->sleeps = true;
    if (path)
        ask(probe, METHOD_POST, path, SLEEP_US, on_asleep);
}

void probe_wake(struct probe *probe)
{
    const char *path = manners[probe->spec->engine].wake;
    drop_call(probe);
    if (path) {
        ask(probe, METHOD_POST, path, SLEEP_US, on_awake);
        return;
    }
    probe->sleeps = false;
    timer_set(probe->site.loop, &probe->timer, loop_now_us(probe->site.loop));
}

/* ---------------------------------------------------------------------------- birth and death */

struct probe *probe_new(const struct probe_site *site, const struct launch_address *address,
                        struct deployment_spec *spec, int64_t every_us)
{
    char url[URL_MAX];
    struct fault fault;
    if (address->is_unix)
        snprintf(url, sizeof url, "unix:%s", address->host);
    else
        snprintf(url, sizeof url, strchr(address->host, ':') ? "http://[%s]:%u" : "http://%s:%u",
                 address->host, address->port);
    struct remote_site place = {
        .loop = site->loop, .upstreams = site->upstreams, .endpoint = text_of(url)};
    struct remote *remote = remote_open(&place, &fault);
    if (!remote)
        return NULL;
    struct probe *probe = memory_new(sizeof(*probe));
    probe->site = *site;
    probe->spec = spec_ref(spec);
    probe->remote = remote;
    probe->every_us = every_us;
    probe->timer.on_time = on_time;
    list_init(&probe->timer.link);
    keep_name(probe, spec->served_name);
    timer_set(site->loop, &probe->timer, loop_now_us(site->loop));
    return probe;
}

static void free_buried(struct grave *grave)
{
    struct probe *probe = LIST_MEMBER(grave, struct probe, grave);
    spec_unref(probe->spec);
    memory_free(probe);
}

void probe_free(struct probe *probe)
{
    if (!probe)
        return;
    drop_call(probe);
    remote_close(probe->remote);
    loop_bury(probe->site.loop, &probe->grave, free_buried);
}

void probe_pace(struct probe *probe, int64_t every_us)
{
    if (probe->every_us == every_us)
        return;
    probe->every_us = every_us;
    if (every_us == 0)
        timer_stop(&probe->timer);
    else if (!probe->call)
        again(probe);
}

const char *probe_served_name(const struct probe *probe)
{
    return probe->served;
}

struct remote *probe_remote(struct probe *probe)
{
    return probe->remote;
}
