/* SPDX-License-Identifier: Apache-2.0 */

/* Deployments in STATE/deployments.db: what was written is read back, also by the next process, and
 * whatever somebody has done to the file. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/database.h"
#include "gateway/made/inside.h"
#include "tests/unit/child.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static char state[64];

static int set_up(void **ignored)
{
    (void)ignored;
    snprintf(state, sizeof(state), "/tmp/made_XXXXXX");
    return mkdtemp(state) ? 0 : -1;
}

static int tear_down(void **ignored)
{
    char command[128];
    (void)ignored;
    snprintf(command, sizeof(command), "rm -rf %s", state);
    return system(command);
}

static struct made *open_made(void)
{
    struct fault fault = {.kind = FAULT_NONE};
    struct made *made = made_open(state, &fault);
    if (!made)
        fail_msg("%s", fault.text);
    return made;
}

static struct made_deployment one_called(const char *name, int64_t version)
{
    return (struct made_deployment){.name = text_of(name),
                                    .id = text_of(name),
                                    .tenant = {"acme", 4},
                                    .token = {"5ecre7", 6},
                                    .document = {"{\"a\":\"\\u2603\"}", 14},
                                    .by = {"main", 4},
                                    .version = version};
}

static void put(struct made *made, const char *name, int64_t version)
{
    struct fault fault;
    struct made_deployment one = one_called(name, version);
    assert_true(made_put(made, &one, &fault));
}

static void assert_text(struct text text, const char *wanted)
{
    if (!text_equal(text, text_of(wanted)))
        fail_msg("\"%.*s\" is not \"%s\"", TEXT_ARGS(text), wanted);
}

static void run_sql(const char *sql)
{
    char path[128];
    struct fault fault;
    snprintf(path, sizeof(path), "%s/deployments.db", state);
    struct database *database = database_open(path, DATABASE_WRITE, &fault);
    assert_non_null(database);
    assert_true(database_run(database, sql));
    database_close(database);
}

/* -------------------------------------------------------------------------------- round trips */

static void what_is_written_is_read(void **ignored)
{
    (void)ignored;
    struct made *made = open_made();
    put(made, "zebra", 1);
    put(made, "ant", 1);
    struct made_deployment change = one_called("ant", 2);
    struct fault fault;
    change.document = TEXT("{}");
    change.id = TEXT("another"); /* what it is known by stays */
    assert_true(made_put(made, &change, &fault));
    made_close(made);
    made = open_made();
    struct made_list *list = made_read(made);
    assert_int_equal(list->count, 2);
    assert_text(list->at[0].name, "ant");
    assert_text(list->at[0].id, "ant");
    assert_text(list->at[0].document, "{}");
    assert_int_equal(list->at[0].version, 2);
    assert_true(list->at[0].made_us > 0 && list->at[0].changed_us >= list->at[0].made_us);
    assert_text(list->at[1].tenant, "acme");
    assert_text(list->at[1].token, "5ecre7");
    assert_text(list->at[1].document, "{\"a\":\"\\u2603\"}");
    assert_text(list->at[1].by, "main");
    made_list_free(list);
    made_close(made);
}

static void only_the_last_versions_are_kept(void **ignored)
{
    (void)ignored;
    struct made *made = open_made();
    for (int64_t i = 1; i <= MADE_VERSIONS + 5; i++)
        put(made, "one", i);
    put(made, "other", 1);
    struct made_list *list = made_versions(made, TEXT("one"));
    assert_int_equal(list->count, MADE_VERSIONS);
    assert_int_equal(list->at[0].version, MADE_VERSIONS + 5);
    assert_int_equal(list->at[MADE_VERSIONS - 1].version, 6);
    made_list_free(list);
    list = made_versions(made, TEXT("nobody"));
    assert_int_equal(list->count, 0);
    made_list_free(list);
    made_close(made);
}

static void what_was_removed_is_known_for_a_day(void **ignored)
{
    (void)ignored;
    struct fault fault;
    struct made *made = open_made();
    put(made, "one", 1);
    struct made_order order = {.name = TEXT("one"), .stopped = true, .low = -1, .high = -1};
    assert_true(made_order_put(made, &order, &fault));
    assert_true(made_drop(made, TEXT("one"), &fault));
    struct made_list *list = made_read(made);
    struct made_deployment ended;
    assert_int_equal(list->count, 0);
    assert_true(made_find_ended(made, TEXT("one"), list, &ended));
    assert_text(ended.tenant, "acme");
    assert_false(made_find_ended(made, TEXT("two"), list, &ended));
    assert_false(made_order_of(made, TEXT("one")).stopped);
    run_sql("UPDATE ended SET at_us = at_us - 86400000001");
    put(made, "two", 1);
    assert_true(made_drop(made, TEXT("two"), &fault));
    assert_false(made_find_ended(made, TEXT("one"), list, &ended));
    assert_true(made_drop(made, TEXT("nobody"), &fault)); /* as if it had been there */
    made_list_free(list);
    made_close(made);
}

