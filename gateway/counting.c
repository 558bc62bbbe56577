/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/counting.h"

#include "gateway/crossing.h"
#include "gateway/pages.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

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
        return fault_set(exchange_fault(x), FAULT_UNSUPPORTED,
                         "Tokens cannot be counted for this model.");
    if (!crossing_read(x, words))
        return false;
    reserve_facts(x, &facts);
    int64_t tokens =
        estimate_count(x->worker->options.estimates, model_here(x), buffer_text(&x->body), &facts);
    buffer_done(&x->held);
    buffer_init(&x->held, ANSWER_BYTES);
    translate_put_count(words, tokens, &x->held);
    exchange_clear_fault(x);
    pages_finish(x, TEXT("x-sluice-estimated: true\r\n"));
    return true;
}
