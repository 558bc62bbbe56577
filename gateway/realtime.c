/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/realtime.h"

#include <stdio.h>

#include "gateway/admission.h"
#include "gateway/anonymous.h"
#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/client.h"
#include "gateway/http/websocket.h"
#include "gateway/realtime_tally.h"
#include "gateway/relay.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

enum {
    EVENT_BYTES = 1024,
    SESSION_AGAIN_US = 2000,          /* the store of limits is asked for more */
    SOON_US = 50000,                  /* it answers mostly within this */
    RESPONSE_US = 20000,              /* a response is waited for, or a store that is slow */
    WAITING_MAX_US = 100000,          /* for what is only likely to be needed */
    MESSAGE_MAX = 4 * 1024 * 1024,    /* a response.done has all that was said in it */
    WAITING_BYTES = 64 * 1024 * 1024, /* never reached: its client is not read meanwhile */
};

/* The watch of one exchange. */
struct realtime {
    struct websocket websocket; /* first: its callback gets only this */
    struct exchange *x;
    unsigned responses;
    uint64_t seen;      /* the version of the directory that the key was looked for in */
    bool is_listed;     /* the key was in it, and did not come by a token or a deployment */
    bool unbooked;      /* the ledger had no room */
    bool spent;         /* budget or tokens do not suffice for another response */
    struct timer again; /* they may not: to look again */
    /* What responses use before they have ended, and what the client says that they will read: it
     * waits until that is held. */
    struct realtime_tally tally;
    bool moved;       /* a response has used more */
    bool was_between; /* before the provider's last bytes: a frame might have followed */
    struct websocket said;
    bool is_losing; /* a message of the client's that is too long goes on */
    struct buffer waiting;
    uint64_t waiting_since_us;
    struct timer hold;
    /* More is used than is held, and the store is asked: the provider is not read until then. */
    bool is_short;
    uint64_t short_since_us;
    struct buffer tail; /* of what it has said: the frame that was not whole */
    struct timer held;
};

static bool is_over(const struct exchange *x)
{
    return x->settled || x->relay != RELAY_TUNNEL || x->facts.upstream != UPSTREAM_ANSWERING;
}

static void take_session(struct realtime *realtime, enum session_result result)
{
    realtime->spent = realtime->spent || result == SESSION_ENDS;
    if (result == SESSION_ASKS)
        timer_set(realtime->x->worker->loop, &realtime->again, clock_now_us() + SESSION_AGAIN_US);
    else
        timer_stop(&realtime->again);
}

static void on_again(struct timer *timer)
{
    struct realtime *realtime = LIST_MEMBER(timer, struct realtime, again);
    struct exchange *x = realtime->x;
    if (is_over(x))
        return;
    take_session(realtime, reserve_session_again(x));
    if (realtime->spent)
        relay_end_session(x, (struct text){"", 0});
}

/* A response, as a call of its own. */
static int64_t book(struct realtime *realtime, const struct answer *answer,
                    enum ledger_counted counted)
{
    struct exchange *x = realtime->x;
    struct ledger_row row;
    struct ledger_mark mark = {0};
    char id[48];
    admission_row(x, &row);
    snprintf(id, sizeof(id), "%s.%u", x->id, ++realtime->responses);
    row.id = text_of(id);
    row.started_us = clock_wall_us();
    row.usage = answer->usage;
    row.counted = counted;
    row.finish = text_of(answer->finish);
    row.outcome = answer->failed ? LEDGER_PARTIAL : LEDGER_COMPLETE;
    row.status = 200;
    row.cost_nanos = price_cost(&x->target->price, &row.usage);
    bool opened = ledger_open_call(x->worker->journal, &row, &mark);
    if (!ledger_settle_call(x->worker->journal, &row, &mark) || !opened)
        realtime->unbooked = true;
    metrics_call(x->worker->metrics, &row, x->route ? x->route->name : (struct text){"", 0});
    return row.cost_nanos;
}

/* It has ended, and says what it has used. */
static void book_ended(struct realtime *realtime, struct text message, const struct answer *answer)
{
    int64_t cost = book(realtime, answer, answer->usage_seen ? COUNTED_PROVIDER : COUNTED_NONE);
    realtime_tally_ended(&realtime->tally, message, answer->usage_seen ? &answer->usage : NULL);
    take_session(realtime, reserve_session(realtime->x, &answer->usage, cost));
}

