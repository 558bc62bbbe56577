/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "gateway/config/config.h"
#include "gateway/endpoint.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { ALL = SERVE_API | SERVE_ADMIN | SERVE_METRICS | SERVE_HEALTH };

static enum fault_kind find(enum method method, const char *path, unsigned serve,
                            struct match *match)
{
    static struct head head;
    struct fault fault = {0};
    head = (struct head){.method = method, .path = text_of(path)};
    bool found = endpoint_find(&head, serve, TEXT("/metrics"), match, &fault);
    assert_int_equal(found, match->endpoint != NULL);
    return found ? FAULT_NONE : fault.kind;
}

static void paths_lead_to_operations(void **state)
{
    (void)state;
    static const struct {
        enum method method;
        const char *path, *suffix, *id;
        enum operation operation;
    } rows[] = {
        {METHOD_POST, "/v1/chat/completions", "/chat/completions", "", OPERATION_CHAT},
        {METHOD_POST, "/chat/completions", "/chat/completions", "", OPERATION_CHAT},
        {METHOD_POST, "/openai/v1/chat/completions", "/chat/completions", "", OPERATION_CHAT},
        {METHOD_POST, "/openai/chat/completions", "/chat/completions", "", OPERATION_CHAT},
        {METHOD_POST, "/v1/responses", "/responses", "", OPERATION_RESPONSE},
        {METHOD_GET, "/v1/responses/resp_1", "/responses/resp_1", "resp_1", OPERATION_OBJECT},
        {METHOD_DELETE, "/v1/responses/resp_1", "/responses/resp_1", "resp_1", OPERATION_OBJECT},
        {METHOD_POST, "/v1/batches/b/cancel", "/batches/b/cancel", "b", OPERATION_OBJECT},
        {METHOD_GET, "/v1/files/f/content", "/files/f/content", "f", OPERATION_OBJECT},
        {METHOD_GET, "/v1/realtime", "/realtime", "", OPERATION_REALTIME},
        {METHOD_GET, "/v1/models/openai%2Fgpt-4o", "/models/openai%2Fgpt-4o", "openai%2Fgpt-4o",
         OPERATION_OBJECT},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct match match;
        assert_int_equal(find(rows[i].method, rows[i].path, ALL, &match), FAULT_NONE);
        assert_int_equal(match.endpoint->operation, rows[i].operation);
        assert_true(text_equal(match.suffix, text_of(rows[i].suffix)));
        assert_true(text_equal(match.id, text_of(rows[i].id)));
    }
}

