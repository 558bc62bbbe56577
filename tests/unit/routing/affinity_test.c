/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "routing/affinity.h"
#include "routing/strategy.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000000, TTL = 480 * SECOND };

static const uint64_t start = UINT64_C(5000) * SECOND;
static uint32_t owners[AFFINITY_OWNERS];

static void remembers_who_answered_the_latest_first(void **state)
{
    (void)state;
    struct affinity *table = affinity_new(16);
    uint64_t hash = strategy_mix(1);
    assert_int_equal(affinity_find(table, hash, start, TTL, owners), 0);
    affinity_note(table, hash, 11, start);
    affinity_note(table, hash, 12, start + 20 * SECOND);
    affinity_note(table, hash, 13, start + 40 * SECOND);
    affinity_note(table, hash, 11, start + 60 * SECOND);
    assert_int_equal(affinity_find(table, hash, start + 60 * SECOND, TTL, owners), 3);
    assert_int_equal(owners[0], 11);
    assert_int_equal(owners[1], 13);
    assert_int_equal(owners[2], 12);
    affinity_free(table);
}

static void forgets_what_is_long_ago(void **state)
{
    (void)state;
    struct affinity *table = affinity_new(16);
    uint64_t hash = strategy_mix(2);
    affinity_note(table, hash, 7, start);
    assert_int_equal(affinity_find(table, hash, start + TTL - 10 * SECOND, TTL, owners), 1);
    assert_int_equal(affinity_find(table, hash, start + TTL + 10 * SECOND, TTL, owners), 0);
    affinity_free(table);
}

static void keeps_hashes_apart_and_its_size(void **state)
{
    (void)state;
    struct affinity *table = affinity_new(64);
    for (uint64_t i = 0; i < 10000; i++)
        affinity_note(table, strategy_mix(i), (uint32_t)(i % 1000) + 1, start + i * SECOND / 100);
    unsigned found = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        unsigned count = affinity_find(table, strategy_mix(i), start + 100 * SECOND, TTL, owners);
        assert_in_range(count, 0, 1);
        if (count)
            assert_int_equal(owners[0], i % 1000 + 1);
        found += count;
    }
    assert_in_range(found, 400, 64 * AFFINITY_OWNERS); /* the latest of them */
    affinity_free(table);
}

static void hashes_every_byte_and_the_salt(void **state)
{
    (void)state;
    char bytes[100];
    memset(bytes, 'x', sizeof(bytes));
    for (size_t len = 0; len < sizeof(bytes); len++) {
        uint64_t hash = affinity_hash((struct text){bytes, len}, 5);
        assert_int_equal(hash, affinity_hash((struct text){bytes, len}, 5));
        assert_int_not_equal(hash, affinity_hash((struct text){bytes, len}, 6));
        assert_int_not_equal(hash, affinity_hash((struct text){bytes, len + 1}, 5));
        for (size_t i = 0; i < len; i++) {
            bytes[i] = 'y';
            assert_int_not_equal(hash, affinity_hash((struct text){bytes, len}, 5));
            bytes[i] = 'x';
        }
    }
}

static void gives_every_owner_a_name(void **state)
{
    (void)state;
    assert_int_not_equal(affinity_owner(0), 0);
    assert_true(affinity_owner(UINT64_MAX) < 1U << 24);
    assert_ptr_equal(affinity_shared(), affinity_shared());
    affinity_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_who_answered_the_latest_first),
        cmocka_unit_test(forgets_what_is_long_ago),
        cmocka_unit_test(keeps_hashes_apart_and_its_size),
        cmocka_unit_test(hashes_every_byte_and_the_salt),
        cmocka_unit_test(gives_every_owner_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
