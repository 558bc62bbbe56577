/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "deploy/models/spec.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct spec_pair env[] = {{TEXT("A"), TEXT("1")}, {TEXT("B"), TEXT("")}};
static const struct adapter_spec adapters[] = {{TEXT("legal"), TEXT("/m/legal.gguf")}};

static struct deployment_spec plain(struct text *command)
{
    command[0] = TEXT("llama-server");
    command[1] = TEXT("--port");
    command[2] = TEXT("{port}");
    return (struct deployment_spec){.name = TEXT("qwen"),
                                    .command = command,
                                    .command_count = 3,
                                    .env = env,
                                    .env_count = 2,
                                    .adapters = adapters,
                                    .adapter_count = 1,
                                    .engine = ENGINE_VLLM,
                                    .registry_password = TEXT("secret"),
                                    .probe = {.path = TEXT("/health")},
                                    .scaling = {.max = 2, .parallel = 8}};
}

static void a_copy_owns_all_it_points_to(void **state)
{
    (void)state;
    struct text command[3];
    char name[] = "qwen", argument[] = "--port";
    struct deployment_spec spec = plain(command);
    spec.name = text_of(name);
    command[1] = text_of(argument);
    struct deployment_spec *copy = spec_copy(&spec);
    memset(name, 'x', 4);
    memset(argument, 'x', 6);
    memset(command, 0, sizeof(command));
    assert_int_equal(copy->references, 1);
    assert_true(text_equal(copy->name, TEXT("qwen")));
    assert_true(text_equal(copy->command[0], TEXT("llama-server")));
    assert_true(text_equal(copy->command[1], TEXT("--port")));
    assert_int_equal(copy->name.at[copy->name.len], 0);
    assert_true(text_equal(copy->env[0].value, TEXT("1")));
    assert_int_equal(copy->env[1].value.len, 0);
    assert_true(text_equal(copy->adapters[0].source, TEXT("/m/legal.gguf")));
    assert_ptr_not_equal(copy->adapters, adapters);
    assert_ptr_equal(spec_ref(copy), copy);
    spec_unref(copy);
    assert_true(text_equal(copy->registry_password, TEXT("secret")));
    struct deployment_spec *again = spec_copy(copy);
    assert_true(again->digest == copy->digest && copy->digest != 0);
    spec_unref(copy);
    assert_true(text_equal(again->command[2], TEXT("{port}")));
    spec_unref(again);
    spec_unref(NULL);
}

static void the_digest_is_of_what_a_replica_cannot_take_over(void **state)
{
    (void)state;
    struct text command[3], other[3];
    struct deployment_spec spec = plain(command), changed = plain(other);
    uint64_t digest = spec_digest(&spec);
    assert_true(digest == spec_digest(&changed));
    changed.scaling.max = 7;
    changed.scaling.parallel = 9;
    changed.hold.max_requests = 1;
    changed.eviction.pin = true;
    changed.rollout.surge = 3;
    changed.max_spend_nanos = 5;
    changed.adapter_count = 0; /* this engine loads them while it runs */
    assert_true(digest == spec_digest(&changed));
    other[2] = TEXT("8080");
    assert_true(digest != spec_digest(&changed));
    changed = plain(other);
    changed.command_count = 2;
    assert_true(digest != spec_digest(&changed));
    changed = plain(other);
    changed.resources.memory_bytes = 1;
    assert_true(digest != spec_digest(&changed));
    changed = plain(other);
    changed.env_count = 1;
    assert_true(digest != spec_digest(&changed));
    changed = plain(other);
    changed.probe.path = TEXT("/healthz");
    assert_true(digest != spec_digest(&changed));
}

static void what_a_pod_mounts_is_copied_and_counts(void **state)
{
    (void)state;
    struct text command[3], other[3];
    char path[] = "/models", key[] = "gpu", label[] = "a100";
    struct spec_volume volume = {.path = text_of(path), .claim = TEXT("c"), .read_only = true};
    struct spec_toleration toleration = {text_of(key), TEXT(""), TEXT("NoExecute")};
    struct spec_pair selector = {TEXT("gpu"), text_of(label)};
    struct deployment_spec spec = plain(command), bare = plain(other);
    spec.pod.selector = &selector;
    spec.pod.tolerations = &toleration;
    spec.pod.volumes = &volume;
    spec.pod.selector_count = spec.pod.toleration_count = spec.pod.volume_count = 1;
    assert_true(spec_digest(&spec) != spec_digest(&bare));
    struct deployment_spec *copy = spec_copy(&spec);
    memset(path, 'x', strlen(path));
    memset(key, 'x', strlen(key));
    memset(label, 'x', strlen(label));
    assert_true(text_equal(copy->pod.volumes[0].path, TEXT("/models")));
    assert_true(text_equal(copy->pod.tolerations[0].key, TEXT("gpu")));
    assert_true(text_equal(copy->pod.selector[0].value, TEXT("a100")));
    uint64_t digest = spec_digest(&spec);
    volume.read_only = false;
    assert_true(spec_digest(&spec) != digest);
    volume.read_only = true;
    toleration.effect = TEXT("");
    assert_true(spec_digest(&spec) != digest);
    toleration.effect = TEXT("NoExecute");
    selector.value = TEXT("h100");
    assert_true(spec_digest(&spec) != digest);
    selector.value = text_of(label);
    spec.pod.gpu_resource = TEXT("amd.com/gpu");
    assert_true(spec_digest(&spec) != digest);
    spec_unref(copy);
}

static void adapters_and_places_count_where_arguments_say_them(void **state)
{
    (void)state;
    struct text command[3], other[3];
    struct deployment_spec spec = plain(command), changed = plain(other);
    spec.engine = changed.engine = ENGINE_LLAMA_CPP;
    changed.adapter_count = 0;
    assert_true(spec_digest(&spec) != spec_digest(&changed));
    changed.adapter_count = 1;
    assert_true(spec_digest(&spec) == spec_digest(&changed));
    command[2] = other[2] = TEXT("{parallel}");
    assert_true(spec_digest(&spec) == spec_digest(&changed));
    changed.scaling.parallel = 9;
    assert_true(spec_digest(&spec) != spec_digest(&changed));
}

static void two_texts_are_not_one(void **state)
{
    (void)state;
    struct text command[3], other[3];
    struct deployment_spec spec = plain(command), changed = plain(other);
    command[0] = TEXT("ab");
    command[1] = TEXT("c");
    other[0] = TEXT("a");
    other[1] = TEXT("bc");
    assert_true(spec_digest(&spec) != spec_digest(&changed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_owns_all_it_points_to),
        cmocka_unit_test(the_digest_is_of_what_a_replica_cannot_take_over),
        cmocka_unit_test(what_a_pod_mounts_is_copied_and_counts),
        cmocka_unit_test(adapters_and_places_count_where_arguments_say_them),
        cmocka_unit_test(two_texts_are_not_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
