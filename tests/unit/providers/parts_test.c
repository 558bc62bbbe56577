/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part takes some 250 bytes here and may take six in a body: each reader counts them over the
 * whole call, and refuses one that has too many before it has made room for all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "providers/translator.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct arena arena;
static struct buffer body;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    buffer_init(&body, 1 << 26);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    buffer_done(&body);
    return 0;
}

/* A message as <before>, parts, <after>; a part of it. */
struct message_words {
    const char *words, *call, *before, *part, *after, *call_end;
};

/* clang-format off */
static const struct message_words dialects[] = {
    {"openai-chat", "{\"model\":\"m\",\"messages\":[", "{\"role\":\"user\",\"content\":[", "{\"type\":\"text\",\"text\":\"\"}", "]}", "]}"},
    {"openai-chat", "{\"model\":\"m\",\"messages\":[", "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":[", "{\"type\":\"text\",\"text\":\"\"}", "]}", "]}"},
    {"mistral-chat", "{\"model\":\"m\",\"messages\":[", "{\"role\":\"user\",\"content\":[", "{\"type\":\"text\",\"text\":\"\"}", "]}", "]}"},
    {"openai-responses", "{\"model\":\"m\",\"input\":[", "{\"role\":\"user\",\"content\":[", "{\"type\":\"input_text\",\"text\":\"\"}", "]}", "]}"},
    {"openai-responses", "{\"model\":\"m\",\"input\":[", "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":[", "{\"type\":\"input_text\",\"text\":\"\"}", "]}", "]}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[", "{\"role\":\"user\",\"content\":[", "{\"type\":\"text\",\"text\":\"\"}", "]}", "]}"},
    {"anthropic", "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[", "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c\",\"content\":[", "{\"type\":\"text\",\"text\":\"\"}", "]}]}", "]}"},
    {"gemini", "{\"contents\":[", "{\"parts\":[", "{\"text\":\"\"}", "]}", "]}"},
    {"gemini", "{\"contents\":[", "{\"parts\":[{\"functionResponse\":{\"name\":\"f\",\"parts\":[", "{\"inlineData\":{\"data\":\"\"}}", "]}}]}", "]}"},
    {"ollama-chat", "{\"model\":\"m\",\"messages\":[", "{\"role\":\"user\",\"content\":\"x\",\"images\":[", "\"\"", "]}", "]}"},
    {"bedrock-converse", "{\"messages\":[", "{\"role\":\"user\",\"content\":[", "{\"text\":\"\"}", "]}", "]}"},
    {"bedrock-converse", "{\"messages\":[{\"role\":\"user\",\"content\":[", "{\"toolResult\":{\"toolUseId\":\"c\",\"content\":[", "{\"text\":\"\"}", "]}}", "]}]}"},
    {"cohere-chat", "{\"model\":\"m\",\"messages\":[", "{\"role\":\"user\",\"content\":[", "{\"type\":\"text\",\"text\":\"\"}", "]}", "]}"},
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

static bool reads(const struct message_words *d, size_t messages, size_t parts)
{
    const struct translator *words = translator_named(d->words);
    struct fault fault = {.kind = FAULT_NONE};
    buffer_clear(&body);
    put_literal(&body, d->call);
    for (size_t m = 0; m < messages; m++) {
        put_literal(&body, m ? "," : "");
        put_literal(&body, d->before);
        for (size_t p = 0; p < parts; p++) {
            put_literal(&body, p ? "," : "");
            put_literal(&body, d->part);
        }
        put_literal(&body, d->after);
    }
    put_literal(&body, d->call_end);
    const struct chat *chat =
        translate_read(&arena, words, buffer_text(&body), TEXT("m"), false, &fault);
    assert_true(chat || (fault.kind == FAULT_BAD_REQUEST && fault.param));
    arena_reset(&arena);
    return chat != NULL;
}

static void test_a_call_has_no_more_parts_than_it_may(void **state)
{
    enum { PARTS = 4000, FULL = CHAT_PARTS_IN_ALL / PARTS };
    (void)state;
    for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
        if (!reads(&dialects[i], FULL - 1, PARTS))
            fail_msg("%s (%zu) is refused with fewer", dialects[i].words, i);
        if (reads(&dialects[i], FULL + 1, PARTS))
            fail_msg("%s (%zu) is read with more", dialects[i].words, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_call_has_no_more_parts_than_it_may, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