/* The session ends before it did: what it has likely used is paid for all the same. */
static void book_cut(struct realtime *realtime)
{
    struct answer answer = {.operation = OPERATION_REALTIME, .failed = true};
    if (realtime->tally.open == 0)
        return;
    realtime_tally_likely(&realtime->tally, &answer.usage);
    int64_t cost = book(realtime, &answer, COUNTED_ESTIMATE);
    reserve_session_used(realtime->x, &answer.usage, cost);
    realtime->tally.open = 0;
}

static void on_message(struct websocket *websocket, struct text message)
{
    struct realtime *realtime = (struct realtime *)(void *)websocket;
    struct sse_event event = {.raw = message, .data = message, .lines = 1};
    struct answer answer = {.operation = OPERATION_REALTIME};
    enum tally_says says = realtime_tally_heard(&realtime->tally, message);
    realtime->moved = realtime->moved || says != TALLY_NOTHING;
    if (says == TALLY_ENDED &&
        realtime->x->target->provider->dialect->watch_event(&answer, &event) == EVENT_LAST)
        book_ended(realtime, message, &answer);
}

static void on_said(struct websocket *websocket, struct text message)
{
    struct realtime *realtime = LIST_MEMBER(websocket, struct realtime, said);
    realtime_tally_said(&realtime->tally, message);
}

/* What is under way; and the <next> response, which can wait until it is. */
static enum session_result hold(struct realtime *realtime, bool next)
{
    struct usage usage;
    realtime_tally_most(&realtime->tally, next, &usage);
    return reserve_session_running(realtime->x, &usage, next);
}

/* The store answers within milliseconds, or has other things to do. */
static void look_again(struct realtime *realtime, struct timer *timer, uint64_t since_us)
{
    uint64_t now = clock_now_us();
    bool soon = now - since_us < SOON_US;
    timer_set(realtime->x->worker->loop, timer, now + (soon ? SESSION_AGAIN_US : RESPONSE_US));
}

/* Is there no room for what responses have used so far? What they used may be known by now. */
static bool runs_over(struct realtime *realtime)
{
    struct exchange *x = realtime->x;
    bool moved = realtime->moved;
    realtime->moved = false;
    if (!moved || realtime->tally.open == 0)
        return false;
    enum session_result result = hold(realtime, false);
    if (result == SESSION_SHORT) {
        realtime->is_short = true;
        realtime->short_since_us = clock_now_us();
        upstream_pause(&x->upstream);
        look_again(realtime, &realtime->held, realtime->short_since_us);
    }
    return result == SESSION_ENDS;
}

/* It may end here, and must be able to say why: a frame that is not whole is kept back. */
static void keep_tail(struct realtime *realtime, struct text *bytes)
{
    const struct websocket *websocket = &realtime->websocket;
    if (websocket_is_between(websocket) || (websocket->whole == 0 && !realtime->was_between))
        return;
    if (buffer_append_text(&realtime->tail, text_from(*bytes, websocket->whole)))
        *bytes = text_head(*bytes, websocket->whole);
}

static void give_tail(struct realtime *realtime)
{
    if (buffer_length(&realtime->tail) == 0)
        return;
    relay_tunnel_give(realtime->x, buffer_text(&realtime->tail));
    buffer_done(&realtime->tail);
}

static void on_held(struct timer *timer)
{
    struct realtime *realtime = LIST_MEMBER(timer, struct realtime, held);
    struct exchange *x = realtime->x;
    if (is_over(x))
        return;
    enum session_result result = hold(realtime, false);
    if (result == SESSION_SHORT) {
        look_again(realtime, timer, realtime->short_since_us);
        return;
    }
    realtime->is_short = false;
    if (result == SESSION_ENDS) {
        relay_end_session(x, (struct text){"", 0});
        return;
    }
    give_tail(realtime);
    relay_room(x); /* it is read on, unless its client is slow */
}

bool realtime_is_short(const struct exchange *x)
{
    const struct realtime *realtime = (const struct realtime *)(const void *)x->websocket;
    return realtime && realtime->is_short;
}

/* What the client says is read by the next response, which must be paid for before it is. While
 * another one is under way it may turn out to need less. */
