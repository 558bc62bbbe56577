/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/label.h"

#include <stdint.h>

enum { LABEL_MAX = 63, SUBDOMAIN_MAX = 253 };

static bool is_small(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_subdomain(struct text name)
{
    char before = '.';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool is_last = i + 1 == name.len || name.at[i + 1] == '.';
        bool is_inner = before != '.' && !is_last;
        if (!is_small(c) && !(c == '-' && is_inner) && !(c == '.' && before != '.'))
            return false;
        before = c;
    }
    return name.len > 0 && name.len <= SUBDOMAIN_MAX && before != '.';
}

bool is_label_value(struct text value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        bool is_inner = i > 0 && i + 1 < value.len;
        bool is_plain = is_small(c) || (c >= 'A' && c <= 'Z');
        if (!is_plain && !(is_inner && (c == '-' || c == '_' || c == '.')))
            return false;
    }
    return value.len <= LABEL_MAX;
}

bool is_label_key(struct text key)
{
    size_t slash = text_find_byte(key, '/');
    if (slash == SIZE_MAX)
        return key.len > 0 && is_label_value(key);
    struct text name = text_from(key, slash + 1);
    return is_subdomain(text_head(key, slash)) && name.len > 0 && is_label_value(name);
}
