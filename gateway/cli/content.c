/* SPDX-License-Identifier: Apache-2.0 */
/* What was said in calls (store.capture: full): printed for people, and deleted. */
#include "gateway/cli/content.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/base/log.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/words.h"

enum { ROLE_BYTES = 64, ESCAPED_MAX = 16 /* bytes that a character may become */ };

/* Does it turn the direction of what is read (U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069)?
 */
static bool turns(struct text one)
{
    if (one.len != 3 || (unsigned char)one.at[0] != 0xE2)
        return false;
    unsigned char second = (unsigned char)one.at[1], third = (unsigned char)one.at[2];
    return (second == 0x80 &&
            (third == 0x8E || third == 0x8F || (third >= 0xAA && third <= 0xAE))) ||
           (second == 0x81 && third >= 0xA6 && third <= 0xA9);
}

/* Nothing of it speaks to the terminal. Lines stay lines. */
static void print_lines(struct text words)
{
    char escaped[ESCAPED_MAX];
    while (words.len > 0) {
        char c = words.at[0];
        size_t len = utf8_length(words.at, words.len);
        struct text one = text_head(words, len ? len : 1);
        if (c == '\n')
            fputs("\n         ", stdout);
        else if (c == '\t' || (c >= ' ' && c <= '~'))
            putchar(c);
        else if (turns(one))
            putchar('?');
        else
            printf("%.*s", (int)log_escape(escaped, sizeof escaped, one), escaped);
        words = text_from(words, one.len);
    }
    putchar('\n');
}

/* A part of a message: its text, or the JSON that it is. */
static void print_part(const char *role, struct text part)
{
    struct text value = member_find(part, TEXT("content"));
    char type[ROLE_BYTES];
    words_member(part, "type", type, sizeof type);
    printf("         %s%s", role, role[0] ? ": " : "");
    if (!text_equal(text_of(type), TEXT("text")) || !member_string(value).at) {
        print_lines(part);
        return;
    }
    char *room = memory_new(value.len + 1);
    print_lines(cli_string(value, room, value.len));
    memory_free(room);
}

/* Is there a list? There may be null. */
static bool is_list(struct text value)
{
    return value.len > 0 && value.at[0] == '[';
}

static void print_parts(const char *role, struct text parts)
{
    struct text name, part;
    if (!is_list(parts))
        return;
    while (member_next(&parts, &name, &part))
        print_part(role, part);
}

static void print_messages(struct text messages)
{
    struct text name, message;
    if (!is_list(messages))
        return;
    while (member_next(&messages, &name, &message)) {
        char role[ROLE_BYTES];
        words_member(message, "role", role, sizeof role);
        print_parts(role, member_find(message, TEXT("parts")));
    }
}

void cli_print_content(struct text content)
{
    if (!content.at || text_equal(content, TEXT("null")))
        return;
    struct text tools = cli_member(content, "tools"), name, tool;
    size_t count = 0;
    if (is_list(tools))
        while (member_next(&tools, &name, &tool))
            count++;
    printf("said     %s", cli_member_is_true(content, "cut") ? "(some of it was cut)" : "");
    if (count > 0)
        printf("%stools offered: %zu", cli_member_is_true(content, "cut") ? ", " : "", count);
    putchar('\n');
    print_parts("system", cli_member(content, "system"));
    print_messages(cli_member(content, "input"));
    puts("answered");
    print_messages(cli_member(content, "output"));
}

static void put_parameter(struct buffer *path, const struct cli *cli, const char *option,
                          const char *parameter)
{
    const char *value = cli_value(cli, option);
    if (value == NULL)
        return;
    buffer_format(path, "%c%s=", text_find_byte(buffer_text(path), '?') == SIZE_MAX ? '?' : '&',
                  parameter);
    cli_escape(path, text_of(value));
}

int command_content_rm(struct cli *cli)
{
    struct buffer path, body;
    if (!cli_value(cli, "tenant") && !cli_value(cli, "user") && !cli_value(cli, "until"))
        return cli_misuse(cli, "whose? --tenant, --user, --until, or several of them");
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    buffer_append_text(&path, TEXT("/admin/v1/content"));
    put_parameter(&path, cli, "tenant", "tenant");
    put_parameter(&path, cli, "user", "user");
    put_parameter(&path, cli, "until", "until");
    int code = EXIT_GOOD;
    if (!buffer_append(&path, "", 1))
        code = cli_misuse(cli, "the names are too long");
    int64_t deleted = 0;
    for (bool more = code == EXIT_GOOD; more;) { /* each question takes some seconds at most */
        buffer_clear(&body);
        code = cli_ask_or_complain(cli, "DELETE", buffer_text(&path).at, &body);
        more = code == EXIT_GOOD && cli_member_is_true(buffer_text(&body), "more");
        deleted += code == EXIT_GOOD ? cli_member_int(buffer_text(&body), "deleted") : 0;
    }
    if (code == EXIT_GOOD || deleted > 0)
        fprintf(stderr, "deleted what was said in calls: %" PRId64 "\n", deleted);
    buffer_done(&path);
    buffer_done(&body);
    return code;
}