static void orders_hold(void **ignored)
{
    (void)ignored;
    struct fault fault;
    struct made *made = open_made();
    struct made_order order = made_order_of(made, TEXT("of the file"));
    assert_true(!order.stopped && !order.pinned && order.low == -1 && order.high == -1);
    order.pinned = true;
    order.low = 2;
    order.high = 7;
    assert_true(made_order_put(made, &order, &fault));
    order.unpinned = true;
    assert_true(made_order_put(made, &order, &fault));
    made_close(made);
    made = open_made();
    order = made_order_of(made, TEXT("of the file"));
    assert_true(order.pinned && order.unpinned && order.low == 2 && order.high == 7);
    made_close(made);
}

static void assert_verdicts(struct made *made, const char *wanted)
{
    struct arena arena;
    arena_init(&arena, 4096);
    assert_text(made_verdicts(made, &arena), wanted);
    arena_done(&arena);
}

static void verdicts_hold(void **ignored)
{
    (void)ignored;
    struct fault fault;
    struct made *made = open_made();
    assert_verdicts(NULL, "");
    assert_verdicts(made, "");
    assert_true(made_verdict_put(made, TEXT("two"), TEXT("{\"a\":1}"), &fault));
    assert_true(made_verdict_put(made, TEXT("one"), TEXT("{}"), &fault));
    assert_true(made_verdict_put(made, TEXT("two"), TEXT("{\"a\": 2}"), &fault));
    made_close(made);
    made = open_made();
    assert_verdicts(made, "one {}\ntwo {\"a\": 2}\n");
    assert_true(made_verdict_put(made, TEXT("two"), TEXT(""), &fault));
    assert_true(made_drop(made, TEXT("one"), &fault)); /* it goes with its deployment */
    assert_verdicts(made, "");
    made_close(made);
}

/* As an earlier version has left it. */
static void a_file_without_verdicts_gets_them(void **ignored)
{
    (void)ignored;
    struct fault fault;
    struct made *made = open_made();
    put(made, "one", 1);
    made_close(made);
    run_sql("DROP TABLE verdicts; PRAGMA user_version = 3");
    made = open_made();
    assert_verdicts(made, "");
    assert_true(made_verdict_put(made, TEXT("one"), TEXT("{}"), &fault));
    assert_verdicts(made, "one {}\n");
    struct made_list *list = made_read(made);
    assert_int_equal(list->count, 1);
    made_list_free(list);
    made_close(made);
}

/* --------------------------------------------------------------------------------------- lists */

static void a_list_is_copied_with_a_change(void **ignored)
{
    (void)ignored;
    struct made *made = open_made();
    char name[8];
    for (int i = 0; i < 40; i++) { /* it grows more than once */
        snprintf(name, sizeof(name), "d%02d", i);
        put(made, name, 1);
    }
    struct made_list *list = made_read(made);
    struct made_deployment in_place = one_called("d07", 9), behind = one_called("e", 1);
    struct made_list *changed = made_list_with(list, &in_place, TEXT(""));
    assert_int_equal(changed->count, 40);
    assert_int_equal(changed->at[7].version, 9);
    assert_int_equal(list->at[7].version, 1);
    made_list_free(changed);
    changed = made_list_with(list, &behind, TEXT("d00"));
    assert_int_equal(changed->count, 40);
    assert_text(changed->at[0].name, "d01");
    assert_text(changed->at[39].name, "e");
    made_list_free(list); /* a copy is its own */
    assert_non_null(made_find(changed, TEXT("d39")));
    assert_null(made_find(changed, TEXT("d00")));
    made_list_free(changed);
    made_close(made);
}

static void nobody_has_an_empty_list(void **ignored)
{
    (void)ignored;
    struct made_deployment ended;
    struct made_list *list = made_read(NULL), *versions = made_versions(NULL, TEXT("a"));
    assert_true(list->count == 0 && versions->count == 0);
    assert_false(made_find_ended(NULL, TEXT("a"), list, &ended));
    assert_int_equal(made_order_of(NULL, TEXT("a")).low, -1);
    made_list_free(list);
    made_list_free(versions);
    made_list_free(NULL);
    made_close(NULL);
}

