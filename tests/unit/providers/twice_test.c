/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member that stands twice in its object is no reason to write beyond what the first was made
 * for. Each piece of the arena is a block of its own here, so that a sanitizer sees it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/scan.h"
#include "providers/provider.h"
#include "providers/translator.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { ITEMS = 21 }; /* more than a growing list begins with, and no round number */

static struct arena arena;
static struct buffer body, written;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 8);
    buffer_init(&body, 1 << 24);
    buffer_init(&written, 1 << 24);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    buffer_done(&body);
    buffer_done(&written);
    return 0;
}

/* Where a list may stand in a call: around it, its name, and one item of it. */
struct listed {
    const char *words, *before, *name, *item, *after;
};

#define OPENAI_TEXT "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define OPENAI_TOOL "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"
#define OPENAI_CALL \
    "{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}"
#define TURN  "{\"role\":\"user\",\"content\":\"x\"}"
#define BLOCK "{\"type\":\"text\",\"text\":\"x\"}"
#define CITATION \
    "{\"type\":\"web_search_result_location\",\"url\":\"u\",\"title\":\"t\",\"cited_text\":\"q\"}"
#define ANNOTATION \
    "{\"type\":\"url_citation\",\"url\":\"u\",\"title\":\"t\",\"start_index\":0,\"end_index\":1}"
#define CHAT_CITATION "{\"type\":\"url_citation\",\"url_citation\":{\"url\":\"u\",\"title\":\"t\"}}"
#define GEMINI_TURN   "{\"role\":\"user\",\"parts\":[{\"text\":\"x\"}]}"
#define AWS_TURN      "{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}"
#define AWS_SOURCE    "{\"title\":\"t\",\"sourceContent\":[{\"text\":\"q\"}]}"

/* clang-format off */
static const struct listed lists[] = {
    {"openai-chat", "{\"model\":\"m\",", "messages", TURN, "}"},
    {"openai-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "tools", OPENAI_TOOL, "}"},
    {"openai-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "functions", "{\"name\":\"f\"}", "}"},
    {"openai-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "stop", "\"s\"", "}"},
    {"openai-chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",", "content", BLOCK, "}]}"},
    {"openai-chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",", "tool_calls", OPENAI_CALL, "}]}"},
    {"openai-chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",", "annotations", CHAT_CITATION, "}]}"},
    {"mistral-chat", "{\"model\":\"m\",", "messages", TURN, "}"},
    {"mistral-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "tools", OPENAI_TOOL, "}"},
    {"mistral-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "stop", "\"s\"", "}"},
    {"openai-completion", "{\"model\":\"m\",", "prompt", "\"x\"", "}"},
    {"openai-completion", "{\"model\":\"m\",\"prompt\":\"x\",", "stop", "\"s\"", "}"},
    {"openai-responses", "{\"model\":\"m\",", "input", TURN, "}"},
    {"openai-responses", "{\"model\":\"m\",\"input\":\"x\",", "instructions", TURN, "}"},
    {"openai-responses", "{\"model\":\"m\",\"input\":\"x\",", "tools", "{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}", "}"},
    {"openai-responses", "{\"model\":\"m\",\"input\":[{\"role\":\"user\",", "content", "{\"type\":\"input_text\",\"text\":\"x\"}", "}]}"},
    {"openai-responses", "{\"model\":\"m\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\",", "output", "{\"type\":\"input_text\",\"text\":\"x\"}", "}]}"},
    {"openai-responses", "{\"model\":\"m\",\"input\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"x\",", "annotations", ANNOTATION, "}]}]}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9,", "messages", TURN, "}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9," OPENAI_TEXT ",", "system", BLOCK, "}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9," OPENAI_TEXT ",", "tools", "{\"name\":\"f\",\"input_schema\":{}}", "}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9," OPENAI_TEXT ",", "stop_sequences", "\"s\"", "}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",", "content", BLOCK, "}]}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\",", "citations", CITATION, "}]}]}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c\",", "content", BLOCK, "}]}]}"},
    {"anthropic-count", "{\"model\":\"m\",", "messages", TURN, "}"},
    {"gemini", "{", "contents", GEMINI_TURN, "}"},
    {"gemini", "{\"contents\":[" GEMINI_TURN "],", "tools", "{\"functionDeclarations\":[{\"name\":\"f\"},{\"name\":\"g\"}]}", "}"},
    {"gemini", "{\"contents\":[" GEMINI_TURN "],\"tools\":[{", "functionDeclarations", "{\"name\":\"f\"}", "}]}"},
    {"gemini", "{\"contents\":[" GEMINI_TURN "],\"generationConfig\":{", "stopSequences", "\"s\"", "}}"},
    {"gemini", "{\"contents\":[{\"role\":\"user\",", "parts", "{\"text\":\"x\"}", "}]}"},
    {"gemini", "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"name\":\"f\",\"response\":{},", "parts", "{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AAAA\"}}", "}}]}]}"},
    {"gemini-count", "{", "contents", GEMINI_TURN, "}"},
    {"ollama-chat", "{\"model\":\"m\",", "messages", TURN, "}"},
    {"ollama-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "tools", OPENAI_TOOL, "}"},
    {"ollama-chat", "{\"model\":\"m\"," OPENAI_TEXT ",\"options\":{", "stop", "\"s\"", "}}"},
    {"ollama-chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\",", "images", "\"AAAA\"", "}]}"},
    {"ollama-chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",", "tool_calls", "{\"function\":{\"name\":\"f\",\"arguments\":{}}}", "}]}"},
    {"ollama-generate", "{\"model\":\"m\",\"prompt\":\"x\",", "images", "\"AAAA\"", "}"},
    {"bedrock-converse", "{", "messages", AWS_TURN, "}"},
    {"bedrock-converse", "{\"messages\":[" AWS_TURN "],", "system", "{\"text\":\"x\"}", "}"},
    {"bedrock-converse", "{\"messages\":[" AWS_TURN "],\"inferenceConfig\":{", "stopSequences", "\"s\"", "}}"},
    {"bedrock-converse", "{\"messages\":[" AWS_TURN "],\"toolConfig\":{", "tools", "{\"toolSpec\":{\"name\":\"f\",\"inputSchema\":{\"json\":{}}}}", "}}"},
    {"bedrock-converse", "{\"messages\":[{\"role\":\"user\",", "content", "{\"text\":\"x\"}", "}]}"},
    {"bedrock-converse", "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"citationsContent\":{\"content\":[{\"text\":\"x\"}],", "citations", AWS_SOURCE, "}}]}]}"},
    {"cohere-chat", "{\"model\":\"m\",", "messages", TURN, "}"},
    {"cohere-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "tools", OPENAI_TOOL, "}"},
    {"cohere-chat", "{\"model\":\"m\"," OPENAI_TEXT ",", "stop_sequences", "\"s\"", "}"},
    {"cohere-chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",", "content", BLOCK, "}]}"},
    {"cohere-chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",", "tool_calls", OPENAI_CALL, "}]}"},
};
/* clang-format on */

