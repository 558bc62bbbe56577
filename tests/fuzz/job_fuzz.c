/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Monster's payloads: whatever comes as JSON or as a form, what is made of it is a whole call -
 * valid JSON, or a form that our own reader takes - and what cannot be one is refused in words. The
 * first line of the input is the Content-Type, its first byte says for which model.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/base/scan.h"
#include "gateway/http/multipart.h"
#include "gateway/job_map.h"

enum { MAX = 1 << 20 };

static const char *const models[] = {"llama2-7b-chat", "txt2img", "img2img",
                                     "sunoai-bark",    "whisper", "a/b\"c"};

static bool read_none(void *with, struct arena *arena, struct text url, struct job_field *file)
{
    (void)with, (void)arena;
    if (!text_starts(url, TEXT("here")))
        return false;
    *file = (struct job_field){.bytes = TEXT("bytes"), .file_name = url, .type = url};
    return true;
}

static void check_form(const struct job_spec *spec)
{
    static const struct text wants[] = {{"model", 5}};
    struct multipart form;
    struct fault why;
    assert(multipart_init(&form, spec->content_type, wants, 1));
    /* What a file has in it is the client's: only that may look like the end of a part. */
    if (multipart_feed(&form, spec->payload, &why))
        assert(form.fields[0].found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text all = {(const char *)data, size};
    size_t line = text_find_byte(all, '\n');
    if (line == SIZE_MAX || line < 1 || size > MAX / 8)
        return 0;
    struct text model = text_of(models[(unsigned char)all.at[0] % 6]);
    struct text type = text_head(text_from(all, 1), line - 1), body = text_from(all, line + 1);
    char *copy = malloc(body.len ? body.len : 1); /* so that a read behind its end is seen */
    if (body.len)
        memcpy(copy, body.at, body.len);
    body.at = copy;
    struct job_fields *fields = malloc(sizeof(*fields));
    struct job_reader reader = {read_none, NULL};
    struct job_spec spec = {0};
    struct fault fault = {0};
    struct arena arena;
    struct job_wish wish = {.model = model, .fields = fields, .reader = &reader, .max = MAX};
    arena_init(&arena, 4096);
    wish.kind = job_kind_of_name(model, &wish.edits);
    bool read = job_fields_read(&arena, type, body, fields, &fault);
    if (!read || !job_map_call(&arena, &wish, &spec, &fault)) {
        assert(fault.kind != FAULT_NONE && fault.text[0]);
    } else if (text_equal(spec.content_type, TEXT("application/json"))) {
        struct text want = TEXT("model");
        struct scan_value value;
        struct scan_problem problem;
        assert(scan_json(spec.payload, &want, 1, &value, &problem));
        assert(value.kind == SCAN_STRING);
    } else {
        check_form(&spec);
    }
    arena_done(&arena);
    free(fields);
    free(copy);
    return 0;
}
