/* SPDX-License-Identifier: Apache-2.0 */
/* deployments: model servers of a running sluice, looked at and ordered about. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/level.h"
#include "gateway/cli/words.h"
#include "gateway/config/config.h"

enum {
    LOOK_US = 300000,
    FOLLOW_US = 500000,
    WAIT_MAX_S = 3600,
    WORD_BYTES = 400,
    DOCUMENT_BYTES = 256 << 10,
};

/* /admin/v1/deployments/NAME and <behind>. */
static bool path_of(struct buffer *path, const char *name, const char *behind)
{
    buffer_init(path, CLI_PATH_BYTES_MAX);
    buffer_append_text(path, TEXT("/admin/v1/deployments/"));
    cli_escape(path, text_of(name));
    buffer_append_text(path, text_of(behind));
    return buffer_append(path, "", 1);
}

/* Ask about the one that the first word names. */
static int ask(const struct cli *cli, const char *method, const char *behind, struct text sent,
               struct buffer *body)
{
    struct buffer path;
    if (cli->argc == 0)
        return cli_misuse(cli, "which deployment? sluice deployments ls shows their names");
    int code = path_of(&path, cli->argv[0], behind)
                   ? cli_send_or_complain(cli, method, buffer_text(&path).at, sent, body)
                   : cli_misuse(cli, "the name is too long");
    buffer_done(&path);
    return code;
}

int command_deployments_ls(struct cli *cli)
{
    static const struct level_column columns[] = {{.name = "name", .member = "name"},
                                                  {.name = "state", .member = "state"},
                                                  {.name = "ready", .member = "ready"},
                                                  {.name = "wanted", .member = "wanted"},
                                                  {.name = "max", .member = "max"},
                                                  {.name = "calls", .member = "queue.in_flight"},
                                                  {.name = "waiting", .member = "queue.held"},
                                                  {.name = "reason", .member = "reason"},
                                                  {.name = "from", .member = "origin"}};
    return level_print_list(cli, "/admin/v1/deployments", columns, sizeof columns / sizeof *columns,
                            "there are none");
}

int command_deployments_show(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask(cli, "GET", "", (struct text){NULL, 0}, &body);
    if (code == EXIT_GOOD)
        code = level_print_one(cli, buffer_text(&body));
    buffer_done(&body);
    return code;
}

/* ------------------------------------------------------------------------------- progress */

/* "qwen: starting, 41%, about 12 s" */
static void say_progress(struct text body, bool terminal)
{
    static char last[WORD_BYTES];
    char name[80], state[40], reason[120], words[WORD_BYTES], share[24];
    words_member(body, "name", name, sizeof name);
    words_member(body, "state", state, sizeof state);
    words_member(body, "reason", reason, sizeof reason);
    struct text progress = cli_member(body, "loading.progress");
    size_t len = (size_t)snprintf(words, sizeof words, "%s: %s", name, state);
    snprintf(share, sizeof share, "%.*s", TEXT_ARGS(text_head(progress, sizeof share - 1)));
    if (progress.at)
        len += (size_t)snprintf(words + len, sizeof words - len, ", %d%%",
                                (int)(strtod(share, NULL) * 100 + 0.5));
    if (cli_member(body, "loading.eta_seconds").at)
        len += (size_t)snprintf(words + len, sizeof words - len, ", about %lld s",
                                (long long)cli_member_int(body, "loading.eta_seconds"));
    if (reason[0])
        snprintf(words + len, sizeof words - len, " (%s)", reason);
    if (terminal)
        fprintf(stderr, "\r\033[K%s", words);
    else if (strcmp(words, last) != 0)
        fprintf(stderr, "%s\n", words);
    snprintf(last, sizeof last, "%s", words);
    fflush(stderr);
}

/* Has it come to where it stays? <code>: how it went. */
static bool is_settled(struct text body, int *code)
{
    static const char *const good[] = {"ready", "degraded", "idle", "stopped"};
    char state[40];
    words_member(body, "state", state, sizeof state);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (strcmp(state, good[i]) == 0) {
            *code = EXIT_GOOD;
            return true;
        }
    *code = EXIT_FAILED;
    return strcmp(state, "failed") == 0;
}

