/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/adapters.h"

#include <stdio.h>

#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/memory.h"

enum {
    LOAD_US = 60000000,
    LIST_US = 5000000,
    ANSWER_BYTES = 1024 * 1024,
    BODY_BYTES = 64 * 1024,
    LOOK_AGAIN_US = 300000000, /* somebody else may have unloaded one */
};

static const int64_t waits_us[ADAPTER_TRIES] = {1000000, 5000000, 30000000};

/* ------------------------------------------------------------------------------- engines */

static const struct engine_way {
    enum { WAY_NONE, WAY_CALLS, WAY_START, WAY_EACH } way;
    const char *list, *load, *unload;
} ways[] = {
    [ENGINE_OPENAI] = {WAY_NONE, NULL, NULL, NULL},
    [ENGINE_LLAMA_CPP] = {WAY_START, "/lora-adapters", NULL, NULL},
    [ENGINE_VLLM] = {WAY_CALLS, "/v1/models", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"},
    [ENGINE_SGLANG] = {WAY_CALLS, "/v1/models", "/load_lora_adapter", "/unload_lora_adapter"},
    [ENGINE_TGI] = {WAY_NONE, NULL, NULL, NULL},
    [ENGINE_LORAX] = {WAY_EACH, NULL, NULL, NULL},
};

/* "<name>__<eight digits of the source's digest>" */
static void write_name(const struct adapter_spec *spec, char into[ADAPTER_WIRE_MAX])
{
    snprintf(into, ADAPTER_WIRE_MAX, "%.*s__%08x", (int)text_head(spec->name, 140).len,
             spec->name.at, hash_crc32(spec->source));
}

/* Is it a name that we have made up? Another's adapters are left alone. */
static bool is_made_up(struct text name)
{
    if (name.len < 11 || !text_equal((struct text){name.at + name.len - 10, 2}, TEXT("__")))
        return false;
    for (size_t i = name.len - 8; i < name.len; i++)
        if (!((name.at[i] >= '0' && name.at[i] <= '9') || (name.at[i] >= 'a' && name.at[i] <= 'f')))
            return false;
    return true;
}

/* llama.cpp numbers adapters as they stand in its command line; ours come behind its own. */
static unsigned first_number(const struct deployment_spec *spec)
{
    unsigned count = 0;
    for (size_t i = 0; i < spec->command_count; i++)
        count += text_equal(spec->command[i], TEXT("--lora")) ||
                 text_equal(spec->command[i], TEXT("--lora-scaled"));
    return count;
}

bool adapter_wire_of(const struct deployment_spec *spec, struct text adapter,
                     struct adapter_wire *wire)
{
    size_t i = 0;
    *wire = (struct adapter_wire){.number = 0};
    while (i < spec->adapter_count && !text_equal(spec->adapters[i].name, adapter))
        i++;
    if (i == spec->adapter_count)
        return false;
    switch (ways[spec->engine].way) {
    case WAY_CALLS:
        wire->kind = ADAPTER_AS_MODEL;
        write_name(&spec->adapters[i], wire->name);
        return true;
    case WAY_START:
        wire->kind = ADAPTER_AS_NUMBER;
        wire->number = first_number(spec) + (unsigned)i;
        return true;
    case WAY_EACH:
        wire->kind = ADAPTER_AS_ID;
        return spec->adapters[i].source.len < sizeof wire->name &&
               snprintf(wire->name, sizeof wire->name, "%.*s",
                        TEXT_ARGS(spec->adapters[i].source)) > 0;
    case WAY_NONE:
        break;
    }
    return false;
}

/* -------------------------------------------------------------------------------- the state */

struct wanted {
    struct adapter seen;
    char wire[ADAPTER_WIRE_MAX]; /* as model */
    char *source;
    unsigned number, tries;
    uint64_t not_before_us;
};

struct adapters {
    struct loop *loop;
    struct remote *remote;
    struct remote_call *call;
    struct timer timer;
    void (*on_change)(void *with);
    void *with;
    enum engine engine;
    struct wanted list[SPEC_ADAPTERS_MAX];
    size_t count;
    size_t loading; /* which one a load is out for */
    char unloading[ADAPTER_WIRE_MAX];
    struct grave grave;
};

static void look_later(struct adapters *adapters, uint64_t after_us)
{
    timer_set(adapters->loop, &adapters->timer, loop_now_us(adapters->loop) + after_us);
}

static void ask(struct adapters *adapters, enum method method, const char *path, struct text body,
                void (*on_done)(void *, const struct remote_answer *))
{
    struct remote_question question = {.method = method,
                                       .path = text_of(path),
                                       .body = body,
                                       .answer_max = ANSWER_BYTES,
                                       .timeout_us = method == METHOD_GET ? LIST_US : LOAD_US,
                                       .on_done = on_done,
                                       .with = adapters};
    adapters->call = remote_ask(adapters->remote, &question);
}

/* Say what state it is in; was it another? */
static bool become(struct wanted *one, enum adapter_state state, const char *words)
{
    bool is_new = one->seen.state != state || strcmp(one->seen.words, words) != 0;
    one->seen.state = state;
    snprintf(one->seen.words, sizeof one->seen.words, "%s", words);
    return is_new;
}

/* One more try is used up; true when that changed what is told. */
static bool fail(struct adapters *adapters, struct wanted *one, const char *words)
{
    uint64_t now = loop_now_us(adapters->loop);
    unsigned tries = one->tries < ADAPTER_TRIES ? one->tries++ : ADAPTER_TRIES;
    if (tries + 1 >= ADAPTER_TRIES)
        return become(one, ADAPTER_FAILED, words);
    one->not_before_us = now + (uint64_t)waits_us[tries];
    return become(one, ADAPTER_LOADING, words);
}

static void words_of(const struct remote_answer *answer, char words[ADAPTER_WORDS_MAX])
{
    if (answer->why)
        snprintf(words, ADAPTER_WORDS_MAX, "%s", answer->why);
    else
        snprintf(words, ADAPTER_WORDS_MAX, "status %u: %.*s", answer->status,
                 (int)text_head(answer->body, 160).len, answer->body.at);
}

/* --------------------------------------------------------------------------- what is loaded */

static struct wanted *wanted_on_wire(struct adapters *adapters, struct text wire)
{
    for (size_t i = 0; i < adapters->count; i++)
        if (text_equal(text_of(adapters->list[i].wire), wire))
            return &adapters->list[i];
    return NULL;
}

/* Of vLLM's and SGLang's list of models: mark what is there; remember one that is to go. */
static bool read_models(struct adapters *adapters, const struct json *list)
{
    bool changed = false, is_there[SPEC_ADAPTERS_MAX] = {false};
    struct text name;
    *adapters->unloading = 0;
    for (size_t i = 0; i < json_count(list); i++) {
        if (!json_to_text(json_member(json_item(list, i), "id"), &name))
            continue;
        struct wanted *one = wanted_on_wire(adapters, name);
        if (one)
            is_there[one - adapters->list] = true;
        else if (is_made_up(name) && name.len < sizeof adapters->unloading)
            snprintf(adapters->unloading, sizeof adapters->unloading, "%.*s", TEXT_ARGS(name));
    }
    for (size_t i = 0; i < adapters->count; i++) {
        struct wanted *one = &adapters->list[i];
        if (is_there[i])
            changed |= become(one, ADAPTER_READY, "");
        else if (one->seen.state == ADAPTER_READY)
            changed |= become(one, ADAPTER_ABSENT, "");
    }
    return changed;
}

/* Of llama.cpp's list: is each where its number says? */
static bool read_loras(struct adapters *adapters, const struct json *list)
{
    bool changed = false;
    for (size_t i = 0; i < adapters->count; i++) {
        struct wanted *one = &adapters->list[i];
        const char *words = "the server was started without it";
        for (size_t k = 0; k < json_count(list); k++) {
            const struct json *item = json_item(list, k);
            int64_t id;
            struct text path;
            if (!json_to_int(json_member(item, "id"), 0, INT32_MAX, &id) || id != one->number)
                continue;
            bool is_it = json_to_text(json_member(item, "path"), &path) &&
                         text_equal(path, text_of(one->source));
            words = is_it ? NULL : "the server has another adapter in its place";
        }
        changed |= become(one, words ? ADAPTER_FAILED : ADAPTER_READY, words ? words : "");
    }
    return changed;
}

static void on_loaded(void *with, const struct remote_answer *answer);
static void on_unloaded(void *with, const struct remote_answer *answer);

static void load(struct adapters *adapters, size_t which)
{
    struct wanted *one = &adapters->list[which];
    struct buffer body;
    adapters->loading = which;
    become(one, ADAPTER_LOADING, "");
    buffer_init(&body, BODY_BYTES);
    buffer_append_text(&body, TEXT("{\"lora_name\":"));
    json_write_string(&body, text_of(one->wire));
    buffer_append_text(&body, TEXT(",\"lora_path\":"));
    json_write_string(&body, text_of(one->source));
    buffer_append_text(&body, TEXT("}"));
    ask(adapters, METHOD_POST, ways[adapters->engine].load, buffer_text(&body), on_loaded);
    buffer_done(&body);
}

static void unload(struct adapters *adapters)
{
    struct buffer body;
    buffer_init(&body, BODY_BYTES);
    buffer_append_text(&body, TEXT("{\"lora_name\":"));
    json_write_string(&body, text_of(adapters->unloading));
    buffer_append_text(&body, TEXT("}"));
    ask(adapters, METHOD_POST, ways[adapters->engine].unload, buffer_text(&body), on_unloaded);
    buffer_done(&body);
}

/* The next thing to do, one after the other: a server that loads does nothing else well. */
static void go_on(struct adapters *adapters)
{
    uint64_t now = loop_now_us(adapters->loop), next = now + LOOK_AGAIN_US;
    if (ways[adapters->engine].way != WAY_CALLS)
        return;
    for (size_t i = 0; i < adapters->count; i++) {
        struct wanted *one = &adapters->list[i];
        if (one->seen.state == ADAPTER_READY || one->seen.state == ADAPTER_FAILED)
            continue;
        if (one->not_before_us <= now) {
            load(adapters, i);
            return;
        }
        next = one->not_before_us < next ? one->not_before_us : next;
    }
    if (*adapters->unloading)
        unload(adapters);
    else if (adapters->count > 0)
        look_later(adapters, next - now);
}

static void on_listed(void *with, const struct remote_answer *answer)
{
    struct adapters *adapters = with;
    struct json_problem problem;
    bool changed = false;
    adapters->call = NULL;
    struct json *root = remote_is_well(answer) ? json_read(answer->body, &problem) : NULL;
    if (!root) {
        look_later(adapters, (uint64_t)waits_us[1]);
        return;
    }
    if (ways[adapters->engine].way == WAY_CALLS)
        changed = read_models(adapters, json_member(root, "data"));
    else
        changed = read_loras(adapters, root);
    json_free(root);
    go_on(adapters);
    if (changed)
        adapters->on_change(adapters->with);
}

/* ------------------------------------------------------------------------- what was asked for */

/* vLLM refuses what is loaded already with 400 and "has already been loaded". */
static bool is_loaded_already(const struct remote_answer *answer)
{
    return !answer->why && answer->status == 400 &&
           text_find(answer->body, TEXT("already")) != SIZE_MAX &&
           text_find(answer->body, TEXT("loaded")) != SIZE_MAX;
}

static void on_verified(void *with, const struct remote_answer *answer)
{
    struct adapters *adapters = with;
    struct wanted *one = &adapters->list[adapters->loading];
    enum adapter_state before = one->seen.state;
    on_listed(with, answer);
    if (remote_is_well(answer) && before == ADAPTER_LOADING && one->seen.state == ADAPTER_LOADING &&
        fail(adapters, one, "it was loaded, and is not listed"))
        adapters->on_change(adapters->with);
}

static void on_loaded(void *with, const struct remote_answer *answer)
{
    struct adapters *adapters = with;
    struct wanted *one = &adapters->list[adapters->loading];
    char words[ADAPTER_WORDS_MAX];
    adapters->call = NULL;
    if (remote_is_well(answer) || is_loaded_already(answer)) {
        one->not_before_us = loop_now_us(adapters->loop) + (uint64_t)waits_us[0];
        ask(adapters, METHOD_GET, ways[adapters->engine].list, TEXT(""), on_verified);
        return;
    }
    words_of(answer, words);
    bool changed = fail(adapters, one, words);
    go_on(adapters);
    if (changed)
        adapters->on_change(adapters->with);
}

/* Gone, or it was not there: the list tells. Not twice in a row, should it refuse. */
static void on_unloaded(void *with, const struct remote_answer *answer)
{
    struct adapters *adapters = with;
    adapters->call = NULL;
    look_later(adapters, (uint64_t)(remote_is_well(answer) ? 0 : waits_us[2]));
}

static void on_time(struct timer *timer)
{
    struct adapters *adapters = LIST_MEMBER(timer, struct adapters, timer);
    if (!adapters->call && ways[adapters->engine].list)
        ask(adapters, METHOD_GET, ways[adapters->engine].list, TEXT(""), on_listed);
    else if (!adapters->call)
        adapters->on_change(adapters->with);
}

/* --------------------------------------------------------------------------------- the door */

struct adapters *adapters_new(struct loop *loop, struct remote *remote,
                              void (*on_change)(void *with), void *with)
{
    struct adapters *adapters = memory_new(sizeof(*adapters));
    adapters->loop = loop;
    adapters->remote = remote;
    adapters->on_change = on_change;
    adapters->with = with;
    adapters->timer.on_time = on_time;
    list_init(&adapters->timer.link);
    return adapters;
}

static void forget_all(struct adapters *adapters)
{
    for (size_t i = 0; i < adapters->count; i++)
        memory_free(adapters->list[i].source);
    adapters->count = 0;
}

static void free_buried(struct grave *grave)
{
    memory_free(LIST_MEMBER(grave, struct adapters, grave));
}

void adapters_free(struct adapters *adapters)
{
    if (!adapters)
        return;
    remote_drop(adapters->call);
    timer_stop(&adapters->timer);
    forget_all(adapters);
    loop_bury(adapters->loop, &adapters->grave, free_buried);
}

static void begin(struct wanted *one, enum engine engine)
{
    switch (ways[engine].way) {
    case WAY_EACH:
        become(one, ADAPTER_READY, "");
        break;
    case WAY_NONE:
        become(one, ADAPTER_FAILED, "this engine takes no adapters");
        break;
    case WAY_CALLS:
    case WAY_START:
        break;
    }
}

static bool is_same(const struct adapters *adapters, const struct deployment_spec *spec)
{
    if (adapters->engine != spec->engine || adapters->count != spec->adapter_count)
        return false;
    for (size_t i = 0; i < adapters->count; i++)
        if (!text_equal(text_of(adapters->list[i].seen.name), spec->adapters[i].name) ||
            !text_equal(text_of(adapters->list[i].source), spec->adapters[i].source))
            return false;
    return true;
}

void adapters_want(struct adapters *adapters, const struct deployment_spec *spec)
{
    if (is_same(adapters, spec))
        return;
    remote_drop(adapters->call);
    adapters->call = NULL;
    forget_all(adapters);
    memset(adapters->list, 0, sizeof adapters->list);
    adapters->engine = spec->engine;
    for (size_t i = 0; i < spec->adapter_count && i < SPEC_ADAPTERS_MAX; i++) {
        struct wanted *one = &adapters->list[adapters->count++];
        snprintf(one->seen.name, sizeof one->seen.name, "%.*s", TEXT_ARGS(spec->adapters[i].name));
        one->source = memory_string(spec->adapters[i].source);
        one->number = first_number(spec) + (unsigned)i;
        write_name(&spec->adapters[i], one->wire);
        begin(one, spec->engine);
    }
    look_later(adapters, 0);
}

size_t adapters_look(const struct adapters *adapters, struct adapter *into, size_t max)
{
    size_t count = adapters ? adapters->count : 0;
    count = count < max ? count : max;
    for (size_t i = 0; i < count; i++)
        into[i] = adapters->list[i].seen;
    return count;
}
