/* SPDX-License-Identifier: Apache-2.0 */

/* Bodies of tenants and keys. First byte: which; then lines: what is stored, and a change of it.
 * What can be read is written as an answer that is JSON; and merged with any change it is JSON
 * again. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "policy/roster_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct tenant acme = {.name = {"acme", 4}};
static const struct roster_file file = {.tenants = &acme, .tenant_count = 1};

static bool is_json(struct text text)
{
    struct json_problem problem;
    struct json *root = json_read(text, &problem);
    json_free(root);
    return root != NULL;
}

static void check_record(enum record_of kind, struct text body)
{
    char problem[256];
    struct roster_record *record = roster_read(kind, body, &file, problem);
    if (!record) {
        assert(memchr(problem, 0, sizeof(problem)));
        return;
    }
    struct buffer out;
    struct directory *view = directory_new(&file);
    buffer_init(&out, 1 << 24);
    assert(record->limits.count <= ROSTER_LIMITS_MAX && record->id.len > 0);
    roster_write_record(&out, view, record, TEXT("sk-secret"));
    assert(is_json(buffer_text(&out)));
    directory_put(view, record);
    assert(directory_record(view, kind, record->id) == record);
    roster_record_unref(record);
    directory_unref(view);
    buffer_done(&out);
}

static void check_merge(struct text before, struct text changes)
{
    struct json_problem problem;
    struct buffer out;
    struct json *a = json_read(before, &problem), *b = json_read(changes, &problem);
    buffer_init(&out, 1 << 24);
    members_begin(&out, json_kind(a) == SCAN_OBJECT ? a : NULL,
                  json_kind(b) == SCAN_OBJECT ? b : NULL, NULL);
    members_end(&out);
    assert(is_json(buffer_text(&out)));
    buffer_done(&out);
    json_free(a);
    json_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    struct text rest = {(const char *)bytes + 1, len - 1};
    size_t line = text_find_byte(rest, '\n');
    struct text before = text_head(rest, line);
    struct text changes = line == SIZE_MAX ? TEXT("{}") : text_from(rest, line + 1);
    check_record(bytes[0] & 1 ? RECORD_KEY : RECORD_TENANT, before);
    check_merge(before, changes);
    return 0;
}
