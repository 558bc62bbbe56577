/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns what was made through us: questions from the workers, answered by the keeper. */
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "policy/keeper.h"

enum { QUESTIONS_MAX = 4096, CATCH_UP_US = 5 * 1000000 };

static void copy_text(char out[OWNER_TEXT_BYTES], struct text text)
{
    text = text_head(text, OWNER_TEXT_BYTES - 1);
    memcpy(out, text.at, text.len);
    out[text.len] = '\0';
}

void owner_set(struct owner *owner, struct text tenant, struct text target, struct text model)
{
    owner->found = true;
    copy_text(owner->tenant, tenant);
    copy_text(owner->target, target);
    copy_text(owner->model, model);
}

void owner_set_facts(char *facts, struct text text)
{
    text = text_head(text, OBJECT_FACTS_BYTES);
    memcpy(facts, text.at, text.len);
    facts[text.len] = '\0';
}

void ledger_ask_owners(struct ledger *ledger, struct owner_question *question)
{
    question->next = NULL;
    question->failed = false;
    pthread_mutex_lock(&ledger->asking);
    /* Beyond the limit nothing is looked up: the keeper just says so. */
    if (++ledger->question_count > QUESTIONS_MAX)
        question->failed = true;
    *ledger->questions_end = question;
    ledger->questions_end = &question->next;
    pthread_mutex_unlock(&ledger->asking);
    sleeper_tell(&ledger->keeper);
}

static struct owner_question *take_questions(struct ledger *ledger)
{
    pthread_mutex_lock(&ledger->asking);
    struct owner_question *questions = ledger->questions;
    ledger->questions = NULL;
    ledger->questions_end = &ledger->questions;
    ledger->question_count = 0;
    pthread_mutex_unlock(&ledger->asking);
    return questions;
}

/* Drain what was there when we were called, also what dead processes left. False when that was not
 * possible in time: then "not found" would not be the truth. */
static bool catch_up(struct ledger *ledger)
{
    uint64_t end_us = clock_now_us() + CATCH_UP_US;
    enum drained result;
    while ((result = drain_round(ledger)) == DRAINED_SOME)
        if (clock_now_us() > end_us)
            return false;
    for (int tries = 0;
         result != DRAIN_FAILED && !ledger->estate_done && clock_now_us() < end_us;) {
        result = estate_round(ledger);
        if (result != DRAIN_WAITS)
            continue;
        if (++tries > ESTATE_TRIES)
            return false;
        usleep(ESTATE_WAIT_US);
    }
    return result != DRAIN_FAILED && ledger->estate_done;
}

static void find_owners(struct ledger *ledger, struct owner_question *question, bool caught_up)
{
    if (question->facts)
        question->facts[0] = '\0';
    for (size_t i = 0; i < question->count; i++) {
        struct owner *owner = &question->owners[i];
        owner->found = false;
        if (question->failed)
            continue;
        if (!book_find_owner(ledger->book, owner, i == 0 ? question->facts : NULL) ||
            (!owner->found && !caught_up))
            question->failed = true;
    }
}

void answer_questions(struct ledger *ledger)
{
    struct owner_question *questions = take_questions(ledger);
    if (!questions)
        return;
    atomic_fetch_add(&ledger->waiting, 1);
    pthread_mutex_lock(&ledger->draining);
    bool caught_up = ledger->book && catch_up(ledger);
    for (struct owner_question *question = questions; question; question = question->next) {
        question->failed = question->failed || !ledger->book;
        find_owners(ledger, question, caught_up);
    }
    pthread_mutex_unlock(&ledger->draining);
    atomic_fetch_sub(&ledger->waiting, 1);
    for (struct owner_question *next; questions; questions = next) {
        next = questions->next; /* it is not ours any more when it was answered */
        questions->answer(questions);
    }
}
