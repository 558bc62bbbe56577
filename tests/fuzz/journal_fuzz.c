/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as lines of a journal. The first byte says how they are taken: as they stand, as one
 * body, or as bodies that get a right checksum, so that what is behind it is reached. What can be
 * read must come out the same when it is written again.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "policy/checksum.h"
#include "policy/record.h"
#include "policy/tally.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 64 << 10 };

static void check(bool good)
{
    if (!good)
        abort();
}

/* Member by member: what pads a struct is no figure. */
static void check_usage(const struct usage *one, const struct usage *other)
{
    check(memcmp(one, other, offsetof(struct usage, service)) == 0);
    check(one->service == other->service);
}

static void check_call(const struct record *record)
{
    char body[RECORD_MAX_BYTES], packed[SERIES_PACKED_MAX];
    struct record again;
    struct series_key key;
    struct tally tally = {{0}};
    size_t len = record_write_body(body, &record->row);
    check(len <= sizeof(body) && record_read_body((struct text){body, len}, &again));
    check(text_equal(record->row.id, again.row.id) &&
          text_equal(record->row.fault, again.row.fault));
    check(record->row.cost_nanos == again.row.cost_nanos && record->row.cost_nanos >= 0);
    check_usage(&record->row.usage, &again.row.usage);
    check(record->row.outcome == again.row.outcome && record->row.status == again.row.status);
    check(record_room_call(&record->row) <= RECORD_MAX_BYTES);
    series_key_of(&record->row, &key);
    check(series_pack(&key, packed).len <= sizeof(packed));
    tally_add_call(&tally, &record->row);
    check(tally.sums[SUM_COST] == record->row.cost_nanos);
}

static void check_record(const struct record *record)
{
    if (record->kind != RECORD_OWN && record->kind != RECORD_DISOWN)
        check_call(record);
    else
        check(record_room_object(&record->object) <= RECORD_MAX_BYTES);
}

static void walk(const char *at, size_t room)
{
    struct record record;
    size_t offset = 0;
    while (record_read(at + offset, room - offset, &record) == RECORD_HERE) {
        check(record.bytes % RECORD_ALIGN == 0 && record.bytes <= room - offset);
        check(record.body.at >= at + offset && record.body.at + record.body.len <= at + room);
        check_record(&record);
        offset += record.bytes;
    }
}

/* Two bytes of length, then a body, and so on: as records with a right checksum. */
static size_t seal(const uint8_t *data, size_t size, char *out)
{
    size_t used = 0;
    for (uint64_t sequence = 1; size >= 2; sequence++) {
        size_t len = (size_t)(data[0] | data[1] << 8) % (RECORD_MAX_BYTES - RECORD_HEAD_BYTES);
        data += 2;
        size -= 2;
        len = len < size ? len : size;
        uint32_t length = (uint32_t)(RECORD_HEAD_BYTES + len);
        if (used + record_padded(length) > ROOM)
            break;
        char *at = out + used;
        memcpy(at + 8, &sequence, 8);
        memcpy(at + RECORD_HEAD_BYTES, data, len);
        uint32_t sum = checksum(checksum(0, &length, 4), at + 8, length - 8);
        memcpy(at + 4, &sum, 4);
        record_publish(at, length);
        used += record_padded(length);
        data += len;
        size -= len;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record record;
    if (size < 1 || size > ROOM)
        return 0;
    /* Exactly as large as it is, so that one byte too far is seen. */
    size_t rest = size - 1;
    char *bytes = malloc(ROOM);
    check(bytes != NULL);
    memset(bytes, 0, ROOM);
    switch (data[0] % 3) {
    case 0: {
        char *exact = malloc(rest ? rest : 1);
        check(exact != NULL);
        memcpy(exact, data + 1, rest);
        walk(exact, rest);
        free(exact);
        break;
    }
    case 1: {
        char *exact = malloc(rest ? rest : 1);
        check(exact != NULL);
        memcpy(exact, data + 1, rest);
        if (record_read_body((struct text){exact, rest}, &record))
            check_record(&record);
        free(exact);
        break;
    }
    default:
        walk(bytes, seal(data + 1, rest, bytes));
    }
    free(bytes);
    return 0;
}
