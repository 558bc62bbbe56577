/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to Idempotency-Keys, over restarts. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/cache_answers.h"
#include "policy/cache_inside.h"
#include "policy/cache_record.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { KIB = 1024, SECOND = 1000 * 1000 };

static char folder[64], path[96];
static struct cache *cache;
static struct cache_remote *remote;
static struct loop *loop;

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/cache_answers_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/answers.db", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        unlink(name);
    }
    return rmdir(folder);
}

static void start(size_t max_bytes)
{
    static const struct cache_remote_options none;
    struct fault fault;
    cache = cache_new(&(struct cache_options){1 << 20, 64 * KIB});
    assert_true(cache_remember(cache, path, max_bytes, &fault));
    loop = loop_new();
    remote = cache_remote_new(cache, loop, &none);
}

static void stop(void)
{
    cache_remote_free(remote);
    loop_clear(loop);
    loop_free(loop);
    cache_free(cache);
}

/* ------------------------------------------------------------------------------ callers */

struct caller {
    struct cache_lookup lookup;
    unsigned told;
};

static unsigned waiting;
static bool runs; /* the loop, with its timers; it can be stopped once only */

static void on_found(struct cache_lookup *lookup)
{
    LIST_MEMBER(lookup, struct caller, lookup)->told++;
    if (--waiting == 0 && runs)
        loop_stop(loop);
}

static void look(struct caller *caller, const char *key, const char *body)
{
    *caller = (struct caller){.lookup.on_found = on_found};
    struct cache_ask *ask = &caller->lookup.ask;
    *ask = (struct cache_ask){.max_age_us = INT64_MAX, .may_join = true, .may_store = true};
    ask->now_us = (int64_t)clock_now_us();
    ask->idempotency = true;
    ask->body = hash_sha256(text_of(body));
    assert_true(cache_name_once(TEXT("tenant"), text_of(key), &ask->name));
    if (!cache_look(remote, &caller->lookup))
        waiting++;
}

static void wait_for_all(void)
{
    while (waiting > 0) {
        usleep(100);
        loop_clear(loop);
    }
}

static void restart(size_t max_bytes)
{
    stop();
    start(max_bytes);
}

static struct cache_entry *look_for(const char *key, const char *body, enum cache_found found)
{
    struct caller caller;
    look(&caller, key, body);
    wait_for_all();
    assert_int_equal(caller.lookup.found, found);
    assert_false(caller.lookup.unsure);
    return caller.lookup.entry;
}

static void answer(struct cache_entry *entry, const char *bytes, int64_t ttl_us)
{
    struct cache_facts facts = {.status = 402, .stream = true, .type = "text/event-stream"};
    struct cache_end end = {.cost_nanos = 77, .finish = "length"};
    snprintf(facts.target, sizeof(facts.target), "a-target");
    end.usage.reasoning_tokens = 5;
    end.usage.units = 9;
    cache_write_facts(entry, &facts);
    cache_write(entry, text_of(bytes));
    cache_settle(remote, entry, &end, ttl_us);
    cache_entry_unref(entry);
}

static void nobody(struct cache_reader *reader)
{
    (void)reader;
}

static void expect_bytes(struct cache_entry *entry, const char *bytes)
{
    struct cache_reader reader;
    struct text piece;
    size_t at = 0;
    cache_reader_init(&reader, entry, loop, nobody);
    while (cache_read(&reader, &piece) == CACHE_READ_MORE) {
        assert_memory_equal(piece.at, bytes + at, piece.len);
        at += piece.len;
    }
    assert_int_equal(at, strlen(bytes));
    assert_int_equal(cache_read(&reader, &piece), CACHE_READ_END);
    cache_reader_done(&reader, nobody);
}

/* -------------------------------------------------------------------------------- tests */

