/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/spares.h"

#include "gateway/base/sanitizer.h"

enum { STEP = 1024 }; /* all that is kept is a multiple of it, so that the next one fits, too */

void spares_room(struct spares *spares, struct buffer *buffer, size_t bytes)
{
    bool is_small = bytes <= SPARE_BYTES && buffer->limit >= SPARE_BYTES;
    if (is_small && spares->count > 0) {
        struct buffer spare = spares->kept[--spares->count];
        if (spare.capacity >= bytes) {
            spare.limit = buffer->limit;
            *buffer = spare;
            return;
        }
        buffer_done(&spare); /* larger ones are wanted now */
    }
    buffer_room(buffer, is_small ? (bytes + STEP - 1) / STEP * STEP : bytes);
}

void spares_give(struct spares *spares, struct buffer *buffer)
{
    if (UNDER_SANITIZER || !buffer->data || buffer->capacity > SPARE_BYTES ||
        spares->count >= SPARES_MAX) {
        buffer_done(buffer);
        return;
    }
    buffer_clear(buffer);
    spares->kept[spares->count++] = *buffer;
    buffer_init(buffer, buffer->limit);
}

void spares_free(struct spares *spares)
{
    while (spares->count > 0)
        buffer_done(&spares->kept[--spares->count]);
}
