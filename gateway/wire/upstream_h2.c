/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream_h2 - connections that speak HTTP/2: a trunk carries many calls, each of which is a
 * struct upstream of its own that writes and reads HTTP/1.1 inside (http/h2_client.h).
 *
 * A connection is made as any other; when its handshake has agreed on h2, its socket becomes a
 * trunk, and the call that has waited for it is the first inside.
 */
#include <assert.h>

#include "gateway/base/memory.h"
#include "gateway/http/h2_client.h"
#include "gateway/wire/upstream_inside.h"

enum {
    READS_PER_EVENT = 4, /* then others have their turn */
    READ_BYTES = 32 * 1024,
    WRITES_PER_EVENT = 8,
    WRITE_BYTES = 64 * 1024, /* at once */
    STUCK_US = 2000000,      /* a server that takes nothing for so long gets no further calls */
    ALIVE_US = 1000000,      /* what was heard so long ago says that it is there */
    SETTLE_US = 1000000,     /* for its first words; then those that wait look elsewhere */
    LOOK_US = 1000000,       /* between two looks while calls are open */
    PING_US = 5000000, /* of silence until it is asked whether it is there; then twice as long */
    PING_MAX_US = 60000000, /* but no longer: some take many pings for an attack */
    DOUBT_US = 3000000,     /* without an answer to that: no further calls */
    DEAD_US = 15000000,     /* then it is given up */
    PONG_BYTES = 17,
};

struct trunk {
    struct watch watch;
    struct grave grave;
    struct stream stream;
    struct timer timer;     /* its end, while no call is on it; else the next look */
    struct put_off put_off; /* to send what there is */
    struct upstream_pool *pool;
    struct link link;     /* in the pool's list */
    struct h2_client *h2; /* NULL = it has ended */
    struct link carried;  /* struct upstream */
    unsigned count, all;  /* of them; of those that there have been, too */
    struct buffer out;    /* what the socket did not take */
    uint64_t made_us;
    uint64_t heard_us;    /* when the server last sent something */
    uint64_t asked_us;    /* whether it is there; 0 = it has answered */
    uint64_t patience_us; /* with its silence */
    uint64_t stuck_us;    /* the socket takes nothing since; 0 = it does */
    bool settling; /* counts among those on their way, until the server has said what it takes */
    bool hangup;
    bool retired; /* gets no further calls */
};

static struct loop *loop_of(const struct trunk *trunk)
{
    return trunk->pool->owner->loop;
}

static uint64_t now_us(const struct trunk *trunk)
{
    return loop_now_us(loop_of(trunk));
}

static void send_soon(struct trunk *trunk)
{
    loop_put_off(loop_of(trunk), &trunk->put_off, true);
}

static char *words_of_thread(void)
{
    static _Thread_local void *mine;
    return memory_of_thread(&mine, WRITE_BYTES);
}

/* Those that wait for it need wait no longer. */
static void settle(struct trunk *trunk)
{
    trunk->pool->reaching -= trunk->settling;
    trunk->settling = false;
    pool_serve_waiting(trunk->pool);
}

/* ------------------------------------------------------------------------ begin and end */

static void free_trunk(struct grave *grave)
{
    struct trunk *trunk = LIST_MEMBER(grave, struct trunk, grave);
    struct upstream_pool *pool = trunk->pool;
    buffer_done(&trunk->out);
    memory_free(trunk);
    pool_release(pool);
}

