/* SPDX-License-Identifier: Apache-2.0 */

/* What is read from bodies, bounds, and learning; how good it is: estimate_recorded_test.c. */

#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "policy/estimate.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { PICTURE = 48200, CONTEXT = 100000 };

/* What the scan has seen saves the look its way, and nothing else. */
static void assert_outline_changes_nothing(const char *body, const struct estimate_facts *without)
{
    struct scan_problem problem;
    struct scan_value value;
    struct scan_long longs[8];
    struct text want = TEXT("no such name");
    struct scan_outline outline = {.anywhere = TEXT("-"), .longs = longs, .room = 8};
    struct estimate_facts with = *without;
    if (body[0] != '{')
        return;
    assert_true(scan_request(text_of(body), &want, 1, &value, &problem, &outline));
    estimate_look(text_of(body), &outline, &with);
    assert_memory_equal(&with, without, sizeof(with));
}

static struct estimate_facts look(const char *body)
{
    struct scan_problem problem;
    struct estimate_facts facts = {
        .model = TEXT("fast"),
        .body_bytes = (int64_t)strlen(body),
        .context_tokens = CONTEXT,
        .choices = 1,
    };
    assert_true(scan_check(text_of(body), &problem));
    estimate_look(text_of(body), NULL, &facts);
    assert_outline_changes_nothing(body, &facts);
    assert_true(facts.media_bytes >= 0 && facts.media_bytes <= facts.body_bytes);
    return facts;
}

/* ------------------------------------------------------------------------------ what it says */

static void finds_pictures_in_every_dialect(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
        "{\"url\":\"data:image/png;base64,AAAAAAAAAA\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"image_url\":{\"detail\":\"high\",\"url\":"
        "\"data:image/png;base64,AAAAAAAAAA\"},\"type\":\"image_url\"}]}]}",
        "{\"input\":[{\"content\":[{\"type\":\"input_image\",\"image_url\":"
        "\"data:image/png;base64,AAAAAAAAAA\"}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\","
        "\"media_type\":\"image/png\",\"data\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}]}]}",
        "{\"contents\":[{\"parts\":[{\"inlineData\":{\"mimeType\":\"image/png\","
        "\"data\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}]}]}",
        "{\"contents\":[{\"parts\":[{\"inline_data\":{\"data\":"
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"mime_type\":\"image/png\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"\\u0074ype\":\"image\\u005furl\",\"image_\\u0075rl\":"
        "{\"url\":\"data:image/png;base64,AAAAAAAAAA\"}}]}]}",
        "{\"Messages\":[{\"Content\":[{\"Type\":\"image_url\",\"IMAGE_URL\":"
        "{\"Url\":\"data:image/png;base64,AAAAAAAAAA\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"image_url\",\"Type\":\"text\",\"image_url\":"
        "{\"url\":\"data:image/png;base64,AAAAAAAAAA\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"tool_result\",\"content\":[{\"type\":\"image\","
        "\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":"
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}]}]}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"images\":"
        "[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]}]}",
        "{\"prompt\":\"a\",\"images\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        struct estimate_facts facts = look(bodies[i]);
        assert_int_equal(facts.media_count, 1);
        assert_in_range(facts.media_bytes, 30, 40);
        assert_int_equal(facts.media_tokens, PICTURE);
        assert_false(facts.refers);
    }
}

static void a_tool_with_two_types_is_the_dearer_one(void **state)
{
    (void)state;
    assert_int_equal(look("{\"tools\":[{\"type\":\"web_search\",\"Type\":\"function\"}]}").rounds,
                     10);
    assert_int_equal(look("{\"tools\":[{\"type\":\"function\",\"Type\":\"web_search\"}]}").rounds,
                     10);
    assert_int_equal(look("{\"Tools\":[{\"type\":\"web_search\",\"max_u\xc5\xbf"
                          "es\":2}]}")
                         .rounds,
                     3);
    assert_int_equal(
        look("{\"tools\":[{\"type\":\"web_search\",\"max_u\\u017fes\":2,\"max_uses\":1}]}").rounds,
        3);
}

