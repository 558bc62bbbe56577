/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "providers/openai_chat.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct answer_way way;
static struct answer seen;
static struct buffer out;

static int begin(void **state)
{
    (void)state;
    way = (struct answer_way){.from = &translator_openai_chat,
                              .to = &translator_openai_chat,
                              .id = TEXT("0a"),
                              .model = TEXT("asked"),
                              .now_s = 7,
                              .stream_in = true,
                              .stream_out = true};
    buffer_init(&out, 1 << 20);
    return 0;
}

static int end(void **state)
{
    (void)state;
    buffer_done(&out);
    return 0;
}

static void assert_text(struct text is, const char *wanted)
{
    char copy[8192];
    assert_true(is.len < sizeof(copy));
    memcpy(copy, is.len ? is.at : "", is.len);
    copy[is.len] = '\0';
    assert_string_equal(copy, wanted);
}

/* Feed <from> in pieces of <each> bytes; what comes of it is in <out>. */
static enum translation_state feed(const char *from, size_t each, struct fault *fault)
{
    struct text rest = text_of(from);
    buffer_clear(&out);
    seen = (struct answer){.operation = OPERATION_CHAT};
    struct translation *t = translation_new(&way, &seen);
    enum translation_state state = TRANSLATION_GOES;
    while (rest.len && state == TRANSLATION_GOES) {
        state = translation_feed(t, text_head(rest, each), &out);
        rest = text_from(rest, each);
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(t, &out);
    if (fault)
        *fault = *translation_fault(t);
    translation_free(t);
    return state;
}

static bool out_has(const char *words)
{
    return text_find(buffer_text(&out), text_of(words)) != SIZE_MAX;
}

static void assert_made(const char *from, const char *wanted)
{
    static const size_t sizes[] = {SIZE_MAX / 2, 1, 7};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(feed(from, sizes[i], NULL), TRANSLATION_ENDED);
        assert_text(buffer_text(&out), wanted);
    }
}

static void assert_failed(const char *from, enum fault_kind kind, const char *words)
{
    struct fault fault;
    assert_int_equal(feed(from, 3, &fault), TRANSLATION_FAILED);
    assert_int_equal(fault.kind, kind);
    if (words)
        assert_string_equal(fault.text, words);
}

#define EVENT(json) "data: " json "\n\n"
#define DONE        "data: [DONE]\n\n"
#define HEAD        "\"id\":\"i\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"v\""
/* What is written. */
#define CHUNK(delta)                                                                     \
    EVENT("{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{" delta "},\"logprobs\":null," \
          "\"finish_reason\":null}]}")
#define FINISH(word)                                                            \
    EVENT("{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null," \
          "\"finish_reason\":\"" word "\"}]}")
#define ROLE "\"role\":\"assistant\""
/* What comes in, as little of it as there can be. */
#define DELTA(delta) EVENT("{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{" delta "}}]}")
#define LAST(delta, word) \
    EVENT("{" HEAD ",\"choices\":[{\"delta\":{" delta "},\"finish_reason\":\"" word "\"}]}")
#define CALLS(calls)              "\"tool_calls\":[" calls "]"
#define FUNCTION(name, arguments) "\"function\":{\"name\":\"" name "\",\"arguments\":" arguments "}"
/* A call as it begins, and more of its arguments. */
#define BEGINS(index, id, name)               \
    CALLS("{\"index\":" index ",\"id\":\"" id \
          "\",\"type\":\"function\"," FUNCTION(name, "\"\"") "}")
#define GOES_ON(index, arguments) \
    CALLS("{\"index\":" index ",\"function\":{\"arguments\":\"" arguments "\"}}")

