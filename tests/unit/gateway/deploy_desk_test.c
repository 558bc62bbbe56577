/* SPDX-License-Identifier: Apache-2.0 */

/* Whoever asks the desk something is put behind a configuration that its worker was given before,
 * and has not taken yet. The desk is built in here, so that the test sees when it posts something:
 * the loop does not run before that, and what comes first is not left to chance. */

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/loop.h"

static void see_post(struct loop *loop, struct errand *errand);

#define loop_post see_post
#include "gateway/deploy_desk.c" /* NOLINT(bugprone-suspicious-include) */
#undef loop_post

/* cmocka wants the headers above. */
#include <cmocka.h>

#define NONE                                  \
    "version: 1\n"                            \
    "providers: [{name: mock, type: mock}]\n" \
    "models: [{name: fast, targets: [{id: t, provider: mock, model: mock}]}]\n"
#define ONE NONE "deployments: {models: [{name: one, command: [server, \"{port}\"]}]}\n"

static char state[64];
static struct worker worker;
static struct service service;
static struct events events;
static struct deploy_desk *desk;
static struct config *before, *next;
static struct errand configure;
static sem_t posted;
static unsigned asked;

/* ------------------------------------------------------------------------------------ tools */

static void see_post(struct loop *loop, struct errand *errand)
{
    loop_post(loop, errand);
    sem_post(&posted);
}

static struct config *read_config(const char *yaml)
{
    char path[96];
    snprintf(path, sizeof path, "%s/sluice.yaml", state);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(yaml, file);
    fclose(file);
    return config_load(&(struct config_options){.path = path, .words = stderr}).config;
}

static void take_config(struct errand *errand)
{
    (void)errand;
    deploy_desk_configure(desk, next);
}

/* The worker: it takes what it was given when the desk has posted something, or the test is over.
 */
static void *work(void *with)
{
    (void)with;
    sem_wait(&posted);
    loop_clear(worker.loop);
    return NULL;
}

static void ask_it(struct deployments *deployments, void *with)
{
    struct fleet_view view;
    (void)with;
    asked += deployments_look(deployments, TEXT("one"), &view);
}

static int set_up(void **ignored)
{
    (void)ignored;
    snprintf(state, sizeof state, "/tmp/deploy_desk_XXXXXX");
    assert_non_null(mkdtemp(state));
    setenv("STATE_DIRECTORY", state, 1);
    before = read_config(NONE);
    next = read_config(ONE);
    assert_true(before && next);
    service = (struct service){.events = &events};
    pthread_mutex_init(&events.lock, NULL);
    worker.loop = loop_new();
    worker.dns = dns_new(worker.loop);
    worker.upstreams = upstreams_new(worker.loop, worker.dns);
    worker.options = (struct worker_options){.start = before, .node = "this", .service = &service};
    desk = deploy_desk_new(&worker, before, TEXT(""));
    sem_init(&posted, 0, 0);
    asked = 0;
    return 0;
}

static int tear_down(void **ignored)
{
    char command[128];
    (void)ignored;
    deploy_desk_free(desk);
    loop_clear(worker.loop);
    dns_free(worker.dns);
    loop_free(worker.loop);
    upstreams_free(worker.upstreams);
    config_unref(before);
    config_unref(next);
    sem_destroy(&posted);
    snprintf(command, sizeof command, "rm -rf %s", state);
    return system(command);
}

/* ------------------------------------------------------------------------------------ tests */

static void who_asks_is_put_behind_the_first_configuration(void **ignored)
{
    (void)ignored;
    pthread_t thread;
    configure.run = take_config;
    loop_post(worker.loop, &configure);
    assert_null(deploy_desk_open(desk));
    assert_int_equal(pthread_create(&thread, NULL, work, NULL), 0);
    bool is_answered = deploy_desk_ask(desk, ask_it, NULL);
    sem_post(&posted);
    pthread_join(thread, NULL);
    assert_true(is_answered);
    assert_int_equal(asked, 1);
    assert_non_null(deploy_desk_open(desk));
}

static void without_deployments_there_is_nobody_to_ask(void **ignored)
{
    (void)ignored;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work, NULL), 0);
    bool is_answered = deploy_desk_ask(desk, ask_it, NULL);
    sem_post(&posted);
    pthread_join(thread, NULL);
    assert_false(is_answered);
    assert_int_equal(asked, 0);
    assert_false(deploy_desk_ask(NULL, ask_it, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_asks_is_put_behind_the_first_configuration, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_deployments_there_is_nobody_to_ask, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
