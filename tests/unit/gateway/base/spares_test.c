/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "gateway/base/sanitizer.h"
#include "gateway/base/spares.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { LIMIT = 1 << 20 };

static void memory_that_was_given_is_lent_again_and_empty(void **state)
{
    (void)state;
    struct spares spares = {.count = 0};
    struct buffer one, other;
    buffer_init(&one, LIMIT);
    buffer_init(&other, 2 * LIMIT);
    spares_room(&spares, &one, 1000);
    assert_true(one.capacity >= 1000);
    assert_true(buffer_append(&one, "abc", 3));
    const char *memory = one.data;
    spares_give(&spares, &one);
    assert_null(one.data);
    assert_int_equal(one.limit, LIMIT);
    spares_room(&spares, &other, 1020);
    if (!UNDER_SANITIZER)
        assert_ptr_equal(other.data, memory);
    assert_int_equal(buffer_length(&other), 0);
    assert_int_equal(other.limit, 2 * LIMIT);
    assert_true(other.capacity >= 1020);
    spares_give(&spares, &other);
    spares_free(&spares);
    assert_int_equal(spares.count, 0);
}

static void what_is_lent_is_large_enough_and_within_the_limit(void **state)
{
    (void)state;
    struct spares spares = {.count = 0};
    static const size_t sizes[] = {100, 2000, SPARE_BYTES, 1, SPARE_BYTES + 1, 3 * SPARE_BYTES};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct buffer buffer;
        buffer_init(&buffer, LIMIT);
        spares_room(&spares, &buffer, sizes[i]);
        assert_true(buffer.capacity >= sizes[i]);
        buffer_grow(&buffer, sizes[i]);
        spares_give(&spares, &buffer);
    }
    struct buffer narrow;
    buffer_init(&narrow, 700);
    spares_room(&spares, &narrow, 600);
    assert_true(narrow.capacity >= 600 && narrow.capacity <= 700);
    spares_give(&spares, &narrow);
    spares_free(&spares);
}

static void no_more_is_kept_than_said(void **state)
{
    (void)state;
    struct spares spares = {.count = 0};
    struct buffer buffers[SPARES_MAX + 5];
    for (size_t i = 0; i < SPARES_MAX + 5; i++) {
        buffer_init(&buffers[i], LIMIT);
        spares_room(&spares, &buffers[i], 10);
    }
    for (size_t i = 0; i < SPARES_MAX + 5; i++)
        spares_give(&spares, &buffers[i]);
    assert_int_equal(spares.count, UNDER_SANITIZER ? 0 : SPARES_MAX);
    struct buffer large;
    buffer_init(&large, LIMIT);
    spares_room(&spares, &large, SPARE_BYTES + 1);
    spares_give(&spares, &large);
    for (unsigned i = 0; i < spares.count; i++)
        assert_true(spares.kept[i].capacity <= SPARE_BYTES);
    spares_free(&spares);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_was_given_is_lent_again_and_empty),
        cmocka_unit_test(what_is_lent_is_large_enough_and_within_the_limit),
        cmocka_unit_test(no_more_is_kept_than_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
