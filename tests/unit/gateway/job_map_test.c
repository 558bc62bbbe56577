/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/job_files.h"
#include "gateway/job_map.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define FORM "multipart/form-data; boundary=---011000010111000001101001"
#define PART(name, value)                                                           \
    "-----011000010111000001101001\r\nContent-Disposition: form-data; name=\"" name \
    "\"\r\n\r\n" value "\r\n"
#define END "-----011000010111000001101001--\r\n"

static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 4096);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static struct text json_of(const struct job_fields *fields, const char *name)
{
    const struct job_field *field = job_fields_find(fields, name);
    return field ? field->json : (struct text){NULL, 0};
}

static void assert_text(struct text have, const char *want)
{
    assert_int_equal(have.len, strlen(want));
    assert_memory_equal(have.at, want, have.len);
}

static void a_form_means_what_json_means(void **state)
{
    (void)state;
    struct job_fields fields;
    struct fault fault;
    struct text body = TEXT(PART("prompt", "7") PART("temp", "0.98") PART("top_k", "-1") PART(
        "safe_filter", "True") PART("seed", "None") PART("x", "01") PART("empty", "") END);
    assert_true(job_fields_read(&arena, TEXT(FORM), body, &fields, &fault));
    assert_text(json_of(&fields, "prompt"), "\"7\"");
    assert_text(json_of(&fields, "temp"), "0.98");
    assert_text(json_of(&fields, "top_k"), "-1");
    assert_text(json_of(&fields, "safe_filter"), "true");
    assert_text(json_of(&fields, "x"), "\"01\"");
    assert_null(job_fields_find(&fields, "seed"));
    assert_null(job_fields_find(&fields, "empty"));
}

static void a_file_keeps_its_bytes(void **state)
{
    (void)state;
    struct job_fields fields;
    struct fault fault;
    struct text body = TEXT("-----011000010111000001101001\r\nContent-Disposition: form-data; "
                            "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
                            "RIFF\r\n\0--\r\nend\r\n" END);
    assert_true(job_fields_read(&arena, TEXT(FORM), body, &fields, &fault));
    const struct job_field *file = job_fields_find(&fields, "file");
    assert_non_null(file);
    assert_null(file->json.at);
    assert_int_equal(file->bytes.len, sizeof("RIFF\r\n\0--\r\nend") - 1);
    assert_text(file->type, "audio/wav");
    assert_text(file->file_name, "a.wav");
}

static void what_stands_twice_is_refused(void **state)
{
    (void)state;
    struct job_fields fields;
    struct fault fault = {0};
    assert_false(job_fields_read(&arena, TEXT(FORM), TEXT(PART("a", "1") PART("a", "2") END),
                                 &fields, &fault));
    assert_int_equal(fault.kind, FAULT_BAD_REQUEST);
    assert_false(job_fields_read(&arena, TEXT("application/json"), TEXT("[1]"), &fields, &fault));
    assert_false(
        job_fields_read(&arena, TEXT("application/json"), TEXT("{\"a\":1,}"), &fields, &fault));
}

static void a_call_is_written(void **state)
{
    (void)state;
    struct job_fields fields;
    struct fault fault = {0};
    struct job_spec spec = {0};
    bool edits;
    assert_true(job_fields_read(&arena, TEXT("application/json"),
                                TEXT("{\"prompt\":\"a\\\"b\",\"temp\":0.5,\"model\":\"other\"}"),
                                &fields, &fault));
    assert_int_equal(job_kind_of_name(TEXT("llama2-7b-chat"), &edits), JOB_TEXT);
    assert_true(job_map_call(
        &arena,
        &(struct job_wish){.kind = JOB_TEXT, .model = TEXT("a\"b"), .fields = &fields, .max = 4096},
        &spec, &fault));
    assert_text(spec.path, "/v1/generate");
    assert_text(spec.payload, "{\"model\":\"a\\\"b\",\"prompt\":\"a\\\"b\",\"temp\":0.5}");
    assert_true(job_map_call(
        &arena,
        &(struct job_wish){.kind = JOB_IMAGE, .model = TEXT("m"), .fields = &fields, .max = 4096},
        &spec, &fault));
    assert_text(spec.payload,
                "{\"model\":\"m\",\"prompt\":\"a\\\"b\",\"n\":1,\"size\":\"1024x1024\"}");
    assert_false(job_map_call(
        &arena,
        &(struct job_wish){
            .kind = JOB_TRANSCRIPT, .model = TEXT("m"), .fields = &fields, .max = 4096},
        &spec, &fault));
    assert_string_equal(fault.param, "file");
    assert_false(job_map_call(
        &arena,
        &(struct job_wish){.kind = JOB_TEXT, .model = TEXT("m"), .fields = &fields, .max = 20},
        &spec, &fault));
    assert_int_equal(fault.kind, FAULT_TOO_LARGE);
}