static void a_stream_stays_a_stream(void **state)
{
    (void)state;
    assert_made(
        ": PROCESSING\n\n" DELTA(ROLE ",\"content\":\"\"") DELTA("\"content\":\"a\\n\\u00e9\"")
            DELTA(BEGINS("0", "c", "f")) DELTA(GOES_ON("0", "{\\\"x\\\":"))
                DELTA(GOES_ON("0", "1}")) LAST("", "tool_calls") DONE,
        CHUNK(ROLE ",\"content\":\"a\\n\\u00e9\"") CHUNK(BEGINS("0", "c", "f"))
            CHUNK(GOES_ON("0", "{\\\"x\\\":")) CHUNK(GOES_ON("0", "1}")) FINISH("tool_calls") DONE);
    assert_string_equal(seen.finish, "tool_calls");
    assert_true(seen.ended);
}

static void lines_may_end_in_crlf_and_done_may_be_missing(void **state)
{
    (void)state;
    assert_made("data: {" HEAD ",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n"
                "data:{" HEAD ",\"choices\":[{\"delta\":{},\"finish_reason\":\"eos\"}]}",
                CHUNK(ROLE ",\"content\":\"a\"") FINISH("stop") DONE);
}

static void a_stream_without_a_finish_is_cut(void **state)
{
    (void)state;
    assert_failed(DELTA("\"content\":\"a\""), FAULT_TARGET_CUT, NULL);
    assert_failed(DONE, FAULT_TARGET_INVALID, "The target's answer is empty.");
}

static void usage_is_written_for_those_who_ask(void **state)
{
    (void)state;
    static const char from[] = DELTA("\"content\":\"a\"") LAST("", "stop")
        EVENT("{" HEAD ",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5,"
              "\"total_tokens\":14,\"prompt_tokens_details\":{\"cached_tokens\":4},"
              "\"completion_tokens_details\":{\"reasoning_tokens\":3}}}") DONE;
    assert_made(from, CHUNK(ROLE ",\"content\":\"a\"") FINISH("stop") DONE);
    assert_int_equal(seen.usage.input_tokens, 9);
    assert_true(seen.usage_seen);
    way.wants_usage = true;
    assert_int_equal(feed(from, 1, NULL), TRANSLATION_ENDED);
    assert_true(out_has("\"finish_reason\":\"stop\"}],\"usage\":null}\n\ndata: {" HEAD
                        ",\"choices\":[],\"usage\":{\"prompt_tokens\":9,"
                        "\"completion_tokens\":5,\"total_tokens\":14,"
                        "\"prompt_tokens_details\":{\"cached_tokens\":4,"
                        "\"audio_tokens\":0},\"completion_tokens_details\":"
                        "{\"reasoning_tokens\":3,\"audio_tokens\":0}}}\n\n" DONE));
}

static void usage_is_found_wherever_it_stands(void **state)
{
    (void)state;
#define USED "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5}"
    static const char *const places[] = {
        EVENT("{" HEAD ",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],"
              "\"x_groq\":{" USED "}}"),
        EVENT("{" HEAD
              ",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"," USED
              "}]}"),
        EVENT("{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]," HEAD
              "," USED "}"),
    };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(feed(places[i], SIZE_MAX, NULL), TRANSLATION_ENDED);
        assert_int_equal(seen.usage.input_tokens, 9);
        assert_int_equal(seen.usage.output_tokens, 5);
    }
}

/* ------------------------------------------------------------------------------------- calls */