static void answers_outlive_a_restart(void **state)
{
    (void)state;
    start(1 << 20);
    answer(look_for("key", "body", CACHE_MISS), "the answer", 100 * SECOND);
    restart(1 << 20);
    struct cache_entry *entry = look_for("key", "body", CACHE_HIT);
    struct cache_facts facts;
    struct cache_end end;
    assert_true(cache_entry_facts(entry, &facts));
    cache_entry_end(entry, &end);
    assert_int_equal(facts.status, 402);
    assert_true(facts.stream);
    assert_string_equal(facts.type, "text/event-stream");
    assert_string_equal(facts.target, "a-target");
    assert_int_equal(end.cost_nanos, 77);
    assert_int_equal(end.usage.reasoning_tokens, 5);
    assert_int_equal(end.usage.units, 9);
    assert_string_equal(end.finish, "length");
    expect_bytes(entry, "the answer");
    restart(1 << 20);
    assert_null(look_for("key", "another body", CACHE_OTHER_BODY));
    restart(1 << 20);
    expect_bytes(look_for("key", "body", CACHE_HIT), "the answer");
    restart(1 << 20);
    entry = look_for("another key", "body", CACHE_MISS);
    cache_give_up(remote, entry, "client_gone");
    cache_entry_unref(entry);
    restart(1 << 20);
    entry = look_for("another key", "body", CACHE_MISS);
    cache_give_up(remote, entry, "client_gone");
    cache_entry_unref(entry);
    stop();
}

static void those_that_join_a_search_get_what_it_finds(void **state)
{
    (void)state;
    start(1 << 20);
    answer(look_for("key", "body", CACHE_MISS), "the answer", 100 * SECOND);
    restart(1 << 20);
    struct caller first, second;
    look(&first, "key", "body");
    look(&second, "key", "body");
    assert_int_equal(second.lookup.found, CACHE_JOIN);
    struct cache_reader reader;
    struct text piece;
    cache_reader_init(&reader, second.lookup.entry, loop, nobody);
    assert_int_equal(cache_read(&reader, &piece), CACHE_READ_WAIT);
    wait_for_all();
    loop_clear(loop);
    assert_int_equal(first.lookup.found, CACHE_HIT);
    assert_int_equal(first.told, 1);
    cache_entry_unref(first.lookup.entry);
    assert_int_equal(cache_read(&reader, &piece), CACHE_READ_MORE);
    assert_true(text_equal(piece, TEXT("the answer")));
    assert_int_equal(cache_read(&reader, &piece), CACHE_READ_END);
    cache_reader_done(&reader, nobody);
    stop();
}

static void who_is_forgotten_is_not_told(void **state)
{
    (void)state;
    start(1 << 20);
    answer(look_for("key", "body", CACHE_MISS), "the answer", 100 * SECOND);
    restart(1 << 20);
    struct caller found, missing, end;
    look(&found, "key", "body");
    look(&missing, "no such key", "body");
    struct caller joined;
    look(&joined, "no such key", "body");
    assert_int_equal(joined.lookup.found, CACHE_JOIN);
    cache_look_forget(&found.lookup);
    cache_look_forget(&missing.lookup);
    look(&end, "the last", "body");
    waiting = 1;
    wait_for_all();
    assert_int_equal(found.told + missing.told, 0);
    assert_int_equal(end.lookup.found, CACHE_MISS);
    cache_give_up(remote, end.lookup.entry, "client_gone");
    cache_entry_unref(end.lookup.entry);
    /* What it would have written will not be. */
    struct cache_reader reader;
    struct text piece;
    cache_reader_init(&reader, joined.lookup.entry, loop, nobody);
    assert_int_equal(cache_read(&reader, &piece), CACHE_READ_BROKEN);
    cache_reader_done(&reader, nobody);
    /* And what it found is there. */
    struct caller again;
    look(&again, "key", "body");
    assert_int_equal(again.lookup.found, CACHE_HIT);
    cache_entry_unref(again.lookup.entry);
    stop();
}