static void an_address_is_a_picture_without_bytes(void **state)
{
    (void)state;
    struct estimate_facts facts =
        look("{\"messages\":[{\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
             "\"https://example.com/a.png\"}},{\"type\":\"image\",\"source\":{\"type\":\"url\","
             "\"url\":\"https://example.com/b.png\"}}]}]}");
    assert_int_equal(facts.media_count, 2);
    assert_int_equal(facts.media_bytes, 0);
    assert_int_equal(facts.media_tokens, 2 * PICTURE);
}

/* What only looks like a picture is text to the model, and counts by its bytes. */
static void takes_nothing_else_for_a_picture(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"messages\":[{\"content\":\"data:image/png;base64,AAAA\"}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"text\",\"images\":[\"AAAA\"]}]}]}",
        "{\"messages\":[{\"tool_calls\":[{\"function\":{\"arguments\":{\"images\":[\"A\"]}}}]}]}",
        "{\"messages\":[],\"images\":[],\"x\":{\"images\":[\"AAAA\"]}}",
        "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"data:image/png;base64,AAAA\"}]}"
        "]}",
        "{\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"input\":{\"type\":\"image\","
        "\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"AAAA\"}}}]}]}",
        "{\"contents\":[{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"inlineData\":"
        "{\"mimeType\":\"image/png\",\"data\":\"AAAA\"}}}}]}]}",
        "{\"contents\":[{\"parts\":[{\"functionResponse\":{\"response\":{\"type\":\"image\","
        "\"image_url\":\"data:image/png;base64,AAAA\"}}}]}]}",
        "{\"messages\":[],\"tools\":[{\"type\":\"function\",\"function\":{\"parameters\":"
        "{\"properties\":{\"image_url\":{\"type\":\"image\",\"url\":\"data:image/png,AAAA\"}}}}}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"a\",\"data\":\"AAAA\","
        "\"media_type\":\"image/png\"}]}]}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        struct estimate_facts facts = look(bodies[i]);
        assert_int_equal(facts.media_count, 0);
        assert_int_equal(facts.media_bytes, 0);
    }
}

static void sound_costs_by_its_length(void **state)
{
    (void)state;
    struct estimate_facts facts =
        look("{\"messages\":[{\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":"
             "\"AAAAAAAAAAAAAAAA\",\"format\":\"wav\"}}]}]}");
    assert_int_equal(facts.media_count, 1);
    assert_int_equal(facts.media_bytes, 16);
    assert_int_equal(facts.media_tokens, 1024 + 2);
    facts = look("{\"contents\":[{\"parts\":[{\"inlineData\":{\"mimeType\":\"audio/mp3\","
                 "\"data\":\"AAAAAAAAAAAAAAAA\"}}]}]}");
    assert_int_equal(facts.media_tokens, 1024 + 2);
}

static void sees_pictures_among_what_is_embedded(void **state)
{
    (void)state;
    struct estimate_facts facts = look("{\"input\":[{\"image\":\"https://e/"
                                       "x\"},{\"text\":\"a\"},{\"image\":{\"url\":\"https://e/x\"}}"
                                       ",{\"image\":\"data:image/png;base64,AAAA\"}]}");
    assert_int_equal(facts.pictures, 3);
    facts = look("{\"documents\":[{\"image\":\"https://e/"
                 "x\"}],\"input\":[{\"arguments\":{\"image\":\"a\"}}]}");
    assert_int_equal(facts.pictures, 0);
}

static void says_what_is_elsewhere(void **state)
{
    (void)state;
    struct estimate_facts facts = look("{\"contents\":[{\"parts\":[{\"fileData\":{\"fileUri\":"
                                       "\"https://e/x\",\"mimeType\":\"image/png\"}}]}]}");
    assert_true(facts.refers && facts.pictures == 1 && facts.sounds == 0);
    facts = look("{\"contents\":[{\"parts\":[{\"file_data\":{\"mime_type\":\"audio/wav\","
                 "\"file_uri\":\"https://e/x\"}}]}]}");
    assert_true(facts.refers && facts.pictures == 0 && facts.sounds == 1);
}