/* ------------------------------------------------------------------------ what else is there */

/* Somebody has been at the file with sqlite3: it is read as it is, without harm. */
static void odd_rows_are_read(void **ignored)
{
    (void)ignored;
    struct made *made = open_made();
    put(made, "zz", 1); /* the file is made with the first one */
    made_close(made);
    run_sql(
        "INSERT INTO deployments VALUES ('', '', '', '', '', '', -1, -1, 9223372036854775807);"
        "INSERT INTO deployments VALUES ('blob', 'b', x'00ff', 7, x'7b7d00', 'x', 'many', 'no', "
        "1.5);"
        "INSERT INTO deployments VALUES ('long', 'l', '', '', zeroblob(1000000), '', 1, 1, 1);"
        "INSERT INTO orders VALUES ('blob', 'yes', 'x', 7, 'few', -5);");
    made = open_made();
    struct made_list *list = made_read(made);
    assert_int_equal(list->count, 4);
    assert_int_equal(list->at[0].version, -1);
    assert_int_equal(list->at[1].version, 0);
    assert_text(list->at[1].token, "7");
    assert_int_equal(list->at[1].document.len, 3);
    assert_int_equal(list->at[2].document.len, 1000000);
    struct made_order order = made_order_of(made, TEXT("blob"));
    assert_true(!order.stopped && order.low == 0 && order.high == -5);
    put(made, "blob", 2); /* and it can be put right */
    made_list_free(list);
    made_close(made);
}

static void two_cannot_have_one_id(void **ignored)
{
    (void)ignored;
    struct fault fault = {.kind = FAULT_NONE};
    struct made *made = open_made();
    put(made, "one", 1);
    struct made_deployment other = one_called("other", 1);
    other.id = TEXT("one");
    assert_false(made_put(made, &other, &fault));
    assert_int_equal(fault.kind, FAULT_LEDGER_FULL);
    struct made_list *list = made_read(made), *versions = made_versions(made, TEXT("other"));
    assert_true(list->count == 1 && versions->count == 0); /* nothing of it */
    made_list_free(list);
    made_list_free(versions);
    put(made, "other", 1); /* and the next one can be written */
    made_close(made);
}

static void what_is_no_store_is_refused(void **ignored)
{
    (void)ignored;
    char path[128];
    struct fault fault = {.kind = FAULT_NONE};
    snprintf(path, sizeof(path), "%s/deployments.db", state);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database; ", file);
    fclose(file);
    assert_null(made_open(state, &fault));
    assert_true(fault.text[0]);
    unlink(path);
    made_close(open_made());
    run_sql("PRAGMA user_version = 99");
    assert_null(made_open(state, &fault));
    assert_non_null(strstr(fault.text, "newer"));
    struct made *nowhere = made_open("/nowhere/at/all", &fault);
    struct made_deployment one = one_called("one", 1);
    assert_true(!nowhere || !made_put(nowhere, &one, &fault));
    made_close(nowhere);
}

/* A process that is killed in the middle of its changes leaves whole ones. */
static void a_killed_writer_leaves_whole_changes(void **ignored)
{
    (void)ignored;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = child_fork();
    if (child == 0) {
        struct fault fault;
        struct made *made = made_open(state, &fault);
        for (int64_t i = 1;; i++) {
            struct made_deployment one = one_called(i % 2 ? "odd" : "even", i);
            if (!made || !made_put(made, &one, &fault))
                _exit(1);
            if (i % 5 == 0 && !made_drop(made, TEXT("even"), &fault))
                _exit(2);
            if (i == 20 && write(ready[1], "", 1) != 1)
                _exit(3);
        }
    }
    char byte;
    int status;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    usleep(3000);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    close(ready[0]);
    close(ready[1]);
    struct made *made = open_made();
    struct made_list *list = made_read(made);
    assert_true(list->count >= 1);
    for (size_t i = 0; i < list->count; i++) {
        struct made_list *versions = made_versions(made, list->at[i].name);
        assert_true(versions->count > 0);
        assert_int_equal(versions->at[0].version, list->at[i].version); /* both, or neither */
        made_list_free(versions);
    }
    made_list_free(list);
    made_close(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_last_versions_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_removed_is_known_for_a_day, set_up, tear_down),
        cmocka_unit_test_setup_teardown(orders_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(verdicts_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_without_verdicts_gets_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_list_is_copied_with_a_change, set_up, tear_down),
        cmocka_unit_test(nobody_has_an_empty_list),
        cmocka_unit_test_setup_teardown(odd_rows_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_cannot_have_one_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_store_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_killed_writer_leaves_whole_changes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
