/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway/realtime_tally.h"
/* after those above */
#include <cmocka.h>

static struct realtime_tally begun(int64_t context_most)
{
    struct realtime_tally tally;
    realtime_tally_init(&tally, context_most);
    return tally;
}

static enum tally_says hear(struct realtime_tally *tally, const char *message)
{
    return realtime_tally_heard(tally, text_of(message));
}

static void say_sound(struct realtime_tally *tally, const char *before, int chars,
                      const char *after)
{
    char message[16000];
    int len = snprintf(message, sizeof(message), "%s%0*d%s", before, chars, 0, after);
    realtime_tally_said(tally, (struct text){message, (size_t)len});
}

static struct usage most(const struct realtime_tally *tally, bool next)
{
    struct usage usage;
    realtime_tally_most(tally, next, &usage);
    return usage;
}

static void end(struct realtime_tally *tally, const char *message, struct usage usage)
{
    assert_int_equal(hear(tally, message), TALLY_ENDED);
    realtime_tally_ended(tally, text_of(message), &usage);
}

#define CREATED    "{\"type\":\"response.created\",\"response\":{}}"
#define DONE       "{\"type\":\"response.done\",\"response\":{}}"
#define WORDS      "{\"type\":\"response.output_text.delta\",\"delta\":\"12345678\"}"
#define SOUND_OF_8 "{\"type\":\"response.output_audio.delta\",\"delta\":\"12345678\"}"

static void test_words_are_as_many_tokens_as_bytes_at_most(void **state)
{
    struct realtime_tally tally = begun(0);
    struct usage usage;
    (void)state;
    assert_int_equal(hear(&tally, CREATED), TALLY_MORE);
    assert_int_equal(hear(&tally, WORDS), TALLY_MORE);
    assert_int_equal(hear(&tally, WORDS), TALLY_MORE);
    assert_int_equal(hear(&tally, "{\"type\":\"response.output_text.done\",\"text\":\"12345678\"}"),
                     TALLY_NOTHING);
    assert_int_equal(most(&tally, false).output_tokens, 16);
    realtime_tally_likely(&tally, &usage);
    assert_int_equal(usage.output_tokens, 4);
    end(&tally, DONE, (struct usage){.input_tokens = 10, .output_tokens = 5});
    assert_int_equal(most(&tally, false).input_tokens + most(&tally, false).output_tokens, 0);
}

static void test_a_response_reads_what_was_said_before_it(void **state)
{
    struct realtime_tally tally = begun(1000);
    (void)state;
    end(&tally, DONE, (struct usage){.input_tokens = 60, .output_tokens = 40});
    realtime_tally_said(&tally, TEXT("1234567890"));
    assert_int_equal(most(&tally, false).input_tokens, 0);
    assert_int_equal(most(&tally, true).input_tokens, 110);
    hear(&tally, CREATED);
    realtime_tally_said(&tally, TEXT("12345")); /* not that one, but the next */
    assert_int_equal(most(&tally, false).input_tokens, 110);
    assert_int_equal(most(&tally, true).input_tokens, 110 + 115);
    end(&tally, DONE, (struct usage){.input_tokens = 102, .output_tokens = 8});
    assert_int_equal(most(&tally, true).input_tokens, 115);
    realtime_tally_unread(&tally, INT64_MAX / 2, false); /* more than it can read */
    assert_int_equal(most(&tally, true).input_tokens, 1000);
}

static void test_what_is_made_aside_is_not_of_the_conversation(void **state)
{
    struct realtime_tally tally = begun(0);
    (void)state;
    end(&tally, DONE, (struct usage){.input_tokens = 60, .output_tokens = 40});
    realtime_tally_said(&tally, TEXT("1234567890"));
    hear(&tally, CREATED);
    end(&tally, "{\"type\":\"response.done\",\"response\":{\"conversation_id\":null}}",
        (struct usage){.input_tokens = 1, .output_tokens = 1});
    assert_int_equal(most(&tally, true).input_tokens, 110);
}

static void test_two_at_once_are_both_counted(void **state)
{
    struct realtime_tally tally = begun(0);
    (void)state;
    end(&tally, DONE, (struct usage){.input_tokens = 60, .output_tokens = 40});
    hear(&tally, CREATED);
    hear(&tally, CREATED);
    hear(&tally, WORDS);
    hear(&tally, WORDS);
    assert_int_equal(most(&tally, false).input_tokens, 200);
    end(&tally, DONE, (struct usage){.input_tokens = 100, .output_tokens = 3});
    assert_int_equal(most(&tally, false).input_tokens, 103);
    assert_int_equal(most(&tally, false).output_tokens, 13);
    end(&tally, DONE, (struct usage){.input_tokens = 100, .output_tokens = 3});
    assert_int_equal(most(&tally, false).output_tokens, 0);
}

