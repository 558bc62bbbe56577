/* SPDX-License-Identifier: Apache-2.0 */
/* What was made and deleted is noted in the ledger, and other replicas are told of it. */
#include "gateway/base/clock.h"
#include "gateway/objects.h"
#include "gateway/worker_inside.h"

/* Something that other replicas are being told. */
struct telling {
    struct telling *next; /* of the exchange's */
    struct worker *worker;
    struct exchange *x; /* NULL once that has ended */
};

static void on_told(void *with)
{
    struct telling *telling = with;
    struct exchange *x = telling->x;
    if (x) {
        struct telling **at = &x->tellings;
        while (*at != telling)
            at = &(*at)->next;
        *at = telling->next;
        if (!x->tellings)
            worker_wake_safe(telling->worker);
    }
    memory_free(telling);
}

bool objects_are_told(const struct exchange *x)
{
    return !x->tellings;
}

/* Other replicas know of it before our client does. Redis may be away: then they answer that they
 * do not know, and hear of it from the ledger. */
static void tell(struct exchange *x, const struct object *object, bool is_gone)
{
    struct worker *worker = x->worker;
    if (!worker->owners)
        return;
    struct telling *telling = memory_new(sizeof(*telling));
    *telling = (struct telling){x->tellings, worker, x};
    if (owners_remote_tell(worker->owners, object, is_gone, on_told, telling))
        x->tellings = telling;
    else
        memory_free(telling);
}

/* The tenant owns <id> from now on. */
void objects_own(struct exchange *x, struct text id, struct text kind, struct text facts)
{
    struct object object = {.id = id,
                            .kind = kind,
                            .tenant = tenant_scope(x->key->tenant),
                            .target = x->target->id,
                            .model = facts.len ? TEXT("") : x->call.model,
                            .facts = facts,
                            .made_us = clock_wall_us()};
    if (facts.len)
        ledger_own_file(x->worker->journal, id, object.tenant, object.target, facts);
    else
        ledger_own(x->worker->journal, id, kind, object.tenant, object.target, object.model);
    tell(x, &object, false);
}

void objects_disown(struct exchange *x, struct text id)
{
    struct object object = {.id = id, .made_us = clock_wall_us()};
    ledger_disown(x->worker->journal, id);
    tell(x, &object, true);
}

void objects_leave(struct exchange *x)
{
    for (struct telling *telling = x->tellings; telling; telling = telling->next)
        telling->x = NULL;
    x->tellings = NULL;
}