static void knows_a_schema_of_ollamas(void **state)
{
    (void)state;
    assert_true(look("{\"prompt\":\"a\",\"format\":{\"type\":\"object\"}}").kind & ESTIMATE_SCHEMA);
    assert_false(look("{\"prompt\":\"a\",\"format\":\"json\"}").kind & ESTIMATE_SCHEMA);
    assert_false(look("{\"prompt\":\"a\",\"format\":null}").kind & ESTIMATE_SCHEMA);
}

static void knows_what_is_elsewhere(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"input\":\"a\",\"previous_response_id\":\"resp_1\"}",
        "{\"input\":\"a\",\"conversation\":{\"id\":\"conv_1\"}}",
        "{\"input\":\"a\",\"prompt\":{\"id\":\"pmpt_1\"}}",
        "{\"input\":[{\"content\":[{\"type\":\"input_file\",\"file_id\":\"file_1\"}]}]}",
        "{\"input\":[{\"content\":[{\"type\":\"input_file\",\"file_url\":\"https://e/x.pdf\"}]}]}",
        "{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"file\",\"file\":{\"filename\":\"x.pdf\","
        "\"file_data\":\"data:application/pdf;base64,AAAA\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"url\","
        "\"url\":\"https://e/x.pdf\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"base64\","
        "\"media_type\":\"application/pdf\",\"data\":\"AAAA\"}}]}]}",
        "{\"messages\":[{\"role\":\"assistant\",\"audio\":{\"id\":\"audio_1\"}}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"audio_url\",\"audio_url\":{\"url\":\"https://e/"
        "x\"}}]}"
        "]}",
        "{\"messages\":[{\"content\":[{\"type\":\"audio_url\",\"audio_url\":\"https://e/x\"}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":"
        "\"https://e/x\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":"
        "\"https\\u003a//e/x\"}}]}]}",
        "{\"contents\":[{\"parts\":[{\"fileData\":{\"fileUri\":\"https://e/x\"}}]}]}",
        "{\"contents\":[{\"parts\":[{\"inlineData\":{\"mimeType\":\"video/mp4\",\"data\":\"AA\"}}]}"
        "]}",
        "{\"contents\":[],\"cachedContent\":\"cachedContents/1\"}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
        if (!look(bodies[i]).refers)
            fail_msg("%s", bodies[i]);
    static const char *const here[] = {
        "{\"prompt\":\"a\",\"previous_response_id\":null}",
        "{\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"text\","
        "\"data\":"
        "\"all\",\"media_type\":\"text/plain\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"input\":{\"file_id\":\"x\"}}]}]}",
        "{\"messages\":[],\"modalities\":[\"audio\"],\"audio\":{\"voice\":\"alloy\"}}",
        "{\"messages\":[{\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":"
        "\"AA\\/A\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"audio_url\",\"audio_url\":{\"url\":"
        "\"data:audio/wav;base64,AAAA\"}}]}]}",
        "{\"messages\":[],\"tools\":[{\"name\":\"f\",\"input_examples\":[{\"audio_url\":\"https://"
        "x\"}]}]}",
        "{\"messages\":[],\"chat_template_kwargs\":{\"audio_url\":\"x\"}}",
    };
    for (size_t i = 0; i < sizeof(here) / sizeof(*here); i++)
        if (look(here[i]).refers)
            fail_msg("%s", here[i]);
}

