/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "gateway/base/log.h"
#include "gateway/base/utf8.h"

static inline bool is_plain(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 0x20 && u < 0x7F && u != '"' && u != '\\';
}

/* The replacement for the first character of <t>, which is not plain: <from> bytes become the
 * text at <to>. */
struct escaped {
    size_t from, to_len;
    char to[8];
};

static void set_two(struct escaped *e, char letter)
{
    e->to[0] = '\\';
    e->to[1] = letter;
    e->to_len = 2;
}

static void set_code(struct escaped *e, unsigned code)
{
    snprintf(e->to, sizeof(e->to), "\\u%04x", code & 0xFFFFU);
    e->to_len = 6;
}

static void escape_ascii(struct escaped *e, char c)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    e->from = 1;
    for (size_t i = 0; names[i]; i += 2)
        if (names[i] == c) {
            set_two(e, names[i + 1]);
            return;
        }
    set_code(e, (unsigned char)c);
}

static void escape_one(struct escaped *e, struct text t)
{
    size_t len = utf8_length(t.at, t.len);
    e->from = len ? len : 1;
    if (len == 0) {
        memcpy(e->to, "\xEF\xBF\xBD", 3);
        e->to_len = 3;
    } else if (len == 1) {
        escape_ascii(e, t.at[0]);
    } else if (len == 2 && t.at[0] == '\xC2' && (unsigned char)t.at[1] < 0xA0) {
        /* U+0080 to U+009F: terminals may take them for commands. */
        set_code(e, (unsigned char)t.at[1]);
    } else {
        memcpy(e->to, t.at, len);
        e->to_len = len;
    }
}

size_t log_escape(char *out, size_t room, struct text t)
{
    size_t len = 0;
    while (t.len > 0) {
        size_t plain = 0;
        while (plain < t.len && is_plain(t.at[plain]))
            plain++;
        if (plain > room - len)
            plain = room - len;
        if (plain > 0)
            memcpy(out + len, t.at, plain);
        len += plain;
        t = text_from(t, plain);
        if (t.len == 0)
            break;
        /* Out of room in front of a plain byte ends here too: nothing is ever cut in two. */
        struct escaped e;
        escape_one(&e, t);
        if (e.to_len > room - len)
            break;
        memcpy(out + len, e.to, e.to_len);
        len += e.to_len;
        t = text_from(t, e.from);
    }
    return len;
}
