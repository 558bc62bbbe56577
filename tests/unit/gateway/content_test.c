/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/memory.h"
#include "gateway/content.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const int64_t DAY_US = INT64_C(86400) * 1000000, LONG_US = INT64_C(60) * 1000000;

struct place {
    char folder[64], *path;
};

static int set_up(void **state)
{
    struct place *place = memory_new(sizeof(*place));
    snprintf(place->folder, sizeof place->folder, "/tmp/sluice-content-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    place->path = memory_format("%s/content.db", place->folder);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    struct place *place = *state;
    for (size_t i = 0; i < 3; i++) {
        char *path = memory_format("%s%s", place->path, ends[i]);
        unlink(path);
        memory_free(path);
    }
    rmdir(place->folder);
    memory_free(place->path);
    memory_free(place);
    return 0;
}

static struct content *open_kept(const struct place *place, int64_t max_bytes)
{
    struct content *content = content_open(place->path);
    struct content_keeping keeping = {.wanted = true, .keep_us = DAY_US, .max_bytes = max_bytes};
    content_keep(content, &keeping);
    return content;
}

static void put(struct content *content, const char *id, const char *tenant, int64_t started_us,
                struct text output)
{
    struct content_entry entry = {.id = text_of(id),
                                  .tenant = text_of(tenant),
                                  .user = TEXT("ada"),
                                  .started_us = started_us,
                                  .input = TEXT("[1]"),
                                  .output = output,
                                  .cut = true};
    content_put(content, &entry);
}

static void see(void *with, const struct content_entry *entry)
{
    assert_true(text_equal(entry->input, TEXT("[1]")) && entry->system.len == 0 && entry->cut);
    assert_true(text_equal(entry->user, TEXT("ada")));
    *(size_t *)with = entry->output.len;
}

/* The length of its output; SIZE_MAX = nothing is kept. */
static size_t find(struct content *content, const char *id, const char *tenant, int64_t started_us)
{
    size_t len = SIZE_MAX;
    struct fault fault;
    struct content_name name = {text_of(id), text_of(tenant), started_us};
    assert_int_not_equal(content_find(content, &name, see, &len, &fault), CONTENT_FAILED);
    return len;
}

static void catch_up(struct content *content)
{
    assert_true(content_catch_up(content, LONG_US));
}

static bool is_acme(void *with, struct text tenant)
{
    (void)with;
    return text_equal(tenant, TEXT("acme"));
}

static int64_t delete (struct content *content, struct content_wish wish)
{
    struct fault fault;
    struct content_deleted deleted;
    wish.within_us = LONG_US;
    assert_true(content_delete(content, &wish, &deleted, &fault));
    assert_false(deleted.more);
    return deleted.calls;
}

/* What <sql> finds in the file. */
static int64_t ask_file(const struct place *place, const char *sql)
{
    struct fault fault;
    struct database *database = database_open(place->path, DATABASE_READ, &fault);
    assert_non_null(database);
    struct statement *statement = database_prepare(database, sql);
    assert_non_null(statement);
    assert_int_equal(statement_next(statement), STATEMENT_ROW);
    int64_t found = statement_number(statement, 0);
    database_close(database);
    return found;
}

static int64_t sum_of(const struct place *place)
{
    return ask_file(place, "SELECT coalesce(sum(bytes), 0) FROM content");
}

/* The thread deletes after it has written. */
static void wait_for_sum_below(const struct place *place, int64_t max)
{
    for (int i = 0; sum_of(place) > max && i < 6000; i++)
        usleep(10000);
    assert_in_range(sum_of(place), 0, max);
}

static char *long_text_of(size_t bytes)
{
    char *text = memory_new(bytes);
    memset(text, 'x', bytes);
    return text;
}

static void test_without_a_wish_there_is_no_file(void **state)
{
    struct place *place = *state;
    struct content *content = content_open(place->path);
    struct content_keeping keeping = {.wanted = false, .keep_us = DAY_US, .max_bytes = 1 << 20};
    content_keep(content, &keeping);
    put(content, "a", "acme", 1, TEXT("[]"));
    catch_up(content);
    assert_int_equal(find(content, "a", "acme", 1), SIZE_MAX);
    assert_int_equal(content_figures(content).dropped, 1);
    assert_int_equal(delete (content, (struct content_wish){.before_us = INT64_MAX}), 0);
    content_close(content);
    assert_int_not_equal(access(place->path, F_OK), 0);
    content_close(NULL);
}

static void test_what_was_put_is_found(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us();
    struct content *content = open_kept(place, 1 << 20);
    put(content, "a", "acme", now, TEXT("[2,3]"));
    put(content, "b", "acme", now, TEXT(""));
    catch_up(content);
    assert_int_equal(find(content, "a", "acme", now), 5);
    assert_int_equal(find(content, "b", "acme", now), 0);
    /* An id may be a client's own: another call's is not given away for it. */
    assert_int_equal(find(content, "a", "globex", now), SIZE_MAX);
    assert_int_equal(find(content, "a", "acme", now + 1), SIZE_MAX);
    put(content, "c", "acme", now, TEXT("[4]"));
    content_close(content); /* writes what waits */
    content = open_kept(place, 1 << 20);
    assert_int_equal(find(content, "c", "acme", now), 3);
    content_close(content);
}

static void test_the_oldest_go_when_there_is_too_much(void **state)
{
    enum { BYTES = 30000, COUNT = 100 };
    struct place *place = *state;
    int64_t now = clock_wall_us();
    char *long_text = long_text_of(BYTES), id[16];
    struct content *content = open_kept(place, 1 << 20);
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof id, "%d", i);
        put(content, id, "acme", now + i, (struct text){long_text, BYTES});
        if (i % 10 == 9)
            catch_up(content);
    }
    assert_int_equal(content_figures(content).kept, COUNT);
    wait_for_sum_below(place, 1 << 20);
    assert_int_equal(find(content, "0", "acme", now), SIZE_MAX);
    /* No more than that. */
    assert_in_range(sum_of(place), (1 << 20) - 2 * BYTES, 1 << 20);
    assert_int_equal(find(content, id, "acme", now + COUNT - 1), BYTES);
    content_close(content);
    memory_free(long_text);
}

