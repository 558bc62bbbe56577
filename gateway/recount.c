/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/recount.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "gateway/batches.h"
#include "gateway/counter_names.h"
#include "gateway/lineage.h"

#define SECOND INT64_C(1000000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)

enum {
    PATH_MAX_BYTES = 4096,
    ARENA_BYTES = 64 * 1024,
    TOLD_WAIT_US = 500000,
    TOLD_LOOK_US = 5000,
};
static const int64_t JUST_MADE_US = 60 * SECOND;

/* ---------------------------------------------------------------------------- the node */

static bool read_name(int fd, char name[NODE_NAME_BYTES])
{
    ssize_t got = pread(fd, name, NODE_NAME_BYTES - 1, 0);
    if (got != NODE_NAME_BYTES - 1)
        return false;
    name[NODE_NAME_BYTES - 1] = '\0';
    for (ssize_t i = 0; i < got; i++)
        if (!((name[i] >= '0' && name[i] <= '9') || (name[i] >= 'a' && name[i] <= 'z')))
            return false;
    return true;
}

static void make_name(char name[NODE_NAME_BYTES])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char bytes[NODE_NAME_BYTES - 1];
    hash_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        name[i] = digits[bytes[i] & 31];
    name[sizeof(bytes)] = '\0';
}

/* A new name on its way to the disk. */
struct node_sync {
    pthread_t thread;
    bool has_thread;
    int file, problem;
};

static void *sync_name(void *with)
{
    struct node_sync *sync = with;
    sync->problem = fsync(sync->file) == 0 ? 0 : errno;
    return NULL;
}

static struct node_sync *sync_begin(int file)
{
    struct node_sync *sync = memory_new(sizeof(*sync));
    sync->file = file;
    sync->has_thread = pthread_create(&sync->thread, NULL, sync_name, sync) == 0;
    if (!sync->has_thread)
        sync_name(sync);
    return sync;
}

bool node_sync_end(struct node_sync *sync, struct fault *fault)
{
    if (!sync)
        return true;
    if (sync->has_thread)
        pthread_join(sync->thread, NULL);
    int problem = sync->problem;
    close(sync->file);
    memory_free(sync);
    return problem == 0 ||
           fault_set(fault, FAULT_INTERNAL, "the name of this node: %s", strerror(problem));
}

bool recount_node(const char *directory, char name[NODE_NAME_BYTES], struct node_sync **sync,
                  struct fault *fault)
{
    *sync = NULL;
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof(path), "%s/node", directory);
    if (mkdir(directory, 0750) < 0 && errno != EEXIST && errno != ENOENT)
        return fault_set(fault, FAULT_INTERNAL, "%s: %s", directory, strerror(errno));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return fault_set(fault, FAULT_INTERNAL, "%s: %s", path, strerror(errno));
    bool good = read_name(fd, name);
    if (!good) { /* new, or cut by a crash before anything was counted under it */
        make_name(name);
        good = ftruncate(fd, 0) == 0 &&
               pwrite(fd, name, NODE_NAME_BYTES - 1, 0) == NODE_NAME_BYTES - 1;
        if (good) {
            *sync = sync_begin(fd);
            return true;
        }
    }
    int problem = errno;
    close(fd);
    return good || fault_set(fault, FAULT_INTERNAL, "%s: %s", path, strerror(problem));
}

/* ------------------------------------------------------------------------- how far back */

/* The sums that a window is counted from. */
enum grain { GRAIN_MINUTE, GRAIN_HOUR, GRAIN_DAY, GRAINS };
static const int64_t grain_us[GRAINS] = {60 * SECOND, HOUR, DAY};
static const enum usage_by grain_by[GRAINS] = {BY_MINUTE, BY_HOUR, BY_DAY};

struct reach {
    struct directory *directory;
    const struct directory *before; /* NULL = every limit is looked at */
    int64_t now_us;
    int64_t since_us[GRAINS]; /* INT64_MAX = not needed */
};

