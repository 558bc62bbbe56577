/* SPDX-License-Identifier: Apache-2.0 */
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/http.h"

enum { KEY_MAX = 512 }; /* as in gateway/http/path.h */

/* The bytes that a credential may have; any other key could never be sent. */
static bool key_may_be_sent(struct text key)
{
    static const char more[] = "-._~+/=:";
    for (size_t i = 0; i < key.len; i++) {
        char c = key.at[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && (c == 0 || strchr(more, c) == NULL))
            return false;
    }
    return key.len > 0 && key.len <= KEY_MAX;
}

static void print_hash(struct text key)
{
    struct digest digest = hash_sha256(key);
    char hex[HEX_BYTES];
    hash_hex(&digest, hex);
    printf("sha256:%s\n", hex);
}

/* 32 random bytes as "sk-sluice-…" in base64url. */
static void make_key(char out[64])
{
    unsigned char bytes[32];
    char base64[4 * ((sizeof bytes + 2) / 3) + 1];
    hash_random(bytes, sizeof bytes);
    size_t len = hash_base64(bytes, sizeof bytes, base64);
    while (len > 0 && base64[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++)
        base64[i] = base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i];
    snprintf(out, 64, "sk-sluice-%.*s", (int)len, base64);
    memory_wipe(bytes, sizeof bytes);
    memory_wipe(base64, sizeof base64);
}

/* One line from stdin, without showing it on a terminal. */
static size_t read_secret(char *out, size_t room)
{
    struct termios before, quiet;
    bool is_terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (is_terminal) {
        fputs("key: ", stderr);
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
    }
    size_t len = fgets(out, (int)room, stdin) != NULL ? strcspn(out, "\r\n") : 0;
    if (is_terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
        fputc('\n', stderr);
    }
    return len;
}

int command_hash_key(struct cli *cli)
{
    enum { SHORT_BYTES = 16 };
    char made[64], typed[KEY_MAX + 8];
    struct text key = {typed, 0};
    if (cli_has(cli, "new") && cli->argc > 0)
        return cli_misuse(cli, "either --new or a KEY");
    if (cli_has(cli, "new")) {
        make_key(made);
        fprintf(stderr, "The key, shown only now; its hash goes into the configuration:\n");
        printf("%s\n", made);
        key = text_of(made);
    } else if (cli->argc > 0) {
        key = text_of(cli->argv[0]);
    } else {
        key.len = read_secret(typed, sizeof typed);
    }
    if (!key_may_be_sent(key))
        return cli_misuse(cli, "a key has 1 to %d bytes of A-Z a-z 0-9 - . _ ~ + / = :", KEY_MAX);
    if (key.len < SHORT_BYTES)
        fprintf(stderr,
                "sluice: a key of fewer than %d characters can be guessed; --new makes one\n",
                SHORT_BYTES);
    print_hash(key);
    memory_wipe(typed, sizeof typed);
    memory_wipe(made, sizeof made);
    return EXIT_GOOD;
}

/* ------------------------------------------------------------------------------------- env */

struct client {
    const char *name;
    struct {
        const char *variable, *suffix; /* suffix NULL: the key, else it goes behind the URL */
    } set[4];
    const char *hint; /* what else is to be written, in which "URL" stands for it; or NULL */
};

static const struct client clients[] = {
    {"openai", {{"OPENAI_BASE_URL", "/v1"}, {"OPENAI_API_KEY", NULL}}, NULL},
    {"anthropic", {{"ANTHROPIC_BASE_URL", ""}, {"ANTHROPIC_API_KEY", NULL}}, NULL},
    {"gemini", {{"GOOGLE_GEMINI_BASE_URL", ""}, {"GEMINI_API_KEY", NULL}}, NULL},
    {"claude-code", {{"ANTHROPIC_BASE_URL", ""}, {"ANTHROPIC_AUTH_TOKEN", NULL}}, NULL},
    {"codex",
     {{"OPENAI_BASE_URL", "/v1"}, {"OPENAI_API_KEY", NULL}},
     "# ~/.codex/config.toml: model_provider = \"sluice\" and [model_providers.sluice]\n"
     "#   name = \"sluice\"  base_url = \"URL/v1\"  env_key = \"OPENAI_API_KEY\"  wire_api = "
     "\"responses\"\n"},
};