/* Those that it carries learn of it in the next round. */
static void trunk_close(struct trunk *trunk)
{
    struct upstream_pool *pool = trunk->pool;
    if (!trunk->h2)
        return;
    if (trunk->count == 0) {
        pool->trunks_idle--;
        pool->owner->figures.idle--;
    }
    pool->owner->figures.connections--;
    while (!list_is_empty(&trunk->carried)) {
        struct upstream *up = LIST_MEMBER(trunk->carried.next, struct upstream, in_trunk);
        list_remove(&up->in_trunk);
        up->trunk = NULL;
    }
    h2_client_free(trunk->h2);
    trunk->h2 = NULL;
    timer_stop(&trunk->timer);
    list_remove(&trunk->link);
    list_remove(&trunk->put_off.link);
    loop_remove(loop_of(trunk), &trunk->watch);
    stream_close(&trunk->stream);
    loop_bury(loop_of(trunk), &trunk->grave, free_trunk);
    settle(trunk);
}

void trunk_end(struct trunk *trunk)
{
    char *words = words_of_thread();
    h2_client_leave(trunk->h2);
    size_t length = h2_client_produce(trunk->h2, words, WRITE_BYTES);
    if (!trunk->hangup && length && !buffer_length(&trunk->out))
        stream_write(&trunk->stream, &(struct iovec){words, length}, 1); /* or not */
    trunk_close(trunk);
}

static void look_later(struct trunk *trunk)
{
    timer_set(loop_of(trunk), &trunk->timer, now_us(trunk) + LOOK_US);
}

/* A connection may die without a word, in some box between: what it carries would wait for as long
 * as calls may take. */
static void look(struct trunk *trunk)
{
    uint64_t now = now_us(trunk), silent_us = now - trunk->heard_us;
    if (trunk->settling && now - trunk->made_us >= SETTLE_US)
        settle(trunk);
    if (trunk->asked_us && now - trunk->asked_us >= DEAD_US) {
        trunk_close(trunk);
        return;
    }
    if (trunk->asked_us && now - trunk->asked_us >= DOUBT_US)
        trunk->retired = true;
    if (!trunk->asked_us && silent_us >= trunk->patience_us) {
        uint64_t twice = 2 * trunk->patience_us;
        trunk->asked_us = now;
        trunk->patience_us = twice < PING_MAX_US ? twice : PING_MAX_US;
        h2_client_ping(trunk->h2);
        send_soon(trunk);
    }
    look_later(trunk);
}

static void on_time(struct timer *timer)
{
    struct trunk *trunk = LIST_MEMBER(timer, struct trunk, timer);
    if (trunk->count == 0)
        trunk_end(trunk);
    else
        look(trunk);
}

static void hear(struct trunk *trunk, size_t bytes)
{
    trunk->heard_us = now_us(trunk);
    trunk->asked_us = 0;
    if (bytes > PONG_BYTES)
        trunk->patience_us = PING_US;
    if (trunk->settling && h2_client_is_greeted(trunk->h2))
        settle(trunk);
}

static bool has_room(const struct trunk *trunk)
{
    bool stuck = trunk->stuck_us && now_us(trunk) - trunk->stuck_us >= STUCK_US;
    return !trunk->retired && !trunk->hangup && !stuck && h2_client_room(trunk->h2);
}

/* It carries nothing any more. */
static void rest(struct trunk *trunk)
{
    struct upstream_pool *pool = trunk->pool;
    bool enough = pool->trunks_idle + pool->idle_count >= pool->place.max_idle;
    pool->trunks_idle++;
    pool->owner->figures.idle++;
    timer_stop(&trunk->timer);
    if (!has_room(trunk) || enough || pool->references == 0) {
        trunk_end(trunk);
        return;
    }
    timer_set(loop_of(trunk), &trunk->timer, now_us(trunk) + (uint64_t)pool->place.idle_us);
}

void trunks_retire(struct upstream_pool *pool)
{
    struct link *next;
    for (struct link *at = pool->trunks.next; at != &pool->trunks; at = next) {
        struct trunk *trunk = LIST_MEMBER(at, struct trunk, link);
        next = at->next;
        trunk->retired = true;
        if (trunk->count == 0)
            trunk_end(trunk);
    }
}

