/* SPDX-License-Identifier: Apache-2.0 */
/* What became of a declared revision, as words: what is written is read back, with few secrets in
 * it, and whatever else stands there does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "deploy/models/verdict.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static struct buffer words;
static struct fleet_verdict found;

static int set_up(void **state)
{
    (void)state;
    buffer_init(&words, VERDICT_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_done(&words);
    return 0;
}

static const struct text command[] = {TEXT("serve"), TEXT("--port"), TEXT("{port}")};
static const struct text other_command[] = {TEXT("serve"), TEXT("it's \"new\"\n\\ \xe2\x98\x83")};
static const struct spec_pair env[] = {{TEXT("TOKEN"), TEXT("5ecre7")}, {TEXT("LEVEL"), TEXT("1")}};
static const struct spec_pair other_env[] = {{TEXT("LEVEL"), TEXT("2")},
                                             {TEXT("TOKEN"), TEXT("5ecre7")}};
static const struct spec_volume volumes[] = {{.path = TEXT("/m"), .claim = TEXT("models")},
                                             {.path = TEXT("/t"), .size_bytes = 5}};
static const struct spec_pair selector[] = {{TEXT("zone"), TEXT("a")}};
static const struct spec_toleration tolerations[] = {{TEXT("gpu"), TEXT(""), TEXT("NoSchedule")}};
static const struct adapter_spec adapters[] = {{TEXT("legal"), TEXT("/m/legal.gguf")}};

static struct deployment_spec first(void)
{
    return (struct deployment_spec){.name = TEXT("qwen"),
                                    .launcher = LAUNCH_BY_KUBERNETES,
                                    .command = command,
                                    .command_count = 3,
                                    .env = env,
                                    .env_count = 2,
                                    .adapters = adapters,
                                    .adapter_count = 1,
                                    .image = TEXT("a:1"),
                                    .engine = ENGINE_LLAMA_CPP,
                                    .container_port = 8080,
                                    .resources = {.memory_bytes = INT64_C(5) << 30, .gpus = 1},
                                    .registry_password = TEXT("pa55word"),
                                    .pod = {.volumes = volumes,
                                            .volume_count = 2,
                                            .selector = selector,
                                            .selector_count = 1,
                                            .tolerations = tolerations,
                                            .toleration_count = 1,
                                            .gpu_resource = TEXT("amd.com/gpu")},
                                    .probe = {.path = TEXT("/health")},
                                    .scaling = {.max = 2, .parallel = 8}};
}

static struct deployment_spec second(void)
{
    struct deployment_spec spec = first();
    spec.command = other_command;
    spec.command_count = 2;
    spec.env = other_env;
    spec.image = TEXT("a:2");
    spec.node = TEXT("other");
    spec.served_name = TEXT("m");
    spec.engine = ENGINE_VLLM;
    spec.resources.memory_bytes = 7;
    spec.pod.volume_count = 1;
    spec.pod.selector_count = spec.pod.toleration_count = 0;
    spec.adapter_count = 0;
    spec.scaling.max = 9;
    return spec;
}

/* <served> in the place of <declared>, written and read. */
static struct deployment_spec *again(const struct deployment_spec *served,
                                     const struct deployment_spec *declared)
{
    struct fleet_verdict verdict = {
        .declared = declared->digest, .rejected = true, .reason = "canary_errors"};
    struct deployment_spec *copy = spec_copy(served);
    verdict.served = copy;
    buffer_clear(&words);
    assert_true(verdict_write(&words, &verdict, declared));
    assert_null(memchr(buffer_text(&words).at, '\n', buffer_length(&words)));
    bool good = verdict_read(buffer_text(&words), declared, &found);
    spec_unref(copy);
    return good ? found.served : NULL;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct deployment_spec one = first(), two = second();
    struct deployment_spec *declared = spec_copy(&two), *old = spec_copy(&one);
    for (int i = 0; i < 2; i++) { /* both ways */
        struct deployment_spec *served = again(old, declared);
        assert_non_null(served);
        assert_true(served->digest == old->digest && served->digest != declared->digest);
        assert_true(found.rejected);
        assert_string_equal(found.reason, "canary_errors");
        assert_true(found.declared == declared->digest);
        assert_int_equal(served->scaling.max,
                         declared->scaling.max); /* that is not of a revision */
        assert_true(text_equal(served->registry_password, TEXT("pa55word")));
        spec_unref(served);
        served = old;
        old = declared;
        declared = served;
    }
    spec_unref(declared);
    spec_unref(old);
}

static bool says(const char *what)
{
    return text_find(buffer_text(&words), text_of(what)) != SIZE_MAX;
}

static void secrets_that_are_declared_are_not_written(void **state)
{
    (void)state;
    struct deployment_spec one = first(), two = second();
    struct deployment_spec *declared = spec_copy(&two);
    spec_unref(again(&one, declared));
    assert_true(says("TOKEN") && says("LEVEL") && !says("5ecre7") && !says("pa55word"));
    spec_unref(declared);
}

static void one_of_another_revision_says_nothing(void **state)
{
    (void)state;
    struct deployment_spec one = first(), two = second(), three = second();
    three.image = TEXT("a:3");
    struct deployment_spec *declared = spec_copy(&two), *next = spec_copy(&three);
    spec_unref(again(&one, declared));
    assert_false(verdict_read(buffer_text(&words), next, &found));
    assert_null(found.served);
    spec_unref(declared);
    spec_unref(next);
}

/* Cut short or with any byte changed it is not another spec: it is none, or the same. */
static void what_was_tampered_with_is_not_believed(void **state)
{
    (void)state;
    struct deployment_spec one = first(), two = second();
    struct deployment_spec *declared = spec_copy(&two), *old = spec_copy(&one);
    spec_unref(again(old, declared));
    struct text whole = buffer_text(&words);
    char copy[4096];
    assert_true(whole.len < sizeof(copy));
    for (size_t i = 0; i < whole.len; i++) {
        assert_false(verdict_read(text_head(whole, i), declared, &found));
        for (const char *by = "0\"[x"; *by; by++) {
            memcpy(copy, whole.at, whole.len);
            copy[i] = *by;
            if (!verdict_read((struct text){copy, whole.len}, declared, &found))
                continue;
            assert_true(found.served->digest == old->digest);
            spec_unref(found.served);
        }
    }
    static const char *const others[] = {
        "", "{}", "[]", "7", "{\"declared\":1,\"spec\":[]}", "{\"spec\":{\"env\":[\"A\"]}}"};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_false(verdict_read(text_of(others[i]), declared, &found));
    spec_unref(declared);
    spec_unref(old);
}

static void what_is_too_large_is_not_written(void **state)
{
    (void)state;
    static char huge[VERDICT_BYTES];
    memset(huge, 'x', sizeof(huge));
    struct text argument = {huge, sizeof(huge)};
    struct deployment_spec one = first(), two = second();
    one.command = &argument;
    one.command_count = 1;
    struct deployment_spec *declared = spec_copy(&two), *old = spec_copy(&one);
    struct fleet_verdict verdict = {.declared = declared->digest, .served = old};
    assert_false(verdict_write(&words, &verdict, declared));
    spec_unref(declared);
    spec_unref(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_that_are_declared_are_not_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_of_another_revision_says_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_tampered_with_is_not_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_large_is_not_written, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
