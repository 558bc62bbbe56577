/* SPDX-License-Identifier: Apache-2.0 */

/* Deployments that are made, changed and removed: against a real configuration and a real store,
 * with a service that only takes what is put in force. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/database.h"
#include "gateway/deploy_desk.h"
#include "gateway/deploy_order.h"
#include "gateway/deploy_page.h"
#include "gateway/deploy_store.h"
#include "gateway/service_state.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define FILED                                                                   \
    "version: 1\n"                                                              \
    "providers: [{name: mock, type: mock}]\n"                                   \
    "models: [{name: fast, targets: [{id: t, provider: mock, model: mock}]}]\n" \
    "deployments: {models: [{name: filed, command: [server, \"{port}\"]}]}\n"

static char state[64], file[96];
static struct service service;
static unsigned taken;   /* how often something was put in force */
static unsigned retried; /* and was to be tried again */

/* ------------------------------------------------------------------- what the service does else */

struct config *service_try(struct service *one, const struct made_list *list,
                           struct reload_outcome *outcome, char **words)
{
    size_t length = 0;
    struct config_options load = {.path = file, .made = list, .json = true};
    (void)one;
    *outcome = (struct reload_outcome){.good = false};
    load.words = open_memstream(words, &length);
    struct config *next = config_load(&load).config;
    fclose(load.words);
    return next;
}

void service_take(struct service *one, struct config *next)
{
    config_unref(one->config);
    one->config = next;
    taken++;
}

enum made_pulled service_pull(struct service *one)
{
    (void)one;
    return MADE_SAME;
}

struct deploy_desk *service_deploy_desk(struct service *one)
{
    (void)one;
    return NULL;
}

bool deploy_desk_ask(struct deploy_desk *desk, void (*run)(struct deployments *desk, void *with),
                     void *with)
{
    (void)desk;
    (void)run;
    (void)with;
    return false;
}

int deploy_order_give(struct service *one, struct deploy_order *order)
{
    (void)one;
    retried += order->order == FLEET_RETRY && text_equal(order->name, TEXT("one"));
    return 503; /* which is no matter: the change is made */
}

uint64_t deploy_desk_now(void)
{
    return 0;
}

void reload_outcome_done(struct reload_outcome *outcome)
{
    (void)outcome;
}

/* ------------------------------------------------------------------------------------ tools */

static void write_config(const char *yaml)
{
    FILE *out = fopen(file, "we");
    assert_non_null(out);
    fputs(yaml, out);
    fclose(out);
}

static int set_up(void **ignored)
{
    struct fault fault;
    (void)ignored;
    snprintf(state, sizeof(state), "/tmp/deploy_store_XXXXXX");
    assert_non_null(mkdtemp(state));
    setenv("STATE_DIRECTORY", state, 1);
    snprintf(file, sizeof(file), "%s/sluice.yaml", state);
    write_config(FILED);
    service = (struct service){.made = made_open(state, &fault)};
    service.config = config_load(&(struct config_options){.path = file, .words = stderr}).config;
    taken = retried = 0;
    return service.made && service.config ? 0 : -1;
}

static int tear_down(void **ignored)
{
    char command[128];
    (void)ignored;
    config_unref(service.config);
    made_close(service.made);
    snprintf(command, sizeof(command), "rm -rf %s", state);
    return system(command);
}

static struct deploy_change create(const char *document)
{
    struct deploy_change change = {.by = "main"};
    deploy_store_create(&service, text_of(document), &change);
    return change;
}

static struct deploy_change patch(const char *name, const char *with, const char *if_match)
{
    struct deploy_change change = {.by = "other", .if_match = text_of(if_match)};
    snprintf(change.name, sizeof(change.name), "%s", name);
    deploy_store_patch(&service, text_of(with), &change);
    return change;
}

static struct deploy_change take_away(const char *name)
{
    struct deploy_change change = {.by = "main"};
    snprintf(change.name, sizeof(change.name), "%s", name);
    deploy_store_delete(&service, &change);
    return change;
}

/* It was refused so; nothing was put in force. */
static void expect(struct deploy_change change, int status, const char *field, const char *words)
{
    if (change.status != status || strcmp(change.field, field) != 0 ||
        (words && !strstr(change.words, words)))
        fail_msg("%d \"%s\" \"%s\" is not %d \"%s\" \"%s\"", change.status, change.field,
                 change.words, status, field, words ? words : "");
    buffer_done(&change.errors);
}

static void expect_document(const char *name, int64_t version, const char *document)
{
    struct made_list *list = made_read(service.made);
    const struct made_deployment *one = made_find(list, text_of(name));
    if (!document)
        assert_null(one);
    else if (!one || one->version != version || !text_equal(one->document, text_of(document)))
        fail_msg("%lld %.*s", one ? (long long)one->version : 0, one ? (int)one->document.len : 0,
                 one ? one->document.at : "");
    made_list_free(list);
}

