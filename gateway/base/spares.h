/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * spares - the memory of small buffers that come and go with each call, kept for the next ones.
 *
 * Of one thread. At most SPARES_MAX of SPARE_BYTES are kept, until spares_free(). Under a sanitizer
 * none are, so that it sees whoever looks at one too late.
 */

#include "gateway/base/buffer.h"

enum { SPARES_MAX = 64, SPARE_BYTES = 4096 };

struct spares {
    struct buffer kept[SPARES_MAX];
    unsigned count;
};

/* Room for <bytes> in an empty buffer that has no memory, within its limit. */
void spares_room(struct spares *spares, struct buffer *buffer, size_t bytes);
/* As buffer_done(): the buffer stays usable with the same limit. */
void spares_give(struct spares *spares, struct buffer *buffer);
void spares_free(struct spares *spares);
