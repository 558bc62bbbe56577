/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/conversation.h"

#include "gateway/base/member.h"
#include "routing/route.h"

enum { MESSAGES_MAX = 64 }; /* of a system, a developer: then it is enough */

/* An item of "messages", "contents" or "input". */
static bool is_users(struct text item)
{
    struct text role = member_string(member_find(item, TEXT("role")));
    return text_equal(role, TEXT("user"));
}

static uint64_t beginning(struct text list)
{
    struct text name, item, inside = text_trim(list);
    uint64_t hash = 0;
    if (!inside.len || inside.at[0] != '[')
        return inside.len && inside.at[0] == '"' ? affinity_hash(inside, 1) | 1 : 0;
    for (int i = 0; i < MESSAGES_MAX && member_next(&list, &name, &item); i++) {
        struct text content = member_find(item, TEXT("content"));
        if (!content.at)
            content = member_find(item, TEXT("parts"));
        hash = affinity_hash(content.at ? content : item, hash + 1);
        if (is_users(item))
            break;
    }
    return hash;
}

uint64_t conversation_of(struct text body)
{
    static const struct text names[] = {
        {"messages", 8}, {"contents", 8}, {"input", 5}, {"prompt", 6}};
    struct text rest = body, name, value;
    while (member_next(&rest, &name, &value))
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (text_equal(name, names[i]))
                return beginning(value);
    return 0;
}
