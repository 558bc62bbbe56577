/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cli_table - rows for people or as CSV (RFC 4180).
 *
 * For people, control bytes are shown as '?', so that no name can speak to the terminal.
 */

#include <stdbool.h>
#include <stdio.h>

#include "gateway/base/text.h"

enum { TABLE_COLUMNS_MAX = 24 };

struct cli_table {
    const char *names[TABLE_COLUMNS_MAX];
    bool is_number[TABLE_COLUMNS_MAX]; /* right-aligned */
    size_t columns;
    char **cells; /* row after row */
    size_t count, capacity;
};

void table_begin(struct cli_table *table);
void table_column(struct cli_table *table, const char *name, bool is_number);
/* The next cell; after as many as there are columns the next row begins. */
void table_cell(struct cli_table *table, struct text value);
void table_int_cell(struct cli_table *table, int64_t value);
void table_print(const struct cli_table *table, FILE *out);
void table_print_csv(const struct cli_table *table, FILE *out);
/* One cell of CSV, in quotes where it needs them. An apostrophe stands before what a spreadsheet
 * would take for a formula. */
void table_print_csv_cell(struct text value, FILE *out);
void table_end(struct cli_table *table);

enum cli_format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV };
/* What --format says (NULL: a table); false when it is none of the three. */
bool cli_format_find(const char *word, enum cli_format *format);
