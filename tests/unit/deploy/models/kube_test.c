/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to an API server of Kubernetes, and what is understood of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "deploy/models/kube_read.h"
#include "gateway/base/json.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const struct launch_name name = {
    .deployment = "qwen", .replica = "a1", .revision = 3, .digest = 0xff};

static struct kube_pod read_status(const char *status)
{
    struct kube_pod pod;
    char body[2048];
    snprintf(body, sizeof(body), "{\"metadata\":{\"name\":\"p\"},\"status\":%s}", status);
    assert_true(kube_read_pod(text_of(body), &pod));
    return pod;
}

static void test_names_and_labels_are_what_kubernetes_allows(void **state)
{
    char pod[KUBE_NAME_MAX + 1], label[KUBE_LABEL_MAX + 1], other[KUBE_LABEL_MAX + 1];
    char longest[201], more[201];
    (void)state;
    kube_write_name("Node_1.example", &name, pod);
    assert_string_equal(pod, "sluice-node-1-example-qwen-a1");
    kube_write_label(TEXT("-a b/c-"), label);
    assert_string_equal(label, "xa_b_cx");
    memset(longest, 'a', 200);
    memset(more, 'a', 200);
    longest[200] = more[200] = '\0';
    more[199] = 'b';
    kube_write_label(text_of(longest), label);
    kube_write_label(text_of(more), other);
    assert_true(strlen(label) <= KUBE_LABEL_MAX);
    assert_string_not_equal(label, other);
}

static void test_a_pod_comes_back_as_what_was_launched(void **state)
{
    struct text command[] = {TEXT("--port"), TEXT("{port}")};
    struct spec_pair env[] = {{TEXT("A"), TEXT("x\"{port}")}};
    struct deployment_spec spec = {
        .image = TEXT("i:1"),
        .command = command,
        .command_count = 2,
        .env = env,
        .env_count = 1,
        .resources = {.memory_bytes = 1000, .cpus_milli = 500, .gpus = 1},
        .registry_password = TEXT("hidden")};
    struct kube_wish wish = {.name = &name, .spec = &spec, .owner = "me", .port = 9000};
    struct buffer out;
    struct kube_pod pod;
    (void)state;
    buffer_init(&out, KUBE_BODY_MAX);
    kube_write_pod(&wish, &out);
    assert_true(text_find(buffer_text(&out), TEXT("hidden")) == SIZE_MAX);
    assert_true(text_find(buffer_text(&out), TEXT("\"args\":[\"--port\",\"9000\"]")) != SIZE_MAX);
    assert_true(text_find(buffer_text(&out), TEXT("\"value\":\"x\\\"9000\"")) != SIZE_MAX);
    assert_true(text_find(buffer_text(&out), TEXT("{\"memory\":\"1000\",\"cpu\":\"500m\","
                                                  "\"nvidia.com/gpu\":\"1\"}")) != SIZE_MAX);
    assert_true(kube_read_pod(buffer_text(&out), &pod));
    assert_string_equal(pod.launch.deployment, name.deployment);
    assert_string_equal(pod.launch.replica, name.replica);
    assert_int_equal(pod.launch.revision, name.revision);
    assert_int_equal(pod.launch.digest, name.digest);
    assert_int_equal(pod.port, 9000);
    buffer_clear(&out);
    kube_write_secret(&wish, &out);
    assert_true(text_find(buffer_text(&out), TEXT("hidden")) != SIZE_MAX);
    buffer_done(&out);
}

static void test_adapters_are_in_its_arguments(void **state)
{
    const struct text command[] = {TEXT("{name}")};
    const struct adapter_spec adapter = {TEXT("poet"), TEXT("/models/poet.gguf")};
    struct deployment_spec spec = {.name = TEXT("qwen"),
                                   .image = TEXT("i:1"),
                                   .command = command,
                                   .command_count = 1,
                                   .engine = ENGINE_LLAMA_CPP,
                                   .adapters = &adapter,
                                   .adapter_count = 1};
    struct kube_wish wish = {.name = &name, .spec = &spec, .owner = "me", .port = 9000};
    struct buffer out;
    (void)state;
    buffer_init(&out, KUBE_BODY_MAX);
    kube_write_pod(&wish, &out);
    assert_true(
        text_find(buffer_text(&out), TEXT("\"args\":[\"qwen\",\"--lora\",\"/models/poet.gguf\","
                                          "\"--lora-init-without-apply\"]")) != SIZE_MAX);
    buffer_clear(&out);
    spec.engine = ENGINE_VLLM;
    kube_write_pod(&wish, &out);
    assert_true(
        text_find(buffer_text(&out), TEXT("\"env\":[{\"name\":\"VLLM_ALLOW_RUNTIME_LORA_UPDATING\","
                                          "\"value\":\"True\"}]")) != SIZE_MAX);
    buffer_done(&out);
}

