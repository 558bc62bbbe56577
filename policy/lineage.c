/* SPDX-License-Identifier: Apache-2.0 */
/* Who belonged to whom: kept in the database when a tenant is gone. */
#include "gateway/base/log.h"
#include "policy/gather.h"
#include "policy/keeper.h"

enum { LINEAGE_VERSION = 6 /* of the schema: since then it is kept */ };

const char lineage_schema[] =
    "CREATE TABLE lineage (tenant TEXT NOT NULL, since_us INTEGER NOT NULL, parent TEXT NOT NULL,"
    " seen_us INTEGER NOT NULL, PRIMARY KEY (tenant, since_us)) WITHOUT ROWID;";

static bool write_all(struct statement *put, const struct kinship *list, size_t count,
                      int64_t now_us)
{
    bool good = put != NULL;
    for (size_t i = 0; i < count && good; i++) {
        statement_set_text(put, 1, list[i].tenant);
        statement_set(put, 2, list[i].since_us);
        statement_set_text(put, 3, list[i].parent);
        statement_set(put, 4, now_us);
        good = statement_run(put);
    }
    return good;
}

void ledger_note_lineage(struct ledger *ledger, const struct kinship *list, size_t count,
                         int64_t now_us)
{
    if (!ledger->book || count == 0)
        return;
    atomic_fetch_add(&ledger->waiting, 1);
    pthread_mutex_lock(&ledger->draining);
    struct database *database = book_database(ledger->book);
    bool good = false;
    if (database_begin(database)) {
        struct statement *put = database_prepare(
            database, "INSERT INTO lineage (tenant, since_us, parent, seen_us) VALUES (?, ?, ?, ?)"
                      " ON CONFLICT DO UPDATE SET parent = excluded.parent,"
                      " seen_us = excluded.seen_us");
        good = write_all(put, list, count, now_us);
        statement_close(put);
        good = good && database_commit(database);
        if (!good)
            database_rollback(database);
    }
    if (!good)
        log_line(LOG_WARN, "ledger", "it cannot be noted which tenants belong to which: %s",
                 database_problem(database));
    pthread_mutex_unlock(&ledger->draining);
    atomic_fetch_sub(&ledger->waiting, 1);
}

bool ledger_each_kin(struct ledger_reader *reader,
                     void (*see)(void *with, const struct kinship *kin), void *with,
                     struct fault *fault)
{
    struct database *database = gather_begin(reader, fault);
    if (!database)
        return fault->kind == FAULT_NONE;
    enum statement_result result = STATEMENT_END;
    if (database_version(database) >= LINEAGE_VERSION) {
        struct statement *ask = database_prepare(
            database, "SELECT tenant, since_us, parent FROM lineage ORDER BY tenant, since_us");
        result = ask ? STATEMENT_ROW : STATEMENT_FAILED;
        while (ask && (result = statement_next(ask)) == STATEMENT_ROW)
            see(with, &(struct kinship){.tenant = statement_text(ask, 0),
                                        .since_us = statement_number(ask, 1),
                                        .parent = statement_text(ask, 2)});
        statement_close(ask);
    }
    if (result == STATEMENT_FAILED)
        fault_set(fault, FAULT_INTERNAL, "lineage: %s", database_problem(database));
    gather_end(reader);
    return result != STATEMENT_FAILED;
}
