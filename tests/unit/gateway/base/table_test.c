/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/table.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { NAMES = 1000 };

static char names[NAMES][16];

static struct text name_of(size_t i)
{
    snprintf(names[i], sizeof(names[i]), "name-%zu", i);
    return text_of(names[i]);
}

static void empty_table_finds_nothing(void **state)
{
    (void)state;
    struct table table;
    table_init(&table);
    struct text name;
    void *value;
    size_t at = 0;
    assert_null(table_find(&table, TEXT("a")));
    assert_null(table_remove(&table, TEXT("a")));
    assert_false(table_next(&table, &at, &name, &value));
    table_done(&table);
}

static void setting_replaces(void **state)
{
    (void)state;
    struct table table;
    int one, two;
    table_init(&table);
    assert_null(table_set(&table, TEXT("a"), &one));
    assert_null(table_set(&table, TEXT(""), &two));
    assert_ptr_equal(table_set(&table, TEXT("a"), &two), &one);
    assert_ptr_equal(table_find(&table, TEXT("a")), &two);
    assert_ptr_equal(table_find(&table, TEXT("")), &two);
    assert_null(table_find(&table, TEXT("A")));
    assert_int_equal(table.count, 2);
    table_done(&table);
}

static void reserved_room_holds_them_all(void **state)
{
    (void)state;
    struct table table;
    int one;
    table_init(&table);
    table_set(&table, TEXT("before"), &one);
    table_reserve(&table, NAMES);
    size_t capacity = table.capacity;
    for (size_t i = 1; i < NAMES; i++)
        table_set(&table, name_of(i), &one);
    assert_int_equal(table.capacity, capacity);
    table_reserve(&table, 1);
    assert_int_equal(table.capacity, capacity);
    assert_ptr_equal(table_find(&table, TEXT("before")), &one);
    assert_int_equal(table.count, NAMES);
    table_done(&table);
}

static void all_names_are_found_while_others_come_and_go(void **state)
{
    (void)state;
    struct table table;
    static bool is_in[NAMES];
    size_t count = 0;
    unsigned seed = 1;
    table_init(&table);
    for (size_t i = 0; i < NAMES; i++)
        name_of(i);
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245U + 12345U;
        size_t i = (seed >> 16) % NAMES;
        /* Drain it in the second half, so that gaps are closed in a full table, too. */
        bool puts = (seed >> 8) % 10 < (round < 10000 ? 7U : 2U);
        void *old = puts ? table_set(&table, text_of(names[i]), names[i])
                         : table_remove(&table, text_of(names[i]));
        assert_ptr_equal(old, is_in[i] ? names[i] : NULL);
        count += (size_t)puts - (size_t)is_in[i];
        is_in[i] = puts;
        assert_int_equal(table.count, count);
        if (round % 500 != 0)
            continue;
        for (size_t j = 0; j < NAMES; j++)
            assert_ptr_equal(table_find(&table, text_of(names[j])), is_in[j] ? names[j] : NULL);
    }
    table_done(&table);
}

static void walking_meets_every_entry_once(void **state)
{
    (void)state;
    struct table table;
    table_init(&table);
    for (size_t i = 0; i < NAMES; i++)
        table_set(&table, name_of(i), names[i]);
    static bool is_met[NAMES];
    size_t at = 0, met = 0;
    struct text name;
    void *value;
    while (table_next(&table, &at, &name, &value)) {
        size_t i = (size_t)((char(*)[16])value - names);
        assert_true(text_equal(name, text_of(names[i])));
        assert_false(is_met[i]);
        is_met[i] = true;
        met++;
    }
    assert_int_equal(met, NAMES);
    table_done(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_table_finds_nothing),
        cmocka_unit_test(setting_replaces),
        cmocka_unit_test(reserved_room_holds_them_all),
        cmocka_unit_test(all_names_are_found_while_others_come_and_go),
        cmocka_unit_test(walking_meets_every_entry_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
