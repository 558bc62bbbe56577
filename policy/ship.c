/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ship.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "policy/keeper.h"
#include "policy/record.h"
#include "policy/words.h"

enum { BOX_BYTES_MAX = 4 << 20, WAIT_LEAST_US = 1000 };

extern const char forward_ship_lua[], forward_ship_lua_end[];

/* What stands in front of each line in a box. */
struct line_head {
    uint64_t sequence;
    uint32_t len;
};

struct ship_box {
    struct ship_box *next;
    struct ship *ship;
    struct journal *journal;
    struct errand errand;

    pthread_mutex_t lock; /* of what follows */
    struct buffer lines;
    uint64_t since_us; /* the first of them came then */
    uint64_t last;
    bool is_posted;
};

/* Lines on their way. */
struct parcel {
    struct ship_box *box;
    uint64_t last, count;
};

struct ship {
    struct loop *loop;
    struct dns *dns;
    struct redis *redis;
    pthread_t thread;
    struct redis_script script;
    int64_t timeout_us, keep_us;
    char *prefix, *ledger;
    struct ship_box *boxes;
    struct words words;  /* its thread's */
    struct buffer taken; /* its thread's: the lines of a box */
    bool failing;        /* said once */
    _Atomic uint64_t unstored;
};

uint64_t ship_unstored(const struct ship *ship)
{
    return atomic_load_explicit(&ship->unstored, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------ on the worker */

void ship_line(struct ship_box *box, uint64_t sequence, struct text body)
{
    struct line_head head = {sequence, (uint32_t)body.len};
    pthread_mutex_lock(&box->lock);
    if (buffer_length(&box->lines) == 0)
        box->since_us = clock_now_us();
    bool fits = sizeof(head) + body.len <= BOX_BYTES_MAX - buffer_length(&box->lines);
    if (fits) {
        buffer_append(&box->lines, &head, sizeof(head));
        buffer_append_text(&box->lines, body);
        box->last = sequence;
    }
    bool posts = fits && !box->is_posted;
    box->is_posted = box->is_posted || posts;
    pthread_mutex_unlock(&box->lock);
    if (posts)
        loop_post(box->ship->loop, &box->errand);
    if (fits)
        return;
    /* So much waits that Redis is as good as away. */
    atomic_fetch_add(&box->ship->unstored, 1);
    journal_stored(box->journal, sequence);
}

/* ------------------------------------------------------------------------------ on its thread */

static void note(struct ship *ship, bool good, uint64_t lines)
{
    if (!good)
        atomic_fetch_add(&ship->unstored, lines);
    if (!good && !ship->failing)
        log_line(LOG_WARN, "ledger",
                 "Redis does not take lines: answers end without waiting for "
                 "it, as with \"sync: disk\"");
    else if (good && ship->failing)
        log_line(LOG_INFO, "ledger", "Redis takes lines again");
    ship->failing = !good;
}

static void on_stored(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct parcel *parcel = with;
    bool good = fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_NUMBER;
    note(parcel->box->ship, good, parcel->count);
    journal_stored(parcel->box->journal, parcel->last);
    memory_free(parcel);
}

static void begin_words(struct ship_box *box)
{
    struct ship *ship = box->ship;
    struct words *words = &ship->words;
    words_begin(words);
    struct text name = arena_format(&words->arena, "%s/%s/%u", ship->ledger,
                                    box->journal->id.instance, box->journal->id.worker);
    words_add(words, arena_format(&words->arena, "%s{ledger}:waiting", ship->prefix));
    words_add(words, arena_format(&words->arena, "%s{ledger}:waiting:%.*s", ship->prefix,
                                  TEXT_ARGS(name)));
    words->keys = words->count;
    words_add(words, name);
    words_number(words, ship->keep_us > 0 ? ship->keep_us / 1000000 + 1 : 0);
}

/* The lines that were taken; returns how many. */
static uint64_t add_lines(struct ship *ship)
{
    struct text rest = buffer_text(&ship->taken);
    struct line_head head;
    uint64_t count = 0;
    for (; rest.len > 0; count++) {
        memcpy(&head, rest.at, sizeof(head));
        words_number(&ship->words, (int64_t)head.sequence);
        words_add(&ship->words, (struct text){rest.at + sizeof(head), head.len});
        rest = text_from(rest, sizeof(head) + head.len);
    }
    return count;
}

static void send_lines(struct ship_box *box, uint64_t since_us, uint64_t last)
{
    struct ship *ship = box->ship;
    struct words *words = &ship->words;
    begin_words(box);
    struct parcel *parcel = memory_new(sizeof(*parcel));
    *parcel = (struct parcel){box, last, add_lines(ship)};
    int64_t left = ship->timeout_us - (int64_t)(clock_now_us() - since_us);
    if (left >= WAIT_LEAST_US && redis_is_up(ship->redis) &&
        redis_eval(ship->redis, &ship->script, words->keys, words->at, words->count, left,
                   on_stored, parcel))
        return;
    on_stored(parcel, REDIS_AWAY, NULL);
}

static void on_posted(struct errand *errand)
{
    struct ship_box *box = LIST_MEMBER(errand, struct ship_box, errand);
    struct ship *ship = box->ship;
    pthread_mutex_lock(&box->lock);
    struct buffer lines = box->lines;
    box->lines = ship->taken;
    ship->taken = lines;
    uint64_t since_us = box->since_us, last = box->last;
    box->is_posted = false;
    pthread_mutex_unlock(&box->lock);
    if (buffer_length(&ship->taken) > 0)
        send_lines(box, since_us, last);
    buffer_clear(&ship->taken);
}

static void *ship_main(void *with)
{
    struct ship *ship = with;
    loop_run(ship->loop, NULL, NULL);
    return NULL;
}

/* ------------------------------------------------------------------------------- open, close */

struct ship_box *ship_box_new(struct ship *ship, struct journal *journal)
{
    struct ship_box *box = memory_new(sizeof(*box));
    box->ship = ship;
    box->journal = journal;
    box->errand.run = on_posted;
    pthread_mutex_init(&box->lock, NULL);
    buffer_init(&box->lines, BOX_BYTES_MAX);
    box->next = ship->boxes;
    ship->boxes = box;
    return box;
}

static void ship_free(struct ship *ship)
{
    if (ship->redis)
        redis_free(ship->redis);
    loop_clear(ship->loop);
    dns_free(ship->dns);
    loop_clear(ship->loop);
    loop_free(ship->loop);
    for (struct ship_box *box = ship->boxes, *next; box; box = next) {
        next = box->next;
        buffer_done(&box->lines);
        pthread_mutex_destroy(&box->lock);
        memory_free(box);
    }
    buffer_done(&ship->taken);
    words_done(&ship->words);
    memory_free(ship->prefix);
    memory_free(ship->ledger);
    memory_free(ship);
}

struct ship *ship_open(const struct ship_options *options, struct fault *fault)
{
    struct ship *ship = memory_new(sizeof(*ship));
    ship->prefix = memory_string(text_of(options->prefix));
    ship->ledger = memory_string(text_of(options->ledger));
    ship->timeout_us = options->redis->timeout_us;
    ship->keep_us = options->keep_us;
    ship->loop = loop_new();
    ship->dns = dns_new(ship->loop);
    words_init(&ship->words);
    buffer_init(&ship->taken, BOX_BYTES_MAX);
    redis_script_init(&ship->script, (struct text){forward_ship_lua, (size_t)(forward_ship_lua_end -
                                                                              forward_ship_lua)});
    ship->redis = redis_new(ship->loop, ship->dns, options->redis, fault);
    if (ship->redis && ledger_thread(&ship->thread, "ledger-ship", ship_main, ship))
        return ship;
    if (ship->redis)
        fault_set(fault, FAULT_INTERNAL, "ledger: no thread: %m");
    ship_free(ship);
    return NULL;
}

void ship_close(struct ship *ship)
{
    if (!ship)
        return;
    loop_stop(ship->loop);
    pthread_join(ship->thread, NULL);
    ship_free(ship);
}
