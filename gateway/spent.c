/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/spent.h"

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

struct entry {
    struct digest digest;
    int64_t until_s;
};

struct spent {
    pthread_mutex_t lock;
    atomic_size_t count; /* ever added; most ask while there is none */
    struct entry ring[SPENT_MAX];
};

struct spent *spent_new(void)
{
    struct spent *spent = memory_new(sizeof(*spent));
    pthread_mutex_init(&spent->lock, NULL);
    return spent;
}

void spent_free(struct spent *spent)
{
    if (!spent)
        return;
    pthread_mutex_destroy(&spent->lock);
    memory_free(spent);
}

/* With the lock. */
static bool is_there(const struct spent *spent, const struct digest *digest, int64_t now_s)
{
    size_t count = atomic_load(&spent->count);
    for (size_t i = 0; i < count && i < SPENT_MAX; i++)
        if (spent->ring[i].until_s > now_s && hash_same(&spent->ring[i].digest, digest))
            return true;
    return false;
}

bool spent_add(struct spent *spent, struct text value, int64_t until_s, int64_t now_s)
{
    struct digest digest = hash_sha256(value);
    pthread_mutex_lock(&spent->lock);
    bool is_new = !is_there(spent, &digest, now_s);
    if (is_new) {
        size_t count = atomic_load(&spent->count);
        spent->ring[count % SPENT_MAX] = (struct entry){digest, until_s};
        atomic_store(&spent->count, count + 1);
    }
    pthread_mutex_unlock(&spent->lock);
    return is_new;
}

bool spent_has(struct spent *spent, struct text value, int64_t now_s)
{
    if (atomic_load(&spent->count) == 0)
        return false;
    struct digest digest = hash_sha256(value);
    pthread_mutex_lock(&spent->lock);
    bool has = is_there(spent, &digest, now_s);
    pthread_mutex_unlock(&spent->lock);
    return has;
}
