/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "policy/cache.h"
#include "policy/cache_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { KIB = 1024, SECOND = 1000 * 1000 };

static struct cache *cache;

static void open_cache(size_t max_bytes, size_t max_entry_bytes)
{
    cache = cache_new(&(struct cache_options){max_bytes, max_entry_bytes});
}

static struct cache_ask ask_for(const char *scope, const char *body)
{
    struct cache_ask ask = {.max_age_us = INT64_MAX, .may_join = true, .may_store = true};
    char json[64];
    snprintf(json, sizeof(json), "{\"q\":\"%s\"}", body);
    assert_true(
        cache_name(text_of(scope), TEXT("route"), OPERATION_CHAT, text_of(json), &ask.name));
    ask.now_us = (int64_t)clock_now_us();
    return ask;
}

static struct cache_ask ask_once(const char *tenant, const char *key, const char *body)
{
    struct cache_ask ask = {.max_age_us = INT64_MAX, .may_join = true, .may_store = true};
    assert_true(cache_name_once(text_of(tenant), text_of(key), &ask.name));
    ask.body = hash_sha256(text_of(body));
    ask.idempotency = true;
    ask.now_us = (int64_t)clock_now_us();
    return ask;
}

static struct cache_entry *expect(const struct cache_ask *ask, enum cache_found found)
{
    struct cache_entry *entry;
    assert_int_equal(cache_find(cache, ask, &entry), found);
    assert_true((entry != NULL) == (found == CACHE_HIT || found == CACHE_JOIN ||
                                    (found == CACHE_MISS && ask->may_store)));
    return entry;
}

static void finish(struct cache_entry *writer, int64_t ttl_us)
{
    struct cache_end end = {.cost_nanos = 42, .usage.output_tokens = 7, .finish = "stop"};
    cache_write_end(writer, &end, ttl_us);
    cache_entry_unref(writer);
}

static void write_whole(const struct cache_ask *ask, const char *bytes, int64_t ttl_us)
{
    struct cache_entry *writer = expect(ask, CACHE_MISS);
    struct cache_facts facts = {.status = 200, .stream = ask->stream, .type = "text/plain"};
    cache_write_facts(writer, &facts);
    cache_write(writer, text_of(bytes));
    finish(writer, ttl_us);
}

/* ----------------------------------------------------------------------------- readers */

struct listener {
    struct cache_reader reader;
    unsigned woken, gone;
};

static void on_more(struct cache_reader *reader)
{
    LIST_MEMBER(reader, struct listener, reader)->woken++;
}

static void on_gone(struct cache_reader *reader)
{
    LIST_MEMBER(reader, struct listener, reader)->gone++;
}

static void leave(struct listener *listener)
{
    cache_reader_done(&listener->reader, on_gone);
}

/* Read what there is; returns what came last. */
static enum cache_read_result read_all(struct cache_reader *reader, char *text, size_t room)
{
    struct text piece;
    enum cache_read_result result;
    size_t len = strlen(text);
    while ((result = cache_read(reader, &piece)) == CACHE_READ_MORE) {
        assert_true(piece.len > 0 && len + piece.len < room);
        memcpy(text + len, piece.at, piece.len);
        len += piece.len;
        text[len] = '\0';
    }
    return result;
}

static void expect_hit(const struct cache_ask *ask, const char *bytes)
{
    struct listener listener = {0};
    char text[8 * KIB] = "";
    cache_reader_init(&listener.reader, expect(ask, CACHE_HIT), NULL, on_more);
    assert_int_equal(read_all(&listener.reader, text, sizeof(text)), CACHE_READ_END);
    assert_string_equal(text, bytes);
    leave(&listener);
    assert_int_equal(listener.gone, 1);
}

/* ------------------------------------------------------------------------------- tests */

