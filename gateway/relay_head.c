/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/answer.h"
#include "gateway/aside.h"
#include "gateway/base/clock.h"
#include "gateway/choosing.h"
#include "gateway/crossing.h"
#include "gateway/guarding.h"
#include "gateway/objects.h"
#include "gateway/realtime.h"
#include "gateway/relay_inner.h"
#include "gateway/replay.h"
#include "gateway/reserve.h"
#include "gateway/resume.h"
#include "gateway/retry_after.h"
#include "gateway/tries.h"
#include "gateway/waits.h"
#include "gateway/worker_inside.h"
#include "providers/refusal.h"

enum {
    EVENT_IMAGE_MAX = 32 * 1024 * 1024, /* events of images have the image in them */
    TRANSLATED_MAX = 64 * 1024 * 1024,  /* an answer that is translated as a whole */
    TYPE_MAX = 1024,                    /* of a Content-Type */
};

static bool is_retry_status(const struct exchange *x, unsigned status)
{
    const uint16_t *statuses = x->target->provider->retry_statuses;
    for (size_t i = 0; i < 16 && statuses[i]; i++)
        if (statuses[i] == status)
            return true;
    return false;
}

static bool is_busy(unsigned status)
{
    return status == 429 || status == 529;
}

enum fault_kind relay_refusal(unsigned status)
{
    return is_busy(status)     ? FAULT_TARGET_BUSY
           : status / 100 == 5 ? FAULT_TARGET_ERROR
                               : FAULT_TARGET_REFUSED;
}

/* A refusal whose head says all that matters: whether to try again, and when. What says too many
 * calls and not for how long may say it in its body. */
static bool is_turned_away_at_once(struct exchange *x, unsigned status)
{
    bool busy = is_busy(status);
    return is_retry_status(x, status) && (!busy || x->retry_after_us > 0) &&
           tries_claim(x, busy ? FAULT_TARGET_BUSY : FAULT_TARGET_ERROR, status);
}

bool relay_is_turned_away(struct exchange *x)
{
    if (replay_reads(x))
        return false;
    struct provider_error error = {.kind = FAULT_TARGET_ERROR};
    struct text body = text_head(x->whole, RELAY_ERROR_BYTES);
    if (crossing_is_on(x))
        translate_error(x->target_words, x->status, body, &error);
    else
        relay_dialect(x)->read_error(x->status, body, &error);
    if (!x->retry_after_us && error.retry_ms > 0)
        x->retry_after_us = error.retry_ms * 1000;
    if (!x->retry_after_us && is_busy(x->status))
        x->retry_after_us = refusal_wait_ms(body) * 1000;
    bool ours = x->status == 401 || x->status == 402 || x->status == 403; /* another has a key */
    bool claimed = is_retry_status(x, x->status) || (ours && fault_rule(error.kind)->may_retry)
                       ? tries_claim(x, error.kind, x->status)
                       : tries_claim_refusal(x, refusal_read(x->status, body));
    if (claimed)
        relay_fail(x, error.kind, error.message);
    return claimed;
}

/* What is made or continued belongs to an account: those calls go up with its first key. So do
 * responses, whose encrypted reasoning opens in the account that made it only - unless nothing is
 * kept and the conversation has a name: then that one stays with one of them. */
static bool may_turn(const struct exchange *x)
{
    enum operation operation = x->call.operation;
    return operation != OPERATION_FILE && operation != OPERATION_BATCH &&
           operation != OPERATION_OBJECT && operation != OPERATION_RESPONSE && !x->pinned &&
           !x->file_count;
}

static bool is_of_one_account(const struct exchange *x)
{
    return x->call.operation == OPERATION_RESPONSE && x->affinity && !x->store && !x->pinned &&
           !x->object_id.len && !x->file_count && !crossing_is_on(x);
}

void relay_choose_key(struct exchange *x)
{
    const struct provider_settings *provider = x->target->provider;
    x->provider_key = provider->api_key;
    if (provider->api_key_count < 2)
        return;
    /* Prompts that begin alike are cached by account, too. */
    unsigned turn = x->affinity ? key_ring_place(provider, x->affinity)
                                : x->snapshot->turns[provider - x->snapshot->config->providers]++;
    if (is_of_one_account(x))
        x->provider_key = provider->api_keys[turn];
    else if (may_turn(x))
        x->provider_key =
            key_ring_choose(&x->worker->key_rests, provider, turn, loop_now_us(x->worker->loop));
}

