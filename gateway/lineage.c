/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/lineage.h"

#include <pthread.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"

enum { ARENA_BYTES = 16 * 1024, STEP = 256 };
static const int64_t AGAIN_US = INT64_C(86400) * 1000000; /* so that it is not taken for old */

/* ----------------------------------------------------------------------------- telling */

struct lineage {
    struct ledger *ledger;
    pthread_mutex_t lock;
    struct arena arena;
    struct table told; /* tenant → struct kinship */
    int64_t told_us;   /* when all of it was told */
    struct kinship *news;
    size_t count;
};

struct lineage *lineage_new(struct ledger *ledger)
{
    struct lineage *lineage = memory_new(sizeof(*lineage));
    lineage->ledger = ledger;
    pthread_mutex_init(&lineage->lock, NULL);
    arena_init(&lineage->arena, ARENA_BYTES);
    table_init(&lineage->told);
    return lineage;
}

static void forget(struct lineage *lineage)
{
    table_done(&lineage->told);
    table_init(&lineage->told);
    arena_reset(&lineage->arena);
}

void lineage_free(struct lineage *lineage)
{
    if (!lineage)
        return;
    table_done(&lineage->told);
    arena_done(&lineage->arena);
    pthread_mutex_destroy(&lineage->lock);
    memory_free(lineage->news);
    memory_free(lineage);
}

static void see_tenant(void *with, const struct tenant *tenant)
{
    struct lineage *lineage = with;
    struct text parent = tenant->parent ? tenant->parent->name : TEXT("");
    const struct kinship *told = table_find(&lineage->told, tenant->name);
    if (told && told->since_us == tenant->made_us && text_equal(told->parent, parent))
        return;
    struct kinship *kin = arena_new(&lineage->arena, sizeof(*kin));
    kin->tenant = arena_copy(&lineage->arena, tenant->name);
    kin->parent = arena_copy(&lineage->arena, parent);
    kin->since_us = tenant->made_us;
    table_set(&lineage->told, kin->tenant, kin);
    if (lineage->count % STEP == 0)
        lineage->news =
            memory_resize(lineage->news, (lineage->count + STEP) * sizeof(*lineage->news));
    lineage->news[lineage->count++] = *kin;
}

void lineage_note(struct lineage *lineage, const struct directory *directory)
{
    int64_t now = clock_wall_us();
    pthread_mutex_lock(&lineage->lock);
    if (now - lineage->told_us > AGAIN_US) {
        forget(lineage);
        lineage->told_us = now;
    }
    directory_each_tenant(directory, see_tenant, lineage);
    ledger_note_lineage(lineage->ledger, lineage->news, lineage->count, now);
    lineage->count = 0;
    pthread_mutex_unlock(&lineage->lock);
}

/* ------------------------------------------------------------------------------ asking */

/* A tenant's, the latest first. */
struct kin_entry {
    struct kin_entry *before;
    struct kinship it;
};

struct kin {
    struct arena arena;
    struct table latest;
};

static void see_kin(void *with, const struct kinship *it)
{
    struct kin *kin = with;
    struct kin_entry *entry = arena_new(&kin->arena, sizeof(*entry));
    entry->before = table_find(&kin->latest, it->tenant);
    entry->it.since_us = it->since_us;
    entry->it.parent = arena_copy(&kin->arena, it->parent);
    entry->it.tenant =
        entry->before ? entry->before->it.tenant : arena_copy(&kin->arena, it->tenant);
    table_set(&kin->latest, entry->it.tenant, entry);
}

struct kin *kin_read(struct ledger_reader *reader, struct fault *fault)
{
    struct kin *kin = memory_new(sizeof(*kin));
    arena_init(&kin->arena, ARENA_BYTES);
    table_init(&kin->latest);
    if (ledger_each_kin(reader, see_kin, kin, fault))
        return kin;
    kin_free(kin);
    return NULL;
}

void kin_free(struct kin *kin)
{
    if (!kin)
        return;
    table_done(&kin->latest);
    arena_done(&kin->arena);
    memory_free(kin);
}

bool kin_parent(const struct kin *kin, struct text name, int64_t at_us, int64_t before_us,
                struct text *parent)
{
    const struct kin_entry *entry = table_find(&kin->latest, name);
    while (entry && (entry->it.since_us > at_us || entry->it.since_us >= before_us))
        entry = entry->before;
    if (entry)
        *parent = entry->it.parent;
    return entry != NULL;
}