static void what_is_not_in_the_table_is_not_there(void **state)
{
    (void)state;
    static const struct {
        enum method method;
        const char *path;
        enum fault_kind kind;
    } rows[] = {
        {METHOD_GET, "/", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/v1", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/v1/", FAULT_BAD_HTTP},
        {METHOD_POST, "/v2/chat/completions", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/v1/chat/completions/x", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/v1/chat", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/V1/chat/completions", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/openai/openai/v1/chat/completions", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/openai/v1/v1/chat/completions", FAULT_UNKNOWN_PATH},
        {METHOD_GET, "/v1/chat/completions", FAULT_BAD_METHOD},
        {METHOD_HEAD, "/v1/chat/completions", FAULT_BAD_METHOD},
        {METHOD_PUT, "/v1/responses", FAULT_BAD_METHOD},
        {METHOD_POST, "//v1/chat/completions", FAULT_BAD_HTTP},
        {METHOD_POST, "/v1/chat%2fcompletions", FAULT_BAD_HTTP},
        {METHOD_POST, "/v1/chat/../chat/completions", FAULT_BAD_HTTP},
        {METHOD_POST, "/v1/chat/completions;a=b", FAULT_BAD_HTTP},
        {METHOD_POST, "/v1/chat\\completions", FAULT_BAD_HTTP},
        {METHOD_GET, "/v1/responses/%2e%2e", FAULT_BAD_HTTP},
        {METHOD_GET, "/v1/messages", FAULT_BAD_METHOD},
        {METHOD_POST, "/v1/messages/more", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/openai/v1/messages", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/anthropic/v1/chat/completions", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/v1beta/models/:generateContent", FAULT_BAD_METHOD},
        {METHOD_POST, "/v1beta/models/a/b:generateContent", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/v1beta/models/a:predict", FAULT_BAD_METHOD},
        {METHOD_POST, "/v1%62eta/models/a:generateContent", FAULT_UNKNOWN_PATH},
        {METHOD_POST, "/v1/chat/completions%00", FAULT_BAD_HTTP},
        {METHOD_POST, "/metrics", FAULT_BAD_METHOD},
        {METHOD_POST, "/livez", FAULT_BAD_METHOD},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct match match;
        enum fault_kind kind = find(rows[i].method, rows[i].path, ALL, &match);
        if (kind != rows[i].kind)
            print_error("%s: %d\n", rows[i].path, (int)kind);
        assert_int_equal(kind, rows[i].kind);
    }
}

static void a_listener_serves_only_what_it_says(void **state)
{
    (void)state;
    struct match match;
    assert_int_equal(find(METHOD_GET, "/metrics", SERVE_API, &match), FAULT_UNKNOWN_PATH);
    assert_int_equal(find(METHOD_GET, "/livez", SERVE_API, &match), FAULT_UNKNOWN_PATH);
    assert_int_equal(find(METHOD_GET, "/admin/v1/overview", SERVE_API, &match), FAULT_UNKNOWN_PATH);
    assert_int_equal(find(METHOD_POST, "/v1/responses", SERVE_HEALTH, &match), FAULT_UNKNOWN_PATH);
    assert_int_equal(find(METHOD_GET, "/livez", SERVE_HEALTH, &match), FAULT_NONE);
    assert_int_equal(match.endpoint->page, PAGE_HEALTH);
    assert_int_equal(find(METHOD_GET, "/metrics", SERVE_METRICS, &match), FAULT_NONE);
    assert_int_equal(match.endpoint->page, PAGE_METRICS);
    assert_int_equal(find(METHOD_POST, "/admin/v1/config/reload", SERVE_ADMIN, &match), FAULT_NONE);
    assert_int_equal(match.endpoint->page, PAGE_ADMIN);
}

static void the_dashboard_is_where_it_is_served(void **state)
{
    (void)state;
    struct match match;
    unsigned others = SERVE_API | SERVE_ADMIN | SERVE_METRICS | SERVE_HEALTH;
    static const char *const paths[] = {"/ui", "/ui/", "/ui/assets/x.js"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(find(METHOD_GET, paths[i], others, &match),
                         i == 1 ? FAULT_BAD_HTTP : FAULT_UNKNOWN_PATH);
        assert_int_equal(find(METHOD_GET, paths[i], SERVE_UI, &match), FAULT_NONE);
        assert_int_equal(match.endpoint->page, PAGE_DASHBOARD);
        assert_int_equal(find(METHOD_HEAD, paths[i], SERVE_UI, &match), FAULT_NONE);
        assert_int_equal(find(METHOD_POST, paths[i], SERVE_UI, &match), FAULT_BAD_METHOD);
        assert_int_equal(match.shape, SHAPE_PROBLEM);
    }
    static const char *const bad[] = {"/ui//",        "/ui/./",      "/ui/../ui/",
                                      "/ui/%2e%2e/x", "/ui/assets/", "/ui/%61ssets/x.js"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(find(METHOD_GET, bad[i], SERVE_UI, &match), FAULT_BAD_HTTP);
    assert_int_equal(find(METHOD_GET, "/uix", SERVE_UI, &match), FAULT_UNKNOWN_PATH);
}

static void every_dialect_has_its_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *dialect, *id;
        enum operation operation;
        bool streams;
    } rows[] = {
        {"/v1/messages", "anthropic", "", OPERATION_CHAT, false},
        {"/anthropic/v1/messages", "anthropic", "", OPERATION_CHAT, false},
        {"/v1/messages/count_tokens", "anthropic", "", OPERATION_COUNT, false},
        {"/v1beta/models/gemini-2.5-pro:generateContent", "gemini", "gemini-2.5-pro",
         OPERATION_CHAT, false},
        {"/gemini/v1beta/models/a:streamGenerateContent", "gemini", "a", OPERATION_CHAT, true},
        {"/genai/v1beta/models/x%2Fy:countTokens", "gemini", "x%2Fy", OPERATION_COUNT, false},
        {"/v1/models/qwen:7b:generateContent", "gemini", "qwen:7b", OPERATION_CHAT, false},
        {"/v1beta/models/e:embedContent", "gemini", "e", OPERATION_EMBEDDING, false},
        {"/api/chat", "ollama", "", OPERATION_CHAT, false},
        {"/api/generate", "ollama", "", OPERATION_COMPLETION, false},
        {"/model/anthropic.claude-v2%3A1/converse", "bedrock", "anthropic.claude-v2%3A1",
         OPERATION_CHAT, false},
        {"/model/m:0/converse-stream", "bedrock", "m:0", OPERATION_CHAT, true},
        {"/model/m:0/invoke", "bedrock", "m:0", OPERATION_CHAT, false},
        {"/model/m%2Fn/invoke-with-response-stream", "bedrock", "m%2Fn", OPERATION_CHAT, true},
        {"/model/m:0/count-tokens", "bedrock", "m:0", OPERATION_COUNT, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct match match;
        assert_int_equal(find(METHOD_POST, rows[i].path, ALL, &match), FAULT_NONE);
        assert_true(text_equal(match.dialect, text_of(rows[i].dialect)));
        assert_true(text_equal(match.id, text_of(rows[i].id)));
        assert_int_equal(match.endpoint->operation, rows[i].operation);
        assert_int_equal(match.endpoint->streams, rows[i].streams);
    }
}

static void errors_take_the_shape_of_the_path(void **state)
{
    (void)state;
    struct match match;
    find(METHOD_POST, "/v1/messages", ALL, &match);
    assert_int_equal(match.shape, SHAPE_ANTHROPIC);
    find(METHOD_POST, "/anthropic/v1/messages", ALL, &match);
    assert_int_equal(match.shape, SHAPE_ANTHROPIC);
    find(METHOD_POST, "/v1beta/models/gemini-pro:generateContent", ALL, &match);
    assert_int_equal(match.shape, SHAPE_GEMINI);
    find(METHOD_POST, "/v1/nothing", ALL, &match);
    assert_int_equal(match.shape, SHAPE_OPENAI);
}

static void the_methods_of_a_path_are_listed(void **state)
{
    (void)state;
    char methods[64];
    endpoint_methods(TEXT("/v1/responses/resp_1"), methods);
    assert_string_equal(methods, "GET, DELETE");
    endpoint_methods(TEXT("/v1/chat/completions"), methods);
    assert_string_equal(methods, "POST");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_lead_to_operations),
        cmocka_unit_test(what_is_not_in_the_table_is_not_there),
        cmocka_unit_test(a_listener_serves_only_what_it_says),
        cmocka_unit_test(the_dashboard_is_where_it_is_served),
        cmocka_unit_test(every_dialect_has_its_paths),
        cmocka_unit_test(errors_take_the_shape_of_the_path),
        cmocka_unit_test(the_methods_of_a_path_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
