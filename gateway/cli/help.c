/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "gateway/base/version.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"

/* How many commands from <c> on have the first of two words in common; 1 when it is one word. */
static size_t family_size(const struct command *c)
{
    size_t len = strcspn(c->name, " "), count = 1;
    if (c->name[len] != ' ')
        return 1;
    while (c[count].name != NULL && strncmp(c[count].name, c->name, len + 1) == 0)
        count++;
    return count;
}

/* "create | ls | show" after "keys": a family of commands in one line, or in as many as it needs.
 */
static void print_family(const struct command *c, size_t count, FILE *out)
{
    enum { WIDTH = 80, BEFORE = 23 };
    size_t len = strcspn(c->name, " "), column = 0;
    for (size_t i = 0; i < count; i++) {
        const char *word = c[i].name + len + 1;
        if (column != 0 && column + 3 + strlen(word) <= WIDTH) {
            column += (size_t)fprintf(out, " | %s", word);
            continue;
        }
        fprintf(out, column != 0 ? "\n%8s%-14.*s %s" : "%s%-14.*s %s", "", (int)len, c->name, word);
        column = BEFORE + strlen(word);
    }
    fputc('\n', out);
}

/* How many commands from <c> on are told in one row: those with the same summary, and the second
 * words of one that runs without, too. */
static size_t row_size(const struct command *c)
{
    size_t len = strlen(c->name), count = family_size(c);
    if (strchr(c->name, ' ') != NULL)
        return count;
    while (c[count].name != NULL &&
           (strcmp(c[count].summary, c->summary) == 0 ||
            (strncmp(c[count].name, c->name, len) == 0 && c[count].name[len] == ' ')))
        count++;
    return count;
}

/* "backup | restore", and the words that may follow "usage". */
static void print_row(const struct command *c, size_t count, FILE *out)
{
    char names[64];
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        if (strchr(c[i].name, ' ') == NULL)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", i > 0 ? " | " : "",
                                    c[i].name);
    fprintf(out, "%-14s %s", count == 1 ? c->name : names, c->summary);
    for (size_t i = 1; i < count; i++)
        if (strchr(c[i].name, ' ') != NULL)
            fprintf(out, " | %s", strchr(c[i].name, ' ') + 1);
    fputc('\n', out);
}

/* Fits a terminal of 80 columns and 26 lines. */
void cli_help(FILE *out)
{
    fprintf(out, "usage: sluice [-c FILE] [--admin URL] COMMAND [OPTIONS]   (version %s)\n",
            PROGRAM_VERSION);
    const char *group = "";
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        if (c->run == NULL)
            continue;
        size_t family = family_size(c), row = row_size(c);
        fprintf(out, "%-7s ", strcmp(group, c->group) != 0 ? c->group : "");
        if (family > 1)
            print_family(c, family, out);
        else
            print_row(c, row, out);
        group = c->group;
        c += row - 1;
    }
}

/* Those that share a row of the help with others, each by itself. */
static const struct alone {
    const char *name, *words;
} alone[] = {
    {"reload", "put the changed configuration in force, and drop nothing"},
    {"upgrade", "start the program anew in place, and drop nothing"},
    {"status", "what the running sluice does, and how its targets are"},
    {"healthcheck", "is it ready? exits 0 if so, else 1"},
    {"export", "single calls from the ledger, the oldest first"},
    {"logs", "calls as they are booked, the last ones or as they come"},
    {"trace", "one call: who, where it went, why there, how long, what it cost"},
    {"top", "who spends now, and how the targets are, every two seconds"},
    {"backup", "the ledger and the store of a running sluice, to a file"},
    {"restore", "the ledger and the store from such a file"},
    {"explain", "where a request would go, and why; nothing is sent"},
    {"replay", "where another policy would have sent the calls of the last days"},
    {"simulate", "what policies make of a scenario that is made up"},
    {"deployments start", "start it"},
    {"deployments stop", "stop it; no call starts it"},
    {"deployments restart", "begin anew, with the same revision"},
    {"deployments scale", "how many replicas: exactly MIN, or from MIN to MAX"},
    {"deployments logs", "what its servers wrote"},
    {"deployments events", "what happened to it"},
    {"env", "what a client wants in its environment, to be evaluated"},
    {"completion", "completion for your shell"},
    {"version", "which it is"},
};

