/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/genai.h"
#include "gateway/metrics_series.h"

enum {
    CACHE_LINE = 64,
    LABEL_VALUES_DEFAULT = 500,
    SHORTCUTS =
        4096, /* slots of a worker's table at first, a power of two; doubled when half full */
    SHORTCUTS_MAX = 65536, /* emptied instead */
    KEYS_MAX = 7,          /* texts that one shortcut is found by */
    SERIES_OF_ONE = 4,
};

/* clang-format off */
const int64_t histogram_bounds[][HISTOGRAM_BUCKETS] = {
    [SHAPE_SECONDS] = {10000, 20000, 40000, 80000, 160000, 320000, 640000, 1280000, 2560000,
                       5120000, 10240000, 20480000, 40960000, 81920000, INT64_MAX},
    [SHAPE_FINE] =    {10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000, 500000,
                       1000000, INT64_MAX},
    [SHAPE_TOKENS] =  {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304,
                       16777216, 67108864, INT64_MAX},
    [SHAPE_FIRST] =   {1000, 5000, 10000, 20000, 40000, 60000, 80000, 100000, 250000, 500000,
                       750000, 1000000, 2500000, 5000000, 7500000, 10000000, INT64_MAX},
    [SHAPE_EACH] =    {10000, 25000, 50000, 75000, 100000, 150000, 200000, 300000, 400000, 500000,
                       750000, 1000000, 2500000, INT64_MAX},
};

/* What we answer or pass on in practice; every other code is counted as 0. */
static const short codes[HTTP_CODES] = {
    200, 201, 202, 204, 206, 101, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 408,
    409, 410, 411, 413, 414, 415, 417, 422, 429, 431, 499, 500, 501, 502, 503, 504, 505, 529,
};

struct family_shape {
    enum label_kind labels[SERIES_LABELS_MAX];
    unsigned label_count;
    size_t cells;
};

static const struct family_shape shapes[FAMILIES] = {
    [FAMILY_HTTP] =   {{LABEL_LISTENER}, 1, (size_t)HTTP_METHODS * HTTP_CODES},
    [FAMILY_CALL] =   {{LABEL_MODEL, LABEL_PROVIDER, LABEL_TARGET, LABEL_TENANT}, 4, CALL_CELLS},
    [FAMILY_TOKENS] = {{LABEL_MODEL, LABEL_TENANT}, 2, TOKENS_CELLS},
    [FAMILY_MODEL] =  {{LABEL_MODEL}, 1, MODEL_CELLS},
    [FAMILY_TARGET] = {{LABEL_TARGET}, 1, FAULT_KINDS},
    [FAMILY_GENAI] =  {{LABEL_OPERATION, LABEL_VENDOR, LABEL_MODEL, LABEL_UPSTREAM_MODEL,
                        LABEL_ADDRESS}, 5, GENAI_CELLS},
    [FAMILY_GENAI_TIME] = {{LABEL_OPERATION, LABEL_VENDOR, LABEL_MODEL, LABEL_UPSTREAM_MODEL,
                        LABEL_ADDRESS, LABEL_ERROR}, 6, GENAI_TIME_CELLS},
};
/* clang-format on */

/* How a worker finds its cells again, by the texts it was told; they are copied, for the
 * configuration that they come from may be gone at the next call. */
struct shortcut {
    uint64_t hash; /* 0 = free */
    char *keys;    /* all texts, one behind the other */
    uint32_t lengths[KEYS_MAX];
    atomic_uint_fast64_t *cells[SERIES_OF_ONE]; /* this worker's */
};

struct metrics_worker {
    struct metrics *metrics;
    unsigned index;
    size_t shortcut_count, shortcut_room;
    struct shortcut *shortcuts;
    unsigned char code_cells[600]; /* status to code cell + 1; 0 = other */
    unsigned vendors_are;          /* as they were when the shortcuts were made */
    atomic_int_fast64_t gauges[METRIC_GAUGES];
    atomic_uint_fast64_t counters[METRIC_COUNTERS];
};

int metrics_code_at(size_t i)
{
    return codes[i];
}

/* ---------------------------------------------------------------------------- series */

