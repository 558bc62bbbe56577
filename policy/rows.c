/* SPDX-License-Identifier: Apache-2.0 */
/* Single calls out of the tables of days, page by page. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/base/database.h"
#include "gateway/base/memory.h"
#include "policy/gather.h"
#include "policy/keeper.h"

enum { SQL_BYTES = 160 };
static const int64_t DAY_US = 86400LL * 1000000;

/* ------------------------------------------------------------------------------------ catching up
 */

/* Whoever comes second frees it: who waited no longer, or the keeper with its answer. */
struct catching {
    struct owner_question question;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done, left;
};

static void catching_free(struct catching *catching)
{
    pthread_cond_destroy(&catching->wake);
    pthread_mutex_destroy(&catching->lock);
    memory_free(catching);
}

static void on_caught_up(struct owner_question *question)
{
    struct catching *catching = (struct catching *)(void *)question;
    pthread_mutex_lock(&catching->lock);
    bool left = catching->left;
    catching->done = true;
    pthread_cond_signal(&catching->wake);
    pthread_mutex_unlock(&catching->lock);
    if (left)
        catching_free(catching);
}

static struct catching *catching_new(void)
{
    struct catching *catching = memory_new(sizeof(*catching));
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&catching->lock, NULL);
    pthread_cond_init(&catching->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    catching->question.answer = on_caught_up;
    return catching;
}

bool ledger_catch_up(struct ledger *ledger, int64_t wait_us)
{
    struct catching *catching = catching_new();
    uint64_t errors = ledger_figures(ledger).drain_errors;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t nanos = end.tv_nsec + wait_us % 1000000 * 1000;
    end.tv_sec += (time_t)(wait_us / 1000000 + nanos / 1000000000);
    end.tv_nsec = (long)(nanos % 1000000000);
    /* A question about nothing: before it answers any, the keeper drains. */
    ledger_ask_owners(ledger, &catching->question);
    pthread_mutex_lock(&catching->lock);
    int problem = 0;
    while (!catching->done && problem == 0)
        problem = pthread_cond_timedwait(&catching->wake, &catching->lock, &end);
    bool done = catching->done;
    catching->left = !done;
    bool good = done && !catching->question.failed;
    pthread_mutex_unlock(&catching->lock);
    if (done)
        catching_free(catching);
    return good && ledger_figures(ledger).drain_errors == errors;
}

/* ---------------------------------------------------------------------------------- days */

/* The day of "requests_20261123", or false. */
static bool day_of_name(struct text name, int64_t *day)
{
    char z[32];
    struct tm utc = {0};
    if (name.len >= sizeof(z))
        return false;
    memcpy(z, name.at, name.len);
    z[name.len] = '\0';
    const char *end = strptime(z, "requests_%Y%m%d", &utc);
    if (!end || *end)
        return false;
    *day = (int64_t)timegm(&utc) / 86400;
    return true;
}

void day_name(int64_t day, char name[32])
{
    time_t at = (time_t)(day * 86400);
    struct tm utc;
    gmtime_r(&at, &utc);
    strftime(name, 32, "requests_%Y%m%d", &utc);
}

/* Can calls of <day> be meant? */
static bool is_asked_for(const struct rows_question *question, int64_t day)
{
    if ((day + 1) * DAY_US <= question->since_us || day * DAY_US >= question->until_us)
        return false;
    if (!question->after)
        return true;
    return question->oldest_first ? day >= question->after->day : day <= question->after->day;
}

bool days_find(struct database *database, const struct rows_question *question, struct days *days)
{
    struct statement *ask = database_prepare(
        database, question->oldest_first ? "SELECT name FROM sqlite_schema WHERE type = 'table'"
                                           " AND name GLOB 'requests_[0-9]*' ORDER BY name"
                                         : "SELECT name FROM sqlite_schema WHERE type = 'table'"
                                           " AND name GLOB 'requests_[0-9]*' ORDER BY name DESC");
    if (!ask)
        return false;
    enum statement_result result;
    while ((result = statement_next(ask)) == STATEMENT_ROW && days->count < DAYS_MAX) {
        int64_t day;
        if (day_of_name(statement_text(ask, 0), &day) && is_asked_for(question, day))
            days->at[days->count++] = day;
    }
    statement_close(ask);
    return result != STATEMENT_FAILED;
}

/* ---------------------------------------------------------------------------------- a page */

struct page {
    const struct rows_question *question;
    struct database *database;
    size_t found, looked;
    struct rows_place last; /* the last row that was given, or else looked at */
    bool full;              /* there is more */
    rows_take *take;
    void *with;
};

bool rows_are_meant(const struct rows_question *question, const struct ledger_row *row)
{
    struct series_key key;
    if (row->started_us < question->since_us || row->started_us >= question->until_us)
        return false;
    series_key_of(row, &key);
    return filter_takes(&question->filter, &key);
}

/* One row; false when the page is over. */
static bool take_row(struct page *page, int64_t day, struct statement *ask)
{
    const struct rows_question *question = page->question;
    struct rows_place here = {.day = day, .row = statement_number(ask, 0)};
    struct record record;
    page->looked++;
    if (record_read_body(statement_text(ask, 1), &record) &&
        rows_are_meant(question, &record.row)) {
        /* Only a row beyond the last one tells that there is more. */
        if (page->found == question->max) {
            page->full = true;
            return false;
        }
        page->found++;
        page->last = here;
        page->take(page->with, here, &record);
    } else if (page->found < question->max) {
        page->last = here;
    }
    page->full = page->looked >= ROWS_LOOK_MAX;
    return !page->full;
}

