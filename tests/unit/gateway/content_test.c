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
    int64_t deleted;
    assert_true(content_delete(content, &wish, &deleted, &fault));
    return deleted;
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
    char *long_text = memory_new(BYTES), id[16];
    memset(long_text, 'x', BYTES);
    struct content *content = open_kept(place, 1 << 20);
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof id, "%d", i);
        put(content, id, "acme", now + i, (struct text){long_text, BYTES});
        if (i % 10 == 9)
            catch_up(content);
    }
    catch_up(content);
    assert_int_equal(content_figures(content).kept, COUNT);
    assert_int_equal(find(content, "0", "acme", now), SIZE_MAX);
    struct database *database = database_open(place->path, DATABASE_READ, &(struct fault){0});
    struct statement *sum =
        database_prepare(database, "SELECT coalesce(sum(bytes), 0) FROM content");
    assert_int_equal(statement_next(sum), STATEMENT_ROW);
    assert_in_range(statement_number(sum, 0), 0, 1 << 20);
    database_close(database);
    content_close(content);
    memory_free(long_text);
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
    content_close(content); /* what was asked for is done before */
    content = content_open(place->path);
    assert_int_equal(find(content, "old", "acme", now - 2 * DAY_US), SIZE_MAX);
    assert_int_equal(find(content, "new", "acme", now), 2);
    content_close(content);
}

static void test_a_queue_that_is_full_drops_and_counts(void **state)
{
    enum { BYTES = 1 << 20, COUNT = CONTENT_QUEUE_BYTES / BYTES + 1 };
    struct place *place = *state;
    char *long_text = memory_new(CONTENT_QUEUE_BYTES);
    memset(long_text, 'x', CONTENT_QUEUE_BYTES);
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
        TEST(test_what_is_too_old_goes_also_when_nothing_new_is_kept),
        TEST(test_a_queue_that_is_full_drops_and_counts),
        TEST(test_it_is_deleted_by_tenant_user_and_time),
        TEST(test_a_file_that_is_broken_is_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
