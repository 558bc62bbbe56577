/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/foresight.h"

#include "gateway/admin_inside.h"
#include "gateway/base/memory.h"
#include "gateway/reserve.h"
#include "gateway/service_state.h"
#include "gateway/worker_inside.h"

enum { ARENA_BYTES = 8 * 1024 };

/* On its own: what it borrows of the exchange and the directory is copied. */
struct foresight {
    struct arena arena;
    struct reservation reservation; /* root and uses */
    struct limit_peek *peeks;
    struct json_write json; /* how far the answer is */
    bool refused;
};

/* ------------------------------------------------------------------------------- copying */

static void copy_use(struct foresight *foresight, const struct use *from, struct use *to)
{
    struct limit *limit = arena_new(&foresight->arena, sizeof(*limit));
    *limit = *from->limit; /* its zone is for the life of the process */
    limit->model = arena_copy(&foresight->arena, from->limit->model);
    *to = (struct use){.limit = limit,
                       .counter = arena_copy(&foresight->arena, from->counter),
                       .want = from->want,
                       .least = from->least};
}

static struct foresight *foresight_new(const struct reservation *from)
{
    struct foresight *foresight = memory_new(sizeof(*foresight));
    size_t count = from->use_count;
    arena_init(&foresight->arena, ARENA_BYTES);
    struct use *uses = arena_new(&foresight->arena, (count + 1) * sizeof(*uses));
    for (size_t i = 0; i < count; i++)
        copy_use(foresight, &from->uses[i], &uses[i]);
    foresight->reservation = (struct reservation){
        .root = arena_copy(&foresight->arena, from->root), .uses = uses, .use_count = count};
    foresight->peeks = arena_new(&foresight->arena, (count + 1) * sizeof(*foresight->peeks));
    return foresight;
}

void foresight_done(struct admin_call *call)
{
    struct foresight *foresight = call->foresight;
    if (!foresight)
        return;
    call->foresight = NULL;
    arena_done(&foresight->arena);
    memory_free(foresight);
}

/* ------------------------------------------------------------------------------- reckoning */

/* Money is held of all budgets alike: the least that one of them has, and at least what is of use.
 */
struct money {
    int64_t room, least;
};

static bool shares_money(const struct use *use)
{
    return use->limit->kind == LIMIT_MONEY && use->least < use->want;
}

static struct money money_of(const struct foresight *foresight)
{
    struct money money = {INT64_MAX, 0};
    for (size_t i = 0; i < foresight->reservation.use_count; i++) {
        const struct use *use = &foresight->reservation.uses[i];
        const struct limit_peek *peek = &foresight->peeks[i];
        if (!shares_money(use) || use->limit->exceeded != EXCEEDED_REJECT)
            continue;
        money.room = peek->left < money.room ? peek->left : money.room;
        money.least = use->least > money.least ? use->least : money.least;
    }
    return money;
}

static bool is_let_in(const struct use *use, const struct limit_peek *peek, struct money money)
{
    bool hard = use->limit->exceeded == EXCEEDED_REJECT;
    return peek->wait_us == 0 && !(hard && shares_money(use) && peek->left < money.least);
}

static int64_t reserves(const struct use *use, const struct limit_peek *peek, struct money money)
{
    int64_t room = shares_money(use) ? money.room : use->least < use->want ? peek->left : INT64_MAX;
    int64_t held = use->want < room ? use->want : room;
    return held >= use->least ? held : use->want;
}

/* The one that would refuse it for the longest time, or the count of them: none. */
static size_t refuser(const struct foresight *foresight, struct money money)
{
    const struct reservation *r = &foresight->reservation;
    size_t found = r->use_count;
    for (size_t i = 0; i < r->use_count; i++)
        if (foresight->peeks[i].known && !is_let_in(&r->uses[i], &foresight->peeks[i], money) &&
            (found == r->use_count ||
             foresight->peeks[i].wait_us > foresight->peeks[found].wait_us))
            found = i;
    return found;
}

/* -------------------------------------------------------------------------------- writing */

static void write_limit(struct json_write *json, const struct use *use,
                        const struct limit_peek *peek, struct money money)
{
    static const char *const exceeded[] = {
        [EXCEEDED_REJECT] = "reject", [EXCEEDED_DEGRADE] = "degrade", [EXCEEDED_WARN] = "warn"};
    char name[48];
    limit_name_write(use->limit, name);
    json_open(json, '{');
    json_text_member(json, "id", use->counter);
    json_text_member(json, "limit", text_of(name));
    json_text_member(json, "model", use->limit->model);
    json_text_member(json, "unit", text_of(admin_limit_unit(use->limit->kind)));
    json_text_member(json, "exceeded", text_of(exceeded[use->limit->exceeded]));
    json_int_member(json, "amount", use->limit->amount);
    json_int_member(json, "reserves", reserves(use, peek, money));
    json_name(json, "left");
    if (peek->known)
        json_int(json, peek->left);
    else
        json_null(json);
    json_name(json, "admitted");
    if (peek->known)
        json_bool(json, is_let_in(use, peek, money));
    else
        json_null(json);
    json_close(json, '}');
}

static void write_refusal(struct foresight *foresight, size_t refused)
{
    struct json_write *json = &foresight->json;
    struct reservation *r = &foresight->reservation;
    struct fault fault = {.kind = FAULT_NONE};
    r->refused = refused;
    r->retry_after_us = foresight->peeks[refused].wait_us;
    if (r->retry_after_us == 0) /* another budget leaves it too little */
        r->retry_after_us = foresight->peeks[refused].reset_us;
    reserve_say_refused(r, &foresight->arena, &fault);
    const struct fault_rule *rule = fault_rule(fault.kind);
    json_name(json, "refused");
    json_open(json, '{');
    json_int_member(json, "status", rule->status);
    json_text_member(json, "fault", text_of(rule->name));
    json_text_member(json, "message", text_of(fault.text));
    json_close(json, '}');
}

void foresight_close(struct admin_call *call, struct json_write *json)
{
    json_close(json, '}');
    admin_done(call, json);
}

static void write_end(struct admin_call *call)
{
    struct foresight *foresight = call->foresight;
    struct json_write *json = &foresight->json;
    const struct reservation *r = &foresight->reservation;
    struct money money = money_of(foresight);
    json_name(json, "limits");
    json_open(json, '[');
    for (size_t i = 0; i < r->use_count; i++)
        write_limit(json, &r->uses[i], &foresight->peeks[i], money);
    json_close(json, ']');
    size_t refused = refuser(foresight, money);
    if (refused < r->use_count && !foresight->refused)
        write_refusal(foresight, refused);
    foresight_close(call, json);
    foresight_done(call);
}

void foresight_add(struct exchange *x, struct admin_call *call, const struct json_write *json,
                   bool refused)
{
    struct limits *limits = x->worker->options.limits;
    struct json_write end = *json;
    if (!reserve_imagine(x)) {
        foresight_close(call, &end);
        return;
    }
    struct foresight *foresight = foresight_new(&x->reservation);
    foresight->json = end;
    foresight->refused = refused;
    limits_peek(limits, &foresight->reservation, foresight->peeks);
    call->foresight = foresight;
    if (!x->worker->options.start->store.is_redis || x->reservation.use_count == 0)
        write_end(call);
}

void foresight_finish(struct service *service, struct admin_call *call)
{
    struct foresight *foresight = call->foresight;
    /* What cannot be asked is not known. */
    (void)limits_peek_all(service->limits, service->ledger, &foresight->reservation,
                          foresight->peeks);
    write_end(call);
}
