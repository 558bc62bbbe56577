/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/spec.h"

#include <assert.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

/* A spec and all it points to are one piece of memory, so that it is wiped at once: registry
 * passwords and tokens are in there. */
struct block {
    size_t bytes;
    struct deployment_spec spec;
};

/* Where copies go; <at> NULL = only measured. */
struct room {
    char *at;
    size_t used;
};

static void *room_take(struct room *room, size_t bytes)
{
    void *piece = room->at ? room->at + room->used : NULL;
    room->used += (bytes + 7) & ~(size_t)7;
    return piece;
}

static struct text copy_text(struct room *room, struct text from)
{
    char *to = room_take(room, from.len + 1);
    if (!to)
        return from;
    if (from.len)
        memcpy(to, from.at, from.len);
    to[from.len] = 0;
    return (struct text){to, from.len};
}

static const struct text *copy_texts(struct room *room, const struct text *from, size_t count)
{
    struct text *to = room_take(room, count * sizeof(*to));
    for (size_t i = 0; i < count; i++) {
        struct text copy = copy_text(room, from[i]);
        if (to)
            to[i] = copy;
    }
    return to;
}

static const struct spec_pair *copy_pairs(struct room *room, const struct spec_pair *from,
                                          size_t count)
{
    struct spec_pair *to = room_take(room, count * sizeof(*to));
    for (size_t i = 0; i < count; i++) {
        struct spec_pair copy = {copy_text(room, from[i].name), copy_text(room, from[i].value)};
        if (to)
            to[i] = copy;
    }
    return to;
}

static const struct adapter_spec *copy_adapters(struct room *room, const struct adapter_spec *from,
                                                size_t count)
{
    struct adapter_spec *to = room_take(room, count * sizeof(*to));
    for (size_t i = 0; i < count; i++) {
        struct adapter_spec copy = {copy_text(room, from[i].name), copy_text(room, from[i].source)};
        if (to)
            to[i] = copy;
    }
    return to;
}

static const struct spec_volume *copy_volumes(struct room *room, const struct spec_volume *from,
                                              size_t count)
{
    struct spec_volume *to = room_take(room, count * sizeof(*to));
    for (size_t i = 0; i < count; i++) {
        struct spec_volume copy = from[i];
        copy.path = copy_text(room, from[i].path);
        copy.claim = copy_text(room, from[i].claim);
        copy.host_path = copy_text(room, from[i].host_path);
        if (to)
            to[i] = copy;
    }
    return to;
}

static const struct spec_toleration *
copy_tolerations(struct room *room, const struct spec_toleration *from, size_t count)
{
    struct spec_toleration *to = room_take(room, count * sizeof(*to));
    for (size_t i = 0; i < count; i++) {
        struct spec_toleration copy = {copy_text(room, from[i].key), copy_text(room, from[i].value),
                                       copy_text(room, from[i].effect)};
        if (to)
            to[i] = copy;
    }
    return to;
}