static int64_t window_begin(const struct limit *limit, int64_t now_us)
{
    int64_t begin, end;
    if (limit->period == PERIOD_ROLLING)
        return now_us - limit->window_us;
    period_bounds(limit->period, limit->zone, now_us, &begin, &end);
    return begin;
}

/* Fine enough that what is counted too long is a small part of the window. */
static enum grain grain_of(const struct limit *limit, int64_t now_us)
{
    int64_t window = now_us - window_begin(limit, now_us);
    if (limit->period == PERIOD_ROLLING ? limit->window_us <= 6 * HOUR : window <= 6 * HOUR)
        return GRAIN_MINUTE;
    return window <= 80 * DAY ? GRAIN_HOUR : GRAIN_DAY;
}

static const struct limit_list none;

/* The limits that there were on a level before, in the counters of now; <key> NULL: of the tenant,
 * or of its <users>. Counters stand below the topmost tenant, and have another name when theirs was
 * made anew. */
static const struct limit_list *limits_before(const struct directory *before,
                                              const struct tenant *tenant, const struct key *key,
                                              bool users)
{
    const struct tenant *old = before ? directory_find_tenant(before, tenant->name) : NULL;
    if (!old || !text_equal(old->scope, tenant->scope) ||
        !text_equal(tenant_root(old)->name, tenant_root(tenant)->name))
        return &none;
    if (key)
        key = directory_find_named(before, tenant->name, key->name);
    else
        return users ? &old->user_limits : &old->limits;
    return key ? &key->limits : &none;
}

/* Was <tenant> made just now, by the API? Whatever the ledger has under its name is of another one,
 * and its counters begin at nothing. (Of one that was made earlier we hear late, for Redis was
 * away: it may have had calls here.) */
static bool begins_now(const struct directory *before, const struct tenant *tenant, int64_t now_us)
{
    if (!before || tenant->scope.len == 0 || tenant->made_us < now_us - JUST_MADE_US)
        return false;
    const struct tenant *old = directory_find_tenant(before, tenant->name);
    return !old || !text_equal(old->scope, tenant->scope);
}

static void reach_limits(struct reach *reach, const struct limit_list *list,
                         const struct limit_list *before)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct limit *limit = &list->at[i];
        if (limit->kind == LIMIT_CONCURRENT || limit_has_same(before, limit))
            continue;
        enum grain grain = grain_of(limit, reach->now_us);
        int64_t begin = window_begin(limit, reach->now_us);
        if (begin < reach->since_us[grain])
            reach->since_us[grain] = begin < 0 ? 0 : begin;
    }
}

static void reach_key(void *with, const struct key *key)
{
    const struct reach *reach = with;
    if (key->limits.count > 0 && !begins_now(reach->before, key->tenant, reach->now_us))
        reach_limits(with, &key->limits, limits_before(reach->before, key->tenant, key, false));
}

static void reach_tenant(void *with, const struct tenant *tenant)
{
    const struct reach *reach = with;
    if (tenant->limits.count + tenant->user_limits.count == 0 ||
        begins_now(reach->before, tenant, reach->now_us))
        return;
    if (tenant->limits.count > 0)
        reach_limits(with, &tenant->limits, limits_before(reach->before, tenant, NULL, false));
    if (tenant->user_limits.count > 0)
        reach_limits(with, &tenant->user_limits, limits_before(reach->before, tenant, NULL, true));
}

/* ----------------------------------------------------------------------------- counting */

struct counting {
    struct limits *limits;
    const struct config *config;
    struct directory *directory;
    const struct directory *before; /* NULL: at a start */
    const char *journals;
    struct ledger_reader *reader;
    struct counter_names *counter_names;
    struct table begun; /* the counters of new limits: struct begun */
    struct kin *kin;    /* of tenants that are gone */
    struct arena scratch;
    int64_t now_us;
    enum grain grain;
};

/* One sum of the ledger: BY_TENANT, BY_KEY, BY_USER, BY_MODEL, and when. */
struct sums {
    const struct usage_row *row;
    const struct tenant *tenant;
    const struct key *key; /* NULL = gone meanwhile */
    struct text user, model;
    int64_t begin_us;
};

