/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/cli/cli.h"
/* after those above */
#include <cmocka.h>

#include "gateway/base/memory.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/http.h"
#include "gateway/cli/table.h"

/* ---------------------------------------------------------------------------- parsing */

enum { WORDS_MAX = 12 };

static int parse(struct cli *cli, const char *line)
{
    static char words[512];
    static char *argv[WORDS_MAX];
    int argc = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word != NULL && argc < WORDS_MAX - 1;
         word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    return cli_parse(cli, argc, argv);
}

static void test_commands_are_found(void **state)
{
    (void)state;
    struct cli cli;
    assert_int_equal(parse(&cli, "sluice -c a.yaml config show --origin"), -1);
    assert_string_equal(cli.command->name, "config show");
    assert_string_equal(cli.config, "a.yaml");
    assert_true(cli_has(&cli, "origin"));
    assert_false(cli_has(&cli, "effective"));
    assert_int_equal(parse(&cli, "sluice usage --by day,model -f csv --since=7d"), -1);
    assert_string_equal(cli_value(&cli, "by"), "day,model");
    assert_string_equal(cli_value(&cli, "format"), "csv");
    assert_string_equal(cli_value(&cli, "since"), "7d");
    assert_null(cli_value(&cli, "until"));
    assert_int_equal(parse(&cli, "sluice check one.yaml --strict two.yaml -c three"), -1);
    assert_int_equal(cli.argc, 2);
    assert_string_equal(cli.argv[1], "two.yaml");
    assert_string_equal(cli.config, "three");
    assert_int_equal(parse(&cli, "sluice chat mock -- --hello"), -1);
    assert_string_equal(cli.argv[1], "--hello");
}

static void test_habits_of_nginx(void **state)
{
    (void)state;
    struct cli cli;
    assert_int_equal(parse(&cli, "sluice -t -c a.yaml"), -1);
    assert_string_equal(cli.command->name, "check");
    assert_string_equal(cli.config, "a.yaml");
    assert_int_equal(parse(&cli, "sluice -s reload"), -1);
    assert_string_equal(cli.command->name, "reload");
    assert_int_equal(parse(&cli, "sluice -s quit"), -1);
    assert_string_equal(cli.command->name, "drain");
}