/* What <spec> points to, anew in <room>. */
static void copy_all(struct room *room, struct deployment_spec *spec)
{
    struct text *const texts[] = {
        &spec->name,
        &spec->id,
        &spec->tenant,
        &spec->token,
        &spec->token_digest,
        &spec->node,
        &spec->image,
        &spec->registry_user,
        &spec->served_name,
        &spec->registry_password,
        &spec->probe.path,
        &spec->prompt_template,
        &spec->pod.gpu_resource,
        &spec->pod.workload,
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        *texts[i] = copy_text(room, *texts[i]);
    spec->command = copy_texts(room, spec->command, spec->command_count);
    spec->env = copy_pairs(room, spec->env, spec->env_count);
    spec->adapters = copy_adapters(room, spec->adapters, spec->adapter_count);
    spec->pod.volumes = copy_volumes(room, spec->pod.volumes, spec->pod.volume_count);
    spec->pod.selector = copy_pairs(room, spec->pod.selector, spec->pod.selector_count);
    spec->pod.tolerations =
        copy_tolerations(room, spec->pod.tolerations, spec->pod.toleration_count);
}

struct deployment_spec *spec_copy(const struct deployment_spec *from)
{
    struct deployment_spec measured = *from;
    struct room room = {NULL, 0};
    copy_all(&room, &measured);
    size_t head = (sizeof(struct block) + 7) & ~(size_t)7;
    struct block *block = memory_new(head + room.used);
    block->bytes = head + room.used;
    block->spec = *from;
    room = (struct room){(char *)block + head, 0};
    copy_all(&room, &block->spec);
    assert(head + room.used == block->bytes);
    block->spec.references = 1;
    block->spec.digest = spec_digest(&block->spec);
    return &block->spec;
}

struct deployment_spec *spec_ref(struct deployment_spec *spec)
{
    __atomic_add_fetch(&spec->references, 1, __ATOMIC_RELAXED);
    return spec;
}

void spec_unref(struct deployment_spec *spec)
{
    if (!spec || __atomic_sub_fetch(&spec->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    struct block *block = (struct block *)(void *)((char *)spec - offsetof(struct block, spec));
    memory_wipe(block, block->bytes);
    memory_free(block);
}

/* --------------------------------------------------------------------------------- digest */

/* A digest over digests: each part enters with its length, so that no two lists say the same. */
struct sum {
    struct digest so_far;
};

static void sum_bytes(struct sum *sum, const void *bytes, size_t len)
{
    struct digest pair[2] = {sum->so_far, hash_sha256((struct text){bytes, len})};
    sum->so_far = hash_sha256((struct text){(const char *)pair, sizeof(pair)});
}

static void sum_text(struct sum *sum, struct text text)
{
    sum_bytes(sum, text.at, text.len);
}

static void sum_number(struct sum *sum, int64_t number)
{
    sum_bytes(sum, &number, sizeof(number));
}

/* Engines that are told of adapters by their arguments, and never after. */
static bool is_fixed(enum engine engine)
{
    return engine == ENGINE_LLAMA_CPP || engine == ENGINE_TGI || engine == ENGINE_OPENAI;
}

/* Arguments may name how many calls run at once; then that is part of them. */
static bool says_parallel(const struct deployment_spec *spec)
{
    for (size_t i = 0; i < spec->command_count; i++)
        if (text_find(spec->command[i], TEXT("{parallel}")) != SIZE_MAX ||
            text_find(spec->command[i], TEXT("{slots}")) != SIZE_MAX)
            return true;
    return false;
}

static void sum_lists(struct sum *sum, const struct deployment_spec *spec)
{
    sum_number(sum, (int64_t)spec->command_count);
    for (size_t i = 0; i < spec->command_count; i++)
        sum_text(sum, spec->command[i]);
    sum_number(sum, (int64_t)spec->env_count);
    for (size_t i = 0; i < spec->env_count; i++) {
        sum_text(sum, spec->env[i].name);
        sum_text(sum, spec->env[i].value);
    }
    if (!is_fixed(spec->engine))
        return;
    sum_number(sum, (int64_t)spec->adapter_count);
    for (size_t i = 0; i < spec->adapter_count; i++) {
        sum_text(sum, spec->adapters[i].name);
        sum_text(sum, spec->adapters[i].source);
    }
}

/* Only what is given, so that one without keeps the digest that earlier versions gave it. */
static void sum_pod(struct sum *sum, const struct deployment_spec *spec)
{
    if (spec->pod.volume_count)
        sum_text(sum, TEXT("volumes"));
    for (size_t i = 0; i < spec->pod.volume_count; i++) {
        const struct spec_volume *volume = &spec->pod.volumes[i];
        sum_text(sum, volume->path);
        sum_text(sum, volume->claim);
        sum_text(sum, volume->host_path);
        sum_number(sum, volume->size_bytes);
        sum_number(sum, volume->read_only);
    }
    if (spec->pod.selector_count)
        sum_text(sum, TEXT("selector"));
    for (size_t i = 0; i < spec->pod.selector_count; i++) {
        sum_text(sum, spec->pod.selector[i].name);
        sum_text(sum, spec->pod.selector[i].value);
    }
    if (spec->pod.toleration_count)
        sum_text(sum, TEXT("tolerations"));
    for (size_t i = 0; i < spec->pod.toleration_count; i++) {
        sum_text(sum, spec->pod.tolerations[i].key);
        sum_text(sum, spec->pod.tolerations[i].value);
        sum_text(sum, spec->pod.tolerations[i].effect);
    }
    if (spec->pod.workload.len) {
        sum_text(sum, TEXT("workload"));
        sum_text(sum, spec->pod.workload);
    }
    if (spec->pod.gpu_resource.len) {
        sum_text(sum, TEXT("gpu_resource"));
        sum_text(sum, spec->pod.gpu_resource);
    }
}

uint64_t spec_digest(const struct deployment_spec *spec)
{
    struct sum sum = {{{0}}};
    const struct text texts[] = {spec->name, spec->node, spec->image, spec->served_name,
                                 spec->probe.path};
    const int64_t numbers[] = {spec->launcher,
                               spec->engine,
                               spec->container_port,
                               spec->resources.memory_bytes,
                               spec->resources.vram_bytes,
                               spec->resources.cpus_milli,
                               spec->resources.gpus,
                               says_parallel(spec) ? spec->scaling.parallel : 0};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        sum_text(&sum, texts[i]);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        sum_number(&sum, numbers[i]);
    sum_lists(&sum, spec);
    sum_pod(&sum, spec);
    uint64_t number;
    memcpy(&number, sum.so_far.bytes, sizeof(number));
    return number ? number : 1;
}