struct trunk *trunk_find_idle(const struct upstream_pool *pool, uint64_t *since_us)
{
    struct trunk *longest = NULL;
    for (struct link *at = pool->trunks.next; at != &pool->trunks; at = at->next) {
        struct trunk *trunk = LIST_MEMBER(at, struct trunk, link);
        uint64_t since = trunk->timer.due_us - (uint64_t)pool->place.idle_us;
        if (trunk->count > 0 || (longest && since >= *since_us))
            continue;
        longest = trunk;
        *since_us = since;
    }
    return longest;
}

/* ----------------------------------------------------------------------- what is carried */

static ssize_t read_inside(void *carried, void *into, size_t bytes)
{
    struct upstream *up = carried;
    ssize_t got = h2_call_read(up->inside, into, bytes);
    if (got > 0 && up->trunk)
        send_soon(up->trunk); /* a window may open */
    return got;
}

static bool has_more_inside(const void *carried)
{
    const struct upstream *up = carried;
    return h2_call_has_more(up->inside);
}

static ssize_t write_inside(void *carried, const struct iovec *pieces, int count)
{
    struct upstream *up = carried;
    ssize_t taken = h2_call_write(up->inside, pieces, count);
    if (up->trunk)
        send_soon(up->trunk);
    return taken;
}

static void shut_inside(void *carried)
{
    (void)carried; /* a request's end stands in its head */
}

static void close_inside(void *carried, bool at_once)
{
    struct upstream *up = carried;
    struct trunk *trunk = up->trunk;
    (void)at_once;
    h2_call_close(up->inside);
    if (!trunk)
        return;
    list_remove(&up->in_trunk);
    up->trunk = NULL;
    send_soon(trunk);
    if (--trunk->count == 0)
        rest(trunk);
}

static bool is_unread_inside(const void *carried)
{
    const struct upstream *up = carried;
    return h2_call_is_refused(up->inside);
}

static const struct stream_inside how = {
    .read = read_inside,
    .has_more = has_more_inside,
    .write = write_inside,
    .shut = shut_inside,
    .close = close_inside,
    .is_unread = is_unread_inside,
};

/* In the midst of things: the call hears of it in the next round. */
static void on_news(void *owner, enum h2_call_news news)
{
    static const unsigned events[] = {[H2_CALL_MORE] = LOOP_READ,
                                      [H2_CALL_ROOM] = LOOP_WRITE,
                                      [H2_CALL_GONE] = LOOP_READ | LOOP_HANGUP};
    struct upstream *up = owner;
    loop_again(up->pool->owner->loop, &up->watch, events[news]);
}

struct trunk *trunk_find(const struct upstream_pool *pool, bool alive)
{
    for (struct link *at = pool->trunks.next; at != &pool->trunks; at = at->next) {
        struct trunk *trunk = LIST_MEMBER(at, struct trunk, link);
        bool heard = now_us(trunk) - trunk->heard_us < ALIVE_US;
        if (has_room(trunk) && (heard || !alive))
            return trunk;
    }
    return NULL;
}

void trunk_join(struct trunk *trunk, struct upstream *up)
{
    up->trunk = trunk;
    up->inside = h2_call_begin(trunk->h2, up);
    up->calls = trunk->all++;
    stream_init_inside(&up->stream, &how, up);
    list_push_back(&trunk->carried, &up->in_trunk);
    if (trunk->count++ > 0)
        return;
    timer_stop(&trunk->timer);
    look_later(trunk);
    trunk->pool->trunks_idle--;
    trunk->pool->owner->figures.idle--;
}

/* ---------------------------------------------------------------------------- its socket */

