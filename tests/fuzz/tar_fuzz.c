/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an archive (tar.h), or as a packed series (tally.h): what other nodes and files say
 * is read within its bounds. The first byte chooses; with 1 the heads get their right sums, so that
 * what is behind them is reached.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/tar.h"
#include "policy/tally.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

static void put_sum(char *head)
{
    unsigned sum = 8 * ' ';
    for (int i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? 0 : (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    head[155] = ' ';
}

static void walk(char *bytes, size_t size, bool seal)
{
    struct text rest = {bytes, size};
    struct tar_entry entry;
    for (;;) {
        size_t before = rest.len;
        if (seal && rest.len >= 512)
            put_sum(bytes + (size - rest.len));
        if (tar_next(&rest, &entry) != TAR_ENTRY)
            return;
        check(rest.len <= before - 512);
        check(entry.name.at >= bytes && entry.name.at + entry.name.len <= bytes + size);
        check(entry.bytes.at >= bytes && entry.bytes.at + entry.bytes.len <= bytes + size);
    }
}

static void unpack(struct text packed)
{
    struct series_key key;
    char again[SERIES_PACKED_MAX];
    if (series_unpack(packed, &key))
        check(text_equal(series_pack(&key, again), packed));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *bytes = malloc(size);
    check(bytes != NULL);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 3 == 2)
        unpack((struct text){bytes, size - 1});
    else
        walk(bytes, size - 1, data[0] % 3 == 1);
    free(bytes);
    return 0;
}
