/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/gauge_text.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct gauges read_all(const char *text)
{
    struct gauges gauges;
    assert_true(gauge_text_read(text_of(text), &gauges));
    return gauges;
}

static void reads_vllm_with_several_engines(void **state)
{
    (void)state;
    struct gauges gauges =
        read_all("# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
                 "# TYPE vllm:num_requests_running gauge\n"
                 "vllm:num_requests_running{engine=\"0\",model_name=\"a } b\\\"\"} 7.0\n"
                 "vllm:num_requests_running{engine=\"1\",model_name=\"a\"} 5.0\n"
                 "vllm:num_requests_waiting{engine=\"0\"} 3.0\n"
                 "vllm:num_requests_waiting_by_reason{reason=\"x\"} 100.0\n"
                 "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n"
                 "vllm:kv_cache_usage_perc{engine=\"1\"} 0.9375\n");
    assert_int_equal(gauges.running, 12);
    assert_int_equal(gauges.waiting, 3);
    assert_int_equal(gauges.cache_ppm, 937500);
}

static void reads_the_others(void **state)
{
    (void)state;
    struct gauges gauges = read_all("llamacpp:requests_processing 2\nllamacpp:requests_deferred 1");
    assert_int_equal(gauges.running, 2);
    assert_int_equal(gauges.waiting, 1);
    assert_int_equal(gauges.cache_ppm, -1);
    gauges = read_all("sglang:num_queue_reqs{a=\"b\"} 4.0\nsglang:token_usage{a=\"b\"} 1e-05\n");
    assert_int_equal(gauges.waiting, 4);
    assert_int_equal(gauges.running, -1);
    assert_int_equal(gauges.cache_ppm, 0);
    gauges = read_all("tgi_queue_size 9\ntgi_batch_current_size 8\n");
    assert_int_equal(gauges.waiting, 9);
    assert_int_equal(gauges.running, 8);
}

static void takes_nothing_for_what_it_is_not(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "",
        "\n\n",
        "tgi_queue_size",
        "tgi_queue_size NaN\n",
        "tgi_queue_size -5\n",
        "tgi_queue_size +Inf\n",
        "tgi_queue_size 1e+09\n",
        "tgi_queue_sizes 5\n",
        "vllm:num_requests_waiting{model=\"never closed\n",
        "vllm:num_requests_waiting{",
        "<html>tgi_queue_size 5</html>",
    };
    struct gauges gauges;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_false(gauge_text_read(text_of(odd[i]), &gauges));
    gauges = read_all("tgi_queue_size 99999999999999999999999999\nsglang:token_usage 7.5\n");
    assert_true(gauges.waiting > 0);
    assert_int_equal(gauges.cache_ppm, 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_vllm_with_several_engines),
        cmocka_unit_test(reads_the_others),
        cmocka_unit_test(takes_nothing_for_what_it_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
