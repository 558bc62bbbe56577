/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The semantic cache and vector sets: a double that speaks RESP2 and knows the commands of Redis
 * 8.0 that are used (VADD, VSIM, VCARD, VREM, VRANDMEMBER; redis.io/commands), as documented.
 */
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"
#include "policy/semantic_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum {
    SECOND = 1000 * 1000,
    MILLION = 1000000,
    WORDS_MAX = 16,
    ELEMENTS_MAX = 64,
    DIMENSIONS = 64,
    KEPT = 5,         /* elements of a set */
    PATIENCE = 60000, /* milliseconds */
};

/* ------------------------------------------------------------------------------ the double */

struct element {
    char key[160], name[80];
    size_t dimensions;
    float at[DIMENSIONS];
};

static struct element elements[ELEMENTS_MAX];
static atomic_uint element_count, expiries;
static atomic_bool has_sets, fails;
static atomic_int owed; /* commands that follow from what was put, and did not come yet */
static atomic_uint refused;
static char folder[64], path[96];
static int listener;
static atomic_int peer = -1;
static pthread_t server;

static bool read_line(FILE *in, char *line, int room)
{
    if (!fgets(line, room, in))
        return false;
    line[strcspn(line, "\r")] = '\0';
    return true;
}

/* One command; the words are NUL-terminated, and freed by the caller. */
static size_t read_words(FILE *in, char *words[WORDS_MAX], size_t lengths[WORDS_MAX])
{
    char line[64];
    if (!read_line(in, line, sizeof(line)) || line[0] != '*')
        return 0;
    size_t count = (size_t)atoi(line + 1);
    for (size_t i = 0; i < count && i < WORDS_MAX; i++) {
        if (!read_line(in, line, sizeof(line)))
            return 0;
        lengths[i] = (size_t)atoi(line + 1);
        words[i] = memory_new(lengths[i] + 3);
        if (fread(words[i], 1, lengths[i] + 2, in) != lengths[i] + 2)
            return 0;
        words[i][lengths[i]] = '\0';
    }
    return count;
}

static void put_bulk(FILE *out, const char *text)
{
    fprintf(out, "$%zu\r\n%s\r\n", strlen(text), text);
}

static void read_floats(struct element *element, const char *bytes, size_t len)
{
    element->dimensions = len / sizeof(float);
    for (size_t i = 0; i < element->dimensions && i < DIMENSIONS; i++)
        memcpy(&element->at[i], bytes + i * sizeof(float), sizeof(float));
}

static struct element *find_element(const char *key, const char *name)
{
    for (unsigned i = 0; i < element_count; i++)
        if (strcmp(elements[i].key, key) == 0 && (!name || strcmp(elements[i].name, name) == 0))
            return &elements[i];
    return NULL;
}

static unsigned count_elements(const char *key)
{
    unsigned count = 0;
    for (unsigned i = 0; i < element_count; i++)
        count += strcmp(elements[i].key, key) == 0;
    return count;
}

static void remove_element(struct element *element)
{
    *element = elements[--element_count];
}

static void add(FILE *out, char *const *words, const size_t *lengths)
{
    const struct element *other = find_element(words[1], NULL);
    struct element new = {0};
    read_floats(&new, words[3], lengths[3]);
    if (other && other->dimensions != new.dimensions) {
        fprintf(out, "-ERR Vector dimension mismatch - got %zu but set has %zu\r\n", new.dimensions,
                other->dimensions);
        return;
    }
    snprintf(new.key, sizeof(new.key), "%s", words[1]);
    snprintf(new.name, sizeof(new.name), "%s", words[4]);
    struct element *old = find_element(words[1], words[4]);
    owed--;
    fprintf(out, ":%d\r\n", old ? 0 : 1);
    if (old)
        *old = new;
    else if (element_count < ELEMENTS_MAX)
        elements[element_count++] = new;
}

static double cosine(const struct element *a, const struct element *b)
{
    double product = 0, of_a = 0, of_b = 0;
    for (size_t i = 0; i < DIMENSIONS; i++) {
        product += (double)a->at[i] * (double)b->at[i];
        of_a += (double)a->at[i] * (double)a->at[i];
        of_b += (double)b->at[i] * (double)b->at[i];
    }
    return product / sqrt(of_a * of_b);
}

