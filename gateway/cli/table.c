/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "gateway/base/memory.h"

void table_begin(struct cli_table *table)
{
    *table = (struct cli_table){.columns = 0};
}

void table_column(struct cli_table *table, const char *name, bool is_number)
{
    assert(table->columns < TABLE_COLUMNS_MAX && table->count == 0);
    table->names[table->columns] = name;
    table->is_number[table->columns++] = is_number;
}

void table_cell(struct cli_table *table, struct text value)
{
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
        table->cells = memory_resize(table->cells, table->capacity * sizeof *table->cells);
    }
    table->cells[table->count++] = memory_string(value);
}

void table_int_cell(struct cli_table *table, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    table_cell(table, text_of(digits));
}

/* Characters, not bytes: UTF-8 continuation bytes take no place. */
static size_t width_of(const char *z)
{
    size_t width = 0;
    for (; *z != 0; z++)
        width += ((unsigned char)*z & 0xC0) != 0x80;
    return width;
}

static void print_cell(const char *z, size_t width, bool is_number, bool is_last, FILE *out)
{
    size_t pad = width - width_of(z);
    for (size_t i = 0; is_number && i < pad; i++)
        fputc(' ', out);
    for (const char *at = z; *at != 0; at++)
        fputc((unsigned char)*at < 0x20 || *at == 0x7F ? '?' : *at, out);
    for (size_t i = 0; !is_number && !is_last && i < pad; i++)
        fputc(' ', out);
    fputs(is_last ? "\n" : "  ", out);
}

void table_print(const struct cli_table *table, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX];
    assert(table->columns > 0);
    for (size_t i = 0; i < table->columns; i++)
        widths[i] = width_of(table->names[i]);
    for (size_t i = 0; i < table->count; i++) {
        size_t width = width_of(table->cells[i]), column = i % table->columns;
        if (width > widths[column])
            widths[column] = width;
    }
    for (size_t i = 0; i < table->columns; i++)
        print_cell(table->names[i], widths[i], table->is_number[i], i + 1 == table->columns, out);
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns;
        print_cell(table->cells[i], widths[column], table->is_number[column],
                   column + 1 == table->columns, out);
    }
}

/* Would a spreadsheet take it for a formula? Names of users come from anywhere. */
static bool is_formula(struct text value)
{
    if (value.len < 2 || strchr("=+-@\t\r", value.at[0]) == NULL)
        return false;
    for (size_t i = 1; i < value.len; i++)
        if (strchr("0123456789.", value.at[i]) == NULL)
            return true;
    return value.at[0] != '-'; /* a number below zero */
}

void table_print_csv_cell(struct text value, FILE *out)
{
    bool quoted = false, formula = is_formula(value);
    for (size_t i = 0; i < value.len; i++)
        quoted = quoted || strchr(",\"\r\n", value.at[i]) != NULL;
    if (quoted)
        fputc('"', out);
    if (formula)
        fputc('\'', out);
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] == '"')
            fputc('"', out);
        fputc(value.at[i], out);
    }
    if (quoted)
        fputc('"', out);
}

void table_print_csv(const struct cli_table *table, FILE *out)
{
    assert(table->columns > 0);
    for (size_t i = 0; i < table->columns; i++) {
        table_print_csv_cell(text_of(table->names[i]), out);
        fputs(i + 1 == table->columns ? "\r\n" : ",", out);
    }
    for (size_t i = 0; i < table->count; i++) {
        table_print_csv_cell(text_of(table->cells[i]), out);
        fputs((i + 1) % table->columns == 0 ? "\r\n" : ",", out);
    }
}

void table_end(struct cli_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        memory_free(table->cells[i]);
    memory_free(table->cells);
    table_begin(table);
}

bool cli_format_find(const char *word, enum cli_format *format)
{
    static const char *const words[] = {"table", "json", "csv"};
    *format = FORMAT_TABLE;
    if (word == NULL)
        return true;
    for (int i = 0; i < 3; i++)
        if (strcmp(word, words[i]) == 0) {
            *format = (enum cli_format)i;
            return true;
        }
    return false;
}
