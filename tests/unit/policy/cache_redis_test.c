/* SPDX-License-Identifier: Apache-2.0 */
/* Two replicas and one Redis, a real one. */
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"
#include "policy/cache_remote.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { KIB = 1024, SECOND = 1000 * 1000, REDIS_WAIT_US = 1000 * 1000, NODES = 2 };

struct node {
    struct cache *cache;
    struct redis *redis;
    struct cache_remote *remote;
};

static char folder[64], path[96], url[128];
static pid_t server;
static struct loop *loop;
static struct dns *dns;
static pthread_t thread;
static struct node nodes[NODES];

/* ----------------------------------------------------------------- things done on the loop */

struct chore {
    struct errand errand;
    sem_t done;
    void (*run)(void *with);
    void *with;
};

static void run_chore(struct errand *errand)
{
    struct chore *chore = LIST_MEMBER(errand, struct chore, errand);
    chore->run(chore->with);
    sem_post(&chore->done);
}

static void on_loop(void (*run)(void *with), void *with)
{
    struct chore chore = {.errand.run = run_chore, .run = run, .with = with};
    sem_init(&chore.done, 0, 0);
    loop_post(loop, &chore.errand);
    sem_wait(&chore.done);
    sem_destroy(&chore.done);
}

static void *run_loop(void *with)
{
    loop_run(with, NULL, NULL);
    return NULL;
}

/* ----------------------------------------------------------------------------- the server */

static void start_server(void)
{
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
               "--appendonly", "no", "--logfile", "/dev/null", "--dir", folder, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000 && access(path, W_OK) != 0; i++)
        usleep(10 * 1000);
    assert_int_equal(access(path, W_OK), 0);
}

static void stop_server(void)
{
    kill(server, SIGCONT);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    unlink(path);
}

/* ------------------------------------------------------------------------------ replicas */

static void open_node(void *with)
{
    struct node *node = with;
    struct redis_options options = {.url = url, .timeout_us = REDIS_WAIT_US};
    struct fault fault = {0};
    node->cache = cache_new(&(struct cache_options){16 << 20, 4 << 20});
    node->redis = redis_new(loop, dns, &options, &fault);
    struct cache_remote_options remote = {node->redis, "test:", "node", true};
    node->remote = cache_remote_new(node->cache, loop, &remote);
}

static void close_node(void *with)
{
    struct node *node = with;
    cache_remote_free(node->remote);
    redis_free(node->redis);
}

static void look_up(void *with)
{
    *(bool *)with = redis_is_up(nodes[0].redis) && redis_is_up(nodes[1].redis);
}

static void wait_until_up(void)
{
    bool up = false;
    for (int i = 0; i < 1000 && !up; i++) {
        on_loop(look_up, &up);
        usleep(up ? 0 : 10 * 1000);
    }
    assert_true(up);
}

static int start_all(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/cache_redis_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/redis", folder);
    snprintf(url, sizeof(url), "unix://%s", path);
    start_server();
    loop = loop_new();
    dns = dns_new(loop);
    assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
    for (int i = 0; i < NODES; i++)
        on_loop(open_node, &nodes[i]);
    wait_until_up();
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++)
        on_loop(close_node, &nodes[i]);
    loop_stop(loop);
    pthread_join(thread, NULL);
    loop_clear(loop);
    dns_free(dns);
    loop_free(loop);
    for (int i = 0; i < NODES; i++)
        cache_free(nodes[i].cache);
    stop_server();
    char name[128];
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s/answers.db%s", folder, ends[i]);
        unlink(name);
    }
    return rmdir(folder);
}

/* A replica that has forgotten all that it had in memory. */
static void forget(int i)
{
    on_loop(close_node, &nodes[i]);
    cache_free(nodes[i].cache);
    on_loop(open_node, &nodes[i]);
    wait_until_up();
}

/* ------------------------------------------------------------------------------- callers */

struct caller {
    struct cache_lookup lookup;
    struct node *node;
    bool at_once;
    atomic_bool told;
};

static void on_found(struct cache_lookup *lookup)
{
    atomic_store(&LIST_MEMBER(lookup, struct caller, lookup)->told, true);
}

static void begin_look(void *with)
{
    struct caller *caller = with;
    caller->lookup.on_found = on_found;
    caller->lookup.ask.now_us = (int64_t)clock_now_us();
    caller->at_once = cache_look(caller->node->remote, &caller->lookup);
    if (caller->at_once)
        atomic_store(&caller->told, true);
}

