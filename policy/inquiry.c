/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/inquiry.h"

#include <assert.h>

#include "gateway/base/clock.h"

/* Nothing of it is touched by the loop after this. */
static void finish(struct inquiry *inquiry, bool good)
{
    timer_stop(&inquiry->late);
    for (int i = 0; i < INQUIRY_WINDOW; i++)
        if (inquiry->asks[i].busy)
            redis_forget(forward_redis(inquiry->forward), &inquiry->asks[i]);
    pthread_mutex_lock(&inquiry->lock);
    inquiry->is_good = good;
    inquiry->is_done = true;
    pthread_cond_signal(&inquiry->done);
    pthread_mutex_unlock(&inquiry->lock);
}

static void on_late(struct timer *timer)
{
    finish(LIST_MEMBER(timer, struct inquiry, late), false);
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct inquiry_ask *ask = with;
    struct inquiry *inquiry = ask->inquiry;
    struct inquiry_about about = ask->about;
    ask->busy = false;
    inquiry->under_way--;
    bool good = fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST;
    if (good) {
        inquiry->take(inquiry, about, reply);
        good = inquiry->go_on(inquiry);
    }
    if (!good || inquiry->under_way == 0)
        finish(inquiry, good);
}

bool inquiry_send(struct inquiry *inquiry, struct inquiry_about about)
{
    struct inquiry_ask *ask = inquiry->asks;
    struct words *words = &inquiry->words;
    assert(inquiry->under_way < INQUIRY_WINDOW);
    while (ask->busy)
        ask++;
    *ask = (struct inquiry_ask){inquiry, false, about};
    if (!redis_send(forward_redis(inquiry->forward), words->at[1], words->at, words->count,
                    INQUIRY_WAIT_US, on_answer, ask))
        return false;
    ask->busy = true;
    inquiry->under_way++;
    return true;
}

void inquiry_words(struct inquiry *inquiry, struct text command, const char *name)
{
    struct words *words = &inquiry->words;
    words_begin(words);
    words_add(words, command);
    words_add(words, forward_key(&words->arena, forward_prefix(inquiry->forward), name));
}

static void on_begin(struct errand *errand)
{
    struct inquiry *inquiry = LIST_MEMBER(errand, struct inquiry, errand);
    inquiry->late.on_time = on_late;
    timer_set(forward_loop(inquiry->forward), &inquiry->late, clock_now_us() + INQUIRY_WAIT_US);
    if (!redis_is_up(forward_redis(inquiry->forward)) ||
        forward_ledger(inquiry->forward).len == 0 || !inquiry->begin(inquiry))
        finish(inquiry, false);
}

bool inquiry_run(struct inquiry *inquiry)
{
    words_init(&inquiry->words);
    pthread_mutex_init(&inquiry->lock, NULL);
    pthread_cond_init(&inquiry->done, NULL);
    inquiry->errand.run = on_begin;
    loop_post(forward_loop(inquiry->forward), &inquiry->errand);
    pthread_mutex_lock(&inquiry->lock);
    while (!inquiry->is_done)
        pthread_cond_wait(&inquiry->done, &inquiry->lock);
    pthread_mutex_unlock(&inquiry->lock);
    return inquiry->is_good;
}

void inquiry_done(struct inquiry *inquiry)
{
    words_done(&inquiry->words);
    pthread_cond_destroy(&inquiry->done);
    pthread_mutex_destroy(&inquiry->lock);
}

void inquiry_ledgers(struct inquiry *inquiry, const struct redis_reply *reply, const char *what,
                     struct arena *arena, struct table *ledgers)
{
    struct text own = forward_ledger(inquiry->forward);
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
        struct text name = redis_text(redis_item(reply, i));
        struct text mark = redis_text(redis_item(reply, i + 1));
        size_t slash = text_find_byte(name, '/'), space = text_find_byte(mark, ' ');
        if (slash == SIZE_MAX || space == SIZE_MAX ||
            !text_equal(text_from(name, slash + 1), text_of(what)) ||
            text_equal(text_head(name, slash), own))
            continue;
        struct text epoch = arena_copy(arena, text_head(mark, space));
        table_set(ledgers, arena_copy(arena, text_head(name, slash)), (void *)(uintptr_t)epoch.at);
    }
}