/* AWS says of keys that are good no more what is wrong with them. */
static bool is_over(const struct head *head)
{
    struct text type = head_value(head, TEXT("x-amzn-errortype"));
    return head->status == 403 && (text_starts(type, TEXT("ExpiredToken")) ||
                                   text_starts(type, TEXT("UnrecognizedClient")));
}

/* A key that is at its limit, or opens nothing, rests; may another one of the same provider be
 * tried at once? */
static bool has_other_key(struct exchange *x, const struct head *head)
{
    const struct provider_settings *provider = x->target->provider;
    struct sign_in *sign_in = snapshot_sign_in(x->snapshot, provider);
    uint64_t now = loop_now_us(x->worker->loop);
    if (sign_in && (head->status == 401 || is_over(head)))
        sign_in_doubt(sign_in);
    if (provider->api_key_count < 2 || !may_turn(x) ||
        !key_ring_refused(&x->worker->key_rests, x->provider_key, head, now))
        return false;
    return !x->head_sent && !x->upload && x->relay != RELAY_TUNNEL && !x->facts.client_gone &&
           ++x->keys_tried < provider->api_key_count &&
           key_ring_has_one(&x->worker->key_rests, provider, now);
}

bool relay_is_json(struct text type)
{
    return text_starts_nocase(type, TEXT("application/json"));
}

static void choose_mode(struct exchange *x, const struct head *head)
{
    bool coded = head_value(head, TEXT("content-encoding")).len > 0 &&
                 !text_equal_nocase(head_value(head, TEXT("content-encoding")), TEXT("identity"));
    x->length_out = head->content_length;
    x->unwatched = coded;
    x->held_limit = RELAY_WHOLE_MAX;
    if (crossing_is_on(x)) {
        x->relay = relay_is_good(x) && x->call.stream ? RELAY_EVENTS : RELAY_WHOLE;
        x->held_limit = TRANSLATED_MAX;
        x->length_out = x->relay == RELAY_EVENTS ? -1 : x->length_out;
        if (relay_is_good(x))
            crossing_begin(x, x->answer_type);
        x->answer_type =
            x->relay == RELAY_EVENTS ? crossing_stream_type(x) : TEXT("application/json");
    } else if (head->status == 101) {
        x->relay = RELAY_TUNNEL;
        x->length_out = 0;
    } else if (objects_narrows(x) && relay_is_good(x)) {
        x->relay = RELAY_WHOLE;
        x->held_limit = RELAY_LIST_MAX;
    } else if (text_starts_nocase(x->answer_type, TEXT("text/event-stream")) ||
               (relay_dialect(x)->next_event && crossing_is_stream(x->answer_type))) {
        x->relay = RELAY_EVENTS;
        x->length_out = -1;
        bool pictures =
            x->call.operation == OPERATION_IMAGE || x->call.operation == OPERATION_RESPONSE;
        x->held_limit = pictures ? EVENT_IMAGE_MAX : RELAY_EVENT_MAX;
    } else if (relay_is_good(x) && !coded && guarding_watches(x)) {
        x->relay = RELAY_WHOLE; /* looked at as a whole */
        x->held_limit = RELAY_LIST_MAX;
    } else if (head->content_length <= RELAY_WHOLE_MAX && !coded) {
        x->relay = RELAY_WHOLE;
    } else {
        x->relay = RELAY_PIECES;
    }
    buffer_init(&x->held, x->held_limit);
}

void relay_fail(struct exchange *x, enum fault_kind kind, const char *words)
{
    fault_set(exchange_fault(x), kind, "%s", words);
    x->facts.upstream = UPSTREAM_FAILED;
}

static void watch_head(struct exchange *x, const struct head *head)
{
    const struct dialect *dialect = relay_dialect(x);
    if (!relay_is_good(x) || x->translation || !dialect || !dialect->watch_field)
        return;
    for (size_t i = 0; i < head->field_count; i++)
        dialect->watch_field(&x->answer, head->fields[i].name, head->fields[i].value);
}

static bool goes_on_well(const struct exchange *x, const struct head *head)
{
    struct text type = head_value(head, TEXT("content-type"));
    return head->status == 200 &&
           (x->target_words ? crossing_is_stream(type)
                            : text_starts_nocase(type, TEXT("text/event-stream")));
}

