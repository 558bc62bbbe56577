/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/memory.h"
#include "policy/estimate_inside.h"

/* Each name has some places, next to each other; who finds them taken by others takes one. */

enum { CALLS = 32768, PLACES = 8 };

struct near_call {
    figure tokens, terms[TERMS];
};

struct near {
    figure names[CALLS];
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

/* Where it is, or CALLS. */
static size_t find(struct near *near, uint64_t name)
{
    size_t first = name % (CALLS / PLACES) * PLACES;
    for (size_t i = first; i < first + PLACES; i++)
        if (figure_load(&near->names[i]) == name)
            return i;
    return CALLS;
}

/* Where it shall be: a free place, or one of the others. */
static size_t choose(struct near *near, uint64_t name)
{
    size_t first = name % (CALLS / PLACES) * PLACES;
    for (size_t i = first; i < first + PLACES; i++)
        if (!figure_load(&near->names[i]))
            return i;
    return first + (name >> 40) % PLACES;
}

bool near_find(struct near *near, uint64_t name, double terms[TERMS], double *tokens)
{
    size_t at = find(near, name);
    if (at == CALLS)
        return false;
    struct near_call *call = &near->calls[at];
    for (size_t i = 0; i < TERMS; i++)
        terms[i] = figure_load_real(&call->terms[i]);
    *tokens = figure_load_real(&call->tokens);
    return *tokens > 0;
}

void near_keep(struct near *near, uint64_t name, const double terms[TERMS], double tokens)
{
    size_t at = find(near, name);
    if (at == CALLS)
        at = choose(near, name);
    figure_store(&near->names[at], name);
    figure_store_real(&near->calls[at].tokens, tokens);
    for (size_t i = 0; i < TERMS; i++)
        figure_store_real(&near->calls[at].terms[i], terms[i]);
}
