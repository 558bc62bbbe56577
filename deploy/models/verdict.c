/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/verdict.h"

#include <stdio.h>

#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/base/memory.h"

enum { ARENA_BLOCK = 4096, ENTRIES_MAX = 4096, PARALLEL_MAX = 100000 };

/* ------------------------------------------------------------- what the digest is of */

enum { TEXTS = 6, NUMBERS = 8 };

/* In the order of texts_of() and numbers_of(). */
static const char *const text_names[TEXTS] = {"node", "image",    "served_name",
                                              "path", "workload", "gpu_resource"};
static const struct {
    const char *name;
    int64_t max;
} number_names[NUMBERS] = {
    {"launcher", LAUNCH_BY_KUBERNETES},
    {"engine", ENGINE_LORAX},
    {"container_port", UINT16_MAX},
    {"memory", INT64_MAX},
    {"vram", INT64_MAX},
    {"cpus", INT64_MAX},
    {"gpus", INT64_MAX},
    {"parallel", PARALLEL_MAX},
};

static void texts_of(struct deployment_spec *spec, struct text *into[TEXTS])
{
    into[0] = &spec->node;
    into[1] = &spec->image;
    into[2] = &spec->served_name;
    into[3] = &spec->probe.path;
    into[4] = &spec->pod.workload;
    into[5] = &spec->pod.gpu_resource;
}

static void numbers_of(const struct deployment_spec *spec, int64_t into[NUMBERS])
{
    into[0] = spec->launcher;
    into[1] = spec->engine;
    into[2] = spec->container_port;
    into[3] = spec->resources.memory_bytes;
    into[4] = spec->resources.vram_bytes;
    into[5] = spec->resources.cpus_milli;
    into[6] = spec->resources.gpus;
    into[7] = spec->scaling.parallel;
}

static void set_numbers(struct deployment_spec *spec, const int64_t from[NUMBERS])
{
    spec->launcher = (enum launcher_word)from[0];
    spec->engine = (enum engine)from[1];
    spec->container_port = (unsigned)from[2];
    spec->resources.memory_bytes = from[3];
    spec->resources.vram_bytes = from[4];
    spec->resources.cpus_milli = from[5];
    spec->resources.gpus = from[6];
    spec->scaling.parallel = (unsigned)from[7];
}

/* ------------------------------------------------------------------------------- writing */

static void write_command(struct json_write *json, const struct deployment_spec *spec,
                          const struct deployment_spec *declared)
{
    bool same = spec->command_count == declared->command_count;
    for (size_t i = 0; same && i < spec->command_count; i++)
        same = text_equal(spec->command[i], declared->command[i]);
    if (same)
        return;
    json_name(json, "command");
    json_open(json, '[');
    for (size_t i = 0; i < spec->command_count; i++)
        json_text(json, spec->command[i]);
    json_close(json, ']');
}

/* NULL = there is none of that name. */
static const struct spec_pair *pair_named(const struct deployment_spec *spec, struct text name)
{
    for (size_t i = 0; i < spec->env_count; i++)
        if (text_equal(spec->env[i].name, name))
            return &spec->env[i];
    return NULL;
}

/* What is declared, too, stands there as null. */
static void write_env(struct json_write *json, const struct deployment_spec *spec,
                      const struct deployment_spec *declared)
{
    json_name(json, "env");
    json_open(json, '[');
    for (size_t i = 0; i < spec->env_count; i++) {
        const struct spec_pair *pair = &spec->env[i], *other = pair_named(declared, pair->name);
        json_text(json, pair->name);
        if (other && text_equal(other->value, pair->value))
            json_null(json);
        else
            json_text(json, pair->value);
    }
    json_close(json, ']');
}

static void write_adapters(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "adapters");
    json_open(json, '[');
    for (size_t i = 0; i < spec->adapter_count; i++) {
        json_text(json, spec->adapters[i].name);
        json_text(json, spec->adapters[i].source);
    }
    json_close(json, ']');
}

static void write_volumes(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "volumes");
    json_open(json, '[');
    for (size_t i = 0; i < spec->pod.volume_count; i++) {
        const struct spec_volume *volume = &spec->pod.volumes[i];
        json_text(json, volume->path);
        json_text(json, volume->claim);
        json_text(json, volume->host_path);
        json_int(json, volume->size_bytes);
        json_bool(json, volume->read_only);
    }
    json_close(json, ']');
}