const char *cli_help_alone(size_t i)
{
    return i < sizeof alone / sizeof alone[0] ? alone[i].name : NULL;
}

static const char *summary_of(const struct command *command)
{
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++)
        if (strcmp(alone[i].name, command->name) == 0)
            return alone[i].words;
    return command->summary;
}

void cli_help_command(const struct command *command, FILE *out)
{
    fprintf(out, "usage: sluice [-c FILE] [--admin URL] %s%s%s%s\n\n%s\n", command->name,
            command->options != NULL ? " [OPTIONS]" : "", command->args[0] != 0 ? " " : "",
            command->args, summary_of(command));
    for (const struct cli_option *o = command->options; o != NULL && o->name != NULL; o++) {
        char names[48];
        snprintf(names, sizeof names, "%s%c%s--%s%s%s", o->letter != 0 ? "-" : " ",
                 o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ", " : "  ", o->name,
                 o->arg != NULL ? " " : "", o->arg != NULL ? o->arg : "");
        fprintf(out, "%s  %-28s %s\n", o == command->options ? "\n" : "", names, o->summary);
    }
    fprintf(out, "\nexample: %s\n", command->example);
}

struct topic {
    const char *name, *words;
};

static const struct topic topics[] = {
    {"signals",
     "TERM   drain: /readyz says 503, after shutdown.drain_delay the listeners close,\n"
     "       running calls finish (at most shutdown.grace), exit 0; twice: at once\n"
     "QUIT   the same as TERM\n"
     "INT    drain without the delay; twice: at once\n"
     "HUP    reload the configuration; a broken file leaves the old one in force\n"
     "USR1   reopen the log file\n"
     "USR2   upgrade in place: the program at the same path takes over, and calls that\n"
     "       run go on; one that cannot leaves the old one as it was (sluice upgrade)\n"},
    {"exit-codes", "0   good\n"
                   "1   failed; errors found by check; not healthy in healthcheck;\n"
                   "    something differs in config diff\n"
                   "2   wrong usage; config diff failed\n"
                   "3   warnings found by check --strict\n"
                   "4   the running sluice could not be reached\n"
                   "5   not found, or not allowed\n"
                   "78  run with a bad configuration\n"},
    {"environment",
     "SLUICE_CONFIG       the configuration file\n"
     "SLUICE_LISTEN PORT  where to listen\n"
     "SLUICE_ADMIN_KEY    an admin key: what the admin API takes, and what commands with --admin "
     "send\n"
     "SLUICE_API_KEY      what `chat` and `env` use\n"
     "SLUICE_LOG_LEVEL    debug, info, warn or error\n"
     "SLUICE_WATCHDOG_MS  how long a worker may be stuck before it is aborted (2000; 0 = never);\n"
     "                    a start that hangs is after thirty times as long\n"
     "HTTPS_PROXY HTTP_PROXY NO_PROXY SSL_CERT_FILE STATE_DIRECTORY XDG_DATA_HOME\n"
     "NOTIFY_SOCKET WATCHDOG_USEC LISTEN_FDS NO_COLOR FORCE_COLOR\n"},
    {"files", "$SLUICE_CONFIG, ./sluice.yaml, /etc/sluice/sluice.yaml   the first that exists\n"
              "STATE is $STATE_DIRECTORY, else /var/lib/sluice where it is writable,\n"
              "         else $XDG_DATA_HOME/sluice, else ~/.local/share/sluice\n"
              "STATE/sluice.db    usage, in SQLite\n"
              "STATE/ledger/      journals that are not in it yet\n"
              "STATE/answers.db   kept answers to calls with an Idempotency-Key\n"
              "STATE/decisions/   how targets were chosen, for sluice replay\n"
              "STATE/content.db   what was said in calls, with store.capture: full\n"
              "STATE/jobs/        calls that are answered later, with their files\n"
              "STATE/deployments.db  model servers that were made at run time\n"
              "STATE/admin.sock   how status, reload and drain reach the running sluice\n"
              "STATE/admin_key    hash of the admin key that was made at the first start\n"
              "STATE/sluice.lock  held while it runs; its pid\n"
              "STATE/upgrade.json how the last upgrade in place has gone\n"},
};

