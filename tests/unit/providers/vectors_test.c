/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/vectors.h"
#include "tests/unit/providers/translate_cases.h"

static struct answer_way way_between(const struct translator *from, const struct translator *to,
                                     const char *call)
{
    return (struct answer_way){
        .from = from, .to = to, .id = {"id", 2}, .model = {"m", 1}, .call = text_of(call)};
}

/* -------------------------------------------------------------------------------- calls */

static void texts_are_asked_for_in_every_dialect(void **state)
{
    (void)state;
    static const char asked[] = "{\"model\":\"q\",\"input\":[\"a\\n\",\"b\"],\"dimensions\":3,"
                                "\"input_type\":\"query\",\"user\":\"u\"}";
    assert_call(&translator_openai_embedding, &translator_gemini_embedding, "gemini", false, asked,
                "{\"requests\":[{\"model\":\"models/m\",\"content\":{\"parts\":[{\"text\":"
                "\"a\\n\"}]},\"taskType\":\"RETRIEVAL_QUERY\",\"outputDimensionality\":3},{"
                "\"model\":\"models/m\",\"content\":{\"parts\":[{\"text\":\"b\"}]},\"taskType\":"
                "\"RETRIEVAL_QUERY\",\"outputDimensionality\":3}]}",
                "", "user");
    assert_call(&translator_openai_embedding, &translator_cohere_embedding, "cohere", false, asked,
                "{\"model\":\"m\",\"texts\":[\"a\\n\",\"b\"],\"input_type\":\"search_query\","
                "\"embedding_types\":[\"float\"],\"output_dimension\":3}",
                "", "user");
    assert_call(&translator_openai_embedding, &translator_ollama_embedding, "ollama", false, asked,
                "{\"model\":\"m\",\"input\":[\"a\\n\",\"b\"],\"dimensions\":3}", "",
                "input_type,user");
}

static void an_ollama_call_of_its_own_keeps_all(void **state)
{
    (void)state;
    assert_call(&translator_ollama_embedding, &translator_ollama_embedding, "ollama", false,
                "{\"model\":\"q\",\"input\":\"a\",\"truncate\":false,\"keep_alive\":\"5m\","
                "\"options\":{\"num_ctx\":9}}",
                "{\"model\":\"m\",\"input\":[\"a\"],\"truncate\":false,\"keep_alive\":\"5m\","
                "\"options\":{\"num_ctx\":9}}",
                "", "");
}

static void tokens_are_only_for_their_own_dialect(void **state)
{
    (void)state;
    assert_call(&translator_openai_embedding, &translator_openai_embedding, "openai", false,
                "{\"model\":\"q\",\"input\":[[1,2],[3]]}",
                "{\"model\":\"m\",\"input\":[[1,2],[3]]}", "", "");
    assert_call(&translator_openai_embedding, &translator_cohere_embedding, "cohere", false,
                "{\"model\":\"q\",\"input\":[1,2]}",
                "{\"model\":\"m\",\"texts\":[\"\"],\"input_type\":\"search_document\","
                "\"embedding_types\":[\"float\"]}",
                "input[0]", "");
}

