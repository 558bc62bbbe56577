/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/memory.h"
#include "providers/provider.h"

/* cmocka wants the headers above. */
#include <cmocka.h>
#include <stdio.h>

static void every_row_is_whole(void **state)
{
    (void)state;
    const struct provider_type *type;
    size_t count = 0;
    for (size_t i = 0; (type = provider_type_at(i)) != NULL; i++, count++) {
        assert_true(type->name.len > 0 && type->dialect.len > 0);
        assert_ptr_equal(provider_type_find(type->name), type); /* no name stands twice */
        if (type->base_url.len > 0)
            assert_true(text_starts(type->base_url, TEXT("https://")) ||
                        (type->is_own && text_starts(type->base_url, TEXT("http://"))));
        assert_false(text_ends(type->base_url, TEXT("/")));
        assert_int_equal(type->auth == AUTH_HEADER, type->auth_header.len > 0);
        assert_true(dialect_find(type->dialect) != NULL);
        assert_false(type->needs_key && type->is_own);
    }
    assert_true(count >= 30);
}

static void knows_the_types_that_the_configuration_names(void **state)
{
    (void)state;
    static const char *const names[] = {"openai",    "mock",   "vllm",    "sglang",
                                        "llama-cpp", "tgi",    "groq",    "ollama",
                                        "mistral",   "cohere", "bedrock", "vertex"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_true(provider_type_find(text_of(names[i])) != NULL);
    assert_null(provider_type_find(TEXT("nobody")));
    assert_null(provider_type_find(TEXT("")));
    const struct provider_type *openai = provider_type_find(TEXT("openai"));
    assert_string_equal(openai->key_variable, "OPENAI_API_KEY");
    assert_true(openai->needs_key && openai->stream_options && openai->auth == AUTH_BEARER);
    assert_true(provider_type_find(TEXT("mock"))->is_mock);
    assert_null(provider_type_find(TEXT("vllm"))->key_variable);
}

/* Who is promised: what it is called here, what it speaks, where it is. */
static void every_provider_of_the_product_has_a_row(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct { const char *type, *dialect, *base_url; enum auth_kind auth; } promised[] = {
        {"openai",       "openai",    "https://api.openai.com/v1",                              AUTH_BEARER},
        {"azure-openai", "openai",    "",                                                       AUTH_HEADER},
        {"anthropic",    "anthropic", "https://api.anthropic.com",                              AUTH_HEADER},
        {"gemini",       "gemini",    "https://generativelanguage.googleapis.com",              AUTH_HEADER},
        {"vertex",       "gemini",    "",                                                       AUTH_BEARER},
        {"bedrock",      "bedrock",   "",                                                       AUTH_BEARER},
        {"mistral",      "openai",    "https://api.mistral.ai/v1",                              AUTH_BEARER},
        {"cohere",       "cohere",    "https://api.cohere.com",                                 AUTH_BEARER},
        {"groq",         "openai",    "https://api.groq.com/openai/v1",                         AUTH_BEARER},
        {"deepseek",     "openai",    "https://api.deepseek.com",                               AUTH_BEARER},
        {"xai",          "openai",    "https://api.x.ai/v1",                                    AUTH_BEARER},
        {"together",     "openai",    "https://api.together.xyz/v1",                            AUTH_BEARER},
        {"fireworks",    "openai",    "https://api.fireworks.ai/inference/v1",                  AUTH_BEARER},
        {"openrouter",   "openai",    "https://openrouter.ai/api/v1",                           AUTH_BEARER},
        {"perplexity",   "openai",    "https://api.perplexity.ai",                              AUTH_BEARER},
        {"cerebras",     "openai",    "https://api.cerebras.ai/v1",                             AUTH_BEARER},
        {"sambanova",    "openai",    "https://api.sambanova.ai/v1",                            AUTH_BEARER},
        {"nvidia",       "openai",    "https://integrate.api.nvidia.com/v1",                    AUTH_BEARER},
        {"deepinfra",    "openai",    "https://api.deepinfra.com/v1/openai",                    AUTH_BEARER},
        {"huggingface",  "openai",    "https://router.huggingface.co/v1",                       AUTH_BEARER},
        {"novita",       "openai",    "https://api.novita.ai/openai/v1",                        AUTH_BEARER},
        {"hyperbolic",   "openai",    "https://api.hyperbolic.xyz/v1",                          AUTH_BEARER},
        {"moonshot",     "openai",    "https://api.moonshot.ai/v1",                             AUTH_BEARER},
        {"dashscope",    "openai",    "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", AUTH_BEARER},
        {"zhipu",        "openai",    "https://api.z.ai/api/paas/v4",                           AUTH_BEARER},
        {"minimax",      "openai",    "https://api.minimax.io/v1",                              AUTH_BEARER},
        {"voyage",       "openai",    "https://api.voyageai.com/v1",                            AUTH_BEARER},
        {"jina",         "openai",    "https://api.jina.ai/v1",                                 AUTH_BEARER},
        {"ai21",         "openai",    "https://api.ai21.com/studio/v1",                         AUTH_BEARER},
        {"cloudflare",   "openai",    "",                                                       AUTH_BEARER},
        {"databricks",   "openai",    "",                                                       AUTH_BEARER},
        {"monster",      "openai",    "https://llm.monsterapi.ai/v1",                           AUTH_BEARER},
        {"ollama",       NULL,        NULL,                                                     AUTH_BEARER},
        {"vllm",         "openai",    "http://127.0.0.1:8000/v1",                               AUTH_BEARER},
        {"llama-cpp",    "openai",    "",                                                       AUTH_BEARER},
        {"sglang",       "openai",    "http://127.0.0.1:30000/v1",                              AUTH_BEARER},
        {"tgi",          "openai",    "",                                                       AUTH_BEARER},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(promised) / sizeof(promised[0]); i++) {
        const struct provider_type *type = provider_type_find(text_of(promised[i].type));
        assert_non_null(type);
        assert_int_equal(type->auth, promised[i].auth);
        if (!promised[i].dialect)
            continue;
        assert_true(text_equal(type->dialect, text_of(promised[i].dialect)));
        assert_true(text_equal(type->base_url, text_of(promised[i].base_url)));
    }
}

/* Whoever speaks OpenAI's dialect is one more row, and nothing else. */
static void a_row_is_all_that_a_provider_takes(void **state)
{
    (void)state;
    struct text row = TEXT("[{\"name\": \"mine\", \"dialect\": \"openai\", \"base_url\": "
                           "\"https://mine.example/v1\", \"auth\": \"header\", \"auth_header\": "
                           "\"x-key\", \"key_variable\": \"MINE_API_KEY\", \"needs_key\": true, "
                           "\"stream_options\": true, \"refuses\": \"n logit_bias\", "
                           "\"limits\": {\"body_bytes\": 1048576, \"tools\": 128}}]");
    struct provider_type types[2];
    assert_int_equal(provider_rows_read(row, types, 2), 1);
    assert_true(text_equal(types[0].name, TEXT("mine")));
    assert_true(text_equal(types[0].base_url, TEXT("https://mine.example/v1")));
    assert_true(text_equal(types[0].auth_header, TEXT("x-key")));
    assert_true(text_equal(types[0].refuses, TEXT("n logit_bias")));
    assert_int_equal(types[0].limits.body_bytes, 1048576);
    assert_int_equal(types[0].limits.tools, 128);
    assert_int_equal(types[0].limits.images, 0);
    assert_true(types[0].auth == AUTH_HEADER && types[0].needs_key && types[0].stream_options);
    assert_false(types[0].is_own || types[0].max_completion_tokens || types[0].no_responses);
    assert_string_equal(types[0].key_variable, "MINE_API_KEY");
    memory_free((void *)(uintptr_t)types[0].key_variable);
    /* A member that nobody reads is a mistake, not a wish that is not heard. */
    assert_int_equal(provider_rows_read(TEXT("[{\"name\": \"m\", \"refuse\": \"n\"}]"), types, 2),
                     0);
    static const char *const bad[] = {"{\"tool\": 1}", "{\"tools\": -1}", "{\"tools\": \"9\"}"};
    for (size_t i = 0; i < 3; i++) {
        char limits[100];
        snprintf(limits, sizeof(limits), "[{\"name\": \"m\", \"limits\": %s}]", bad[i]);
        assert_int_equal(provider_rows_read(text_of(limits), types, 2), 0);
    }
}

static void names_every_operation(void **state)
{
    (void)state;
    for (int i = 0; i < OPERATIONS; i++)
        assert_non_null(operation_name((enum operation)i));
    assert_null(dialect_find(TEXT("nothing")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(knows_the_types_that_the_configuration_names),
        cmocka_unit_test(every_provider_of_the_product_has_a_row),
        cmocka_unit_test(a_row_is_all_that_a_provider_takes),
        cmocka_unit_test(names_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
