/* SPDX-License-Identifier: Apache-2.0 */
/* Where lines wait in Redis (ship.h): how far the journals are in the sums, told with them. */
#include <stdio.h>
#include <string.h>

#include "policy/forward_inside.h"

enum { NAME_BYTES = INSTANCE_BYTES + 16 };

struct waiting_journal {
    int64_t told; /* -1 = nothing yet */
    char name[];
};

void waiting_init(struct waiting *waiting, bool on)
{
    waiting->on = on;
    table_init(&waiting->journals);
}

void waiting_done(struct waiting *waiting)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&waiting->journals, &at, &name, &value))
        memory_free(value);
    table_done(&waiting->journals);
}

static struct waiting_journal *journal_of(struct waiting *waiting, struct text name)
{
    struct waiting_journal *journal = table_find(&waiting->journals, name);
    if (journal)
        return journal;
    journal = memory_new(sizeof(*journal) + name.len + 1);
    journal->told = -1;
    memcpy(journal->name, name.at, name.len);
    table_set(&waiting->journals, (struct text){journal->name, name.len}, journal);
    return journal;
}

void waiting_note(struct waiting *waiting, struct text ledger, const struct redis_reply *names)
{
    for (size_t i = 0; i < redis_count(names); i++) {
        struct text name = redis_text(redis_item(names, i));
        if (!text_starts(name, ledger) || name.len <= ledger.len || name.at[ledger.len] != '/')
            continue;
        /* Lines that came after the last word were told: say it again. */
        journal_of(waiting, text_from(name, ledger.len + 1))->told = -1;
    }
}

/* All that may still grow are known, too: lines may come to wait for them at any time. */
static bool note_live(struct waiting *waiting, struct database *database)
{
    struct statement *ask = database_prepare(
        database, "SELECT instance || '/' || worker FROM journals WHERE sequence < ?");
    enum statement_result result = STATEMENT_FAILED;
    if (ask)
        statement_set(ask, 1, (int64_t)BOOK_FINISHED);
    while (ask && (result = statement_next(ask)) == STATEMENT_ROW)
        journal_of(waiting, statement_text(ask, 0));
    statement_close(ask);
    return result == STATEMENT_END;
}

/* How far <name> is booked; 0 = not at all. */
static bool ask_mark(struct statement *ask, struct text name, int64_t *sequence)
{
    size_t slash = text_find_byte(name, '/');
    uint64_t worker = 0;
    *sequence = 0;
    if (slash == SIZE_MAX || !text_number(text_from(name, slash + 1), UINT32_MAX, &worker))
        return true;
    statement_set_text(ask, 1, text_head(name, slash));
    statement_set(ask, 2, (int64_t)worker);
    enum statement_result result = statement_next(ask);
    if (result == STATEMENT_ROW)
        *sequence = statement_number(ask, 0);
    statement_reset(ask);
    return result != STATEMENT_FAILED;
}

static bool read_marks(struct waiting *waiting, struct statement *ask, struct arena *arena,
                       struct waiting_list *list)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&waiting->journals, &at, &name, &value)) {
        const struct waiting_journal *journal = value;
        int64_t sequence;
        if (!ask_mark(ask, name, &sequence))
            return false;
        if (sequence > journal->told && sequence > 0)
            list->at[list->count++] = (struct waiting_mark){arena_copy(arena, name), sequence};
    }
    return true;
}

bool waiting_read(struct waiting *waiting, struct database *database, struct arena *arena,
                  struct waiting_list *list)
{
    *list = (struct waiting_list){NULL, 0};
    if (!waiting->on)
        return true;
    if (!note_live(waiting, database))
        return false;
    struct statement *ask = database_prepare(
        database, "SELECT sequence FROM journals WHERE instance = ? AND worker = ?");
    list->at = arena_take(arena, (waiting->journals.count + 1) * sizeof(*list->at));
    bool good = ask && read_marks(waiting, ask, arena, list);
    statement_close(ask);
    return good;
}

void waiting_told(struct waiting *waiting, const struct waiting_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct waiting_journal *journal = table_find(&waiting->journals, list->at[i].name);
        if (!journal)
            continue;
        journal->told = list->at[i].sequence;
        if (list->at[i].sequence != (int64_t)BOOK_FINISHED)
            continue;
        table_remove(&waiting->journals, list->at[i].name);
        memory_free(journal);
    }
}