static void an_answer_is_given_again(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct cache_ask ask = ask_for("t", "a");
    write_whole(&ask, "hello", SECOND);
    expect_hit(&ask, "hello");
    ask = ask_for("t", "a");
    struct cache_entry *entry = expect(&ask, CACHE_HIT);
    struct cache_facts facts;
    struct cache_end end;
    assert_true(cache_entry_facts(entry, &facts));
    assert_int_equal(facts.status, 200);
    assert_string_equal(facts.type, "text/plain");
    cache_entry_end(entry, &end);
    assert_int_equal(end.cost_nanos, 42);
    assert_int_equal(end.usage.output_tokens, 7);
    assert_in_range(cache_entry_age_us(entry, (int64_t)clock_now_us() + 1000), 1000, SECOND);
    cache_entry_unref(entry);
    struct cache_figures figures = cache_figures(cache);
    assert_int_equal(figures.entries, 1);
    assert_int_equal(figures.hits, 2);
    assert_int_equal(figures.misses, 1);
    cache_free(cache);
}

static void nothing_crosses_scopes(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct cache_ask ours = ask_for("t", "a"), theirs = ask_for("other", "a");
    write_whole(&ours, "secret", SECOND);
    write_whole(&theirs, "their own", SECOND);
    expect_hit(&ours, "secret");
    cache_purge(cache, TEXT("other"));
    expect_hit(&ours, "secret");
    theirs.may_store = false;
    expect(&theirs, CACHE_MISS);
    cache_purge(cache, TEXT(""));
    ours.may_store = false;
    expect(&ours, CACHE_MISS);
    assert_int_equal(cache_figures(cache).bytes, 0);
    cache_free(cache);
}

static void an_answer_gets_old(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct cache_ask ask = ask_for("t", "a");
    write_whole(&ask, "x", 10 * SECOND);
    ask.now_us = (int64_t)clock_now_us() + 5 * SECOND;
    ask.max_age_us = 6 * SECOND;
    expect_hit(&ask, "x");
    ask.max_age_us = 4 * SECOND;
    ask.may_store = false;
    expect(&ask, CACHE_MISS);
    ask.max_age_us = 0;
    expect(&ask, CACHE_MISS);
    ask.max_age_us = INT64_MAX;
    expect_hit(&ask, "x");
    ask.now_us += 6 * SECOND;
    expect(&ask, CACHE_MISS);
    assert_int_equal(cache_figures(cache).entries, 0);
    /* For those who read already only. */
    ask.may_store = true;
    write_whole(&ask, "y", 0);
    ask.may_store = false;
    expect(&ask, CACHE_MISS);
    cache_free(cache);
}

static void a_fresh_answer_replaces_the_old_one(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct cache_ask ask = ask_for("t", "a");
    write_whole(&ask, "old", 10 * SECOND);
    ask.max_age_us = 0;
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    struct cache_ask any = ask_for("t", "a");
    expect_hit(&any, "old");
    cache_write(writer, TEXT("new"));
    finish(writer, 10 * SECOND);
    expect_hit(&any, "new");
    assert_int_equal(cache_figures(cache).entries, 1);
    cache_free(cache);
}

