/* SPDX-License-Identifier: Apache-2.0 */
/* Options of keys and tenants as JSON, and JSON as words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include "gateway/cli/level.h"
/* after those above */
#include <cmocka.h>

#include "gateway/cli/ask.h"

enum { WORDS_MAX = 16 };

/* What the options of "keys create" make; "" when they are refused. */
static const char *written(const char *options)
{
    static char words[512], line[512], out[2048];
    static char *argv[WORDS_MAX];
    struct cli cli;
    struct buffer sent;
    struct fault fault;
    int argc = 0;
    snprintf(line, sizeof line, "sluice|keys|create|ci|--tenant|acme%s%s", *options ? "|" : "",
             options);
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, "|"); word != NULL && argc < WORDS_MAX - 1;
         word = strtok(NULL, "|"))
        argv[argc++] = word;
    argv[argc] = NULL;
    assert_int_equal(cli_parse(&cli, argc, argv), -1);
    buffer_init(&sent, LEVEL_BODY_BYTES);
    struct json_write json = {.out = &sent};
    json_open(&json, '{');
    const char *expires = cli_value(&cli, "expires");
    bool good = (expires == NULL || level_write_expires(expires, &json, &fault)) &&
                level_write(&cli, &json, &fault);
    json_close(&json, '}');
    snprintf(out, sizeof out, "%.*s", good ? (int)buffer_length(&sent) : 0, buffer_text(&sent).at);
    buffer_done(&sent);
    return out;
}

static void options_become_json(void **state)
{
    (void)state;
    assert_string_equal(written(""), "{}");
    assert_string_equal(written("--models|fast, openai/*"), "{\"models\":[\"fast\",\"openai/*\"]}");
    assert_string_equal(written("--models|none"), "{\"models\":null}");
    assert_string_equal(written("--limits|requests_per_minute=60, concurrent=5"),
                        "{\"limits\":{\"requests_per_minute\":60,\"concurrent\":5}}");
    assert_string_equal(written("--limits|concurrent=none"), "{\"limits\":{\"concurrent\":null}}");
    assert_string_equal(written("--budget|500 USD/month"),
                        "{\"budget\":{\"amount\":\"500 USD\",\"period\":\"month\"}}");
    assert_string_equal(written("--budget|12.50/24h"),
                        "{\"budget\":{\"amount\":\"12.50 USD\",\"period\":\"24h\"}}");
    assert_string_equal(written("--tags|team=search,note=a=b"),
                        "{\"tags\":{\"team\":\"search\",\"note\":\"a=b\"}}");
    assert_string_equal(written("--expires|2027-01-01"), "{\"expires_at\":\"2027-01-01\"}");
    assert_string_equal(written("--expires|none"), "{\"expires_at\":null}");
    assert_int_equal(strlen(written("--expires|90d")),
                     strlen("{\"expires_at\":\"2026-11-23T18:44:12.012Z\"}"));
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "--limits|60",           "--limits|=60",     "--limits|requests_per_minute=x",
        "--limits|a=-1",         "--budget|500 USD", "--budget|/month",
        "--budget|500/",         "--tags|team",      "--tags|=x",
        "--expires|next summer", "--expires|d"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(written(bad[i]), "");
}

static void json_becomes_words(void **state)
{
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"null", "-"},
        {"\"a\\u001bb\"", "a?b"},
        {"[]", "-"},
        {"[\"fast\", \"slow\"]", "fast, slow"},
        {"{\"requests_per_minute\": 60, \"concurrent\":5}", "requests_per_minute=60, concurrent=5"},
        {"17", "17"},
        {"true", "true"}};
    char room[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text words = level_words(text_of(cases[i].json), room, sizeof room);
        assert_true(text_equal(words, text_of(cases[i].words)));
    }
    assert_true(
        level_words(text_of("[\"a long text that does not fit into so little\"]"), room, 16).len <=
        16);
}

static void names_are_written_into_paths(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 256);
    cli_escape(&out, TEXT("a-b_c.d~e:f,g@h"));
    assert_true(text_equal(buffer_text(&out), TEXT("a-b_c.d~e:f,g@h")));
    buffer_clear(&out);
    cli_escape(&out, TEXT("a/b?c d%\xc3\xa4&=+#"));
    assert_true(text_equal(buffer_text(&out), TEXT("a%2Fb%3Fc%20d%25%C3%A4%26%3D%2B%23")));
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_become_json),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(json_becomes_words),
        cmocka_unit_test(names_are_written_into_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