enum { OPERATION_PLACE = 5 }; /* among what a row is told apart by */

static bool is_of_batches(const struct usage_row *row)
{
    return strcmp(row->by[OPERATION_PLACE], operation_name(OPERATION_BATCH)) == 0;
}

/* Calls that a target was asked for count, also when it failed or refused: those of ours that are
 * refused have no tries. More than one try may be of one call, so this may be too many; but only
 * among calls that ended with one status. */
static int64_t refused_but_sent(const struct usage_row *row)
{
    return row->attempts < row->refused ? row->attempts : row->refused;
}

static int64_t figure_of(const struct usage_row *row, enum limit_kind kind)
{
    switch (kind) {
    case LIMIT_REQUESTS: /* a batch is one row for each model, and each of its calls a request */
        return is_of_batches(row) ? row->attempts
                                  : row->requests - row->refused + refused_but_sent(row);
    case LIMIT_INPUT_TOKENS:
        return row->usage.input_tokens;
    case LIMIT_OUTPUT_TOKENS:
        return row->usage.output_tokens;
    case LIMIT_TOKENS:
        return row->usage.input_tokens + row->usage.output_tokens;
    case LIMIT_MONEY:
        return row->cost_nanos;
    case LIMIT_CONCURRENT:
    case LIMIT_KINDS:
        break;
    }
    return 0;
}

static bool concerns(const struct counting *counting, const struct sums *sums,
                     const struct limit *limit)
{
    if (limit->kind == LIMIT_CONCURRENT || grain_of(limit, counting->now_us) != counting->grain)
        return false;
    if (is_of_batches(sums->row) && !batches_count(limit))
        return false;
    if (sums->begin_us + grain_us[counting->grain] <= window_begin(limit, counting->now_us))
        return false;
    return limit->model.len == 0 || text_equal(limit->model, sums->model);
}

/* Is the sum of a tenant that had this name before? What began in the minute, hour or day in which
 * this one was made counts whole. */
static bool is_of_another(const struct counting *counting, const struct sums *sums)
{
    return sums->tenant->scope.len &&
           sums->begin_us + grain_us[counting->grain] <= sums->tenant->made_us;
}

/* The counter of a limit that is new. One that is there already is of a limit that was taken away
 * and comes back: it has nothing of the time between. */
struct begun {
    struct text root;
    char *counter;
    const struct limit *limit;
    int64_t settled;    /* what it had; -1 = it was not there */
    int64_t sum, at_us; /* what it should have, and the end of the last of it */
};

static struct begun *begun_of(struct counting *counting, const struct sums *sums,
                              const struct use *use)
{
    struct begun *begun = table_find(&counting->begun, use->counter);
    if (begun)
        return begun;
    struct text root = tenant_root(sums->tenant)->name;
    begun = memory_new(sizeof(*begun));
    *begun = (struct begun){.root = root,
                            .counter = memory_string(use->counter),
                            .limit = use->limit,
                            .settled = limits_settled(counting->limits, root, use->counter)};
    table_set(&counting->begun, text_of(begun->counter), begun);
    return begun;
}

static void count_use(struct counting *counting, const struct sums *sums, const struct use *use,
                      int64_t at_us)
{
    bool inherited = limits_are_inherited(counting->limits);
    struct begun *begun = counting->before || inherited ? begun_of(counting, sums, use) : NULL;
    if (!counting->before && begun && begun->settled >= 0)
        return; /* the process before this one has counted it, to the last call */
    if (!begun || begun->settled < 0) {
        limits_rebuild(counting->limits, tenant_root(sums->tenant)->name, use, 1, at_us);
        return;
    }
    if (__builtin_add_overflow(begun->sum, use->want, &begun->sum))
        begun->sum = INT64_MAX;
    if (at_us > begun->at_us)
        begun->at_us = at_us;
}

/* What counters that were there lack: when it was used is not known, so it counts as long as the
 * last of it. */