static void ask(struct caller *caller, int node, const char *key, const char *body)
{
    memset(caller, 0, sizeof(*caller));
    caller->node = &nodes[node];
    caller->lookup.wait_us = 20 * SECOND;
    struct cache_ask *ask = &caller->lookup.ask;
    *ask = (struct cache_ask){.max_age_us = INT64_MAX, .may_join = true, .may_store = true};
    char json[64];
    snprintf(json, sizeof(json), "{\"q\":\"%s\"}", body);
    if (key) {
        ask->idempotency = true;
        ask->body = hash_sha256(text_of(body));
        assert_true(cache_name_once(TEXT("t"), text_of(key), &ask->name));
    } else {
        assert_true(cache_name(TEXT("t"), TEXT("r"), OPERATION_CHAT, text_of(json), &ask->name));
    }
}

static void look(struct caller *caller, int node, const char *key, const char *body)
{
    ask(caller, node, key, body);
    on_loop(begin_look, caller);
}

static void wait_for(struct caller *caller)
{
    for (int i = 0; i < 2000 && !atomic_load(&caller->told); i++)
        usleep(5 * 1000);
    assert_true(atomic_load(&caller->told));
}

static struct cache_entry *expect(struct caller *caller, enum cache_found found)
{
    wait_for(caller);
    assert_int_equal(caller->lookup.found, found);
    return caller->lookup.entry;
}

static struct cache_entry *look_for(int node, const char *key, const char *body,
                                    enum cache_found found)
{
    struct caller caller;
    look(&caller, node, key, body);
    return expect(&caller, found);
}

struct writing {
    struct node *node;
    struct cache_entry *entry;
    struct text bytes;
    int64_t ttl_us; /* -1: it comes to nothing */
};

static void do_write(void *with)
{
    struct writing *writing = with;
    struct cache_facts facts = {.status = 200, .type = "application/json"};
    struct cache_end end = {.cost_nanos = 9, .usage.input_tokens = 3};
    cache_write_facts(writing->entry, &facts);
    cache_write(writing->entry, writing->bytes);
    if (writing->ttl_us < 0)
        cache_give_up(writing->node->remote, writing->entry, "target_down");
    else
        cache_settle(writing->node->remote, writing->entry, &end, writing->ttl_us);
    cache_entry_unref(writing->entry);
}

static void answer(int node, struct cache_entry *entry, struct text bytes, int64_t ttl_us)
{
    struct writing writing = {&nodes[node], entry, bytes, ttl_us};
    on_loop(do_write, &writing);
}

static void nobody(struct cache_reader *reader)
{
    (void)reader;
}

struct reading {
    struct cache_entry *entry;
    const char *bytes;
};

static void do_read(void *with)
{
    struct reading *reading = with;
    struct cache_reader reader;
    struct text piece = {"", 0};
    cache_reader_init(&reader, reading->entry, loop, nobody);
    assert_int_equal(cache_read(&reader, &piece), CACHE_READ_MORE);
    assert_true(text_equal(piece, text_of(reading->bytes)));
    assert_int_equal(cache_read(&reader, &piece), CACHE_READ_END);
    cache_reader_done(&reader, nobody);
}

static void expect_bytes(struct cache_entry *entry, const char *bytes)
{
    struct reading reading = {entry, bytes};
    on_loop(do_read, &reading);
}

/* A command to Redis, as somebody else. */
static void command(const char *words)
{
    char line[512];
    snprintf(line, sizeof(line), "redis-cli -s %s %s > /dev/null", path, words);
    assert_int_equal(system(line), 0);
}

static void command_for(const struct caller *caller, const char *format)
{
    char hex[HEX_BYTES], words[256];
    hash_hex(&caller->lookup.ask.name, hex);
    snprintf(words, sizeof(words), "%s test:%s:%s garbage", format,
             caller->lookup.ask.idempotency ? "once" : "cache", hex);
    command(words);
}

/* -------------------------------------------------------------------------------- tests */

static void replicas_share_answers(void **state)
{
    (void)state;
    answer(0, look_for(0, NULL, "a", CACHE_MISS), TEXT("the answer"), 100 * SECOND);
    struct cache_entry *entry = look_for(1, NULL, "a", CACHE_HIT);
    struct cache_facts facts;
    struct cache_end end;
    assert_true(cache_entry_facts(entry, &facts));
    cache_entry_end(entry, &end);
    assert_string_equal(facts.type, "application/json");
    assert_int_equal(end.cost_nanos, 9);
    assert_int_equal(end.usage.input_tokens, 3);
    expect_bytes(entry, "the answer");
    /* Then it is there, and as old as it is. */
    struct caller caller;
    look(&caller, 1, NULL, "a");
    assert_true(caller.at_once);
    expect_bytes(expect(&caller, CACHE_HIT), "the answer");
    usleep(200 * 1000);
    forget(1);
    entry = look_for(1, NULL, "a", CACHE_HIT);
    assert_true(cache_entry_age_us(entry, (int64_t)clock_now_us()) >= 200 * 1000);
    cache_entry_unref(entry);
    forget(1);
    ask(&caller, 1, NULL, "a");
    caller.lookup.ask.max_age_us = 150 * 1000;
    on_loop(begin_look, &caller);
    answer(1, expect(&caller, CACHE_MISS), TEXT("x"), -1);
    /* Who wants a fresh one does not ask for an old one. */
    ask(&caller, 1, NULL, "a");
    caller.lookup.ask.max_age_us = 0;
    on_loop(begin_look, &caller);
    assert_true(caller.at_once);
    answer(1, expect(&caller, CACHE_MISS), TEXT("x"), -1);
}

