/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include "gateway/base/list.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

struct member {
    int number;
    struct link link;
};

static void assert_numbers(struct link *head, const int *numbers, size_t count)
{
    struct link *at = head->next;
    for (size_t i = 0; i < count; i++, at = at->next) {
        assert_ptr_not_equal(at, head);
        assert_int_equal(LIST_MEMBER(at, struct member, link)->number, numbers[i]);
        assert_ptr_equal(at->next->prev, at);
    }
    assert_ptr_equal(at, head);
}

static void members_stand_where_they_were_put(void **state)
{
    (void)state;
    struct link head;
    struct member a = {1, {0}}, b = {2, {0}}, c = {3, {0}};
    list_init(&head);
    assert_true(list_is_empty(&head));
    list_push_back(&head, &b.link);
    list_push_back(&head, &c.link);
    list_push_front(&head, &a.link);
    assert_false(list_is_empty(&head));
    assert_numbers(&head, (const int[]){1, 2, 3}, 3);
}

static void taking_out_twice_does_no_harm(void **state)
{
    (void)state;
    struct link head;
    struct member a = {1, {0}}, b = {2, {0}}, c = {3, {0}};
    list_init(&head);
    list_push_back(&head, &a.link);
    list_push_back(&head, &b.link);
    list_push_back(&head, &c.link);
    list_remove(&b.link);
    list_remove(&b.link);
    assert_true(list_is_empty(&b.link));
    assert_numbers(&head, (const int[]){1, 3}, 2);
    list_remove(&a.link);
    list_remove(&c.link);
    assert_true(list_is_empty(&head));
    list_push_front(&head, &b.link);
    assert_numbers(&head, (const int[]){2}, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_stand_where_they_were_put),
        cmocka_unit_test(taking_out_twice_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
