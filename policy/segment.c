/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/checksum.h"

enum { FORMAT_VERSION = 1, NAME_BYTES = 48, GIVE_BACK_BYTES = 128 * 1024, PAGE_BYTES = 4096 };
enum { FILL_BYTES = 64 << 10 /* also how much of a segment one fault brings into memory */ };

static const char magic[8] = {'s', 'l', 'u', 'j', 'r', 'n', 'l', '\n'};

struct head {
    char magic[8];
    uint32_t version, head_bytes;
    uint32_t worker, number;
    uint64_t bytes;
    int64_t made_us;
    char instance[INSTANCE_BYTES];
    char zeros[52];
    uint32_t checksum;
};

_Static_assert(sizeof(struct head) == SEGMENT_HEAD_BYTES, "the head's size is part of the format");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

static void name_of(const struct journal_id *id, uint32_t number, const char *prefix,
                    char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s%u-%u.journal", prefix, id->worker, number);
}

static void write_head(char *map, const struct journal_id *id, uint32_t number, size_t bytes)
{
    struct head head = {.version = FORMAT_VERSION,
                        .head_bytes = SEGMENT_HEAD_BYTES,
                        .worker = id->worker,
                        .number = number,
                        .bytes = bytes,
                        .made_us = clock_wall_us()};
    memcpy(head.magic, magic, sizeof(magic));
    memcpy(head.instance, id->instance, INSTANCE_BYTES);
    head.checksum = checksum(0, &head, offsetof(struct head, checksum));
    memcpy(map, &head, sizeof(head));
}

static bool head_is_ours(const char *map, const struct journal_id *id, uint32_t number)
{
    struct head head;
    memcpy(&head, map, sizeof(head));
    return memcmp(head.magic, magic, sizeof(magic)) == 0 &&
           head.checksum == checksum(0, &head, offsetof(struct head, checksum)) &&
           head.version >= 1 && head.version <= FORMAT_VERSION &&
           head.head_bytes == SEGMENT_HEAD_BYTES && head.number == number &&
           head.worker == id->worker && strncmp(head.instance, id->instance, INSTANCE_BYTES) == 0;
}

static struct segment *segment_of(char *map, uint32_t number, size_t bytes)
{
    struct segment *segment = memory_new(sizeof(*segment));
    segment->number = number;
    segment->map = map;
    segment->bytes = bytes;
    return segment;
}

/* Allocate every block of <file> and map it; NULL and errno. */
static char *allocate(int file, size_t bytes)
{
    int problem = posix_fallocate(file, 0, (off_t)bytes);
    if (problem) {
        errno = problem;
        return NULL;
    }
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return map == MAP_FAILED ? NULL : map;
}

/*
 * A page of the cache that a store to the map makes is a fault, and a small one; those that a write
 * makes are large, and one fault brings a large one. What cannot be written is only slower.
 */
static void fill(int file, size_t bytes)
{
    static const char zeros[FILL_BYTES];
    for (size_t at = 0; at < bytes; at += FILL_BYTES) {
        size_t piece = bytes - at < FILL_BYTES ? bytes - at : FILL_BYTES;
        if (pwrite(file, zeros, piece, (off_t)at) != (ssize_t)piece)
            return;
    }
}

