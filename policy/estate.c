/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/estate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum { NAME_DIGITS = 16, RANDOM_DIGITS = 8, TRIES = 16 };

/* One dead process. */
struct heritage {
    char instance[INSTANCE_BYTES];
    int directory; /* holds the lock */
    struct source *sources;
    size_t count, at;
};

struct estate {
    int root;
    char own[INSTANCE_BYTES];
    char (*found)[INSTANCE_BYTES]; /* still to be looked at */
    size_t found_count;
    struct heritage *current;
    bool unmarked; /* the last one could not be marked: said once */
};

/* ALIVE: or gone, or another drains it. LATER: somebody looks at it, or it cannot be marked. */
enum taken { TAKEN, TAKEN_ALIVE, TAKEN_LATER, TAKEN_FAILED };

/* ---------------------------------------------------------------------------------- directories */

bool instance_is_name(const char *name)
{
    size_t len = strlen(name);
    return len == NAME_DIGITS + 1 + RANDOM_DIGITS && name[NAME_DIGITS] == '-' &&
           strspn(name, "0123456789abcdef-") == len;
}

/* Is <directory> still what <instance> names? It may have been removed before we had its lock. */
static bool is_there(int root, const char *instance, int directory)
{
    struct stat held, named;
    return fstat(directory, &held) == 0 &&
           fstatat(root, instance, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static const char dead_mark[] = "dead";

/* False and errno. */
static bool mark_dead(int directory)
{
    int mark = openat(directory, dead_mark, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (mark >= 0)
        close(mark);
    return mark >= 0;
}

static bool is_marked(int directory)
{
    return faccessat(directory, dead_mark, F_OK, 0) == 0;
}

static bool lock(int directory, int how)
{
    return flock(directory, how | LOCK_NB) == 0;
}

bool instance_is_dead(int directory)
{
    /* In this order: who drains it has marked it before it keeps others from the lock. */
    bool was_free = lock(directory, LOCK_SH);
    if (was_free)
        flock(directory, LOCK_UN); /* or the drain would have to wait for us */
    return was_free || is_marked(directory);
}

static int open_directory(int root, const char *instance)
{
    return openat(root, instance, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int instance_new(int root, char instance[INSTANCE_BYTES])
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t random;
        hash_random(&random, sizeof(random));
        /* The time is for people who look; only the random part must differ. */
        snprintf(instance, INSTANCE_BYTES, "%016llx-%08x", (unsigned long long)clock_wall_us(),
                 random);
        if (mkdirat(root, instance, 0750) != 0 && errno != EEXIST)
            return -1;
        /* Somebody may have taken it for a dead one between the two calls: then try again. */
        int directory = open_directory(root, instance);
        if (directory >= 0 && lock(directory, LOCK_EX) && is_there(root, instance, directory)) {
            unlinkat(directory, dead_mark, 0); /* taken, and let go of */
            return directory;
        }
        if (directory >= 0)
            close(directory);
    }
    errno = EBUSY;
    return -1;
}

void instance_remove(int root, const char *instance, int directory)
{
    int again = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (!entries) {
        if (again >= 0)
            close(again);
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries));)
        if (strstr(entry->d_name, ".journal"))
            unlinkat(directory, entry->d_name, 0);
    closedir(entries);
    unlinkat(directory, dead_mark, 0);
    if (unlinkat(root, instance, AT_REMOVEDIR) != 0 && errno != ENOENT)
        log_line(LOG_WARN, "ledger", "cannot remove %s: %m", instance);
}

/* ---------------------------------------------------------------------------------- one of them */

struct workers {
    unsigned *list;
    size_t count;
};

static void workers_add(void *with, unsigned worker)
{
    struct workers *workers = with;
    for (size_t i = 0; i < workers->count; i++)
        if (workers->list[i] == worker)
            return;
    workers->list = memory_resize(workers->list, (workers->count + 1) * sizeof(*workers->list));
    workers->list[workers->count++] = worker;
}

/* The part of <names> that is <worker>'s, as a list of its own. */
static struct segment_name *names_of(unsigned worker, const struct segment_name *names,
                                     size_t count, size_t *own_count)
{
    struct segment_name *own = memory_new((count + 1) * sizeof(*own));
    *own_count = 0;
    for (size_t i = 0; i < count; i++)
        if (names[i].worker == worker)
            own[(*own_count)++] = names[i];
    return own;
}

/* NULL when the database failed. */
static struct heritage *heritage_new(const char *instance, int directory, struct book *book)
{
    struct workers workers = {0};
    struct segment_name *names = NULL;
    size_t count = 0;
    if (!segment_list(directory, &names, &count))
        log_line(LOG_ERROR, "ledger", "cannot read %s: %m", instance);
    if (!book_each_journal(book, instance, workers_add, &workers)) {
        memory_free(names);
        memory_free(workers.list);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        workers_add(&workers, names[i].worker);
    struct heritage *heritage = memory_new(sizeof(*heritage));
    heritage->directory = directory;
    heritage->count = workers.count;
    heritage->sources = memory_new(workers.count * sizeof(*heritage->sources));
    snprintf(heritage->instance, INSTANCE_BYTES, "%s", instance);
    for (size_t i = 0; i < workers.count; i++) {
        struct journal_id id = {.worker = workers.list[i]};
        size_t own_count;
        memcpy(id.instance, heritage->instance, INSTANCE_BYTES);
        struct segment_name *own = names_of(id.worker, names, count, &own_count);
        source_init_dead(&heritage->sources[i], &id, directory, own, own_count);
    }
    memory_free(names);
    memory_free(workers.list);
    return heritage;
}

static void heritage_free(struct heritage *heritage)
{
    if (!heritage)
        return;
    for (size_t i = 0; i < heritage->count; i++)
        source_done(&heritage->sources[i]);
    close(heritage->directory);
    memory_free(heritage->sources);
    memory_free(heritage);
}

/* -------------------------------------------------------------------------------- all of them */

struct estate *estate_new(int root, const char *own)
{
    struct estate *estate = memory_new(sizeof(*estate));
    estate->root = root;
    snprintf(estate->own, INSTANCE_BYTES, "%s", own ? own : "");
    return estate;
}

void estate_free(struct estate *estate)
{
    if (!estate)
        return;
    heritage_free(estate->current);
    memory_free(estate->found);
    memory_free(estate);
}

void estate_add(struct estate *estate, const char *instance)
{
    estate->found =
        memory_resize(estate->found, (estate->found_count + 1) * sizeof(*estate->found));
    snprintf(estate->found[estate->found_count++], INSTANCE_BYTES, "%s", instance);
}

void estate_look(struct estate *estate)
{
    if (estate->current)
        return;
    int again = openat(estate->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (!entries) {
        if (again >= 0)
            close(again);
        return;
    }
    estate->found_count = 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (!instance_is_name(entry->d_name) || strcmp(entry->d_name, estate->own) == 0)
            continue;
        estate_add(estate, entry->d_name);
    }
    closedir(entries);
}

/* The locks of <directory>, and its mark in between. */
static enum taken lock_dead(struct estate *estate, const char *instance, int directory)
{
    if (!lock(directory, LOCK_SH) || !is_there(estate->root, instance, directory))
        return TAKEN_ALIVE;
    if (!mark_dead(directory)) {
        if (!estate->unmarked)
            log_line(LOG_ERROR, "ledger", "%s/%s cannot be made (%m): it is drained later",
                     instance, dead_mark);
        estate->unmarked = true;
        return TAKEN_LATER;
    }
    estate->unmarked = false;
    /* One lock is given up before the other is had: somebody may have been quicker. */
    if (!lock(directory, LOCK_EX))
        return TAKEN_LATER;
    return is_there(estate->root, instance, directory) ? TAKEN : TAKEN_ALIVE;
}

static enum taken take(struct estate *estate, const char *instance, struct book *book)
{
    int directory = open_directory(estate->root, instance);
    if (directory < 0)
        return TAKEN_ALIVE;
    enum taken taken = lock_dead(estate, instance, directory);
    if (taken == TAKEN && !(estate->current = heritage_new(instance, directory, book)))
        taken = TAKEN_FAILED;
    if (taken != TAKEN)
        close(directory);
    else if (strcmp(instance, estate->own) != 0)
        log_line(LOG_INFO, "ledger", "draining %s, which a dead process left", instance);
    return taken;
}

/* Begin with the next dead process. DRAINED_ALL: none is left. */
static enum drained take_next(struct estate *estate, struct book *book)
{
    for (size_t i = estate->found_count; !estate->current && i-- > 0;) {
        enum taken taken = take(estate, estate->found[i], book);
        if (taken == TAKEN_FAILED)
            return DRAIN_FAILED; /* and try again */
        if (taken == TAKEN_LATER)
            continue;
        estate->found_count--;
        memmove(estate->found[i], estate->found[estate->found_count], INSTANCE_BYTES);
    }
    if (estate->current)
        return DRAINED_SOME;
    return estate->found_count ? DRAIN_WAITS : DRAINED_ALL;
}

enum drained estate_step(struct estate *estate, struct drain *drain)
{
    enum drained taken = take_next(estate, drain->book);
    if (taken != DRAINED_SOME)
        return taken;
    struct heritage *current = estate->current;
    if (current->at < current->count) {
        struct source *source = &current->sources[current->at];
        enum drained result = drain_batch(drain, source);
        if (result != DRAINED_ALL)
            return result;
        if (!drain_finish(drain, source))
            return DRAIN_FAILED;
        current->at++;
        return DRAINED_SOME;
    }
    instance_remove(estate->root, current->instance, current->directory);
    heritage_free(current);
    estate->current = NULL;
    return DRAINED_SOME;
}
