/* SPDX-License-Identifier: Apache-2.0 */

/* The openai dialect, held against recorded traffic and a second reading of it in another language
 * (tests/cases/recorded/expect.py). Run from the top of the tree. */

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/http/sse.h"
#include "providers/provider.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define CASES "tests/cases/recorded/"

static const char *const files[] = {
    CASES "openai-chat.jsonl",
    CASES "mistral-chat.jsonl",
    CASES "openai-completions.jsonl",
    CASES "openai-responses.jsonl",
    CASES "openai-embeddings.jsonl",
    CASES "openai-images.jsonl",
    CASES "openai-audio.jsonl",
    CASES "openai-other.jsonl",
    CASES "rerank.jsonl",
};

/* A line of expected.tsv. */
struct expected {
    char id[80], operation[24], kind[8], finish[32];
    int streamed, ended, failed;
    long long figures[8], events;
};

enum { EXPECTED_MAX = 4000 };
static struct expected expected[EXPECTED_MAX];
static size_t expected_count;

static int read_expected(void **state)
{
    (void)state;
    FILE *file = fopen(CASES "expected.tsv", "r");
    assert_non_null(file);
    struct expected e;
    while (fscanf(file, "%79s %23s %d %7s %lld %lld %lld %lld %lld %lld %lld %lld %d %d %31s %lld",
                  e.id, e.operation, &e.streamed, e.kind, &e.figures[0], &e.figures[1],
                  &e.figures[2], &e.figures[3], &e.figures[4], &e.figures[5], &e.figures[6],
                  &e.figures[7], &e.ended, &e.failed, e.finish, &e.events) == 16) {
        assert_true(expected_count < EXPECTED_MAX);
        expected[expected_count++] = e;
    }
    assert_true(feof(file));
    fclose(file);
    return 0;
}

static const struct expected *find_expected(const char *id)
{
    for (size_t i = 0; i < expected_count; i++)
        if (strcmp(expected[i].id, id) == 0)
            return &expected[i];
    return NULL;
}

static enum operation find_operation(const char *name)
{
    for (int i = 0; i < OPERATIONS; i++)
        if (strcmp(operation_name((enum operation)i), name) == 0)
            return (enum operation)i;
    fail_msg("operation %s", name);
    return OPERATIONS;
}

static const struct dialect *openai(void)
{
    const struct dialect *dialect = dialect_find(TEXT("openai"));
    assert_non_null(dialect);
    return dialect;
}

static void check_answer(const struct expected *e, const struct answer *answer)
{
    const struct usage *u = &answer->usage;
    const int64_t figures[8] = {
        u->input_tokens,     u->cached_tokens,      u->cache_write_tokens,  u->output_tokens,
        u->reasoning_tokens, u->audio_input_tokens, u->audio_output_tokens, u->units};
    bool seen = strcmp(e->kind, "seen") == 0;
    if (answer->usage_seen != seen || answer->ended != e->ended || answer->failed != e->failed ||
        strcmp(answer->finish[0] != '\0' ? answer->finish : "-", e->finish) != 0)
        fail_msg("%s: seen %d ended %d failed %d finish %s", e->id, answer->usage_seen,
                 answer->ended, answer->failed, answer->finish);
    for (size_t i = 0; seen && i < 8; i++)
        if (figures[i] != e->figures[i])
            fail_msg("%s: figure %zu is %lld, not %lld", e->id, i, (long long)figures[i],
                     e->figures[i]);
}

/* What a relay does with bytes that arrive: whole events are watched, the rest waits. */
struct relay {
    struct answer answer;
    long long events;
    struct text body;
    size_t out; /* how many bytes of the body went out in events */
};

static void relay_until(struct relay *relay, size_t arrived)
{
    struct text waiting = text_from(text_head(relay->body, arrived), relay->out);
    struct text whole = text_head(waiting, sse_whole(waiting));
    struct sse_event event;
    while (sse_next(&whole, &event)) {
        assert_ptr_equal(event.raw.at, relay->body.at + relay->out);
        relay->out += event.raw.len;
        relay->events++;
        openai()->watch_event(&relay->answer, &event);
    }
}

static bool has_line_end_behind(struct text rest)
{
    return text_find(rest, TEXT("\n\n")) != SIZE_MAX ||
           text_find(rest, TEXT("\r\n\r\n")) != SIZE_MAX;
}

static void check_stream(const struct expected *e, struct text body)
{
    enum operation operation = find_operation(e->operation);
    struct relay whole = {.body = body, .answer.operation = operation};
    relay_until(&whole, body.len);
    assert_false(has_line_end_behind(text_from(body, whole.out)));
    check_answer(e, &whole.answer);
    for (size_t cut = 0; body.len <= 3000 && cut < body.len; cut++) {
        struct relay relay = {.body = body, .answer.operation = operation};
        relay_until(&relay, cut);
        relay_until(&relay, body.len);
        assert_int_equal(relay.out, whole.out);
        assert_int_equal(relay.events, whole.events);
        assert_memory_equal(&relay.answer, &whole.answer, sizeof(whole.answer));
    }
}

/* An unstreamed answer, as the tap would give its members. */
static void check_body(const struct expected *e, struct text body)
{
    const struct dialect *dialect = openai();
    struct answer answer = {.operation = find_operation(e->operation)};
    struct scan_value values[DIALECT_WANTS] = {{0}};
    while (body.len > 0 && (body.at[0] == ' ' || body.at[0] == '\n'))
        body = text_from(body, 1); /* a server that keeps the connection awake with blanks */
    for (size_t i = 0; i < dialect->want_count && body.len > 0 && body.at[0] == '{'; i++) {
        struct text raw = member_find(body, dialect->wants[i]);
        if (raw.at != NULL && raw.len <= TAP_VALUE_BYTES)
            values[i] = (struct scan_value){.kind = raw.at[0] == '{'   ? SCAN_OBJECT
                                                    : raw.at[0] == '"' ? SCAN_STRING
                                                    : raw.at[0] == '[' ? SCAN_ARRAY
                                                    : raw.at[0] == 't' ? SCAN_TRUE
                                                    : raw.at[0] == 'f' ? SCAN_FALSE
                                                    : raw.at[0] == 'n' ? SCAN_NULL
                                                                       : SCAN_NUMBER,
                                            .raw = raw};
    }
    dialect->watch_body(&answer, values);
    check_answer(e, &answer);
}

static void check_record(json_t *record, size_t *checked)
{
    json_t *response = json_object_get(record, "response");
    json_t *text = json_object_get(response, "body");
    const struct expected *e = find_expected(json_string_value(json_object_get(record, "id")));
    if (e == NULL) {
        assert_true(json_integer_value(json_object_get(response, "status")) >= 400 ||
                    strcmp(json_string_value(json_object_get(response, "encoding")), "utf8") != 0);
        return;
    }
    struct text body = {json_string_value(text), json_string_length(text)};
    if (e->streamed)
        check_stream(e, body);
    else
        check_body(e, body);
    (*checked)++;
}

static void reads_what_was_recorded_as_python_does(void **state)
{
    (void)state;
    size_t checked = 0, room = 0;
    char *line = NULL;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        FILE *file = fopen(files[i], "r");
        assert_non_null(file);
        while (getline(&line, &room, file) > 0) {
            json_t *record = json_loads(line, JSON_ALLOW_NUL, NULL);
            assert_non_null(record);
            check_record(record, &checked);
            json_decref(record);
        }
        fclose(file);
    }
    free(line);
    assert_int_equal(checked, expected_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads_what_was_recorded_as_python_does, read_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
