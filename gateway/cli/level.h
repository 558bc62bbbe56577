/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cli_level - options of keys and tenants, as the JSON that the admin API takes; and its answers as
 * tables.
 */

#include "gateway/base/json_write.h"
#include "gateway/cli/cli.h"

enum { LEVEL_BODY_BYTES = 256 << 10 };

/*
 * Write what was given of --models a,b --limits requests_per_minute=60,concurrent=5
 * --budget "500 USD/month" --tags k=v, as members. "none" takes back what was set. False, and
 * *fault says how it must look.
 */
bool level_write(const struct cli *cli, struct json_write *json, struct fault *fault);

/* "20d": that long from now, else a date, as the API takes it. */
bool level_write_expires(const char *word, struct json_write *json, struct fault *fault);

/* Items of a JSON array of strings as "a, b", the members of an object as "k=v, l=w", null as "-".
 */
struct text level_words(struct text value, char *room, size_t bytes);

/* How a table shows a member to people; JSON and CSV have it as it is. */
enum level_shown {
    SHOWN_AS_IT_IS,
    SHOWN_AS_UNIT,   /* "nanos" as USD */
    SHOWN_AS_AMOUNT, /* in USD, where the item's member "unit" is "nanos" */
    SHOWN_AS_TIME,   /* milliseconds as "9 h 10 min" */
    SHOWN_AS_BUDGET, /* the item's budgets as "5.00 USD/month" */
};

/* A column of a list: what it is called, the member it shows, and how a table calls and shows it.
 */
struct level_column {
    const char *name, *member;
    enum level_shown shown;
    const char *title; /* NULL: the name */
};

/* Print the list at <path>: as a table, as CSV, or as one JSON array. <none> is said in the place
 * of an empty table. */
int level_print_list(const struct cli *cli, const char *path, const struct level_column *columns,
                     size_t count, const char *none);
/* Print one object: as "name  value" lines, or as it is. */
int level_print_one(const struct cli *cli, struct text object);