static void calls_are_told_apart_however_they_are_numbered(void **state)
{
    (void)state;
    static const char wanted[] =
        CHUNK(ROLE ",\"content\":null," BEGINS("0", "a", "f")) CHUNK(GOES_ON("0", "{}"))
            CHUNK(BEGINS("1", "b", "g")) CHUNK(GOES_ON("1", "{}")) FINISH("tool_calls") DONE;
    /* by index, with the id in each piece */
    assert_made(DELTA(CALLS("{\"index\":0,\"id\":\"a\"," FUNCTION("f", "\"\"") "}"))
                    DELTA(CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"arguments\":\"{}\"}}"))
                        DELTA(CALLS("{\"index\":1,\"id\":\"b\"," FUNCTION("g", "\"{}\"") "}"))
                            LAST("", "tool_calls"),
                wanted);
    /* whole, all with the same index; the finish says "stop" */
    assert_made(DELTA(CALLS("{\"index\":0,\"id\":\"a\"," FUNCTION("f", "\"{}\"") "}"))
                    DELTA(CALLS("{\"index\":0,\"id\":\"b\"," FUNCTION("g", "\"{}\"") "}"))
                        LAST("", "tool_calls"),
                wanted);
    /* without an index, in one piece, the arguments an object */
    assert_made(
        LAST(CALLS("{\"id\":\"a\"," FUNCTION("f", "{}") "},{\"id\":\"b\"," FUNCTION("g", "{}") "}"),
             "tool_calls"),
        wanted);
    /* a finish behind each of them */
    assert_made(LAST(CALLS("{\"index\":0,\"id\":\"a\"," FUNCTION("f", "\"{}\"") "}"), "tool_calls")
                    LAST(CALLS("{\"index\":1,\"id\":\"b\"," FUNCTION("g", "\"{}\"") "}"),
                         "tool_calls") DONE,
                wanted);
}

#define OF_CALL(more) DELTA(CALLS("{\"index\":0," more "}"))

static void a_call_begins_when_its_head_is_known(void **state)
{
    (void)state;
    static const char wanted[] = CHUNK(ROLE ",\"content\":null," BEGINS("0", "a", "get_f"))
        CHUNK(GOES_ON("0", "{}")) FINISH("tool_calls") DONE;
    static const char *const heads[] = {
        /* the name in pieces, and said again */
        (OF_CALL("\"id\":\"a\"," FUNCTION("get_", "\"\"")) OF_CALL(FUNCTION("f", "\"\""))
             OF_CALL(FUNCTION("get_f", "\"{}\""))),
        /* the id behind the name, the name without arguments */
        (OF_CALL("\"function\":{\"name\":\"get_f\"}")
             OF_CALL("\"id\":\"a\",\"function\":{\"arguments\":\"{}\"}")),
        /* arguments before the name */
        (OF_CALL("\"id\":\"a\",\"function\":{\"arguments\":\"{}\"}")
             OF_CALL(FUNCTION("get_f", "\"\""))),
    };
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        char from[2048];
        snprintf(from, sizeof(from), "%s%s", heads[i], LAST("", "tool_calls"));
        assert_made(from, wanted);
    }
    /* what comes behind it ends its head */
    assert_made(OF_CALL("\"id\":\"a\"," FUNCTION("f", "\"\"")) DELTA("\"content\":\"x\"")
                    LAST("", "tool_calls"),
                CHUNK(ROLE ",\"content\":null," BEGINS("0", "a", "f")) CHUNK("\"content\":\"x\"")
                    CHUNK(GOES_ON("0", "{}")) FINISH("tool_calls") DONE);
}

static void arguments_do_not_wait_for_a_name_for_ever(void **state)
{
    (void)state;
    char from[65536], *at = from;
    at += sprintf(at, OF_CALL("\"id\":\"a\",\"function\":{\"arguments\":\"[\"}"));
    for (size_t i = 0; i < 300; i++)
        at += sprintf(at, OF_CALL("\"function\":{\"arguments\":\"1111,\"}"));
    sprintf(at, OF_CALL("\"function\":{\"arguments\":\"1]\"}") LAST("", "tool_calls"));
    assert_int_equal(feed(from, SIZE_MAX, NULL), TRANSLATION_ENDED);
    assert_true(out_has(BEGINS("0", "a", "")) && out_has(GOES_ON("0", "1111,")));
    assert_true(out_has(GOES_ON("0", "1]")));
}

