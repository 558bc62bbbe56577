/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rollup.h"

#include <stdio.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"

/* What is remembered between transactions; when it is more, everything is forgotten once. */
enum { SERIES_MAX = 20000, PLACES_MAX = 1000 };

/* The sums of one series in one minute. */
struct cell {
    int64_t bucket;
    struct tally tally;
};

/* A combination of names. One that has too many names beside it is counted as another one. */
struct series {
    char *packed; /* owned; the table's name for it */
    int64_t id;   /* in the database; 0 = not known yet */
    int64_t day;  /* the day for which its names are known to be among those that are told apart */
    struct series *next_used; /* in this transaction */
    bool used;
    struct cell *cells; /* only while it is used: what is remembered of a series is little */
    size_t cell_count, cell_room;
};

/* The names seen of one tenant on one day. */
struct names {
    struct table seen; /* each with itself as value; the texts are owned */
};
struct place {
    char *packed; /* owned: day and tenant */
    struct names users, models;
};

struct rollup {
    struct book *book;
    struct table series; /* packed key → struct series */
    struct table places; /* day and tenant → struct place */
    struct series *used;
};

struct rollup *rollup_new(struct book *book)
{
    struct rollup *rollup = memory_new(sizeof(*rollup));
    rollup->book = book;
    return rollup;
}

static void cells_done(struct series *series)
{
    memory_free(series->cells);
    series->cells = NULL;
    series->cell_count = series->cell_room = 0;
}

static void names_done(struct names *names)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&names->seen, &at, &name, &value))
        memory_free(value);
    table_done(&names->seen);
}

void rollup_forget(struct rollup *rollup)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&rollup->series, &at, &name, &value)) {
        struct series *series = value;
        cells_done(series);
        memory_free(series->packed);
        memory_free(series);
    }
    table_done(&rollup->series);
    for (at = 0; table_next(&rollup->places, &at, &name, &value);) {
        struct place *place = value;
        names_done(&place->users);
        names_done(&place->models);
        memory_free(place->packed);
        memory_free(place);
    }
    table_done(&rollup->places);
    rollup->used = NULL;
}

void rollup_free(struct rollup *rollup)
{
    if (!rollup)
        return;
    rollup_forget(rollup);
    memory_free(rollup);
}

/* -------------------------------------------------------------------------------- bounded names */

static void names_see(void *with, struct text name)
{
    struct names *names = with;
    if (table_find(&names->seen, name))
        return;
    char *copy = memory_string(name);
    table_set(&names->seen, (struct text){copy, name.len}, copy);
}

/* The names of <tenant> on the day that begins at <bucket>; NULL when the database failed. */
static struct place *place_of(struct rollup *rollup, int64_t bucket, struct text tenant)
{
    char packed[32 + RECORD_TEXT_MAX + 1];
    int len = snprintf(packed, sizeof(packed), "%lld %.*s", (long long)bucket, TEXT_ARGS(tenant));
    struct text name = {packed, (size_t)len};
    struct place *place = table_find(&rollup->places, name);
    if (place)
        return place;
    place = memory_new(sizeof(*place));
    if (!book_each_name(rollup->book, bucket, tenant, NAME_USER, names_see, &place->users) ||
        !book_each_name(rollup->book, bucket, tenant, NAME_MODEL, names_see, &place->models)) {
        names_done(&place->users);
        names_done(&place->models);
        memory_free(place);
        return NULL;
    }
    place->packed = memory_string(name);
    table_set(&rollup->places, (struct text){place->packed, name.len}, place);
    return place;
}

/* Is it told apart? Else it is "other" from here on. */
static bool bound(struct names *names, struct text *name)
{
    if (name->len == 0 || table_find(&names->seen, *name))
        return true;
    if (names->seen.count < ROLLUP_NAMES_MAX) {
        names_see(names, *name);
        return true;
    }
    *name = TEXT("other");
    return false;
}

/* --------------------------------------------------------------------------------------- series */

static struct series *series_find(struct rollup *rollup, struct text packed)
{
    struct series *series = table_find(&rollup->series, packed);
    if (series)
        return series;
    series = memory_new(sizeof(*series));
    series->packed = memory_string(packed);
    series->day = INT64_MIN;
    table_set(&rollup->series, (struct text){series->packed, packed.len}, series);
    return series;
}

/* The series that a call is counted under. NULL when the database failed. Only what names itself is
 * remembered: of those that are counted as "other" there are as many as clients think of. */
static struct series *series_for(struct rollup *rollup, const struct ledger_row *row)
{
    struct series_key key;
    char packed[SERIES_PACKED_MAX];
    series_key_of(row, &key);
    struct series *series = table_find(&rollup->series, series_pack(&key, packed));
    int64_t day = span_bucket_us(SPAN_DAY, row->started_us);
    if (series && series->day == day)
        return series;
    struct place *place = place_of(rollup, day, row->tenant);
    if (!place)
        return NULL;
    bool is_itself = bound(&place->users, &key.names[NAME_USER]);
    is_itself = bound(&place->models, &key.names[NAME_MODEL]) && is_itself;
    series = series_find(rollup, series_pack(&key, packed));
    if (!series->id)
        series->id = book_series(rollup->book, &key);
    if (!series->id)
        return NULL;
    if (is_itself)
        series->day = day;
    return series;
}

static struct cell *cell_of(struct series *series, int64_t bucket)
{
    for (size_t i = series->cell_count; i-- > 0;)
        if (series->cells[i].bucket == bucket)
            return &series->cells[i];
    if (series->cell_count == series->cell_room) {
        series->cell_room = series->cell_room ? series->cell_room * 2 : 1;
        series->cells = memory_resize(series->cells, series->cell_room * sizeof(*series->cells));
    }
    struct cell *cell = &series->cells[series->cell_count++];
    *cell = (struct cell){.bucket = bucket};
    return cell;
}

bool rollup_add(struct rollup *rollup, const struct ledger_row *row)
{
    struct series *series = series_for(rollup, row);
    if (!series)
        return false;
    if (!series->used) {
        series->used = true;
        series->next_used = rollup->used;
        rollup->used = series;
    }
    tally_add_call(&cell_of(series, span_bucket_us(SPAN_MINUTE, row->started_us))->tally, row);
    return true;
}

/* Turn cells of a shorter span into cells of <span>. */
static void widen(struct series *series, enum span span)
{
    size_t count = series->cell_count;
    series->cell_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct cell cell = series->cells[i];
        struct cell *into = cell_of(series, span_bucket(span, cell.bucket));
        tally_add(&into->tally, &cell.tally);
    }
}

static bool series_write(struct rollup *rollup, struct series *series, size_t *sums)
{
    for (enum span span = SPAN_MINUTE; span < SPANS; span++) {
        if (span > SPAN_MINUTE)
            widen(series, span);
        *sums += series->cell_count;
        for (size_t i = 0; i < series->cell_count; i++)
            if (!book_add_tally(rollup->book, span, series->cells[i].bucket, series->id,
                                &series->cells[i].tally))
                return false;
    }
    return true;
}

bool rollup_write(struct rollup *rollup, size_t *sums)
{
    for (struct series *series = rollup->used; series; series = series->next_used) {
        if (!series_write(rollup, series, sums))
            return false;
        series->used = false;
        cells_done(series);
    }
    rollup->used = NULL;
    if (rollup->series.count > SERIES_MAX || rollup->places.count > PLACES_MAX)
        rollup_forget(rollup);
    return true;
}
