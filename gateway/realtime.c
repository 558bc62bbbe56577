/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/realtime.h"

#include <stdio.h>

#include "gateway/admission.h"
#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/client.h"
#include "gateway/http/websocket.h"
#include "gateway/relay.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

enum {
    EVENT_BYTES = 1024,
    SESSION_AGAIN_US = 2000, /* the store of limits is asked for more */
    MESSAGE_MAX = 4 * 1024 * 1024
}; /* a response.done has all that was said in it */

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
};

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
    if (x->settled || x->relay != RELAY_TUNNEL || x->facts.upstream != UPSTREAM_ANSWERING)
        return;
    take_session(realtime, reserve_session_again(x));
    if (realtime->spent)
        relay_end_session(x, (struct text){"", 0});
}

static void book(struct realtime *realtime, const struct answer *answer)
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
    row.counted = answer->usage_seen ? COUNTED_PROVIDER : COUNTED_NONE;
    row.finish = text_of(answer->finish);
    row.outcome = answer->failed ? LEDGER_PARTIAL : LEDGER_COMPLETE;
    row.status = 200;
    row.cost_nanos = price_cost(&x->target->price, &row.usage);
    bool opened = ledger_open_call(x->worker->journal, &row, &mark);
    if (!ledger_settle_call(x->worker->journal, &row, &mark) || !opened)
        realtime->unbooked = true;
    take_session(realtime, reserve_session(x, &row.usage, row.cost_nanos));
    metrics_call(x->worker->metrics, &row, x->route ? x->route->name : (struct text){"", 0});
}

static void on_message(struct websocket *websocket, struct text message)
{
    struct realtime *realtime = (struct realtime *)(void *)websocket;
    struct sse_event event = {.raw = message, .data = message, .lines = 1};
    struct answer answer = {.operation = OPERATION_REALTIME};
    if (text_find(message, TEXT("response.done")) == SIZE_MAX)
        return;
    if (realtime->x->target->provider->dialect->watch_event(&answer, &event) == EVENT_LAST)
        book(realtime, &answer);
}

/* May whoever opened the session still call? A session has no end of its own. */
static bool opens_still(const struct realtime *realtime, const struct directory *directory)
{
    const struct key *mine = realtime->x->key, *key;
    const struct tenant *tenant = directory_find_tenant(directory, mine->tenant->name);
    struct digest secrets[KEY_SECRETS_MAX];
    if (mine == realtime->x->snapshot->config->anonymous_key)
        return realtime->x->worker->now->config->anonymous;
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
    x->websocket = &realtime->websocket;
    relay_tunnel_begin(x);
}

bool realtime_down(struct exchange *x, struct text bytes)
{
    struct realtime *realtime = (struct realtime *)(void *)x->websocket;
    if (!realtime)
        return true;
    unsigned before = realtime->responses;
    if (!websocket_feed(x->websocket, bytes))
        return fault_set(exchange_fault(x), FAULT_TARGET_INVALID,
                         "The target broke the WebSocket.");
    if (realtime->unbooked)
        return fault_set(exchange_fault(x), FAULT_LEDGER_FULL, "The disk of the ledger is full.");
    bool changed = realtime->seen != directory_version(x->worker->now->directory);
    return !realtime->spent && ((!changed && realtime->responses == before) || check_key(realtime));
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

bool realtime_is_between_frames(const struct exchange *x)
{
    return x->websocket && websocket_is_between(x->websocket);
}

void realtime_end(struct exchange *x)
{
    /* The session itself used nothing that its responses have not booked. */
    if (x->call.operation == OPERATION_REALTIME)
        x->answer.usage_seen = false;
}

void realtime_forget(struct exchange *x)
{
    if (!x->websocket)
        return;
    timer_stop(&((struct realtime *)(void *)x->websocket)->again);
    websocket_done(x->websocket);
    memory_free(x->websocket);
    x->websocket = NULL;
}