static void on_hold(struct timer *timer)
{
    struct realtime *realtime = LIST_MEMBER(timer, struct realtime, hold);
    struct exchange *x = realtime->x;
    uint64_t now = clock_now_us();
    if (is_over(x))
        return;
    enum session_result result = hold(realtime, true);
    if (result == SESSION_ENDS && realtime->tally.open == 0) {
        relay_end_session(x, (struct text){"", 0});
        return;
    }
    if (result == SESSION_ENDS)
        exchange_clear_fault(x);
    bool waits = result == SESSION_ASKS && now - realtime->waiting_since_us < WAITING_MAX_US;
    if (waits || result == SESSION_SHORT || result == SESSION_ENDS) {
        look_again(realtime, timer, realtime->tally.open ? 0 : realtime->waiting_since_us);
        return;
    }
    bool has_room = upstream_push(&x->upstream, buffer_text(&realtime->waiting), false);
    buffer_done(&realtime->waiting);
    if (has_room && x->client)
        client_resume(x->client);
}

/* False: they are whole messages, and none of them is anything that a response reads. */
static bool count_said(struct realtime *realtime, struct text bytes)
{
    const struct realtime_tally *tally = &realtime->tally;
    int64_t said_bytes = tally->said_bytes, said_chars = tally->said_chars;
    bool was_between = websocket_is_between(&realtime->said);
    websocket_feed(&realtime->said, bytes);
    if (realtime->said.lost > 0) {
        realtime_tally_unread(&realtime->tally, (int64_t)realtime->said.lost, realtime->is_losing);
        realtime->is_losing = true;
    }
    realtime->is_losing = realtime->is_losing && !websocket_is_between(&realtime->said);
    realtime->said.lost = 0;
    return !was_between || !websocket_is_between(&realtime->said) ||
           tally->said_bytes != said_bytes || tally->said_chars != said_chars;
}

bool realtime_up(struct exchange *x, struct text bytes)
{
    struct realtime *realtime = (struct realtime *)(void *)x->websocket;
    if (!realtime)
        return upstream_push(&x->upstream, bytes, false);
    bool is_read = count_said(realtime, bytes), waits = buffer_length(&realtime->waiting) > 0;
    bool is_limited = x->reservation.live && x->reservation.use_count > 0;
    enum session_result result = SESSION_HELD;
    if (waits || (is_read && is_limited))
        result = waits ? SESSION_SHORT : hold(realtime, true);
    if (result == SESSION_HELD)
        return upstream_push(&x->upstream, bytes, false);
    if (result == SESSION_ENDS) /* it is tried once more, where it may end */
        exchange_clear_fault(x);
    buffer_append_text(&realtime->waiting, bytes);
    if (!waits) {
        realtime->waiting_since_us = clock_now_us();
        timer_set(x->worker->loop, &realtime->hold, realtime->waiting_since_us);
    }
    return false;
}

/* May whoever opened the session still call? A session has no end of its own. */
static bool opens_still(const struct realtime *realtime, const struct directory *directory)
{
    const struct key *mine = realtime->x->key, *key;
    const struct tenant *tenant = directory_find_tenant(directory, mine->tenant->name);
    struct digest secrets[KEY_SECRETS_MAX];
    if (mine == realtime->x->snapshot->config->anonymous_key)
        return anonymous_key(realtime->x->worker->now->config, directory) != NULL;
    if (!realtime->is_listed) {
        bool is_on = tenant && (!mine->expires_us || mine->expires_us > clock_wall_us());
        for (; tenant; tenant = tenant->parent)
            is_on = is_on && !tenant->is_off;
        return is_on;
    }
    size_t count = directory_find_secrets(directory, mine->tenant->name, mine->name,
                                          clock_wall_us(), secrets, &key);
    for (size_t i = 0; i < count; i++)
        if (hash_same(&secrets[i], &mine->digest))
            return true;
    return false;
}

/* When keys have changed, and at the end of each response, for they end by themselves, too. */
static bool check_key(struct realtime *realtime)
{
    const struct directory *directory = realtime->x->worker->now->directory;
    realtime->seen = directory_version(directory);
    return opens_still(realtime, directory) ||
           fault_set(exchange_fault(realtime->x), FAULT_BAD_KEY,
                     "The key of this session is not valid any more.");
}

bool realtime_accepts(const struct exchange *x, const struct head *head)
{
    char accept[29];
    websocket_accept(x->seeking->websocket_key, accept);
    return text_equal(head_value(head, TEXT("sec-websocket-accept")), text_of(accept)) &&
           text_equal_nocase(head_value(head, TEXT("upgrade")), TEXT("websocket"));
}

