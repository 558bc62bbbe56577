/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/counters_in_force.h"

#include "gateway/base/table.h"
#include "gateway/counter_names.h"

enum { BLOCK_BYTES = 64 << 10, NAME_BYTES = 4096 };

struct counters_in_force {
    struct table names; /* of users': without the user */
    struct arena arena;
    struct counter_names *counter_names;
};

static void add(struct counters_in_force *counters, struct text name)
{
    table_set(&counters->names, name, counters);
}

static void add_key(void *with, const struct key *key)
{
    struct counters_in_force *counters = with;
    for (size_t i = 0; i < key->limits.count; i++)
        add(counters, counter_names_find(counters->counter_names, &key->limits.at[i], key,
                                         key->tenant, NULL));
}

static void add_tenant(void *with, const struct tenant *tenant)
{
    struct counters_in_force *counters = with;
    for (size_t i = 0; i < tenant->limits.count; i++)
        add(counters,
            counter_names_find(counters->counter_names, &tenant->limits.at[i], NULL, tenant, NULL));
    for (size_t i = 0; i < tenant->user_limits.count; i++)
        add(counters,
            counter_name_of_user(&counters->arena, tenant, TEXT(""), &tenant->user_limits.at[i]));
}

struct counters_in_force *counters_in_force_new(struct directory *directory)
{
    struct counters_in_force *counters = memory_new(sizeof(*counters));
    table_init(&counters->names);
    arena_init(&counters->arena, BLOCK_BYTES);
    counters->counter_names = counter_names_new();
    directory_each_key(directory, add_key, counters);
    directory_each_tenant(directory, add_tenant, counters);
    return counters;
}

/* "u/acme/mia:requests_per_day" -> "u/acme/:requests_per_day": neither the tenant nor the user has
 * a slash or a colon in it there. */
static struct text without_user(struct text counter, char *room)
{
    struct text owner = text_from(counter, 2);
    size_t begin = 2 + text_find_byte(owner, '/') + 1, end = text_find_byte(counter, ':');
    if (begin > end || end >= counter.len || counter.len > NAME_BYTES)
        return counter;
    memcpy(room, counter.at, begin);
    memcpy(room + begin, counter.at + end, counter.len - end);
    return (struct text){room, counter.len - (end - begin)};
}

bool counters_in_force_has(void *with, struct text counter)
{
    const struct counters_in_force *counters = with;
    char room[NAME_BYTES];
    if (text_starts(counter, TEXT("u/")))
        counter = without_user(counter, room);
    return table_find(&counters->names, counter) != NULL;
}

void counters_in_force_free(struct counters_in_force *counters)
{
    counter_names_free(counters->counter_names);
    arena_done(&counters->arena);
    table_done(&counters->names);
    memory_free(counters);
}
