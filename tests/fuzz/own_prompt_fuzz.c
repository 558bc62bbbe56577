/* SPDX-License-Identifier: Apache-2.0 */

/* A template, a line feed, and a call of a deployment's own /generate: what is made of it is JSON
 * with a prompt and without variables, no longer than there is room, or a fault names what is
 * wrong.
 */

#include <assert.h>
#include <stdint.h>

#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/own_prompt.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { ROOM = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct text all = {(const char *)bytes, len};
    size_t end = text_find_byte(all, '\n');
    if (!len || len > ROOM || end == SIZE_MAX)
        return 0;
    struct text body = text_from(all, end + 1);
    struct scan_value none[1];
    struct scan_problem problem;
    struct fault fault = {.kind = FAULT_NONE};
    struct buffer out;
    /* A template is of a configuration, which is UTF-8. */
    if (!scan_json(body, NULL, 0, none, &problem))
        return 0;
    for (size_t i = 0; i < end; i++)
        if (bytes[i] >= 0x80 || bytes[i] < ' ')
            return 0;
    buffer_init(&out, ROOM);
    if (own_prompt_write(body, text_head(all, end), &out, &fault)) {
        struct text made = buffer_text(&out);
        assert(scan_is_valid(made) && member_string(member_find(made, TEXT("prompt"))).at);
        assert(!member_find(made, TEXT("input_variables")).at);
    } else {
        assert(fault.kind == FAULT_TOO_LARGE || (fault.kind == FAULT_BAD_REQUEST && fault.param));
        assert(fault.text[0]);
    }
    buffer_done(&out);
    return 0;
}