static void search_sets(FILE *out, char *const *words, const size_t *lengths)
{
    struct element like = {0};
    const struct element *best = NULL;
    read_floats(&like, words[3], lengths[3]);
    for (unsigned i = 0; i < element_count; i++)
        if (strcmp(elements[i].key, words[1]) == 0 &&
            (!best || cosine(&elements[i], &like) > cosine(best, &like)))
            best = &elements[i];
    if (!best) {
        fprintf(out, "*0\r\n");
        return;
    }
    char score[32];
    snprintf(score, sizeof(score), "%.17g", (cosine(best, &like) + 1) / 2);
    fprintf(out, "*2\r\n");
    put_bulk(out, best->name);
    put_bulk(out, score);
}

static void say_about_itself(FILE *out, const char *verb)
{
    if (strcmp(verb, "INFO") == 0)
        put_bulk(out, "# Server\r\nredis_version:8.0.0\r\nredis_mode:standalone\r\n"
                      "run_id:0123456789abcdef0123456789abcdef01234567\r\n");
    else if (strcmp(verb, "PING") == 0)
        fprintf(out, "+PONG\r\n");
    else
        fprintf(out, "+OK\r\n");
}

static void remove_from_sets(FILE *out, const char *key, const char *name)
{
    unsigned removed = 0;
    for (struct element *at; (at = find_element(key, name)); removed++)
        remove_element(at);
    fprintf(out, ":%u\r\n", removed);
}

static void drop(FILE *out, const char *key, const char *name)
{
    remove_from_sets(out, key, name);
    owed--;
}

/* So many elements of a set, which has as many. */
static void put_some(FILE *out, const char *key, unsigned count)
{
    owed += (int)count - 1; /* each is removed */
    fprintf(out, "*%u\r\n", count);
    for (unsigned i = 0; i < element_count && count > 0; i++) {
        if (strcmp(elements[i].key, key) != 0)
            continue;
        put_bulk(out, elements[i].name);
        count--;
    }
}

static void say_how_many(FILE *out, const char *key)
{
    unsigned count = count_elements(key);
    owed += (count > KEPT) - 1; /* then some are asked for */
    fprintf(out, ":%u\r\n", count);
}

static void serve_one(FILE *out, char *const *words, const size_t *lengths, size_t count)
{
    const char *verb = words[0];
    if (verb[0] == 'V' && fails) {
        fprintf(out, "-ERR out of order\r\n");
        refused++;
    } else if (strcmp(verb, "COMMAND") == 0)
        fprintf(out, has_sets ? "*1\r\n*1\r\n$4\r\nvadd\r\n" : "*1\r\n*-1\r\n");
    else if (strcmp(verb, "VADD") == 0 && count == 5)
        add(out, words, lengths);
    else if (strcmp(verb, "VSIM") == 0 && count == 7)
        search_sets(out, words, lengths);
    else if (strcmp(verb, "VCARD") == 0)
        say_how_many(out, words[1]);
    else if (strcmp(verb, "VRANDMEMBER") == 0)
        put_some(out, words[1], (unsigned)atoi(words[2]));
    else if (strcmp(verb, "VREM") == 0 && count == 3)
        drop(out, words[1], words[2]);
    else if (strcmp(verb, "DEL") == 0)
        remove_from_sets(out, words[1], NULL);
    else if (strcmp(verb, "PEXPIRE") == 0)
        fprintf(out, ":%d\r\n", ++expiries > 0);
    else
        say_about_itself(out, verb);
    fflush(out);
}

static void *serve(void *with)
{
    (void)with;
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
        peer = fd;
        FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
        for (;;) {
            char *words[WORDS_MAX] = {NULL};
            size_t lengths[WORDS_MAX], count = read_words(in, words, lengths);
            if (count > 0)
                serve_one(out, words, lengths, count);
            for (size_t i = 0; i < WORDS_MAX; i++)
                memory_free(words[i]);
            if (count == 0)
                break;
        }
        fclose(in);
        fclose(out);
    }
    return NULL;
}

/* --------------------------------------------------------------------------- the client side */

