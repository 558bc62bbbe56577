/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * launch_words - what a server is started with, whatever starts it: its arguments and its
 * environment, as the spec says them and with its placeholders filled in, and where its image comes
 * from.
 *
 * {port} {socket} {host} {parallel} {model} {name} {replica} {revision} are replaced wherever they
 * stand in an argument or in a variable's value; any other brace is left alone (JSON has many).
 */

#include "deploy/models/launcher.h"
#include "gateway/base/buffer.h"

enum { LAUNCH_BOX_PORT = 8080 }; /* where a container or pod listens when nothing else is said */

struct launch_facts {
    const struct launch_name *name;
    const struct deployment_spec *spec;
    const char *host, *socket; /* socket: NULL = it listens at a port */
    uint16_t port;
};

/* Does it ask for a unix socket to listen at? */
bool launch_wants_socket(const struct deployment_spec *spec);
/* The arguments with a NULL behind them, and what the engine needs for its adapters; free with
 * launch_strings_free(). */
char **launch_arguments(const struct launch_facts *facts);
/* NAME=value with a NULL behind them: the few of ours that servers need (PATH, HOME, TZ, what
 * names GPUs and certificates …; never all, since ours may hold keys), what the engine needs, the
 * spec's, and <mark>. Without a mark it is for an image, which has its own: none of ours. */
char **launch_environment(const struct launch_facts *facts, const char *mark);
void launch_strings_free(char **strings);
/* The value of <name> in it, or NULL. */
const char *launch_variable(char *const *environment, const char *name);

/* They as a list of JSON. */
void launch_strings_write(char *const *strings, struct buffer *out);
/* Who has <image>: what stands in front of its first slash, when that looks like a host; else
 * Docker's own, as it calls itself in lists of passwords. */
struct text launch_registry(struct text image);

/* Blot out, in place, the values of the spec's variables whose names speak of secrets. Returns the
 * new length. */
size_t launch_redact(const struct deployment_spec *spec, char *line, size_t length);
