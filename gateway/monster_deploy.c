/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/monster_deploy.h"

#include <stdio.h>
#include <string.h>

#include "gateway/admin_inside.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/config/config.h"
#include "gateway/deploy_desk.h"
#include "gateway/deploy_page.h"
#include "gateway/deploy_store.h"
#include "gateway/http/path.h"
#include "gateway/service_state.h"

enum {
    DOCUMENT_BYTES = 64 << 10,
    UUID_BYTES = 37,
    SLUG_MAX = 40,
    LINES_USUAL = 100,
    LINES_MAX = 10000,
    LOG_BYTES = 4 << 20,
    MODEL_MAX = 300,
};

/* --------------------------------------------------------------------------------- answers */

/* <id> of what is there nevertheless, or empty. */
static void refuse_with(struct admin_call *call, int status, const char *words, struct text id)
{
    struct json_write json = {.out = &call->out};
    buffer_clear(&call->out);
    json_open(&json, '{');
    if (id.len)
        json_text_member(&json, "deployment_id", id);
    json_text_member(&json, "message", text_of(words));
    json_name(&json, "error");
    json_open(&json, '{');
    json_text_member(&json, "message", text_of(words));
    json_text_member(&json, "type",
                     status < 500 ? TEXT("invalid_request_error") : TEXT("server_error"));
    json_int_member(&json, "code", status);
    json_close(&json, '}');
    json_close(&json, '}');
    call->status = status;
    call->content_type = "application/json";
}

static void refuse(struct admin_call *call, int status, const char *words)
{
    refuse_with(call, status, words, (struct text){"", 0});
}

static void done(struct admin_call *call, struct json_write *json)
{
    call->status = json->is_full ? 500 : 200;
    call->content_type = "application/json";
}

/* What its callers know of states (docs/DEPLOYMENTS.md has the table). */
static const char *status_word(enum deployment_state state)
{
    switch (state) {
    case DEPLOYMENT_QUEUED:
    case DEPLOYMENT_STARTING:
    case DEPLOYMENT_BACKOFF:
        return "building";
    case DEPLOYMENT_READY:
    case DEPLOYMENT_DEGRADED:
    case DEPLOYMENT_IDLE:
    case DEPLOYMENT_UPDATING:
        return "live";
    case DEPLOYMENT_FAILED:
        return "failed";
    case DEPLOYMENT_STOPPING:
        return "terminating";
    case DEPLOYMENT_STOPPED:
        return "terminated";
    case DEPLOYMENT_STATES:
        break;
    }
    return "building";
}

static void write_message(struct json_write *json, const struct fleet_view *view)
{
    char words[FLEET_REASON_MAX + FLEET_WORDS_MAX + 8];
    const char *state = status_word(view->state);
    if (strcmp(state, "live") == 0)
        snprintf(words, sizeof(words), "%s",
                 view->state == DEPLOYMENT_IDLE ? "Server is idle; the next call starts it"
                                                : "Server has started !!!");
    else
        snprintf(words, sizeof(words), "%s", view->reason[0] ? view->reason : state);
    json_text_member(json, "message", text_of(words));
}

/* One of the tenant's, as its callers know it. */
static void write_one(struct json_write *json, struct service *service,
                      const struct admin_call *call, const struct deployment_spec *spec,
                      const struct made_deployment *made)
{
    struct deployments *desk = deploy_desk_open(service_deploy_desk(service));
    struct deployment_page *page = desk ? deployments_page(desk, spec->name) : NULL;
    struct fleet_view none = {.state = DEPLOYMENT_QUEUED};
    const struct fleet_view *view = page ? &page->view : &none;
    char url[600];
    snprintf(url, sizeof(url), "%s/d/%.*s", call->origin ? call->origin : "", TEXT_ARGS(spec->id));
    json_open(json, '{');
    json_text_member(json, "deployment_id", spec->id);
    json_text_member(json, "deployment_name", spec->name);
    json_text_member(json, "status", text_of(status_word(view->state)));
    write_message(json, view);
    json_text_member(json, "URL", text_of(url));
    json_text_member(json, "api_auth_token", spec->token);
    if (made)
        json_time_member(json, "created_at", made->made_us);
    json_close(json, '}');
    deployment_page_free(page);
}