static void count_lacks(struct counting *counting)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&counting->begun, &at, &name, &value)) {
        const struct begun *begun = value;
        struct use use = {.limit = begun->limit, .counter = name, .hash = hash_name(name)};
        use.want = use.least = begun->settled < 0 ? 0 : begun->sum - begun->settled;
        if (use.want > 0)
            limits_rebuild(counting->limits, begun->root, &use, 1, begun->at_us);
    }
}

static void count_level(struct counting *counting, const struct sums *sums,
                        const struct limit_list *list, char letter)
{
    if (list->count == 0 || begins_now(counting->before, sums->tenant, counting->now_us))
        return;
    const struct limit_list *before = limits_before(
        counting->before, sums->tenant, letter == 'k' ? sums->key : NULL, letter == 'u');
    for (size_t i = 0; i < list->count; i++) {
        const struct limit *limit = &list->at[i];
        struct use use = {.limit = limit, .want = figure_of(sums->row, limit->kind)};
        if (use.want <= 0 || !concerns(counting, sums, limit) || limit_has_same(before, limit))
            continue;
        use.least = use.want;
        use.counter =
            letter == 'u'
                ? counter_name_of_user(&counting->scratch, sums->tenant, sums->user, limit)
                : counter_names_find(counting->counter_names, limit,
                                     letter == 'k' ? sums->key : NULL, sums->tenant, &use.hash);
        int64_t at = sums->begin_us + grain_us[counting->grain] - 1;
        if (at > counting->now_us)
            at = counting->now_us;
        count_use(counting, sums, &use, at);
    }
}

/* As usage_read() writes it: "2026-11-25T22:30Z", or "2026-11-25". */
static bool read_time(const char *words, int64_t *us)
{
    struct tm utc = {0};
    const char *end = strptime(words, strchr(words, 'T') ? "%Y-%m-%dT%H:%MZ" : "%Y-%m-%d", &utc);
    if (!end || *end)
        return false;
    *us = (int64_t)timegm(&utc) * SECOND;
    return true;
}

/* The first of <name> and those it belonged to that is still there: what a tenant used that is gone
 * counts with them. NULL = none is. */
static const struct tenant *first_left(const struct counting *counting, struct sums *sums,
                                       struct text name)
{
    int64_t end_us = sums->begin_us + grain_us[counting->grain] - 1;
    for (int depth = 0; depth < TENANT_DEPTH_MAX && name.len > 0; depth++) {
        sums->tenant = directory_find_tenant(counting->directory, name);
        bool another = sums->tenant && is_of_another(counting, sums);
        if (sums->tenant && !another)
            return sums->tenant;
        int64_t before_us = another ? sums->tenant->made_us : INT64_MAX;
        if (kin_parent(counting->kin, name, end_us, before_us, &name))
            continue;
        /* From before that was noted: the likely one. */
        name = another && sums->tenant->parent ? sums->tenant->parent->name : TEXT("");
    }
    return NULL;
}

static void count_row(struct counting *counting, const struct usage_row *row)
{
    struct sums sums = {.row = row, .user = text_of(row->by[2])};
    struct text name = text_of(row->by[0]);
    if (!read_time(row->by[4], &sums.begin_us))
        return;
    sums.tenant = first_left(counting, &sums, name);
    if (!sums.tenant)
        return;
    bool own = text_equal(sums.tenant->name, name);
    sums.key = own ? directory_find_named(counting->directory, name, text_of(row->by[1])) : NULL;
    const struct route *route = routes_find(counting->config->routes, text_of(row->by[3]));
    sums.model = route ? route->name : text_of(row->by[3]);
    if (sums.key)
        count_level(counting, &sums, &sums.key->limits, 'k');
    if (own && sums.user.len)
        count_level(counting, &sums, &sums.tenant->user_limits, 'u');
    for (struct sums up = sums; up.tenant; up.tenant = up.tenant->parent)
        if (!is_of_another(counting, &up))
            count_level(counting, &up, &up.tenant->limits, 't');
    arena_reset(&counting->scratch);
}

