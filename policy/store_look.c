/* SPDX-License-Identifier: Apache-2.0 */
/* What all nodes have of counters, for people to see: read from the store, nothing is changed. */
#include <stdio.h>
#include <string.h>

#include "policy/inquiry.h"
#include "policy/keeper.h"
#include "policy/meter_inside.h"
#include "policy/store_inside.h"

enum { ME_BYTES = STORE_NODE_BYTES + 16 };

struct looking {
    struct inquiry inquiry;
    struct shared *shared;
    struct counter_view *views;
    size_t count, asked;
};

static bool ask_next(struct looking *looking)
{
    struct words *words = &looking->inquiry.words;
    const struct counter_view *view = &looking->views[looking->asked];
    words_begin(words);
    words_add(words, TEXT("HGETALL"));
    shared_key(looking->shared, words, view->root, view->counter);
    struct inquiry_about about = {.number = (int64_t)looking->asked++};
    return inquiry_send(&looking->inquiry, about);
}

static bool go_on(struct inquiry *inquiry)
{
    struct looking *looking = LIST_MEMBER(inquiry, struct looking, inquiry);
    while (looking->asked < looking->count && inquiry->under_way < INQUIRY_WINDOW)
        if (!ask_next(looking))
            return false;
    return true;
}

/* Does what stands in slot <number> count now? */
static bool is_now(const struct counter_view *view, int64_t number)
{
    if (view->limit.period == PERIOD_ROLLING)
        return number >= view->slot - METER_SLOTS;
    return number == view->slot;
}

/* "<slot>" is what all have claimed in it, "<slot>/<node>.<generation>" a node's part (store.lua).
 * Of our own part we know better what is used of it. */
static void take(struct inquiry *inquiry, struct inquiry_about about,
                 const struct redis_reply *reply)
{
    struct looking *looking = LIST_MEMBER(inquiry, struct looking, inquiry);
    struct counter_view *view = &looking->views[about.number];
    char me[ME_BYTES];
    int64_t all = 0, ours = 0;
    snprintf(me, sizeof(me), "%s.%s", looking->shared->node, looking->shared->generation);
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
        struct text field = redis_text(redis_item(reply, i));
        size_t slash = text_find_byte(field, '/');
        uint64_t number;
        if (!text_number(text_head(field, slash), INT64_MAX, &number) ||
            !is_now(view, (int64_t)number))
            continue;
        int64_t claimed = redis_number(redis_item(reply, i + 1));
        if (slash == SIZE_MAX)
            all = add_capped(all, claimed);
        else if (text_equal(text_from(field, slash + 1), text_of(me)))
            ours = add_capped(ours, claimed);
    }
    int64_t others = all > ours ? all - ours : 0;
    view->used = add_capped(view->used, others);
    view->is_all = true;
}

bool limits_look(struct limits *limits, struct ledger *ledger, struct counter_view *views,
                 size_t count)
{
    struct shared *shared = limits_shared(limits);
    if (!shared || !ledger->forward || count == 0)
        return false;
    struct looking *looking = memory_new(sizeof(*looking));
    looking->inquiry =
        (struct inquiry){.forward = ledger->forward, .begin = go_on, .take = take, .go_on = go_on};
    looking->shared = shared;
    looking->views = views;
    looking->count = count;
    bool good = inquiry_run(&looking->inquiry);
    inquiry_done(&looking->inquiry);
    memory_free(looking);
    return good;
}

/* With what others have of it there may be too little left. */
static void peek_take(const struct use *use, const struct counter_view *view,
                      struct limit_peek *peek)
{
    const struct limit *limit = use->limit;
    int64_t least = use->least < use->want ? use->least : use->want;
    peek->known = view->is_all;
    if (!view->is_all)
        return;
    peek->used = view->used;
    peek->left = limit->amount > view->used ? limit->amount - view->used : 0;
    if (limit->exceeded != EXCEEDED_REJECT || peek->left >= least || peek->wait_us > 0)
        return;
    peek->wait_us = least > limit->amount ? INT64_MAX : peek->reset_us > 0 ? peek->reset_us : 1;
}

bool limits_peek_all(struct limits *limits, struct ledger *ledger,
                     const struct reservation *reservation, struct limit_peek *peeks)
{
    size_t count = reservation->use_count;
    struct counter_view *views = memory_new((count + 1) * sizeof(*views));
    for (size_t i = 0; i < count; i++)
        views[i] = (struct counter_view){.root = reservation->root,
                                         .counter = reservation->uses[i].counter,
                                         .limit = *reservation->uses[i].limit,
                                         .used = peeks[i].used,
                                         .slot = peeks[i].slot};
    bool good = limits_look(limits, ledger, views, count);
    for (size_t i = 0; i < count; i++)
        peek_take(&reservation->uses[i], &views[i], &peeks[i]);
    memory_free(views);
    return good;
}
