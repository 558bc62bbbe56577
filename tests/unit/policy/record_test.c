/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a journal as bytes: written, read, torn, damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/checksum.h"
#include "policy/record.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static _Alignas(8) char bytes[RECORD_MAX_BYTES * 2];

static struct ledger_row full_row(void)
{
    return (struct ledger_row){
        .id = TEXT("req_1"),
        .started_us = 1764000000123456,
        .tenant = TEXT("acme"),
        .key = TEXT("ci"),
        .user = TEXT("anna"),
        .tags = TEXT("team=search"),
        .model = TEXT("fast"),
        .target = TEXT("openai-mini"),
        .provider = TEXT("openai"),
        .upstream_model = TEXT("gpt-4o-mini"),
        .dialect = TEXT("openai"),
        .upstream_dialect = TEXT("anthropic"),
        .operation = TEXT("chat"),
        .finish = TEXT("stop"),
        .fault = TEXT("target_cut"),
        .status = 499,
        .stream = true,
        .outcome = LEDGER_PARTIAL,
        .counted = COUNTED_ESTIMATE,
        .usage = {.input_tokens = 1,
                  .cached_tokens = 2,
                  .cache_write_tokens = 3,
                  .output_tokens = 4,
                  .reasoning_tokens = 5,
                  .audio_input_tokens = 6,
                  .audio_output_tokens = 7,
                  .image_tokens = 8,
                  .units = INT64_MAX,
                  .service = SERVICE_FLEX},
        .price_version = 0xfedcba98,
        .cost_nanos = INT64_MAX,
        .saved_nanos = 128,
        .attempts = 3,
        .ttft_us = 127,
        .duration_us = 1 << 30,
        .overhead_us = 16384,
    };
}

static void assert_same_text(struct text a, struct text b)
{
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.at, b.at, a.len);
}

static void assert_same_row(const struct ledger_row *a, const struct ledger_row *b)
{
    const struct text *texts[][2] = {
        {&a->id, &b->id},
        {&a->tenant, &b->tenant},
        {&a->key, &b->key},
        {&a->user, &b->user},
        {&a->tags, &b->tags},
        {&a->model, &b->model},
        {&a->target, &b->target},
        {&a->provider, &b->provider},
        {&a->upstream_model, &b->upstream_model},
        {&a->dialect, &b->dialect},
        {&a->upstream_dialect, &b->upstream_dialect},
        {&a->operation, &b->operation},
        {&a->finish, &b->finish},
        {&a->fault, &b->fault},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_same_text(*texts[i][0], *texts[i][1]);
    assert_int_equal(a->started_us, b->started_us);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->stream, b->stream);
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->counted, b->counted);
    assert_memory_equal(&a->usage, &b->usage, offsetof(struct usage, service));
    assert_int_equal(a->usage.service, b->usage.service);
    assert_int_equal(a->price_version, b->price_version);
    assert_int_equal(a->cost_nanos, b->cost_nanos);
    assert_int_equal(a->saved_nanos, b->saved_nanos);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->ttft_us, b->ttft_us);
    assert_int_equal(a->duration_us, b->duration_us);
    assert_int_equal(a->overhead_us, b->overhead_us);
}

static size_t write_row(const struct ledger_row *row)
{
    memset(bytes, 0, sizeof(bytes));
    size_t length = record_write_call(bytes, RECORD_SETTLE, 77, 41, row);
    assert_true(length <= record_room_call(row));
    record_publish(bytes, (uint32_t)length);
    return length;
}

/* What came later is in lines of their own version; others are as they always were. */
static void later_figures_come_back(void **state)
{
    (void)state;
    struct ledger_row row = full_row();
    struct record record;
    write_row(&row);
    assert_int_equal(bytes[RECORD_HEAD_BYTES + 1], 1);
    row.usage.cache_write_1h_tokens = 3;
    row.usage.image_output_tokens = INT64_MAX;
    row.usage.searches = 12;
    row.usage.surcharge_percent = 10;
    write_row(&row);
    assert_int_equal(bytes[RECORD_HEAD_BYTES + 1], 2);
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_HERE);
    assert_same_row(&row, &record.row);
    assert_int_equal(record.row.usage.cache_write_1h_tokens, 3);
    assert_true(record.row.usage.image_output_tokens == INT64_MAX);
    assert_int_equal(record.row.usage.searches, 12);
    assert_int_equal(record.row.usage.surcharge_percent, 10);
}

static void a_row_comes_back_as_it_was(void **state)
{
    (void)state;
    struct ledger_row row = full_row();
    struct record record;
    size_t length = write_row(&row);
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_HERE);
    assert_int_equal(record.kind, RECORD_SETTLE);
    assert_int_equal(record.sequence, 77);
    assert_int_equal(record.opened, 41);
    assert_int_equal(record.bytes, record_padded(length));
    assert_same_row(&record.row, &row);
}

static void a_body_alone_can_be_read(void **state)
{
    (void)state;
    struct ledger_row row = full_row();
    struct record record;
    char body[RECORD_MAX_BYTES];
    size_t len = record_write_body(body, &row);
    assert_true(record_read_body((struct text){body, len}, &record));
    assert_same_row(&record.row, &row);
    assert_false(record_read_body((struct text){body, len - 1}, &record));
    assert_false(record_read_body((struct text){body, 0}, &record));
    body[1] = 2; /* a version that is not known yet */
    assert_false(record_read_body((struct text){body, len}, &record));
}