static void a_worker_may_end_while_it_searches(void **state)
{
    (void)state;
    start(1 << 20);
    struct caller callers[50];
    char key[16];
    for (size_t i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "key %zu", i);
        look(&callers[i], key, "body");
        cache_look_forget(&callers[i].lookup);
    }
    waiting = 0;
    stop();
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(callers[i].told, 0);
}

static void an_answer_that_was_too_large_is_remembered_as_such(void **state)
{
    (void)state;
    start(1 << 20);
    struct cache_entry *entry = look_for("key", "body", CACHE_MISS);
    char *large = memory_new(65 * KIB + 1);
    memset(large, 'l', 65 * KIB);
    answer(entry, large, 100 * SECOND);
    restart(1 << 20);
    assert_null(look_for("key", "body", CACHE_NOT_KEPT));
    assert_null(look_for("key", "body", CACHE_NOT_KEPT));
    assert_null(look_for("key", "another body", CACHE_OTHER_BODY));
    memory_free(large);
    stop();
}

static int64_t count_rows(void)
{
    struct fault fault;
    struct database *database = database_open(path, DATABASE_READ, &fault);
    struct statement *count = database_prepare(database, "SELECT count(*) FROM idempotent");
    assert_int_equal(statement_next(count), STATEMENT_ROW);
    int64_t rows = statement_number(count, 0);
    database_close(database);
    return rows;
}

static void what_is_kept_is_bounded_in_time_and_bytes(void **state)
{
    (void)state;
    enum { ANSWERS = 300, ANSWER_BYTES = 2 * KIB };
    start(200 * KIB);
    char key[16], bytes[ANSWER_BYTES];
    memset(bytes, 'b', sizeof(bytes) - 1);
    bytes[sizeof(bytes) - 1] = '\0';
    answer(look_for("short", "body", CACHE_MISS), "soon gone", 1);
    for (size_t i = 0; i < ANSWERS; i++) {
        snprintf(key, sizeof(key), "key %zu", i);
        struct caller caller;
        look(&caller, key, "body");
        wait_for_all();
        answer(caller.lookup.entry, bytes, 100 * SECOND + (int64_t)i);
    }
    restart(200 * KIB);
    assert_true(count_rows() <= 100);
    struct cache_entry *entry = look_for("short", "body", CACHE_MISS);
    cache_give_up(remote, entry, "client_gone");
    cache_entry_unref(entry);
    stop();
}

static void a_slow_database_is_not_waited_for(void **state)
{
    (void)state;
    start(1 << 20);
    answer(look_for("key", "body", CACHE_MISS), "the answer", 100 * SECOND);
    restart(1 << 20);
    /* Searches are stuck behind a record that cannot be written now. */
    struct fault fault;
    struct database *other = database_open(path, DATABASE_WRITE, &fault);
    assert_true(database_begin(other));
    struct buffer record;
    struct digest name = hash_sha256(TEXT("x")), body = {{0}};
    buffer_init(&record, KIB);
    record_write_claim(&body, TEXT("x"), &record);
    assert_true(answers_keep(cache->answers, &name, &record, INT64_MAX, NULL));
    struct caller caller;
    look(&caller, "key", "body");
    runs = true;
    loop_run(loop, NULL, NULL);
    runs = false;
    assert_int_equal(caller.lookup.found, CACHE_MISS);
    assert_true(caller.lookup.unsure);
    database_rollback(other);
    database_close(other);
    answer(caller.lookup.entry, "another answer", 100 * SECOND);
    restart(1 << 20);
    expect_bytes(look_for("key", "body", CACHE_HIT), "another answer");
    stop();
}

/* Wait until the helper has done what was given to it. */
static void wait_for_helper(uint64_t done)
{
    struct answers_figures figures = {0};
    for (int i = 0; i < 20000 && figures.kept + figures.lost < done; i++) {
        usleep(500);
        figures = answers_figures(cache->answers);
    }
    assert_int_equal(figures.kept + figures.lost, done);
}