/* Watch it until it is ready, or has failed. */
static int wait_for(const struct cli *cli)
{
    struct buffer body;
    bool terminal = isatty(STDERR_FILENO);
    uint64_t until = clock_now_us() + (uint64_t)WAIT_MAX_S * 1000000;
    int code = EXIT_GOOD;
    bool settled = false;
    while (code == EXIT_GOOD && !settled && clock_now_us() < until) {
        usleep(LOOK_US); /* an order is under way */
        buffer_init(&body, CLI_ANSWER_BYTES_MAX);
        code = ask(cli, "GET", "", (struct text){NULL, 0}, &body);
        if (code == EXIT_GOOD) {
            say_progress(buffer_text(&body), terminal);
            settled = is_settled(buffer_text(&body), &code);
        }
        buffer_done(&body);
        if (!settled && code == EXIT_FAILED)
            code = EXIT_GOOD;
    }
    if (terminal)
        fputc('\n', stderr);
    return settled ? code : EXIT_FAILED;
}

static int show_or_wait(const struct cli *cli, int code, struct text body)
{
    if (code != EXIT_GOOD)
        return code;
    if (cli_has(cli, "wait"))
        return wait_for(cli);
    say_progress(body, false);
    return EXIT_GOOD;
}

/* --------------------------------------------------------------------------------- orders */

static int order(struct cli *cli, const char *word, struct text sent)
{
    struct buffer body;
    char behind[40];
    snprintf(behind, sizeof behind, "/%s", word);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask(cli, "POST", behind, sent, &body);
    code = show_or_wait(cli, code, buffer_text(&body));
    buffer_done(&body);
    return code;
}

int command_deployments_start(struct cli *cli)
{
    return order(cli, "start", TEXT("{}"));
}

int command_deployments_stop(struct cli *cli)
{
    return order(cli, "stop", TEXT("{}"));
}

int command_deployments_restart(struct cli *cli)
{
    return order(cli, "restart", TEXT("{}"));
}

int command_deployments_scale(struct cli *cli)
{
    char sent[80];
    uint64_t low, high;
    if (cli->argc < 2 || !text_number(text_of(cli->argv[1]), UINT32_MAX, &low) ||
        (cli->argc > 2 && !text_number(text_of(cli->argv[2]), UINT32_MAX, &high)))
        return cli_misuse(cli, "how many? sluice deployments scale NAME REPLICAS, or MIN MAX");
    if (cli->argc == 2)
        high = low;
    snprintf(sent, sizeof sent, "{\"min\":%llu,\"max\":%llu}", (unsigned long long)low,
             (unsigned long long)high);
    return order(cli, "scale", text_of(sent));
}

int command_deployments_rollout(struct cli *cli)
{
    char sent[80];
    if (cli->argc < 2 || strlen(cli->argv[1]) > 20 || strpbrk(cli->argv[1], "\"\\"))
        return cli_misuse(cli, "promote, pause, resume or rollback?");
    snprintf(sent, sizeof sent, "{\"action\":\"%s\"}", cli->argv[1]);
    return order(cli, "rollout", text_of(sent));
}

int command_deployments_delete(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask(cli, "DELETE", "", (struct text){NULL, 0}, &body);
    if (code == EXIT_GOOD)
        fprintf(stderr, "deleted the deployment %s\n", cli->argv[0]);
    buffer_done(&body);
    return code;
}

/* What is wrong with each member, as the answer has it. */
static void print_errors(struct text body)
{
    char field[80], message[WORD_BYTES], hint[80];
    struct text items = cli_member(body, "errors"), ignored, item;
    while (items.at != NULL && member_next(&items, &ignored, &item)) {
        words_member(item, "field", field, sizeof field);
        words_member(item, "message", message, sizeof message);
        words_member(item, "hint", hint, sizeof hint);
        complaint_print("%s%s%s%s%s%s", field, field[0] ? ": " : "", message,
                        hint[0] ? "; did you mean \"" : "", hint, hint[0] ? "\"?" : "");
    }
}

