/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/inflate.h"

#include <zlib.h>

bool inflate_whole(const void *from, size_t from_bytes, void *to, size_t to_bytes)
{
    uLongf written = to_bytes;
    return uncompress(to, &written, from, from_bytes) == Z_OK && written == to_bytes;
}
