/* SPDX-License-Identifier: Apache-2.0 */

/* What another node tells of deployments. A line that is read is written as one that is read as the
 * same, but for what ends its rest. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/models/share_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_line(const struct share_line *line)
{
    struct share_line again;
    struct buffer written;
    buffer_init(&written, 8192);
    share_line_write(&written, line);
    struct text rest = buffer_text(&written);
    if (rest.len > 0) { /* else it was too long */
        assert(share_line_next(&rest, &again) && rest.len == 0);
        assert(again.kind == line->kind && text_equal(again.name, line->name));
        assert(memcmp(again.numbers, line->numbers, sizeof(again.numbers)) == 0);
    }
    buffer_done(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char *own = malloc(len ? len : 1); /* what is read behind it is seen */
    struct share_line line;
    memcpy(own, bytes, len);
    struct text record = {own, len};
    while (share_line_next(&record, &line)) {
        assert(line.name.len > 0 && line.name.len <= SHARE_NAME_MAX);
        check_line(&line);
    }
    free(own);
    return 0;
}