/* All is done on the loop's thread. */
struct step {
    struct errand errand;
    void (*run)(void);
    sem_t done;
};

static struct loop *loop;
static struct dns *dns;
static pthread_t loop_thread;
static struct redis *redis;
static struct semantic *semantic;
static struct semantic_desk *desk;

static void run_step(struct errand *errand)
{
    struct step *step = LIST_MEMBER(errand, struct step, errand);
    step->run();
    sem_post(&step->done);
}

static void on_loop(void (*run)(void))
{
    struct step step = {.errand.run = run_step, .run = run};
    sem_init(&step.done, 0, 0);
    loop_post(loop, &step.errand);
    sem_wait(&step.done);
    sem_destroy(&step.done);
}

static void *run_loop(void *with)
{
    loop_run(with, NULL, NULL);
    return NULL;
}

static void open_desk(void)
{
    char url[128];
    struct fault fault;
    snprintf(url, sizeof(url), "unix://%s", path);
    struct redis_options options = {.url = url, .timeout_us = SECOND, .mode = REDIS_SINGLE};
    redis = redis_new(loop, dns, &options, &fault);
    assert_non_null(redis);
    desk = semantic_desk_new(semantic, loop, redis, "test:");
}

static void close_desk(void)
{
    semantic_desk_free(desk);
    redis_free(redis);
}

static atomic_bool ready;

static void look_up(void)
{
    if (redis_is_up(redis))
        semantic_has_sets(desk);
    ready = desk->has_sets || (redis_is_up(redis) && !has_sets && desk->life);
}

static void wait_until_ready(void)
{
    for (ready = false; !ready;) {
        on_loop(look_up);
        usleep(1000);
    }
}