struct segment *segment_new(int directory, const struct journal_id *id, uint32_t number,
                            size_t bytes, bool filled)
{
    char unfinished[NAME_BYTES], name[NAME_BYTES];
    name_of(id, number, ".new-", unfinished);
    name_of(id, number, "", name);
    int file = openat(directory, unfinished, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (file < 0)
        return NULL;
    char *map = allocate(file, bytes);
    int problem = errno;
    if (map && filled)
        fill(file, bytes);
    close(file);
    if (map) {
        write_head(map, id, number, bytes);
        if (renameat(directory, unfinished, directory, name) == 0)
            return segment_of(map, number, bytes);
        problem = errno;
        munmap(map, bytes);
    }
    unlinkat(directory, unfinished, 0);
    errno = problem;
    return NULL;
}

static struct segment *map_to_read(int file, const struct journal_id *id, uint32_t number)
{
    struct stat facts;
    if (fstat(file, &facts) != 0)
        return NULL;
    errno = EBADMSG;
    if (!S_ISREG(facts.st_mode) || facts.st_size < SEGMENT_HEAD_BYTES || facts.st_size > UINT32_MAX)
        return NULL;
    size_t bytes = (size_t)facts.st_size;
    char *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        return NULL;
    if (head_is_ours(map, id, number))
        return segment_of(map, number, bytes);
    munmap(map, bytes);
    errno = EBADMSG;
    return NULL;
}

struct segment *segment_open(int directory, const struct journal_id *id, uint32_t number)
{
    char name[NAME_BYTES];
    name_of(id, number, "", name);
    int file = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return NULL;
    struct segment *segment = map_to_read(file, id, number);
    int problem = errno;
    close(file);
    errno = problem;
    return segment;
}

void segment_close(struct segment *segment)
{
    if (!segment)
        return;
    munmap(segment->map, segment->bytes);
    memory_free(segment);
}

/* How many damaged segments are kept beside <directory>. */
static unsigned count_bad(int directory)
{
    unsigned count = 0;
    int above = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = above < 0 ? NULL : fdopendir(above);
    if (!entries && above >= 0)
        close(above);
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        count += strstr(entry->d_name, ".bad") != NULL;
    if (entries)
        closedir(entries);
    return count;
}

static bool keep_damaged(int directory, const struct journal_id *id, const char *name,
                         uint32_t number)
{
    char kept[NAME_BYTES + INSTANCE_BYTES + 16];
    snprintf(kept, sizeof(kept), "../%.*s-%u-%u.bad", INSTANCE_BYTES - 1, id->instance, id->worker,
             number);
    if (count_bad(directory) < SEGMENTS_KEPT_BAD)
        return renameat(directory, name, directory, kept) == 0;
    log_line(LOG_WARN, "ledger", "%s/%s: %d damaged segments are kept already; this one is not",
             id->instance, name, SEGMENTS_KEPT_BAD);
    return false;
}

void segment_remove(int directory, const struct journal_id *id, const struct segment *segment)
{
    char name[NAME_BYTES];
    name_of(id, segment->number, "", name);
    if (segment->damaged && keep_damaged(directory, id, name, segment->number))
        return;
    if (unlinkat(directory, name, 0) != 0 && errno != ENOENT)
        log_line(LOG_WARN, "ledger", "cannot remove %s/%s: %m", id->instance, name);
}

void segment_give_back(struct segment *segment, size_t offset)
{
    size_t end = offset & ~(size_t)(PAGE_BYTES - 1);
    if (end < segment->given_back + GIVE_BACK_BYTES)
        return;
    madvise(segment->map + segment->given_back, end - segment->given_back, MADV_DONTNEED);
    segment->given_back = end;
}

void segment_leave(const struct segment *segment)
{
    madvise(segment->map, segment->bytes, MADV_DONTNEED);
}

bool segment_is_empty(const struct segment *segment, size_t offset, size_t end)
{
    end = end < segment->bytes ? end : segment->bytes;
    if (offset >= end)
        return true;
    /* Zero, and each byte as the one before it: compared in the C library's strides. The most that
     * a start after a crash, and a stop, had to do was to look at each byte of the segments. */
    const char *at = segment->map + offset;
    return *at == 0 && memcmp(at, at + 1, end - offset - 1) == 0;
}

static int by_worker_and_number(const void *a, const void *b)
{
    const struct segment_name *one = a, *two = b;
    if (one->worker != two->worker)
        return one->worker < two->worker ? -1 : 1;
    return one->number < two->number ? -1 : one->number > two->number;
}

/* "WORKER-NUMBER.journal" and nothing else. */
static bool read_name(const char *name, struct segment_name *into)
{
    char again[NAME_BYTES];
    if (sscanf(name, "%u-%u.journal", &into->worker, &into->number) != 2)
        return false;
    struct journal_id id = {.worker = into->worker};
    name_of(&id, into->number, "", again);
    return strcmp(name, again) == 0;
}

bool segment_list(int directory, struct segment_name **list, size_t *count)
{
    size_t capacity = 0;
    *list = NULL;
    *count = 0;
    int again = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (!entries) {
        if (again >= 0)
            close(again);
        return false;
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        struct segment_name name;
        if (!read_name(entry->d_name, &name))
            continue;
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            *list = memory_resize(*list, capacity * sizeof(**list));
        }
        (*list)[(*count)++] = name;
    }
    closedir(entries);
    if (*count)
        qsort(*list, *count, sizeof(**list), by_worker_and_number);
    return true;
}