/* ---------------------------------------------------------------------------- looking for one */

static bool is_mine(const struct admin_call *call, struct text tenant)
{
    return tenant.len && text_equal(tenant, text_of(call->caller.tenant));
}

/* The tenant's deployment of that id; NULL when it is not there, or another's. */
static const struct deployment_spec *find_mine(const struct config *config,
                                               const struct admin_call *call, struct text id)
{
    const struct deployment_spec *spec = deploy_spec(config, id);
    return spec && is_mine(call, spec->tenant) ? spec : NULL;
}

static void answer_status(struct service *service, struct config *config, struct admin_call *call,
                          struct text id)
{
    struct json_write json = {.out = &call->out};
    struct made_list *made = made_read(service->made);
    const struct deployment_spec *spec = find_mine(config, call, id);
    struct made_deployment ended;
    if (spec) {
        write_one(&json, service, call, spec, made_find(made, spec->name));
        done(call, &json);
    } else if (made_find_ended(service->made, id, made, &ended) && is_mine(call, ended.tenant)) {
        json_open(&json, '{');
        json_text_member(&json, "deployment_id", id);
        json_text_member(&json, "deployment_name", ended.name);
        json_text_member(&json, "status", TEXT("terminated"));
        json_text_member(&json, "message", TEXT("terminated"));
        json_close(&json, '}');
        done(call, &json);
    } else {
        refuse(call, 404, "There is no such deployment.");
    }
    made_list_free(made);
}

static void answer_list(struct service *service, struct config *config, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    struct made_list *made = made_read(service->made);
    json_open(&json, '{');
    json_name(&json, "deployments");
    json_open(&json, '[');
    for (size_t i = 0; i < config->deploy.spec_count; i++) {
        const struct deployment_spec *spec = config->deploy.specs[i];
        if (is_mine(call, spec->tenant))
            write_one(&json, service, call, spec, made_find(made, spec->name));
    }
    json_close(&json, ']');
    json_close(&json, '}');
    done(call, &json);
    made_list_free(made);
}

static void answer_logs(struct service *service, struct config *config, struct admin_call *call,
                        struct text id)
{
    struct json_write json = {.out = &call->out};
    const struct deployment_spec *spec = find_mine(config, call, id);
    struct deployments *desk = deploy_desk_open(service_deploy_desk(service));
    struct text value = {"", 0}, line, rest;
    bool repeated = false;
    uint64_t lines = LINES_USUAL;
    struct buffer text;
    if (!spec) {
        refuse(call, 404, "There is no such deployment.");
        return;
    }
    if (query_find(call->query, TEXT("n_lines"), &value, &repeated) && value.len &&
        !text_number(value, LINES_MAX, &lines)) {
        refuse(call, 422, "'n_lines' is a number up to 10000.");
        return;
    }
    buffer_init(&text, LOG_BYTES);
    bool found =
        desk && deployments_logs(desk, spec->name, (struct text){"", 0}, (unsigned)lines, &text);
    json_open(&json, '{');
    if (found) { /* before that it has not got as far as building */
        rest = buffer_text(&text);
        json_name(&json, "logs");
        json_open(&json, '[');
        while (rest.len && text_next(&rest, '\n', &line))
            json_text(&json, line);
        json_close(&json, ']');
    } else {
        json_text_member(&json, "message", TEXT("There are no logs yet."));
    }
    json_close(&json, '}');
    done(call, &json);
    buffer_done(&text);
}

/* ------------------------------------------------------------------------------- launching */

struct launch_wish {
    struct text name, model, lora, prompt_template, token;
    struct text image, user, password;
    const struct json *env;
    int64_t vram, devices, context, port;
    char profile[32];
};

