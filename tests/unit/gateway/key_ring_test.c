/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/key_ring.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000000 };

static struct text keys[] = {{"one", 3}, {"two", 3}, {"three", 5}};
static const struct provider_settings provider = {
    .api_key = {"one", 3}, .api_keys = keys, .api_key_count = 3};

/* An answer with <status> and one header line; <bytes> must stay. */
static void read_answer(char *bytes, struct head *head)
{
    struct fault fault;
    struct text all = text_of(bytes);
    assert_true(head_read_response(all, head, &fault));
}

static void refuse(struct key_rests *rests, struct text key, unsigned status, const char *line,
                   uint64_t now_us)
{
    char bytes[256];
    struct head head;
    snprintf(bytes, sizeof(bytes), "HTTP/1.1 %u X\r\n%s\r\n", status, line);
    read_answer(bytes, &head);
    assert_true(key_ring_refused(rests, key, &head, now_us));
}

static struct text chosen(const struct key_rests *rests, unsigned turn, uint64_t now_us)
{
    return key_ring_choose(rests, &provider, turn, now_us);
}

static void keys_take_turns(void **state)
{
    (void)state;
    struct key_rests rests = {0};
    for (unsigned turn = 0; turn < 7; turn++)
        assert_true(text_equal(chosen(&rests, turn, 1), keys[turn % 3]));
    struct provider_settings none = {.api_key = {"", 0}};
    assert_int_equal(key_ring_choose(&rests, &none, 5, 1).len, 0);
}

static void a_conversation_keeps_to_one_key(void **state)
{
    (void)state;
    struct text turned[] = {keys[2], keys[0], keys[1], {"four", 4}};
    struct provider_settings other = {.api_key = turned[0], .api_keys = turned, .api_key_count = 3};
    unsigned counts[3] = {0}, moved = 0;
    for (uint64_t affinity = 1; affinity <= 3000; affinity++) {
        unsigned place = key_ring_place(&provider, affinity);
        assert_in_range(place, 0, 2);
        counts[place]++;
        other.api_key_count = 3; /* in another order: the same key */
        assert_true(text_equal(turned[key_ring_place(&other, affinity)], keys[place]));
        other.api_key_count = 4; /* with one more: that one, or the same */
        struct text now = turned[key_ring_place(&other, affinity)];
        assert_true(text_equal(now, keys[place]) || text_equal(now, turned[3]));
        moved += text_equal(now, turned[3]);
    }
    for (size_t i = 0; i < 3; i++)
        assert_in_range(counts[i], 850, 1150);
    assert_in_range(moved, 600, 900);
}

static void a_key_rests_as_long_as_the_answer_says(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *line;
        uint64_t rest_us;
    } cases[] = {
        {429, "", 10 * (uint64_t)SECOND},
        {401, "", 60 * (uint64_t)SECOND},
        {402, "", 60 * (uint64_t)SECOND},
        {429, "Retry-After: 7\r\n", 7 * (uint64_t)SECOND},
        {429, "retry-after-ms: 1500\r\nretry-after: 2\r\n", 1500000},
        {429, "Retry-After: 86400\r\n", 3600 * (uint64_t)SECOND},
        {429, "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", 10 * (uint64_t)SECOND},
        {429, "Retry-After: -1\r\n", 10 * (uint64_t)SECOND},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct key_rests rests = {0};
        uint64_t now = 5 * (uint64_t)SECOND;
        refuse(&rests, keys[0], cases[i].status, cases[i].line, now);
        assert_true(text_equal(chosen(&rests, 0, now + cases[i].rest_us - 1), keys[1]));
        assert_true(text_equal(chosen(&rests, 0, now + cases[i].rest_us), keys[0]));
    }
}

static void the_first_to_wake_serves_when_all_rest(void **state)
{
    (void)state;
    struct key_rests rests = {0};
    refuse(&rests, keys[0], 429, "Retry-After: 9\r\n", 1);
    refuse(&rests, keys[1], 429, "Retry-After: 5\r\n", 1);
    assert_true(key_ring_has_one(&rests, &provider, 1));
    refuse(&rests, keys[2], 429, "Retry-After: 7\r\n", 1);
    assert_false(key_ring_has_one(&rests, &provider, 1));
    for (unsigned turn = 0; turn < 3; turn++)
        assert_true(text_equal(chosen(&rests, turn, 1), keys[1]));
}

static void other_refusals_are_not_the_keys(void **state)
{
    (void)state;
    struct key_rests rests = {0};
    char bytes[] = "HTTP/1.1 400 X\r\nRetry-After: 7\r\n\r\n";
    struct head head;
    read_answer(bytes, &head);
    assert_false(key_ring_refused(&rests, keys[0], &head, 1));
    assert_int_equal(rests.count, 0);
}

static void no_more_rest_than_there_is_room_for(void **state)
{
    (void)state;
    struct key_rests rests = {0};
    char name[32];
    for (int i = 0; i < 3 * KEY_RESTS_MAX; i++) {
        snprintf(name, sizeof(name), "key-%d", i);
        refuse(&rests, text_of(name), 429, "Retry-After: 9\r\n", (uint64_t)i + 1);
    }
    assert_int_equal(rests.count, KEY_RESTS_MAX);
    refuse(&rests, keys[0], 429, "Retry-After: 9\r\n", 1000);
    assert_true(text_equal(chosen(&rests, 0, 1001), keys[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_take_turns),
        cmocka_unit_test(a_conversation_keeps_to_one_key),
        cmocka_unit_test(a_key_rests_as_long_as_the_answer_says),
        cmocka_unit_test(the_first_to_wake_serves_when_all_rest),
        cmocka_unit_test(other_refusals_are_not_the_keys),
        cmocka_unit_test(no_more_rest_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