/* Escape a label value: backslash, quote, line feed. */
static struct text *escaped(struct text name)
{
    struct text *copy = memory_new(sizeof *copy + 2 * name.len + 1);
    char *begin = (char *)(copy + 1), *at = begin;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (c == '\\' || c == '"' || c == '\n')
            *at++ = '\\';
        *at++ = c == '\n' ? 'n' : c;
    }
    *copy = (struct text){begin, (size_t)(at - begin)};
    return copy;
}

static const struct text other = {"other", 5}, none = {"", 0};

static const struct text *label_of(struct metrics *metrics, enum label_kind kind, struct text name)
{
    struct label *label = &metrics->labels[kind];
    if (kind == LABEL_TENANT && !metrics->options.tenant_label)
        return &none;
    if (name.len == 0)
        return kind == LABEL_MODEL ? &other : &none;
    struct text *found = table_find(&label->names, name);
    if (found != NULL)
        return found;
    if (label->count >= metrics->options.max_label_values)
        return &other;
    label->count++;
    found = escaped(name);
    table_set(&label->names, text_of(memory_string(name)), found);
    return found;
}

static struct series *series_new(const struct metrics *metrics, const struct family_shape *shape)
{
    struct series *series = memory_new(sizeof *series);
    size_t line = CACHE_LINE / sizeof *series->cells; /* no two workers write one cache line */
    series->stride = (shape->cells + line - 1) / line * line;
    size_t bytes = series->stride * metrics->options.workers * sizeof *series->cells;
    series->memory = aligned_alloc(CACHE_LINE, bytes);
    if (series->memory == NULL)
        abort();
    memset(series->memory, 0, bytes);
    series->cells = series->memory;
    return series;
}

/* There is one text for each value of a label, so that its address is a name for it. */
static struct text name_of(const struct text *const labels[SERIES_LABELS_MAX])
{
    return (struct text){(const char *)labels, SERIES_LABELS_MAX * sizeof *labels};
}

static struct series *series_add(struct metrics *metrics, enum family family,
                                 const struct text *const labels[SERIES_LABELS_MAX])
{
    struct series *series = series_new(metrics, &shapes[family]);
    memcpy(series->labels, labels, sizeof series->labels);
    *metrics->series_end[family] = series;
    metrics->series_end[family] = &series->next;
    table_set(&metrics->series_by_labels[family], name_of(series->labels), series);
    return series;
}

/* The series with these labels, made when it is new; the lock is held. */
static struct series *series_find(struct metrics *metrics, enum family family,
                                  const struct text *names)
{
    const struct family_shape *shape = &shapes[family];
    const struct table *known = &metrics->series_by_labels[family];
    const struct text *labels[SERIES_LABELS_MAX] = {0};
    for (unsigned i = 0; i < shape->label_count; i++)
        labels[i] = label_of(metrics, shape->labels[i], names[i]);
    struct series *found = table_find(known, name_of(labels));
    if (found == NULL && known->count >= SERIES_MAX) {
        for (unsigned i = 0; i < shape->label_count; i++)
            labels[i] = &other; /* the one that takes all the rest */
        found = table_find(known, name_of(labels));
    }
    return found != NULL ? found : series_add(metrics, family, labels);
}

uint64_t series_sum(const struct series *series, unsigned workers, size_t cell)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < workers; i++)
        sum +=
            atomic_load_explicit(&series->cells[i * series->stride + cell], memory_order_relaxed);
    return sum;
}

/* ---------------------------------------------------------------------------- shortcuts */

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15U;
    return hash ^ (hash >> 29);
}

/* Names of a configuration: nobody chooses them to collide. */
static uint64_t hash_keys(unsigned kind, const struct text *keys, unsigned count)
{
    uint64_t hash = kind + 1;
    for (unsigned i = 0; i < count; i++) {
        struct text key = keys[i];
        hash = mix(hash, key.len);
        for (; key.len >= 8; key = text_from(key, 8)) {
            uint64_t word;
            memcpy(&word, key.at, 8);
            hash = mix(hash, word);
        }
        uint64_t rest = 0;
        if (key.len > 0)
            memcpy(&rest, key.at, key.len);
        hash = mix(hash, rest);
    }
    return hash | 1;
}

