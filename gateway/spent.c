/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/spent.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

#define MAGIC UINT64_C(0x31746e657073) /* "spent1" */

struct entry {
    struct digest digest;
    int64_t until_s;
};

/* The file: this, and the ring behind it. An entry is there before it is counted. */
struct beginning {
    uint64_t magic;
    uint64_t count; /* ever added */
};

struct spent {
    pthread_mutex_t lock;
    char *path; /* NULL = only in memory, from now on */
    int fd;
    uint64_t count; /* ever added, as far as is known here */
    struct entry ring[SPENT_MAX];
};

struct spent *spent_new(const char *path)
{
    struct spent *spent = memory_new(sizeof(*spent));
    pthread_mutex_init(&spent->lock, NULL);
    spent->path = path ? memory_string(text_of(path)) : NULL;
    spent->fd = -1;
    return spent;
}

void spent_free(struct spent *spent)
{
    if (!spent)
        return;
    if (spent->fd >= 0)
        close(spent->fd);
    memory_free(spent->path);
    pthread_mutex_destroy(&spent->lock);
    memory_free(spent);
}

/* ------------------------------------------------------------------- the file; with the lock */

static off_t place_of(uint64_t number)
{
    return (off_t)(sizeof(struct beginning) + number % SPENT_MAX * sizeof(struct entry));
}

static void do_without(struct spent *spent, const char *why)
{
    log_line(LOG_WARN, "admin", "%s: %s; a restart will forget which sessions were ended",
             spent->path, why);
    if (spent->fd >= 0)
        close(spent->fd);
    spent->fd = -1;
    memory_free(spent->path);
    spent->path = NULL;
}

/* False: there is no file, or it is of no use. */
static bool open_file(struct spent *spent, int more)
{
    if (!spent->path)
        return false;
    if (spent->fd < 0)
        spent->fd = open(spent->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | more, 0600);
    if (spent->fd < 0 && (errno != ENOENT || more))
        do_without(spent, strerror(errno));
    return spent->fd >= 0;
}

/* Take over what others have added. */
static void catch_up(struct spent *spent)
{
    struct beginning begin;
    ssize_t len = pread(spent->fd, &begin, sizeof begin, 0);
    if (len == 0) /* it was just made */
        return;
    if (len != sizeof begin || begin.magic != MAGIC) {
        do_without(spent, "it is not of this version");
        return;
    }
    uint64_t from = begin.count > SPENT_MAX ? begin.count - SPENT_MAX : 0;
    for (uint64_t i = from > spent->count ? from : spent->count; i < begin.count; i++) {
        struct entry *entry = &spent->ring[i % SPENT_MAX];
        if (pread(spent->fd, entry, sizeof *entry, place_of(i)) != sizeof *entry)
            *entry = (struct entry){.until_s = 0};
    }
    if (begin.count > spent->count)
        spent->count = begin.count;
}

static void append(struct spent *spent)
{
    uint64_t number = spent->count - 1;
    struct beginning begin = {MAGIC, spent->count};
    const struct entry *entry = &spent->ring[number % SPENT_MAX];
    if (pwrite(spent->fd, entry, sizeof *entry, place_of(number)) != sizeof *entry ||
        pwrite(spent->fd, &begin, sizeof begin, 0) != sizeof begin)
        do_without(spent, strerror(errno));
}

/* ------------------------------------------------------------------------------ the door */

/* With the lock. */
static bool is_there(const struct spent *spent, const struct digest *digest, int64_t now_s)
{
    for (size_t i = 0; i < spent->count && i < SPENT_MAX; i++)
        if (spent->ring[i].until_s > now_s && hash_same(&spent->ring[i].digest, digest))
            return true;
    return false;
}

bool spent_add(struct spent *spent, struct text value, int64_t until_s, int64_t now_s)
{
    struct digest digest = hash_sha256(value);
    pthread_mutex_lock(&spent->lock);
    /* Another process numbers its own there, too. */
    if (open_file(spent, O_CREAT) && flock(spent->fd, LOCK_EX) == 0)
        catch_up(spent);
    bool is_new = !is_there(spent, &digest, now_s);
    if (is_new)
        spent->ring[spent->count++ % SPENT_MAX] = (struct entry){digest, until_s};
    if (is_new && spent->fd >= 0)
        append(spent);
    if (spent->fd >= 0)
        flock(spent->fd, LOCK_UN);
    pthread_mutex_unlock(&spent->lock);
    return is_new;
}

bool spent_has(struct spent *spent, struct text value, int64_t now_s)
{
    struct digest digest = hash_sha256(value);
    pthread_mutex_lock(&spent->lock);
    if (open_file(spent, 0))
        catch_up(spent);
    bool has = is_there(spent, &digest, now_s);
    pthread_mutex_unlock(&spent->lock);
    return has;
}