static void test_sound_is_few_tokens_for_its_length(void **state)
{
    struct realtime_tally tally = begun(100000);
    (void)state;
    end(&tally, DONE, (struct usage){.input_tokens = 1});
    say_sound(&tally, "{\"type\":\"input_audio_buffer.append\",\"audio\":\"", 6300, "\"}");
    assert_int_equal(most(&tally, true).audio_input_tokens, 6); /* as it may be G.711 */
    hear(&tally, "{\"type\":\"session.created\",\"session\":{\"input_audio_format\":\"pcm16\"}}");
    assert_int_equal(most(&tally, true).audio_input_tokens, 1);
    assert_int_equal(most(&tally, true).input_tokens, 2);
    for (int i = 0; i < 401; i++)
        hear(&tally, SOUND_OF_8);
    assert_int_equal(most(&tally, false).audio_output_tokens, 2);
    assert_int_equal(most(&tally, false).output_tokens, 2);
    hear(&tally, "{\"type\":\"session.updated\",\"session\":{\"audio\":{\"input\":{\"format\":{"
                 "\"type\":\"audio/pcm\",\"rate\":24000}},\"output\":{\"format\":{\"type\":"
                 "\"audio/pcmu\"}}}}}");
    assert_int_equal(most(&tally, false).audio_output_tokens, 7);
}

static void test_what_may_be_read_as_words_is_no_sound(void **state)
{
    static const char *const before[] = {
        "{\"type\":\"input_audio_buffer.append\",\"type\":\"conversation.item.create\",\"a\":\"",
        "{\"type\":\"conversation.item.create\",\"type\":\"input_audio_buffer.append\",\"a\":\"",
        "{\"type\":\"input_audio_buffer.append\",\"\\u0074ype\":\"conversation.item\",\"a\":\"",
        "{\"event\":{\"type\":\"input_audio_buffer.append\"},\"audio\":\"", "not even JSON"};
    (void)state;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        struct realtime_tally tally = begun(0);
        say_sound(&tally, before[i], 5000, "\"}");
        assert_int_equal(most(&tally, true).audio_input_tokens, 0);
        assert_true(most(&tally, true).input_tokens > 5000);
    }
}

#define CREATE_OF_OWN "{\"type\":\"response.create\",\"response\":{\"input\":[]}}"

static void say(struct realtime_tally *tally, const char *message)
{
    realtime_tally_said(tally, text_of(message));
}

static void test_an_input_of_its_own_leaves_the_conversation_to_be_read(void **state)
{
    static const char *const creates[] = {
        CREATE_OF_OWN, "{\"type\":\"response\\u002ecreate\",\"response\":{\"input\":[]}}",
        "{\"type\":\"response.create\",\"response\":{\"\\u0069nput\":[]}}",
        "{\"type\":\"response.create\",\"type\":\"x\",\"response\":{\"input\":[]}}"};
    (void)state;
    for (size_t i = 0; i < sizeof(creates) / sizeof(creates[0]); i++) {
        struct realtime_tally tally = begun(0);
        say(&tally, "1234567890");
        say(&tally, creates[i]);
        hear(&tally, CREATED);
        end(&tally, DONE, (struct usage){.input_tokens = 12, .output_tokens = 3});
        int64_t unread = 10 + (int64_t)strlen(creates[i]);
        assert_int_equal(most(&tally, true).input_tokens, 15 + unread);
        /* The next one reads it. */
        hear(&tally, CREATED);
        end(&tally, DONE, (struct usage){.input_tokens = 50, .output_tokens = 4});
        assert_int_equal(most(&tally, true).input_tokens, 54);
    }
}

static void test_a_conversation_is_taken_for_as_long_as_it_was(void **state)
{
    struct realtime_tally tally = begun(1000);
    (void)state;
    end(&tally, DONE,
        (struct usage){.input_tokens = 60, .output_tokens = 40, .audio_output_tokens = 30});
    say(&tally, "1234567890");
    hear(&tally, CREATED);
    end(&tally, DONE, (struct usage){.input_tokens = 5, .output_tokens = 1});
    assert_int_equal(most(&tally, true).input_tokens, 110);
    assert_int_equal(most(&tally, true).audio_input_tokens, 30);
    hear(&tally, CREATED);
    end(&tally, DONE, (struct usage){.input_tokens = 5000});
    assert_int_equal(most(&tally, true).input_tokens, 1000);
}