static void write_places(struct json_write *json, const struct deployment_spec *spec)
{
    json_name(json, "selector");
    json_open(json, '[');
    for (size_t i = 0; i < spec->pod.selector_count; i++) {
        json_text(json, spec->pod.selector[i].name);
        json_text(json, spec->pod.selector[i].value);
    }
    json_close(json, ']');
    json_name(json, "tolerations");
    json_open(json, '[');
    for (size_t i = 0; i < spec->pod.toleration_count; i++) {
        json_text(json, spec->pod.tolerations[i].key);
        json_text(json, spec->pod.tolerations[i].value);
        json_text(json, spec->pod.tolerations[i].effect);
    }
    json_close(json, ']');
}

static void write_served(struct json_write *json, const struct deployment_spec *spec,
                         const struct deployment_spec *declared)
{
    struct deployment_spec ours = *spec, theirs = *declared;
    struct text *texts[TEXTS], *others[TEXTS];
    int64_t numbers[NUMBERS], declared_numbers[NUMBERS];
    texts_of(&ours, texts);
    texts_of(&theirs, others);
    numbers_of(spec, numbers);
    numbers_of(declared, declared_numbers);
    json_open(json, '{');
    for (size_t i = 0; i < TEXTS; i++)
        if (!text_equal(*texts[i], *others[i]))
            json_text_member(json, text_names[i], *texts[i]);
    for (size_t i = 0; i < NUMBERS; i++)
        if (numbers[i] != declared_numbers[i])
            json_int_member(json, number_names[i].name, numbers[i]);
    write_command(json, spec, declared);
    write_env(json, spec, declared);
    write_adapters(json, spec);
    write_volumes(json, spec);
    write_places(json, spec);
    json_close(json, '}');
}

bool verdict_write(struct buffer *out, const struct fleet_verdict *verdict,
                   const struct deployment_spec *declared)
{
    struct json_write json = {.out = out};
    json_open(&json, '{');
    json_int_member(&json, "declared", (int64_t)verdict->declared);
    json_bool_member(&json, "rejected", verdict->rejected);
    json_text_member(&json, "reason", text_of(verdict->reason));
    json_int_member(&json, "served", (int64_t)verdict->served->digest);
    json_name(&json, "spec");
    write_served(&json, verdict->served, declared);
    json_close(&json, '}');
    return !json.is_full && !out->overrun;
}

/* ------------------------------------------------------------------------------- reading */

struct reading {
    struct arena arena; /* of lists, until the spec is copied */
    const struct json *from;
    struct deployment_spec spec;
    bool good;
};

/* A list of <width> values for each entry; *list NULL = it is as declared. Returns how many. */
static size_t count_of(struct reading *reading, const char *name, size_t width,
                       const struct json **list)
{
    *list = json_member(reading->from, name);
    size_t count = json_count(*list);
    if (*list && (json_kind(*list) != SCAN_ARRAY || count % width || count > ENTRIES_MAX * width))
        reading->good = false;
    return reading->good ? count / width : 0;
}

static struct text text_at(struct reading *reading, const struct json *list, size_t i)
{
    struct text text = {"", 0};
    reading->good = json_to_text(json_item(list, i), &text) && reading->good;
    return text;
}

static void read_command(struct reading *reading)
{
    const struct json *list;
    size_t count = count_of(reading, "command", 1, &list);
    struct text *words = arena_new(&reading->arena, (count + 1) * sizeof(*words));
    if (!list)
        return;
    for (size_t i = 0; i < count; i++)
        words[i] = text_at(reading, list, i);
    reading->spec.command = words;
    reading->spec.command_count = count;
}

static void read_env(struct reading *reading, const struct deployment_spec *declared)
{
    const struct json *list;
    size_t count = count_of(reading, "env", 2, &list);
    struct spec_pair *pairs = arena_new(&reading->arena, (count + 1) * sizeof(*pairs));
    if (!list)
        return;
    for (size_t i = 0; i < count; i++) {
        pairs[i].name = text_at(reading, list, 2 * i);
        const struct spec_pair *other = pair_named(declared, pairs[i].name);
        bool is_declared = json_kind(json_item(list, 2 * i + 1)) == SCAN_NULL;
        if (is_declared)
            pairs[i].value = other ? other->value : (struct text){"", 0};
        else
            pairs[i].value = text_at(reading, list, 2 * i + 1);
    }
    reading->spec.env = pairs;
    reading->spec.env_count = count;
}