static void what_is_not_kept_is_not_shared(void **state)
{
    (void)state;
    answer(0, look_for(0, NULL, "a", CACHE_MISS), TEXT("x"), 0);
    answer(0, look_for(0, NULL, "b", CACHE_MISS), TEXT("x"), -1);
    size_t bytes = CACHE_REMOTE_BYTES_MAX + 1;
    char *large = memory_new(bytes);
    memset(large, 'l', bytes);
    answer(0, look_for(0, NULL, "c", CACHE_MISS), (struct text){large, bytes}, 100 * SECOND);
    answer(0, look_for(0, "key", "c", CACHE_MISS), (struct text){large, bytes}, 100 * SECOND);
    memory_free(large);
    static const char *const bodies[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++)
        answer(1, look_for(1, NULL, bodies[i], CACHE_MISS), TEXT("x"), -1);
    cache_entry_unref(look_for(0, "key", "c", CACHE_HIT));
    assert_null(look_for(1, "key", "c", CACHE_NOT_KEPT));
}

static void one_replica_makes_the_call(void **state)
{
    (void)state;
    struct cache_entry *writer = look_for(0, "key", "body", CACHE_MISS);
    struct caller waits, other;
    look(&waits, 1, "key", "body");
    look(&other, 1, "key", "another body");
    /* In the one replica it joins, or waits, but is not the one to make it. */
    usleep(300 * 1000);
    assert_false(atomic_load(&waits.told));
    answer(0, writer, TEXT("the answer"), 100 * SECOND);
    expect_bytes(expect(&waits, CACHE_HIT), "the answer");
    expect_bytes(look_for(1, "key", "body", CACHE_HIT), "the answer");
    wait_for(&other);
    assert_int_equal(other.lookup.found, CACHE_OTHER_BODY);
    forget(1);
    assert_null(look_for(1, "key", "another body", CACHE_OTHER_BODY));
    expect_bytes(look_for(1, "key", "body", CACHE_HIT), "the answer");
}

static void the_next_replica_makes_the_call_when_it_failed(void **state)
{
    (void)state;
    struct cache_entry *writer = look_for(0, "key", "body", CACHE_MISS);
    struct caller next;
    look(&next, 1, "key", "body");
    usleep(50 * 1000);
    answer(0, writer, TEXT("half of the ans"), -1);
    writer = expect(&next, CACHE_MISS);
    assert_false(next.lookup.unsure);
    /* It has the claim now. */
    struct caller again;
    look(&again, 0, "key", "body");
    usleep(200 * 1000);
    assert_false(atomic_load(&again.told));
    answer(1, writer, TEXT("the answer"), 100 * SECOND);
    expect_bytes(expect(&again, CACHE_HIT), "the answer");
}

static void nobody_waits_for_ever(void **state)
{
    (void)state;
    struct cache_entry *writer = look_for(0, "key", "body", CACHE_MISS);
    struct caller waits;
    ask(&waits, 1, "key", "body");
    waits.lookup.wait_us = 400 * 1000;
    on_loop(begin_look, &waits);
    assert_null(expect(&waits, CACHE_ELSEWHERE));
    answer(0, writer, TEXT("the answer"), 100 * SECOND);
    expect_bytes(look_for(1, "key", "body", CACHE_HIT), "the answer");
}

static void shorten_claims(void *with)
{
    struct node *node = with;
    node->remote->claim_us = 2 * SECOND;
    node->remote->renew_us = 100 * 1000;
}

static void stop_renewing(void *with)
{
    struct node *node = with;
    timer_stop(&node->remote->renew);
}

static void a_claim_lasts_as_long_as_who_made_it(void **state)
{
    (void)state;
    on_loop(shorten_claims, &nodes[0]);
    struct cache_entry *writer = look_for(0, "key", "body", CACHE_MISS);
    struct caller waits;
    look(&waits, 1, "key", "body");
    usleep(3 * SECOND);
    assert_false(atomic_load(&waits.told));
    /* It dies. */
    on_loop(stop_renewing, &nodes[0]);
    struct cache_entry *next = expect(&waits, CACHE_MISS);
    answer(1, next, TEXT("the answer"), 100 * SECOND);
    answer(0, writer, TEXT("x"), -1);
    /* What the dead one does late takes nothing away. */
    forget(1);
    expect_bytes(look_for(1, "key", "body", CACHE_HIT), "the answer");
}