/* It reasons, is interrupted, or an item is deleted. */
static void test_a_conversation_may_grow_by_less_than_was_written(void **state)
{
    struct realtime_tally tally = begun(0);
    (void)state;
    end(&tally, DONE, (struct usage){.input_tokens = 60, .output_tokens = 40});
    say(&tally, "1234567890");
    hear(&tally, CREATED);
    end(&tally, DONE, (struct usage){.input_tokens = 70, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 100);
}

#define DELETED   "{\"type\":\"conversation.item.deleted\",\"item_id\":\"a\"}"
#define COMPLETED "{\"type\":\"response.done\",\"response\":{\"status\":\"completed\"}}"
#define DONE_ASIDE                                                                                 \
    "{\"type\":\"response.done\",\"response\":{\"status\":\"completed\",\"conversation_id\":null}" \
    "}"
#define UPDATE "{\"type\":\"session.update\",\"session\":{\"prompt\":{\"id\":\"p\"}}}"
#define CREATE "{\"type\":\"response.create\",\"response\":{\"output_modalities\":[\"text\"]}}"
#define CREATE_TWICE \
    "{\"type\":\"response.create\",\"response\":{\"instructions\":\"x\"},\"response\":{}}"
#define ITEM                                                                             \
    "{\"type\":\"conversation.item.create\",\"item\":{\"type\":\"message\",\"content\":" \
    "[{\"type\":\"input_text\",\"text\":\"h\\u00e9\"}]}}"

/* A conversation of 1,000 tokens, of which 100 are left. */
static struct realtime_tally with_deleted(void)
{
    struct realtime_tally tally = begun(0);
    say(&tally, UPDATE);
    say(&tally, ITEM);
    say(&tally, CREATE);
    hear(&tally, CREATED);
    end(&tally, COMPLETED,
        (struct usage){.input_tokens = 900, .output_tokens = 100, .audio_output_tokens = 80});
    assert_int_equal(most(&tally, true).input_tokens, 1000);
    return tally;
}

static void test_what_was_deleted_is_not_read_again(void **state)
{
    struct realtime_tally tally = with_deleted();
    (void)state;
    say(&tally, "{\"type\":\"conversation.item.delete\",\"item_id\":\"a\"}");
    hear(&tally, DELETED);
    say(&tally, CREATE);
    assert_in_range(most(&tally, true).input_tokens, 1000, 1200); /* how much it was, nobody says */
    hear(&tally, CREATED);
    end(&tally, COMPLETED, (struct usage){.input_tokens = 90, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 100);
    assert_int_equal(most(&tally, true).audio_input_tokens, 0);
    hear(&tally, CREATED); /* by a voice; nothing is deleted any more */
    end(&tally, COMPLETED, (struct usage){.input_tokens = 50, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 100);
}

/* A response that may read less for other reasons is no measure. */
static void test_a_conversation_falls_by_what_is_certain_only(void **state)
{
    static const char *const doubtful[] = {
        UPDATE,
        CREATE_OF_OWN,
        "{\"type\":\"response.create\",\"response\":{\"instructions\":\"x\"}}",
        "{\"type\":\"response.create\",\"response\":{\"Tools\":[]}}",
        "{\"type\":\"response.create\",\"type\":\"response.create\"}",
        CREATE_TWICE,
        "{\"type\":\"response.create\",\"Response\":{\"instructions\":\"x\"}}",
        "{\"type\":\"session\\u002eupdate\",\"session\":{}}",
        "{\"type\":\"conversation.item.create\",\"Type\":\"session.update\"}",
        "{\"type\":\"transcription_session.update\"}",
        "{\"type\":\"something.new\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(doubtful) / sizeof(doubtful[0]); i++) {
        struct realtime_tally tally = with_deleted();
        hear(&tally, DELETED);
        say(&tally, doubtful[i]);
        hear(&tally, CREATED);
        end(&tally, COMPLETED, (struct usage){.input_tokens = 90, .output_tokens = 10});
        assert_in_range(most(&tally, true).input_tokens, 1000, 1200);
    }
    static const char *const ends[] = {
        DONE, "{\"type\":\"response.done\",\"response\":{\"status\":\"cancelled\"}}", DONE_ASIDE};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct realtime_tally tally = with_deleted();
        hear(&tally, DELETED);
        hear(&tally, CREATED);
        end(&tally, ends[i], (struct usage){.input_tokens = 90, .output_tokens = 10});
        assert_int_equal(most(&tally, true).input_tokens, 1000);
        hear(&tally, CREATED); /* the next one is */
        end(&tally, COMPLETED, (struct usage){.input_tokens = 90, .output_tokens = 10});
        assert_int_equal(most(&tally, true).input_tokens, 100);
    }
}

static void test_what_had_begun_before_it_was_deleted_is_no_measure(void **state)
{
    struct realtime_tally tally = with_deleted();
    (void)state;
    hear(&tally, CREATED);
    hear(&tally, DELETED);
    end(&tally, COMPLETED, (struct usage){.input_tokens = 90, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 1000);
    hear(&tally, CREATED);
    hear(&tally, CREATED); /* of two, nobody knows which */
    end(&tally, COMPLETED, (struct usage){.input_tokens = 80, .output_tokens = 10});
    end(&tally, COMPLETED, (struct usage){.input_tokens = 80, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 1000);
    hear(&tally, CREATED);
    end(&tally, COMPLETED, (struct usage){.input_tokens = 95, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 105);
}

static void test_a_message_that_is_too_long_is_one(void **state)
{
    struct realtime_tally tally = begun(0);
    (void)state;
    realtime_tally_unread(&tally, 10, false);
    realtime_tally_unread(&tally, 10, true);
    realtime_tally_unread(&tally, 10, true);
    hear(&tally, CREATED);
    end(&tally, DONE, (struct usage){.input_tokens = 60, .output_tokens = 40});
    assert_int_equal(most(&tally, true).input_tokens, 130); /* it may not have read that */
    hear(&tally, CREATED);
    end(&tally, DONE, (struct usage){.input_tokens = 90, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 100);
}

static void test_of_two_at_once_one_may_not_have_read_it(void **state)
{
    struct realtime_tally tally = begun(0);
    (void)state;
    hear(&tally, CREATED);
    say(&tally, "1234567890");
    say(&tally, CREATE_OF_OWN);
    hear(&tally, CREATED);
    end(&tally, DONE, (struct usage){.input_tokens = 12, .output_tokens = 3});
    end(&tally, DONE, (struct usage){.input_tokens = 40, .output_tokens = 10});
    assert_int_equal(most(&tally, true).input_tokens, 50 + 10 + strlen(CREATE_OF_OWN));
}

static void test_what_only_stops_a_response_is_not_read(void **state)
{
    struct realtime_tally tally = begun(0);
    (void)state;
    say(&tally, "{\"type\":\"response.cancel\",\"response_id\":\"resp_1\"}");
    assert_int_equal(tally.said_bytes, 0);
    static const char *const doubtful[] = {
        "{\"type\":\"response.cancel\",\"type\":\"response.cancel\"}",
        "{\"type\":\"response.cancel\",\"Type\":\"conversation.item.create\",\"item\":{}}",
    };
    for (size_t i = 0; i < sizeof(doubtful) / sizeof(doubtful[0]); i++) {
        int64_t before = tally.said_bytes;
        say(&tally, doubtful[i]);
        assert_int_equal(tally.said_bytes - before, strlen(doubtful[i]));
    }
    char message[600];
    snprintf(message, sizeof(message), "{\"type\":\"response.cancel\",\"event_id\":\"%0500d\"}", 0);
    int64_t before = tally.said_bytes;
    say(&tally, message);
    assert_int_equal(tally.said_bytes - before, strlen(message));
}

/* A provider that never says that one has ended. */
static void test_any_number_may_be_open(void **state)
{
    struct realtime_tally tally = begun(1000);
    (void)state;
    end(&tally, DONE, (struct usage){.input_tokens = 60, .output_tokens = 40});
    tally.open = 3000000000U;
    assert_int_equal(most(&tally, false).input_tokens, 100 * 3000000000LL);
    assert_int_equal(most(&tally, true).input_tokens, 100 * 3000000001LL);
    tally.context = tally.context_most = INT64_MAX / 1024;
    assert_int_equal(most(&tally, true).input_tokens, INT64_MAX / 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_are_as_many_tokens_as_bytes_at_most),
        cmocka_unit_test(test_a_response_reads_what_was_said_before_it),
        cmocka_unit_test(test_what_is_made_aside_is_not_of_the_conversation),
        cmocka_unit_test(test_two_at_once_are_both_counted),
        cmocka_unit_test(test_sound_is_few_tokens_for_its_length),
        cmocka_unit_test(test_what_may_be_read_as_words_is_no_sound),
        cmocka_unit_test(test_an_input_of_its_own_leaves_the_conversation_to_be_read),
        cmocka_unit_test(test_a_conversation_is_taken_for_as_long_as_it_was),
        cmocka_unit_test(test_a_conversation_may_grow_by_less_than_was_written),
        cmocka_unit_test(test_what_was_deleted_is_not_read_again),
        cmocka_unit_test(test_a_conversation_falls_by_what_is_certain_only),
        cmocka_unit_test(test_what_had_begun_before_it_was_deleted_is_no_measure),
        cmocka_unit_test(test_a_message_that_is_too_long_is_one),
        cmocka_unit_test(test_of_two_at_once_one_may_not_have_read_it),
        cmocka_unit_test(test_what_only_stops_a_response_is_not_read),
        cmocka_unit_test(test_any_number_may_be_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