#define ONE "{\"name\":\"one\",\"command\":[\"server\",\"{port}\"]}"

#define TWO "{\"name\":\"two\",\"command\":[\"server\",\"{port}\"]}"

/* ------------------------------------------------------------------------------------ tests */

static void it_is_written_and_put_in_force(void **ignored)
{
    (void)ignored;
    expect(create(ONE), 0, "", NULL);
    expect_document("one", 1, ONE);
    assert_int_equal(taken, 1);
    assert_non_null(deploy_spec(service.config, TEXT("one")));
    assert_non_null(deploy_spec(service.config, TEXT("filed")));
    expect(patch("one", "{\"scaling\":{\"max\":3},\"env\":{\"A\":\"\\u2603\"}}", "\"1\""), 0, "",
           NULL);
    expect_document("one", 2,
                    "{\"name\":\"one\",\"command\":[\"server\",\"{port}\"],"
                    "\"scaling\":{\"max\":3},\"env\":{\"A\":\"\xe2\x98\x83\"}}");
    assert_int_equal(deploy_spec(service.config, TEXT("one"))->scaling.max, 3);
    expect(patch("one", "{\"env\":null,\"scaling\":{\"max\":null,\"min\":1}}", ""), 0, "", NULL);
    expect_document(
        "one", 3, "{\"name\":\"one\",\"command\":[\"server\",\"{port}\"],\"scaling\":{\"min\":1}}");
    expect(take_away("one"), 0, "", NULL);
    expect_document("one", 0, NULL);
    assert_null(deploy_spec(service.config, TEXT("one")));
    assert_int_equal(taken, 4);
}

/* Whoever says the same once more wants it to be tried, should it have been rolled back. */
static void what_is_declared_anew_is_to_be_tried_again(void **ignored)
{
    (void)ignored;
    expect(create(ONE), 0, "", NULL);
    expect(patch("one", "{\"scaling\":{\"max\":2},\"rollout\":{\"deadline\":\"1h\"}}", ""), 0, "",
           NULL);
    expect(patch("one", "{\"command\":[\"another\"]}", ""), 0, "", NULL); /* that is tried anyway */
    expect(patch("one", "{\"command\":7}", ""), 422, "command", NULL);
    assert_int_equal(retried, 0);
    expect(patch("one", "{\"command\":[\"another\"]}", ""), 0, "", NULL);
    assert_int_equal(retried, 1);
    expect(patch("one", "{\"registry\":null}", ""), 0, "", NULL);
    assert_int_equal(retried, 2);
}

static void what_is_refused_changes_nothing(void **ignored)
{
    (void)ignored;
    expect(create("{"), 400, "", "not valid JSON");
    expect(create("[1]"), 400, "", "must be an object");
    expect(create("{\"command\":[\"a\"]}"), 422, "name", "1 to");
    expect(create("{\"name\":7}"), 422, "name", "1 to");
    expect(create("{\"name\":\"one\",\"command\":[\"a\",\"{port}\"],\"scalin\":{}}"), 422, "scalin",
           "did you mean");
    expect(create("{\"name\":\"one\",\"command\":[\"a\"],\"scaling\":{\"max\":0}}"), 422,
           "scaling.max", NULL);
    expect(create("{\"name\":\"fast\",\"command\":[\"a\"]}"), 422, "name", NULL);
    expect(create("{\"name\":\"filed\",\"command\":[\"a\"]}"), 409, "name", "already");
    assert_int_equal(taken, 0);
    expect(create(ONE), 0, "", NULL);
    expect(create(ONE), 409, "name", "already");
    expect(patch("one", "{\"scaling\":{\"max\":2}}", "\"7\""), 412, "", "its version is 1");
    expect(patch("one", "{\"scaling\":{\"max\":2}}", "7"), 412, "", "its version is 1");
    expect(patch("one", "{\"scaling\":{\"max\":2}}", "\""), 412, "", "its version is 1");
    expect(patch("one", "{\"name\":\"two\"}", ""), 422, "name", "keeps its name");
    expect(patch("one", "{\"name\":null}", "*"), 422, "name", NULL);
    expect(patch("one", "7", ""), 400, "", "must be an object");
    expect(patch("filed", "{}", ""), 409, "", "the configuration file declares it");
    expect(patch("nobody", "{}", ""), 404, "", NULL);
    expect(take_away("filed"), 409, "", "the configuration file declares it");
    expect(take_away("nobody"), 404, "", NULL);
    expect_document("one", 1, ONE);
    assert_int_equal(taken, 1);
}

