/* SPDX-License-Identifier: Apache-2.0 */
/* keys: made, shown, given a second secret, revoked. A secret is on stdout, once; words on stderr.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/level.h"
#include "gateway/cli/table.h"

enum { SECRET_BYTES = 256, ID_BYTES = 300 };

/* "/admin/v1/keys/ID/rotate" in <path>, closed with a NUL; false when it is too long. */
static bool key_path(struct buffer *path, const char *id, const char *more)
{
    buffer_init(path, CLI_PATH_BYTES_MAX);
    buffer_append_text(path, TEXT("/admin/v1/keys/"));
    cli_escape(path, text_of(id));
    buffer_append_text(path, text_of(more));
    return buffer_append(path, "", 1);
}

/* An answer with a secret in it: that alone, so that it can be kept in a variable, or all of it. */
static int print_secret(const struct cli *cli, struct text json, const char *words)
{
    const char *format = cli_value(cli, "format");
    char secret[SECRET_BYTES], id[ID_BYTES];
    if (format != NULL && strcmp(format, "json") == 0) {
        printf("%.*s\n", TEXT_ARGS(json));
        return EXIT_GOOD;
    }
    struct text shown = cli_member_text(json, "id", id, sizeof id);
    fprintf(stderr, "%s %.*s; its secret is shown only now:\n", words, TEXT_ARGS(shown));
    shown = cli_member_text(json, "secret", secret, sizeof secret);
    printf("%.*s\n", TEXT_ARGS(shown));
    memory_wipe(secret, sizeof secret);
    return EXIT_GOOD;
}

static bool is_format_good(const struct cli *cli)
{
    const char *format = cli_value(cli, "format");
    return format == NULL || strcmp(format, "json") == 0 || strcmp(format, "table") == 0;
}

static bool write_key(const struct cli *cli, struct json_write *json, struct fault *fault)
{
    const char *expires = cli_value(cli, "expires"), *tenant = cli_value(cli, "tenant");
    json_open(json, '{');
    json_text_member(json, "tenant", text_of(tenant != NULL ? tenant : ""));
    if (cli->argc > 0)
        json_text_member(json, "name", text_of(cli->argv[0]));
    if (expires != NULL && !level_write_expires(expires, json, fault))
        return false;
    if (!level_write(cli, json, fault))
        return false;
    json_close(json, '}');
    return true;
}

int command_keys_create(struct cli *cli)
{
    struct buffer sent, body;
    struct fault fault;
    struct json_write json = {.out = &sent};
    if (cli_value(cli, "tenant") == NULL || cli->argc == 0)
        return cli_misuse(cli, "whose key? sluice keys create NAME --tenant TENANT");
    if (!is_format_good(cli))
        return cli_misuse(cli, "--format is table or json, not \"%s\"", cli_value(cli, "format"));
    buffer_init(&sent, LEVEL_BODY_BYTES);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = EXIT_GOOD;
    if (!write_key(cli, &json, &fault))
        code = cli_misuse(cli, "%s", fault.text);
    else
        code = cli_send_or_complain(cli, "POST", "/admin/v1/keys", buffer_text(&sent), &body);
    if (code == EXIT_GOOD)
        print_secret(cli, buffer_text(&body), "made the key");
    if (body.data != NULL)
        memory_wipe(body.data, body.capacity);
    buffer_done(&sent);
    buffer_done(&body);
    return code;
}

int command_keys_ls(struct cli *cli)
{
    static const struct level_column columns[] = {
        {.name = "id", .member = "id"},
        {.name = "tenant", .member = "tenant"},
        {.name = "name", .member = "name"},
        {.name = "models", .member = "models"},
        {.name = "limits", .member = "limits"},
        {.name = "budget", .member = "budget", .shown = SHOWN_AS_BUDGET},
        {.name = "expires", .member = "expires_at"},
        {.name = "origin", .member = "origin"},
        {.name = "prefix", .member = "prefix"}};
    static const struct level_column with_revoked[] = {{.name = "id", .member = "id"},
                                                       {.name = "tenant", .member = "tenant"},
                                                       {.name = "name", .member = "name"},
                                                       {.name = "expires", .member = "expires_at"},
                                                       {.name = "origin", .member = "origin"},
                                                       {.name = "prefix", .member = "prefix"},
                                                       {.name = "revoked", .member = "revoked_at"}};
    const char *tenant = cli_value(cli, "tenant");
    bool revoked = cli_has(cli, "revoked");
    struct buffer path;
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_format(&path, "/admin/v1/keys?revoked=%s", revoked ? "true" : "false");
    if (tenant != NULL) {
        buffer_append_text(&path, TEXT("&tenant="));
        cli_escape(&path, text_of(tenant));
    }
    int code = EXIT_USAGE;
    if (!buffer_append(&path, "", 1))
        code = cli_misuse(cli, "the name is too long");
    else if (revoked)
        code = level_print_list(cli, buffer_text(&path).at, with_revoked,
                                sizeof with_revoked / sizeof *with_revoked, "there are none");
    else
        code = level_print_list(cli, buffer_text(&path).at, columns,
                                sizeof columns / sizeof *columns, "there are none");
    buffer_done(&path);
    return code;
}

/* One question about the key that is named; its answer is in <body>. */
static int ask_key(struct cli *cli, const char *method, const char *more, struct text sent,
                   struct buffer *body)
{
    struct buffer path;
    if (cli->argc == 0)
        return cli_misuse(cli, "which key? sluice keys ls shows their ids");
    bool fits = key_path(&path, cli->argv[0], more);
    int code = fits ? cli_send_or_complain(cli, method, buffer_text(&path).at, sent, body)
                    : cli_misuse(cli, "the id is too long");
    buffer_done(&path);
    return code;
}

int command_keys_show(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask_key(cli, "GET", "", (struct text){NULL, 0}, &body);
    if (code == EXIT_GOOD)
        code = level_print_one(cli, buffer_text(&body));
    buffer_done(&body);
    return code;
}

int command_keys_rotate(struct cli *cli)
{
    const char *overlap = cli_value(cli, "overlap");
    struct buffer sent, body;
    struct json_write json = {.out = &sent};
    if (!is_format_good(cli))
        return cli_misuse(cli, "--format is table or json, not \"%s\"", cli_value(cli, "format"));
    buffer_init(&sent, LEVEL_BODY_BYTES);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    json_open(&json, '{');
    if (overlap != NULL)
        json_text_member(&json, "overlap", text_of(overlap));
    json_close(&json, '}');
    int code = ask_key(cli, "POST", "/rotate", buffer_text(&sent), &body);
    if (code == EXIT_GOOD)
        print_secret(cli, buffer_text(&body), "a second secret of the key");
    if (body.data != NULL)
        memory_wipe(body.data, body.capacity);
    buffer_done(&sent);
    buffer_done(&body);
    return code;
}

int command_keys_revoke(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = ask_key(cli, "DELETE", "", (struct text){NULL, 0}, &body);
    if (code == EXIT_GOOD)
        fprintf(stderr, "revoked %s: it opens nothing any more\n", cli->argv[0]);
    buffer_done(&body);
    return code;
}
