/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* config_effective - what is in force for one option: from the file, the environment, or the
 * default. Shared by `config show` and `config diff`. */

#include "gateway/base/buffer.h"
#include "gateway/config/document.h"
#include "gateway/config/options.h"

/* An option at one place: its node, when something sets it, and the structure it is kept in. */
struct effective {
    const struct document *document;
    const struct option *option;
    const struct node *node; /* NULL: nothing sets it */
    const char *base;        /* NULL: there is none */
};

/* What sets <option> in the mapping <map> (also its twin in a file), or NULL. */
const struct node *effective_node(const struct node *map, const struct option *option);
/* The structures of an OPTION_LIST's entries, or none. */
struct items effective_items(const struct effective *of);
/* What a section's rows are kept in, or NULL. */
const char *effective_inside(const struct effective *of);
/* May what is kept differ from what is written? So it is with paths and some counts: the STATE
 * directory, the number of workers. */
bool effective_is_worked_out(const struct option *option);
/* The value as YAML on one line, secrets masked, and hashes, too, unless <hashes>. Not for sections
 * and lists that are given. */
void effective_write(struct buffer *out, const struct effective *of, bool hashes);
/* The value as it is, secrets and all: to compare, never to print. */
void effective_write_plain(struct buffer *out, const struct effective *of);
/* Where it comes from: "sluice.yaml:12", "SLUICE_LISTEN" or "default"; of a variable with
 * what stands behind ":-" in it, unless the value is masked. */
void effective_write_origin(struct buffer *out, const struct effective *of, bool hashes);
/* Append a scalar, in quotes where YAML needs them. */
void yaml_write(struct buffer *out, struct text text);