/* Read on in <day>; false when the database failed. */
static bool read_day(struct page *page, int64_t day)
{
    const struct rows_question *question = page->question;
    char name[32], sql[SQL_BYTES];
    day_name(day, name);
    snprintf(sql, sizeof(sql), "SELECT rowid, line FROM %s WHERE rowid %s ? ORDER BY rowid %s",
             name, question->oldest_first ? ">" : "<", question->oldest_first ? "" : "DESC");
    struct statement *ask = database_prepare(page->database, sql);
    if (!ask)
        return false;
    bool goes_on = question->after && question->after->day == day;
    int64_t beginning = question->oldest_first ? 0 : INT64_MAX;
    statement_set(ask, 1, goes_on ? question->after->row : beginning);
    enum statement_result result;
    while ((result = statement_next(ask)) == STATEMENT_ROW)
        if (!take_row(page, day, ask))
            break;
    statement_close(ask);
    return result != STATEMENT_FAILED;
}

static bool fail(struct database *database, struct fault *fault)
{
    return fault_set(fault, FAULT_INTERNAL, "the ledger: %s", database_problem(database));
}

enum rows_result rows_read_own(const struct rows_question *question, struct rows_place *next,
                               rows_take *take, void *with, struct fault *fault)
{
    struct rows_question own = *question;
    struct page page = {.question = &own, .take = take, .with = with};
    /* In front of all is not behind anything. */
    if (own.after && own.after->row == 0)
        own.after = NULL;
    if (own.after)
        page.last = *own.after;
    *next = page.last;
    page.database = gather_open(question->database, fault);
    if (!page.database)
        return fault->kind == FAULT_NONE ? ROWS_END : ROWS_FAILED;
    struct days *days = memory_new(sizeof(*days));
    bool good = days_find(page.database, &own, days);
    for (size_t i = 0; good && !page.full && i < days->count; i++)
        good = read_day(&page, days->at[i]);
    if (!good)
        fail(page.database, fault);
    memory_free(days);
    database_close(page.database);
    *next = page.last;
    if (!good)
        return ROWS_FAILED;
    return page.full ? ROWS_MORE : ROWS_END;
}

static void see_row(void *with, struct rows_place place, const struct record *record)
{
    const struct rows_question *question = with;
    (void)place;
    question->see(question->with, &record->row);
}

/* What see_row() is given, which does not change it. */
static void *unchanged(const struct rows_question *question)
{
    return (void *)(uintptr_t)question;
}

enum rows_result rows_read(const struct rows_question *question, struct rows_place *next,
                           struct fault *fault)
{
    if (question->with_others && question->with_others->forward)
        return rows_read_all(question, next, fault);
    return rows_read_own(question, next, see_row, unchanged(question), fault);
}

/* ---------------------------------------------------------------------------------- one call */

/* True when <id> stands in the table of <day>; *good is false when the database failed. */
static bool find_in_day(struct page *page, int64_t day, struct text id, bool *good)
{
    char name[32], sql[SQL_BYTES];
    struct record record;
    day_name(day, name);
    snprintf(sql, sizeof(sql), "SELECT line FROM %s WHERE id = ?", name);
    struct statement *ask = database_prepare(page->database, sql);
    *good = ask != NULL;
    if (!ask)
        return false;
    statement_set_text(ask, 1, id);
    enum statement_result result = statement_next(ask);
    *good = result != STATEMENT_FAILED;
    bool found = result == STATEMENT_ROW && record_read_body(statement_text(ask, 0), &record) &&
                 rows_are_meant(page->question, &record.row);
    if (found)
        page->question->see(page->question->with, &record.row);
    statement_close(ask);
    return found;
}

static enum rows_result find_own(const struct rows_question *question, struct text id,
                                 struct fault *fault)
{
    struct page page = {.question = question, .database = gather_open(question->database, fault)};
    if (!page.database)
        return fault->kind == FAULT_NONE ? ROWS_MORE : ROWS_FAILED;
    struct days *days = memory_new(sizeof(*days));
    bool good = days_find(page.database, question, days), found = false;
    for (size_t i = 0; good && !found && i < days->count; i++)
        found = find_in_day(&page, days->at[i], id, &good);
    if (!good)
        fail(page.database, fault);
    memory_free(days);
    database_close(page.database);
    if (!good)
        return ROWS_FAILED;
    return found ? ROWS_END : ROWS_MORE;
}

struct finding {
    const struct rows_question *question;
    bool found;
};

static void see_found(void *with, struct rows_place place, const struct record *record)
{
    struct finding *finding = with;
    (void)place;
    finding->found = true;
    finding->question->see(finding->question->with, &record->row);
}

enum rows_result rows_find(const struct rows_question *question, struct text id,
                           struct fault *fault)
{
    enum rows_result result = find_own(question, id, fault);
    if (result != ROWS_MORE || !question->with_others || !question->with_others->forward)
        return result;
    struct finding finding = {question, false};
    struct rows_question other = *question;
    struct rows_place next;
    other.max = 1;
    other.after = NULL;
    if (rows_read_others(&other, id, &next, see_found, &finding, fault) == ROWS_FAILED)
        return ROWS_FAILED;
    return finding.found ? ROWS_END : ROWS_MORE;
}