static bool has_keys(const struct shortcut *shortcut, const struct text *keys, unsigned count)
{
    const char *at = shortcut->keys;
    for (unsigned i = 0; i < count; at += shortcut->lengths[i], i++)
        if (!text_same_name((struct text){at, shortcut->lengths[i]}, keys[i]))
            return false;
    return true;
}

static void keep_keys(struct shortcut *shortcut, const struct text *keys, unsigned count)
{
    size_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += keys[i].len;
    char *at = shortcut->keys = memory_new(total + 1);
    for (unsigned i = 0; i < count; i++) {
        if (keys[i].len > 0)
            memcpy(at, keys[i].at, keys[i].len);
        at += keys[i].len;
        shortcut->lengths[i] = (uint32_t)keys[i].len;
    }
}

/* Most of its pages were never written: they stay the kernel's. */
static void forget_shortcuts(struct metrics_worker *worker)
{
    for (size_t i = 0; i < worker->shortcut_room; i++)
        if (worker->shortcuts[i].hash != 0) {
            memory_free(worker->shortcuts[i].keys);
            worker->shortcuts[i] = (struct shortcut){0};
        }
    worker->shortcut_count = 0;
}

/* Twice the room: whoever uses all of it would find it empty again and again. */
static void widen_shortcuts(struct metrics_worker *worker)
{
    size_t room = worker->shortcut_room * 2;
    struct shortcut *wide = memory_new(room * sizeof *wide);
    for (size_t i = 0; i < worker->shortcut_room; i++) {
        const struct shortcut *shortcut = &worker->shortcuts[i];
        size_t at = shortcut->hash & (room - 1);
        while (shortcut->hash != 0 && wide[at].hash != 0)
            at = (at + 1) & (room - 1);
        if (shortcut->hash != 0)
            wide[at] = *shortcut;
    }
    memory_free(worker->shortcuts);
    worker->shortcuts = wide;
    worker->shortcut_room = room;
}

/* The place of the keys in the worker's table: found, or free and to be filled in. */
static struct shortcut *shortcut_find(struct metrics_worker *worker, uint64_t hash,
                                      const struct text *keys, unsigned count)
{
    if (worker->shortcut_count > worker->shortcut_room / 2) {
        if (worker->shortcut_room < SHORTCUTS_MAX)
            widen_shortcuts(worker);
        else
            forget_shortcuts(worker);
    }
    for (size_t i = hash;; i++) {
        struct shortcut *shortcut = &worker->shortcuts[i & (worker->shortcut_room - 1)];
        if (shortcut->hash == 0 || (shortcut->hash == hash && has_keys(shortcut, keys, count)))
            return shortcut;
    }
}

static void connect_series(struct metrics_worker *worker, struct shortcut *shortcut, unsigned i,
                           enum family family, const struct text *names)
{
    struct series *series = series_find(worker->metrics, family, names);
    shortcut->cells[i] = series->cells + worker->index * series->stride;
}

/* The cells of a family with one label. */
static atomic_uint_fast64_t *cells_of(struct metrics_worker *worker, enum family family,
                                      struct text name)
{
    uint64_t hash = hash_keys(family, &name, 1);
    struct shortcut *shortcut = shortcut_find(worker, hash, &name, 1);
    if (shortcut->hash == 0) {
        pthread_mutex_lock(&worker->metrics->lock);
        connect_series(worker, shortcut, 0, family, &name);
        pthread_mutex_unlock(&worker->metrics->lock);
        keep_keys(shortcut, &name, 1);
        shortcut->hash = hash;
        worker->shortcut_count++;
    }
    return shortcut->cells[0];
}

enum { OF_CALL, OF_TOKENS, OF_GENAI, OF_GENAI_TIME };

static void connect_genai(struct metrics_worker *worker, struct shortcut *shortcut,
                          const struct ledger_row *row, struct text route)
{
    const struct vendor *vendor = table_find(&worker->metrics->vendors, row->provider);
    struct text names[] = {genai_operation(row->operation),
                           vendor ? text_of(vendor->known_as) : row->provider,
                           route,
                           row->upstream_model,
                           vendor ? text_of(vendor->address) : none,
                           row->fault};
    connect_series(worker, shortcut, OF_GENAI, FAMILY_GENAI, names);
    connect_series(worker, shortcut, OF_GENAI_TIME, FAMILY_GENAI_TIME, names);
}