static void new_uuid(char uuid[UUID_BYTES])
{
    uint8_t b[16];
    hash_random(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(uuid, UUID_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

/* Letters, digits and dashes of what it was called, and some of its id: names are everybody's. */
static void make_name(struct text wished, const char *id, char name[SPEC_NAME_MAX + 1])
{
    char slug[SLUG_MAX + 1];
    size_t len = 0;
    for (size_t i = 0; i < wished.len && len < SLUG_MAX; i++) {
        char c =
            (char)(wished.at[i] >= 'A' && wished.at[i] <= 'Z' ? wished.at[i] + 32 : wished.at[i]);
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (word || (len > 0 && slug[len - 1] != '-'))
            slug[len++] = word ? c : '-';
    }
    slug[len] = '\0';
    snprintf(name, SPEC_NAME_MAX + 1, "%s%s%.8s", len ? slug : "deployment",
             len && slug[len - 1] == '-' ? "" : "-", id);
}

static bool is_printable(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f)
            return false;
    return true;
}

/* "org/name", and no path: what stands for files is the profile's to say. */
static bool is_hub_name(struct text model)
{
    size_t slashes = 0;
    for (size_t i = 0; i < model.len; i++) {
        char c = model.at[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || (i > 0 && (c == '-' || c == '.'));
        slashes += c == '/';
        if (!word && !(c == '/' && i > 0 && i + 1 < model.len))
            return false;
    }
    return model.len > 0 && model.len <= MODEL_MAX && slashes <= 1 &&
           text_find(model, TEXT("..")) == SIZE_MAX;
}

/* What <wished> stands for in this profile; at == NULL: it may not be had. */
static struct text model_of(const struct deploy_profile *profile, struct text wished)
{
    for (size_t i = 0; i < profile->model_count; i++)
        if (text_equal(profile->models[i].name, wished))
            return profile->models[i].value;
    return profile->model_count == 0 && is_hub_name(wished) ? wished : (struct text){NULL, 0};
}

static const struct deploy_profile *find_profile(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->deploy.profile_count; i++)
        if (text_equal(config->deploy.profiles[i].name, text_of(name)))
            return &config->deploy.profiles[i];
    return NULL;
}

/* The argument with the model in the place of {model}. */
static void write_argument(struct json_write *json, struct text argument, struct text model)
{
    static const struct text mark = {"{model}", 7};
    struct buffer out;
    size_t at;
    buffer_init(&out, DOCUMENT_BYTES);
    while ((at = text_find(argument, mark)) != SIZE_MAX) {
        buffer_append_text(&out, text_head(argument, at));
        buffer_append_text(&out, model);
        argument = text_from(argument, at + mark.len);
    }
    buffer_append_text(&out, argument);
    json_text(json, buffer_text(&out));
    buffer_done(&out);
}

static void write_env(struct json_write *json, const struct json *env)
{
    void *at = NULL;
    struct text name, value;
    const struct json *member;
    json_name(json, "env");
    json_open(json, '{');
    while (json_next(env, &at, &name, &member)) {
        int64_t number;
        char word[24];
        if (json_to_int(member, INT64_MIN, INT64_MAX, &number)) {
            snprintf(word, sizeof(word), "%lld", (long long)number);
            json_text_member(json, name.at, text_of(word));
        } else if (json_to_text(member, &value)) {
            json_text_member(json, name.at, value);
        }
    }
    json_close(json, '}');
}

static void write_document(struct json_write *json, const struct deploy_profile *profile,
                           const struct launch_wish *wish, struct text model, const char *name)
{
    static const char *const launchers[] = {"process", "docker", "kubernetes"};
    static const char *const engines[] = {"openai", "llama-cpp", "vllm", "sglang", "tgi", "lorax"};
    struct text image = wish->image.len ? wish->image : profile->image;
    json_open(json, '{');
    json_text_member(json, "name", text_of(name));
    json_text_member(json, "launcher", text_of(launchers[profile->launcher]));
    json_text_member(json, "engine", text_of(engines[profile->engine]));
    if (profile->node.len)
        json_text_member(json, "node", profile->node);
    if (image.len)
        json_text_member(json, "image", image);
    if (!wish->image.len) {
        json_name(json, "command");
        json_open(json, '[');
        for (size_t i = 0; i < profile->command_count; i++)
            write_argument(json, profile->command[i], model);
        json_close(json, ']');
    }
    if (wish->user.len || wish->password.len) {
        json_name(json, "registry");
        json_open(json, '{');
        json_text_member(json, "user", wish->user);
        json_text_member(json, "password", wish->password);
        json_close(json, '}');
    }
    if (wish->port)
        json_int_member(json, "container_port", wish->port);
    if (wish->env)
        write_env(json, wish->env);
    if (wish->prompt_template.len)
        json_text_member(json, "prompt_template", wish->prompt_template);
    if (wish->context)
        json_int_member(json, "context_window", wish->context);
    if (wish->lora.len) {
        json_name(json, "adapters");
        json_open(json, '[');
        json_open(json, '{');
        json_text_member(json, "name", TEXT("default"));
        json_text_member(json, "source", wish->lora);
        json_close(json, '}');
        json_close(json, ']');
    }
    json_name(json, "resources");
    json_open(json, '{');
    json_int_member(json, "memory", profile->memory_bytes);
    json_close(json, '}');
    json_name(json, "scaling");
    json_raw(json, TEXT("{\"min\":1,\"max\":1}"));
    json_close(json, '}');
}

/* Are there more than <most> that the tenant's calls have made? */
static bool has_more(struct service *service, const struct admin_call *call, unsigned most)
{
    unsigned count = 0;
    service_pull(service);
    struct made_list *made = made_read(service->made);
    for (size_t i = 0; i < made->count; i++)
        count += is_mine(call, made->at[i].tenant);
    made_list_free(made);
    return count > most;
}

static void refuse_more(struct admin_call *call, unsigned most)
{
    char words[200];
    snprintf(words, sizeof(words),
             "There may be %u deployments at most (max_per_tenant): terminate one first.", most);
    refuse(call, 403, words);
}

/* It is one too many, and could not be taken back: it runs, and whoever pays must know of it. */
static void refuse_left(struct admin_call *call, const char *id, const struct deploy_change *change)
{
    char words[600];
    log_line(LOG_ERROR, "deploy", "%s: %s: is one too many, and could not be removed: %s",
             call->caller.tenant, change->name, change->words);
    snprintf(words, sizeof(words),
             "It is one too many, and could not be removed again: terminate \"%s\". %s", id,
             change->words);
    refuse_with(call, 503, words, text_of(id));
}

static void launch(struct service *service, struct config *config, struct admin_call *call,
                   const struct launch_wish *wish)
{
    const struct deploy_profile *profile = find_profile(config, wish->profile);
    struct deploy_change change = {.by = call->caller.name};
    char id[UUID_BYTES], token[UUID_BYTES], name[SPEC_NAME_MAX + 1], words[200];
    struct text model = {"", 0}, lora = {"", 0};
    if (!profile) {
        snprintf(words, sizeof(words), "There is no profile \"%s\" here.", wish->profile);
        refuse(call, 422, words);
        return;
    }
    if (wish->image.len == 0)
        model = model_of(profile, wish->model);
    if (wish->lora.len)
        lora = model_of(profile, wish->lora);
    if (!model.at || (wish->lora.len && !lora.at)) {
        refuse(call, 422, "'basemodel_path' or 'loramodel_path' is none that may be had here.");
        return;
    }
    if (has_more(service, call, config->deploy.max_per_tenant - 1)) {
        refuse_more(call, config->deploy.max_per_tenant);
        return;
    }
    struct launch_wish known = *wish;
    known.lora = lora;
    new_uuid(id);
    new_uuid(token);
    make_name(wish->name, id, name);
    change.id = text_of(id);
    change.tenant = text_of(call->caller.tenant);
    change.token = wish->token.len ? wish->token : text_of(token);
    struct buffer document;
    buffer_init(&document, DOCUMENT_BYTES);
    struct json_write json = {.out = &document};
    write_document(&json, profile, &known, model, name);
    deploy_store_create(service, buffer_text(&document), &change);
    if (change.status) {
        refuse(call, change.status == 409 ? 409 : change.status >= 500 ? 503 : 422, change.words);
    } else if (has_more(service, call, config->deploy.max_per_tenant)) {
        /* Other nodes have made some at the same time: each takes its own back. */
        buffer_done(&change.errors);
        deploy_store_delete(service, &change);
        if (change.status)
            refuse_left(call, id, &change);
        else
            refuse_more(call, config->deploy.max_per_tenant);
    } else {
        struct json_write answer = {.out = &call->out};
        json_open(&answer, '{');
        json_text_member(&answer, "deployment_id", text_of(id));
        json_text_member(&answer, "deployment_name", text_of(name));
        json_text_member(&answer, "status", TEXT("building"));
        json_text_member(&answer, "message", TEXT("Deployment launched"));
        json_close(&answer, '}');
        done(call, &answer);
    }
    buffer_done(&change.errors);
    buffer_done(&document);
}

/* A member that is a text, or not there, or null. False: it is something else (refused). */
static bool take_text(const struct json *body, const char *name, struct text *to,
                      struct admin_call *call)
{
    const struct json *value = json_member(body, name);
    char words[120];
    if (!value || json_kind(value) == SCAN_NULL ||
        (json_to_text(value, to) && to->len < 4096 && is_printable(*to)))
        return true;
    snprintf(words, sizeof(words), "'%s' must be a text.", name);
    refuse(call, 422, words);
    return false;
}

static bool take_size(const struct json *body, struct launch_wish *wish, struct admin_call *call)
{
    if (!json_to_int(json_member(body, "per_gpu_vram"), 1, 100000, &wish->vram) ||
        !json_to_int(json_member(body, "gpu_count"), 1, 1000, &wish->devices)) {
        refuse(call, 422, "'per_gpu_vram' and 'gpu_count' are needed, and whole numbers.");
        return false;
    }
    snprintf(wish->profile, sizeof(wish->profile), "%lldx%lld", (long long)wish->vram,
             (long long)wish->devices);
    return true;
}

static void launch_llm(struct service *service, struct config *config, struct admin_call *call,
                       const struct json *body)
{
    struct launch_wish wish = {.context = 0};
    const struct json *context = json_member(body, "max_model_len");
    if (!take_text(body, "deployment_name", &wish.name, call) ||
        !take_text(body, "basemodel_path", &wish.model, call) ||
        !take_text(body, "loramodel_path", &wish.lora, call) ||
        !take_text(body, "prompt_template", &wish.prompt_template, call) ||
        !take_text(body, "api_auth_token", &wish.token, call) || !take_size(body, &wish, call))
        return;
    if (context && json_kind(context) != SCAN_NULL &&
        !json_to_int(context, 1, INT32_MAX, &wish.context)) {
        refuse(call, 422, "'max_model_len' must be a whole number.");
        return;
    }
    if (!wish.model.len) {
        refuse(call, 422, "'basemodel_path' is needed.");
        return;
    }
    launch(service, config, call, &wish);
}

static void launch_image(struct service *service, struct config *config, struct admin_call *call,
                         const struct json *body)
{
    struct launch_wish wish = {.context = 0};
    const struct json *serving = json_member(body, "serving_params"),
                      *registry = json_member(body, "image_registry");
    if (!take_text(serving, "deployment_name", &wish.name, call) ||
        !take_text(registry, "registryName", &wish.image, call) ||
        !take_text(registry, "username", &wish.user, call) ||
        !take_text(registry, "password", &wish.password, call) || !take_size(serving, &wish, call))
        return;
    wish.env = json_member(body, "env_params");
    const struct deploy_profile *profile = find_profile(config, wish.profile);
    if (!wish.image.len)
        refuse(call, 422, "'image_registry.registryName' is needed.");
    else if (!json_to_int(json_item(json_member(body, "port_numbers"), 0), 1, 65535, &wish.port))
        refuse(call, 422, "'port_numbers' holds the port of the server.");
    else if (profile && profile->launcher == LAUNCH_BY_PROCESS)
        refuse(call, 422, "The profile of this size starts no images.");
    else
        launch(service, config, call, &wish);
}

static void launch_dreambooth(struct service *service, struct config *config,
                              struct admin_call *call, const struct json *body)
{
    struct launch_wish wish = {.context = 0};
    snprintf(wish.profile, sizeof(wish.profile), "sdxl-dreambooth");
    if (!find_profile(config, wish.profile)) {
        refuse(call, 501, "There is no profile \"sdxl-dreambooth\" here.");
        return;
    }
    if (take_text(body, "deployment_name", &wish.name, call) &&
        take_text(body, "basemodel_path", &wish.model, call) &&
        take_text(body, "loramodel_path", &wish.lora, call))
        launch(service, config, call, &wish);
}

static void terminate(struct service *service, struct config *config, struct admin_call *call,
                      const struct json *body)
{
    struct text id = {"", 0};
    struct deploy_change change = {.by = call->caller.name};
    if (!take_text(body, "deployment_id", &id, call))
        return;
    const struct deployment_spec *spec = id.len ? find_mine(config, call, id) : NULL;
    if (!spec) {
        refuse(call, 404, "There is no such deployment.");
        return;
    }
    snprintf(change.name, sizeof(change.name), "%.*s", TEXT_ARGS(spec->name));
    deploy_store_delete(service, &change);
    if (change.status) {
        refuse(call, change.status, change.words);
    } else {
        struct json_write json = {.out = &call->out};
        json_open(&json, '{');
        json_text_member(&json, "deployment_id", id);
        json_text_member(&json, "status", TEXT("terminated"));
        json_text_member(&json, "message", TEXT("Deployment terminated"));
        json_close(&json, '}');
        done(call, &json);
    }
    buffer_done(&change.errors);
}

/* ------------------------------------------------------------------------------- the paths */

static bool may_deploy(const struct admin_call *call)
{
    const struct tenant *tenant =
        directory_find_tenant(call->directory, text_of(call->caller.tenant));
    return tenant && tenant->may_deploy;
}

static void answer_post(struct service *service, struct config *config, struct admin_call *call,
                        struct text rest)
{
    static const struct {
        struct text path;
        void (*run)(struct service *service, struct config *config, struct admin_call *call,
                    const struct json *body);
    } posts[] = {{{"llm", 3}, launch_llm},
                 {{"custom_image", 12}, launch_image},
                 {{"sdxl-dreambooth", 15}, launch_dreambooth},
                 {{"terminate", 9}, terminate}};
    struct json_problem problem;
    struct json *body = json_read(call->body, &problem);
    size_t i = 0;
    while (i < sizeof(posts) / sizeof(posts[0]) && !text_equal(posts[i].path, rest))
        i++;
    if (i == sizeof(posts) / sizeof(posts[0]))
        refuse(call, 404, "There is nothing at this path.");
    else if (!may_deploy(call))
        refuse(call, 403, "This key may not deploy.");
    else if (json_kind(body) != SCAN_OBJECT)
        refuse(call, 422, "The body must be a JSON object.");
    else
        posts[i].run(service, config, call, body);
    json_free(body);
}

static void answer(struct service *service, struct config *config, struct admin_call *call)
{
    static const struct text root = {"/v1/deploy/", 11}, status = {"status/", 7},
                             logs = {"logs/", 5};
    struct text rest = text_from(call->path, root.len);
    if (rest.len && rest.at[rest.len - 1] == '/')
        rest.len--;
    if (call->method == METHOD_POST)
        answer_post(service, config, call, rest);
    else if (text_equal(rest, TEXT("list")))
        answer_list(service, config, call);
    else if (text_starts(rest, status))
        answer_status(service, config, call, text_from(rest, status.len));
    else if (text_starts(rest, logs))
        answer_logs(service, config, call, text_from(rest, logs.len));
    else
        refuse(call, 404, "There is nothing at this path.");
}

const struct admin_route monster_deploy_route = {
    .path = {"/v1/deploy", 10}, .may = MAY_TENANT, .place = ON_SERVICE, .answer = answer};

bool monster_deploy_ask(struct service *service, struct admin_call *call)
{
    call->route = &monster_deploy_route;
    if (service_enqueue(service, call))
        return true;
    refuse(call, 503, "Too many calls are waiting; try again.");
    return false;
}
