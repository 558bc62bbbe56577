/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to an engine of containers, and what is understood of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/models/docker_log.h"
#include "deploy/models/docker_read.h"
#include "deploy/models/docker_write.h"
#include "deploy/models/line_cut.h"
#include "gateway/base/hash.h"
#include "gateway/base/json.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void names_of_images_are_checked(void **state)
{
    static const char *const good[] = {"a", "library/debian:bookworm-slim", "localhost/fake",
                                       "127.0.0.1:5000/a/b_c:1.0",
                                       "ghcr.io/x/y@sha256:0123456789abcdef"};
    static const char *const bad[] = {"",     "/a",        "a/",  "a b",    "../x",
                                      "a//b", "a?b",       "a#b", "a%2Fb",  "a\nb",
                                      "a:b:", "http://x/", "-a",  "a..b/c", "\xC3\xBC"};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(docker_image_is_name(text_of(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(docker_image_is_name(text_of(bad[i])));
}

static void a_pull_asks_for_one_tag(void **state)
{
    static const struct {
        const char *image, *query;
    } cases[] = {
        {"debian", "fromImage=debian&tag=latest"},
        {"debian:12", "fromImage=debian&tag=12"},
        {"h:5000/a/b", "fromImage=h:5000/a/b&tag=latest"},
        {"h:5000/a/b:v1", "fromImage=h:5000/a/b&tag=v1"},
        {"a/b@sha256:12", "fromImage=a/b@sha256:12"},
        {"h:5000/b:v1@sha256:12", "fromImage=h:5000/b:v1@sha256:12"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer out;
        buffer_init(&out, 1000);
        docker_write_pull(text_of(cases[i].image), &out);
        assert_true(text_equal(buffer_text(&out), text_of(cases[i].query)));
        buffer_done(&out);
    }
}

/* base64url of JSON; the padding stays, as Go reads it. */
static void check_credentials(const char *image, const char *server)
{
    struct buffer out;
    uint8_t plain[500];
    char coded[500];
    struct text user = TEXT("ann"), password = TEXT("?\xC3\xBF\"\xF0\x9F\xA6\x80~>>"), value;
    buffer_init(&out, 1000);
    docker_write_auth(text_of(image), user, password, &out);
    struct text said = buffer_text(&out);
    assert_true(said.len < sizeof(coded));
    for (size_t i = 0; i < said.len; i++) {
        assert_true(said.at[i] != '+' && said.at[i] != '/');
        coded[i] = said.at[i] == '-' ? '+' : said.at[i] == '_' ? '/' : said.at[i];
    }
    size_t len = hash_unbase64((struct text){coded, said.len}, plain);
    struct json_problem problem;
    struct json *root = json_read((struct text){(char *)plain, len}, &problem);
    assert_true(json_to_text(json_member(root, "username"), &value) && text_equal(value, user));
    assert_true(json_to_text(json_member(root, "password"), &value) && text_equal(value, password));
    assert_true(json_to_text(json_member(root, "serveraddress"), &value) &&
                text_equal(value, text_of(server)));
    json_free(root);
    buffer_done(&out);
}

static void credentials_are_for_the_images_registry(void **state)
{
    (void)state;
    check_credentials("ghcr.io/a/b:1", "ghcr.io");
    check_credentials("localhost/b", "localhost");
    check_credentials("h:5000/b", "h:5000");
    check_credentials("a/b", "https://index.docker.io/v1/");
    check_credentials("debian", "https://index.docker.io/v1/");
}

/* ------------------------------------------------------------------------------ create */

static const struct json *at(const struct json *from, const char *path)
{
    char copy[100], *rest = copy;
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *name; (name = strsep(&rest, "."));)
        from = json_member(from, name);
    return from;
}

static struct json *created(const struct docker_wish *wish)
{
    struct buffer out;
    struct json_problem problem;
    buffer_init(&out, 100000);
    docker_write_container(wish, &out);
    assert_false(out.overrun);
    struct json *root = json_read(buffer_text(&out), &problem);
    assert_non_null(root);
    buffer_done(&out);
    return root;
}

static void gpus_are_counted_or_named(void **state)
{
    struct launch_name name = {.deployment = "d", .replica = "r"};
    struct spec_pair env = {TEXT("NVIDIA_VISIBLE_DEVICES"), TEXT("0, 2")};
    struct deployment_spec spec = {.image = TEXT("x"), .resources = {.gpus = 2}};
    struct docker_wish wish = {.name = &name, .spec = &spec, .owner = "o", .port = 8080};
    int64_t count;
    struct text id;
    (void)state;
    struct json *root = created(&wish);
    const struct json *request = json_item(at(root, "HostConfig.DeviceRequests"), 0);
    assert_true(json_to_int(json_member(request, "Count"), 0, 9, &count) && count == 2);
    assert_int_equal(json_count(json_item(json_member(request, "Capabilities"), 0)), 1);
    json_free(root);
    spec.env = &env;
    spec.env_count = 1;
    root = created(&wish);
    request = json_item(at(root, "HostConfig.DeviceRequests"), 0);
    assert_null(json_member(request, "Count"));
    assert_true(json_to_text(json_item(json_member(request, "DeviceIDs"), 1), &id) &&
                text_equal(id, TEXT("2")));
    json_free(root);
    spec.resources.gpus = 0;
    root = created(&wish);
    assert_null(at(root, "HostConfig.DeviceRequests"));
    json_free(root);
}

static void the_port_stands_where_it_is_asked_for(void **state)
{
    struct launch_name name = {.deployment = "d", .replica = "r"};
    const struct text command[] = {TEXT("--port={port}"), TEXT("{port}{port}"), TEXT("{Port}")};
    struct deployment_spec spec = {.image = TEXT("x"), .command = command, .command_count = 3};
    struct docker_wish wish = {
        .name = &name, .spec = &spec, .owner = "o", .port = 81, .publish = "127.0.0.1"};
    static const char *const wanted[] = {"--port=81", "8181", "{Port}"};
    struct text word;
    (void)state;
    struct json *root = created(&wish);
    for (size_t i = 0; i < 3; i++)
        assert_true(json_to_text(json_item(at(root, "Cmd"), i), &word) &&
                    text_equal(word, text_of(wanted[i])));
    const struct json *bound = at(root, "HostConfig.PortBindings.81/tcp");
    assert_true(json_to_text(json_member(json_item(bound, 0), "HostIp"), &word) &&
                text_equal(word, TEXT("127.0.0.1")));
    json_free(root);
}

static void adapters_and_names_stand_in_it_as_for_a_process(void **state)
{
    struct launch_name name = {.deployment = "d", .replica = "d-1", .revision = 7};
    const struct text command[] = {TEXT("{model}-{parallel}-{replica}-{revision}-{host}")};
    const struct adapter_spec adapter = {TEXT("poet"), TEXT("/models/poet.gguf")};
    struct spec_pair env = {TEXT("NAME"), TEXT("{name}")};
    struct deployment_spec spec = {.name = TEXT("d"),
                                   .image = TEXT("x"),
                                   .command = command,
                                   .command_count = 1,
                                   .env = &env,
                                   .env_count = 1,
                                   .engine = ENGINE_LLAMA_CPP,
                                   .scaling.parallel = 4,
                                   .adapters = &adapter,
                                   .adapter_count = 1};
    struct docker_wish wish = {.name = &name, .spec = &spec, .owner = "o", .port = 81};
    static const char *const wanted[] = {"d-4-d-1-7-0.0.0.0", "--lora", "/models/poet.gguf",
                                         "--lora-init-without-apply"};
    struct text word;
    (void)state;
    struct json *root = created(&wish);
    assert_int_equal(json_count(at(root, "Cmd")), 4);
    for (size_t i = 0; i < 4; i++)
        assert_true(json_to_text(json_item(at(root, "Cmd"), i), &word) &&
                    text_equal(word, text_of(wanted[i])));
    assert_int_equal(json_count(at(root, "Env")), 1); /* nothing of ours */
    assert_true(json_to_text(json_item(at(root, "Env"), 0), &word) &&
                text_equal(word, TEXT("NAME=d")));
    json_free(root);
    spec.engine = ENGINE_VLLM;
    wish.host = "127.0.0.1";
    root = created(&wish);
    assert_int_equal(json_count(at(root, "Cmd")), 1);
    assert_true(json_to_text(json_item(at(root, "Env"), 0), &word) &&
                text_equal(word, TEXT("VLLM_ALLOW_RUNTIME_LORA_UPDATING=True")));
    json_free(root);
}

static void names_of_containers_have_only_what_may_be_in_them(void **state)
{
    struct launch_name name = {.deployment = "qwen", .replica = "qwen-1z"};
    char out[DOCKER_NAME_MAX];
    (void)state;
    docker_write_name("host/a b\n..", &name, out);
    assert_string_equal(out, "sluice-host_a_b_..-qwen-qwen-1z");
}

/* -------------------------------------------------------------------------------- read */

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct docker_container inspected(const char *state, const char *rest)
{
    char body[2000];
    struct docker_container container;
    snprintf(body, sizeof(body),
             "{\"Id\":\"" ID
             "\",\"State\":%s,\"Config\":{\"Labels\":{\"sluice.port\":\"8080\"}}%s}",
             state, rest);
    assert_true(docker_read_container(text_of(body), "h", true, &container));
    return container;
}

static void states_of_both_engines_are_known(void **state)
{
    static const struct {
        const char *status;
        bool runs, ended;
    } cases[] = {
        {"created", false, false}, {"configured", false, false}, {"initialized", false, false},
        {"running", true, false},  {"paused", true, false},      {"stopping", true, false},
        {"exited", false, true},   {"stopped", false, true},     {"dead", false, true},
        {"removing", false, true}, {"restarting", true, false}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char words[60];
        snprintf(words, sizeof(words), "{\"Status\":\"%s\"}", cases[i].status);
        struct docker_container seen = inspected(words, "");
        assert_int_equal(seen.runs, cases[i].runs);
        assert_int_equal(seen.ended, cases[i].ended);
    }
}

static void an_address_is_the_published_one_or_its_own(void **state)
{
    static const char running[] = "{\"Status\":\"running\"}";
    struct docker_container seen;
    (void)state;
    seen = inspected(running, ",\"NetworkSettings\":{\"Ports\":{\"8080/tcp\":[{\"HostPort\":\"\"},"
                              "{\"HostPort\":\"99999\"},{\"HostPort\":\"49153\"}]}}");
    assert_string_equal(seen.address.host, "h");
    assert_int_equal(seen.address.port, 49153);
    seen = inspected(running, ",\"NetworkSettings\":{\"Ports\":{},\"Networks\":{\"a\":"
                              "{\"IPAddress\":\"\"},\"b\":{\"IPAddress\":\"10.0.0.7\"}}}");
    assert_string_equal(seen.address.host, "10.0.0.7");
    assert_int_equal(seen.address.port, 8080);
    seen = inspected(running, ",\"HostConfig\":{\"NetworkMode\":\"host\"}");
    assert_string_equal(seen.address.host, "h");
    assert_int_equal(seen.address.port, 8080);
    seen = inspected(running, "");
    assert_int_equal(seen.address.port, 0);
}

static void what_is_no_container_is_none(void **state)
{
    static const char *const bad[] = {"",
                                      "null",
                                      "[]",
                                      "{\"Id\":\"" ID "\"}",
                                      "{\"Id\":\"../x\",\"State\":{\"Status\":\"running\"}}",
                                      "{\"Id\":7,\"State\":{\"Status\":\"running\"}}"};
    struct docker_container container;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(docker_read_container(text_of(bad[i]), "h", true, &container));
}

static void cached_files_are_no_memory(void **state)
{
    (void)state;
    assert_int_equal(docker_read_memory(TEXT("{\"memory_stats\":{\"usage\":1000,\"stats\":"
                                             "{\"total_inactive_file\":300}}}")),
                     700);
    assert_int_equal(docker_read_memory(TEXT("{\"memory_stats\":{\"usage\":1000,\"stats\":"
                                             "{\"inactive_file\":200}}}")),
                     800);
    assert_int_equal(docker_read_memory(TEXT("{\"memory_stats\":{\"usage\":-5}}")), 0);
    assert_int_equal(docker_read_memory(TEXT("{}")), 0);
}

/* ------------------------------------------------------------------------------- pulls */

static void a_pull_is_the_sum_of_its_layers(void **state)
{
    struct docker_pull pull = {.permille = -1};
    (void)state;
    docker_pull_line(&pull, TEXT("{\"status\":\"Pulling fs layer\",\"id\":\"a\"}"));
    assert_int_equal(pull.permille, -1);
    docker_pull_line(&pull, TEXT("{\"status\":\"Downloading\",\"id\":\"a\",\"progressDetail\":"
                                 "{\"current\":50,\"total\":100}}"));
    assert_int_equal(pull.permille, 500);
    docker_pull_line(&pull, TEXT("{\"status\":\"Downloading\",\"id\":\"b\",\"progressDetail\":"
                                 "{\"current\":0,\"total\":300}}"));
    assert_int_equal(pull.permille, 500); /* never back */
    docker_pull_line(&pull, TEXT("{\"status\":\"Download complete\",\"id\":\"b\"}"));
    assert_int_equal(pull.permille, 875);
    docker_pull_line(&pull, TEXT("{\"errorDetail\":{\"message\":\"no\\nspace\"},\"error\":\"x\"}"));
    assert_true(pull.failed);
    assert_string_equal(pull.error, "no space");
}

static void some_failures_are_for_good(void **state)
{
    static const struct {
        const char *words, *reason;
    } cases[] = {
        {"manifest for x:y not found: manifest unknown: manifest unknown", "image_missing"},
        {"pull access denied for x, repository does not exist", "forbidden"},
        {"unauthorized: authentication required", "forbidden"},
        {"toomanyrequests: You have reached your pull rate limit: access denied", NULL},
        {"Get \"https://registry/v2/\": dial tcp: connection refused", NULL},
        {"write /var/lib/docker/tmp: no space left on device", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *reason = docker_pull_verdict(cases[i].words);
        if (cases[i].reason)
            assert_string_equal(reason, cases[i].reason);
        else
            assert_null(reason);
    }
}

/* -------------------------------------------------------------------------------- logs */

static void times_are_read_in_any_zone(void **state)
{
    static const struct {
        const char *line, *rest;
        int64_t ns;
    } cases[] = {
        {"1970-01-01T00:00:01Z x", "x", 1000000000},
        {"2026-11-26T11:25:30.123456789Z a b", "a b", 1795692330123456789},
        {"2026-11-26T12:25:30.5+01:00 ", "", 1795692330500000000},
        {"2026-11-26T03:25:30-08:00 x", "x", 1795692330000000000},
    };
    static const char *const none[] = {"",
                                       "x",
                                       "2026-11-26T11:25:30 x",
                                       "2026-13-26T11:25:30Z x",
                                       "2026-11-26 11:25:30Z x",
                                       "1969-11-26T11:25:30Z x",
                                       "2026-11-26T11:25:30.Q x",
                                       "2026-11-26T11:25:30+1:00 x"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct text line = text_of(cases[i].line);
        int64_t ns = 0;
        assert_true(docker_take_time(&line, &ns));
        assert_int_equal(ns, cases[i].ns);
        assert_true(text_equal(line, text_of(cases[i].rest)));
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct text line = text_of(none[i]);
        int64_t ns = 7;
        assert_false(docker_take_time(&line, &ns));
        assert_true(text_equal(line, text_of(none[i])));
    }
}

struct lines {
    char all[200];
};

static void on_line(void *with, struct text line)
{
    struct lines *lines = with;
    size_t len = strlen(lines->all);
    snprintf(lines->all + len, sizeof(lines->all) - len, "[%.*s]", TEXT_ARGS(line));
}

static void check_cut(bool splits, const char *wanted)
{
    static const char fed[] = "ab\r\n\n12345678901\nc";
    for (size_t step = 1; step < sizeof(fed); step++) {
        struct lines lines = {""};
        struct line_cut cut;
        line_cut_init(&cut, 5, splits, on_line, &lines);
        for (size_t at_byte = 0; at_byte < sizeof(fed) - 1; at_byte += step)
            line_cut_feed(&cut, text_head(text_from(text_of(fed), at_byte), step));
        line_cut_end(&cut);
        assert_string_equal(lines.all, wanted);
    }
}

static void long_lines_are_split_or_skipped(void **state)
{
    (void)state;
    check_cut(true, "[ab][][12345][67890][1][c]");
    check_cut(false, "[ab][][c]");
}

static void who_holds_a_name_is_read_from_an_error(void **state)
{
    (void)state;
    static const char sixty_four[] =
        "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
    char said[500], id[DOCKER_ID_MAX + 1];
    snprintf(said, sizeof(said),
             "{\"message\":\"the name \\\"x\\\" is already in use by \\\"%s\\\". Remove it\"}",
             sixty_four);
    assert_true(docker_read_holder(text_of(said), id));
    assert_string_equal(id, sixty_four);
    assert_false(docker_read_holder(TEXT("{\"message\":\"in use by abcdef0123\"}"), id));
    assert_string_equal(id, "");
    assert_false(docker_read_holder(TEXT("{\"Id\":\"abc\"}"), id));
    assert_false(docker_read_holder(TEXT("no json"), id));
    assert_string_equal(id, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_images_are_checked),
        cmocka_unit_test(a_pull_asks_for_one_tag),
        cmocka_unit_test(credentials_are_for_the_images_registry),
        cmocka_unit_test(gpus_are_counted_or_named),
        cmocka_unit_test(the_port_stands_where_it_is_asked_for),
        cmocka_unit_test(adapters_and_names_stand_in_it_as_for_a_process),
        cmocka_unit_test(names_of_containers_have_only_what_may_be_in_them),
        cmocka_unit_test(states_of_both_engines_are_known),
        cmocka_unit_test(an_address_is_the_published_one_or_its_own),
        cmocka_unit_test(what_is_no_container_is_none),
        cmocka_unit_test(cached_files_are_no_memory),
        cmocka_unit_test(a_pull_is_the_sum_of_its_layers),
        cmocka_unit_test(some_failures_are_for_good),
        cmocka_unit_test(times_are_read_in_any_zone),
        cmocka_unit_test(long_lines_are_split_or_skipped),
        cmocka_unit_test(who_holds_a_name_is_read_from_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