static void long_texts_are_cut_and_the_longest_row_fits(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof(text));
    struct text t = {text, sizeof(text)};
    int64_t most = INT64_MAX;
    struct ledger_row row = {t,
                             most,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             t,
                             9999,
                             true,
                             LEDGER_LOST,
                             COUNTED_ESTIMATE,
                             {most, most, most, most, most, most, most, most, most, SERVICE_BATCH,
                              most, most, most, 0, most},
                             UINT32_MAX,
                             most,
                             most,
                             UINT32_MAX,
                             most,
                             most,
                             most};
    struct record record;
    assert_true(record_room_call(&row) <= RECORD_MAX_BYTES);
    size_t length = write_row(&row);
    assert_true(length > 14 * 255 && length <= RECORD_MAX_BYTES);
    assert_int_equal(record_read(bytes, RECORD_MAX_BYTES, &record), RECORD_HERE);
    assert_int_equal(record.row.fault.len, RECORD_TEXT_MAX);
    assert_int_equal(record.row.overhead_us, most);
}

static void what_is_negative_is_written_as_zero(void **state)
{
    (void)state;
    struct ledger_row row = {
        .started_us = -5, .usage = {.input_tokens = -1}, .cost_nanos = INT64_MIN};
    struct record record;
    write_row(&row);
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_HERE);
    assert_int_equal(record.row.started_us, 0);
    assert_int_equal(record.row.usage.input_tokens, 0);
    assert_int_equal(record.row.cost_nanos, 0);
}

static void objects_come_back_too(void **state)
{
    (void)state;
    struct object object = {.id = TEXT("file-1"),
                            .kind = TEXT("file"),
                            .tenant = TEXT("acme"),
                            .target = TEXT("mini"),
                            .model = TEXT("m"),
                            .made_us = 1764000000123456};
    struct record record;
    memset(bytes, 0, sizeof(bytes));
    size_t length = record_write_object(bytes, RECORD_OWN, 5, &object);
    assert_true(length <= record_room_object(&object));
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_NONE);
    record_publish(bytes, (uint32_t)length);
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_HERE);
    assert_int_equal(record.kind, RECORD_OWN);
    assert_same_text(record.object.id, object.id);
    assert_same_text(record.object.kind, object.kind);
    assert_same_text(record.object.tenant, object.tenant);
    assert_same_text(record.object.target, object.target);
    assert_same_text(record.object.model, object.model);
    assert_int_equal(record.object.made_us, object.made_us);
    assert_int_equal(record.object.facts.len, 0);
    assert_int_equal(bytes[17], 1);
    char body[RECORD_MAX_BYTES]; /* alone it is the same */
    size_t body_length = record_write_own_body(body, &object);
    assert_int_equal(body_length, length - RECORD_HEAD_BYTES);
    assert_memory_equal(body, bytes + RECORD_HEAD_BYTES, body_length);
}

static void what_is_known_of_an_object_comes_back_and_is_bounded(void **state)
{
    (void)state;
    static char facts[2 * OBJECT_FACTS_BYTES];
    memset(facts, 'f', sizeof(facts));
    for (size_t len = 1; len <= sizeof(facts); len = len * 2 + 5) {
        struct object object = {.id = TEXT("file-1"), .facts = {facts, len}};
        struct record record;
        memset(bytes, 0, sizeof(bytes));
        size_t length = record_write_object(bytes, RECORD_OWN, 5, &object);
        assert_true(length <= record_room_object(&object));
        record_publish(bytes, (uint32_t)length);
        assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_HERE);
        assert_same_text(record.object.facts, text_head(object.facts, OBJECT_FACTS_BYTES));
    }
}

static void nothing_an_end_and_a_cut_line_are_told_apart(void **state)
{
    (void)state;
    struct ledger_row row = full_row();
    struct record record;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_NONE);
    assert_int_equal(record_read(bytes, 0, &record), RECORD_TURN);
    record_publish(bytes, RECORD_END_MARK);
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_TURN);
    size_t length = write_row(&row);
    for (size_t room = 1; room < record_padded(length); room++)
        assert_int_equal(record_read(bytes, room, &record), RECORD_BAD);
}

static void any_changed_bit_is_noticed(void **state)
{
    (void)state;
    struct ledger_row row = full_row();
    struct record record;
    size_t length = write_row(&row);
    for (size_t bit = 0; bit < length * 8; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_not_equal(record_read(bytes, sizeof(bytes), &record), RECORD_HERE);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_int_equal(record_read(bytes, sizeof(bytes), &record), RECORD_HERE);
}

static void the_checksum_is_crc32c(void **state)
{
    (void)state;
    assert_int_equal(checksum(0, "123456789", 9), 0xe3069283);
    assert_int_equal(checksum_plain(0, "123456789", 9), 0xe3069283);
    assert_int_equal(checksum(0, "", 0), 0);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31 + i / 7);
    for (size_t len = 0; len < 300; len++) {
        uint32_t whole = checksum(0, bytes + len % 8, len);
        assert_int_equal(whole, checksum_plain(0, bytes + len % 8, len));
        uint32_t begun = checksum(0, bytes + len % 8, len / 3);
        assert_int_equal(whole, checksum(begun, bytes + len % 8 + len / 3, len - len / 3));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_comes_back_as_it_was),
        cmocka_unit_test(later_figures_come_back),
        cmocka_unit_test(a_body_alone_can_be_read),
        cmocka_unit_test(long_texts_are_cut_and_the_longest_row_fits),
        cmocka_unit_test(what_is_negative_is_written_as_zero),
        cmocka_unit_test(objects_come_back_too),
        cmocka_unit_test(what_is_known_of_an_object_comes_back_and_is_bounded),
        cmocka_unit_test(nothing_an_end_and_a_cut_line_are_told_apart),
        cmocka_unit_test(any_changed_bit_is_noticed),
        cmocka_unit_test(the_checksum_is_crc32c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
