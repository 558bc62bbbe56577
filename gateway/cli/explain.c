/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"

enum { REQUEST_MAX = 8 << 20, NAME_BYTES = 256 };

/* ------------------------------------------------------------------------------ the question */

/* False: errno says why; 0 where it is too long. */
static bool read_file(const char *path, struct buffer *out)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char piece[16384];
    size_t len;
    bool fits = true;
    if (!file)
        return false;
    while (fits && (len = fread(piece, 1, sizeof piece, file)) > 0)
        fits = buffer_append(out, piece, len);
    int why = fits && ferror(file) ? errno : 0;
    if (file != stdin)
        fclose(file);
    errno = why;
    return fits && why == 0;
}

/* "x-region: eu, x-tier: gold" as members. */
static bool write_headers(struct json_write *json, const char *list)
{
    struct text rest = text_of(list), one;
    json_name(json, "headers");
    json_open(json, '{');
    while (text_next(&rest, ',', &one)) {
        size_t colon = text_find_byte(one, ':');
        char name[NAME_BYTES];
        struct text trimmed = text_trim(text_head(one, colon));
        if (colon == SIZE_MAX || !trimmed.len || trimmed.len >= sizeof name)
            return false;
        snprintf(name, sizeof name, "%.*s", TEXT_ARGS(trimmed));
        json_text_member(json, name, text_trim(text_from(one, colon + 1)));
    }
    json_close(json, '}');
    return true;
}

/* The file as it is, when it says itself who asks and where; else what the options say, around
 * it. */
static bool write_question(const struct cli *cli, struct text request, struct buffer *out)
{
    static const char *const names[] = {"path", "tenant", "key"};
    struct json_write json = {.out = out};
    bool good = true;
    if (member_find(request, TEXT("body")).at)
        return buffer_append_text(out, request);
    json_open(&json, '{');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (cli_value(cli, names[i]))
            json_text_member(&json, names[i], text_of(cli_value(cli, names[i])));
    if (cli_value(cli, "headers"))
        good = write_headers(&json, cli_value(cli, "headers"));
    json_name(&json, "body");
    json_raw(&json, request);
    json_close(&json, '}');
    return good && !json.is_full;
}

/* -------------------------------------------------------------------------------- the answer */

static void print_line(const char *title, struct text json, const char *name)
{
    char room[NAME_BYTES];
    struct text value = cli_member_text(json, name, room, sizeof room);
    if (value.len)
        printf("%-9s %.*s\n", title, TEXT_ARGS(value));
}

static void print_dollars(int64_t nanos)
{
    printf("%" PRId64 ".%06" PRId64, nanos / 1000000000, nanos / 1000 % 1000000);
}

static void print_candidate(struct text one, struct text choice)
{
    char room[NAME_BYTES], why[NAME_BYTES];
    struct text target = cli_member_text(one, "target", room, sizeof room);
    struct text strike = cli_member_text(one, "strike", why, sizeof why);
    printf("%s %-24.*s", text_equal(target, choice) ? "*" : " ", TEXT_ARGS(target));
    if (cli_member(one, "first_us").at) {
        printf(" %8" PRId64 " ms %8" PRId64 " ms  $", cli_member_int(one, "first_us") / 1000,
               cli_member_int(one, "p95_us") / 1000);
        print_dollars(cli_member_int(one, "cost_nanos"));
    } else {
        printf(" %8s    %8s     %9s", "-", "-", "-");
    }
    printf("%s%.*s\n", strike.len ? "  " : "", TEXT_ARGS(strike));
}

/* Nano-dollars as dollars, all else as it is; "?": not known. */
static void print_amount(struct text one, const char *name, bool money)
{
    char words[32] = "?";
    int64_t amount = cli_member_int(one, name);
    struct text value = cli_member(one, name);
    if (value.at && !text_equal(value, TEXT("null")) && money)
        snprintf(words, sizeof words, "$%" PRId64 ".%06" PRId64, amount / 1000000000,
                 amount / 1000 % 1000000);
    else if (value.at && !text_equal(value, TEXT("null")))
        snprintf(words, sizeof words, "%" PRId64, amount);
    printf(" %14s", words);
}