static void counts_rounds_of_the_providers_own_tools(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int rounds;
        bool has_tools;
    } cases[] = {
        {"{\"messages\":[]}", 0, false},
        {"{\"messages\":[],\"tools\":[]}", 0, false},
        {"{\"messages\":[],\"tools\":[{\"type\":\"function\",\"function\":{}}]}", 0, true},
        {"{\"messages\":[],\"tools\":[{\"name\":\"f\",\"input_schema\":{}}]}", 0, true},
        {"{\"messages\":[],\"tools\":[{\"type\":\"custom\",\"name\":\"f\"}]}", 0, true},
        {"{\"messages\":[],\"tools\":[{\"type\":\"bash_20250124\",\"name\":\"b\"}]}", 0, true},
        {"{\"messages\":[],\"tools\":[{\"type\":\"web_search_20250305\"}]}", 10, true},
        {"{\"messages\":[],\"tools\":[{\"type\":\"web_search_20250305\",\"max_uses\":2}]}", 3,
         true},
        {"{\"messages\":[],\"tools\":[{\"type\":\"web_search_20250305\",\"max_uses\":2},"
         "{\"type\":\"code_execution_20250522\"}]}",
         10, true},
        {"{\"input\":\"a\",\"tools\":[{\"type\":\"web_search\"}],\"max_tool_calls\":1}", 2, true},
        {"{\"input\":\"a\",\"tools\":[{\"type\":\"mcp\",\"server_label\":\"x\"}]}", 10, true},
        {"{\"contents\":[],\"tools\":[{\"googleSearch\":{}}]}", 10, true},
        {"{\"contents\":[],\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\"}]}]}", 0, true},
        {"{\"messages\":[],\"web_search_options\":{}}", 10, true},
        {"{\"messages\":[],\"mcp_servers\":[{\"type\":\"url\",\"url\":\"https://e\"}]}", 10, true},
        {"{\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"input\":{\"googleSearch\":{}}}]}]}",
         0, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct estimate_facts facts = look(cases[i].body);
        if (facts.rounds != cases[i].rounds || facts.has_tools != cases[i].has_tools)
            fail_msg("%s: %d rounds", cases[i].body, (int)facts.rounds);
    }
    assert_int_equal(
        look("{\"messages\":[],\"tools\":[{\"type\":\"computer_20250124\"}]}").tool_tokens, 2048);
}

static void searches_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int searches;
    } cases[] = {
        {"{\"messages\":[],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"search\"}}]}",
         0},
        {"{\"messages\":[],\"tools\":[{\"type\":\"web_search_20250305\",\"max_uses\":2}]}", 2},
        {"{\"messages\":[],\"tools\":[{\"type\":\"web_\\u0073earch_20250305\"}]}", 10},
        {"{\"messages\":[],\"tools\":[{\"type\":\"code_execution_20250522\"}]}", 0},
        {"{\"messages\":[],\"tools\":[{\"type\":\"tool_search_tool_regex_20251119\"}]}", 0},
        {"{\"input\":\"a\",\"tools\":[{\"type\":\"web_search\"}],\"max_tool_calls\":3}", 3},
        {"{\"contents\":[],\"tools\":[{\"googleSearch\":{}},{\"codeExecution\":{}}]}", 10},
        {"{\"messages\":[],\"web_search_options\":{}}", 10},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (look(cases[i].body).searches != cases[i].searches)
            fail_msg("%s", cases[i].body);
    assert_int_equal(look("{\"messages\":[],\"inference_geo\":\"us\"}").surcharge_percent, 10);
    assert_int_equal(look("{\"messages\":[]}").surcharge_percent, 0);
}

