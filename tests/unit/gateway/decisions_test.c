/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/decisions.h"
#include "routing/decision.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static const int64_t DAY_US = INT64_C(86400) * 1000000, MUCH = INT64_C(1) << 40;

/* A choice among <count> targets, whose names are <name_bytes> long. */
struct made {
    struct target targets[ROUTE_TARGETS_MAX];
    struct choice choice;
    char names[ROUTE_TARGETS_MAX][256];
};

static struct made *make(size_t count, size_t name_bytes, int64_t figure)
{
    struct made *made = memory_new(sizeof(*made));
    made->choice.count = count;
    for (size_t i = 0; i < count; i++) {
        memset(made->names[i], 'a' + (int)(i % 26), name_bytes);
        made->targets[i] = (struct target){
            .id = {made->names[i], name_bytes}, .priority = (unsigned)i, .weight = 1};
        made->choice.candidates[i] = (struct candidate){
            .target = &made->targets[i],
            .prediction = {.first_us = figure, .total_us = 2 * figure, .cost_nanos = 3 * figure}};
    }
    if (count > 1) {
        made->choice.candidates[1].strike = STRIKE_RULE;
        made->choice.candidates[1].prediction.first_us = 0;
    }
    made->choice.target = count ? &made->targets[count - 1] : NULL;
    return made;
}

static size_t write_record(const struct made *made, char out[DECISION_BYTES])
{
    struct decision_end end = {.wall_us = 1764156000123000,
                               .status = 200,
                               .attempts = 2,
                               .first_us = 400,
                               .duration_us = 900,
                               .cost_nanos = 1234};
    size_t len = decision_write_end(&end, out);
    struct route route = {
        .name = TEXT("fast"), .targets = made->targets, .target_count = made->choice.count};
    return len + decision_write_choice(&made->choice, &route, TEXT("balanced"), out + len);
}

static void a_record_is_read_as_it_was_written(void **state)
{
    (void)state;
    static struct decision read;
    char bytes[DECISION_BYTES];
    struct made *made = make(3, 10, 5000000);
    size_t len = write_record(made, bytes);
    assert_in_range(len, 40, 160);
    assert_true(decision_read((struct text){bytes, len}, &read));
    assert_true(read.end.wall_us == 1764156000123000);
    assert_int_equal(read.end.attempts, 2);
    assert_int_equal(read.end.cost_nanos, 1234);
    assert_true(text_equal(read.model, TEXT("fast")) && text_equal(read.policy, TEXT("balanced")));
    assert_int_equal(read.count, 3);
    assert_int_equal(read.chosen, 2);
    assert_int_equal(read.candidates[1].strike, STRIKE_RULE);
    assert_false(read.candidates[1].has_prediction);
    assert_int_equal(read.candidates[2].prediction.cost_nanos, 15000000);
    assert_int_equal(read.candidates[2].priority, 2);
    for (size_t cut = 0; cut < len; cut++)
        assert_false(decision_read((struct text){bytes, cut}, &read));
    memory_free(made);
}

static void a_record_is_bounded(void **state)
{
    (void)state;
    static struct decision read;
    char bytes[DECISION_BYTES];
    struct made *made = make(ROUTE_TARGETS_MAX, 12, 500000);
    size_t len = write_record(made, bytes);
    assert_true(decision_read((struct text){bytes, len}, &read));
    assert_int_equal(read.count, ROUTE_TARGETS_MAX);
    memory_free(made);
    made = make(ROUTE_TARGETS_MAX, 200, INT64_MAX / 4); /* what does not fit cannot be replayed */
    len = write_record(made, bytes);
    assert_true(decision_read((struct text){bytes, len}, &read));
    assert_int_equal(read.count, 0);
    assert_int_equal(read.chosen, 0);
    memory_free(made);
}