static bool is_of_family(const struct command *c, struct text family)
{
    size_t len = strcspn(c->name, " ");
    return c->run != NULL && c->name[len] == ' ' && text_equal(family, (struct text){c->name, len});
}

bool cli_help_family(struct text family, FILE *out)
{
    int widest = 0;
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        int width = (int)(strlen(c->name) + strlen(c->args));
        if (is_of_family(c, family) && width > widest)
            widest = width;
    }
    if (widest == 0)
        return false;
    fprintf(out, "usage: sluice [-c FILE] [--admin URL] %.*s COMMAND [OPTIONS]\n\n",
            TEXT_ARGS(family));
    for (const struct command *c = cli_commands; c->name != NULL; c++)
        if (is_of_family(c, family))
            fprintf(out, "%s %-*s  %s\n", c->name, widest - (int)strlen(c->name), c->args,
                    summary_of(c));
    fprintf(out, "\nOptions: sluice help %.*s COMMAND\n", TEXT_ARGS(family));
    return true;
}

int cli_help_topic(struct text topic, FILE *out)
{
    const struct command *command = cli_command_find(topic);
    if (command != NULL && command->run != NULL) {
        cli_help_command(command, out);
        return EXIT_GOOD;
    }
    if (text_equal(topic, TEXT("config"))) {
        config_reference(out);
        return EXIT_GOOD;
    }
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
        if (text_equal(topic, text_of(topics[i].name))) {
            fputs(topics[i].words, out);
            return EXIT_GOOD;
        }
    return cli_help_family(topic, out) ? EXIT_GOOD : EXIT_NOT_FOUND;
}

/* ------------------------------------------------------------------------------- completion */

/* The second words of the commands that begin with <first>, or the operands of a choice. */
static void print_seconds(const char *first, FILE *out)
{
    size_t len = strlen(first);
    for (const struct command *c = cli_commands; c->name != NULL; c++)
        if (c->run != NULL && strncmp(c->name, first, len) == 0 && c->name[len] == ' ')
            fprintf(out, "%s ", c->name + len + 1);
}

/* The words a command may begin with, each once. */
static void print_firsts(FILE *out)
{
    char before[32] = "";
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        if (c->run == NULL)
            continue;
        char first[32];
        snprintf(first, sizeof first, "%.*s", (int)strcspn(c->name, " "), c->name);
        if (strcmp(first, before) != 0)
            fprintf(out, "%s ", first);
        memcpy(before, first, sizeof before);
    }
}

static void print_options(const struct command *command, FILE *out)
{
    for (const struct cli_option *o = command->options; o != NULL && o->name != NULL; o++)
        fprintf(out, "--%s ", o->name);
    fputs("--config --admin --help", out);
}

/* Operands that are one of a few words: "bash|zsh|fish". */
static void print_choices(const struct command *command, FILE *out)
{
    if (strchr(command->args, '|') == NULL)
        return;
    for (const char *at = command->args; *at != 0; at++)
        fputc(*at == '|' ? ' ' : *at, out);
}

/* Is <c> a second word of <of>, which runs without one, too ("usage rerate" of "usage")? */
static bool is_second_of(const struct command *c, const struct command *of)
{
    size_t len = strlen(of->name);
    return c->name != NULL && strncmp(c->name, of->name, len) == 0 && c->name[len] == ' ';
}

/* What may follow a command: its second words, its choices, its options. */
static void print_case(const struct command *c, const char *begin, const char *end, FILE *out)
{
    fprintf(out, "    '%s'*) %s", c->name, begin);
    print_seconds(c->name, out);
    print_choices(c, out);
    fputc(' ', out);
    print_options(c, out);
    fprintf(out, "%s ;;\n", end);
}

/* One for each command. The first pattern counts, so what is longer comes before. */
static void print_cases(const char *begin, const char *end, FILE *out)
{
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        const struct command *after = c + 1;
        if (c->run == NULL)
            continue;
        for (; is_second_of(after, c); after++)
            print_case(after, begin, end, out);
        print_case(c, begin, end, out);
        c = after - 1;
    }
}