static void without_redis_calls_are_made_all_the_same(void **state)
{
    (void)state;
    kill(server, SIGSTOP);
    uint64_t begun_us = clock_now_us();
    struct caller exact, once;
    look(&exact, 0, NULL, "a");
    look(&once, 1, "key", "body");
    struct cache_entry *of_exact = expect(&exact, CACHE_MISS), *of_once = expect(&once, CACHE_MISS);
    assert_true(clock_now_us() - begun_us < 10 * REDIS_WAIT_US);
    assert_false(exact.lookup.unsure);
    assert_true(once.lookup.unsure);
    kill(server, SIGKILL);
    answer(0, of_exact, TEXT("x"), 100 * SECOND);
    answer(1, of_once, TEXT("y"), 100 * SECOND);
    stop_server();
    struct caller later;
    look(&later, 0, "another key", "body");
    answer(0, expect(&later, CACHE_MISS), TEXT("z"), 100 * SECOND);
    assert_true(later.lookup.unsure);
    expect_bytes(look_for(1, "key", "body", CACHE_HIT), "y");
    start_server();
    wait_until_up();
    answer(0, look_for(0, NULL, "b", CACHE_MISS), TEXT("again"), 100 * SECOND);
    expect_bytes(look_for(1, NULL, "b", CACHE_HIT), "again");
}

static void what_others_wrote_is_not_trusted(void **state)
{
    (void)state;
    struct caller caller;
    ask(&caller, 0, NULL, "a");
    command_for(&caller, "SET");
    answer(0, look_for(0, NULL, "a", CACHE_MISS), TEXT("x"), -1);
    ask(&caller, 0, "key", "body");
    command_for(&caller, "SET");
    look(&caller, 0, "key", "body");
    answer(0, expect(&caller, CACHE_MISS), TEXT("x"), -1);
    assert_true(caller.lookup.unsure);
    ask(&caller, 0, "list", "body");
    command_for(&caller, "RPUSH");
    look(&caller, 0, "list", "body");
    answer(0, expect(&caller, CACHE_MISS), TEXT("x"), -1);
    assert_true(caller.lookup.unsure);
}

static void remember(int i)
{
    struct fault fault;
    char name[128];
    snprintf(name, sizeof(name), "%s/answers.db", folder);
    assert_true(cache_remember(nodes[i].cache, name, 1 << 20, &fault));
}

static void what_redis_forgets_is_in_our_own_database(void **state)
{
    (void)state;
    remember(0);
    answer(0, look_for(0, "key", "body", CACHE_MISS), TEXT("the answer"), 100 * SECOND);
    forget(0);
    remember(0);
    command("FLUSHALL");
    expect_bytes(look_for(0, "key", "body", CACHE_HIT), "the answer");
    /* It is back. */
    expect_bytes(look_for(1, "key", "body", CACHE_HIT), "the answer");
}

static void forget_lookup(void *with)
{
    cache_look_forget(&((struct caller *)with)->lookup);
}

static void a_worker_may_end_while_it_asks(void **state)
{
    (void)state;
    struct cache_entry *writer = look_for(0, "key", "body", CACHE_MISS);
    struct caller waits, asks;
    look(&waits, 1, "key", "body");
    usleep(50 * 1000);
    kill(server, SIGSTOP);
    look(&asks, 1, "another key", "body");
    on_loop(forget_lookup, &waits);
    on_loop(forget_lookup, &asks);
    forget_lookup(&asks);
    on_loop(close_node, &nodes[1]);
    cache_free(nodes[1].cache);
    assert_false(atomic_load(&waits.told) || atomic_load(&asks.told));
    kill(server, SIGCONT);
    on_loop(open_node, &nodes[1]);
    wait_until_up();
    answer(0, writer, TEXT("the answer"), 100 * SECOND);
    expect_bytes(look_for(1, "key", "body", CACHE_HIT), "the answer");
}

#define WITH_REDIS(test) cmocka_unit_test_setup_teardown(test, start_all, stop_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_REDIS(replicas_share_answers),
        WITH_REDIS(what_is_not_kept_is_not_shared),
        WITH_REDIS(one_replica_makes_the_call),
        WITH_REDIS(the_next_replica_makes_the_call_when_it_failed),
        WITH_REDIS(nobody_waits_for_ever),
        WITH_REDIS(a_claim_lasts_as_long_as_who_made_it),
        WITH_REDIS(without_redis_calls_are_made_all_the_same),
        WITH_REDIS(what_others_wrote_is_not_trusted),
        WITH_REDIS(what_redis_forgets_is_in_our_own_database),
        WITH_REDIS(a_worker_may_end_while_it_asks),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