/* The cells that a call counts in, but for its model's. */
static struct shortcut *call_cells(struct metrics_worker *worker, const struct ledger_row *row,
                                   struct text route)
{
    struct text keys[KEYS_MAX] = {route,          row->provider,       row->target, row->tenant,
                                  row->operation, row->upstream_model, row->fault};
    uint64_t hash = hash_keys(FAMILIES, keys, KEYS_MAX);
    unsigned vendors_are =
        atomic_load_explicit(&worker->metrics->vendors_are, memory_order_relaxed);
    if (vendors_are != worker->vendors_are)
        forget_shortcuts(worker);
    worker->vendors_are = vendors_are;
    struct shortcut *shortcut = shortcut_find(worker, hash, keys, KEYS_MAX);
    if (shortcut->hash != 0)
        return shortcut;
    struct text tokens[] = {route, row->tenant};
    pthread_mutex_lock(&worker->metrics->lock);
    connect_series(worker, shortcut, OF_CALL, FAMILY_CALL, keys);
    connect_series(worker, shortcut, OF_TOKENS, FAMILY_TOKENS, tokens);
    if (worker->metrics->options.gen_ai)
        connect_genai(worker, shortcut, row, route);
    pthread_mutex_unlock(&worker->metrics->lock);
    keep_keys(shortcut, keys, KEYS_MAX);
    shortcut->hash = hash;
    worker->shortcut_count++;
    return shortcut;
}

/* ---------------------------------------------------------------------------- counting */

/* Only one thread writes a cell: no locked instruction is needed. */
static inline void add(atomic_uint_fast64_t *cell, uint64_t by)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static void add_count(atomic_uint_fast64_t *cell, int64_t by)
{
    if (by > 0)
        add(cell, (uint64_t)by);
}

static void observe(atomic_uint_fast64_t *cells, enum histogram_shape shape, int64_t value)
{
    const int64_t *bounds = histogram_bounds[shape];
    size_t i = 0;
    if (value < 0)
        value = 0;
    while (value > bounds[i])
        i++;
    add(&cells[i], 1);
    add(&cells[HISTOGRAM_BUCKETS], (uint64_t)value);
}

void metrics_http(struct metrics_worker *worker, struct text listener, enum method method,
                  int status)
{
    if (worker == NULL)
        return;
    atomic_uint_fast64_t *cells = cells_of(worker, FAMILY_HTTP, listener);
    size_t code =
        status >= 0 && status < (int)sizeof worker->code_cells ? worker->code_cells[status] : 0;
    code = code > 0 ? code - 1 : HTTP_CODES - 1;
    add(&cells[(size_t)method * HTTP_CODES + code], 1);
}

/* The convention: what is not known is never reported; of an answer in one piece nobody knows when
 * its first token was there. */
static void count_genai(const struct shortcut *of, const struct ledger_row *row)
{
    atomic_uint_fast64_t *genai = of->cells[OF_GENAI];
    const struct usage *usage = &row->usage;
    bool streamed = row->stream && row->outcome == LEDGER_COMPLETE && row->ttft_us > 0;
    if (row->attempts > 0)
        observe(&of->cells[OF_GENAI_TIME][GENAI_DURATION], SHAPE_SECONDS, row->duration_us);
    if (streamed && row->attempts > 0)
        observe(&genai[GENAI_FIRST], SHAPE_FIRST, row->ttft_us);
    if (row->counted != COUNTED_PROVIDER)
        return;
    observe(&genai[GENAI_INPUT], SHAPE_TOKENS, usage->input_tokens);
    if (usage->output_tokens > 0)
        observe(&genai[GENAI_OUTPUT], SHAPE_TOKENS, usage->output_tokens);
    if (streamed && row->attempts > 0 && usage->output_tokens > 1)
        observe(&genai[GENAI_EACH], SHAPE_EACH,
                (row->duration_us - row->ttft_us) / (usage->output_tokens - 1));
}

