/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/share_line.h"

enum { LINE_BYTES = 1024 };

static const struct {
    enum share_kind kind;
    size_t numbers;
} kinds[] = {
    {SHARE_HEAD, HEAD_NUMBERS},
    {SHARE_ACK, 1},
    {SHARE_DEMAND, DEMAND_NUMBERS},
    {SHARE_FIGURES, FIGURES_NUMBERS},
    {SHARE_REPLICA, SERVER_NUMBERS},
    {SHARE_ADAPTER, 0},
    {SHARE_CALLS, 2},
    {SHARE_LEAD, LEAD_NUMBERS},
    {SHARE_END, 1},
    {SHARE_LEAVE, 0},
};

/* SIZE_MAX = there is no such letter. */
static size_t numbers_of(int letter)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if ((int)kinds[i].kind == letter)
            return kinds[i].numbers;
    return SIZE_MAX;
}

static void write_rest(struct buffer *out, struct text rest)
{
    for (size_t i = 0; i < rest.len; i++) {
        char c = rest.at[i] == '\n' || rest.at[i] == '\0' ? ' ' : rest.at[i];
        buffer_append(out, &c, 1);
    }
}

void share_line_write(struct buffer *out, const struct share_line *line)
{
    struct buffer words;
    buffer_init(&words, LINE_BYTES);
    buffer_format(&words, "%c %.*s", (int)line->kind, TEXT_ARGS(line->name));
    size_t count = numbers_of((int)line->kind);
    for (size_t i = 0; i < count; i++)
        buffer_format(&words, " %lld", (long long)line->numbers[i]);
    buffer_append_text(&words, TEXT(" "));
    write_rest(&words, line->rest);
    buffer_append_text(&words, TEXT("\n"));
    if (!words.overrun)
        buffer_append_text(out, buffer_text(&words));
    buffer_done(&words);
}

static bool read_number(struct text word, int64_t *number)
{
    bool is_negative = text_starts(word, TEXT("-"));
    uint64_t value, most = (uint64_t)INT64_MAX + (is_negative ? 1 : 0);
    if (!text_number(text_from(word, is_negative ? 1 : 0), most, &value))
        return false;
    *number = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

static struct text take_word(struct text *rest)
{
    size_t end = text_find_byte(*rest, ' ');
    struct text word = text_head(*rest, end);
    *rest = text_from(*rest, end == SIZE_MAX ? rest->len : end + 1);
    return word;
}

static bool is_name(struct text word)
{
    for (size_t i = 0; i < word.len; i++)
        if ((unsigned char)word.at[i] <= ' ')
            return false;
    return word.len > 0 && word.len <= SHARE_NAME_MAX;
}

static bool read_line(struct text text, struct share_line *line)
{
    struct text letter = take_word(&text);
    size_t count = letter.len == 1 ? numbers_of(letter.at[0]) : SIZE_MAX;
    *line = (struct share_line){.rest = {"", 0}};
    if (count == SIZE_MAX)
        return false;
    line->kind = (enum share_kind)letter.at[0];
    line->name = take_word(&text);
    for (size_t i = 0; i < count; i++)
        if (!read_number(take_word(&text), &line->numbers[i]))
            return false;
    line->rest = text;
    return is_name(line->name);
}

bool share_line_next(struct text *record, struct share_line *line)
{
    struct text text;
    while (text_next(record, '\n', &text))
        if (read_line(text, line))
            return true;
    return false;
}
