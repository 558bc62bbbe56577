/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/models_page.h"

#include "deploy/models/standing.h"
#include "gateway/answer.h"
#include "gateway/base/json.h"
#include "gateway/base/scan.h"
#include "gateway/http/path.h"
#include "gateway/owning.h"
#include "gateway/pages_ollama.h"
#include "gateway/worker_inside.h"

enum { QUOTED_MAX = 2048, NAME_MAX_BYTES = 256, ASKED_MAX = 2048, PAGE_MAX = 1000 };

/* ------------------------------------------------------------------------------- one model */

/* Of a deployment: what it is an adapter of, and how it stands. */
static void put_deployment(struct buffer *out, const struct route *route)
{
    const struct target *target = route->target_count == 1 ? &route->targets[0] : NULL;
    const struct deployment_spec *spec = target ? target->provider->spec : NULL;
    if (!spec)
        return;
    struct standing_view view = standing_look(target->provider->standing);
    if (target->adapter.len) {
        buffer_append_text(out, TEXT(",\"parent\":"));
        json_write_string(out, spec->name);
    }
    buffer_format(out, ",\"meta\":{\"state\":\"%s\",\"ready\":%u}",
                  view.known ? deployment_state_name(view.state) : "queued", view.ready);
}

static void put_for_openai(struct buffer *out, struct text name, const struct route *route)
{
    buffer_append_text(out, TEXT("{\"id\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"object\":\"model\",\"created\":0,\"owned_by\":"));
    json_write_string(out,
                      route->target_count == 1 ? route->targets[0].provider->name : TEXT("sluice"));
    if (route->context_window)
        buffer_format(out, ",\"context_window\":%lld", (long long)route->context_window);
    if (route->description.len) {
        buffer_append_text(out, TEXT(",\"description\":"));
        json_write_string(out, route->description);
    }
    put_deployment(out, route);
    buffer_append_text(out, TEXT("}"));
}

static void put_for_anthropic(struct buffer *out, struct text name, const struct route *route)
{
    buffer_append_text(out, TEXT("{\"type\":\"model\",\"id\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"display_name\":"));
    json_write_string(out, route->description.len ? route->description : name);
    buffer_append_text(out, TEXT(",\"created_at\":\"1970-01-01T00:00:00Z\""));
    if (route->context_window)
        buffer_format(out, ",\"max_input_tokens\":%lld", (long long)route->context_window);
    if (route->output_tokens)
        buffer_format(out, ",\"max_tokens\":%lld", (long long)route->output_tokens);
    buffer_append_text(out, TEXT("}"));
}

static void put_for_gemini(struct buffer *out, struct text name, const struct route *route)
{
    buffer_append_text(out, TEXT("{\"name\":\"models/"));
    struct buffer quoted;
    buffer_init(&quoted, QUOTED_MAX);
    json_write_string(&quoted, name);
    buffer_append_text(out, text_from(buffer_text(&quoted), 1)); /* its quote closes this one */
    buffer_done(&quoted);
    buffer_append_text(out, TEXT(",\"version\":\"001\",\"displayName\":"));
    json_write_string(out, name);
    buffer_append_text(out, TEXT(",\"description\":"));
    json_write_string(out, route->description);
    if (route->context_window)
        buffer_format(out, ",\"inputTokenLimit\":%lld", (long long)route->context_window);
    if (route->output_tokens)
        buffer_format(out, ",\"outputTokenLimit\":%lld", (long long)route->output_tokens);
    buffer_append_text(out, TEXT(",\"supportedGenerationMethods\":[\"generateContent\","
                                 "\"countTokens\",\"embedContent\",\"batchEmbedContents\"]}"));
}

static void put_for_monster(struct buffer *out, struct text name, const struct route *route)
{
    json_write_string(out, name);
    buffer_format(out, ":%lld", (long long)route->context_window);
}

static void put_model(const struct exchange *x, struct buffer *out, struct text name,
                      const struct route *route)
{
    if (x->match.shape == SHAPE_GEMINI)
        put_for_gemini(out, name, route);
    else if (x->match.shape == SHAPE_OLLAMA)
        pages_put_for_ollama(out, name);
    else if (x->match.shape == SHAPE_MONSTER)
        put_for_monster(out, name, route);
    else if (x->match.shape == SHAPE_ANTHROPIC)
        put_for_anthropic(out, name, route);
    else
        put_for_openai(out, name, route);
}

/* -------------------------------------------------------------------------- which of them */

