/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/zone.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "policy/zone_rule.h"

static const char database[] = "/usr/share/zoneinfo";

enum { DAY_S = 86400, HEADER_BYTES = 44, OFFSET_MAX_S = 26 * 3600 };

struct zone {
    int64_t first; /* offset before the first change */
    size_t count;
    int64_t *at;      /* when it changes */
    int64_t *offsets; /* and to what */
    bool has_rule;    /* for ever after the last */
    struct zone_rule rule;
};

/* -------------------------------------------------------------------------------- reading */

struct block {
    size_t is_ut, is_standard, leaps, times, types, chars;
};

static uint64_t big_endian(const char *at, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | (unsigned char)at[i];
    return number;
}

static bool header_read(struct text bytes, int *version, struct block *block)
{
    if (bytes.len < HEADER_BYTES || !text_starts(bytes, TEXT("TZif")))
        return false;
    *version = bytes.at[4] == 0 ? 1 : bytes.at[4] - '0';
    size_t *counts[] = {&block->is_ut, &block->is_standard, &block->leaps,
                        &block->times, &block->types,       &block->chars};
    for (size_t i = 0; i < 6; i++) {
        *counts[i] = big_endian(bytes.at + 20 + i * 4, 4);
        if (*counts[i] > ZONE_FILE_MAX)
            return false;
    }
    return *version >= 1 && block->types > 0;
}

static size_t block_bytes(const struct block *block, size_t time_bytes)
{
    return block->times * (time_bytes + 1) + block->types * 6 + block->chars +
           block->leaps * (time_bytes + 4) + block->is_standard + block->is_ut;
}

static bool offset_read(const char *types, size_t count, size_t type, int64_t *offset)
{
    if (type >= count)
        return false;
    *offset = (int32_t)(uint32_t)big_endian(types + type * 6, 4);
    return *offset > -OFFSET_MAX_S && *offset < OFFSET_MAX_S;
}

/* <bytes> holds the whole block. */
static bool block_read(struct zone *zone, struct text bytes, const struct block *block,
                       size_t time_bytes)
{
    const char *kinds = bytes.at + block->times * time_bytes;
    const char *types = kinds + block->times;
    zone->at = memory_new(block->times * sizeof(int64_t));
    zone->offsets = memory_new(block->times * sizeof(int64_t));
    zone->count = block->times;
    if (!offset_read(types, block->types, 0, &zone->first))
        return false;
    for (size_t i = 0; i < block->times; i++) {
        uint64_t at = big_endian(bytes.at + i * time_bytes, time_bytes);
        zone->at[i] = time_bytes == 8 ? (int64_t)at : (int32_t)(uint32_t)at;
        if (i > 0 && zone->at[i] <= zone->at[i - 1])
            return false;
        if (!offset_read(types, block->types, (unsigned char)kinds[i], &zone->offsets[i]))
            return false;
    }
    return true;
}

static bool footer_read(struct zone *zone, struct text bytes)
{
    if (bytes.len < 2 || bytes.at[0] != '\n')
        return false;
    bytes = text_from(bytes, 1);
    size_t end = text_find_byte(bytes, '\n');
    if (end == SIZE_MAX)
        return false;
    if (end == 0)
        return true; /* nothing is known about the future: the last offset stays */
    zone->has_rule = zone_rule_read(text_head(bytes, end), &zone->rule);
    return zone->has_rule;
}

static bool zone_fill(struct zone *zone, struct text bytes)
{
    struct block block;
    int version;
    if (!header_read(bytes, &version, &block))
        return false;
    size_t size = block_bytes(&block, 4);
    bytes = text_from(bytes, HEADER_BYTES);
    if (size > bytes.len)
        return false;
    if (version == 1)
        return block_read(zone, bytes, &block, 4);
    /* The same again in 64 bits, and that counts. */
    bytes = text_from(bytes, size);
    if (!header_read(bytes, &version, &block))
        return false;
    size = block_bytes(&block, 8);
    bytes = text_from(bytes, HEADER_BYTES);
    return size <= bytes.len && block_read(zone, bytes, &block, 8) &&
           footer_read(zone, text_from(bytes, size));
}