void metrics_call(struct metrics_worker *worker, const struct ledger_row *row, struct text route)
{
    if (worker == NULL)
        return;
    atomic_uint_fast64_t *model = cells_of(worker, FAMILY_MODEL, route);
    const struct shortcut *of = call_cells(worker, row, route);
    atomic_uint_fast64_t *tokens = of->cells[OF_TOKENS];
    const struct usage *usage = &row->usage;

    add(&of->cells[OF_CALL][row->outcome], 1);
    add_count(&tokens[TOKENS_INPUT], usage->input_tokens);
    add_count(&tokens[TOKENS_CACHED], usage->cached_tokens);
    add_count(&tokens[TOKENS_CACHE_WRITE], usage->cache_write_tokens);
    add_count(&tokens[TOKENS_OUTPUT], usage->output_tokens);
    add_count(&tokens[TOKENS_REASONING], usage->reasoning_tokens);
    add_count(&tokens[TOKENS_COST_NANOS], row->cost_nanos);
    observe(&model[MODEL_DURATION], SHAPE_SECONDS, row->duration_us);
    observe(&model[MODEL_OVERHEAD], SHAPE_FINE, row->overhead_us);
    if (row->ttft_us > 0)
        observe(&model[MODEL_TTFT], SHAPE_SECONDS, row->ttft_us);
    if (worker->metrics->options.gen_ai)
        count_genai(of, row);
}

void metrics_attempt(struct metrics_worker *worker, struct text target, enum fault_kind result)
{
    if (worker != NULL)
        add(&cells_of(worker, FAMILY_TARGET, target)[result], 1);
}

void metrics_in_flight(struct metrics_worker *worker, struct text route, int change)
{
    if (worker != NULL) /* wraps around below zero, and the sum of all workers is right again */
        add(&cells_of(worker, FAMILY_MODEL, route)[MODEL_IN_FLIGHT], (uint64_t)(int64_t)change);
}

void metrics_gauge(struct metrics_worker *worker, enum metric_gauge gauge, int change)
{
    if (worker == NULL)
        return;
    int64_t now = atomic_load_explicit(&worker->gauges[gauge], memory_order_relaxed);
    atomic_store_explicit(&worker->gauges[gauge], now + change, memory_order_relaxed);
}

void metrics_count(struct metrics_worker *worker, enum metric_counter counter, uint64_t by)
{
    if (worker != NULL)
        add(&worker->counters[counter], by);
}

int64_t metrics_gauge_now(const struct metrics *metrics, enum metric_gauge gauge)
{
    int64_t sum = 0;
    for (unsigned i = 0; metrics != NULL && i < metrics->options.workers; i++)
        sum += atomic_load_explicit(&metrics->workers[i]->gauges[gauge], memory_order_relaxed);
    return sum;
}

uint64_t metrics_count_now(const struct metrics *metrics, enum metric_counter counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; metrics != NULL && i < metrics->options.workers; i++)
        sum += atomic_load_explicit(&metrics->workers[i]->counters[counter], memory_order_relaxed);
    return sum;
}

void metrics_reload(struct metrics *metrics, bool good, int64_t wall_us)
{
    if (metrics == NULL)
        return;
    atomic_store(&metrics->reload_good, good);
    if (good)
        atomic_store(&metrics->reload_at_us, wall_us);
}