static void a_call_without_an_id_gets_one(void **state)
{
    (void)state;
    assert_made(LAST(CALLS("{" FUNCTION("f", "\"{}\"") "}"), "stop"),
                CHUNK(ROLE ",\"content\":null," BEGINS("0", "call_0a_0", "f"))
                    CHUNK(GOES_ON("0", "{}")) FINISH("stop") DONE);
}

static void whoever_knows_only_functions_gets_one(void **state)
{
    (void)state;
    way.call = TEXT("{\"functions\":[]}");
    assert_made(
        LAST(CALLS("{\"id\":\"a\"," FUNCTION("f", "\"{}\"") "}"), "tool_calls"),
        CHUNK(ROLE ",\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}")
            CHUNK("\"function_call\":{\"arguments\":\"{}\"}") FINISH("function_call") DONE);
}

/* --------------------------------------------------------------------------------- reasoning */

#define DETAIL(more) "\"reasoning_details\":[{\"type\":\"reasoning.text\"," more "}]"

static void reasoning_is_read_by_all_its_names(void **state)
{
    (void)state;
    static const char wanted[] = CHUNK(ROLE ",\"content\":null,\"reasoning_content\":\"r\"," DETAIL(
        "\"text\":\"r\",\"format\":\"unknown\",\"index\":0")) CHUNK("\"content\":\"a\"")
        FINISH("stop") DONE;
    static const char *const names[] = {
        "\"reasoning\":\"r\"",
        "\"reasoning_content\":\"r\",\"reasoning\":\"r\"",
        "\"content\":\"\",\"reasoning\":\"r\"," DETAIL("\"text\":\"r\",\"index\":0"),
        "\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"r\"}]}]",
        ("\"content\":[{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\","
         "\"text\":\"r\"}]}]"),
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char from[1024];
        snprintf(from, sizeof(from), DELTA("%s") LAST("\"content\":\"a\"", "stop"), names[i]);
        assert_made(from, wanted);
    }
}

static void signatures_stay_with_what_they_sign(void **state)
{
    (void)state;
    assert_made(DELTA("\"reasoning\":\"r\"," DETAIL("\"text\":\"r\",\"index\":0"))
                    DELTA(DETAIL("\"signature\":\"S\",\"index\":0")) DELTA(
                        "\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"D\","
                        "\"index\":1}]") LAST("", "stop"),
                CHUNK(ROLE ",\"content\":null,\"reasoning_content\":\"r\"," DETAIL(
                    "\"text\":\"r\",\"format\":\"unknown\",\"index\":0"))
                    CHUNK(DETAIL("\"format\":\"unknown\",\"signature\":\"S\",\"index\":0")) CHUNK(
                        "\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"D\","
                        "\"format\":\"unknown\",\"index\":1}]") FINISH("stop") DONE);
}

/* --------------------------------------------------------------------------- what goes wrong */

static void an_error_inside_of_a_stream_is_a_failure(void **state)
{
    (void)state;
    assert_failed(DELTA("\"content\":\"a\"")
                      EVENT("{\"error\":{\"code\":429,\"message\":\"slow\"}}"),
                  FAULT_TARGET_BUSY, "slow");
    assert_failed("event: error\n" EVENT("{\"error\":{\"type\":\"invalid_request_error\","
                                         "\"message\":\"no\"}}"),
                  FAULT_TARGET_REFUSED, "no");
    assert_failed(EVENT("{\"error\":\"broke\"}"), FAULT_TARGET_ERROR, "broke");
    assert_failed(EVENT("{\"choices\":null,\"base_resp\":{\"status_code\":1002,"
                        "\"status_msg\":\"limit\"}}"),
                  FAULT_TARGET_BUSY, "limit");
    assert_failed(EVENT("{\"id\":\"i\",\"choices\":[{\"delta\":{\"content\":\"a\\q\"}}]}"),
                  FAULT_TARGET_INVALID, NULL);
}