/* A file as a deployment stands in the configuration: YAML or JSON. */
int command_deployments_create(struct cli *cli)
{
    struct buffer document, body;
    char name[128];
    if (cli->argc == 0)
        return cli_misuse(cli, "which file? One deployment, as below deployments.models");
    buffer_init(&document, DOCUMENT_BYTES);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = config_file_to_json(cli->argv[0], &document, stderr) ? EXIT_GOOD : EXIT_FAILED;
    if (code == EXIT_GOOD)
        code = cli_send_or_complain(cli, "POST", "/admin/v1/deployments", buffer_text(&document),
                                    &body);
    if (code == EXIT_FAILED)
        print_errors(buffer_text(&body));
    if (code == EXIT_GOOD) {
        words_member(buffer_text(&body), "name", name, sizeof name);
        char *words[] = {name};
        cli->argv = words;
        cli->argc = 1;
        code = show_or_wait(cli, code, buffer_text(&body));
    }
    buffer_done(&document);
    buffer_done(&body);
    return code;
}

/* ----------------------------------------------------------------------------- what it says */

/* Call <see> for each item of the array <name> in <body>. */
static void each_of(struct text body, const char *name, void (*see)(struct text item))
{
    struct text items = cli_member(body, name), ignored, item;
    while (items.at != NULL && member_next(&items, &ignored, &item))
        see(item);
}

static void print_line(struct text item)
{
    static char room[16 << 10];
    struct text line = cli_string(item, room, sizeof room);
    for (size_t i = 0; i < line.len; i++) {
        unsigned char byte = (unsigned char)line.at[i];
        putchar(byte < ' ' && byte != '\t' ? '?' : byte); /* no server speaks to the terminal */
    }
    putchar('\n');
}

static void print_event(struct text item)
{
    char at[40], replica[100], reason[120], message[WORD_BYTES];
    words_member(item, "at", at, sizeof at);
    words_member(item, "replica", replica, sizeof replica);
    words_member(item, "reason", reason, sizeof reason);
    words_member(item, "message", message, sizeof message);
    printf("%s  %s%s%s%s%s\n", at, replica, replica[0] ? "  " : "", reason, message[0] ? ": " : "",
           message);
}

/* Print the list <member> of the page at <behind>, and, with --follow, what comes after it. */
static int print_all(struct cli *cli, const char *behind, const char *member,
                     void (*see)(struct text item))
{
    char path[256];
    int code;
    int64_t after = 0;
    do {
        struct buffer body;
        buffer_init(&body, CLI_ANSWER_BYTES_MAX);
        snprintf(path, sizeof path, "%s%safter=%lld", behind, strchr(behind, '?') ? "&" : "?",
                 (long long)after);
        code = ask(cli, "GET", after ? path : behind, (struct text){NULL, 0}, &body);
        if (code == EXIT_GOOD) {
            each_of(buffer_text(&body), member, see);
            after = cli_member_int(buffer_text(&body), "next");
        }
        buffer_done(&body);
        if (fflush(stdout) != 0)
            code = EXIT_FAILED;
        if (code == EXIT_GOOD && cli_has(cli, "follow"))
            usleep(FOLLOW_US);
    } while (code == EXIT_GOOD && cli_has(cli, "follow"));
    return code;
}

int command_deployments_logs(struct cli *cli)
{
    char behind[160];
    const char *lines = cli_value(cli, "lines"), *replica = cli_value(cli, "replica");
    uint64_t count = 100;
    if (lines && !text_number(text_of(lines), 10000, &count))
        return cli_misuse(cli, "--lines is a number up to 10000");
    if (replica && (strlen(replica) > 90 || strpbrk(replica, "&?#% ")))
        return cli_misuse(cli, "--replica is the name of one");
    snprintf(behind, sizeof behind, "/logs?n_lines=%llu%s%s", (unsigned long long)count,
             replica ? "&replica=" : "", replica ? replica : "");
    return print_all(cli, behind, "logs", print_line);
}

int command_deployments_events(struct cli *cli)
{
    return print_all(cli, "/events?limit=500", "data", print_event);
}
