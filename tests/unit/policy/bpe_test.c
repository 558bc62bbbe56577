/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tokens, held against what OpenAI's own library counted (tests/cases/tokens). Run from the top of
 * the tree.
 */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "policy/bpe_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define CASES "tests/cases/tokens/counted.jsonl"

enum { CASES_LEAST = 450 };

static const enum tokenizer both[] = {TOKENIZER_O200K, TOKENIZER_CL100K};

static int64_t number_in(struct text line, const char *name, int64_t otherwise)
{
    int64_t number;
    return member_count(member_find(line, text_of(name)), INT32_MAX, &number) ? number : otherwise;
}

static void check_case(struct text line)
{
    struct text once = member_string(member_find(line, TEXT("text")));
    size_t times = (size_t)number_in(line, "times", 1);
    char *text = memory_new(once.len * times + 1);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * once.len, once.at, once.len);
    struct text said = {text, once.len * times};
    for (size_t i = 0; i < 2; i++) {
        int64_t tokens = tokens_of_string(both[i], said);
        int64_t expected = number_in(line, i ? "cl100k" : "o200k", -1);
        if (tokens != expected)
            fail_msg("%.*s: %lld", TEXT_ARGS(line), (long long)tokens);
    }
    memory_free(text);
}

static void texts_are_what_the_library_counts(void **state)
{
    (void)state;
    FILE *file = fopen(CASES, "re");
    assert_non_null(file);
    char *line = NULL;
    size_t room = 0, count = 0;
    ssize_t len;
    for (; (len = getline(&line, &room, file)) > 0; count++)
        check_case((struct text){line, (size_t)len});
    fclose(file);
    free(line);
    assert_true(count >= CASES_LEAST);
}

/* What the library says of these bytes, which are no text: a piece of punctuation, merged. */
static void bytes_that_are_no_text_are_counted(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int64_t tokens = bpe_count(both[i], (struct text){"\xff\xc3(\x80 \xed\xa0\x80", 8});
        assert_true(tokens >= 4 && tokens <= 8);
        assert_int_equal(bpe_count(both[i], (struct text){"\xc3", 1}), 1);
        assert_int_equal(bpe_count(both[i], (struct text){NULL, 0}), 0);
    }
}

/* The table has all byte strings of the published ranks: each is one token, at its own rank. */
static void each_token_is_one(void **state)
{
    (void)state;
    static const size_t counts[] = {199998, 100256};
    for (size_t i = 0; i < 2; i++) {
        const struct bpe_table *table = bpe_table(both[i]);
        assert_int_equal(table->tokens, counts[i]);
        for (uint32_t rank = 0; rank < table->tokens; rank++) {
            const char *at = table->bytes + table->starts[rank];
            assert_int_equal(bpe_rank(table, at, table->starts[rank + 1] - table->starts[rank]),
                             rank);
        }
    }
}

/* A run that no piece ends: counted in parts, and close to what it is. (The library: 131072 / 8.)
 */
static void a_text_without_an_end_takes_no_longer(void **state)
{
    (void)state;
    enum { LENGTH = 131072 };
    char *text = memory_new(LENGTH);
    memset(text, 'a', LENGTH);
    assert_int_equal(bpe_count(TOKENIZER_O200K, (struct text){text, LENGTH}), LENGTH / 8);
    memory_free(text);
}

static void a_long_text_is_counted_in_parts(void **state)
{
    (void)state;
    static const char sentence[] = "The quick brown fox jumps over the lazy dog, \xc3\xbc"
                                   "ber 12 dogs.\n";
    enum { TIMES = 40000, LENGTH = sizeof(sentence) - 1 };
    char *text = memory_new((size_t)TIMES * LENGTH);
    for (size_t i = 0; i < TIMES; i++)
        memcpy(text + i * LENGTH, sentence, LENGTH);
    int64_t once = tokens_of_text(TOKENIZER_O200K, (struct text){sentence, LENGTH});
    int64_t all = tokens_of_text(TOKENIZER_O200K, (struct text){text, (size_t)TIMES * LENGTH});
    assert_in_range(all, once * TIMES * 99 / 100, once * TIMES * 101 / 100);
    memset(text, '\x80', (size_t)TIMES * LENGTH);
    assert_true(tokens_of_text(TOKENIZER_CL100K, (struct text){text, (size_t)TIMES * LENGTH}) > 0);
    memory_free(text);
}

static void models_have_their_tokenizers(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        enum tokenizer tokenizer;
    } cases[] = {{"gpt-4o-mini", TOKENIZER_O200K},
                 {"openai/gpt-4.1-nano", TOKENIZER_O200K},
                 {"gpt-5.6", TOKENIZER_O200K},
                 {"ft:gpt-4o:acme::x", TOKENIZER_O200K},
                 {"o1", TOKENIZER_O200K},
                 {"o3-mini", TOKENIZER_O200K},
                 {"gpt-4", TOKENIZER_CL100K},
                 {"gpt-4-0613", TOKENIZER_CL100K},
                 {"gpt-3.5-turbo", TOKENIZER_CL100K},
                 {"text-embedding-3-small", TOKENIZER_CL100K},
                 {"claude-sonnet-4-5", TOKENIZER_NONE},
                 {"o11", TOKENIZER_NONE},
                 {"gemini-2.5-flash", TOKENIZER_NONE},
                 {"", TOKENIZER_NONE},
                 {"openrouter/openai/o4-mini", TOKENIZER_O200K},
                 {"gpt-40", TOKENIZER_NONE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(tokenizer_of(text_of(cases[i].model)), cases[i].tokenizer);
}

static void without_a_tokenizer_it_is_a_guess(void **state)
{
    (void)state;
    assert_int_equal(tokens_of_text(TOKENIZER_NONE, TEXT("hello world")), 2);
    assert_int_equal(tokens_of_text(TOKENIZER_NONE, TEXT("")), 0);
    assert_int_equal(tokens_of_string(TOKENIZER_NONE, TEXT("hello\\u0020world")), 2);
}

static void *count_one(void *out)
{
    *(int64_t *)out = tokens_of_text(TOKENIZER_CL100K, TEXT("hello world"));
    return NULL;
}

/* Who comes first unpacks the table; the others wait for it. */
static void threads_share_a_table(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int64_t tokens[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_one, &tokens[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(tokens[i], 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_table),
        cmocka_unit_test(texts_are_what_the_library_counts),
        cmocka_unit_test(bytes_that_are_no_text_are_counted),
        cmocka_unit_test(each_token_is_one),
        cmocka_unit_test(a_text_without_an_end_takes_no_longer),
        cmocka_unit_test(a_long_text_is_counted_in_parts),
        cmocka_unit_test(models_have_their_tokenizers),
        cmocka_unit_test(without_a_tokenizer_it_is_a_guess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
