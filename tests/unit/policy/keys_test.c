/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns a secret, until when, and which models it may call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/base/memory.h"
#include "policy/policy.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct text narrow[] = {{"fast", 4}};
static struct text wide[] = {{"fast", 4}, {"openai/*", 8}};
static const struct tenant acme = {.name = {"acme", 4}, .models = wide, .model_count = 2};
static const struct tenant empty = {.name = {"empty", 5}};

static struct key key_of(const char *name, const char *secret, const struct tenant *tenant)
{
    return (struct key){
        .name = text_of(name), .digest = hash_sha256(text_of(secret)), .tenant = tenant};
}

static const struct key *find(const struct keys *keys, struct text secret, int64_t wall_us)
{
    struct digest digest = hash_sha256(secret);
    return keys_find_digest(keys, &digest, wall_us);
}

static void a_key_is_found_by_its_secret_only(void **state)
{
    (void)state;
    struct key list[] = {key_of("a", "sk-a", &acme), key_of("b", "sk-b", &acme)};
    struct keys *keys = keys_new(list, COUNT(list), NULL);
    assert_ptr_equal(find(keys, TEXT("sk-a"), 0), &list[0]);
    assert_ptr_equal(find(keys, TEXT("sk-b"), 0), &list[1]);
    assert_null(find(keys, TEXT("sk-"), 0));
    assert_null(find(keys, TEXT("sk-a "), 0));
    assert_null(find(keys, TEXT("sk-a\0x"), 0));
    assert_null(find(keys, TEXT("SK-A"), 0));
    keys_free(keys);
}

static void the_digest_of_nothing_is_nobody(void **state)
{
    (void)state;
    struct key list[] = {{.name = {"zero", 4}, .tenant = &acme}};
    struct keys *keys = keys_new(list, COUNT(list), NULL);
    assert_null(find(keys, TEXT(""), 0));
    keys_free(keys);
    keys = keys_new(NULL, 0, NULL);
    assert_null(find(keys, TEXT("x"), 0));
    keys_free(keys);
}

static void a_key_ends_at_its_expiry(void **state)
{
    (void)state;
    struct key list[] = {key_of("a", "sk-a", &acme)};
    list[0].expires_us = 1000;
    struct keys *keys = keys_new(list, 1, NULL);
    assert_ptr_equal(find(keys, TEXT("sk-a"), 999), &list[0]);
    assert_null(find(keys, TEXT("sk-a"), 1000));
    assert_null(find(keys, TEXT("sk-a"), INT64_MAX));
    keys_free(keys);
}

static void of_two_equal_secrets_the_first_counts(void **state)
{
    (void)state;
    struct key list[] = {key_of("a", "same", &acme), key_of("x", "x", &acme),
                         key_of("b", "same", &empty)};
    const struct key *repeated = NULL;
    struct keys *keys = keys_new(list, COUNT(list), &repeated);
    assert_ptr_equal(repeated, &list[2]);
    assert_ptr_equal(find(keys, TEXT("same"), 0), &list[0]);
    keys_free(keys);
    keys = keys_new(list, 2, &repeated);
    assert_null(repeated);
    keys_free(keys);
}

static void ten_thousand_keys_are_all_found(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct key *list = memory_new(MANY * sizeof(*list));
    char secret[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(secret, sizeof(secret), "secret-%d", i);
        list[i] = key_of("k", secret, &acme);
    }
    struct keys *keys = keys_new(list, MANY, NULL);
    for (int i = 0; i < MANY; i++) {
        snprintf(secret, sizeof(secret), "secret-%d", i);
        assert_ptr_equal(find(keys, text_of(secret), 0), &list[i]);
        snprintf(secret, sizeof(secret), "wrong-%d", i);
        assert_null(find(keys, text_of(secret), 0));
    }
    keys_free(keys);
    memory_free(list);
}

static void a_model_must_be_on_the_lists_of_tenant_and_key(void **state)
{
    (void)state;
    struct key key = key_of("a", "sk-a", &acme);
    assert_true(key_may_call(&key, TEXT("fast")));
    assert_true(key_may_call(&key, TEXT("openai/gpt-4o")));
    assert_false(key_may_call(&key, TEXT("faster")));
    assert_false(key_may_call(&key, TEXT("Fast")));
    assert_false(key_may_call(&key, TEXT("azure/openai/x")));
    assert_false(key_may_call(&key, TEXT("")));
    key.models = narrow;
    key.model_count = 1;
    assert_true(key_may_call(&key, TEXT("fast")));
    assert_false(key_may_call(&key, TEXT("openai/gpt-4o")));
}

static void a_key_cannot_widen_what_its_tenant_may(void **state)
{
    (void)state;
    struct text all[] = {{"*", 1}};
    struct key key = key_of("a", "sk-a", &empty);
    assert_false(key_may_call(&key, TEXT("fast")));
    key.models = all;
    key.model_count = 1;
    assert_false(key_may_call(&key, TEXT("fast")));
    key.tenant = &acme;
    assert_true(key_may_call(&key, TEXT("fast")));
    assert_false(key_may_call(&key, TEXT("slow")));
}

static void a_long_list_is_looked_up_in(void **state)
{
    enum { NAMES = 100 };
    (void)state;
    char names[NAMES][16];
    struct text list[NAMES + 1];
    struct arena arena;
    arena_init(&arena, 4096);
    for (int i = 0; i < NAMES; i++) /* in no order */
        list[i] = (struct text){
            names[i], (size_t)snprintf(names[i], sizeof(names[i]), "m%d", i * 37 % NAMES)};
    list[NAMES] = TEXT("openai/*");
    struct tenant tenant = {.models = list, .model_count = NAMES + 1};
    struct key key = key_of("a", "sk-a", &tenant);
    assert_null(model_index_new(&arena, list, 3));
    tenant.model_index = model_index_new(&arena, list, NAMES + 1);
    assert_non_null(tenant.model_index);
    for (int i = 0; i < NAMES; i++)
        assert_true(key_may_call(&key, list[i]));
    assert_true(key_may_call(&key, TEXT("openai/gpt-4o")));
    assert_false(key_may_call(&key, TEXT("m100")));
    assert_false(key_may_call(&key, TEXT("m")));
    assert_false(key_may_call(&key, TEXT("m1x")));
    assert_false(key_may_call(&key, TEXT("openai")));
    arena_done(&arena);
}

static void an_endless_name_is_nobodys_model(void **state)
{
    (void)state;
    static char name[100000];
    memset(name, 'a', sizeof(name));
    struct text all[] = {{"*", 1}};
    struct tenant tenant = {.models = all, .model_count = 1};
    struct key key = key_of("a", "sk-a", &tenant);
    assert_true(key_may_call(&key, (struct text){name, 1024}));
    assert_false(key_may_call(&key, (struct text){name, 1025}));
    assert_false(key_may_call(&key, (struct text){name, sizeof(name)}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_found_by_its_secret_only),
        cmocka_unit_test(the_digest_of_nothing_is_nobody),
        cmocka_unit_test(a_key_ends_at_its_expiry),
        cmocka_unit_test(of_two_equal_secrets_the_first_counts),
        cmocka_unit_test(ten_thousand_keys_are_all_found),
        cmocka_unit_test(a_model_must_be_on_the_lists_of_tenant_and_key),
        cmocka_unit_test(a_key_cannot_widen_what_its_tenant_may),
        cmocka_unit_test(a_long_list_is_looked_up_in),
        cmocka_unit_test(an_endless_name_is_nobodys_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
