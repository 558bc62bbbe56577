/* SPDX-License-Identifier: Apache-2.0 */
/* tenants, and the counters of limits. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/level.h"
#include "gateway/cli/table.h"

static bool tenant_path(struct buffer *path, const char *name)
{
    buffer_init(path, CLI_PATH_BYTES_MAX);
    buffer_append_text(path, TEXT("/admin/v1/tenants/"));
    cli_escape(path, text_of(name));
    return buffer_append(path, "", 1);
}

static int ask_tenant(struct cli *cli, const char *method, struct buffer *body)
{
    struct buffer path;
    if (cli->argc == 0)
        return cli_misuse(cli, "which tenant? sluice tenants ls shows their names");
    bool fits = tenant_path(&path, cli->argv[0]);
    int code = fits ? cli_ask_or_complain(cli, method, buffer_text(&path).at, body)
                    : cli_misuse(cli, "the name is too long");
    buffer_done(&path);
    return code;
}

int command_tenants_ls(struct cli *cli)
{
    static const struct level_column columns[] = {
        {.name = "name", .member = "name"},
        {.name = "parent", .member = "parent"},
        {.name = "models", .member = "models"},
        {.name = "limits", .member = "limits"},
        {.name = "budget", .member = "budget", .shown = SHOWN_AS_BUDGET},
        {.name = "off", .member = "off"}};
    return level_print_list(cli, "/admin/v1/tenants", columns, sizeof columns / sizeof *columns,
                            "there are none");
}

int command_tenants_show(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask_tenant(cli, "GET", &body);
    if (code == EXIT_GOOD)
        code = level_print_one(cli, buffer_text(&body));
    buffer_done(&body);
    return code;
}

int command_tenants_rm(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask_tenant(cli, "DELETE", &body);
    if (code == EXIT_GOOD)
        fprintf(stderr, "removed the tenant %s\n", cli->argv[0]);
    buffer_done(&body);
    return code;
}

/* What is to be set; with its name when it is to be made. */
static bool write_tenant(const struct cli *cli, bool makes, struct buffer *out, struct fault *fault)
{
    struct json_write json = {.out = out};
    const char *parent = cli_value(cli, "parent");
    buffer_clear(out);
    json_open(&json, '{');
    if (makes)
        json_text_member(&json, "name", text_of(cli->argv[0]));
    if (parent != NULL)
        json_text_member(&json, "parent", text_of(parent));
    if (cli_has(cli, "off") || cli_has(cli, "on"))
        json_bool_member(&json, "off", cli_has(cli, "off"));
    if (!level_write(cli, &json, fault))
        return false;
    json_close(&json, '}');
    return true;
}

/* Is it there? */
static bool tenant_is_known(const struct cli *cli, const char *path)
{
    struct buffer body;
    struct fault why;
    struct cli_question question = {.method = "GET", .path = path};
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    unsigned status = cli_ask(cli, &question, &body, &why);
    buffer_done(&body);
    return status == 200;
}

/* Make it, or change it. */
int command_tenants_set(struct cli *cli)
{
    struct buffer path, sent, body;
    struct fault fault;
    if (cli->argc == 0)
        return cli_misuse(cli, "which tenant? sluice tenants set NAME --limits …");
    if (!tenant_path(&path, cli->argv[0]))
        return cli_misuse(cli, "the name is too long");
    buffer_init(&sent, LEVEL_BODY_BYTES);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    bool makes = !tenant_is_known(cli, buffer_text(&path).at);
    int code = EXIT_GOOD;
    if (!write_tenant(cli, makes, &sent, &fault))
        code = cli_misuse(cli, "%s", fault.text);
    else
        code = cli_send_or_complain(cli, makes ? "POST" : "PATCH",
                                    makes ? "/admin/v1/tenants" : buffer_text(&path).at,
                                    buffer_text(&sent), &body);
    if (code == EXIT_GOOD)
        code = level_print_one(cli, buffer_text(&body));
    buffer_done(&path);
    buffer_done(&sent);
    buffer_done(&body);
    return code;
}

int command_limits_ls(struct cli *cli)
{
    static const struct level_column columns[] = {
        {.name = "level", .member = "level"},
        {.name = "tenant", .member = "tenant"},
        {.name = "key", .member = "key"},
        {.name = "user", .member = "user"},
        {.name = "model", .member = "model"},
        {.name = "limit", .member = "limit"},
        {.name = "unit", .member = "unit", .shown = SHOWN_AS_UNIT},
        {.name = "amount", .member = "amount", .shown = SHOWN_AS_AMOUNT},
        {.name = "used", .member = "used", .shown = SHOWN_AS_AMOUNT},
        {.name = "held", .member = "held", .shown = SHOWN_AS_AMOUNT},
        {.name = "left", .member = "left", .shown = SHOWN_AS_AMOUNT},
        {.name = "reset_ms", .member = "reset_ms", .shown = SHOWN_AS_TIME, .title = "free in"},
        {.name = "of nodes", .member = "nodes"}};
    const char *tenant = cli_value(cli, "tenant");
    struct buffer path;
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_append_text(&path, TEXT("/admin/v1/limits"));
    if (tenant != NULL) {
        buffer_append_text(&path, TEXT("?tenant="));
        cli_escape(&path, text_of(tenant));
    }
    bool fits = buffer_append(&path, "", 1);
    int code =
        fits ? level_print_list(
                   cli, buffer_text(&path).at, columns, sizeof columns / sizeof *columns,
                   "nothing is counted yet: a limit or budget is shown from its first call on")
             : cli_misuse(cli, "the name is too long");
    buffer_done(&path);
    return code;
}