static void counts_words_roughly(void **state)
{
    (void)state;
    struct estimate_facts few = look("{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    struct estimate_facts more =
        look("{\"messages\":[{\"role\":\"user\",\"content\":\"Hi there, what is the capital of the "
             "country that is west of France and north of Portugal?\\nAnd 1234567?\"}]}");
    assert_int_equal(few.about_tokens, 2);
    assert_in_range(more.about_tokens, 20, 30);
    assert_int_equal(few.messages, 1);
    assert_int_equal(few.about_described, 0);
    struct estimate_facts tools =
        look("{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"tools\":[{\"type\":"
             "\"function\",\"function\":{\"name\":\"f\"}}]}");
    assert_int_equal(tools.about_tokens, few.about_tokens);
    assert_in_range(tools.about_described, 10, 25);
    /* What is not read again costs nothing; what was thought and is read again does. */
    struct estimate_facts thought =
        look("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"thinking\",\"thinking\":"
             "\"a long way of thinking about it\",\"signature\":\"abcdefghijkl\"}]}]}");
    assert_true(thought.about_tokens <= few.about_tokens);
}

/* A body as deep as is let in. */
static void goes_as_deep_as_a_body_may(void **state)
{
    (void)state;
    char body[SCAN_DEPTH_MAX * 6 + 8];
    size_t len = 0;
    for (size_t i = 0; i + 1 < SCAN_DEPTH_MAX; i++)
        len += (size_t)snprintf(body + len, sizeof(body) - len, "{\"a\":");
    len += (size_t)snprintf(body + len, sizeof(body) - len, "[]");
    for (size_t i = 0; i + 1 < SCAN_DEPTH_MAX; i++)
        body[len++] = '}';
    body[len] = '\0';
    struct estimate_facts facts = look(body);
    assert_int_equal(facts.about_tokens, 1);
}

/* ---------------------------------------------------------------------------- what it is like */

static void sees_what_else_is_counted(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        unsigned kind;
        int messages, turns, tools;
    } cases[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", 0, 1, 0, 0},
        {"{\"messages\":[],\"response_format\":{\"type\":\"json_object\"}}", 0, 0, 0, 0},
        {"{\"messages\":[],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
         "{\"schema\":{\"type\":\"object\"}}}}",
         ESTIMATE_SCHEMA, 0, 0, 0},
        {"{\"contents\":[],\"generationConfig\":{\"responseSchema\":{\"type\":\"STRING\"}}}",
         ESTIMATE_SCHEMA, 0, 0, 0},
        {"{\"contents\":[],\"generationConfig\":{\"responseSchema\":null}}", 0, 0, 0, 0},
        {"{\"messages\":[],\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}}",
         ESTIMATE_THINKS, 0, 0, 0},
        {"{\"messages\":[],\"thinking\":{\"type\":\"adaptive\"}}", 0, 0, 0, 0},
        {"{\"messages\":[],\"tool_choice\":\"none\"}", ESTIMATE_TOOLS_OFF, 0, 0, 0},
        {"{\"messages\":[],\"tool_choice\":\"auto\"}", 0, 0, 0, 0},
        {"{\"messages\":[],\"tool_choice\":{\"type\":\"tool\",\"name\":\"none\"}}",
         ESTIMATE_TOOLS_FORCED, 0, 0, 0},
        {"{\"contents\":[],\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"ANY\"}}}",
         ESTIMATE_TOOLS_FORCED, 0, 0, 0},
        {"{\"messages\":[],\"tools\":[{\"type\":\"function\"},{\"name\":\"f\"}]}", 0, 0, 0, 2},
        {"{\"messages\":[],\"tools\":[{\"type\":\"bash_20250124\"}]}", ESTIMATE_TOOLS_DESCRIBED, 0,
         0, 1},
        {"{\"contents\":[],\"tools\":[{\"functionDeclarations\":[{\"name\":\"a\"},{\"name\":"
         "\"b\"}]}]}",
         0, 0, 0, 3},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"function\","
         "\"function\":{\"name\":\"f\"}}]},{\"role\":\"tool\",\"content\":\"b\"}]}",
         0, 2, 2, 0},
        {"{\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"input\":{\"type\":\"tool_use\"}}]},"
         "{\"content\":[{\"type\":\"tool_result\",\"content\":\"b\"}]}]}",
         0, 2, 2, 0},
        {"{\"contents\":[{\"parts\":[{\"functionCall\":{\"name\":\"f\"}}]}]}", 0, 1, 1, 0},
        {"{\"messages\":[{\"content\":[{\"type\":\"document\",\"citations\":{\"enabled\":true},"
         "\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"a\"}}]}]}",
         ESTIMATE_CITES, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct estimate_facts facts = look(cases[i].body);
        if (facts.kind != cases[i].kind || facts.messages != cases[i].messages ||
            facts.turns != cases[i].turns || facts.tools != cases[i].tools)
            fail_msg("%s: kind %u, %d messages, %d turns, %d tools", cases[i].body, facts.kind,
                     (int)facts.messages, (int)facts.turns, (int)facts.tools);
    }
}