static void a_body_that_is_no_answer_is_a_failure(void **state)
{
    (void)state;
    way.stream_in = way.stream_out = false;
    assert_failed("<html>", FAULT_TARGET_INVALID, NULL);
    assert_failed("{\"id\":\"i\"}", FAULT_TARGET_INVALID, NULL);
    assert_failed("{\"error\":{\"message\":\"no\",\"code\":\"402\"}}", FAULT_TARGET_ERROR, "no");
}

/* ------------------------------------------------------------------------------------ bodies */

#define BODY                                                                                      \
    "{\"id\":\"i\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"v\",\"choices\":["    \
    "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"ab\",\"refusal\":null,"       \
    "\"annotations\":[{\"type\":\"url_citation\",\"url_citation\":{\"url\":\"u\",\"title\":"      \
    "\"t\",\"start_index\":0,\"end_index\":1}}]},\"logprobs\":{\"content\":[{\"token\":\"ab\","   \
    "\"logprob\":-1}],\"refusal\":null},\"finish_reason\":\"stop\"},"                             \
    "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\"},"      \
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,"              \
    "\"completion_tokens\":5,\"total_tokens\":14,\"prompt_tokens_details\":{\"cached_tokens\":0," \
    "\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,"                  \
    "\"audio_tokens\":0}},\"service_tier\":\"default\"}"

static void a_body_stays_a_body(void **state)
{
    (void)state;
    way.stream_in = way.stream_out = false;
    assert_made(BODY, BODY);
    assert_made("\n \n" BODY, BODY); /* some keep the connection awake in this way */
}

static void a_body_becomes_a_stream_and_a_body_again(void **state)
{
    (void)state;
    static char stream[8192];
    way.stream_in = false;
    way.wants_usage = true;
    assert_int_equal(feed(BODY, SIZE_MAX, NULL), TRANSLATION_ENDED);
    assert_true(buffer_length(&out) < sizeof(stream));
    memcpy(stream, out.data + out.begin, buffer_length(&out));
    stream[buffer_length(&out)] = '\0';
    way.stream_in = true;
    way.stream_out = false;
    assert_made(stream, BODY);
}

static void what_stands_on_several_lines_is_on_one_in_a_stream(void **state)
{
    (void)state;
    way.stream_in = false;
    assert_made(
        "{\"id\":\"i\",\"created\":1,\"model\":\"v\",\"service\":{\n\"a\":1\r\n},"
        "\"choices\":[{\"message\":{\"content\":\"a\"}}]}",
        EVENT("{" HEAD ",\"service\":{ \"a\":1  },\"choices\":[{\"index\":0,\"delta\":{" ROLE
              ",\"content\":\"a\"},\"logprobs\":null,\"finish_reason\":null}]}")
            EVENT("{" HEAD ",\"service\":{ \"a\":1  },\"choices\":[{\"index\":0,\"delta\":{},"
                  "\"logprobs\":null,\"finish_reason\":\"stop\"}]}") DONE);
}

static void a_server_may_say_json_as_it_is(void **state)
{
    (void)state;
    way.stream_in = false;
    assert_made("{\"id\":\"i\",\"created\":1,\"model\":\"v\",\"choices\":[{\"message\":"
                "{\"content\":{\"a\":\"b\"}}}]}",
                CHUNK(ROLE ",\"content\":\"{\\\"a\\\":\\\"b\\\"}\"") FINISH("stop") DONE);
}

static void sources_beside_the_answer_are_citations(void **state)
{
    (void)state;
    way.stream_in = way.stream_out = false;
    assert_int_equal(feed(EVENT("{\"id\":\"i\"}"), 1, NULL), TRANSLATION_FAILED);
    assert_int_equal(feed("{\"id\":\"i\",\"created\":1,\"model\":\"v\",\"citations\":[\"u\"],"
                          "\"search_results\":[{\"title\":\"t\",\"url\":\"u\",\"snippet\":\"s\"}],"
                          "\"choices\":[{\"message\":{\"content\":\"a[1]\"}}]}",
                          SIZE_MAX, NULL),
                     TRANSLATION_ENDED);
    assert_true(out_has("\"annotations\":[{\"type\":\"url_citation\",\"url_citation\":"
                        "{\"url\":\"u\",\"title\":\"t\",\"start_index\":0,"
                        "\"end_index\":0,\"content\":\"s\"}}]"));
}

