/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/config.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/config/document.h"

enum { ARENA_BLOCK_BYTES = 64 << 10 };

static atomic_uint_fast64_t generations;

const char *config_find(void)
{
    static const char *const usual[] = {"./sluice.yaml", "/etc/sluice/sluice.yaml"};
    const char *given = getenv("SLUICE_CONFIG");
    if (given && *given)
        return given;
    for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
        if (access(usual[i], F_OK) == 0)
            return usual[i];
    return NULL;
}

struct document *document_new(const struct config_options *options)
{
    struct document *document = memory_new(sizeof(*document));
    arena_init(&document->arena, ARENA_BLOCK_BYTES);
    document->allow_inert = options->allow_inert;
    document->allow_unset = options->allow_unset;
    document->json = options->json;
    document->made = options->made;
    document->config.memory = document;
    document->config.state = host_state_directory(&document->arena);
    return document;
}

static void wipe_text(struct text text)
{
    if (text.len)
        memory_wipe((void *)(uintptr_t)text.at, text.len);
}

/* What the file gives; a default is a constant. */
static void wipe_given(const struct document *document, const char *path)
{
    const struct node *node = document->root ? node_at(document->root, path) : NULL;
    if (node && node->kind == NODE_SCALAR)
        wipe_text(node_text(node));
}

void document_free(struct document *document)
{
    struct config *config = &document->config;
    for (size_t i = 0; i < config->provider_count; i++) {
        wipe_text(config->providers[i].api_key);
        for (size_t j = 0; j < config->providers[i].api_key_count; j++)
            wipe_text(config->providers[i].api_keys[j]);
        wipe_text(config->providers[i].sign_in.secret);
    }
    wipe_text(document->admin_key);
    wipe_given(document, "store.redis.url");
    wipe_given(document, "store.redis.url_file");
    wipe_given(document, "store.redis.sentinel.password");
    wipe_given(document, "store.redis.sentinel.password_file");
    for (size_t i = 0; i < config->deploy.spec_count; i++)
        spec_unref(config->deploy.specs[i]);
    guard_free(config->guard);
    routes_free(config->routes);
    arena_done(&document->arena);
    memory_free(document);
}

/* Read into the tree: the file that is named or found, or what is here anyway. */
static bool read_document(struct document *document, const struct config_options *options)
{
    const char *path = options->path;
    if (options->quickstart)
        return document_read_text(document, "(quickstart)", quickstart_yaml(document));
    if (!path)
        path = config_find();
    if (!path) {
        document_source(document, "sluice.yaml", false);
        problem_at(document, 0, 0, 0,
                   "there is no configuration: neither $SLUICE_CONFIG, nor ./sluice.yaml, nor "
                   "/etc/sluice/sluice.yaml (\"sluice init\" writes one)");
        return false;
    }
    document->config.path = arena_copy(&document->arena, text_of(path)).at;
    return document_read(document, path);
}

struct config_result config_load(const struct config_options *options)
{
    struct document *document = document_new(options);
    if (read_document(document, options)) {
        document_fill(document);
        document_resolve(document);
    }
    if (options->words)
        problems_print(document, options->words);
    document->made = NULL;
    struct config_result result = {NULL, document->errors, document->warnings};
    if (document->errors) {
        document_free(document);
        return result;
    }
    result.config = &document->config;
    atomic_init(&result.config->references, 1);
    result.config->generation = atomic_fetch_add(&generations, 1) + 1;
    return result;
}

struct config *config_ref(struct config *config)
{
    unsigned before = atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);
    assert(before > 0);
    return config;
}

void config_unref(struct config *config)
{
    if (!config)
        return;
    unsigned before = atomic_fetch_sub_explicit(&config->references, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        document_free(config->memory);
}