static void test_what_was_deleted_makes_room(void **state)
{
    enum { BYTES = 30000, KEPT = 10, DELETED = 20 };
    struct place *place = *state;
    int64_t now = clock_wall_us();
    char *long_text = long_text_of(BYTES);
    struct text text = {long_text, BYTES};
    struct content *content = open_kept(place, 1 << 20);
    for (int i = 0; i < KEPT; i++)
        put(content, "a", "globex", now - i, text);
    for (int i = 0; i < DELETED; i++)
        put(content, "b", "acme", now, text);
    catch_up(content);
    assert_int_equal(
        delete (content, (struct content_wish){.is_of = is_acme, .before_us = INT64_MAX}), DELETED);
    for (int i = 0; i < KEPT; i++) {
        put(content, "c", "globex", now + i, text);
        catch_up(content);
    }
    assert_int_equal(ask_file(place, "SELECT count(*) FROM content"), 2 * KEPT);
    content_close(content);
    memory_free(long_text);
}

static int64_t file_bytes(const struct place *place)
{
    struct stat status;
    assert_int_equal(stat(place->path, &status), 0);
    return status.st_size;
}

static void await_smaller(const struct place *place, int64_t bytes)
{
    int64_t until = (int64_t)clock_now_us() + LONG_US;
    while (file_bytes(place) > bytes && (int64_t)clock_now_us() < until)
        usleep(5000);
    assert_in_range(file_bytes(place), 1, bytes);
}

static void test_the_file_becomes_smaller(void **state)
{
    enum { BYTES = 1000000, DELETED = 20 };
    struct place *place = *state;
    int64_t now = clock_wall_us();
    char *long_text = long_text_of(BYTES);
    struct text text = {long_text, BYTES};
    struct content *content = open_kept(place, 64 << 20);
    for (int i = 0; i < DELETED; i++) {
        put(content, "a", "acme", now - i, text);
        catch_up(content);
    }
    put(content, "b", "globex", now - 2 * DELETED, text);
    catch_up(content);
    assert_int_equal(
        delete (content, (struct content_wish){.is_of = is_acme, .before_us = INT64_MAX}), DELETED);
    await_smaller(place, 3 * BYTES);
    assert_int_equal(find(content, "b", "globex", now - 2 * DELETED), BYTES);
    put(content, "c", "acme", now, text);
    catch_up(content);
    assert_int_equal(find(content, "c", "acme", now), BYTES);
    /* and by age: */
    for (int i = 0; i < DELETED / 2; i++) {
        put(content, "d", "acme", now - i, text);
        catch_up(content);
    }
    struct content_keeping keeping = {.wanted = true, .keep_us = 0, .max_bytes = 64 << 20};
    content_keep(content, &keeping);
    await_smaller(place, 3 * BYTES);
    content_close(content);
    assert_int_equal(ask_file(place, "SELECT count(*) FROM content"), 0);
    memory_free(long_text);
}