static void print_variable(bool is_fish, const char *name, const char *value, const char *suffix)
{
    printf(is_fish ? "set -gx %s '" : "export %s='", name);
    for (; *value != 0; value++)
        if (*value == '\'')
            fputs(is_fish ? "\\'" : "'\\''", stdout);
        else if (*value == '\\' && is_fish)
            fputs("\\\\", stdout);
        else
            putchar(*value);
    printf("%s'\n", suffix);
}

int command_env(struct cli *cli)
{
    const struct client *client = NULL;
    for (size_t i = 0; cli->argc > 0 && i < sizeof clients / sizeof *clients; i++)
        if (strcmp(cli->argv[0], clients[i].name) == 0)
            client = &clients[i];
    if (client == NULL)
        return cli_misuse(cli, "name a client: openai, anthropic, gemini, claude-code or codex");
    const char *key = cli_value(cli, "key"), *shell = cli_value(cli, "shell");
    const char *given = cli_value(cli, "url");
    if (given != NULL && !text_starts(text_of(given), TEXT("http://")) &&
        !text_starts(text_of(given), TEXT("https://")))
        return cli_misuse(
            cli, "--url begins with http:// or https://, which clients need; not \"%s\"", given);
    if (key == NULL)
        key = getenv("SLUICE_API_KEY");
    if (key == NULL || *key == 0)
        key = "local";
    if (shell == NULL)
        shell = getenv("SHELL");
    bool is_fish = shell != NULL && text_ends(text_of(shell), TEXT("fish"));
    char *url = cli_gateway_url(given);
    for (size_t i = 0; i < 4 && client->set[i].variable != NULL; i++) {
        const char *suffix = client->set[i].suffix;
        print_variable(is_fish, client->set[i].variable, suffix != NULL ? url : key,
                       suffix != NULL ? suffix : "");
    }
    const char *hole = client->hint ? strstr(client->hint, "URL") : NULL;
    if (hole)
        printf("%.*s%s%s", (int)(hole - client->hint), client->hint, url, hole + strlen("URL"));
    memory_free(url);
    return EXIT_GOOD;
}

/* -------------------------------------------------------------------- version, completion, help */

int command_version(struct cli *cli)
{
    const char *format = cli_value(cli, "format");
    bool json = format != NULL && strcmp(format, "json") == 0;
    if (format != NULL && !json && strcmp(format, "text") != 0)
        return cli_misuse(cli, "--format is text or json, not \"%s\"", format);
    if (json) {
        printf("{\"version\":\"%s\",\"compiler\":\"%s\",\"libc\":\"%s\"}\n", PROGRAM_VERSION,
               __VERSION__, gnu_get_libc_version());
        return EXIT_GOOD;
    }
    printf("sluice %s\n", PROGRAM_VERSION);
    if (cli_has(cli, "build"))
        printf("compiler  %s\nC library %s\nlicence   Apache-2.0\n", __VERSION__,
               gnu_get_libc_version());
    return EXIT_GOOD;
}

int command_completion(struct cli *cli)
{
    if (cli->argc == 0 || !cli_completion(text_of(cli->argv[0]), stdout))
        return cli_misuse(cli, "name a shell: bash, zsh or fish");
    return EXIT_GOOD;
}

int command_help(struct cli *cli)
{
    if (cli->argc == 0) {
        cli_help(stdout);
        return EXIT_GOOD;
    }
    char topic[64];
    snprintf(topic, sizeof topic, "%s%s%s", cli->argv[0], cli->argc > 1 ? " " : "",
             cli->argc > 1 ? cli->argv[1] : "");
    int code = cli_help_topic(text_of(topic), stdout);
    if (code == EXIT_NOT_FOUND)
        complaint_print("no help on \"%s\"; there is: any COMMAND, config, signals, exit-codes, "
                        "environment, files",
                        topic);
    return code;
}