static int start_all(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/semantic_redis_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/redis", folder);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 4), 0);
    element_count = expiries = 0;
    owed = 0;
    has_sets = true;
    fails = false;
    assert_int_equal(pthread_create(&server, NULL, serve, NULL), 0);
    loop = loop_new();
    dns = dns_new(loop);
    assert_int_equal(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
    semantic = semantic_new(&(struct semantic_options){950000, 100 * (int64_t)SECOND, KEPT});
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    on_loop(close_desk);
    loop_stop(loop);
    pthread_join(loop_thread, NULL);
    loop_clear(loop);
    dns_free(dns);
    loop_free(loop);
    semantic_free(semantic);
    shutdown(listener, SHUT_RDWR);
    pthread_join(server, NULL);
    close(listener);
    unlink(path);
    return rmdir(folder);
}

/* ------------------------------------------------------------------------------ what is done */

static unsigned place_number, seed_number;
static size_t dimensions = DIMENSIONS;
static struct semantic_search search;
static atomic_bool told;

static struct digest named(const char *kind, unsigned i)
{
    char name[32];
    int len = snprintf(name, sizeof(name), "%s %u", kind, i);
    return hash_sha256((struct text){name, (size_t)len});
}

static struct semantic_vector *vector_of(unsigned seed)
{
    float numbers[DIMENSIONS];
    unsigned s = seed;
    for (size_t i = 0; i < DIMENSIONS; i++) {
        s = s * 1103515245U + 12345U;
        numbers[i] = (float)(s >> 8 & 0xFFFF) / 32768.0F - 1;
    }
    return semantic_vector_new(numbers, dimensions);
}

static void on_found(struct semantic_search *found)
{
    (void)found;
    told = true;
}

static void do_put(void)
{
    struct digest place = named("place", place_number), name = named("name", seed_number);
    semantic_put(desk, &place, vector_of(seed_number), &name);
}

static void do_drop(void)
{
    struct digest place = named("place", place_number), name = named("name", seed_number);
    semantic_drop(desk, &place, &name);
}

static void do_find(void)
{
    search = (struct semantic_search){.on_found = on_found,
                                      .place = named("place", place_number),
                                      .vector = vector_of(seed_number)};
    assert_true(semantic_find(desk, &search));
}

static void do_find_and_end(void)
{
    do_find();
    semantic_forget(&search);
    semantic_put(desk, &search.place, vector_of(1), &search.place);
    close_desk();
    open_desk();
}

static bool finds(unsigned place, unsigned seed)
{
    place_number = place;
    seed_number = seed;
    told = false;
    on_loop(do_find);
    for (int i = 0; i < PATIENCE && !told; i++)
        usleep(1000);
    assert_true(told);
    semantic_vector_free(search.vector);
    struct digest name = named("name", seed);
    return search.found && hash_same(&search.name, &name);
}

static void put(unsigned place, unsigned seed)
{
    place_number = place;
    seed_number = seed;
    on_loop(do_put);
}

static void wait_for_elements(unsigned count)
{
    for (int i = 0; i < PATIENCE && element_count != count; i++)
        usleep(1000);
    usleep(20 * 1000);
    assert_int_equal(element_count, count);
}

/* The same, once all has come that follows from it. */
static void put_and_wait(unsigned place, unsigned seed)
{
    owed += 2; /* it is added, and they are counted */
    put(place, seed);
    for (int i = 0; i < PATIENCE && owed > 0; i++)
        usleep(1000);
    assert_int_equal(owed, 0);
}

static void replicas_share_vectors(void **state)
{
    (void)state;
    on_loop(open_desk);
    wait_until_ready();
    assert_false(finds(1, 1));
    put(1, 1);
    put(1, 2);
    put(2, 3);
    wait_for_elements(3);
    assert_true(finds(1, 1) && finds(1, 2) && finds(2, 3));
    assert_true(search.likeness > 999000);
    assert_false(finds(1, 3));
    assert_int_equal(expiries, 3);
    /* They are not here. */
    assert_int_equal(semantic_figures(semantic).entries, 0);
    place_number = 1, seed_number = 2;
    on_loop(do_drop);
    wait_for_elements(2);
    assert_false(finds(1, 2));
}

static void a_set_does_not_grow_for_ever(void **state)
{
    (void)state;
    on_loop(open_desk);
    wait_until_ready();
    for (unsigned i = 0; i < 10; i++) {
        put_and_wait(1, i);
        assert_int_equal(element_count, i < KEPT ? i + 1 : KEPT);
    }
    /* Many at once remove the same ones; those that follow make up for it. */
    for (unsigned i = 10; i < 20; i++) {
        owed += 2;
        put(1, i);
    }
    for (unsigned i = 20; i < 40; i++)
        put_and_wait(1, i);
    assert_int_equal(element_count, KEPT);
}

static void another_model_begins_anew(void **state)
{
    (void)state;
    on_loop(open_desk);
    wait_until_ready();
    put(1, 1);
    wait_for_elements(1);
    dimensions = DIMENSIONS / 2;
    put(1, 1);
    wait_for_elements(0);
    put(1, 1);
    wait_for_elements(1);
    dimensions = DIMENSIONS;
}

static void a_server_without_them_is_not_asked(void **state)
{
    (void)state;
    has_sets = false;
    on_loop(open_desk);
    wait_until_ready();
    put(1, 1);
    assert_true(finds(1, 1));
    assert_int_equal(element_count, 0);
    assert_int_equal(semantic_figures(semantic).entries, 1);
}

static void a_server_that_fails_finds_nothing(void **state)
{
    (void)state;
    on_loop(open_desk);
    wait_until_ready();
    put(1, 1);
    wait_for_elements(1);
    fails = true;
    assert_false(finds(1, 1));
    unsigned before = refused;
    put(1, 2);
    for (int i = 0; i < PATIENCE && refused == before; i++)
        usleep(1000);
    assert_int_equal(refused, before + 1);
    fails = false;
    /* It is gone: what is here is looked through, and when it is back, there. */
    shutdown(peer, SHUT_RDWR);
    finds(1, 1);
    on_loop(do_find_and_end);
    wait_until_ready();
    put(1, 4);
    assert_true(finds(1, 4));
}

#define WITH_DOUBLE(test) cmocka_unit_test_setup_teardown(test, start_all, stop_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DOUBLE(replicas_share_vectors),
        WITH_DOUBLE(a_set_does_not_grow_for_ever),
        WITH_DOUBLE(another_model_begins_anew),
        WITH_DOUBLE(a_server_without_them_is_not_asked),
        WITH_DOUBLE(a_server_that_fails_finds_nothing),
    };
    signal(SIGPIPE, SIG_IGN); /* the other side may have gone */
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