void realtime_begin(struct exchange *x)
{
    struct realtime *realtime = memory_new(sizeof(*realtime));
    const struct directory *directory = x->snapshot->directory;
    struct digest secrets[KEY_SECRETS_MAX];
    const struct key *key;
    realtime->x = x;
    realtime->is_listed = directory_find_secrets(directory, x->key->tenant->name, x->key->name,
                                                 x->started_wall_us, secrets, &key) > 0;
    realtime->seen = directory_version(directory);
    websocket_init(&realtime->websocket, MESSAGE_MAX);
    realtime->websocket.on_message = on_message;
    realtime->again.on_time = on_again;
    realtime->hold.on_time = on_hold;
    realtime->held.on_time = on_held;
    websocket_init(&realtime->said, MESSAGE_MAX);
    realtime->said.on_message = on_said;
    buffer_init(&realtime->waiting, WAITING_BYTES);
    buffer_init(&realtime->tail, UPSTREAM_READ_MAX);
    realtime_tally_init(&realtime->tally, x->route ? route_context(x->route) : 0);
    x->websocket = &realtime->websocket;
    relay_tunnel_begin(x);
}

bool realtime_down(struct exchange *x, struct text *bytes)
{
    struct realtime *realtime = (struct realtime *)(void *)x->websocket;
    if (!realtime)
        return true;
    unsigned before = realtime->responses;
    realtime->was_between = websocket_is_between(x->websocket);
    if (!websocket_feed(x->websocket, *bytes))
        return fault_set(exchange_fault(x), FAULT_TARGET_INVALID,
                         "The target broke the WebSocket.");
    if (realtime->unbooked)
        return fault_set(exchange_fault(x), FAULT_LEDGER_FULL, "The disk of the ledger is full.");
    bool changed = realtime->seen != directory_version(x->worker->now->directory);
    if (realtime->spent || runs_over(realtime) ||
        ((changed || realtime->responses != before) && !check_key(realtime)))
        return false;
    if (realtime->is_short)
        keep_tail(realtime, bytes);
    return true;
}

void realtime_say_fault(struct exchange *x, struct buffer *out)
{
    unsigned char head[10];
    struct buffer words;
    buffer_init(&words, EVENT_BYTES);
    buffer_format(
        &words, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"code\":\"%s\",\"message\":",
        fault_rule(exchange_why(x)->kind)->type,
        fault_rule(exchange_why(x)->kind)->code ? fault_rule(exchange_why(x)->kind)->code : "");
    json_write_string(&words, text_of(exchange_why(x)->text));
    buffer_append_text(&words, TEXT("}}"));
    buffer_append(out, head, websocket_text_head(buffer_length(&words), head));
    buffer_append_text(out, buffer_text(&words));
    buffer_append_text(out, TEXT("\x88\x02\x03\xf0")); /* Close, 1008: policy violation */
    buffer_done(&words);
}

bool realtime_cut(const struct exchange *x, struct text *bytes)
{
    const struct realtime *realtime = (const struct realtime *)(const void *)x->websocket;
    if (!realtime || x->websocket->broken)
        return false;
    bool is_kept = bytes->len == 0 && buffer_length(&realtime->tail) > 0;
    if (websocket_is_between(x->websocket) || is_kept)
        return true;
    if (bytes->len == 0 || (x->websocket->whole == 0 && !realtime->was_between))
        return false;
    *bytes = text_head(*bytes, x->websocket->whole);
    return true;
}

void realtime_end(struct exchange *x)
{
    struct realtime *realtime = (struct realtime *)(void *)x->websocket;
    if (realtime)
        book_cut(realtime);
    /* The session itself used nothing that its responses have not booked. */
    if (x->call.operation == OPERATION_REALTIME)
        x->answer.usage_seen = false;
}

void realtime_forget(struct exchange *x)
{
    struct realtime *realtime = (struct realtime *)(void *)x->websocket;
    if (!realtime)
        return;
    timer_stop(&realtime->again);
    timer_stop(&realtime->hold);
    timer_stop(&realtime->held);
    websocket_done(&realtime->said);
    buffer_done(&realtime->waiting);
    buffer_done(&realtime->tail);
    websocket_done(x->websocket);
    memory_free(x->websocket);
    x->websocket = NULL;
}
