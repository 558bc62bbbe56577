/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/counting.h"

#include <pthread.h>
#include <signal.h>

#include "gateway/crossing.h"
#include "gateway/pages.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"
#include "policy/tokenizer.h"

enum { ANSWER_BYTES = 1024 };

/* The model of the first target: the others' count about the same. */
static struct text model_here(const struct exchange *x)
{
    const struct route *route = x->route;
    for (size_t i = 0; route && i < route->target_count; i++)
        if (!route->targets[i].off)
            return route->targets[i].model;
    return x->call.model;
}

bool counting_answer(struct exchange *x)
{
    const struct translator *words = translator_find(x->match.dialect, OPERATION_COUNT);
    struct estimate_facts facts;
    if (!words)
        return fault_set(&x->fault, FAULT_UNSUPPORTED, "Tokens cannot be counted for this model.");
    if (!crossing_read(x, words))
        return false;
    reserve_facts(x, &facts);
    int64_t tokens =
        estimate_count(x->worker->options.estimates, model_here(x), buffer_text(&x->body), &facts);
    buffer_done(&x->held);
    buffer_init(&x->held, ANSWER_BYTES);
    translate_put_count(words, tokens, &x->held);
    x->fault = (struct fault){0};
    pages_finish(x, TEXT("x-sluice-estimated: true\r\n"));
    return true;
}

static void *prepare(void *set)
{
    uintptr_t wanted = (uintptr_t)set;
    for (int i = 0; i < TOKENIZERS; i++)
        if (wanted >> i & 1)
            tokenizer_prepare((enum tokenizer)i);
    return NULL;
}

void counting_prepare(const struct config *config)
{
    uintptr_t wanted = 0;
    for (size_t i = 0; i < config->target_count; i++)
        wanted |= (uintptr_t)1 << tokenizer_of(config->targets[i].model);
    wanted &= ~((uintptr_t)1 << TOKENIZER_NONE);
    pthread_t thread;
    sigset_t all, before;
    if (!wanted)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* Without a thread the first count waits for it. */
    if (pthread_create(&thread, NULL, prepare, (void *)wanted) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