static void knows_a_conversation_again(void **state)
{
    (void)state;
#define HELLO \
    "{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\"Hi\"}"
    struct estimate_facts first = look("{\"messages\":[" HELLO "]}");
    struct estimate_facts next = look("{\"max_tokens\":7,\"messages\":[" HELLO
                                      ",{\"role\":\"assistant\",\"content\":\"Hi\"}]}");
    struct estimate_facts other =
        look("{\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\","
             "\"content\":\"Ho\"}]}");
    struct estimate_facts tools =
        look("{\"messages\":[" HELLO "],\"tools\":[{\"type\":\"function\"}]}");
#undef HELLO
    assert_true(first.thread == next.thread && first.shape == next.shape);
    assert_true(first.thread != other.thread && first.shape == other.shape);
    assert_true(first.thread != tools.thread && first.shape != tools.shape);
}

/* By the model's tokenizer, with what is put around messages; what is embedded has nothing. */
static void counts_exactly_for_who_asks(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    struct estimate_facts facts = {.model = TEXT("m"), .body_bytes = 1000, .choices = 1};
    struct text body = TEXT("{\"messages\":[{\"role\":\"user\",\"content\":\"hello\\nworld\"}]}");
    assert_int_equal(estimate_count(estimates, TEXT("gpt-4o"), body, &facts), 3 + 4 + 3);
    facts.unframed = true;
    assert_int_equal(estimate_count(estimates, TEXT("text-embedding-3-small"),
                                    TEXT("{\"input\":[\"hello world\",\"tiktoken\"]}"), &facts),
                     2 + 3);
    facts.unframed = false;
    assert_in_range(estimate_count(estimates, TEXT("claude"), body, &facts), 7, 13);
    estimates_free(estimates);
}

/* -------------------------------------------------------------------------------------- bounds */

static struct estimate made(struct estimates *estimates, const struct estimate_facts *facts)
{
    struct estimate estimate;
    estimate_make(estimates, facts, &estimate);
    assert_true(estimate.input_mean >= 0 && estimate.input_mean <= estimate.input_bound);
    assert_true(estimate.input_likely >= estimate.input_mean ||
                estimate.input_likely == estimate.input_bound);
    assert_true(estimate.output_mean >= 0 && estimate.output_mean <= estimate.output_likely);
    assert_true(estimate.output_likely <= estimate.output_bound);
    return estimate;
}

static void bounds_add_up(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    struct estimate_facts facts = {
        .model = TEXT("m"), .body_bytes = 5000, .context_tokens = 1000, .choices = 3};
    assert_int_equal(made(estimates, &facts).input_bound, 5512);
    facts.media_bytes = 4000, facts.media_tokens = 7;
    assert_int_equal(made(estimates, &facts).input_bound, 1519);
    facts.has_tools = true;
    assert_int_equal(made(estimates, &facts).input_bound, 2031);
    facts.refers = true, facts.rounds = 2, facts.added_tokens = 10, facts.tool_tokens = 20;
    assert_int_equal(made(estimates, &facts).input_bound, 5061);
    assert_int_equal(made(estimates, &facts).output_bound, 3 * 4096);
    facts.output_tokens = 100;
    assert_int_equal(made(estimates, &facts).output_bound, 300);
    facts.max_tokens = 50;
    assert_int_equal(made(estimates, &facts).output_bound, 150);
    facts.max_tokens = 1; /* some answer with 16 all the same */
    assert_int_equal(made(estimates, &facts).output_bound, 48);
    facts.max_tokens = INT64_MAX, facts.rounds = INT64_MAX, facts.body_bytes = INT64_MAX;
    assert_int_equal(made(estimates, &facts).output_bound, INT64_MAX);
    assert_int_equal(made(estimates, &facts).input_bound, INT64_MAX);
    estimates_free(estimates);
}

static void knows_who_adds_a_prompt(void **state)
{
    (void)state;
    assert_true(estimate_added(TEXT("venice"), TEXT("qwen3")) > 1500);
    assert_true(estimate_added(TEXT("groq"), TEXT("groq/compound-mini")) > 5000);
    assert_int_equal(estimate_added(TEXT("groq"), TEXT("llama-3")), 0);
    assert_int_equal(estimate_added(TEXT("openai"), TEXT("gpt-4o")), 0);
}