static void a_full_disk_loses_answers_and_nothing_else(void **state)
{
    (void)state;
    start(1 << 20);
    answer(look_for("before", "body", CACHE_MISS), "small", 100 * SECOND);
    wait_for_helper(1);
    char *large = memory_new(60 * KIB + 1);
    memset(large, 'l', 60 * KIB);
    struct rlimit old, full;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    full = (struct rlimit){16 * KIB, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    log_set_level((enum log_level)(LOG_ERROR + 1));
    answer(look_for("key", "body", CACHE_MISS), large, 100 * SECOND);
    wait_for_helper(2);
    assert_int_equal(answers_figures(cache->answers).lost, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    /* In memory it is there yet. */
    expect_bytes(look_for("key", "body", CACHE_HIT), large);
    answer(look_for("after", "body", CACHE_MISS), large, 100 * SECOND);
    restart(1 << 20);
    log_set_level(LOG_INFO);
    expect_bytes(look_for("before", "body", CACHE_HIT), "small");
    expect_bytes(look_for("after", "body", CACHE_HIT), large);
    struct cache_entry *entry = look_for("key", "body", CACHE_MISS);
    cache_give_up(remote, entry, "client_gone");
    cache_entry_unref(entry);
    memory_free(large);
    stop();
}

static void a_file_that_is_no_database_is_told(void **state)
{
    (void)state;
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", file);
    fclose(file);
    struct fault fault = {0};
    cache = cache_new(&(struct cache_options){1 << 20, 64 * KIB});
    assert_false(cache_remember(cache, path, 1 << 20, &fault));
    assert_true(strlen(fault.text) > 0);
    cache_free(cache);
}

static void records_are_checked(void **state)
{
    (void)state;
    struct cache_ask ask = {.idempotency = true, .may_store = true};
    struct cache_entry *entry;
    cache = cache_new(&(struct cache_options){1 << 20, 64 * KIB});
    assert_int_equal(cache_find(cache, &ask, &entry), CACHE_MISS);
    struct cache_facts facts = {.status = 200, .type = "a/b", .provider = "p"};
    struct cache_end end = {.cost_nanos = 1};
    cache_write_facts(entry, &facts);
    cache_write(entry, TEXT("bytes"));
    cache_write_end(entry, &end, SECOND);
    struct buffer out;
    struct record record;
    buffer_init(&out, KIB + RECORD_EXTRA_BYTES);
    record_write(entry, KIB, SECOND, &out);
    assert_true(cache_record_read(buffer_text(&out), &record));
    assert_int_equal(record.kind, RECORD_ANSWER);
    assert_string_equal(record.facts.provider, "p");
    assert_true(text_equal(record.rest, TEXT("bytes")));
    /* Cut short, it is none, unless only bytes of the answer are missing. */
    size_t least = buffer_length(&out) - 5;
    for (size_t len = 0; len < least; len++)
        assert_false(cache_record_read(text_head(buffer_text(&out), len), &record));
    /* Nothing from it may end a line of a head. */
    char *type = strstr(out.data + RECORD_HEAD_BYTES + 93, "a/b");
    assert_non_null(type);
    type[1] = '\n';
    assert_false(cache_record_read(buffer_text(&out), &record));
    buffer_clear(&out);
    record_write(entry, 4, SECOND, &out);
    assert_true(cache_record_read(buffer_text(&out), &record));
    assert_int_equal(record.kind, RECORD_NOT_KEPT);
    buffer_done(&out);
    cache_entry_unref(entry);
    cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_outlive_a_restart, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(those_that_join_a_search_get_what_it_finds, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(who_is_forgotten_is_not_told, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_worker_may_end_while_it_searches, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(an_answer_that_was_too_large_is_remembered_as_such,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_is_kept_is_bounded_in_time_and_bytes, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_slow_database_is_not_waited_for, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_full_disk_loses_answers_and_nothing_else, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_database_is_told, make_folder,
                                        remove_folder),
        cmocka_unit_test(records_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