static void print_limit(struct text one)
{
    char id[NAME_BYTES], unit[NAME_BYTES], exceeded[NAME_BYTES];
    bool money = text_equal(cli_member_text(one, "unit", unit, sizeof unit), TEXT("nanos"));
    struct text admitted = cli_member(one, "admitted");
    printf("  %-40.*s", TEXT_ARGS(cli_member_text(one, "id", id, sizeof id)));
    print_amount(one, "amount", money);
    print_amount(one, "left", money);
    print_amount(one, "reserves", money);
    if (text_equal(admitted, TEXT("true")))
        printf("  yes\n");
    else if (text_equal(admitted, TEXT("false")))
        printf("  no: %.*s\n",
               TEXT_ARGS(cli_member_text(one, "exceeded", exceeded, sizeof exceeded)));
    else
        printf("  not known\n");
}

static void print_limits(struct text json)
{
    struct text list = cli_member(json, "limits"), name, one;
    if (!list.at || list.len <= 2)
        return;
    printf("\n  %-40s %14s %14s %14s  %s\n", "LIMIT", "AMOUNT", "LEFT", "THIS CALL", "ADMITTED");
    while (member_next(&list, &name, &one))
        print_limit(one);
}

static void print_unable(struct text list)
{
    char room[NAME_BYTES], why[NAME_BYTES];
    struct text name, one;
    while (list.at && member_next(&list, &name, &one)) {
        struct text target = cli_member_text(one, "target", room, sizeof room);
        struct text words = cli_member_text(one, "why", why, sizeof why);
        printf("%-9s %.*s: %.*s\n", "cannot", TEXT_ARGS(target), TEXT_ARGS(words));
    }
}

void cli_print_candidates(struct text json)
{
    char room[NAME_BYTES];
    struct text choice = cli_member_text(json, "choice", room, sizeof room);
    struct text list = cli_member(json, "candidates"), name, one;
    if (list.at && list.len > 2)
        printf("\n  %-24s %11s %11s  %9s  %s\n", "TARGET", "FIRST", "P95", "COST", "LEFT OUT");
    while (list.at && member_next(&list, &name, &one))
        print_candidate(one, choice);
}

static void print_answer(struct text json)
{
    char status[NAME_BYTES];
    print_line("asked", json, "asked");
    print_line("model", json, "model");
    print_line("rule", json, "rule");
    print_line("policy", json, "policy");
    print_line("strategy", json, "strategy");
    printf("%-9s %" PRId64 " in, %" PRId64 " out, as expected\n", "tokens",
           cli_member_int(json, "tokens.input"), cli_member_int(json, "tokens.output"));
    cli_print_candidates(json);
    print_limits(json);
    putchar('\n');
    print_unable(cli_member(json, "cannot"));
    print_line("choice", json, "choice");
    print_line("why", json, "why");
    print_line("fallback", json, "falls_back_on");
    print_line("mirror", json, "mirror");
    struct text refused = cli_member_text(json, "refused.message", status, sizeof status);
    if (refused.len)
        printf("%-9s %" PRId64 " %.*s\n", "refused", cli_member_int(json, "refused.status"),
               TEXT_ARGS(refused));
}

int command_explain(struct cli *cli)
{
    struct buffer request, question, body;
    const char *format = cli_value(cli, "format");
    int code = EXIT_FAILED;
    if (cli->argc < 1)
        return cli_misuse(cli, "which request? Give a file, or - for standard input");
    buffer_init(&request, REQUEST_MAX);
    buffer_init(&question, 2 * REQUEST_MAX);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    if (!read_file(cli->argv[0], &request))
        complaint_print("%s %s%s", cli->argv[0], errno != 0 ? "cannot be read: " : "is too long",
                        errno != 0 ? strerror(errno) : "");
    else if (!scan_is_valid(buffer_text(&request)))
        complaint_print("%s is no JSON", cli->argv[0]);
    else if (!write_question(cli, buffer_text(&request), &question))
        code = cli_misuse(cli, "--headers are such as \"x-region: eu, x-tier: gold\"");
    else
        code =
            cli_send_or_complain(cli, "POST", "/admin/v1/explain", buffer_text(&question), &body);
    if (code == EXIT_GOOD && format && strcmp(format, "json") == 0)
        printf("%.*s\n", TEXT_ARGS(buffer_text(&body)));
    else if (code == EXIT_GOOD)
        print_answer(buffer_text(&body));
    buffer_done(&request);
    buffer_done(&question);
    buffer_done(&body);
    return code;
}
