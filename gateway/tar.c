/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tar.h"

#include <assert.h>
#include <string.h>

enum { BLOCK = 512, SUM_AT = 148, SUM_BYTES = 8, SIZE_AT = 124, SIZE_BYTES = 12, TYPE_AT = 156 };
static const uint64_t OCTAL_MAX = 077777777777ULL; /* 11 digits */

/* ------------------------------------------------------------------------------------ writing */

static unsigned sum_of(const unsigned char head[BLOCK])
{
    unsigned sum = 0;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= SUM_AT && i < SUM_AT + SUM_BYTES ? ' ' : head[i];
    return sum;
}

static void put_size(unsigned char *at, uint64_t size)
{
    if (size <= OCTAL_MAX) {
        snprintf((char *)at, SIZE_BYTES, "%011llo", (unsigned long long)size);
        return;
    }
    at[0] = 0x80;
    for (int i = SIZE_BYTES - 1; i > 0; i--, size >>= 8)
        at[i] = (unsigned char)size;
}

static void put(struct tar_write *tar, const void *at, size_t len)
{
    tar->failed = tar->failed || (len > 0 && fwrite(at, 1, len, tar->out) != len);
}

void tar_put(struct tar_write *tar, const char *name, struct text bytes)
{
    static const char zeros[BLOCK];
    unsigned char head[BLOCK] = {0};
    char sum[SUM_BYTES];
    assert(strlen(name) <= TAR_NAME_MAX);
    strcpy((char *)head, name);
    memcpy(head + 100, "0000640", 7);
    memcpy(head + 108, "0000000", 7);
    memcpy(head + 116, "0000000", 7);
    put_size(head + SIZE_AT, bytes.len);
    put_size(head + 136, (uint64_t)tar->made_s);
    head[TYPE_AT] = '0';
    memcpy(head + 257, "ustar\00000", 8);
    snprintf(sum, sizeof(sum), "%06o", sum_of(head));
    memcpy(head + SUM_AT, sum, SUM_BYTES - 1);
    head[SUM_AT + SUM_BYTES - 1] = ' ';
    put(tar, head, BLOCK);
    put(tar, bytes.at, bytes.len);
    put(tar, zeros, (BLOCK - bytes.len % BLOCK) % BLOCK);
}

bool tar_end(struct tar_write *tar)
{
    static const char zeros[2 * BLOCK];
    put(tar, zeros, sizeof(zeros));
    return !tar->failed && fflush(tar->out) == 0;
}

/* ------------------------------------------------------------------------------------ reading */

static bool read_octal(const unsigned char *at, size_t len, uint64_t *number)
{
    size_t i = 0;
    *number = 0;
    for (; i < len && at[i] >= '0' && at[i] <= '7'; i++)
        *number = *number << 3 | (uint64_t)(at[i] - '0');
    return i > 0 && (i == len || at[i] == ' ' || at[i] == 0);
}

static bool read_size(const unsigned char *at, uint64_t *size)
{
    if (at[0] != 0x80)
        return read_octal(at, SIZE_BYTES, size);
    *size = 0;
    for (int i = SIZE_BYTES - 8; i < SIZE_BYTES; i++)
        *size = *size << 8 | at[i];
    return *size <= INT64_MAX;
}

static bool is_zero(const unsigned char head[BLOCK])
{
    for (int i = 0; i < BLOCK; i++)
        if (head[i])
            return false;
    return true;
}

enum tar_result tar_next(struct text *rest, struct tar_entry *entry)
{
    uint64_t size, sum;
    const unsigned char *head = (const unsigned char *)rest->at;
    if (rest->len < BLOCK)
        return TAR_BROKEN;
    if (is_zero(head))
        return TAR_END;
    if (!read_octal(head + SUM_AT, SUM_BYTES, &sum) || sum != sum_of(head) ||
        (head[TYPE_AT] != '0' && head[TYPE_AT] != 0) || !read_size(head + SIZE_AT, &size) ||
        head[345] != 0 /* a prefix: longer names than ours */)
        return TAR_BROKEN;
    *rest = text_from(*rest, BLOCK);
    if (size > rest->len)
        return TAR_BROKEN;
    entry->name = (struct text){(const char *)head, strnlen((const char *)head, TAR_NAME_MAX + 1)};
    entry->bytes = text_head(*rest, size);
    *rest = text_from(*rest, (size + BLOCK - 1) / BLOCK * BLOCK);
    return TAR_ENTRY;
}