/* --------------------------------------------------------------------------------- files */

static char directory[] = "/tmp/sluice-files-XXXXXX";

static void links_open_only_what_they_were_made_for(void **state)
{
    (void)state;
    struct digest key = hash_sha256(TEXT("key")), other = hash_sha256(TEXT("other"));
    assert_non_null(mkdtemp(directory));
    struct job_files *files = job_files_open(directory, &key);
    struct job_link link = {.file = ""}, back;
    int64_t later = INT64_C(2000000000) * 1000000;
    assert_true(job_files_name(files, TEXT("acme"), later, 1000, link.file));
    snprintf(link.name, sizeof(link.name), "a b?.png");
    snprintf(link.type, sizeof(link.type), "image/png");
    assert_true(job_files_put(files, link.file, TEXT("bytes"), 1000));
    assert_false(job_files_put(files, link.file, TEXT("other"), 1000));
    struct buffer url;
    buffer_init(&url, 2048);
    job_files_put_link(files, &url, TEXT("https://x"), false, &link);
    assert_true(job_files_read_url(files, buffer_text(&url), &back));
    assert_string_equal(back.file, link.file);
    assert_string_equal(back.name, "file");
    for (size_t i = strlen("https://x/v1/download/"); i < buffer_length(&url); i++) {
        url.data[url.begin + i] ^= 1; /* whatever is changed in it */
        assert_false(job_files_read_url(files, buffer_text(&url), &back));
        url.data[url.begin + i] ^= 1;
    }
    job_files_set_key(files, &other);
    assert_false(job_files_read_url(files, buffer_text(&url), &back));
    assert_true(job_files_is_of(link.file, TEXT("acme")));
    assert_false(job_files_is_of(link.file, TEXT("globex")));
    buffer_done(&url);
    job_files_free(files);
}

static void a_tenant_has_its_quota_also_after_a_start(void **state)
{
    (void)state;
    struct digest key = hash_sha256(TEXT("key"));
    char file[JOB_FILE_BYTES];
    int fd = -1;
    struct job_files *files = job_files_open(directory, &key);
    int64_t soon = INT64_C(1000) * 1000000;
    assert_true(job_files_name(files, TEXT("acme"), soon, 12, file));
    assert_false(job_files_put(files, file, TEXT("12345678"), 12)); /* 5 are there */
    assert_true(job_files_put(files, file, TEXT("1234567"), 12));
    assert_false(job_files_name(files, TEXT("acme"), soon, 12, file));
    assert_true(job_files_name(files, TEXT("globex"), soon, 12, file));
    job_files_sweep(files, soon + 2000000);
    assert_true(job_files_name(files, TEXT("acme"), soon, 12, file));
    assert_int_equal(job_files_read(files, "../../etc/passwd", 0, &fd), -1);
    assert_int_equal(job_files_read(files, file, soon + 2000000, &fd), -1);
    job_files_sweep(files, INT64_MAX);
    job_files_free(files);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_form_means_what_json_means, begin, end),
        cmocka_unit_test_setup_teardown(a_file_keeps_its_bytes, begin, end),
        cmocka_unit_test_setup_teardown(what_stands_twice_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_call_is_written, begin, end),
        cmocka_unit_test(links_open_only_what_they_were_made_for),
        cmocka_unit_test(a_tenant_has_its_quota_also_after_a_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
