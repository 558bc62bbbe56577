/* SPDX-License-Identifier: Apache-2.0 */
/* What other nodes are to be told: numbers that only rise, with what they number or not at all. */
#include "policy/book.h"
#include "tests/unit/policy/ledger_cases.h"

static struct place place;

static int set_up(void **state)
{
    (void)state;
    place_make(&place);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    place_remove(&place);
    return 0;
}

static struct book *book_of(enum sharing sharing)
{
    struct fault fault = {0};
    struct book *book = book_open(place.database, false, sharing, &fault);
    assert_non_null(book);
    return book;
}

/* A call of <user>: its row, and one sum of each length. */
static bool book_call(struct book *book, const char *user, int64_t at_us)
{
    char bytes[RECORD_MAX_BYTES];
    struct record record = {.kind = RECORD_SETTLE, .row = row_of("id", 5)};
    struct series_key key;
    struct tally tally = {{0}};
    record.row.user = text_of(user);
    record.row.started_us = at_us;
    record.body = (struct text){bytes, record_write_body(bytes, &record.row)};
    series_key_of(&record.row, &key);
    tally_add_call(&tally, &record.row);
    int64_t series = book_series(book, &key);
    bool good = series > 0 && book_add_call(book, &record);
    for (enum span span = 0; good && span < SPANS; span++)
        good = book_add_tally(book, span, span_bucket_us(span, at_us), series, &tally);
    return good;
}

static void book_calls(struct book *book, int from, int count)
{
    char user[32];
    assert_true(book_begin(book));
    for (int i = from; i < from + count; i++) {
        snprintf(user, sizeof(user), "user-%d", i);
        assert_true(book_call(book, user, A_DAY_US + i * 1000000LL));
    }
    assert_true(book_commit(book));
}

#define EACH_ONCE                                                                              \
    "SELECT count(*) = count(DISTINCT version) AND min(version) > 0 FROM (SELECT version FROM" \
    " rollup_minute UNION ALL SELECT version FROM rollup_hour UNION ALL SELECT version FROM"   \
    " rollup_day)"

static void each_change_has_a_number_of_its_own(void **state)
{
    (void)state;
    struct book *book = book_of(SHARING_ON);
    book_calls(book, 0, 10);
    assert_int_equal(ask_number(&place, EACH_ONCE), 1);
    assert_int_equal(book_share(book)->version, 30);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM outbox"), 10);
    /* A sum that changes again has another number, behind all. */
    book_calls(book, 3, 1);
    assert_int_equal(ask_number(&place, EACH_ONCE), 1);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM rollup_day WHERE version > 30"), 1);
    assert_int_equal(ask_number(&place, "SELECT value FROM facts WHERE name = 'version'"), 33);
    book_close(book);
    book = book_of(SHARING_ON);
    book_calls(book, 20, 1);
    assert_int_equal(book_share(book)->version, 36);
    assert_int_equal(ask_number(&place, "SELECT max(seq) FROM outbox"), 12);
    book_close(book);
}

static void what_is_undone_has_used_no_number(void **state)
{
    (void)state;
    struct book *book = book_of(SHARING_ON);
    book_calls(book, 0, 2);
    assert_true(book_begin(book));
    assert_true(book_call(book, "gone", A_DAY_US));
    book_rollback(book);
    book_calls(book, 5, 1);
    assert_int_equal(book_share(book)->version, 9);
    assert_int_equal(book_share(book)->rows, 3);
    assert_int_equal(ask_number(&place, EACH_ONCE), 1);
    book_close(book);
}

static void two_processes_number_on(void **state)
{
    (void)state;
    struct book *one = book_of(SHARING_ON), *two = book_of(SHARING_AS_IT_IS);
    assert_string_equal(book_share(one)->ledger, book_share(two)->ledger);
    for (int i = 0; i < 10; i++)
        book_calls(i % 2 ? one : two, i, 1);
    assert_int_equal(ask_number(&place, EACH_ONCE), 1);
    assert_int_equal(ask_number(&place, "SELECT max(version) FROM rollup_minute") > 0, 1);
    assert_int_equal(ask_number(&place, "SELECT value FROM facts WHERE name = 'version'"), 30);
    assert_int_equal(ask_number(&place, "SELECT count(*) = 10 AND max(seq) = 10 FROM outbox"), 1);
    book_close(one);
    book_close(two);
}

/* What was booked while nobody was told is told when sharing begins (again). */
static void what_was_not_shared_is_numbered_when_it_is(void **state)
{
    (void)state;
    struct book *book = book_of(SHARING_OFF);
    char ledger[SHARE_NAME_BYTES];
    memcpy(ledger, book_share(book)->ledger, sizeof(ledger));
    assert_int_equal(strlen(ledger), SHARE_NAME_BYTES - 1);
    book_calls(book, 0, 10);
    assert_int_equal(ask_number(&place, "SELECT max(version) FROM rollup_day"), 0);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM outbox"), 0);
    book_close(book);
    book = book_of(SHARING_ON);
    int64_t epoch = book_share(book)->epoch;
    assert_true(epoch > 0);
    assert_string_equal(book_share(book)->ledger, ledger);
    assert_int_equal(ask_number(&place, EACH_ONCE), 1);
    assert_int_equal(book_share(book)->version, 30);
    book_calls(book, 4, 1);
    assert_int_equal(ask_number(&place, EACH_ONCE), 1);
    book_close(book);
    book = book_of(SHARING_OFF);
    book_calls(book, 4, 1);
    book_close(book);
    book = book_of(SHARING_ON);
    assert_int_equal(ask_number(&place, EACH_ONCE), 1);
    assert_true(book_share(book)->epoch > epoch);
    epoch = book_share(book)->epoch;
    book_close(book);
    book = book_of(SHARING_AS_IT_IS);
    assert_true(book_share(book)->on);
    assert_int_equal(book_share(book)->epoch, epoch);
    assert_true(share_begin_epoch(book_share(book), epoch + 1000000000));
    assert_int_equal(book_share(book)->epoch, epoch + 1000000001);
    book_close(book);
}

