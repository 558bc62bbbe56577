/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "providers/provider.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

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
        assert_true(!type->in_force || dialect_find(type->dialect) != NULL);
        assert_false(type->needs_key && type->is_own);
    }
    assert_true(count >= 30);
}

static void knows_the_types_that_the_configuration_names(void **state)
{
    (void)state;
    static const char *const in_force[] = {"openai",    "mock",   "vllm",    "sglang",
                                           "llama-cpp", "tgi",    "groq",    "ollama",
                                           "mistral",   "cohere", "bedrock", "vertex"};
    for (size_t i = 0; i < sizeof(in_force) / sizeof(in_force[0]); i++)
        assert_true(provider_type_find(text_of(in_force[i]))->in_force);
    assert_null(provider_type_find(TEXT("nobody")));
    assert_null(provider_type_find(TEXT("")));
    const struct provider_type *openai = provider_type_find(TEXT("openai"));
    assert_string_equal(openai->key_variable, "OPENAI_API_KEY");
    assert_true(openai->needs_key && openai->stream_options && openai->auth == AUTH_BEARER);
    assert_true(provider_type_find(TEXT("mock"))->is_mock);
    assert_null(provider_type_find(TEXT("vllm"))->key_variable);
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
        cmocka_unit_test(names_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