/* ------------------------------------------------------------------------------------ learning */

static struct estimate_facts call_of(int64_t about, const char *model)
{
    return (struct estimate_facts){
        .model = text_of(model),
        .key = 7,
        .body_bytes = about * 5 + 100,
        .about_tokens = about,
        .choices = 1,
    };
}

static void learns_a_line(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    struct estimate_facts facts = call_of(1000, "m");
    struct estimate before = made(estimates, &facts);
    assert_in_range(before.input_mean, 900, 1100);
    for (int64_t i = 0; i < 200; i++) {
        facts = call_of(50 + i * 37 % 2000, "m");
        estimate_learn(estimates, &facts, 300 + facts.about_tokens * 3 / 2, 100);
    }
    facts = call_of(1000, "m");
    struct estimate after = made(estimates, &facts);
    assert_in_range(after.input_mean, 1760, 1840);
    assert_in_range(after.input_likely, 1790, 2100);
    facts = call_of(1000, "other"); /* another model has learnt nothing */
    assert_int_equal(made(estimates, &facts).input_mean, before.input_mean);
    estimates_free(estimates);
}

/* A model that has answered nothing begins with what its provider's others taught. */
static void learns_from_other_models_of_a_provider(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    for (int64_t i = 0; i < 60; i++) {
        struct estimate_facts facts = call_of(50 + i * 37 % 2000, i % 2 ? "a" : "b");
        facts.provider = TEXT("p");
        estimate_learn(estimates, &facts, facts.about_tokens * 3 / 2, 100);
    }
    struct estimate_facts facts = call_of(1000, "new");
    assert_in_range(made(estimates, &facts).input_mean, 900, 1100);
    facts.provider = TEXT("p");
    assert_in_range(made(estimates, &facts).input_mean, 1450, 1550);
    estimates_free(estimates);
}

/* What a provider adds to some calls and not to others is seen in the next of the same; of other
 * keys nothing is seen. */
static void remembers_calls_that_go_on(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    for (int64_t i = 0; i < 40; i++) {
        struct estimate_facts facts = call_of(100 + i * 10, "m");
        facts.thread = 1000 + (uint64_t)(i % 4);
        estimate_learn(estimates, &facts, facts.about_tokens + i % 4 * 900, 100);
    }
    struct estimate_facts facts = call_of(600, "m");
    facts.thread = 1003;
    assert_in_range(made(estimates, &facts).input_mean, 3200, 3400);
    facts.thread = 1000;
    assert_in_range(made(estimates, &facts).input_mean, 500, 700);
    facts.key = 8;
    int64_t none = made(estimates, &facts).input_mean;
    facts.thread = 1003;
    assert_int_equal(made(estimates, &facts).input_mean, none);
    estimates_free(estimates);
}

static void one_call_of_another_kind_changes_little(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    struct estimate_facts facts = call_of(500, "m");
    for (int i = 0; i < 50; i++)
        estimate_learn(estimates, &facts, 500, 100);
    estimate_learn(estimates, &facts, 50000, 100);
    estimate_learn(estimates, &facts, 3, 100);
    assert_in_range(made(estimates, &facts).input_mean, 480, 560);
    estimates_free(estimates);
}

static void learns_how_long_answers_are(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    struct estimate_facts facts = call_of(100, "m");
    facts.output_tokens = 16384;
    assert_int_equal(made(estimates, &facts).output_likely, 1024);
    for (int i = 0; i < 200; i++)
        estimate_learn(estimates, &facts, 100, i % 20 == 0 ? 3000 : 100);
    struct estimate learnt = made(estimates, &facts);
    assert_in_range(learnt.output_likely, 100, 130);
    assert_in_range(learnt.output_mean, 100, 300);
    for (int i = 0; i < 200; i++)
        estimate_learn(estimates, &facts, 100, i % 10 == 0 ? 3000 : 100);
    assert_in_range(made(estimates, &facts).output_likely, 3000, 3600);
    facts.choices = 2;
    assert_in_range(made(estimates, &facts).output_likely, 6000, 7200);
    facts.max_tokens = 50;
    assert_int_equal(made(estimates, &facts).output_likely, 100);
    facts = call_of(100, "m"); /* a key that has not called yet goes by the model */
    facts.key = 8;
    facts.output_tokens = 16384;
    assert_in_range(made(estimates, &facts).output_likely, 3000, 3600);
    estimates_free(estimates);
}