static void who_differs_is_asked_in_his_own_words(void **state)
{
    (void)state;
    static const char asked[] =
        "{\"model\":\"q\",\"texts\":[\"a\"],\"input_type\":\"search_query\","
        "\"output_dimension\":3,\"truncate\":\"NONE\"}";
    static const struct {
        const char *type, *wanted;
    } cases[] = {
        {"voyage", "\"output_dimension\":3,\"input_type\":\"query\",\"truncation\":false}"},
        {"jina", "\"dimensions\":3,\"task\":\"retrieval.query\",\"truncate\":false}"},
        {"nvidia", "\"dimensions\":3,\"input_type\":\"query\",\"truncate\":\"NONE\"}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char wanted[256];
        snprintf(wanted, sizeof(wanted), "{\"model\":\"m\",\"input\":[\"a\"],%s", cases[i].wanted);
        assert_call(&translator_cohere_embedding, &translator_openai_embedding, cases[i].type,
                    false, asked, wanted, "", "");
    }
    assert_call(&translator_ollama_embedding, &translator_openai_embedding, "nvidia", false,
                "{\"model\":\"q\",\"input\":\"a\"}",
                "{\"model\":\"m\",\"input\":[\"a\"],\"input_type\":\"passage\"}", "", "");
}

static void rankings_are_asked_for_in_their_own_words(void **state)
{
    (void)state;
    static const char asked[] =
        "{\"model\":\"q\",\"query\":\"?\",\"documents\":[\"a\",{\"text\":\"b\"}],\"top_n\":1}";
    assert_call(&translator_cohere_ranking, &translator_openai_ranking, "voyage", false, asked,
                "{\"model\":\"m\",\"query\":\"?\",\"documents\":[\"a\",\"b\"],\"top_k\":1}", "",
                "");
    assert_call(&translator_openai_ranking, &translator_cohere_ranking, "cohere", false, asked,
                "{\"model\":\"m\",\"query\":\"?\",\"documents\":[\"a\",\"b\"],\"top_n\":1}", "",
                "");
    assert_call(&translator_openai_ranking, &translator_nvidia_ranking, "nvidia", false, asked,
                "{\"model\":\"m\",\"query\":{\"text\":\"?\"},\"passages\":[{\"text\":\"a\"},{"
                "\"text\":\"b\"}]}",
                "", "");
}

static void nvidias_places_are_told_by_number(void **state)
{
    (void)state;
    struct answer_way way = way_between(&translator_nvidia_ranking, &translator_openai_ranking,
                                        "{\"documents\":[\"x\",\"y\"],\"top_n\":1}");
    assert_made(
        &way,
        "{\"rankings\":[{\"index\":1,\"logit\":-1.25},{\"index\":0,\"logit\":-7}],\"usage\":{"
        "\"prompt_tokens\":9,\"total_tokens\":9}}",
        "{\"id\":\"id\",\"object\":\"list\",\"model\":\"m\",\"results\":[{\"index\":1,"
        "\"relevance_score\":-1.25}],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}");
}

static void what_is_no_call_is_refused(void **state)
{
    (void)state;
    assert_refused(&translator_openai_embedding, "{\"input\":7}", "input");
    assert_refused(&translator_ollama_embedding, "{\"input\":\"x\",\"dimensions\":1.5}",
                   "dimensions");
    assert_refused(&translator_cohere_embedding, "{\"texts\":[]}", "texts");
    assert_refused(&translator_cohere_embedding, "{\"texts\":[\"x\"],\"input_type\":\"y\"}",
                   "input_type");
    assert_refused(&translator_gemini_embedding, "{\"requests\":[]}", "requests");
    assert_refused(&translator_openai_ranking, "{\"query\":\"q\",\"documents\":[]}", "documents");
    assert_refused(&translator_cohere_ranking, "{\"documents\":[\"x\"]}", "query");
    assert_refused(&translator_cohere_ranking,
                   "{\"query\":\"q\",\"documents\":[\"x\"],\"top_n\":-1}", "top_n");
}

/* ------------------------------------------------------------------------------ answers */

static void numbers_keep_their_digits(void **state)
{
    (void)state;
    struct answer_way way = way_between(&translator_cohere_embedding, &translator_openai_embedding,
                                        "{\"input\":[\"a\",\"b\"]}");
    struct answer seen = assert_made(
        &way,
        "{\"id\":\"r\",\"embeddings\":{\"float\":[[0.10, -1e-07],[1,2]]},\"meta\":{"
        "\"billed_units\":{\"input_tokens\":7}}}",
        "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.10, "
        "-1e-07]},{\"object\":\"embedding\",\"index\":1,\"embedding\":[1,2]}],\"model\":\"m\","
        "\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}");
    assert_int_equal(seen.usage.input_tokens, 7);
}

static void base64_is_made_and_unmade(void **state)
{
    (void)state;
    struct answer_way way = way_between(&translator_ollama_embedding, &translator_openai_embedding,
                                        "{\"encoding_format\":\"base64\"}");
    assert_made(&way, "{\"model\":\"v\",\"embeddings\":[[0.25,-0.5]],\"prompt_eval_count\":3}",
                "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
                "\"embedding\":\"AACAPgAAAL8=\"}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":3,"
                "\"total_tokens\":3}}");
    way = way_between(&translator_openai_embedding, &translator_ollama_embedding, "{}");
    assert_made(&way, "{\"data\":[{\"embedding\":\"AACAPgAAAL8=\"}]}",
                "{\"model\":\"m\",\"embeddings\":[[0.25,-0.5]],\"total_duration\":0,"
                "\"load_duration\":0,\"prompt_eval_count\":0}");
}

static void places_keep_their_order_and_scores(void **state)
{
    (void)state;
    struct answer_way way =
        way_between(&translator_cohere_ranking, &translator_openai_ranking,
                    "{\"documents\":[\"x\",{\"text\":\"y\",\"t\":1}],\"return_documents\":true}");
    struct answer seen = assert_made(
        &way,
        "{\"id\":\"r\",\"results\":[{\"index\":1,\"relevance_score\":0.90},{\"index\":0,"
        "\"relevance_score\":-4.5},{\"index\":2,\"relevance_score\":0}],\"meta\":{"
        "\"billed_units\":{\"search_units\":1}}}",
        "{\"id\":\"r\",\"object\":\"list\",\"model\":\"m\",\"results\":[{\"index\":1,"
        "\"relevance_score\":0.90,\"document\":{\"text\":\"y\",\"t\":1}},{\"index\":0,"
        "\"relevance_score\":-4.5,\"document\":{\"text\":\"x\"}},{\"index\":2,\"relevance_score\":"
        "0}],\"usage\":{\"prompt_tokens\":0,\"total_tokens\":0},\"meta\":{\"billed_units\":{"
        "\"search_units\":1}}}");
    assert_int_equal(seen.usage.units, 1);
}

static void voyages_places_are_read(void **state)
{
    (void)state;
    struct answer_way way =
        way_between(&translator_openai_ranking, &translator_cohere_ranking, "{}");
    assert_made(&way,
                "{\"object\":\"list\",\"data\":[{\"relevance_score\":0.5,\"index\":3,\"document\":"
                "\"d\"}],\"model\":\"v\",\"usage\":{\"total_tokens\":9}}",
                "{\"id\":\"id\",\"results\":[{\"index\":3,\"relevance_score\":0.5}],\"meta\":{"
                "\"api_version\":{\"version\":\"2\"},\"billed_units\":{\"input_tokens\":9}}}");
}

static void what_is_no_answer_is_broken(void **state)
{
    (void)state;
    static const struct {
        const struct translator *from, *to;
        const char *answer;
    } cases[] = {
        {&translator_openai_embedding, &translator_cohere_embedding, "{\"data\":7}"},
        {&translator_openai_embedding, &translator_cohere_embedding, "{\"data\":[{},]}"},
        {&translator_cohere_embedding, &translator_openai_embedding, "{\"id\":\"1\"}"},
        {&translator_ollama_embedding, &translator_openai_embedding, "{\"embeddings\":{}}"},
        {&translator_gemini_embedding, &translator_openai_embedding, "{}"},
        {&translator_openai_ranking, &translator_cohere_ranking, "{\"results\":[{\"index\":0}]}"},
        {&translator_cohere_ranking, &translator_openai_ranking,
         "{\"results\":[{\"index\":-1,\"relevance_score\":1}]}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct answer_way way = way_between(cases[i].from, cases[i].to, "{}");
        assert_broken(&way, cases[i].answer, FAULT_TARGET_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_asked_for_in_every_dialect),
        cmocka_unit_test(an_ollama_call_of_its_own_keeps_all),
        cmocka_unit_test(tokens_are_only_for_their_own_dialect),
        cmocka_unit_test(who_differs_is_asked_in_his_own_words),
        cmocka_unit_test(rankings_are_asked_for_in_their_own_words),
        cmocka_unit_test(nvidias_places_are_told_by_number),
        cmocka_unit_test(what_is_no_call_is_refused),
        cmocka_unit_test(numbers_keep_their_digits),
        cmocka_unit_test(base64_is_made_and_unmade),
        cmocka_unit_test(places_keep_their_order_and_scores),
        cmocka_unit_test(voyages_places_are_read),
        cmocka_unit_test(what_is_no_answer_is_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
