/* SPDX-License-Identifier: Apache-2.0 */
/* jobs: listed, shown, cancelled. */
#include <stdio.h>

#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/level.h"

int command_jobs_ls(struct cli *cli)
{
    static const struct level_column columns[] = {{.name = "id", .member = "id"},
                                                  {.name = "tenant", .member = "tenant"},
                                                  {.name = "status", .member = "status"},
                                                  {.name = "kind", .member = "kind"},
                                                  {.name = "model", .member = "model"},
                                                  {.name = "created", .member = "created_at"},
                                                  {.name = "ended", .member = "ended_at"},
                                                  {.name = "attempts", .member = "attempts"},
                                                  {.name = "cost_nanos", .member = "cost_nanos"}};
    static const char *const filters[] = {"tenant", "status"};
    struct buffer path;
    char mark = '?';
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_append_text(&path, TEXT("/admin/v1/jobs"));
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *value = cli_value(cli, filters[i]);
        if (value == NULL)
            continue;
        buffer_format(&path, "%c%s=", mark, filters[i]);
        cli_escape(&path, text_of(value));
        mark = '&';
    }
    bool fits = buffer_append(&path, "", 1);
    int code = fits ? level_print_list(cli, buffer_text(&path).at, columns,
                                       sizeof columns / sizeof *columns, "there are none")
                    : cli_misuse(cli, "the name is too long");
    buffer_done(&path);
    return code;
}

static int ask_job(struct cli *cli, const char *method, struct buffer *body)
{
    struct buffer path;
    if (cli->argc == 0)
        return cli_misuse(cli, "which job? sluice jobs ls shows their ids");
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_append_text(&path, TEXT("/admin/v1/jobs/"));
    cli_escape(&path, text_of(cli->argv[0]));
    int code =
        buffer_append(&path, "", 1)
            ? cli_send_or_complain(cli, method, buffer_text(&path).at, (struct text){NULL, 0}, body)
            : cli_misuse(cli, "the id is too long");
    buffer_done(&path);
    return code;
}

int command_jobs_show(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask_job(cli, "GET", &body);
    if (code == EXIT_GOOD)
        code = level_print_one(cli, buffer_text(&body));
    buffer_done(&body);
    return code;
}

int command_jobs_cancel(struct cli *cli)
{
    char room[40];
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask_job(cli, "DELETE", &body);
    if (code == EXIT_GOOD) {
        struct text status = cli_member_text(buffer_text(&body), "status", room, sizeof room);
        fprintf(stderr, "job %s: %.*s\n", cli->argv[0],
                TEXT_ARGS(text_equal(status, TEXT("IN_PROGRESS")) ? TEXT("it is being cancelled")
                                                                  : status));
    }
    buffer_done(&body);
    return code;
}