static void test_a_pod_says_where_it_may_run_and_what_it_mounts(void **state)
{
    const struct spec_pair selector[] = {{TEXT("example.com/gpu"), TEXT("a100")}};
    const struct spec_toleration tolerations[] = {
        {.effect = TEXT("")},
        {TEXT("nvidia.com/gpu"), TEXT("yes"), TEXT("NoSchedule")},
    };
    const struct spec_volume volumes[] = {
        {.path = TEXT("/models"), .claim = TEXT("big"), .read_only = true},
        {.path = TEXT("/a\"b"), .host_path = TEXT("/srv")},
        {.path = TEXT("/tmp"), .size_bytes = 1024},
        {.path = TEXT("/var")},
    };
    static const char *const wanted[] = {
        "\"nodeSelector\":{\"example.com/gpu\":\"a100\"},",
        ("\"tolerations\":[{\"operator\":\"Exists\"},{\"operator\":\"Equal\",\"key\":\"nvidia.com/"
         "gpu\","
         "\"value\":\"yes\",\"effect\":\"NoSchedule\"}],"),
        ("{\"name\":\"v0\",\"persistentVolumeClaim\":{\"claimName\":\"big\",\"readOnly\":true}},"
         "{\"name\":\"v1\",\"hostPath\":{\"path\":\"/srv\"}},"
         "{\"name\":\"v2\",\"emptyDir\":{\"sizeLimit\":\"1024\"}},"
         "{\"name\":\"v3\",\"emptyDir\":{}}]"),
        ("{\"name\":\"v0\",\"readOnly\":true,\"mountPath\":\"/models\"},"
         "{\"name\":\"v1\",\"readOnly\":false,\"mountPath\":\"/a\\\"b\"},"),
        "\"limits\":{\"amd.com/gpu\":\"2\"},\"requests\":{\"amd.com/gpu\":\"2\"}",
    };
    struct deployment_spec spec = {.image = TEXT("i:1"),
                                   .resources = {.gpus = 2},
                                   .pod = {.selector = selector,
                                           .selector_count = 1,
                                           .tolerations = tolerations,
                                           .toleration_count = 2,
                                           .volumes = volumes,
                                           .volume_count = 4,
                                           .gpu_resource = TEXT("amd.com/gpu")}};
    struct kube_wish wish = {.name = &name, .spec = &spec, .owner = "me", .port = 9000};
    struct buffer out;
    struct kube_pod pod;
    (void)state;
    buffer_init(&out, KUBE_BODY_MAX);
    kube_write_pod(&wish, &out);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        if (text_find(buffer_text(&out), text_of(wanted[i])) == SIZE_MAX)
            fail_msg("%s is not in %.*s", wanted[i], TEXT_ARGS(buffer_text(&out)));
    assert_true(kube_read_pod(buffer_text(&out), &pod));
    buffer_clear(&out);
    spec = (struct deployment_spec){.image = TEXT("i:1"), .resources = {.gpus = 1}};
    kube_write_pod(&wish, &out);
    assert_true(text_find(buffer_text(&out), TEXT("nodeSelector")) == SIZE_MAX);
    assert_true(text_find(buffer_text(&out), TEXT("tolerations")) == SIZE_MAX);
    assert_true(text_find(buffer_text(&out), TEXT("\"nvidia.com/gpu\":\"1\"")) != SIZE_MAX);
    buffer_done(&out);
}

static void test_a_scale_is_read_and_a_claim_is_found_again(void **state)
{
    static const char *const bad[] = {"", "{}", "{\"status\":{\"selector\":\"\"}}", "[1]"};
    struct deployment_spec spec = {.image = TEXT("i:1")};
    struct kube_wish wish = {.name = &name, .spec = &spec, .owner = "me", .port = 9000};
    struct kube_scale scale;
    struct kube_pod pod;
    struct buffer out;
    (void)state;
    assert_true(kube_read_scale(TEXT("{\"spec\":{\"replicas\":3},\"status\":{\"replicas\":2,"
                                     "\"selector\":\"app=a,b in (c)\"}}"),
                                &scale));
    assert_int_equal(scale.wanted, 3);
    assert_int_equal(scale.there, 2);
    assert_string_equal(scale.selector, "app=a,b in (c)");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(kube_read_scale(text_of(bad[i]), &scale));
    buffer_init(&out, KUBE_BODY_MAX);
    kube_write_selector_of(TEXT("app=a,b in (c)"), &out);
    assert_true(text_equal(buffer_text(&out), TEXT("labelSelector=app%3Da%2Cb%20in%20%28c%29")));
    buffer_clear(&out);
    kube_write_claim(&wish, "theirs", &out);
    assert_true(kube_read_pod(TEXT("{\"metadata\":{\"name\":\"p\",\"labels\":{\"sluice.workload\":"
                                   "\"theirs\",\"sluice.owner\":\"me\"}},\"status\":{"
                                   "\"containerStatuses\":[{\"name\":\"vllm\",\"state\":{"
                                   "\"running\":{}}}]}}"),
                              &pod));
    assert_string_equal(pod.workload, "theirs");
    assert_string_equal(pod.owner, "me");
    assert_string_equal(pod.container, "vllm");
    assert_int_equal(pod.phase, KUBE_RUNNING);
    struct json_problem problem;
    struct json *root = json_read(buffer_text(&out), &problem);
    assert_non_null(root);
    assert_int_equal(json_count(json_member(json_member(root, "metadata"), "labels")), 7);
    json_free(root);
    buffer_done(&out);
}

