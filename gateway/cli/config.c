/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"

int command_init(struct cli *cli)
{
    (void)cli;
    config_example(stdout);
    return EXIT_GOOD;
}

int command_config_schema(struct cli *cli)
{
    (void)cli;
    config_schema(stdout);
    return EXIT_GOOD;
}

/* What the running one has in force: its file may have been changed since it was read. */
static int show_running(const struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = cli_ask_or_complain(
        cli, "GET", cli_has(cli, "origin") ? "/admin/v1/config" : "/admin/v1/config?origin=false",
        &body);
    if (code == EXIT_GOOD)
        fwrite(buffer_text(&body).at, 1, buffer_length(&body), stdout);
    buffer_done(&body);
    return code;
}

int command_config_show(struct cli *cli)
{
    if (cli->admin != NULL || (cli_has(cli, "effective") && cli_is_running(cli)))
        return show_running(cli);
    struct config *config = cli_config_load(cli);
    if (config == NULL)
        return EXIT_FAILED;
    config_show(config, stdout, SHOW_HASHES | (cli_has(cli, "origin") ? SHOW_ORIGINS : 0));
    config_unref(config);
    return EXIT_GOOD;
}

static struct config *load_file(const char *path)
{
    struct config_options options = {.path = path, .allow_inert = true, .words = stderr};
    return config_load(&options).config;
}

static int report(unsigned changes)
{
    if (changes == 0)
        fputs("no difference\n", stderr);
    return changes == 0 ? EXIT_GOOD : EXIT_FAILED; /* as diff(1) */
}

/* The file in use against another one; nothing need run. */
static int diff_files(const struct cli *cli)
{
    const char *path = cli_config_path(cli);
    if (path == NULL)
        return cli_misuse(cli, "there is no configuration to compare %s with; name it with -c",
                          cli->argv[0]);
    struct config *before = load_file(path), *after = load_file(cli_file(cli->argv[0]));
    int code = EXIT_USAGE;
    if (before != NULL && after != NULL)
        code = report(config_diff(before, after, stdout));
    if (before != NULL)
        config_unref(before);
    if (after != NULL)
        config_unref(after);
    return code;
}

/* What a reload would change: the running one is asked, for it knows what is in force. */
static int diff_running(const struct cli *cli)
{
    struct buffer body;
    char room[4096];
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = cli_ask_or_complain(cli, "GET", "/admin/v1/config/diff", &body);
    struct text lines = cli_member(buffer_text(&body), "changed"), name, line;
    if (code == EXIT_FAILED) { /* the file has errors */
        lines = cli_member(buffer_text(&body), "text");
        while (lines.at != NULL && member_next(&lines, &name, &line))
            fprintf(stderr, "%.*s\n", TEXT_ARGS(cli_string(line, room, sizeof room)));
        code = EXIT_USAGE;
    } else if (code == EXIT_GOOD) {
        while (lines.at != NULL && member_next(&lines, &name, &line))
            printf("%.*s\n", TEXT_ARGS(cli_string(line, room, sizeof room)));
        code = report((unsigned)cli_member_int(buffer_text(&body), "changes"));
    }
    buffer_done(&body);
    return code;
}

int command_config_diff(struct cli *cli)
{
    return cli->argc > 0 ? diff_files(cli) : diff_running(cli);
}