/* As somebody has left them. */
static void put_many_old(const struct place *place, int count, int64_t started_us)
{
    struct fault fault;
    struct database *database = database_open(place->path, DATABASE_WRITE, &fault);
    assert_non_null(database);
    assert_true(database_run_format(
        database,
        "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < %d) INSERT INTO "
        "content(id, tenant, user, started_us, bytes, cut, input, system, tools, output) SELECT "
        "'old', 'acme', '', %lld, 1, 0, '', '', '', '' FROM i",
        count, (long long)started_us));
    database_close(database);
}

static void test_what_comes_while_old_ones_are_deleted_is_kept(void **state)
{
    enum { OLD = 50000 };
    struct place *place = *state;
    int64_t now = clock_wall_us(), left = 0;
    struct content *content = open_kept(place, 1 << 20);
    put(content, "new", "acme", now, TEXT("[]"));
    content_close(content); /* there is a file */
    /* In between who asks may not have the processor for so long that all are deleted. */
    for (int i = 0; i < 5 && left == 0; i++) {
        put_many_old(place, OLD, now - 2 * DAY_US);
        content = open_kept(place, 1 << 20);
        put(content, "b", "acme", now, TEXT("[]"));
        catch_up(content);
        assert_int_equal(content_figures(content).kept, 1);
        assert_int_equal(delete (content, (struct content_wish){.is_of = is_acme,
                                                                .user = TEXT("bob"),
                                                                .before_us = INT64_MAX}),
                         0);
        content_close(content); /* does not wait for all of it */
        left = ask_file(place, "SELECT count(*) FROM content WHERE id = 'old'");
    }
    assert_in_range(left, 1, OLD * 5);
}

static void test_what_is_too_old_goes_also_when_nothing_new_is_kept(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us();
    struct content *content = open_kept(place, 1 << 20);
    for (int i = 0; i < 600; i++)
        put(content, "old", "acme", now - 2 * DAY_US, TEXT("[]"));
    put(content, "new", "acme", now, TEXT("[]"));
    content_close(content);
    content = content_open(place->path);
    struct content_keeping keeping = {.wanted = false, .keep_us = DAY_US, .max_bytes = 1 << 20};
    content_keep(content, &keeping);
    for (int i = 0; ask_file(place, "SELECT count(*) FROM content") > 1 && i < 6000; i++)
        usleep(10000);
    assert_int_equal(find(content, "old", "acme", now - 2 * DAY_US), SIZE_MAX);
    assert_int_equal(find(content, "new", "acme", now), 2);
    content_close(content);
}

static void test_a_queue_that_is_full_drops_and_counts(void **state)
{
    enum { BYTES = 1 << 20, COUNT = CONTENT_QUEUE_BYTES / BYTES + 1 };
    struct place *place = *state;
    char *long_text = long_text_of(CONTENT_QUEUE_BYTES);
    struct content *content = open_kept(place, INT64_C(1) << 30);
    put(content, "all", "acme", 1, (struct text){long_text, CONTENT_QUEUE_BYTES});
    assert_int_equal(content_figures(content).dropped, 1);
    int64_t now = clock_wall_us();
    for (int i = 0; i < COUNT; i++)
        put(content, "one", "acme", now, (struct text){long_text, BYTES});
    catch_up(content);
    struct content_figures figures = content_figures(content);
    assert_int_equal(figures.kept + figures.dropped, COUNT + 1);
    assert_in_range(figures.kept, 15, COUNT);
    content_close(content);
    memory_free(long_text);
}

static void test_it_is_deleted_by_tenant_user_and_time(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us();
    struct content *content = open_kept(place, 1 << 20);
    for (int i = 0; i < 1000; i++)
        put(content, "a", "acme", now - i, TEXT("[]"));
    put(content, "b", "globex", now, TEXT("[]"));
    put(content, "c", "", now, TEXT("[]"));
    catch_up(content);
    assert_int_equal(
        delete (content, (struct content_wish){.is_of = is_acme, .before_us = now - 9}), 990);
    assert_int_equal(delete (content, (struct content_wish){.is_of = is_acme,
                                                            .user = TEXT("bob"),
                                                            .before_us = INT64_MAX}),
                     0);
    assert_int_equal(delete (content, (struct content_wish){.is_of = is_acme,
                                                            .user = TEXT("ada"),
                                                            .before_us = INT64_MAX}),
                     10);
    assert_int_equal(find(content, "b", "globex", now), 2);
    assert_int_equal(delete (content, (struct content_wish){.before_us = INT64_MAX}), 2);
    assert_int_equal(find(content, "b", "globex", now), SIZE_MAX);
    content_close(content);
}