static void equal_calls_share_one(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct loop *loop = loop_new();
    struct cache_ask ask = ask_for("t", "a");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    struct listener a = {0}, b = {0};
    cache_reader_init(&a.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    cache_reader_init(&b.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    char of_a[64] = "", of_b[64] = "";
    struct cache_facts facts = {.status = 201};
    assert_false(cache_entry_facts(a.reader.entry, &facts));
    assert_int_equal(read_all(&a.reader, of_a, sizeof(of_a)), CACHE_READ_WAIT);
    assert_int_equal(read_all(&b.reader, of_b, sizeof(of_b)), CACHE_READ_WAIT);
    cache_write_facts(writer, &facts);
    cache_write(writer, TEXT("one "));
    cache_write(writer, TEXT("two "));
    loop_clear(loop);
    assert_int_equal(a.woken, 1);
    assert_int_equal(b.woken, 1);
    assert_int_equal(read_all(&a.reader, of_a, sizeof(of_a)), CACHE_READ_WAIT);
    assert_string_equal(of_a, "one two ");
    assert_int_equal(cache_entry_readers(writer), 2);
    cache_write(writer, TEXT("three"));
    finish(writer, SECOND);
    loop_clear(loop);
    assert_int_equal(a.woken, 2);
    assert_int_equal(b.woken, 1);
    assert_int_equal(read_all(&a.reader, of_a, sizeof(of_a)), CACHE_READ_END);
    assert_int_equal(read_all(&b.reader, of_b, sizeof(of_b)), CACHE_READ_END);
    assert_string_equal(of_a, "one two three");
    assert_string_equal(of_b, "one two three");
    assert_int_equal(b.reader.at, 13);
    leave(&a);
    leave(&b);
    assert_int_equal(cache_figures(cache).joins, 2);
    cache_free(cache);
    loop_free(loop);
}

static void nobody_need_know_who_reads_a_whole_one(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct loop *loop = loop_new();
    struct cache_ask ask = ask_for("t", "a");
    struct cache_entry *entry = expect(&ask, CACHE_MISS);
    struct listener early = {0}, late = {0};
    char of_early[64] = "", of_late[64] = "";
    cache_reader_init(&early.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    assert_int_equal(cache_entry_length(entry), -1);
    cache_write(entry, TEXT("hello"));
    finish(entry, SECOND);
    cache_reader_init(&late.reader, expect(&ask, CACHE_HIT), loop, on_more);
    assert_int_equal(cache_entry_length(late.reader.entry), 5);
    assert_int_equal(cache_entry_readers(late.reader.entry), 1);
    assert_int_equal(read_all(&late.reader, of_late, sizeof(of_late)), CACHE_READ_END);
    leave(&late);
    assert_int_equal(late.gone, 1);
    assert_int_equal(cache_entry_readers(early.reader.entry), 1);
    assert_int_equal(read_all(&early.reader, of_early, sizeof(of_early)), CACHE_READ_END);
    leave(&early);
    loop_clear(loop);
    assert_int_equal(early.gone, 1);
    assert_string_equal(of_early, "hello");
    assert_string_equal(of_late, "hello");
    cache_free(cache);
    loop_free(loop);
}

static void readers_are_told_when_it_breaks(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct loop *loop = loop_new();
    struct cache_ask ask = ask_for("t", "a");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    struct listener a = {0};
    char text[64] = "";
    cache_reader_init(&a.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    assert_int_equal(read_all(&a.reader, text, sizeof(text)), CACHE_READ_WAIT);
    cache_write(writer, TEXT("half"));
    cache_write_broken(writer, "target_down");
    cache_entry_unref(writer);
    loop_clear(loop);
    assert_int_equal(a.woken, 1);
    assert_int_equal(read_all(&a.reader, text, sizeof(text)), CACHE_READ_BROKEN);
    assert_string_equal(text, "half");
    assert_string_equal(cache_entry_why(a.reader.entry), "target_down");
    /* Who finds again writes. */
    struct cache_entry *next = expect(&ask, CACHE_MISS);
    leave(&a);
    cache_write_broken(next, "internal");
    cache_entry_unref(next);
    assert_int_equal(cache_figures(cache).entries, 0);
    cache_free(cache);
    loop_free(loop);
}

static void a_reader_that_left_is_not_woken(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct loop *loop = loop_new();
    struct cache_ask ask = ask_for("t", "a");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    struct listener a = {0};
    struct text piece;
    cache_reader_init(&a.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    assert_int_equal(cache_read(&a.reader, &piece), CACHE_READ_WAIT);
    cache_write(writer, TEXT("x"));
    leave(&a);
    assert_int_equal(a.gone, 0);
    cache_write(writer, TEXT("y"));
    loop_clear(loop);
    assert_int_equal(a.gone, 1);
    assert_int_equal(a.woken, 0);
    finish(writer, SECOND);
    cache_free(cache);
    loop_free(loop);
}

struct lone {
    struct cache_writer writer;
    unsigned alone, gone;
};

static void on_alone(struct cache_writer *writer)
{
    LIST_MEMBER(writer, struct lone, writer)->alone++;
}

static void on_writer_gone(struct cache_writer *writer)
{
    LIST_MEMBER(writer, struct lone, writer)->gone++;
}

static void a_writer_hears_that_the_last_reader_left(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct loop *loop = loop_new();
    struct cache_ask ask = ask_for("t", "a");
    struct cache_entry *entry = expect(&ask, CACHE_MISS);
    struct lone lone = {0};
    cache_writer_init(&lone.writer, entry, loop, on_alone);
    struct listener a = {0}, b = {0};
    cache_reader_init(&a.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    cache_reader_init(&b.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    leave(&a);
    loop_clear(loop);
    assert_int_equal(lone.alone, 0);
    leave(&b);
    /* Another comes before the writer hears of it. */
    cache_reader_init(&b.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    loop_clear(loop);
    assert_int_equal(lone.alone, 0);
    leave(&b);
    loop_clear(loop);
    assert_int_equal(lone.alone, 1);
    cache_reader_init(&b.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    leave(&b);
    cache_writer_done(&lone.writer, on_writer_gone);
    assert_int_equal(lone.gone, 0);
    loop_clear(loop);
    assert_int_equal(lone.gone, 1);
    assert_int_equal(lone.alone, 1);
    cache_write_broken(entry, "client_gone");
    cache_entry_unref(entry);
    cache_free(cache);
    loop_free(loop);
}

static void forms_are_kept_apart_while_they_grow(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct cache_ask json = ask_for("t", "a"), events = json;
    events.stream = true;
    struct cache_entry *writer = expect(&json, CACHE_MISS);
    struct cache_entry *other = expect(&events, CACHE_MISS);
    cache_write(writer, TEXT("{}"));
    finish(writer, SECOND);
    json.now_us = events.now_us = (int64_t)clock_now_us();
    /* Whole in another form is better than growing. */
    expect_hit(&json, "{}");
    expect_hit(&events, "{}");
    cache_write(other, TEXT("data: {}\n\n"));
    finish(other, SECOND);
    expect_hit(&json, "{}");
    expect_hit(&events, "data: {}\n\n");
    assert_int_equal(cache_figures(cache).entries, 2);
    cache_free(cache);
}

static void who_may_not_join_asks_itself(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct cache_ask ask = ask_for("t", "a");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    ask.may_join = false;
    struct cache_entry *other = expect(&ask, CACHE_MISS);
    assert_ptr_not_equal(writer, other);
    finish(writer, SECOND);
    finish(other, SECOND);
    assert_int_equal(cache_figures(cache).entries, 1);
    cache_free(cache);
}

static void the_least_recently_used_go_first(void **state)
{
    (void)state;
    open_cache(40 * KIB, 16 * KIB);
    struct cache_ask asks[64];
    char name[16], bytes[2 * KIB];
    memset(bytes, 'b', sizeof(bytes) - 1);
    bytes[sizeof(bytes) - 1] = '\0';
    for (size_t i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "q%zu", i);
        asks[i] = ask_for("t", name);
        write_whole(&asks[i], bytes, 100 * SECOND);
        expect_hit(&asks[0], bytes);
        assert_true(cache_figures(cache).bytes <= 40 * KIB);
    }
    expect_hit(&asks[63], bytes);
    asks[1].may_store = false;
    expect(&asks[1], CACHE_MISS);
    struct cache_figures figures = cache_figures(cache);
    assert_in_range(figures.entries, 5, 20);
    assert_int_equal(figures.entries + figures.evicted, 64);
    cache_set_options(cache, &(struct cache_options){0, 0});
    assert_int_equal(cache_figures(cache).entries, 0);
    assert_int_equal(cache_figures(cache).bytes, 0);
    cache_free(cache);
}

static void a_dropped_entry_lives_while_it_is_read(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct cache_ask ask = ask_for("t", "a");
    write_whole(&ask, "still here", SECOND);
    struct listener a = {0};
    char text[64] = "";
    cache_reader_init(&a.reader, expect(&ask, CACHE_HIT), NULL, on_more);
    cache_purge(cache, TEXT(""));
    assert_int_equal(read_all(&a.reader, text, sizeof(text)), CACHE_READ_END);
    assert_string_equal(text, "still here");
    leave(&a);
    cache_free(cache);
}

static void a_large_answer_is_for_those_who_read_already(void **state)
{
    (void)state;
    open_cache(16 << 20, 4 * KIB);
    struct loop *loop = loop_new();
    struct cache_ask ask = ask_for("t", "a");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    struct listener a = {0};
    cache_reader_init(&a.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    static char block[KIB];
    for (size_t i = 0; i < 16; i++)
        cache_write(writer, (struct text){block, sizeof(block)});
    struct cache_entry *other = expect(&ask, CACHE_MISS);
    struct text piece;
    size_t bytes = 0;
    while (cache_read(&a.reader, &piece) == CACHE_READ_MORE)
        bytes += piece.len;
    assert_int_equal(bytes, 16 * KIB);
    /* Nor may it grow for ever: then they are told. */
    for (size_t i = 0; i <= CACHE_HOLD_BYTES / sizeof(block); i++)
        cache_write(writer, (struct text){block, sizeof(block)});
    assert_true(writer->size <= CACHE_HOLD_BYTES + 2 * KIB);
    loop_clear(loop);
    assert_int_equal(a.woken, 1);
    enum cache_read_result last;
    while ((last = cache_read(&a.reader, &piece)) == CACHE_READ_MORE)
        bytes += piece.len;
    assert_int_equal(last, CACHE_READ_BROKEN);
    assert_string_equal(cache_entry_why(a.reader.entry), "too_large_to_share");
    leave(&a);
    /* What nobody reads takes no room. */
    cache_write(writer, (struct text){block, sizeof(block)});
    assert_true(writer->memory < 4 * KIB);
    finish(writer, SECOND);
    finish(other, SECOND);
    cache_free(cache);
    loop_free(loop);
}

static void a_full_cache_makes_no_more(void **state)
{
    (void)state;
    open_cache(16 * KIB, 1 << 20);
    struct loop *loop = loop_new();
    struct cache_ask ask = ask_for("t", "a"), other = ask_for("t", "b");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    struct listener a = {0};
    cache_reader_init(&a.reader, expect(&ask, CACHE_JOIN), loop, on_more);
    static char block[KIB];
    for (size_t i = 0; i < 40; i++)
        cache_write(writer, (struct text){block, sizeof(block)});
    expect(&other, CACHE_BUSY);
    for (size_t i = 0; i < 100; i++)
        cache_write(writer, (struct text){block, sizeof(block)});
    struct text piece;
    enum cache_read_result last;
    while ((last = cache_read(&a.reader, &piece)) == CACHE_READ_MORE)
        continue;
    assert_int_equal(last, CACHE_READ_BROKEN);
    assert_string_equal(cache_entry_why(a.reader.entry), "cache_full");
    leave(&a);
    finish(writer, SECOND);
    finish(expect(&other, CACHE_MISS), SECOND);
    cache_free(cache);
    loop_free(loop);
}

static void a_key_is_used_for_one_body(void **state)
{
    (void)state;
    open_cache(1 << 20, 4 * KIB);
    struct cache_ask ask = ask_once("t", "key", "body"), other = ask_once("t", "key", "another");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    expect(&other, CACHE_OTHER_BODY);
    struct cache_entry *joined = expect(&ask, CACHE_JOIN);
    cache_write(writer, TEXT("answer"));
    finish(writer, 100 * SECOND);
    cache_entry_unref(joined);
    expect_hit(&ask, "answer");
    expect(&other, CACHE_OTHER_BODY);
    /* Whatever it wants, and also after the cache was emptied. */
    ask.stream = true;
    ask.max_age_us = 0;
    cache_purge(cache, TEXT(""));
    cache_purge(cache, TEXT("t"));
    expect_hit(&ask, "answer");
    struct cache_ask theirs = ask_once("u", "key", "body");
    finish(expect(&theirs, CACHE_MISS), SECOND);
    cache_free(cache);
}

static void a_large_answer_to_a_key_is_remembered_as_such(void **state)
{
    (void)state;
    open_cache(1 << 20, 4 * KIB);
    struct cache_ask ask = ask_once("t", "key", "body"), other = ask_once("t", "key", "another");
    struct cache_entry *writer = expect(&ask, CACHE_MISS);
    static char block[KIB];
    for (size_t i = 0; i < 8; i++)
        cache_write(writer, (struct text){block, sizeof(block)});
    expect(&ask, CACHE_NOT_KEPT);
    finish(writer, 100 * SECOND);
    expect(&ask, CACHE_NOT_KEPT);
    expect(&other, CACHE_OTHER_BODY);
    assert_true(cache_figures(cache).bytes < 4 * KIB);
    cache_free(cache);
}

/* ----------------------------------------------------------------------------- threads */

/*
 * Each thread has a loop, as a worker has, and asks for the same few things again and again. Who is
 * the first writes, in small pieces, now and then breaking off or having its readers leave; all
 * others read to the end. Every answer that ends must be the one that belongs to its name.
 */
enum { THREADS = 4, ROUNDS = 400, NAMES = 5, PIECES = 40 };

static atomic_uint whole_answers, broken_answers, written_answers;

struct worker {
    struct loop *loop;
    pthread_t thread;
    unsigned seed, left;
    struct errand next;
    struct listener listener;
    struct cache_entry *writing;
    unsigned name, piece;
    size_t bytes;
    unsigned long sum;
};

static unsigned draw(struct worker *worker, unsigned below)
{
    worker->seed = worker->seed * 1103515245U + 12345U;
    return (worker->seed >> 16) % below;
}

static void on_worker_gone(struct cache_reader *reader)
{
    struct worker *worker = LIST_MEMBER(reader, struct worker, listener.reader);
    loop_post(worker->loop, &worker->next);
}

static void on_worker_more(struct cache_reader *reader)
{
    struct worker *worker = LIST_MEMBER(reader, struct worker, listener.reader);
    struct text piece;
    enum cache_read_result result;
    while ((result = cache_read(reader, &piece)) == CACHE_READ_MORE) {
        worker->bytes += piece.len;
        for (size_t i = 0; i < piece.len; i++)
            worker->sum += (unsigned char)piece.at[i];
    }
    if (result == CACHE_READ_WAIT && draw(worker, 50) > 0)
        return;
    if (result == CACHE_READ_END) {
        assert_int_equal(worker->bytes, PIECES * 100);
        assert_int_equal(worker->sum, (unsigned long)PIECES * 100 * ('a' + worker->name));
        atomic_fetch_add(&whole_answers, 1);
    }
    if (result == CACHE_READ_BROKEN)
        atomic_fetch_add(&broken_answers, 1);
    cache_reader_done(reader, on_worker_gone);
}

static void write_on(struct worker *worker)
{
    char piece[100];
    memset(piece, 'a' + (int)worker->name, sizeof(piece));
    cache_write(worker->writing, (struct text){piece, sizeof(piece)});
    struct cache_end end = {.cost_nanos = 1};
    bool breaks = draw(worker, 400) == 0;
    if (breaks)
        cache_write_broken(worker->writing, "target_cut");
    else if (++worker->piece == PIECES)
        cache_write_end(worker->writing, &end, draw(worker, 2) ? 0 : 300);
    if (breaks || worker->piece == PIECES) {
        cache_entry_unref(worker->writing);
        worker->writing = NULL;
        atomic_fetch_add(&written_answers, 1);
    }
    loop_post(worker->loop, &worker->next);
}

static void ask_again(struct worker *worker)
{
    if (worker->left-- == 0) {
        loop_stop(worker->loop);
        return;
    }
    char body[8];
    worker->name = draw(worker, NAMES);
    snprintf(body, sizeof(body), "n%u", worker->name);
    struct cache_ask ask = ask_for("t", body);
    struct cache_entry *entry;
    worker->bytes = worker->sum = worker->piece = 0;
    enum cache_found found = cache_find(cache, &ask, &entry);
    assert_true(found == CACHE_MISS || found == CACHE_JOIN || found == CACHE_HIT);
    if (found == CACHE_MISS) {
        struct cache_facts facts = {.status = 200 + worker->name};
        cache_write_facts(entry, &facts);
        worker->writing = entry;
        write_on(worker);
        return;
    }
    cache_reader_init(&worker->listener.reader, entry, worker->loop, on_worker_more);
    on_worker_more(&worker->listener.reader);
}

static void run_worker(struct errand *errand)
{
    struct worker *worker = LIST_MEMBER(errand, struct worker, next);
    if (worker->writing)
        write_on(worker);
    else
        ask_again(worker);
}

static void *work(void *with)
{
    struct worker *worker = with;
    loop_post(worker->loop, &worker->next);
    loop_run(worker->loop, NULL, NULL);
    return NULL;
}

static void threads_share_answers(void **state)
{
    (void)state;
    open_cache(64 * KIB, 16 * KIB);
    struct worker workers[THREADS];
    memset(workers, 0, sizeof(workers));
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].loop = loop_new();
        workers[i].seed = i + 1;
        workers[i].left = ROUNDS;
        workers[i].next.run = run_worker;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 200; i++)
        cache_purge(cache, i % 2 ? TEXT("t") : TEXT("nobody"));
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        loop_free(workers[i].loop);
    }
    assert_true(atomic_load(&written_answers) > 0);
    assert_true(atomic_load(&whole_answers) > 0);
    assert_int_equal(atomic_load(&cache->growing), 0);
    cache_purge(cache, TEXT(""));
    assert_int_equal(atomic_load(&cache->alive), 0);
    assert_int_equal(atomic_load(&cache->kept), 0);
    cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_given_again),
        cmocka_unit_test(nothing_crosses_scopes),
        cmocka_unit_test(an_answer_gets_old),
        cmocka_unit_test(a_fresh_answer_replaces_the_old_one),
        cmocka_unit_test(equal_calls_share_one),
        cmocka_unit_test(nobody_need_know_who_reads_a_whole_one),
        cmocka_unit_test(readers_are_told_when_it_breaks),
        cmocka_unit_test(a_reader_that_left_is_not_woken),
        cmocka_unit_test(a_writer_hears_that_the_last_reader_left),
        cmocka_unit_test(forms_are_kept_apart_while_they_grow),
        cmocka_unit_test(who_may_not_join_asks_itself),
        cmocka_unit_test(the_least_recently_used_go_first),
        cmocka_unit_test(a_dropped_entry_lives_while_it_is_read),
        cmocka_unit_test(a_large_answer_is_for_those_who_read_already),
        cmocka_unit_test(a_full_cache_makes_no_more),
        cmocka_unit_test(a_key_is_used_for_one_body),
        cmocka_unit_test(a_large_answer_to_a_key_is_remembered_as_such),
        cmocka_unit_test(threads_share_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
