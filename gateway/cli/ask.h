/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cli_ask - asking a running sluice, by its admin socket or by URL; and reading what it says. */

#include "gateway/base/buffer.h"
#include "gateway/cli/cli.h"

enum { CLI_ANSWER_BYTES_MAX = 32 << 20, CLI_PATH_BYTES_MAX = 4096 };

/*
 * Ask METHOD <path> of the admin API (or a page such as /readyz, which the admin socket serves
 * too), with <sent> as its JSON (at == NULL: none).
 * --admin URL if given, else the socket of the configuration, else those of the usual state
 * directories. Returns the HTTP status and puts the body in <body>; or 0 when nothing answered:
 * then *why says what was tried.
 */
struct cli_question {
    const char *method, *path;
    struct text sent;
    int timeout_s; /* 0 = a minute */
};
unsigned cli_ask(const struct cli *cli, const struct cli_question *question, struct buffer *body,
                 struct fault *why);

/* Is somebody there to ask? */
bool cli_is_running(const struct cli *cli);

/* The same for commands: says on stderr what is wrong. EXIT_GOOD for a 2xx. */
int cli_ask_or_complain(const struct cli *cli, const char *method, const char *path,
                        struct buffer *body);
int cli_send_or_complain(const struct cli *cli, const char *method, const char *path,
                         struct text sent, struct buffer *body);

/* Call <see> for every item of the list at <path> (its query, if any, begins with '?'), page after
 * page. An exit code; what is wrong was said. */
int cli_each(const struct cli *cli, const char *path, void (*see)(void *with, struct text item),
             void *with);

/* Append <value> as a segment of a path, or as the value of a parameter. */
void cli_escape(struct buffer *out, struct text value);

/* A member of a JSON document by its dotted name, raw; at == NULL when there is none. */
struct text cli_member(struct text json, const char *name);
/* The member as text with its escapes resolved, in <room>; empty when there is none. */
struct text cli_member_text(struct text json, const char *name, char *room, size_t bytes);
/* The value of a JSON string with its escapes resolved, cut to <bytes>. */
struct text cli_string(struct text value, char *room, size_t bytes);
int64_t cli_member_int(struct text json, const char *name);
bool cli_member_is_true(struct text json, const char *name);

/* Print the candidates of an explanation or a decision, a line each, and which was chosen. */
void cli_print_candidates(struct text json);