static void test_misuse(void **state)
{
    (void)state;
    struct cli cli;
    assert_int_equal(parse(&cli, "sluice"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice chek"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice config"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice run extra"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice run --nonsense"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice usage --by"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice upgrade extra"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice config convert litellm x y"), EXIT_USAGE);
    assert_int_equal(parse(&cli, "sluice -s bounce"), EXIT_USAGE);
}

static void test_did_you_mean(void **state)
{
    (void)state;
    const char *const names[] = {"status", "reload", "run"};
    assert_string_equal(cli_nearest(TEXT("stauts"), names, 3), "status");
    assert_string_equal(cli_nearest(TEXT("rn"), names, 3), "run");
    assert_null(cli_nearest(TEXT("quickstart"), names, 3));
}

/* ---------------------------------------------------------------------------- help */

static char *captured(void (*print)(FILE *out))
{
    char *words = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&words, &length);
    print(out);
    fclose(out);
    return words;
}

static void print_bash(FILE *out)
{
    assert_true(cli_completion(TEXT("bash"), out));
}

static void print_zsh(FILE *out)
{
    assert_true(cli_completion(TEXT("zsh"), out));
}

static void print_fish(FILE *out)
{
    assert_true(cli_completion(TEXT("fish"), out));
}

static void test_help_fits_a_terminal(void **state)
{
    (void)state;
    char *help = captured(cli_help);
    size_t lines = 0;
    for (char *line = strtok(help, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++)
        assert_in_range(strlen(line), 1, 80);
    assert_in_range(lines, 10, 26);
    free(help);
}

/* Does the row begin with <name>, or one of several, or with its first word, and has the second
 * among others? */
static bool row_names(struct text row, struct text name)
{
    struct text first = text_head(name, text_find_byte(name, ' ')), word;
    struct text second = text_from(name, first.len + 1),
                names = text_head(row, text_find(row, TEXT("  ")));
    if (text_starts(row, name) && text_starts(text_from(row, name.len), TEXT(" ")))
        return true;
    for (size_t at; (at = text_find(names, TEXT(" | "))) != SIZE_MAX;) {
        names = text_from(names, at + 3);
        if (text_starts(names, name) && text_starts(text_from(names, name.len), TEXT(" ")))
            return true;
    }
    if (!text_starts(row, first))
        return false;
    row = text_from(row, first.len);
    while (second.len > 0 && text_next(&row, '|', &word))
        if (text_equal(word, second))
            return true;
    return false;
}

/* A row of the help begins with its group, or without. */
static bool is_in_help(const char *help, struct text name)
{
    struct text rest = text_of(help), line;
    while (text_next(&rest, '\n', &line)) {
        struct text inner = text_trim(text_from(line, 8));
        if (row_names(line, name) || row_names(inner, name))
            return true;
    }
    return false;
}

static void test_help_names_what_runs_and_nothing_else(void **state)
{
    (void)state;
    char *help = captured(cli_help), *bash = captured(print_bash);
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        char row[64];
        assert_int_equal(is_in_help(help, text_of(c->name)), c->run != NULL);
        snprintf(row, sizeof row, "'%s'*)", c->name);
        assert_int_equal(strstr(bash, row) != NULL, c->run != NULL);
        if (c->run != NULL) {
            assert_true(c->summary[0] != 0 && c->example[0] != 0);
            assert_non_null(strstr(c->example, "sluice"));
        }
    }
    free(help);
    free(bash);
}

/* The shell itself says whether the script is one, and what it would offer. */
/* Of those in one row of the help each has the summary of the row. */
static bool shares_its_row(const struct command *c)
{
    bool as_before = c != cli_commands && strcmp(c[-1].summary, c->summary) == 0;
    return as_before || (c[1].name != NULL && strcmp(c[1].summary, c->summary) == 0);
}

static bool has_words_of_its_own(const struct command *c)
{
    for (size_t i = 0; cli_help_alone(i) != NULL; i++)
        if (strcmp(cli_help_alone(i), c->name) == 0)
            return true;
    return false;
}

/* Words that are kept for a command must be for one that is there; whoever shares a row has some.
 */
static void test_words_for_one_command_are_for_one(void **state)
{
    (void)state;
    for (size_t i = 0; cli_help_alone(i) != NULL; i++) {
        const struct command *command = cli_command_find(text_of(cli_help_alone(i)));
        if (command == NULL)
            fail_msg("%s is no command", cli_help_alone(i));
    }
    for (const struct command *c = cli_commands; c->name != NULL; c++)
        if (shares_its_row(c) && !has_words_of_its_own(c))
            fail_msg("%s has no words of its own", c->name);
}

static void test_urls_of_the_gateway(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {NULL, "http://127.0.0.1:8080"},
        {"http://h:1/v1/", "http://h:1"},
        {"http://h:1/x/v1", "http://h:1/x"},
        {"unix:/run/sluice/v1", "unix:/run/sluice/v1"},
        {"unix:/run/sluice/", "unix:/run/sluice/"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *url = cli_gateway_url(rows[i][0]);
        assert_string_equal(url, rows[i][1]);
        memory_free(url);
    }
}

static void test_bash_completes(void **state)
{
    (void)state;
    char *script = captured(print_bash);
    char path[] = "/tmp/sluice-completion-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, script, strlen(script)), strlen(script));
    close(fd);
    char command[512];
    snprintf(command, sizeof command,
             "bash -c '. %s; compopt() { :; }; COMP_WORDS=(sluice config s); COMP_CWORD=2; "
             "_sluice; echo ${COMPREPLY[@]}; COMP_WORDS=(sluice usage --s); _sluice; "
             "echo ${COMPREPLY[@]}; COMP_WORDS=(sluice re); COMP_CWORD=1; _sluice; "
             "echo ${COMPREPLY[@]}; COMP_WORDS=(sluice completion f); COMP_CWORD=2; _sluice; "
             "echo ${COMPREPLY[@]}'",
             path);
    FILE *out = popen(command, "r");
    char said[256] = "";
    size_t length = fread(said, 1, sizeof said - 1, out);
    said[length] = 0;
    assert_int_equal(pclose(out), 0);
    unlink(path);
    assert_string_equal(said, "show schema\n--since\nreload restore replay\nfish\n");
    free(script);
}

static void test_other_shells(void **state)
{
    (void)state;
    char *zsh = captured(print_zsh), *fish = captured(print_fish);
    assert_non_null(strstr(zsh, "#compdef sluice"));
    assert_non_null(strstr(zsh, "'usage:calls, tokens and cost from the ledger'"));
    assert_non_null(strstr(fish, "complete -c sluice -n '__fish_seen_subcommand_from usage' -l "
                                 "since -x"));
    assert_false(cli_completion(TEXT("tcsh"), stdout));
    free(zsh);
    free(fish);
}

/* ---------------------------------------------------------------------------- tables */

static void fill(struct cli_table *table)
{
    table_begin(table);
    table_column(table, "model", false);
    table_column(table, "calls", true);
    table_cell(table, TEXT("fast"));
    table_int_cell(table, 12345678);
    table_cell(table, TEXT("gr\xc3\xbc\xc3\x9f\x1b[31m"));
    table_int_cell(table, -1);
    table_cell(table, TEXT("a \"b\", c"));
    table_int_cell(table, 0);
}

static void print_rows(FILE *out)
{
    struct cli_table table;
    fill(&table);
    table_print(&table, out);
    table_end(&table);
}

static void print_csv(FILE *out)
{
    struct cli_table table;
    fill(&table);
    table_print_csv(&table, out);
    table_end(&table);
}

static void test_tables(void **state)
{
    (void)state;
    char *rows = captured(print_rows), *csv = captured(print_csv);
    assert_string_equal(rows, "model         calls\n"
                              "fast       12345678\n"
                              "gr\xc3\xbc\xc3\x9f?[31m        -1\n"
                              "a \"b\", c          0\n");
    assert_string_equal(csv, "model,calls\r\n"
                             "fast,12345678\r\n"
                             "gr\xc3\xbc\xc3\x9f\x1b[31m,-1\r\n"
                             "\"a \"\"b\"\", c\",0\r\n");
    free(rows);
    free(csv);
    enum cli_format format;
    assert_true(cli_format_find(NULL, &format));
    assert_int_equal(format, FORMAT_TABLE);
    assert_true(cli_format_find("csv", &format));
    assert_int_equal(format, FORMAT_CSV);
    assert_false(cli_format_find("xml", &format));
}

/* ---------------------------------------------------------------------------- JSON that comes back
 */

static void test_members(void **state)
{
    (void)state;
    char room[64];
    struct text json =
        TEXT("{\"a\":{\"b\":\"x\\ny\\u00e9\",\"n\":42,\"t\":true},\"lone\":\"\\ud800z\"}");
    assert_true(text_equal(cli_member_text(json, "a.b", room, sizeof room), TEXT("x\ny\xc3\xa9")));
    assert_int_equal(cli_member_int(json, "a.n"), 42);
    assert_true(cli_member_is_true(json, "a.t"));
    assert_int_equal(cli_member_text(json, "a.n", room, sizeof room).len, 0);
    assert_int_equal(cli_member_text(json, "a.missing.deeper", room, sizeof room).len, 0);
    assert_true(text_equal(cli_member_text(json, "lone", room, sizeof room), TEXT("\\ud800z")));
    assert_int_equal(cli_member_text(json, "a.b", room, 2).len, 2);
}

/* ---------------------------------------------------------------------------- the client */

static const char *reply; /* what the server below answers */
static char socket_path[64];
static char asked[4096];

static void *serve_once(void *arg)
{
    int listener = *(int *)arg, fd = accept(listener, NULL, NULL);
    size_t length = 0;
    while (length < sizeof asked - 1 && strstr(asked, "\r\n\r\n") == NULL) {
        ssize_t got = recv(fd, asked + length, sizeof asked - 1 - length, 0);
        if (got <= 0)
            break;
        length += (size_t)got;
        asked[length] = 0;
    }
    /* in small pieces, so that every cut is met */
    for (const char *at = reply; *at != 0; at++)
        if (send(fd, at, 1, MSG_NOSIGNAL) != 1)
            break;
    close(fd);
    return NULL;
}

static unsigned ask(const char *answer, struct buffer *body, struct fault *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;
    char url[80];
    reply = answer;
    asked[0] = 0;
    snprintf(socket_path, sizeof socket_path, "/tmp/sluice-cli-test-%d.sock", (int)getpid());
    snprintf(url, sizeof url, "unix:%s", socket_path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    unlink(socket_path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    pthread_create(&thread, NULL, serve_once, &listener);
    struct cli_request request = {
        .method = "POST", .path = "/x?y=1", .key = "sk-1", .body = TEXT("{}")};
    buffer_clear(body);
    unsigned status = cli_http_ask(url, &request, 5, body, why);
    pthread_join(thread, NULL);
    close(listener);
    unlink(socket_path);
    return status;
}

static void test_client(void **state)
{
    (void)state;
    struct fault why;
    struct buffer body;
    buffer_init(&body, 1 << 20);
    assert_int_equal(ask("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &body, &why), 200);
    assert_true(text_equal(buffer_text(&body), TEXT("hello")));
    assert_non_null(strstr(asked, "POST /x?y=1 HTTP/1.1\r\nHost: localhost\r\n"));
    assert_non_null(strstr(asked, "Authorization: Bearer sk-1\r\n"));
    assert_non_null(strstr(asked, "Content-Length: 2\r\n"));
    assert_int_equal(ask("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422 No\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                         &body, &why),
                     422);
    assert_true(text_equal(buffer_text(&body), TEXT("abcde")));
    assert_int_equal(ask("HTTP/1.1 200 OK\r\n\r\nuntil the end", &body, &why), 200);
    assert_true(text_equal(buffer_text(&body), TEXT("until the end")));
    /* cut answers and nonsense are failures, not short answers */
    assert_int_equal(ask("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", &body, &why), 0);
    assert_int_equal(why.kind, FAULT_TARGET_CUT);
    assert_int_equal(
        ask("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", &body, &why), 0);
    assert_int_equal(ask("nonsense\r\n\r\n", &body, &why), 0);
    assert_int_equal(ask("", &body, &why), 0);
    buffer_done(&body);
}

static void test_client_refuses(void **state)
{
    (void)state;
    struct fault why;
    struct buffer body;
    struct cli_request request = {.method = "GET", .path = "/"};
    buffer_init(&body, 1024);
    assert_int_equal(cli_http_ask("https://127.0.0.1:1", &request, 1, &body, &why), 0);
    assert_int_equal(why.kind, FAULT_UNSUPPORTED);
    assert_int_equal(cli_http_ask("ftp://x", &request, 1, &body, &why), 0);
    assert_int_equal(why.kind, FAULT_BAD_REQUEST);
    assert_int_equal(cli_http_ask("unix:/nonexistent/socket", &request, 1, &body, &why), 0);
    assert_int_equal(why.kind, FAULT_TARGET_DOWN);
    buffer_done(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_are_found),
        cmocka_unit_test(test_habits_of_nginx),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_did_you_mean),
        cmocka_unit_test(test_help_fits_a_terminal),
        cmocka_unit_test(test_help_names_what_runs_and_nothing_else),
        cmocka_unit_test(test_words_for_one_command_are_for_one),
        cmocka_unit_test(test_urls_of_the_gateway),
        cmocka_unit_test(test_bash_completes),
        cmocka_unit_test(test_other_shells),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_client_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