struct zone *zone_read(struct text bytes)
{
    struct zone *zone = memory_new(sizeof(*zone));
    if (bytes.len <= ZONE_FILE_MAX && zone_fill(zone, bytes))
        return zone;
    zone_free(zone);
    return NULL;
}

void zone_free(struct zone *zone)
{
    if (!zone)
        return;
    memory_free(zone->at);
    memory_free(zone->offsets);
    memory_free(zone);
}

/* --------------------------------------------------------------------------------- asking */

/* How many changes are at or before <second>. */
static size_t changes_until(const struct zone *zone, int64_t second)
{
    size_t low = 0, high = zone->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->at[middle] <= second)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t zone_offset(const struct zone *zone, int64_t second)
{
    if (!zone)
        return 0;
    size_t done = changes_until(zone, second);
    if (done == zone->count && zone->has_rule)
        return zone_rule_offset(&zone->rule, second);
    return done > 0 ? zone->offsets[done - 1] : zone->first;
}

int64_t zone_change(const struct zone *zone, int64_t second)
{
    if (!zone)
        return INT64_MAX;
    size_t done = changes_until(zone, second);
    if (done < zone->count)
        return zone->at[done];
    return zone->has_rule ? zone_rule_change(&zone->rule, second) : INT64_MAX;
}

int64_t zone_begin(const struct zone *zone, int64_t local)
{
    /* Stretches of one offset, from well before on: the first in which the hour comes. */
    int64_t from = local - OFFSET_MAX_S - DAY_S;
    for (;;) {
        int64_t until = zone_change(zone, from);
        int64_t at = local - zone_offset(zone, from);
        at = at > from ? at : from;
        if (at < until)
            return at;
        from = until;
    }
}

/* -------------------------------------------------------------------------------- finding */

static pthread_mutex_t zones_lock = PTHREAD_MUTEX_INITIALIZER;
static struct table zones; /* of those that were found; kept for ever */

static bool name_is_good(struct text name)
{
    if (name.len == 0 || name.len > ZONE_NAME_MAX || name.at[0] == '/' ||
        text_find(name, TEXT("..")) != SIZE_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == 0 || !strchr("_+-/", c)))
            return false;
    }
    return true;
}

static size_t file_read(const char *path, char *bytes, size_t most)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat stat;
    size_t have = 0;
    if (fd < 0)
        return 0;
    if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode))
        while (have < most) {
            ssize_t got = read(fd, bytes + have, most - have);
            if (got <= 0)
                break;
            have += (size_t)got;
        }
    close(fd);
    return have;
}

static struct zone *zone_load(struct text name)
{
    char path[sizeof(database) + ZONE_NAME_MAX + 2];
    memcpy(path, database, sizeof(database) - 1);
    path[sizeof(database) - 1] = '/';
    memcpy(path + sizeof(database), name.at, name.len);
    path[sizeof(database) + name.len] = '\0';
    char *bytes = memory_new(ZONE_FILE_MAX + 1);
    size_t have = file_read(path, bytes, ZONE_FILE_MAX + 1);
    struct zone *zone = zone_read((struct text){bytes, have});
    memory_free(bytes);
    /* UTC is known without a database. */
    if (!zone && (text_equal(name, TEXT("UTC")) || text_equal(name, TEXT("Etc/UTC"))))
        zone = memory_new(sizeof(*zone));
    return zone;
}

const struct zone *zone_find(struct text name)
{
    if (!name_is_good(name))
        return NULL;
    pthread_mutex_lock(&zones_lock);
    struct zone *zone = table_find(&zones, name);
    if (!zone && zones.count < ZONES_MAX) {
        zone = zone_load(name);
        if (zone)
            table_set(&zones, text_of(memory_string(name)), zone);
    }
    pthread_mutex_unlock(&zones_lock);
    return zone;
}

struct text zone_name(const struct zone *zone)
{
    size_t at = 0;
    void *value;
    struct text name, found = TEXT("UTC");
    pthread_mutex_lock(&zones_lock);
    while (table_next(&zones, &at, &name, &value))
        if (value == zone)
            found = name;
    pthread_mutex_unlock(&zones_lock);
    return found;
}