void metrics_provider(struct metrics *metrics, struct text provider, struct text type,
                      struct text address)
{
    if (metrics == NULL || provider.len == 0)
        return;
    struct text known_as = genai_provider(type);
    pthread_mutex_lock(&metrics->lock);
    struct vendor *vendor = table_find(&metrics->vendors, provider);
    if (vendor == NULL) {
        vendor = memory_new(sizeof *vendor);
        table_set(&metrics->vendors, text_of(memory_string(provider)), vendor);
    }
    if (vendor->known_as == NULL || !text_equal(text_of(vendor->known_as), known_as) ||
        !text_equal(text_of(vendor->address), address)) {
        memory_free(vendor->known_as);
        memory_free(vendor->address);
        *vendor = (struct vendor){memory_string(known_as), memory_string(address)};
        atomic_fetch_add_explicit(&metrics->vendors_are, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&metrics->lock);
}

void metrics_policy(struct metrics *metrics, struct limits *limits, struct cache *cache)
{
    if (metrics == NULL)
        return;
    atomic_store(&metrics->limits, limits);
    atomic_store(&metrics->cache, cache);
}

void metrics_semantic(struct metrics *metrics, struct semantic *semantic)
{
    if (metrics != NULL)
        atomic_store(&metrics->semantic, semantic);
}

void metrics_ledger(struct metrics *metrics, struct ledger *ledger)
{
    if (metrics != NULL)
        atomic_store(&metrics->ledger, ledger);
}

void metrics_decisions(struct metrics *metrics, struct decisions *decisions)
{
    if (metrics != NULL)
        atomic_store(&metrics->decisions, decisions);
}

void metrics_content(struct metrics *metrics, struct content *content)
{
    if (metrics != NULL)
        atomic_store(&metrics->content, content);
}

/* ---------------------------------------------------------------------------- begin and end */

static struct metrics_worker *worker_new(struct metrics *metrics, unsigned index)
{
    struct metrics_worker *worker = memory_new(sizeof *worker);
    worker->metrics = metrics;
    worker->index = index;
    worker->shortcut_room = SHORTCUTS;
    worker->shortcuts = memory_new(SHORTCUTS * sizeof *worker->shortcuts);
    for (size_t i = 0; i < HTTP_CODES; i++)
        if (codes[i] != 0)
            worker->code_cells[codes[i]] = (unsigned char)(i + 1);
    return worker;
}

struct metrics *metrics_new(const struct metrics_options *options)
{
    struct metrics *metrics = memory_new(sizeof *metrics);
    metrics->options = *options;
    if (metrics->options.max_label_values == 0)
        metrics->options.max_label_values = LABEL_VALUES_DEFAULT;
    metrics->started_us = clock_wall_us();
    pthread_mutex_init(&metrics->lock, NULL);
    for (size_t i = 0; i < LABELS; i++)
        table_init(&metrics->labels[i].names);
    for (size_t i = 0; i < FAMILIES; i++) {
        metrics->series_end[i] = &metrics->series[i];
        table_init(&metrics->series_by_labels[i]);
    }
    table_init(&metrics->vendors);
    metrics->workers = memory_new(options->workers * sizeof(struct metrics_worker *));
    for (unsigned i = 0; i < options->workers; i++)
        metrics->workers[i] = worker_new(metrics, i);
    return metrics;
}

static void free_label(struct label *label)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(&label->names, &at, &name, &value)) {
        memory_free((void *)(uintptr_t)name.at); /* made by label_of(), so ours to free */
        memory_free(value);
    }
    table_done(&label->names);
}

static void free_vendors(struct table *vendors)
{
    size_t at = 0;
    struct text name;
    void *value;
    while (table_next(vendors, &at, &name, &value)) {
        struct vendor *vendor = value;
        memory_free((void *)(uintptr_t)name.at);
        memory_free(vendor->known_as);
        memory_free(vendor->address);
        memory_free(vendor);
    }
    table_done(vendors);
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (unsigned i = 0; i < metrics->options.workers; i++) {
        forget_shortcuts(metrics->workers[i]);
        memory_free(metrics->workers[i]->shortcuts);
        memory_free(metrics->workers[i]);
    }
    memory_free(metrics->workers);
    for (size_t i = 0; i < FAMILIES; i++) {
        for (struct series *s = metrics->series[i], *next; s != NULL; s = next) {
            next = s->next;
            free(s->memory);
            memory_free(s);
        }
        table_done(&metrics->series_by_labels[i]);
    }
    for (size_t i = 0; i < LABELS; i++)
        free_label(&metrics->labels[i]);
    free_vendors(&metrics->vendors);
    pthread_mutex_destroy(&metrics->lock);
    memory_free(metrics);
}

struct metrics_worker *metrics_of(struct metrics *metrics, unsigned worker)
{
    return metrics != NULL ? metrics->workers[worker] : NULL;
}