static void the_outbox_keeps_what_may_be_told_again(void **state)
{
    (void)state;
    struct book *book = book_of(SHARING_ON);
    struct share *share = book_share(book);
    assert_true(database_begin(book_database(book)));
    assert_true(database_run(book_database(book),
                             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE"
                             " i < 130000) INSERT INTO outbox SELECT i, 20000, i FROM n;"
                             "UPDATE facts SET value = 130000 WHERE name = 'rows'"));
    assert_true(database_commit(book_database(book)));
    book_close(book);
    book = book_of(SHARING_ON);
    share = book_share(book);
    book_calls(book, 0, 1); /* nobody was told any: all stay */
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM outbox"), 130001);
    share->told_to = 130000;
    for (int i = 0; i < 10; i++)
        book_calls(book, i, 1);
    int64_t left = ask_number(&place, "SELECT count(*) FROM outbox");
    assert_in_range(left, SHARE_KEPT, SHARE_KEPT + 2000);
    assert_int_equal(ask_number(&place, "SELECT max(seq) FROM outbox"), 130011);
    book_close(book);
}

static void book_objects(struct book *book, const char *const *ids, bool gone)
{
    assert_true(book_begin(book));
    for (; *ids; ids++) {
        struct object object = {.id = text_of(*ids),
                                .kind = TEXT("file"),
                                .tenant = TEXT("acme"),
                                .target = TEXT("mini"),
                                .made_us = A_DAY_US};
        assert_true(gone ? book_disown(book, &object) : book_own(book, &object));
    }
    assert_true(book_commit(book));
}

static bool is_owned(struct book *book, const char *id)
{
    struct owner owner = {0};
    snprintf(owner.id, sizeof(owner.id), "%s", id);
    assert_true(book_find_owner(book, &owner, NULL));
    return owner.found;
}

/* Objects are numbered like sums; one that is gone stays, to say so, and is not there for us. */
static void objects_have_numbers_too(void **state)
{
    (void)state;
    struct book *book = book_of(SHARING_OFF);
    book_objects(book, (const char *[]){"file-1", "file-2", "file-3", NULL}, false);
    book_objects(book, (const char *[]){"file-2", NULL}, true);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM objects"), 2);
    book_close(book);
    book = book_of(SHARING_ON);
    book_calls(book, 0, 1);
    assert_int_equal(ask_number(&place, "SELECT count(DISTINCT version) = 2 AND min(version) > 0"
                                        " FROM objects"),
                     1);
    int64_t version = book_share(book)->version;
    book_objects(book, (const char *[]){"file-1", "file-of-another-node", NULL}, true);
    assert_int_equal(book_share(book)->version, version + 2);
    assert_false(is_owned(book, "file-1"));
    assert_true(is_owned(book, "file-3"));
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM objects WHERE gone"), 2);
    book_objects(book, (const char *[]){"file-1", NULL}, false);
    assert_true(is_owned(book, "file-1"));
    assert_int_equal(ask_number(&place, "SELECT max(version) FROM objects"), version + 3);
    const struct book_keep keep = {0};
    assert_true(book_expire(book, &keep, A_DAY_US + 32 * 86400 * 1000000LL));
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM objects"), 2);
    book_close(book);
}

static void a_series_is_packed_and_unpacked(void **state)
{
    (void)state;
    char packed[SERIES_PACKED_MAX], name[255];
    struct series_key key, again;
    memset(name, 'x', sizeof(name));
    struct ledger_row row = row_of("id", 1);
    row.user = (struct text){name, sizeof(name)};
    row.status = 499;
    row.outcome = LEDGER_LOST;
    series_key_of(&row, &key);
    struct text text = series_pack(&key, packed);
    assert_true(series_unpack(text, &again));
    assert_int_equal(again.status, 499);
    assert_int_equal(again.outcome, LEDGER_LOST);
    for (int i = 0; i < SERIES_NAMES; i++)
        assert_true(text_equal(key.names[i], again.names[i]));
    for (size_t len = 0; len < text.len; len++)
        assert_false(series_unpack(text_head(text, len), &again));
    packed[2] = 4;
    assert_false(series_unpack(text, &again));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_change_has_a_number_of_its_own),
        CASE(what_is_undone_has_used_no_number),
        CASE(two_processes_number_on),
        CASE(what_was_not_shared_is_numbered_when_it_is),
        CASE(the_outbox_keeps_what_may_be_told_again),
        CASE(objects_have_numbers_too),
        CASE(a_series_is_packed_and_unpacked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
