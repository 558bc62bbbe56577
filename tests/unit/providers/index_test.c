/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "providers/index.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static struct part call_of(const char *id, const char *name)
{
    return (struct part){.kind = PART_CALL, .id = text_of(id), .name = text_of(name)};
}

static void test_the_last_message_with_an_id_has_the_call_and_the_first_in_it(void **state)
{
    (void)state;
    struct part first[] = {call_of("a", "old"), call_of("b", "only")};
    struct part second[] = {
        call_of("a", "new"), call_of("a", "behind"), {.kind = PART_RESULT, .id = TEXT("c")}};
    struct message messages[] = {{.parts = first, .part_count = 2},
                                 {.parts = second, .part_count = 3}};
    struct chat chat = {.messages = messages, .message_count = 2};
    struct call_index index = {.chat = &chat};
    assert_ptr_equal(call_index_find(&index, TEXT("a")), &second[0]);
    assert_ptr_equal(call_index_find(&index, TEXT("b")), &first[1]);
    assert_null(call_index_find(&index, TEXT("c"))); /* a result is no call */
    assert_null(call_index_find(&index, TEXT("")));
    call_index_done(&index);
}

static void test_calls_are_looked_at_once_however_many_results_there_are(void **state)
{
    (void)state;
    enum { CALLS = 20000 };
    struct part *parts = arena_new(&arena, CALLS * sizeof(*parts));
    for (size_t i = 0; i < CALLS; i++)
        parts[i] = (struct part){
            .kind = PART_CALL, .id = arena_format(&arena, "c%zu", i), .name = TEXT("f")};
    struct message message = {.parts = parts, .part_count = CALLS};
    struct chat chat = {.messages = &message, .message_count = 1};
    struct call_index index = {.chat = &chat};
    assert_ptr_equal(call_index_find(&index, TEXT("c7")), &parts[7]);
    assert_int_equal(index.calls.count, CALLS);
    chat.message_count = 0; /* nobody looks at them again */
    for (size_t i = 0; i < CALLS; i++)
        assert_ptr_equal(call_index_find(&index, parts[i].id), &parts[i]);
    assert_null(call_index_find(&index, TEXT("nobody")));
    call_index_done(&index);
}

static void test_calls_are_found_by_name_as_they_are_read(void **state)
{
    (void)state;
    struct part first = call_of("1", "f"), second = call_of("2", "f");
    struct message messages[] = {{.parts = &first, .part_count = 1},
                                 {.parts = &second, .part_count = 1}};
    struct chat chat = {.messages = messages, .message_count = 1};
    struct call_names names = {.messages = 0};
    assert_ptr_equal(call_names_find(&names, &chat, TEXT("f")), &first);
    chat.message_count = 2;
    assert_ptr_equal(call_names_find(&names, &chat, TEXT("f")), &second);
    assert_int_equal(names.messages, 2);
    messages[0].part_count = messages[1].part_count = 0; /* they were looked at */
    assert_ptr_equal(call_names_find(&names, &chat, TEXT("f")), &second);
    assert_null(call_names_find(&names, &chat, TEXT("g")));
    call_names_done(&names);
}

static void test_the_first_tool_of_a_name_is_found_and_later_ones_too(void **state)
{
    (void)state;
    struct tool tools[] = {
        {.name = TEXT("a")}, {.name = TEXT("b")}, {.name = TEXT("a")}, {.name = TEXT("c")}};
    struct chat chat = {.tools = tools, .tool_count = 3};
    struct tool_index index = {.count = 0};
    assert_int_equal(tool_index_find(&index, &chat, TEXT("a")), 0);
    assert_int_equal(tool_index_find(&index, &chat, TEXT("b")), 1);
    assert_true(tool_index_find(&index, &chat, TEXT("c")) == SIZE_MAX);
    chat.tool_count = 4;
    assert_int_equal(tool_index_find(&index, &chat, TEXT("c")), 3);
    assert_int_equal(index.count, 4);
    tool_index_done(&index);
}

static void assert_taken(struct open_calls *calls, const char *name, const char *id)
{
    struct text taken = open_calls_take(calls, text_of(name));
    assert_true(id ? text_equal(taken, text_of(id)) : taken.at == NULL);
}

static void test_results_without_an_id_take_the_open_calls_in_order(void **state)
{
    (void)state;
    struct open_calls calls = {.first = NULL};
    assert_taken(&calls, "f", NULL);
    assert_taken(&calls, "", NULL);
    open_calls_add(&calls, &arena, TEXT("1"), TEXT("f"));
    open_calls_add(&calls, &arena, TEXT("2"), TEXT("g"));
    open_calls_add(&calls, &arena, TEXT("3"), TEXT("f"));
    open_calls_add(&calls, &arena, TEXT("4"), TEXT("f"));
    assert_taken(&calls, "g", "2");
    assert_taken(&calls, "g", NULL);
    assert_taken(&calls, "", "1");  /* without a name: whoever waits longest */
    assert_taken(&calls, "f", "3"); /* the first of its name is answered already */
    assert_taken(&calls, "h", NULL);
    assert_taken(&calls, "", "4");
    assert_taken(&calls, "", NULL);
    open_calls_add(&calls, &arena, TEXT("5"), TEXT("f")); /* behind rows that came to their end */
    open_calls_add(&calls, &arena, TEXT("6"), TEXT("g"));
    assert_taken(&calls, "g", "6");
    assert_taken(&calls, "f", "5");
    open_calls_done(&calls);
}

static void test_a_proof_finds_its_part_among_the_last_ones(void **state)
{
    (void)state;
    enum { PARTS = PROOF_LOOKS_BACK + 2 };
    struct part *parts = arena_new(&arena, PARTS * sizeof(*parts));
    for (size_t i = 0; i < PARTS; i++)
        parts[i] = call_of("same", "f");
    parts[0] = (struct part){.kind = PART_TEXT};
    parts[PARTS - 2].id = TEXT("other");
    assert_ptr_equal(part_before(parts, PARTS, PART_CALL, TEXT("other")), &parts[PARTS - 2]);
    assert_ptr_equal(part_before(parts, PARTS, PART_CALL, TEXT("same")), &parts[PARTS - 1]);
    assert_null(part_before(parts, PARTS, PART_TEXT, TEXT("")));
    assert_ptr_equal(part_before(parts, 3, PART_TEXT, TEXT("")), &parts[0]);
    assert_null(part_before(parts, 0, PART_TEXT, TEXT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_message_with_an_id_has_the_call_and_the_first_in_it),
        cmocka_unit_test_setup_teardown(
            test_calls_are_looked_at_once_however_many_results_there_are, begin, end),
        cmocka_unit_test(test_calls_are_found_by_name_as_they_are_read),
        cmocka_unit_test(test_the_first_tool_of_a_name_is_found_and_later_ones_too),
        cmocka_unit_test_setup_teardown(test_results_without_an_id_take_the_open_calls_in_order,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_proof_finds_its_part_among_the_last_ones, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