/* More models than there is room for: nothing breaks, and those that call are learnt. */
static void lives_with_more_models_than_it_can_hold(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    char name[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "model-%d", i);
        struct estimate_facts facts = call_of(100, name);
        estimate_learn(estimates, &facts, 100, 10);
    }
    struct estimate_facts facts = call_of(100, "busy");
    for (int i = 0; i < 100; i++)
        estimate_learn(estimates, &facts, 400, 10);
    assert_in_range(made(estimates, &facts).input_mean, 390, 410);
    estimates_free(estimates);
}

static void ignores_what_cannot_be(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    struct estimate_facts facts = call_of(100, "m");
    struct estimate before = made(estimates, &facts);
    estimate_learn(estimates, &facts, 0, -5);
    estimate_learn(estimates, &facts, -1, -1);
    estimate_learn(estimates, &facts, INT64_MAX, -1);
    struct estimate after = made(estimates, &facts);
    assert_int_equal(after.input_mean, before.input_mean);
    assert_int_equal(after.output_likely, before.output_likely);
    for (int i = 0; i < 50; i++) {
        facts.about_tokens = INT64_MAX;
        estimate_learn(estimates, &facts, 1, INT64_MAX);
    }
    made(estimates, &facts);
    estimates_free(estimates);
}

static void *learn_a_lot(void *with)
{
    for (int i = 0; i < 20000; i++) {
        struct estimate_facts facts = call_of(100 + i % 50, i % 2 ? "m" : "n");
        struct estimate estimate;
        estimate_learn(with, &facts, 2 * facts.about_tokens, 50);
        estimate_make(with, &facts, &estimate);
        assert(estimate.input_mean >= 0 && estimate.input_mean <= estimate.input_bound);
    }
    return NULL;
}

static void is_learnt_by_several_threads(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, learn_a_lot, estimates), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct estimate_facts facts = call_of(120, "m");
    assert_in_range(made(estimates, &facts).input_mean, 200, 280);
    estimates_free(estimates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_pictures_in_every_dialect),
        cmocka_unit_test(a_tool_with_two_types_is_the_dearer_one),
        cmocka_unit_test(an_address_is_a_picture_without_bytes),
        cmocka_unit_test(takes_nothing_else_for_a_picture),
        cmocka_unit_test(sound_costs_by_its_length),
        cmocka_unit_test(sees_pictures_among_what_is_embedded),
        cmocka_unit_test(says_what_is_elsewhere),
        cmocka_unit_test(knows_a_schema_of_ollamas),
        cmocka_unit_test(knows_what_is_elsewhere),
        cmocka_unit_test(counts_rounds_of_the_providers_own_tools),
        cmocka_unit_test(searches_are_bounded),
        cmocka_unit_test(counts_words_roughly),
        cmocka_unit_test(goes_as_deep_as_a_body_may),
        cmocka_unit_test(bounds_add_up),
        cmocka_unit_test(knows_who_adds_a_prompt),
        cmocka_unit_test(learns_a_line),
        cmocka_unit_test(sees_what_else_is_counted),
        cmocka_unit_test(knows_a_conversation_again),
        cmocka_unit_test(counts_exactly_for_who_asks),
        cmocka_unit_test(learns_from_other_models_of_a_provider),
        cmocka_unit_test(remembers_calls_that_go_on),
        cmocka_unit_test(one_call_of_another_kind_changes_little),
        cmocka_unit_test(learns_how_long_answers_are),
        cmocka_unit_test(lives_with_more_models_than_it_can_hold),
        cmocka_unit_test(ignores_what_cannot_be),
        cmocka_unit_test(is_learnt_by_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
