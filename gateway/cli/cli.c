/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/cli.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/config/document.h"

static const struct cli_option common_options[] = {
    {"config", 'c', "FILE",
     "the configuration, - for standard input (default: $SLUICE_CONFIG, ./sluice.yaml, "
     "/etc/sluice/sluice.yaml)"},
    {"admin", 0, "URL", "where the running sluice is asked (default: its admin socket)"},
    {"admin-key-file", 0, "FILE", "the key for --admin (default: $SLUICE_ADMIN_KEY)"},
    {"help", 'h', NULL, "show this"},
    {"version", 'V', NULL, "show the version"},
};

enum { COMMON = sizeof common_options / sizeof *common_options };

int cli_misuse(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sluice: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    if (cli->command != NULL)
        fprintf(stderr, "\nTry: sluice help %s\n", cli->command->name);
    else
        fprintf(stderr, "\nTry: sluice help\n");
    return EXIT_USAGE;
}

const char *cli_nearest(struct text name, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    unsigned best = name.len <= 3 ? 2 : 3; /* more than that is another word */
    for (size_t i = 0; i < count; i++) {
        unsigned distance = text_distance(name, text_of(names[i]), best);
        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

/* Options may be shortened as getopt_long allows it; these are found by their full name. */
static int option_index(const struct cli_option *options, const char *name)
{
    for (int i = 0; options != NULL && options[i].name != NULL; i++)
        if (strcmp(options[i].name, name) == 0)
            return i;
    return -1;
}

const char *cli_value(const struct cli *cli, const char *name)
{
    int i = option_index(cli->command->options, name);
    assert(i >= 0); /* a command asks for its own options only */
    return cli->values[i];
}

bool cli_has(const struct cli *cli, const char *name)
{
    return cli_value(cli, name) != NULL;
}

bool cli_wants_colour(int fd)
{
    const char *no = getenv("NO_COLOR"), *force = getenv("FORCE_COLOR"), *term = getenv("TERM");
    if (no != NULL && *no != 0)
        return false;
    if (force != NULL && *force != 0)
        return true;
    return isatty(fd) && term != NULL && strcmp(term, "dumb") != 0;
}

/* Put a file in the place of standard input that has what it gives, up to a little more than a
 * configuration may have: commands read their configuration more than once. */
static void keep_input(void)
{
    char piece[16384];
    int file = memfd_create("stdin", MFD_CLOEXEC);
    size_t all = 0;
    ssize_t got = 1;
    bool is_good = file >= 0;
    while (is_good && got > 0 && all <= CONFIG_FILE_BYTES_MAX) {
        got = read(STDIN_FILENO, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            got = 1; /* once more */
        else
            is_good = got >= 0 && write(file, piece, (size_t)got) == got;
        all += got > 0 ? (size_t)got : 0;
    }
    memory_wipe(piece, sizeof piece);
    if (file < 0)
        return; /* it is read once, then */
    if (is_good)
        dup2(file, STDIN_FILENO);
    else
        close(STDIN_FILENO); /* a part of it is no configuration */
    close(file);
}

const char *cli_file(const char *name)
{
    static bool is_kept;
    if (strcmp(name, "-") != 0)
        return name;
    if (!is_kept)
        keep_input();
    is_kept = true;
    return "/dev/stdin";
}

const char *cli_config_path(const struct cli *cli)
{
    const char *found = cli->config != NULL ? cli->config : config_find();
    return found != NULL ? cli_file(found) : NULL;
}

struct config *cli_config_load(const struct cli *cli)
{
    const char *path = cli_config_path(cli);
    struct config_options options = {
        .path = path, .quickstart = path == NULL, .allow_inert = true, .allow_unset = true};
    struct config_result result = config_load(&options);
    if (result.config == NULL) {
        options.words = stderr; /* only now: the warnings of a good file are not asked for here */
        result = config_load(&options);
    }
    return result.config;
}

/* ------------------------------------------------------------------------------ parsing */

/* getopt_long's tables, made from ours: the common options first, then the command's. */
struct getopt_tables {
    struct option rows[COMMON + CLI_OPTIONS_MAX + 1];
    char letters[2 * (COMMON + CLI_OPTIONS_MAX) + 3];
    const struct cli_option *ours[COMMON + CLI_OPTIONS_MAX];
    int count;
};

static void add_row(struct getopt_tables *tables, const struct cli_option *option)
{
    assert(tables->count < COMMON + CLI_OPTIONS_MAX);
    int row = tables->count++;
    int has_value = option->arg != NULL ? required_argument : no_argument;
    tables->ours[row] = option;
    tables->rows[row] = (struct option){option->name, has_value, NULL, 256 + row};
    if (option->letter != 0) {
        char *end = tables->letters + strlen(tables->letters);
        *end++ = option->letter;
        if (option->arg != NULL)
            *end++ = ':';
        *end = 0;
    }
}

static void make_tables(struct getopt_tables *tables, const struct command *command)
{
    memset(tables, 0, sizeof *tables);
    /* Before the command: stop at the first operand, which is the command. */
    strcpy(tables->letters, command == NULL ? "+:" : ":");
    for (int i = 0; i < COMMON; i++)
        add_row(tables, &common_options[i]);
    for (int i = 0; command != NULL && command->options != NULL && command->options[i].name != NULL;
         i++)
        add_row(tables, &command->options[i]);
}

static int find_row(const struct getopt_tables *tables, int got)
{
    if (got >= 256)
        return got - 256;
    for (int i = 0; i < tables->count; i++)
        if (tables->ours[i]->letter == got)
            return i;
    return -1;
}

static int complain_option(const struct cli *cli, const struct getopt_tables *tables, int got,
                           char *const *argv)
{
    const char *word = argv[optind - 1];
    if (got == ':')
        return cli_misuse(cli, "%s needs a value", word);
    const char *names[COMMON + CLI_OPTIONS_MAX];
    for (int i = 0; i < tables->count; i++)
        names[i] = tables->ours[i]->name;
    const char *near = NULL;
    if (optopt == 0 && strncmp(word, "--", 2) == 0)
        near = cli_nearest(text_of(word + 2), names, (size_t)tables->count);
    if (near != NULL)
        return cli_misuse(cli, "unknown option \"%s\"; did you mean \"--%s\"?", word, near);
    if (optopt > 0 && optopt < 256)
        return cli_misuse(cli, "unknown option \"-%c\"", optopt);
    return cli_misuse(cli, "unknown option \"%s\"", word);
}

/* A common option; -1 to go on. */
static int take_common(struct cli *cli, int row, const char *value)
{
    switch (row) {
    case 0:
        cli->config = value;
        return -1;
    case 1:
        cli->admin = value;
        return -1;
    case 2:
        cli->admin_key_file = value;
        return -1;
    case 3:
        if (cli->command != NULL)
            cli_help_command(cli->command, stdout);
        else
            cli_help(stdout);
        return EXIT_GOOD;
    default:
        printf("sluice %s\n", PROGRAM_VERSION);
        return EXIT_GOOD;
    }
}

/* Read options with getopt_long; -1 when all were good, else the exit code. */
static int read_options(struct cli *cli, int argc, char **argv)
{
    struct getopt_tables tables;
    make_tables(&tables, cli->command);
    optind = 0; /* glibc: begin anew, also with the ordering */
    opterr = 0;
    for (;;) {
        int got = getopt_long(argc, argv, tables.letters, tables.rows, NULL);
        if (got == -1)
            return -1;
        int row = got == '?' || got == ':' ? -1 : find_row(&tables, got);
        if (row < 0)
            return complain_option(cli, &tables, got, argv);
        if (row < COMMON) {
            int code = take_common(cli, row, optarg);
            if (code >= 0)
                return code;
        } else {
            cli->values[row - COMMON] = optarg != NULL ? optarg : "";
        }
    }
}

const struct command *cli_command_find(struct text name)
{
    for (const struct command *command = cli_commands; command->name != NULL; command++)
        if (text_equal(text_of(command->name), name))
            return command;
    return NULL;
}

/* "config show" is one command in two words. Returns how many words it took, 0 = unknown. */
static int find_command(struct cli *cli, int argc, char **argv)
{
    char both[64];
    if (argc > 1) {
        snprintf(both, sizeof both, "%s %s", argv[0], argv[1]);
        cli->command = cli_command_find(text_of(both));
        if (cli->command != NULL)
            return 2;
    }
    cli->command = cli_command_find(text_of(argv[0]));
    return cli->command != NULL ? 1 : 0;
}

static bool is_first_word(struct text word, const char *name)
{
    return text_starts(text_of(name), word) && name[word.len] == ' ';
}

/* What is no command: a word of none, or the first of two. */
static int complain_command(const struct cli *cli, int argc, char **argv)
{
    const char *names[96] = {NULL};
    size_t count = 0;
    bool is_group = false;
    for (const struct command *c = cli_commands; c->name != NULL; c++) {
        assert(count < sizeof names / sizeof *names);
        if (c->run != NULL)
            names[count++] = c->name;
        is_group = is_group || is_first_word(text_of(argv[0]), c->name);
    }
    if (is_group && argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        cli_help_family(text_of(argv[0]), stdout);
        return EXIT_GOOD;
    }
    char both[64];
    snprintf(both, sizeof both, "%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
    const char *near = is_group ? NULL : cli_nearest(text_of(argv[0]), names, count);
    if (near == NULL && argc > 1)
        near = cli_nearest(text_of(both), names, count);
    if (near != NULL)
        return cli_misuse(cli, "unknown command \"%s\"; did you mean \"%s\"?",
                          strchr(near, ' ') != NULL ? both : argv[0], near);
    if (!is_group)
        return cli_misuse(cli, "unknown command \"%s\"", argv[0]);
    fprintf(stderr, "sluice: \"%s\" needs one of:", argv[0]);
    for (const struct command *c = cli_commands; c->name != NULL; c++)
        if (is_first_word(text_of(argv[0]), c->name) && c->run != NULL)
            fprintf(stderr, " %s", strchr(c->name, ' ') + 1);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

/* nginx' hands: -t for check, -s SIGNAL. Rewritten before anything is parsed. */
static const char *habit(const char *first, const char *second, int *words)
{
    *words = 1;
    if (first != NULL && strcmp(first, "-t") == 0)
        return "check";
    if (first == NULL || second == NULL || strcmp(first, "-s") != 0)
        return NULL;
    *words = 2;
    if (strcmp(second, "reload") == 0)
        return "reload";
    if (strcmp(second, "quit") == 0 || strcmp(second, "stop") == 0)
        return "drain";
    return NULL;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    memset(cli, 0, sizeof *cli);
    int words = 0;
    const char *name = argc > 1 ? habit(argv[1], argc > 2 ? argv[2] : NULL, &words) : NULL;
    if (name != NULL) {
        cli->command = cli_command_find(text_of(name));
        argc -= words;
        argv += words;
    } else {
        int code = read_options(cli, argc, argv);
        if (code >= 0)
            return code;
        argc -= optind;
        argv += optind;
        if (argc == 0) {
            cli_help(stderr);
            return EXIT_USAGE;
        }
        words = find_command(cli, argc, argv);
        if (words == 0)
            return complain_command(cli, argc, argv);
        argc -= words - 1; /* getopt wants a word before the options */
        argv += words - 1;
    }
    if (cli->command->run == NULL) {
        complaint_print("\"%s\" is not in this version yet", cli->command->name);
        return EXIT_USAGE;
    }
    int code = read_options(cli, argc, argv);
    if (code >= 0)
        return code;
    cli->argc = argc - optind;
    cli->argv = argv + optind;
    if (cli->argc > (int)cli->command->operands_max)
        return cli_misuse(cli, "\"%s\" is one word too many for \"%s\"",
                          cli->argv[cli->command->operands_max], cli->command->name);
    return -1;
}

int cli_main(int argc, char **argv)
{
    struct cli cli;
    int code = cli_parse(&cli, argc, argv);
    if (code < 0)
        code = cli.command->run(&cli);
    /* A full disk or a closed pipe must not look like success, whoever flushed first. */
    if ((fflush(stdout) != 0 || ferror(stdout) != 0) && code == EXIT_GOOD) {
        complaint_print("cannot write to the standard output");
        code = EXIT_FAILED;
    }
    return code;
}
