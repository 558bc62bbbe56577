/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's memory of names, against names that are made anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "policy/cache_names.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct cache_names *names;

static int begin(void **state)
{
    (void)state;
    names = memory_new(sizeof(*names));
    return 0;
}

static int end(void **state)
{
    (void)state;
    cache_names_done(names);
    assert_int_equal(names->bytes, 0);
    memory_free(names);
    return 0;
}

static size_t remembered(void)
{
    size_t count = 0;
    for (size_t i = 0; i < CACHE_NAMES; i++)
        count += names->places[i].call != NULL;
    return count;
}

static void ask(const struct cache_call *call)
{
    struct digest found = {{0}}, made = {{1}};
    bool has_name = cache_name(call->scope, call->route, call->operation, call->body, &made);
    assert_int_equal(cache_names_find(names, call, &found), has_name);
    if (has_name)
        assert_memory_equal(found.bytes, made.bytes, sizeof(made.bytes));
}

static void a_call_is_remembered_when_it_comes_again(void **state)
{
    (void)state;
    const struct cache_call call = {TEXT("t"), TEXT("r"), OPERATION_CHAT,
                                    TEXT("{\"model\":\"m\"}")};
    ask(&call);
    assert_int_equal(remembered(), 0);
    ask(&call);
    assert_int_equal(remembered(), 1);
    ask(&call);
    assert_int_equal(remembered(), 1);
}

static void what_has_no_name_gets_none(void **state)
{
    (void)state;
    const struct cache_call call = {TEXT("t"), TEXT("r"), OPERATION_CHAT,
                                    TEXT("{\"a\":1,\"a\":2}")};
    for (int i = 0; i < 3; i++)
        ask(&call);
    assert_int_equal(remembered(), 0);
}

/* The bytes one after the other are the same. */
static void parts_are_told_apart(void **state)
{
    (void)state;
    const struct cache_call calls[] = {
        {TEXT("ab"), TEXT("c"), OPERATION_CHAT, TEXT("{}")},
        {TEXT("a"), TEXT("bc"), OPERATION_CHAT, TEXT("{}")},
        {TEXT(""), TEXT("abc"), OPERATION_CHAT, TEXT("{}")},
        {TEXT("abc"), TEXT(""), OPERATION_CHAT, TEXT("{}")},
        {TEXT("ab"), TEXT("c"), OPERATION_EMBEDDING, TEXT("{}")},
    };
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
            ask(&calls[i]);
    assert_true(remembered() > 0);
}

/* A place that another call has taken, and a sum that two calls share, give nobody's name away. */
static void equal_sums_are_not_equal_calls(void **state)
{
    (void)state;
    const struct cache_call call = {TEXT("t"), TEXT("r"), OPERATION_CHAT, TEXT("{\"a\":1}")};
    const struct cache_call other = {TEXT("t"), TEXT("r"), OPERATION_CHAT, TEXT("{\"a\":2}")};
    ask(&call);
    ask(&call);
    uint32_t sum = 0;
    for (size_t i = 0; i < CACHE_NAMES; i++)
        if (names->places[i].call)
            sum = names->places[i].sum;
    ask(&other);
    ask(&other);
    assert_int_equal(remembered(), 2);
    /* Let both stand where the other one is looked for, under its sum. */
    struct cache_named *one = &names->places[sum % CACHE_NAMES], *two = NULL;
    for (size_t i = 0; i < CACHE_NAMES; i++)
        if (names->places[i].call && &names->places[i] != one)
            two = &names->places[i];
    assert_non_null(two);
    struct cache_named kept = *one;
    one->call = two->call;
    one->name = two->name;
    two->call = kept.call;
    two->name = kept.name;
    ask(&call);
    ask(&other);
}

static void what_is_remembered_is_bounded(void **state)
{
    (void)state;
    enum { BODY = 20000, CALLS = 400 };
    char *body = memory_new(BODY + 1);
    for (int i = 0; i < CALLS; i++) {
        memset(body, ' ', BODY);
        size_t len = (size_t)snprintf(body, BODY, "{\"call\":%d", i);
        body[len] = ' ';
        body[BODY - 1] = '}';
        const struct cache_call call = {TEXT("t"), TEXT("r"), OPERATION_CHAT, {body, BODY}};
        ask(&call);
        ask(&call);
        assert_true(names->bytes <= CACHE_NAMES_BYTES);
    }
    assert_true(remembered() > 10);
    char *huge = memory_new(CACHE_NAMED_BYTES_MAX + 2);
    size_t before = names->bytes;
    memset(huge, ' ', CACHE_NAMED_BYTES_MAX + 1);
    huge[0] = '{';
    huge[CACHE_NAMED_BYTES_MAX] = '}';
    const struct cache_call call = {
        TEXT("t"), TEXT("r"), OPERATION_CHAT, {huge, CACHE_NAMED_BYTES_MAX + 1}};
    ask(&call);
    ask(&call);
    assert_int_equal(names->bytes, before);
    memory_free(huge);
    memory_free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_is_remembered_when_it_comes_again, begin, end),
        cmocka_unit_test_setup_teardown(what_has_no_name_gets_none, begin, end),
        cmocka_unit_test_setup_teardown(parts_are_told_apart, begin, end),
        cmocka_unit_test_setup_teardown(equal_sums_are_not_equal_calls, begin, end),
        cmocka_unit_test_setup_teardown(what_is_remembered_is_bounded, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