static void test_who_deletes_much_stops_and_goes_on(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us(), deleted_calls = 0;
    struct content *content = open_kept(place, 1 << 20);
    struct content_wish wish = {.is_of = is_acme, .before_us = INT64_MAX, .within_us = 0};
    struct content_deleted deleted = {.more = true};
    struct fault fault;
    int times = 0;
    for (int i = 0; i < 1000; i++)
        put(content, i % 2 ? "a" : "b", i % 2 ? "acme" : "globex", now - i, TEXT("[]"));
    catch_up(content);
    for (; deleted.more; times++) {
        assert_true(content_delete(content, &wish, &deleted, &fault));
        assert_true(deleted.calls > 0 || !deleted.more);
        deleted_calls += deleted.calls;
    }
    assert_int_equal(deleted_calls, 500);
    assert_in_range(times, 2, 500);
    assert_int_equal(ask_file(place, "SELECT count(*) FROM content"), 500);
    content_close(content);
}

static void remove_file(const struct place *place, const char *end)
{
    char *path = memory_format("%s%s", place->path, end);
    assert_int_equal(unlink(path), 0);
    memory_free(path);
}

static void test_a_file_that_was_taken_away_begins_anew(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us();
    struct content *content = open_kept(place, 1 << 20);
    for (int i = 0; i < 4; i++) {
        put(content, i % 2 ? "odd" : "even", "acme", now, TEXT("[]"));
        catch_up(content);
        assert_int_equal(find(content, i % 2 ? "odd" : "even", "acme", now), 2);
        assert_int_equal(find(content, i % 2 ? "even" : "odd", "acme", now), SIZE_MAX);
        assert_int_equal(ask_file(place, "SELECT count(*) FROM content"), 1);
        assert_int_equal(content_figures(content).kept, i + 1);
        if (i == 2) { /* with its log */
            remove_file(place, "-wal");
            remove_file(place, "-shm");
        }
        remove_file(place, "");
    }
    content_close(content);
}

static void copy_file(const char *path, const char *copy)
{
    FILE *from = fopen(path, "r"), *to = fopen(copy, "w");
    for (int c; (c = fgetc(from)) != EOF;)
        fputc(c, to);
    assert_true(ftell(to) > 0);
    fclose(from);
    fclose(to);
}

/* Nobody has it open: what its log says is not of the file that begins. */
static void test_a_log_without_its_file_is_not_read(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us();
    char *log = memory_format("%s-wal", place->path), *copy = memory_format("%s.copy", log);
    struct content *content = open_kept(place, 1 << 20);
    put(content, "a", "acme", now, TEXT("[]"));
    catch_up(content);
    copy_file(log, copy); /* closing empties it */
    content_close(content);
    unlink(place->path);
    rename(copy, log);
    content = open_kept(place, 1 << 20);
    put(content, "b", "acme", now, TEXT("[]"));
    catch_up(content);
    assert_int_equal(find(content, "b", "acme", now), 2);
    assert_int_equal(find(content, "a", "acme", now), SIZE_MAX);
    content_close(content);
    memory_free(log);
    memory_free(copy);
}

static void test_a_file_that_is_broken_is_no_end(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us();
    struct fault fault = {0};
    struct content_name name = {TEXT("a"), TEXT("acme"), now};
    size_t len;
    FILE *file = fopen(place->path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("no database", file);
    fclose(file);
    struct content *content = open_kept(place, 1 << 20);
    put(content, "a", "acme", now, TEXT("[]"));
    catch_up(content);
    assert_int_equal(content_figures(content).dropped, 1);
    assert_int_equal(content_find(content, &name, see, &len, &fault), CONTENT_FAILED);
    assert_true(strlen(fault.text) > 0);
    unlink(place->path);
    put(content, "a", "acme", now, TEXT("[]"));
    catch_up(content);
    assert_int_equal(find(content, "a", "acme", now), 2);
    content_close(content);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_wish_there_is_no_file),
        TEST(test_what_was_put_is_found),
        TEST(test_the_oldest_go_when_there_is_too_much),
        TEST(test_the_file_becomes_smaller),
        TEST(test_what_was_deleted_makes_room),
        TEST(test_what_comes_while_old_ones_are_deleted_is_kept),
        TEST(test_who_deletes_much_stops_and_goes_on),
        TEST(test_a_file_that_was_taken_away_begins_anew),
        TEST(test_a_log_without_its_file_is_not_read),
        TEST(test_what_is_too_old_goes_also_when_nothing_new_is_kept),
        TEST(test_a_queue_that_is_full_drops_and_counts),
        TEST(test_it_is_deleted_by_tenant_user_and_time),
        TEST(test_a_file_that_is_broken_is_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