static void figures_of_any_width_are_read_as_they_were_written(void **state)
{
    (void)state;
    static struct decision read;
    char bytes[DECISION_BYTES];
    struct made *made = make(12, 10, 1);
    for (size_t i = 0; i < 12; i++) {
        struct prediction *p = &made->choice.candidates[i].prediction;
        made->targets[i].weight = i % 2 ? UINT32_MAX : 0;
        p->total_us = i == 5 ? INT64_MAX : 0;
        p->wait_us = (int64_t)1 << 5 * i;
        p->token_ns = i ? -1 : 255; /* there is no such time: it is none */
        p->cached_tokens = 70000;
        made->choice.candidates[i].strike = i == 7 ? STRIKE_SLOW : STRIKE_NONE;
    }
    made->choice.candidates[3].strike = STRIKE_OFF;
    made->choice.candidates[3].prediction.first_us = 0;
    size_t len = write_record(made, bytes);
    assert_true(decision_read((struct text){bytes, len}, &read));
    assert_int_equal(read.count, 12);
    for (size_t i = 0; i < 12; i++) {
        const struct prediction *p = &read.candidates[i].prediction;
        assert_int_equal(read.candidates[i].has_prediction, i != 3);
        assert_int_equal(read.candidates[i].strike, made->choice.candidates[i].strike);
        assert_true(text_equal(read.candidates[i].target, made->targets[i].id));
        if (i == 3)
            continue;
        assert_int_equal(read.candidates[i].weight, made->targets[i].weight);
        assert_int_equal(read.candidates[i].priority, i);
        assert_true(p->total_us == (i == 5 ? INT64_MAX : 0));
        assert_true(p->wait_us == (int64_t)1 << 5 * i);
        assert_int_equal(p->token_ns, i ? 0 : 255);
        assert_int_equal(p->cached_tokens, 70000);
        assert_int_equal(p->cost_nanos, 3);
    }
    for (size_t cut = 0; cut < len; cut++)
        assert_false(decision_read((struct text){bytes, cut}, &read));
    memory_free(made);
}

static void names_that_are_ready_make_the_same_record(void **state)
{
    (void)state;
    char bytes[DECISION_BYTES], same[DECISION_BYTES], names[DECISION_BYTES];
    struct made *made = make(3, 10, 5000);
    struct route route = {.name = TEXT("fast"), .targets = made->targets, .target_count = 3};
    size_t len = decision_write_choice(&made->choice, &route, TEXT("balanced"), bytes);
    route.sum.written = (struct text){names, decision_write_names(&route, names, sizeof(names))};
    assert_int_equal(route.sum.written.len, 33);
    assert_int_equal(decision_write_choice(&made->choice, &route, TEXT("balanced"), same), len);
    assert_memory_equal(bytes, same, len);
    assert_int_equal(decision_write_names(&route, names, 32), 0);
    memory_free(made);
}

/* ------------------------------------------------------------------------------- files */

struct place {
    char folder[64], directory[96];
};

static int begin(void **state)
{
    struct place *place = memory_new(sizeof(*place));
    snprintf(place->folder, sizeof(place->folder), "/tmp/decisions-test-XXXXXX");
    if (!mkdtemp(place->folder))
        return -1;
    snprintf(place->directory, sizeof(place->directory), "%s/decisions", place->folder);
    *state = place;
    return 0;
}

static int end(void **state)
{
    struct place *place = *state;
    char words[256];
    snprintf(words, sizeof(words), "rm -rf '%s'", place->folder);
    int code = system(words);
    memory_free(place);
    return code;
}

static void count_one(void *with, struct text record)
{
    (void)record;
    ++*(size_t *)with;
}

static size_t count_kept(const struct place *place)
{
    size_t count = 0;
    assert_true(decisions_each(place->directory, 0, count_one, &count));
    return count;
}

static size_t file_count(const struct place *place, char first[128])
{
    glob_t found;
    char pattern[128];
    snprintf(pattern, sizeof(pattern), "%s/*.decisions", place->directory);
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    if (count > 0 && first)
        snprintf(first, 128, "%s", found.gl_pathv[0]);
    globfree(&found);
    return count;
}

/* As a process that runs for a while. */
static void put_many(const struct place *place, size_t count, int64_t keep_us, int64_t max_bytes)
{
    struct decisions *decisions = decisions_open(place->directory, 2);
    decisions_keep(decisions, keep_us, max_bytes);
    for (size_t i = 0; i < count; i++)
        decisions_put(decisions_pen(decisions, i % 2), TEXT("head"), TEXT("rest"));
    decisions_close(decisions);
}

static void what_was_put_is_there_afterwards(void **state)
{
    put_many(*state, 1001, DAY_US, MUCH);
    assert_int_equal(count_kept(*state), 1001);
    put_many(*state, 9, DAY_US, MUCH);
    assert_int_equal(count_kept(*state), 1010);
}

static void a_torn_end_is_passed_over(void **state)
{
    char path[128];
    put_many(*state, 10, DAY_US, MUCH);
    assert_int_equal(file_count(*state, path), 1);
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(truncate(path, about.st_size - 3), 0);
    assert_int_equal(count_kept(*state), 9);
    put_many(*state, 5, DAY_US, MUCH);
    assert_int_equal(count_kept(*state), 14);
}