static void complete_bash(FILE *out)
{
    fputs("# bash completion for sluice\n"
          "_sluice() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= i\n"
          "    case $prev in -c|--config) compopt -o default; return ;; esac\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in\n"
          "        -c|--config|--admin) ((i++)) ;;\n"
          "        -*) ;;\n"
          "        *) command=\"${command:+$command }${COMP_WORDS[i]}\" ;;\n"
          "        esac\n"
          "    done\n"
          "    local words=\n"
          "    case $command in\n"
          "    '') words='",
          out);
    print_firsts(out);
    fputs("' ;;\n", out);
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        size_t first = strcspn(c->name, " ");
        if (c->run == NULL)
            continue;
        if (c->name[first] == ' ' && strncmp(c[-1].name, c->name, first) != 0) {
            fprintf(out, "    %.*s) words='", (int)first, c->name);
            char word[32];
            snprintf(word, sizeof word, "%.*s", (int)first, c->name);
            print_seconds(word, out);
            fputs("' ;;\n", out);
        }
    }
    print_cases("words='", "'", out);
    fputs("    esac\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "    case $command in check*|'config diff'*) compopt -o default ;; esac\n"
          "}\n"
          "complete -F _sluice sluice\n",
          out);
}

/* A text inside single quotes of a shell. */
static void print_quoted(const char *text, FILE *out)
{
    for (; *text != 0; text++)
        if (*text == '\'')
            fputs("'\\''", out);
        else
            fputc(*text, out);
}

static void complete_zsh(FILE *out)
{
    fputs("#compdef sluice\n"
          "_sluice() {\n"
          "    local -a commands=(\n",
          out);
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        if (c->run == NULL)
            continue;
        fprintf(out, "        '%s:", c->name);
        print_quoted(summary_of(c), out);
        fputs("'\n", out);
    }
    fputs("    )\n"
          "    if ((CURRENT == 2)); then\n"
          "        local -aU firsts=(${commands%%[: ]*})\n"
          "        _describe command commands -- firsts\n"
          "        return\n"
          "    fi\n"
          "    case \"$words[2] $words[3]\" in\n",
          out);
    print_cases("compadd -- ", "", out);
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        size_t first = strcspn(c->name, " ");
        char word[32];
        if (c->run == NULL || c->name[first] != ' ' || strncmp(c[-1].name, c->name, first) == 0)
            continue;
        snprintf(word, sizeof word, "%.*s", (int)first, c->name);
        fprintf(out, "    '%s '*) compadd -- ", word);
        print_seconds(word, out);
        fputs(";;\n", out);
    }
    fputs("    esac\n"
          "    case \"$words[2]\" in check|config) _files ;; esac\n"
          "}\n"
          "compdef _sluice sluice\n",
          out);
}

static void complete_fish(FILE *out)
{
    fputs("# fish completion for sluice\n"
          "complete -c sluice -f\n"
          "complete -c sluice -s c -l config -r -F -d 'the configuration'\n"
          "complete -c sluice -l admin -x -d 'where the running sluice is asked'\n",
          out);
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        if (c->run == NULL)
            continue;
        size_t first = strcspn(c->name, " ");
        if (c->name[first] == ' ')
            fprintf(out,
                    "complete -c sluice -n __fish_use_subcommand -a '%.*s'\n"
                    "complete -c sluice -n '__fish_seen_subcommand_from %.*s' -a '%s' -d '",
                    (int)first, c->name, (int)first, c->name, c->name + first + 1);
        else
            fprintf(out, "complete -c sluice -n __fish_use_subcommand -a '%s' -d '", c->name);
        print_quoted(summary_of(c), out);
        fputs("'\n", out);
        for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++) {
            fprintf(out, "complete -c sluice -n '__fish_seen_subcommand_from %.*s' -l %s%s -d '",
                    (int)first, c->name, o->name, o->arg != NULL ? " -x" : "");
            print_quoted(o->summary, out);
            fputs("'\n", out);
        }
        if (strchr(c->args, '|') != NULL) {
            fprintf(out, "complete -c sluice -n '__fish_seen_subcommand_from %s' -a '", c->name);
            print_choices(c, out);
            fputs("'\n", out);
        }
    }
}

bool cli_completion(struct text shell, FILE *out)
{
    if (text_equal(shell, TEXT("bash")))
        complete_bash(out);
    else if (text_equal(shell, TEXT("zsh")))
        complete_zsh(out);
    else if (text_equal(shell, TEXT("fish")))
        complete_fish(out);
    else
        return false;
    return true;
}