static void an_answer_without_id_model_and_time_gets_them(void **state)
{
    (void)state;
    assert_made(
        EVENT("{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}"),
        EVENT("{\"id\":\"chatcmpl-0a\",\"object\":\"chat.completion.chunk\",\"created\":7,"
              "\"model\":\"asked\",\"choices\":[{\"index\":0,\"delta\":{" ROLE
              ",\"content\":\"a\"},\"logprobs\":null,\"finish_reason\":null}]}")
            EVENT("{\"id\":\"chatcmpl-0a\",\"object\":\"chat.completion.chunk\",\"created\":7,"
                  "\"model\":\"asked\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                  "\"finish_reason\":\"stop\"}]}") DONE);
}

/* ------------------------------------------------------------------------------- completions */

static void a_completion_gets_the_text(void **state)
{
    (void)state;
    way.to = &translator_openai_completion;
    static const char from[] = DELTA("\"content\":\"a\"") LAST("\"content\":\"b\"", "length");
#define PIECE(text, finish)                                                             \
    EVENT("{\"id\":\"i\",\"object\":\"text_completion\",\"created\":1,\"model\":\"v\"," \
          "\"choices\":[{\"index\":0,\"text\":\"" text                                  \
          "\",\"logprobs\":null,\"finish_reason\":" finish "}]}")
    assert_made(from, PIECE("a", "null") PIECE("b", "null") PIECE("", "\"length\"") DONE);
    way.stream_out = false;
    assert_made(from, "{\"id\":\"i\",\"object\":\"text_completion\",\"created\":1,\"model\":\"v\","
                      "\"choices\":[{\"index\":0,\"text\":\"ab\",\"logprobs\":null,"
                      "\"finish_reason\":\"length\"}]}");
}

static void characters_are_counted_as_clients_do(void **state)
{
    (void)state;
    assert_int_equal(openai_count_characters(TEXT("ab")), 2);
    assert_int_equal(openai_count_characters(TEXT("\xc3\xa9\\n\\u00e9")), 3);
    assert_int_equal(openai_count_characters(TEXT("\\ud83d\\ude00\xf0\x9f\x98\x80")), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stream_stays_a_stream),
        TEST(lines_may_end_in_crlf_and_done_may_be_missing),
        TEST(a_stream_without_a_finish_is_cut),
        TEST(usage_is_written_for_those_who_ask),
        TEST(usage_is_found_wherever_it_stands),
        TEST(calls_are_told_apart_however_they_are_numbered),
        TEST(a_call_begins_when_its_head_is_known),
        TEST(arguments_do_not_wait_for_a_name_for_ever),
        TEST(a_call_without_an_id_gets_one),
        TEST(whoever_knows_only_functions_gets_one),
        TEST(reasoning_is_read_by_all_its_names),
        TEST(signatures_stay_with_what_they_sign),
        TEST(an_error_inside_of_a_stream_is_a_failure),
        TEST(a_body_that_is_no_answer_is_a_failure),
        TEST(a_body_stays_a_body),
        TEST(a_body_becomes_a_stream_and_a_body_again),
        TEST(what_stands_on_several_lines_is_on_one_in_a_stream),
        TEST(a_server_may_say_json_as_it_is),
        TEST(sources_beside_the_answer_are_citations),
        TEST(an_answer_without_id_model_and_time_gets_them),
        TEST(a_completion_gets_the_text),
        TEST(characters_are_counted_as_clients_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