static bool count_grain(struct counting *counting, int64_t since_us, struct fault *fault)
{
    const enum usage_by by[] = {
        BY_TENANT,    BY_KEY,     BY_USER,  BY_MODEL, grain_by[counting->grain],
        BY_OPERATION, BY_OUTCOME, BY_STATUS};
    struct usage_question question = {.directory = counting->journals,
                                      .reader = counting->reader,
                                      .since_us = since_us,
                                      .until_us = counting->now_us + DAY,
                                      .by = by,
                                      .by_count = sizeof(by) / sizeof(by[0]),
                                      .at_start = !counting->before};
    struct usage_report *report = usage_ask(&question, fault);
    if (!report)
        return false;
    for (size_t i = 0; i < report->count; i++)
        count_row(counting, &report->rows[i]);
    usage_report_free(report);
    return true;
}

static bool count_all(struct counting *counting, const struct reach *reach, struct fault *fault)
{
    bool good = true;
    for (int grain = 0; grain < GRAINS; grain++) {
        counting->grain = (enum grain)grain;
        if (reach->since_us[grain] != INT64_MAX)
            good = count_grain(counting, reach->since_us[grain], fault) && good;
    }
    return good;
}

/* The store hears of what was counted here within a tenth of a second; calls that are let in before
 * would be let in by who knows nothing of it. One that is away is not waited for. */
static void wait_told(struct counting *counting)
{
    uint64_t until = clock_now_us() + TOLD_WAIT_US;
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&counting->begun, &at, &name, &value)) {
        const struct begun *begun = value;
        while (!limits_are_told(counting->limits, begun->root, name) && clock_now_us() < until)
            usleep(TOLD_LOOK_US);
    }
}

static void begun_done(struct table *table)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(table, &at, &name, &value)) {
        struct begun *begun = value;
        memory_free(begun->counter);
        memory_free(begun);
    }
    table_done(table);
}

static bool recount_all(struct limits *limits, const struct config *config,
                        const struct reach *reach, const char *journals,
                        struct ledger_reader *reader, struct fault *fault)
{
    bool is_limited = false;
    for (int grain = 0; grain < GRAINS; grain++)
        is_limited |= reach->since_us[grain] != INT64_MAX;
    if (!is_limited)
        return true;
    struct counting counting = {.limits = limits,
                                .config = config,
                                .directory = reach->directory,
                                .before = reach->before,
                                .journals = journals,
                                .reader = reader,
                                .counter_names = counter_names_new(),
                                .now_us = reach->now_us};
    counting.kin = kin_read(reader, fault);
    table_init(&counting.begun);
    arena_init(&counting.scratch, ARENA_BYTES);
    bool good = counting.kin && count_all(&counting, reach, fault);
    kin_free(counting.kin);
    arena_done(&counting.scratch);
    count_lacks(&counting);
    wait_told(&counting);
    begun_done(&counting.begun);
    counter_names_free(counting.counter_names);
    return good;
}

bool recount(struct limits *limits, const struct config *config, struct directory *directory,
             struct ledger_reader *reader, struct fault *fault)
{
    struct reach reach = {.directory = directory,
                          .now_us = clock_wall_us(),
                          .since_us = {INT64_MAX, INT64_MAX, INT64_MAX}};
    directory_each_key(directory, reach_key, &reach);
    directory_each_tenant(directory, reach_tenant, &reach);
    return recount_all(limits, config, &reach, config->ledger_path, reader, fault);
}

bool recount_added(struct limits *limits, const struct config *config,
                   const struct recount_change *change, const char *journals,
                   struct ledger_reader *reader, struct fault *fault)
{
    struct reach reach = {.directory = change->directory,
                          .before = change->before,
                          .now_us = clock_wall_us(),
                          .since_us = {INT64_MAX, INT64_MAX, INT64_MAX}};
    if (change->keys)
        directory_each_key(change->directory, reach_key, &reach);
    directory_each_tenant(change->directory, reach_tenant, &reach);
    return recount_all(limits, config, &reach, journals, reader, fault);
}