static void what_is_old_or_too_much_is_deleted(void **state)
{
    char path[128];
    put_many(*state, 10, DAY_US, MUCH);
    assert_int_equal(file_count(*state, path), 1);
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    size_t seen = 0;
    assert_true(decisions_each(((struct place *)*state)->directory, DAY_US, count_one, &seen));
    assert_int_equal(seen, 0); /* too old to be looked at */
    struct decisions *decisions =
        decisions_open(((struct place *)*state)->directory, 1); /* looks at once */
    decisions_keep(decisions, DAY_US, MUCH);
    for (int i = 0; i < 6000 && file_count(*state, NULL) > 0; i++)
        usleep(10000);
    decisions_close(decisions);
    assert_int_equal(file_count(*state, NULL), 0);
}

/* Who looks for one call reads what was written about when it ended, and not a week of it. */
static void a_time_is_looked_at_and_little_besides(void **state)
{
    const struct place *place = *state;
    enum { FILES = 4, DAY_S = 86400 };
    char pattern[128];
    snprintf(pattern, sizeof(pattern), "%s/*.decisions", place->directory);
    for (int i = 0; i < FILES; i++) {
        glob_t found;
        put_many(place, (size_t)i + 1, 40000 * DAY_US, MUCH);
        assert_int_equal(glob(pattern, 0, NULL, &found), 0);
        assert_int_equal(found.gl_pathc, i + 1);
        /* The first file was closed on the first day, and so on. */
        struct timespec then[2] = {{.tv_sec = (i + 1) * DAY_S}, {.tv_sec = (i + 1) * DAY_S}};
        assert_int_equal(utimensat(AT_FDCWD, found.gl_pathv[i], then, 0), 0);
        globfree(&found);
    }
    static const struct {
        int64_t since, until; /* in tenths of days */
        size_t count;
    } rows[] = {{0, 5, 1},   {5, 8, 1},      {15, 18, 2}, {25, 28, 3},
                {35, 38, 4}, {5, 15, 1 + 2}, {41, 42, 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t seen = 0;
        assert_true(decisions_between(place->directory, rows[i].since * DAY_US / 10,
                                      rows[i].until * DAY_US / 10, count_one, &seen));
        assert_int_equal(seen, rows[i].count);
    }
}

/* No folder is no decision; what cannot be read is another thing. */
static void why_they_cannot_be_read_is_told(void **state)
{
    const struct place *place = *state;
    char path[256], first[128];
    size_t seen = 0;
    errno = 0;
    assert_false(decisions_each(place->directory, 0, count_one, &seen));
    assert_int_equal(errno, ENOENT);
    put_many(place, 1, DAY_US, MUCH);
    snprintf(path, sizeof(path), "%s/9999999999999999.decisions", place->directory);
    assert_int_equal(mkdir(path, 0700), 0); /* even root cannot read it as a file */
    assert_false(decisions_each(place->directory, 0, count_one, &seen));
    assert_int_equal(errno, EISDIR);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(file_count(place, first), 1);
    assert_false(decisions_each(first, 0, count_one, &seen));
    assert_int_equal(errno, ENOTDIR);
}

static void where_nothing_can_be_written_nothing_waits(void **state)
{
    struct place *place = *state;
    int fd = open(place->directory, O_WRONLY | O_CREAT, 0600); /* a file in the way */
    close(fd);
    struct decisions *decisions = decisions_open(place->directory, 1);
    decisions_keep(decisions, DAY_US, MUCH);
    for (size_t i = 0; i < 200000; i++)
        decisions_put(decisions_pen(decisions, 0), TEXT("head"), TEXT("rest"));
    assert_true(decisions_figures(decisions).written == 0);
    decisions_close(decisions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_as_it_was_written),
        cmocka_unit_test(a_record_is_bounded),
        cmocka_unit_test(figures_of_any_width_are_read_as_they_were_written),
        cmocka_unit_test(names_that_are_ready_make_the_same_record),
        cmocka_unit_test_setup_teardown(what_was_put_is_there_afterwards, begin, end),
        cmocka_unit_test_setup_teardown(a_torn_end_is_passed_over, begin, end),
        cmocka_unit_test_setup_teardown(what_is_old_or_too_much_is_deleted, begin, end),
        cmocka_unit_test_setup_teardown(a_time_is_looked_at_and_little_besides, begin, end),
        cmocka_unit_test_setup_teardown(why_they_cannot_be_read_is_told, begin, end),
        cmocka_unit_test_setup_teardown(where_nothing_can_be_written_nothing_waits, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
