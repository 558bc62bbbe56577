/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cli_convert_inside - what the files that make up `sluice config convert` share, and converters
 * do not see. Owned by the command; everything is in the document's arena but the tables.
 */

#include "gateway/base/table.h"
#include "gateway/cli/convert.h"

enum { OUT_BYTES_MAX = 256 << 20 };

struct out {
    struct out *next, *first, *last;
    struct text key;  /* as YAML; empty in a list */
    struct text yaml; /* of a scalar */
    const char *comment;
    enum node_kind kind;
};

struct note {
    struct note *next;
    struct text place, words;
    size_t order;
    unsigned line;
    bool is_left;
};

/* A variable that the user must set: what stood in its place must not be repeated. */
struct variable {
    struct variable *next;
    struct text name, place;
    bool is_hash;
};

struct convert {
    struct document *document;
    struct arena *arena;
    const struct converter *converter;
    const char *file;
    struct out *root;
    struct note *notes, **note_end;
    size_t note_count;
    struct variable *variables, **variable_end;
    struct table variable_names; /* unsigned, as in take_name() */
    struct table secret_values;  /* struct variable, by its value */
    struct table providers;      /* struct out, by what they say */
    struct table provider_names; /* the same */
    struct table target_ids;     /* the same */
};

/* cli/convert_tree.c */
struct out *out_new(struct convert *c, enum node_kind kind, struct text key);
void out_append(struct out *above, struct out *out);
struct out *out_find(const struct out *map, struct text key);
/* The member <key> of <map>, made as <kind> where it is not there. */
struct out *out_member(struct convert *c, struct out *map, struct text key, enum node_kind kind);
/* Append the members of <map> as YAML. */
void out_write(struct buffer *to, const struct out *map);

/* A name that nobody in <names> has yet, which is put in: NAME, NAME-2, NAME-3 ... */
struct text convert_take_name(struct convert *c, struct table *names, struct text name,
                              const char *between);
/* Names of variables that the file uses are not for secrets. */
void convert_note_references(struct convert *c, const struct node *node);
/* Does the text name a variable? */
bool convert_is_reference(const struct convert *c, struct text text);
/* Where <node> stands, "config.yaml:12: model_list/0", without what speaks to terminals. */
struct text convert_place(struct convert *c, const struct node *node);
/* "30d" in seconds; 0: it is no span of time. */
uint64_t convert_span(struct text text);