static void read_adapters(struct reading *reading)
{
    const struct json *list;
    size_t count = count_of(reading, "adapters", 2, &list);
    struct adapter_spec *adapters = arena_new(&reading->arena, (count + 1) * sizeof(*adapters));
    if (!list)
        return;
    for (size_t i = 0; i < count; i++)
        adapters[i] =
            (struct adapter_spec){text_at(reading, list, 2 * i), text_at(reading, list, 2 * i + 1)};
    reading->spec.adapters = adapters;
    reading->spec.adapter_count = count;
}

static void read_volumes(struct reading *reading)
{
    const struct json *list;
    size_t count = count_of(reading, "volumes", 5, &list);
    struct spec_volume *volumes = arena_new(&reading->arena, (count + 1) * sizeof(*volumes));
    if (!list)
        return;
    for (size_t i = 0; i < count; i++) {
        struct spec_volume *volume = &volumes[i];
        volume->path = text_at(reading, list, 5 * i);
        volume->claim = text_at(reading, list, 5 * i + 1);
        volume->host_path = text_at(reading, list, 5 * i + 2);
        json_to_int(json_item(list, 5 * i + 3), 0, INT64_MAX, &volume->size_bytes);
        json_to_bool(json_item(list, 5 * i + 4), &volume->read_only);
    }
    reading->spec.pod.volumes = volumes;
    reading->spec.pod.volume_count = count;
}

static void read_places(struct reading *reading)
{
    const struct json *list;
    size_t count = count_of(reading, "selector", 2, &list);
    struct spec_pair *pairs = arena_new(&reading->arena, (count + 1) * sizeof(*pairs));
    for (size_t i = 0; i < count; i++)
        pairs[i] =
            (struct spec_pair){text_at(reading, list, 2 * i), text_at(reading, list, 2 * i + 1)};
    if (list) {
        reading->spec.pod.selector = pairs;
        reading->spec.pod.selector_count = count;
    }
    count = count_of(reading, "tolerations", 3, &list);
    struct spec_toleration *all = arena_new(&reading->arena, (count + 1) * sizeof(*all));
    for (size_t i = 0; i < count; i++)
        all[i] = (struct spec_toleration){text_at(reading, list, 3 * i),
                                          text_at(reading, list, 3 * i + 1),
                                          text_at(reading, list, 3 * i + 2)};
    if (list) {
        reading->spec.pod.tolerations = all;
        reading->spec.pod.toleration_count = count;
    }
}

/* NULL = it is not the one whose digest stands there. */
static struct deployment_spec *read_served(const struct json *root,
                                           const struct deployment_spec *declared)
{
    struct reading reading = {.from = json_member(root, "spec"), .spec = *declared, .good = true};
    struct text *texts[TEXTS];
    int64_t numbers[NUMBERS], digest = 0;
    arena_init(&reading.arena, ARENA_BLOCK);
    texts_of(&reading.spec, texts);
    numbers_of(declared, numbers);
    for (size_t i = 0; i < TEXTS; i++)
        json_to_text(json_member(reading.from, text_names[i]), texts[i]);
    for (size_t i = 0; i < NUMBERS; i++)
        json_to_int(json_member(reading.from, number_names[i].name), 0, number_names[i].max,
                    &numbers[i]);
    set_numbers(&reading.spec, numbers);
    read_command(&reading);
    read_env(&reading, declared);
    read_adapters(&reading);
    read_volumes(&reading);
    read_places(&reading);
    struct deployment_spec *spec = reading.good ? spec_copy(&reading.spec) : NULL;
    arena_done(&reading.arena);
    json_to_int(json_member(root, "served"), INT64_MIN, INT64_MAX, &digest);
    if (spec && spec->digest == (uint64_t)digest)
        return spec;
    spec_unref(spec);
    return NULL;
}

bool verdict_read(struct text line, const struct deployment_spec *declared,
                  struct fleet_verdict *verdict)
{
    struct json_problem ignored;
    struct json *root = json_read(line, &ignored);
    struct text reason = {"", 0};
    int64_t digest = 0;
    verdict->rejected = false;
    verdict->served = NULL;
    json_to_int(json_member(root, "declared"), INT64_MIN, INT64_MAX, &digest);
    json_to_bool(json_member(root, "rejected"), &verdict->rejected);
    json_to_text(json_member(root, "reason"), &reason);
    verdict->declared = (uint64_t)digest;
    snprintf(verdict->reason, sizeof(verdict->reason), "%.*s",
             TEXT_ARGS(text_head(reason, sizeof(verdict->reason) - 1)));
    if (verdict->declared == declared->digest)
        verdict->served = read_served(root, declared);
    json_free(root);
    return verdict->served != NULL;
}
