/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/underway.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/memory.h"

/*
 * Chains of slots by the name's hash; free slots are a chain, too. Slots are used from the first
 * one on, so that pages which were never needed are never there. An index of 0 is none.
 *
 * The processes may be programs of different versions: whoever changes any of this counts VERSION
 * up, and one that does not know it goes without.
 */
enum { VERSION = 1, HEADS = 1 << 12, SLOTS = UNDERWAY_MAX + 1 };
#define MAGIC UINT64_C(0x7961777265646e75) /* "underway" */

struct slot {
    struct digest name, body;
    pid_t owner; /* 0 = it is free; set last, and cleared first */
    uint32_t next;
};

struct table {
    uint64_t magic;
    uint32_t version, bytes;
    pthread_mutex_t lock;
    uint64_t salt;   /* who chooses keys does not choose the chain */
    uint32_t high;   /* all slots below have been used; the first one never is */
    uint32_t vacant; /* the first free one of these */
    uint32_t heads[HEADS];
    struct slot slots[SLOTS];
};

struct underway {
    struct table *table;
    pid_t self;
};

/* ---------------------------------------------------------------------- under the lock */

static uint32_t *head_of(struct table *table, const struct digest *name)
{
    uint64_t bits;
    memcpy(&bits, name->bytes, sizeof bits);
    return &table->heads[bits * table->salt >> 52];
}

/* Whoever held the lock has died: what the slots say is true, and the chains follow from it. */
static void rebuild(struct table *table)
{
    memset(table->heads, 0, sizeof table->heads);
    table->vacant = 0;
    for (uint32_t i = 1; i < table->high; i++) {
        struct slot *slot = &table->slots[i];
        uint32_t *head = slot->owner != 0 ? head_of(table, &slot->name) : &table->vacant;
        slot->next = *head;
        *head = i;
    }
}

/* False: it cannot be had any more. */
static bool lock(struct table *table)
{
    int result = pthread_mutex_lock(&table->lock);
    if (result == EOWNERDEAD) {
        rebuild(table);
        return pthread_mutex_consistent(&table->lock) == 0;
    }
    return result == 0;
}

static void unlock(struct table *table)
{
    pthread_mutex_unlock(&table->lock);
}

static struct slot *find(struct table *table, const struct digest *name)
{
    for (uint32_t i = *head_of(table, name); i != 0; i = table->slots[i].next)
        if (memcmp(&table->slots[i].name, name, sizeof *name) == 0)
            return &table->slots[i];
    return NULL;
}

/* Let the compiler keep the order of what is written, for one that dies in between. */
static void in_order(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static bool add(struct table *table, const struct digest *name, const struct digest *body,
                pid_t owner)
{
    uint32_t index = table->vacant;
    if (index != 0)
        table->vacant = table->slots[index].next;
    else if (table->high < SLOTS)
        index = table->high++;
    else
        return false;
    struct slot *slot = &table->slots[index];
    uint32_t *head = head_of(table, name);
    slot->name = *name;
    slot->body = *body;
    slot->next = *head;
    in_order();
    slot->owner = owner;
    *head = index;
    return true;
}

static void drop(struct table *table, struct slot *slot)
{
    uint32_t *at = head_of(table, &slot->name);
    uint32_t index = (uint32_t)(slot - table->slots);
    slot->owner = 0;
    in_order();
    while (*at != index)
        at = &table->slots[*at].next;
    *at = slot->next;
    slot->next = table->vacant;
    table->vacant = index;
}

/* ------------------------------------------------------------------------------ the door */

static bool init_lock(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    bool good = pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0 &&
                pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST) == 0 &&
                pthread_mutex_init(mutex, &how) == 0;
    pthread_mutexattr_destroy(&how);
    return good;
}

static struct table *map(int fd)
{
    void *at = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at != MAP_FAILED ? at : NULL;
}

int underway_make(void)
{
    int fd = memfd_create("underway", MFD_CLOEXEC);
    struct table *table = fd >= 0 && ftruncate(fd, sizeof(struct table)) == 0 ? map(fd) : NULL;
    bool good = table != NULL && init_lock(&table->lock);
    if (good) {
        hash_random(&table->salt, sizeof table->salt);
        table->salt |= 1;
        table->high = 1;
        table->bytes = sizeof *table;
        table->version = VERSION;
        table->magic = MAGIC;
    }
    if (table != NULL)
        munmap(table, sizeof *table);
    if (!good && fd >= 0)
        close(fd);
    return good ? fd : -1;
}

struct underway *underway_open(int fd)
{
    struct stat what;
    if (fd < 0 || fstat(fd, &what) != 0 || what.st_size != sizeof(struct table))
        return NULL;
    struct table *table = map(fd);
    if (table == NULL)
        return NULL;
    if (table->magic != MAGIC || table->version != VERSION || table->bytes != sizeof *table) {
        munmap(table, sizeof *table);
        return NULL;
    }
    struct underway *underway = memory_new(sizeof *underway);
    *underway = (struct underway){table, getpid()};
    return underway;
}

void underway_close(struct underway *underway)
{
    if (underway == NULL)
        return;
    munmap(underway->table, sizeof *underway->table);
    memory_free(underway);
}

enum underway_result underway_take(struct underway *underway, const struct digest *name,
                                   const struct digest *body)
{
    struct table *table = underway->table;
    if (!lock(table))
        return UNDERWAY_FULL;
    enum underway_result result = UNDERWAY_OURS;
    const struct slot *slot = find(table, name);
    if (slot != NULL)
        result = hash_same(&slot->body, body) ? UNDERWAY_THEIRS : UNDERWAY_OTHER_BODY;
    else if (!add(table, name, body, underway->self))
        result = UNDERWAY_FULL;
    unlock(table);
    return result;
}

void underway_give_back(struct underway *underway, const struct digest *name)
{
    struct table *table = underway->table;
    if (!lock(table))
        return;
    struct slot *slot = find(table, name);
    if (slot != NULL && slot->owner == underway->self)
        drop(table, slot);
    unlock(table);
}

void underway_bury(struct underway *underway, pid_t pid)
{
    struct table *table = underway->table;
    if (!lock(table))
        return;
    for (uint32_t i = 1; i < table->high; i++)
        if (table->slots[i].owner == pid)
            drop(table, &table->slots[i]);
    unlock(table);
}