static const struct translator *translator_named(const char *name)
{
    const struct translator *one;
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        if (text_equal(one->name, text_of(name)))
            return one;
    fail_msg("%s is no translator", name);
    return NULL;
}

static void put_list(const struct listed *list, size_t items)
{
    put_literal(&body, "\"");
    put_literal(&body, list->name);
    put_literal(&body, "\":[");
    for (size_t i = 0; i < items; i++) {
        put_literal(&body, i ? "," : "");
        put_literal(&body, list->item);
    }
    put_literal(&body, "]");
}

/* One after the other in the same object. */
static const struct chat *read_twice(const struct listed *list, size_t first, size_t second)
{
    const struct translator *words = translator_named(list->words);
    struct fault fault = {.kind = FAULT_NONE};
    buffer_clear(&body);
    put_literal(&body, list->before);
    put_list(list, first);
    put_literal(&body, ",");
    put_list(list, second);
    put_literal(&body, list->after);
    struct text call = buffer_text(&body);
    assert_true(scan_is_valid(call));
    const struct chat *chat = translate_read(&arena, words, call, TEXT("m"), false, &fault);
    if (!chat)
        fail_msg("%s: %s of %zu and %zu: %s", list->words, list->name, first, second, fault.text);
    return chat;
}

static void write_for_all(const struct chat *chat)
{
    const struct translator *to;
    for (size_t i = 0; (to = translator_at(i)) != NULL; i++) {
        struct call_target target = {.type = provider_type_find(TEXT("openai")),
                                     .model = TEXT("m")};
        struct translated_call made;
        if (to->operation != OPERATION_CHAT)
            continue;
        translate_write(&arena, chat, to, &target, &written, &made);
        if (!scan_is_valid(buffer_text(&written)))
            fail_msg("%.*s in %.*s is no JSON: %.*s", TEXT_ARGS(buffer_text(&body)),
                     TEXT_ARGS(to->name), TEXT_ARGS(buffer_text(&written)));
    }
}

static void test_a_list_that_stands_twice_is_read_and_written(void **state)
{
    static const size_t counts[][2] = {{1, ITEMS}, {ITEMS, 1}, {8, 8}, {2, ITEMS}, {ITEMS, ITEMS}};
    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (size_t j = 0; j < sizeof(counts) / sizeof(counts[0]); j++)
            write_for_all(read_twice(&lists[i], counts[j][0], counts[j][1]));
}

/* Nothing of the first is left over, not even room. */
static void test_of_stop_sequences_that_stand_twice_the_last_ones_count(void **state)
{
    (void)state;
    size_t looked = 0;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (!text_starts(text_of(lists[i].name), TEXT("stop")))
            continue;
        const struct chat *chat = read_twice(&lists[i], ITEMS, 3);
        assert_int_equal(chat->stop_count, 3);
        for (size_t s = 0; s < 3; s++)
            assert_true(inner_is(chat->stops[s], "s"));
        looked++;
    }
    assert_int_equal(looked, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_list_that_stands_twice_is_read_and_written, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_of_stop_sequences_that_stand_twice_the_last_ones_count,
                                        begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
