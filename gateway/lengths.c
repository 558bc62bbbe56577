/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/lengths.h"

#include "gateway/base/member.h"

bool lengths_says(enum operation operation, enum length_name name)
{
    switch (name) {
    case LENGTH_MAX_TOKENS:
        return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION;
    case LENGTH_MAX_COMPLETION_TOKENS:
        return operation == OPERATION_CHAT;
    case LENGTH_MAX_OUTPUT_TOKENS:
        return operation == OPERATION_RESPONSE;
    }
    return false;
}

int64_t lengths_prompts(const struct scan_value *prompt)
{
    struct text rest = prompt->raw, name, item;
    int64_t count = 0;
    if (prompt->kind != SCAN_ARRAY)
        return 1;
    while (member_next(&rest, &name, &item)) {
        if (item.len && item.at[0] != '"' && item.at[0] != '[')
            return 1;
        count++;
    }
    return count > 0 ? count : 1;
}