/* The names that the key may call, in the order of the configuration. */
struct names {
    struct named {
        struct text name;
        const struct route *route;
    } * list;
    size_t count;
};

static bool is_on(const struct route *route)
{
    for (size_t i = 0; i < route->target_count; i++)
        if (!route->targets[i].off)
            return true;
    return false;
}

/* At a deployment's own endpoint there is no other model. */
static bool is_own(const struct exchange *x, const struct route *route)
{
    const struct deployment_spec *spec =
        route->target_count == 1 ? route->targets[0].provider->spec : NULL;
    return !x->match.deployment.len || (spec && (text_equal(spec->id, x->match.deployment) ||
                                                 text_equal(spec->name, x->match.deployment)));
}

static struct names gather(struct exchange *x)
{
    const struct config *config = x->snapshot->config;
    struct names names = {NULL, 0};
    size_t room = 0;
    for (size_t i = 0; i < config->model_count; i++)
        room += 1 + config->models[i].alias_count;
    names.list = arena_new(&x->arena, (room + 1) * sizeof(*names.list));
    for (size_t i = 0; i < config->model_count; i++) {
        const struct route *route = &config->models[i];
        for (size_t a = 0; a <= route->alias_count && is_on(route); a++) {
            struct text name = a ? route->aliases[a - 1] : route->name;
            bool pattern = text_find_byte(name, '*') != SIZE_MAX;
            if (!pattern && is_own(x, route) && owning_may_call(x->key, route, name))
                names.list[names.count++] = (struct named){name, route};
        }
    }
    return names;
}

/* A part of the list: [first, end). */
struct part {
    size_t first, end;
};

static bool refuse(struct exchange *x, struct buffer *out, const char *field, const char *what)
{
    fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "'%s' %s.", field, what);
    exchange_fault(x)->param = field;
    answer_error(x, out);
    return false;
}

/* How many the client wants on a page: <most> when it says nothing. */
static bool read_size(struct exchange *x, struct buffer *out, const char *field, size_t *size)
{
    struct text value;
    bool repeated = false;
    uint64_t number;
    if (!query_find(x->query, text_of(field), &value, &repeated) || !value.len)
        return true;
    if (repeated || !text_number(value, UINT32_MAX, &number) || number == 0)
        return refuse(x, out, field, "must be a number from 1 to 1000");
    *size = number < PAGE_MAX ? (size_t)number : PAGE_MAX;
    return true;
}

/* Where the model stands that <field> of the query names: SIZE_MAX, when it names none. */
static bool read_place(struct exchange *x, struct buffer *out, const struct names *names,
                       const char *field, size_t *place)
{
    struct text value;
    bool repeated = false;
    char name[NAME_MAX_BYTES];
    size_t len;
    *place = SIZE_MAX;
    if (!query_find(x->query, text_of(field), &value, &repeated) || !value.len)
        return true;
    if (!repeated && value.len <= sizeof(name) && path_decode(value, name, &len))
        for (size_t i = 0; i < names->count; i++)
            if (text_equal(names->list[i].name, (struct text){name, len}))
                *place = i;
    return *place != SIZE_MAX || refuse(x, out, field, "is none of the models");
}

/* Anthropic: limit, and after_id or before_id. */
static bool read_ids(struct exchange *x, struct buffer *out, const struct names *names,
                     struct part *part)
{
    size_t size = names->count, after, before;
    if (!read_size(x, out, "limit", &size) || !read_place(x, out, names, "after_id", &after) ||
        !read_place(x, out, names, "before_id", &before))
        return false;
    if (after != SIZE_MAX && before != SIZE_MAX)
        return refuse(x, out, "before_id", "does not go together with after_id");
    if (before != SIZE_MAX) {
        *part = (struct part){before > size ? before - size : 0, before};
        return true;
    }
    part->first = after == SIZE_MAX ? 0 : after + 1;
    part->end = names->count - part->first < size ? names->count : part->first + size;
    return true;
}

/* Gemini: pageSize, and pageToken, which here is the name of the last one shown. */
static bool read_token(struct exchange *x, struct buffer *out, const struct names *names,
                       struct part *part)
{
    size_t size = names->count, after;
    if (!read_size(x, out, "pageSize", &size) || !read_place(x, out, names, "pageToken", &after))
        return false;
    part->first = after == SIZE_MAX ? 0 : after + 1;
    part->end = names->count - part->first < size ? names->count : part->first + size;
    return true;
}

/* ---------------------------------------------------------------------------------- the list */

