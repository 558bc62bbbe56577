/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "providers/provider.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static bool find(const char *provider, const char *model, struct model_facts *facts,
                 struct price *price)
{
    return catalogue_find(text_of(provider), text_of(model), facts, price);
}

static int64_t number(const json_t *model, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(model, name);
    return value != NULL ? json_integer_value(value) : otherwise;
}

/* Halving the file must find each line that a real parser finds, with the same figures. */
static void finds_every_model(void **state)
{
    (void)state;
    json_t *all = json_load_file("providers/models.json", JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(all);
    const char *key;
    json_t *model;
    size_t found = 0;
    json_object_foreach(json_object_get(all, "models"), key, model)
    {
        struct model_facts facts;
        struct price price;
        struct text name = text_of(key);
        size_t slash = text_find_byte(name, '/');
        assert_true(
            catalogue_find(text_head(name, slash), text_from(name, slash + 1), &facts, &price));
        assert_int_equal(price.input, number(model, "in", 0));
        assert_int_equal(price.output, number(model, "out", 0));
        assert_int_equal(price.cached_input, number(model, "cached", price.input));
        assert_int_equal(price.unit, number(model, "unit", 0));
        assert_int_equal(price.tier_above_tokens,
                         number(json_object_get(model, "tier"), "above", 0));
        assert_int_equal(facts.context_tokens, number(model, "context", 0));
        assert_int_equal(facts.output_tokens, number(model, "longest", 0));
        assert_string_equal(facts.mode, json_string_value(json_object_get(model, "mode")));
        found++;
    }
    assert_true(found > 3000);
    json_decref(all);
}

static void knows_prices_exactly(void **state)
{
    (void)state;
    struct model_facts facts;
    struct price price;
    assert_true(find("openai", "gpt-4o-mini", &facts, &price));
    assert_true(price.known);
    assert_int_equal(price.input, 150000000);
    assert_int_equal(price.cached_input, 75000000);
    assert_int_equal(price.output, 600000000);
    assert_int_equal(price.reasoning, price.output);
    assert_int_equal(facts.context_tokens, 128000);
    assert_string_equal(facts.mode, "chat");
    assert_true(find("openai", "gpt-image-1", &facts, &price)); /* it makes only pictures */
    assert_true(price.known);
    assert_int_equal(price.image_input, 10000000000);
    assert_int_equal(price.image_output, 40000000000);
    assert_int_equal(price.output, price.image_output);
    assert_true(find("azure", "curie", &facts, &price) && !price.known); /* of what it says */
    assert_true(find("anthropic", "claude-opus-4-5", &facts, &price));
    assert_int_equal(price.search, 10000000);
    assert_true(find("openai", "text-embedding-3-small", &facts, &price));
    assert_int_equal(price.input, 20000000);
    assert_true(find("openai", "tts-1", &facts, &price)); /* 15 dollars per million characters */
    assert_int_equal(price.unit, 15000);
}

static void finds_a_model_by_names_it_also_has(void **state)
{
    (void)state;
    struct model_facts facts;
    struct price price, base;
    assert_true(find("openai", "gpt-4o-mini", &facts, &base));
    assert_true(find("openai", "gpt-4o-mini-2031-01-02", &facts, &price));
    assert_memory_equal(&price, &base, sizeof(price));
    assert_true(find("openai", "gpt-4o-mini-20310102", &facts, &price));
    assert_true(find("openai", "gpt-4o-2024-05-13", &facts, &price)); /* a dearer one of its own */
    assert_int_equal(price.input, 5000000000);
    assert_true(find("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", &facts, &price));
    assert_true(price.input > base.input);
    assert_true(find("gemini", "models/gemini-2.5-flash", &facts, &price));
}

static void says_when_it_does_not_know(void **state)
{
    (void)state;
    struct model_facts facts;
    struct price price;
    char long_name[400];
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    static const char *const unknown[] = {"",    "gpt-4o-mini:", "gpt-4o-min",        "~~~~",
                                          "\"}", "-latest",      "gpt-4o-mini\":{\"", "ft:"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_false(find("openai", unknown[i], &facts, &price));
    assert_false(find("openai", long_name, &facts, &price));
    assert_false(find("", "gpt-4o-mini", &facts, &price));
    assert_false(find("nobody", "gpt-4o-mini", &facts, &price));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_model),
        cmocka_unit_test(knows_prices_exactly),
        cmocka_unit_test(finds_a_model_by_names_it_also_has),
        cmocka_unit_test(says_when_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
