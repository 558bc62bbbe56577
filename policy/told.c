/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/told.h"

#include <stdio.h>
#include <string.h>

#include "policy/estate.h"

enum { LINE_BYTES = 128 };

/* "0006611f6a54b3dd-8c53b5ed/0 1234" */
static bool read_line(const char *line, struct journal_id *id, struct book_mark *mark)
{
    unsigned long long sequence;
    *id = (struct journal_id){.worker = 0};
    if (sscanf(line, "%31[^/]/%u %llu", id->instance, &id->worker, &sequence) != 3)
        return false;
    *mark = (struct book_mark){.sequence = sequence};
    return instance_is_name(id->instance) && sequence < BOOK_FINISHED;
}

static bool import(FILE *file, struct book *book)
{
    char line[LINE_BYTES];
    struct journal_id id;
    struct book_mark mark, known;
    while (fgets(line, sizeof(line), file)) {
        if (!read_line(line, &id, &mark))
            continue;
        if (!book_find_mark(book, &id, &known) ||
            (known.sequence < mark.sequence && !book_set_mark(book, &id, &mark)))
            return false;
    }
    return true;
}

bool told_import(const char *path, struct book *book)
{
    char line[LINE_BYTES];
    FILE *file = fopen(path, "re");
    if (!file)
        return true;
    bool is_other = fgets(line, sizeof(line), file) != NULL;
    line[is_other ? strcspn(line, "\n") : 0] = '\0';
    is_other = is_other && strcmp(line, book_share(book)->ledger) != 0;
    bool good = !is_other || book_begin(book);
    if (is_other && good) {
        good = import(file, book) && book_commit(book);
        if (!good)
            book_rollback(book);
    }
    fclose(file);
    return good;
}