static void a_broken_file_is_mended_first(void **ignored)
{
    (void)ignored;
    expect(create(ONE), 0, "", NULL);
    write_config("version: 1\nproviders: 7\n");
    expect(create("{\"name\":\"two\",\"command\":[\"a\",\"{port}\"]}"), 409, "", "mend it first");
    expect(patch("one", "{\"scaling\":{\"max\":2}}", ""), 409, "", "mend it first");
    expect(take_away("one"), 409, "", "mend it first");
    expect_document("one", 1, ONE);
    assert_int_equal(taken, 1);
}

static void what_cannot_be_written_is_not_in_force(void **ignored)
{
    struct fault fault;
    char path[128];
    (void)ignored;
    snprintf(path, sizeof(path), "%s/deployments.db", state);
    expect(create(ONE), 0, "", NULL);
    struct database *database = database_open(path, DATABASE_WRITE, &fault);
    assert_non_null(database);
    assert_true(database_run(database,
                             "CREATE TRIGGER full_i BEFORE INSERT ON versions BEGIN SELECT "
                             "RAISE(ABORT, 'no room'); END; CREATE TRIGGER full_d BEFORE DELETE ON "
                             "deployments BEGIN SELECT RAISE(ABORT, 'no room'); END;"));
    expect(create("{\"name\":\"two\",\"command\":[\"a\",\"{port}\"]}"), 503, "", "no room");
    expect(patch("one", "{\"scaling\":{\"max\":2}}", ""), 503, "", "no room");
    expect(take_away("one"), 503, "", "no room");
    expect_document("one", 1, ONE);
    expect_document("two", 0, NULL);
    assert_int_equal(taken, 1);
    assert_true(database_run(database, "DROP TRIGGER full_i; DROP TRIGGER full_d;"));
    database_close(database);
    expect(patch("one", "{\"scaling\":{\"max\":2}}", ""), 0, "", NULL);
    assert_int_equal(taken, 2);
}

/* Rows that nobody of ours has written: they are left out, and do not stand in the way. */
static void hostile_rows_are_left_out(void **ignored)
{
    struct fault fault;
    char path[128];
    (void)ignored;
    snprintf(path, sizeof(path), "%s/deployments.db", state);
    expect(create(TWO), 0, "", NULL); /* the file is made with the first one */
    struct database *database = database_open(path, DATABASE_WRITE, &fault);
    assert_non_null(database);
    assert_true(database_run(
        database, "INSERT INTO deployments VALUES ('a', 'a', '', '', '{', '', 1, 1, 1);"
                  "INSERT INTO deployments VALUES ('b', 'b', '', '', '[]', '', 1, 1, 1);"
                  "INSERT INTO deployments VALUES ('c', 'c', '', '', "
                  "'{\"name\":\"filed\",\"command\":[\"x\"]}', "
                  "'', 1, 1, 1);"
                  "INSERT INTO deployments VALUES ('d', 'd', 'no such tenant', '', "
                  "'{\"name\":\"d\",\"command\":[\"x\",\"{port}\"]}', '', 1, 1, 1);"
                  "INSERT INTO deployments VALUES ('e', 'e', '', '', "
                  "'{\"name\":\"e\",\"token_file\":\"/etc/"
                  "passwd\",\"command\":[\"x\",\"{port}\"]}', '', 1, 1, 1);"
                  "INSERT INTO deployments VALUES ('f', 'f', '', '', x'00ff7b', '', 1, 1, 1);"));
    database_close(database);
    expect(create(ONE), 0, "", NULL);
    assert_non_null(deploy_spec(service.config, TEXT("one")));
    const char *out[] = {"a", "b", "c", "e", "f"};
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
        assert_null(deploy_spec(service.config, text_of(out[i])));
    assert_true(text_equal(deploy_spec(service.config, TEXT("filed"))->command[0], TEXT("server")));
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
        expect(take_away(out[i]), 0, "", NULL);
    expect_document("one", 1, ONE);
}

static void a_fit_makes_nothing(void **ignored)
{
    (void)ignored;
    struct deploy_change change = {.by = "main"};
    struct deploy_fit fit = {.fits = false};
    deploy_store_fit(&service, TEXT(ONE), &change, &fit);
    assert_int_equal(change.status, 0);
    assert_true(!fit.fits && strstr(fit.words, "nobody runs deployments"));
    buffer_done(&change.errors);
    change = (struct deploy_change){.by = "main"};
    deploy_store_fit(&service, TEXT("{\"name\":\"filed\",\"command\":[\"a\"]}"), &change, &fit);
    expect(change, 409, "name", "declares it");
    expect_document("one", 0, NULL);
    assert_int_equal(taken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_written_and_put_in_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_declared_anew_is_to_be_tried_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_refused_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broken_file_is_mended_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_not_in_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_rows_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fit_makes_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