/* False when nothing more can be sent now. */
static bool send_some(struct trunk *trunk)
{
    char *words = words_of_thread();
    bool queued = buffer_length(&trunk->out) > 0;
    struct text bytes = buffer_text(&trunk->out);
    if (!queued)
        bytes = (struct text){words, h2_client_produce(trunk->h2, words, WRITE_BYTES)};
    if (bytes.len == 0)
        return false;
    struct iovec piece = {(void *)(uintptr_t)bytes.at, bytes.len};
    ssize_t done = stream_write(&trunk->stream, &piece, 1);
    if (done == STREAM_BROKEN) { /* what it has sent may still be read */
        trunk->hangup = true;
        loop_again(loop_of(trunk), &trunk->watch, LOOP_READ);
        return false;
    }
    size_t sent = done > 0 ? (size_t)done : 0;
    if (queued)
        buffer_drop(&trunk->out, sent);
    else
        buffer_append_text(&trunk->out, text_from(bytes, sent));
    if (sent > 0 || !trunk->stuck_us)
        trunk->stuck_us = now_us(trunk);
    if (buffer_length(&trunk->out))
        return false;
    trunk->stuck_us = 0;
    buffer_done(&trunk->out);
    return true;
}

static void send_all(struct put_off *put_off)
{
    struct trunk *trunk = LIST_MEMBER(put_off, struct trunk, put_off);
    int writes = 0;
    while (writes < WRITES_PER_EVENT && send_some(trunk))
        writes++;
    if (writes == WRITES_PER_EVENT)
        loop_again(loop_of(trunk), &trunk->watch, LOOP_WRITE);
    else if (h2_client_is_over(trunk->h2) && !buffer_length(&trunk->out))
        trunk_close(trunk);
}

/* False: it has ended. */
static bool read_some(struct trunk *trunk)
{
    char *scratch = trunk->pool->owner->scratch;
    for (int reads = 0; reads < READS_PER_EVENT; reads++) {
        trunk->stream.untimed = true;
        ssize_t got = stream_read(&trunk->stream, scratch, READ_BYTES);
        if (got == STREAM_WAIT)
            return true;
        if (got <= 0) {
            trunk_close(trunk);
            return false;
        }
        h2_client_receive(trunk->h2, (struct text){scratch, (size_t)got});
        hear(trunk, (size_t)got);
        if (!stream_may_have_more(&trunk->stream, (size_t)got, READ_BYTES) && !trunk->hangup)
            return true;
    }
    loop_again(loop_of(trunk), &trunk->watch, LOOP_READ);
    return true;
}

static void on_event(struct watch *watch, unsigned events)
{
    struct trunk *trunk = LIST_MEMBER(watch, struct trunk, watch);
    if (events & LOOP_HANGUP)
        trunk->hangup = true;
    if ((events & LOOP_READ || trunk->hangup) && !read_some(trunk))
        return;
    send_soon(trunk);
    /* The server's settings may allow more, and it may have said that it leaves. */
    pool_serve_waiting(trunk->pool);
}

void trunk_take_over(struct upstream *up)
{
    struct upstream_pool *pool = up->pool;
    struct trunk *trunk = memory_new(sizeof(*trunk));
    loop_remove(pool->owner->loop, &up->watch);
    up->watch.fd = -1;
    stream_move(&trunk->stream, &up->stream);
    trunk->pool = pool;
    trunk->watch = (struct watch){.fd = trunk->stream.fd, .on_event = on_event};
    trunk->timer.on_time = on_time;
    trunk->put_off.run = send_all;
    list_init(&trunk->put_off.link);
    list_init(&trunk->carried);
    buffer_init(&trunk->out, WRITE_BYTES);
    trunk->h2 = h2_client_new(on_news);
    list_push_back(&pool->trunks, &trunk->link);
    trunk->made_us = trunk->heard_us = now_us(trunk);
    trunk->patience_us = PING_US;
    trunk->settling = true;
    pool->objects++;
    pool->reaching++;
    pool->has_spoken_h2 = true;
    pool->trunks_idle++; /* until it is joined */
    pool->owner->figures.idle++;
    loop_add(pool->owner->loop, &trunk->watch);
    loop_again(pool->owner->loop, &trunk->watch, LOOP_READ); /* TLS may have read on */
    trunk_join(trunk, up);
}