static void test_what_a_pod_waits_for(void **state)
{
    static const struct {
        const char *reason, *message, *ours;
        bool is_final;
    } rows[] = {
        {"ErrImagePull", "connection refused", "pull_failed", false},
        {"ErrImagePull", "docker.io/x:1: not found", "image_missing", true},
        {"InvalidImageName", "bad", "image_missing", true},
        {"CreateContainerConfigError", "no secret", "bad_spec", true},
        {"ContainerCreating", "", "creating", false},
    };
    char status[512];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(status, sizeof(status),
                 "{\"phase\":\"Pending\",\"containerStatuses\":[{\"name\":\"server\",\"state\":"
                 "{\"waiting\":{\"reason\":\"%s\",\"message\":\"%s\"}}}]}",
                 rows[i].reason, rows[i].message);
        struct kube_pod pod = read_status(status);
        assert_int_equal(pod.phase, KUBE_PENDING);
        assert_string_equal(pod.reason, rows[i].ours);
        assert_int_equal(pod.is_final, rows[i].is_final);
    }
}

static void test_how_a_pod_ended(void **state)
{
    static const struct {
        const char *terminated;
        const char *reason;
        int exit_code, signal;
        bool oom;
    } rows[] = {
        {"{\"exitCode\":3,\"reason\":\"Error\"}", "exit", 3, 0, false},
        {"{\"exitCode\":0,\"reason\":\"Completed\"}", "exit", 0, 0, false},
        {"{\"exitCode\":139,\"reason\":\"Error\"}", "signal", -1, 11, false},
        {"{\"exitCode\":137,\"reason\":\"OOMKilled\"}", "oom_killed", -1, 9, true},
        {"{\"exitCode\":128,\"reason\":\"StartError\",\"message\":\"no such file\"}", "exec_failed",
         128, 0, false},
    };
    char status[512];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(status, sizeof(status),
                 "{\"phase\":\"Failed\",\"containerStatuses\":[{\"name\":\"server\",\"state\":"
                 "{\"terminated\":%s}}]}",
                 rows[i].terminated);
        struct kube_pod pod = read_status(status);
        assert_int_equal(pod.phase, KUBE_ENDED);
        assert_string_equal(pod.reason, rows[i].reason);
        assert_int_equal(pod.exit_code, rows[i].exit_code);
        assert_int_equal(pod.signal, rows[i].signal);
        assert_int_equal(pod.oom, rows[i].oom);
    }
    assert_string_equal(read_status("{\"phase\":\"Failed\",\"reason\":\"Evicted\"}").reason,
                        "evicted");
}

static void test_watches_and_lines(void **state)
{
    struct kube_event event;
    struct text when, what;
    (void)state;
    assert_true(kube_read_event(
        TEXT("{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":\"old\"}}"), &event));
    assert_int_equal(event.change, KUBE_ERROR);
    assert_int_equal(event.code, 410);
    assert_true(kube_read_event(
        TEXT("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"12\"}}}"),
        &event));
    assert_string_equal(event.version, "12");
    assert_false(kube_read_event(TEXT("{\"type\":\"OTHER\",\"object\":{}}"), &event));
    assert_false(kube_read_event(TEXT("{\"type\":\"ADDED\""), &event));
    assert_true(kube_read_line(TEXT("2026-01-01T00:00:00.5Z a b"), &when, &what));
    assert_true(text_equal(what, TEXT("a b")));
    assert_false(kube_read_line(TEXT("just words"), &when, &what));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_labels_are_what_kubernetes_allows),
        cmocka_unit_test(test_a_pod_comes_back_as_what_was_launched),
        cmocka_unit_test(test_adapters_are_in_its_arguments),
        cmocka_unit_test(test_a_pod_says_where_it_may_run_and_what_it_mounts),
        cmocka_unit_test(test_a_scale_is_read_and_a_claim_is_found_again),
        cmocka_unit_test(test_what_a_pod_waits_for),
        cmocka_unit_test(test_how_a_pod_ended),
        cmocka_unit_test(test_watches_and_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
