/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/memory.h"
#include "policy/estimate_inside.h"

/* Each name has two places; who finds both taken by others takes one of them. */

enum { CALLS = 8192, PLACES = 2 };

struct near_call {
    figure name, tokens, terms[TERMS];
};

struct near {
    struct near_call calls[CALLS];
};

struct near *near_new(void)
{
    return memory_new(sizeof(struct near));
}

void near_free(struct near *near)
{
    memory_free(near);
}

static struct near_call *place_of(struct near *near, uint64_t name, size_t i)
{
    return &near->calls[(name % (CALLS / PLACES)) * PLACES + i];
}

static struct near_call *find(struct near *near, uint64_t name)
{
    for (size_t i = 0; i < PLACES; i++)
        if (figure_load(&place_of(near, name, i)->name) == name)
            return place_of(near, name, i);
    return NULL;
}

bool near_find(struct near *near, uint64_t name, double terms[TERMS], double *tokens)
{
    struct near_call *call = find(near, name);
    if (!call)
        return false;
    for (size_t i = 0; i < TERMS; i++)
        terms[i] = figure_load_real(&call->terms[i]);
    *tokens = figure_load_real(&call->tokens);
    return *tokens > 0;
}

void near_keep(struct near *near, uint64_t name, const double terms[TERMS], double tokens)
{
    struct near_call *call = find(near, name);
    if (!call)
        call = place_of(near, name, (name >> 40) % PLACES);
    for (size_t i = 0; i < PLACES && figure_load(&call->name) != name; i++)
        if (!figure_load(&place_of(near, name, i)->name))
            call = place_of(near, name, i);
    figure_store(&call->name, name);
    figure_store_real(&call->tokens, tokens);
    for (size_t i = 0; i < TERMS; i++)
        figure_store_real(&call->terms[i], terms[i]);
}