/* Has its server no such call? One of the type's maker has, and a 404 of it is about the model; and
 * what a response builds on only its own server can count. */
static bool does_not_count(const struct exchange *x, unsigned status)
{
    const struct provider_settings *provider = x->target->provider;
    bool is_makers_own =
        provider->base_url && text_equal(text_of(provider->base_url), provider->type->base_url);
    return x->object_id.len == 0 &&
           (status == 405 || status == 501 || (status == 404 && !is_makers_own));
}

/* What the head alone decides: an answer that is none for this call. True when it has ended. */
static bool is_no_answer(struct exchange *x, const struct head *head)
{
    if (head->status / 100 == 3)
        relay_fail(x, FAULT_TARGET_INVALID,
                   "The target answered with a redirect, which is not followed.");
    else if (x->resume.goes_on && !goes_on_well(x, head))
        relay_fail(x, FAULT_TARGET_REFUSED,
                   "The target does not go on with an answer that is begun.");
    else if (x->call.operation == OPERATION_COUNT && does_not_count(x, head->status))
        relay_fail(x, FAULT_UNSUPPORTED, "The target does not count tokens.");
    else if (!relay_is_good(x) && is_turned_away_at_once(x, head->status))
        relay_fail(x, is_busy(head->status) ? FAULT_TARGET_BUSY : FAULT_TARGET_ERROR,
                   "The target refused the call for now.");
    else if (head->status == 101 && !realtime_accepts(x, head))
        relay_fail(x, FAULT_TARGET_INVALID, "The target answered the WebSocket handshake wrongly.");
    else
        return false;
    upstream_abandon(&x->upstream);
    exchange_run(x);
    return true;
}

void relay_on_head(struct upstream_call *call, const struct head *head)
{
    struct exchange *x = LIST_MEMBER(call, struct exchange, upstream);
    if (head->status / 100 == 4 && has_other_key(x, head)) {
        upstream_abandon(call);
        x->was_sent = false;
        relay_begin(x);
        return;
    }
    if (x->aside && head->status / 100 != 2) { /* the other one is still there */
        upstream_abandon(call);
        x->retry_after_us = retry_after_us(head, clock_wall_us());
        relay_fail(x, relay_refusal(head->status), "The target refused the call.");
        exchange_run(x);
        return;
    }
    aside_cancel(x);
    x->answered_us = x->idle_since_us = loop_now_us(x->worker->loop);
    if (head->status != 200 || !waits_for_first_token(x))
        x->first_byte_by_us = 0;
    x->was_sent = head->status / 100 <= 2; /* nobody counts what he refuses */
    choosing_head(x, head);
    x->status = head->status;
    x->retry_after_us = relay_is_good(x) ? 0 : retry_after_us(head, clock_wall_us());
    if (is_no_answer(x, head))
        return;
    struct text type = head_value(head, TEXT("content-type"));
    bool good_type = type.at && type.len <= TYPE_MAX;
    x->answer_type = good_type ? arena_copy(&x->arena, type) : (struct text){"", 0};
    relay_lend_id(x);
    x->answer.operation = x->call.operation;
    x->answer.owns = x->call.operation == OPERATION_RESPONSE && x->store;
    if (x->call.operation == OPERATION_IMAGE)
        x->answer.pictures_due = reserve_pictures(x);
    choose_mode(x, head);
    watch_head(x, head);
    if (x->unwatched && relay_is_good(x) && (guarding_watches(x) || crossing_is_on(x))) {
        upstream_abandon(call);
        relay_fail(x, FAULT_TARGET_INVALID,
                   "The target's answer is coded and cannot be looked at.");
        exchange_run(x);
        return;
    }
    x->answer_head = answer_keep(x, head);
    if (x->relay == RELAY_EVENTS && !x->streams) {
        x->streams = x->call.stream = true;
        metrics_gauge(x->worker->metrics, GAUGE_STREAMS, 1);
    }
    x->facts.upstream = UPSTREAM_ANSWERING;
    if (x->relay == RELAY_EVENTS && relay_is_good(x))
        resume_watch(x);
    exchange_run(x);
    if (x->relay == RELAY_TUNNEL && x->state == EXCHANGE_RELAY)
        realtime_begin(x);
}
