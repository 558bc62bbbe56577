/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cli - the command line. One table of commands (cli/commands.c) gives parsing, help, completion
 * and "did you mean".
 *
 * Data goes to stdout, words go to stderr. Every error is one to three lines and says what to do
 * next.
 */

#include <stdbool.h>
#include <stdio.h>

#include "gateway/base/text.h"
#include "gateway/complaint.h"
#include "gateway/config/config.h"

/* An option of a command; a list of them ends with a row that has no name. */
struct cli_option {
    const char *name; /* long, without the dashes */
    char letter;      /* or 0 */
    const char *arg;  /* what follows it, or NULL for a flag */
    const char *summary;
};

struct cli;

struct command {
    const char *group;
    const char *name; /* one word or two: "config show" */
    const char *args; /* operands as shown in help, or "" */
    const char *summary;
    const char *example;
    const struct cli_option *options; /* NULL = none */
    unsigned operands_max;
    int (*run)(struct cli *cli); /* NULL: of later work */
};

enum { CLI_OPTIONS_MAX = 16 };

/* What was given on the command line. */
struct cli {
    const struct command *command;
    const char *config;         /* -c FILE, or NULL */
    const char *admin;          /* --admin URL, or NULL */
    const char *admin_key_file; /* --admin-key-file FILE, or NULL: $SLUICE_ADMIN_KEY */
    int argc;                   /* operands */
    char **argv;
    const char *values[CLI_OPTIONS_MAX]; /* in the order of command->options; a flag is "" */
};

int cli_main(int argc, char **argv);

/* Read the command line into <cli>; -1 when its command may run, else the exit code. */
int cli_parse(struct cli *cli, int argc, char **argv);

/* The value of the option, "" for a flag, NULL when it was not given. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_has(const struct cli *cli, const char *name);

/* Say on stderr what is wrong with the usage, and how to get help; returns EXIT_USAGE. */
int cli_misuse(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The commands in the order of the help; ends with a row without name. */
extern const struct command cli_commands[];
const struct command *cli_command_find(struct text name);
/* The known name nearest to <name>, or NULL when none is near. */
const char *cli_nearest(struct text name, const char *const *names, size_t count);

/* cli/help.c */
void cli_help(FILE *out);
void cli_help_command(const struct command *command, FILE *out);
/* The name of the <i>th command whose words are not those of its row of the help, for tests; NULL
 * behind the last. */
const char *cli_help_alone(size_t i);
int cli_help_topic(struct text topic, FILE *out);
/* The commands of two words that begin with <family>; false when there are none. */
bool cli_help_family(struct text family, FILE *out);
/* A completion script for "bash", "zsh" or "fish"; false for another shell. */
bool cli_completion(struct text shell, FILE *out);

/* The file that <name> means: for "-" standard input, which is read here, to its end. */
const char *cli_file(const char *name);
/* The file meant by -c, $SLUICE_CONFIG or the usual places; NULL: there is none. */
const char *cli_config_path(const struct cli *cli);
/* Load it, or what quickstart would use when there is none; secrets whose variables are not set are
 * left out. Problems go to stderr; NULL then. */
struct config *cli_config_load(const struct cli *cli);

/* Is <fd> a terminal that wants colour (NO_COLOR, FORCE_COLOR, TERM=dumb)? */
bool cli_wants_colour(int fd);