static void put_id(struct buffer *out, const char *before, const struct names *names, bool some,
                   size_t place)
{
    buffer_append_text(out, text_of(before));
    if (some)
        json_write_string(out, names->list[place].name);
    else
        buffer_append_text(out, TEXT("null"));
}

static void put_end(const struct exchange *x, struct buffer *out, const struct names *names,
                    struct part part)
{
    bool some = part.end > part.first,
         backwards = text_find(x->query, TEXT("before_id=")) == 0 ||
                     text_find(x->query, TEXT("&before_id=")) < x->query.len;
    bool more = backwards ? part.first > 0 : part.end < names->count;
    buffer_append_text(out, x->match.shape == SHAPE_MONSTER ? TEXT("}") : TEXT("]"));
    if (x->match.shape == SHAPE_ANTHROPIC) {
        buffer_append_text(out, more ? TEXT(",\"has_more\":true") : TEXT(",\"has_more\":false"));
        put_id(out, ",\"first_id\":", names, some, part.first);
        put_id(out, ",\"last_id\":", names, some, part.end - 1);
    } else if (x->match.shape == SHAPE_GEMINI && some && part.end < names->count) {
        put_id(out, ",\"nextPageToken\":", names, true, part.end - 1);
    }
    buffer_append_text(out, TEXT("}\n"));
}

bool models_list(struct exchange *x, struct buffer *out)
{
    struct names names = gather(x);
    struct part part = {0, names.count};
    bool anthropic = x->match.shape == SHAPE_ANTHROPIC, gemini = x->match.shape == SHAPE_GEMINI;
    if ((anthropic && !read_ids(x, out, &names, &part)) ||
        (gemini && !read_token(x, out, &names, &part)))
        return false;
    bool models = gemini || x->match.shape == SHAPE_OLLAMA;
    bool monster = x->match.shape == SHAPE_MONSTER; /* how much goes into each, where it is known */
    buffer_append_text(out, monster     ? TEXT("{\"maximum_context_length\":{")
                            : models    ? TEXT("{\"models\":[")
                            : anthropic ? TEXT("{\"data\":[")
                                        : TEXT("{\"object\":\"list\",\"data\":["));
    const char *between = "";
    for (size_t i = part.first; i < part.end; i++) {
        if (monster && !names.list[i].route->context_window)
            continue;
        buffer_append_text(out, text_of(between));
        between = ",";
        put_model(x, out, names.list[i].name, names.list[i].route);
    }
    put_end(x, out, &names, part);
    return true;
}

/* The model <asked>, when this key may call it; else NULL, and <out> says so. */
static const struct route *find_model(struct exchange *x, struct text asked, struct buffer *out)
{
    const struct route *route = routes_find(x->snapshot->config->routes, asked);
    if (route && owning_may_call(x->key, route, asked))
        return route;
    fault_set(exchange_fault(x), FAULT_UNKNOWN_MODEL, "The model '%.*s' does not exist.",
              (int)(asked.len < 100 ? asked.len : 100), asked.at);
    exchange_fault(x)->param = "model";
    answer_error(x, out);
    return NULL;
}

bool models_show(struct exchange *x, struct buffer *out)
{
    char name[NAME_MAX_BYTES];
    size_t len;
    struct text asked = {"", 0};
    if (x->match.id.len <= sizeof(name) && path_decode(x->match.id, name, &len))
        asked = (struct text){name, len};
    const struct route *route = find_model(x, asked, out);
    if (!route)
        return false;
    put_model(x, out, asked, route);
    buffer_append_text(out, TEXT("\n"));
    return true;
}

unsigned models_show_asked(struct exchange *x, struct buffer *out)
{
    static const struct text wants[] = {{"model", 5}, {"name", 4}};
    struct scan_value values[2];
    struct scan_problem problem;
    char name[ASKED_MAX];
    bool read = scan_json(buffer_text(&x->body), wants, 2, values, &problem);
    const struct scan_value *value =
        read && values[0].kind == SCAN_STRING && values[0].raw.len > 2 ? &values[0] : &values[1];
    if (!read || value->kind != SCAN_STRING || value->raw.len > sizeof(name)) {
        fault_set(exchange_fault(x), FAULT_BAD_REQUEST, "'model' must be the name of a model.");
        exchange_fault(x)->param = "model";
        answer_error(x, out);
        return 400;
    }
    size_t len = scan_string(value, name);
    struct text asked = {name, len == SIZE_MAX ? 0 : len};
    const struct route *route = find_model(x, asked, out);
    if (route)
        pages_show_for_ollama(out, asked, route);
    return route ? 200 : 404;
}
