/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/hearsay.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/base/memory.h"
#include "routing/strategy.h"

enum { US = 1000 };

static const int64_t USED_US = 60000000, SAME_US = 50000, AGE_MAX_US = INT64_C(86400) * 1000000;

/* A target that is spoken of. What we were told of it ourselves is not told on: figures whose time
 * is still that of the hearing are not ours. */
struct spoken {
    uint64_t identity;
    struct target_figures *figures;
    const struct breaker_settings *breaker;
    int64_t heard_us[TRAFFIC_CLASSES], heard_failed_us, heard_said_us;
};

/* What a node says is in flight, until it says something else. */
struct flight {
    unsigned place; /* among those that are spoken of */
    int64_t calls, tokens;
    bool open;
};

struct node {
    char name[HEARSAY_NAME_BYTES];
    uint64_t at_us; /* when it was written; 0 = free */
    struct flight *flights;
    size_t count;
};

struct hearsay {
    struct spoken *list; /* by identity */
    size_t count;
    struct node nodes[HEARSAY_NODES_MAX];
};

static int64_t get(const atomic_int_fast64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

static void set(atomic_int_fast64_t *figure, int64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

/* -------------------------------------------------------------------------- who is meant */

struct hearsay *hearsay_new(void)
{
    return memory_new(sizeof(struct hearsay));
}

static void forget_nodes(struct hearsay *hearsay)
{
    for (size_t i = 0; i < HEARSAY_NODES_MAX; i++) {
        memory_free(hearsay->nodes[i].flights);
        hearsay->nodes[i] = (struct node){.at_us = 0};
    }
}

void hearsay_free(struct hearsay *hearsay)
{
    if (!hearsay)
        return;
    forget_nodes(hearsay);
    memory_free(hearsay->list);
    memory_free(hearsay);
}

static int by_identity(const void *left, const void *right)
{
    const struct spoken *a = left, *b = right;
    return a->identity < b->identity ? -1 : a->identity > b->identity;
}

static struct spoken *find(const struct hearsay *hearsay, uint64_t identity)
{
    struct spoken wanted = {.identity = identity};
    return hearsay->count
               ? bsearch(&wanted, hearsay->list, hearsay->count, sizeof(wanted), by_identity)
               : NULL;
}

/* Of those that are no longer spoken of, nobody says any more what is in flight. */
static void clear_sums(const struct hearsay *hearsay)
{
    for (size_t i = 0; i < hearsay->count; i++) {
        struct target_figures *figures = hearsay->list[i].figures;
        set(&figures->predict.heard_calls, 0);
        set(&figures->predict.heard_tokens, 0);
        set(&figures->heard.nodes, 0);
        set(&figures->heard.open, 0);
    }
}

/* One that stands in two models is one. */
static void drop_doubles(struct hearsay *hearsay)
{
    size_t kept = 0;
    for (size_t i = 0; i < hearsay->count; i++)
        if (i == 0 || hearsay->list[i].identity != hearsay->list[i - 1].identity)
            hearsay->list[kept++] = hearsay->list[i];
    hearsay->count = kept;
}

void hearsay_set_targets(struct hearsay *hearsay, const struct target *list, size_t count)
{
    struct spoken *before = hearsay->list;
    struct hearsay old = {.list = before, .count = hearsay->count};
    clear_sums(hearsay);
    forget_nodes(hearsay);
    hearsay->list = memory_new((count + 1) * sizeof(*hearsay->list));
    hearsay->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!list[i].figures)
            continue;
        const struct spoken *known = find(&old, list[i].figures->identity);
        struct spoken *one = &hearsay->list[hearsay->count++];
        if (known)
            *one = *known;
        one->identity = list[i].figures->identity;
        one->figures = list[i].figures;
        one->breaker = list[i].breaker;
    }
    qsort(hearsay->list, hearsay->count, sizeof(*hearsay->list), by_identity);
    drop_doubles(hearsay);
    memory_free(before);
}

/* ------------------------------------------------------------------------------- telling */

/* -1: never, or too long ago to be worth a word. */
static int64_t age_ms(int64_t at_us, uint64_t now_us)
{
    int64_t age = (int64_t)now_us - at_us;
    return at_us <= 0 || age > AGE_MAX_US ? -1 : age < 0 ? 0 : age / US;
}

static void tell_class(const struct spoken *one, unsigned i, uint64_t now_us,
                       struct hearsay_class *out)
{
    const struct predict_class *class = &one->figures->predict.classes[i];
    int64_t learnt = get(&class->learnt_us);
    if (!get(&class->samples) || learnt == one->heard_us[i])
        return;
    *out = (struct hearsay_class){
        .calm_us = get(&class->calm_us),
        .busy_us = get(&class->busy_us),
        .hit_us = get(&class->hit_us),
        .p95_us = get(&class->p95_us),
        .late_us = get(&class->late_us),
        .token_ns = get(&class->token_ns),
        .age_ms = age_ms(learnt, now_us),
    };
}

static void tell_quota(const struct spoken *one, uint64_t now_us, struct hearsay_line *out)
{
    const struct quota_left *left = &one->figures->left;
    int64_t said = get(&left->said_us);
    if (said == one->heard_said_us)
        return;
    out->said_age_ms = age_ms(said, now_us);
    out->requests = get(&left->requests);
    out->requests_limit = get(&left->requests_limit);
    out->requests_reset_ms = get(&left->requests_reset_us) / US;
    out->quota_tokens = get(&left->tokens);
    out->tokens_limit = get(&left->tokens_limit);
    out->tokens_reset_ms = get(&left->tokens_reset_us) / US;
}

static void tell(const struct spoken *one, uint64_t now_us, struct hearsay_line *out)
{
    const struct predict_figures *predict = &one->figures->predict;
    struct health_told health = health_tell(&one->figures->health);
    int64_t cooling = health.cooling_until_us - (int64_t)now_us, failed = get(&predict->failed_us);
    *out = (struct hearsay_line){
        .identity = one->identity,
        .circuit = (int64_t)health.circuit,
        .turned_age_ms = age_ms(health.turned_us, now_us),
        .cooling_ms = cooling > 0 ? cooling / US + 1 : 0,
        .calls = get(&predict->calls),
        .tokens = get(&predict->work_tokens),
        .room_milli = get(&predict->room_milli),
        .failing_ppm = get(&predict->failing_ppm),
        .failed_age_ms = failed == one->heard_failed_us ? -1 : age_ms(failed, now_us),
        .said_age_ms = -1,
    };
    tell_quota(one, now_us, out);
    for (unsigned i = 0; i < TRAFFIC_CLASSES; i++)
        tell_class(one, i, now_us, &out->classes[i]);
}

static bool is_urgent(const struct hearsay_line *line)
{
    return line->calls > 0 || line->cooling_ms > 0 || line->circuit != CIRCUIT_CLOSED;
}

static bool is_fresh(int64_t age)
{
    return age >= 0 && age < USED_US / US;
}

static bool is_used(const struct hearsay_line *line)
{
    bool used = is_fresh(line->turned_age_ms) || is_fresh(line->said_age_ms) ||
                (line->failing_ppm > 0 && is_fresh(line->failed_age_ms));
    for (unsigned i = 0; i < TRAFFIC_CLASSES; i++)
        used = used || (line->classes[i].calm_us > 0 && is_fresh(line->classes[i].age_ms));
    return used;
}

/* What has changed, but for ages. */
static uint64_t mix_in(uint64_t sense, const struct spoken *one, const struct hearsay_line *line)
{
    const struct target_figures *figures = one->figures;
    int64_t facts[8 + TRAFFIC_CLASSES] = {line->calls,
                                          line->tokens,
                                          line->circuit,
                                          get(&figures->health.turned_us),
                                          get(&figures->health.cooling_until_us),
                                          get(&figures->predict.failed_us),
                                          get(&figures->left.said_us),
                                          (int64_t)one->identity};
    for (unsigned i = 0; i < TRAFFIC_CLASSES; i++)
        facts[8 + i] = get(&figures->predict.classes[i].learnt_us);
    for (unsigned i = 0; i < 8 + TRAFFIC_CLASSES; i++)
        sense = strategy_mix(sense ^ (uint64_t)facts[i]);
    return sense;
}

/* Those first for whom there is something that cannot wait. */
size_t hearsay_write(const struct hearsay *hearsay, uint64_t now_us, char *out, uint64_t *sense)
{
    size_t len = hearsay_head.len, lines = 0;
    memcpy(out, hearsay_head.at, len);
    *sense = 0;
    for (int urgent = 1; urgent >= 0; urgent--)
        for (size_t i = 0; i < hearsay->count && lines < HEARSAY_TARGETS_MAX; i++) {
            struct hearsay_line line;
            tell(&hearsay->list[i], now_us, &line);
            if (is_urgent(&line) != (urgent == 1) || (!urgent && !is_used(&line)))
                continue;
            len = hearsay_line_write(&line, out, len, HEARSAY_BYTES_MAX);
            *sense = mix_in(*sense, &hearsay->list[i], &line);
            lines++;
        }
    return len;
}

/* ------------------------------------------------------------------------------- hearing */

static struct node *node_of(struct hearsay *hearsay, struct text name, uint64_t now_us)
{
    struct node *free = NULL;
    for (size_t i = 0; i < HEARSAY_NODES_MAX; i++) {
        struct node *node = &hearsay->nodes[i];
        if (node->at_us && text_equal(text_of(node->name), name))
            return node;
        if (!free && (!node->at_us || now_us > node->at_us + HEARSAY_GONE_US))
            free = node;
    }
    if (!free)
        return NULL;
    memcpy(free->name, name.at, name.len);
    free->name[name.len] = '\0';
    free->count = 0;
    if (!free->flights)
        free->flights = memory_new(HEARSAY_TARGETS_MAX * sizeof(*free->flights));
    return free;
}

/* Halfway, where both know something. */
static void blend(atomic_int_fast64_t *own, int64_t heard, bool anew)
{
    int64_t before = anew ? 0 : get(own);
    if (heard > 0)
        set(own, before > 0 ? before + (heard - before) / 2 : heard);
    else if (anew)
        set(own, 0);
}

static void hear_class(struct spoken *one, unsigned i, const struct hearsay_class *heard,
                       uint64_t at_us)
{
    struct predict_class *class = &one->figures->predict.classes[i];
    int64_t learnt = (int64_t)at_us - heard->age_ms * US, samples = get(&class->samples);
    if (heard->calm_us <= 0 || learnt <= 0 ||
        (samples && learnt < get(&class->learnt_us) + HEARSAY_NEWER_US))
        return;
    blend(&class->calm_us, heard->calm_us, !samples);
    blend(&class->busy_us, heard->busy_us, !samples);
    blend(&class->hit_us, heard->hit_us, !samples);
    blend(&class->p95_us, heard->p95_us, !samples);
    blend(&class->late_us, heard->late_us, true); /* it fades with the time that comes with it */
    blend(&class->token_ns, heard->token_ns, !samples);
    one->heard_us[i] = learnt;
    set(&class->learnt_us, learnt);
    if (!samples)
        set(&class->samples, 1);
}

static void hear_failures(struct spoken *one, const struct hearsay_line *line, uint64_t at_us)
{
    struct predict_figures *predict = &one->figures->predict;
    int64_t failed = (int64_t)at_us - line->failed_age_ms * US;
    if (line->failed_age_ms < 0 || failed <= get(&predict->failed_us) + HEARSAY_NEWER_US)
        return;
    blend(&predict->failing_ppm, line->failing_ppm, get(&predict->failed_us) == 0);
    one->heard_failed_us = failed;
    set(&predict->failed_us, failed);
}

static void hear_quota(struct spoken *one, const struct hearsay_line *line, uint64_t at_us)
{
    struct quota_left *left = &one->figures->left;
    int64_t said = (int64_t)at_us - line->said_age_ms * US;
    if (line->said_age_ms < 0 || said <= get(&left->said_us) + SAME_US)
        return;
    struct quota_seen seen = {
        .requests_left = line->requests_limit ? line->requests : -1,
        .requests_limit = line->requests_limit,
        .requests_reset_us = line->requests_reset_ms * US,
        .tokens_left = line->tokens_limit ? line->quota_tokens : -1,
        .tokens_limit = line->tokens_limit,
        .tokens_reset_us = line->tokens_reset_ms * US,
    };
    quota_said(left, &seen, (uint64_t)said);
    one->heard_said_us = said;
}

static void hear(struct spoken *one, const struct hearsay_line *line, uint64_t at_us,
                 uint64_t now_us)
{
    struct predict_figures *predict = &one->figures->predict;
    struct health_told told = {
        .circuit = (enum circuit)line->circuit,
        .turned_us = line->turned_age_ms >= 0 ? (int64_t)at_us - line->turned_age_ms * US : 0,
        .cooling_until_us = line->cooling_ms ? (int64_t)at_us + line->cooling_ms * US : 0,
    };
    health_hear(&one->figures->health, one->breaker, &told, now_us);
    if (line->room_milli && !get(&predict->room_milli))
        set(&predict->room_milli, line->room_milli);
    hear_failures(one, line, at_us);
    hear_quota(one, line, at_us);
    for (unsigned i = 0; i < TRAFFIC_CLASSES; i++)
        hear_class(one, i, &line->classes[i], at_us);
}

/* The lines behind the head; false where one is none. */
static bool read_lines(struct text rest, struct hearsay_line *lines, size_t *count)
{
    struct text one;
    *count = 0;
    while (rest.len > 0 && text_next(&rest, '\n', &one))
        if (*count == HEARSAY_TARGETS_MAX || !hearsay_line_read(one, &lines[(*count)++]))
            return false;
    return true;
}

static void take(struct hearsay *hearsay, struct node *node, const struct hearsay_line *line,
                 uint64_t now_us)
{
    struct spoken *one = find(hearsay, line->identity);
    if (!one) /* its configuration is another one */
        return;
    hear(one, line, node->at_us, now_us);
    node->flights[node->count++] = (struct flight){.place = (unsigned)(one - hearsay->list),
                                                   .calls = line->calls,
                                                   .tokens = line->tokens,
                                                   .open = line->circuit != CIRCUIT_CLOSED};
}

bool hearsay_read(struct hearsay *hearsay, struct text node, struct text record, int64_t age_us,
                  uint64_t now_us)
{
    size_t count;
    if (record.len > HEARSAY_BYTES_MAX || !text_starts(record, hearsay_head) || node.len == 0 ||
        node.len >= HEARSAY_NAME_BYTES || memchr(node.at, '\0', node.len) || age_us < 0 ||
        age_us >= HEARSAY_GONE_US || now_us <= (uint64_t)age_us)
        return false;
    struct hearsay_line *lines = memory_new(HEARSAY_TARGETS_MAX * sizeof(*lines));
    bool good = read_lines(text_from(record, hearsay_head.len), lines, &count);
    struct node *from = good ? node_of(hearsay, node, now_us) : NULL;
    if (from) {
        from->at_us = now_us - (uint64_t)age_us;
        from->count = 0;
        for (size_t i = 0; i < count; i++)
            take(hearsay, from, &lines[i], now_us);
    }
    memory_free(lines);
    return from != NULL;
}

/* ------------------------------------------------------------------------------- in flight */

/* What counts of <value> when it was told <age> ago. */
static int64_t aged(int64_t value, int64_t age)
{
    if (age <= HEARSAY_FRESH_US)
        return value;
    return predict_scaled(value, HEARSAY_GONE_US - age, HEARSAY_GONE_US - HEARSAY_FRESH_US);
}

struct sum {
    int64_t calls, tokens, nodes, open;
    uint64_t at_us;
};

static void add_node(const struct node *node, uint64_t now_us, struct sum *sums)
{
    int64_t age = (int64_t)(now_us - node->at_us);
    for (size_t i = 0; i < node->count; i++) {
        const struct flight *flight = &node->flights[i];
        struct sum *sum = &sums[flight->place];
        sum->calls += aged(flight->calls, age);
        sum->tokens += aged(flight->tokens, age);
        sum->open += flight->open;
        sum->nodes++;
        sum->at_us = node->at_us > sum->at_us ? node->at_us : sum->at_us;
    }
}

static bool counts(const struct node *node, uint64_t now_us)
{
    return node->at_us && now_us >= node->at_us && now_us - node->at_us < HEARSAY_GONE_US;
}

void hearsay_fold(struct hearsay *hearsay, uint64_t now_us)
{
    struct sum *sums = memory_new((hearsay->count + 1) * sizeof(*sums));
    for (size_t i = 0; i < HEARSAY_NODES_MAX; i++)
        if (counts(&hearsay->nodes[i], now_us))
            add_node(&hearsay->nodes[i], now_us, sums);
    for (size_t i = 0; i < hearsay->count; i++) {
        struct target_figures *figures = hearsay->list[i].figures;
        set(&figures->predict.heard_calls, sums[i].calls);
        set(&figures->predict.heard_tokens, sums[i].tokens);
        set(&figures->heard.nodes, sums[i].nodes);
        set(&figures->heard.open, sums[i].open);
        if (sums[i].at_us)
            set(&figures->heard.at_us, (int64_t)sums[i].at_us);
    }
    memory_free(sums);
}

unsigned hearsay_nodes(const struct hearsay *hearsay, uint64_t now_us, int64_t *age_us)
{
    unsigned found = 0;
    *age_us = 0;
    for (size_t i = 0; i < HEARSAY_NODES_MAX; i++) {
        const struct node *node = &hearsay->nodes[i];
        if (!counts(node, now_us))
            continue;
        int64_t age = (int64_t)(now_us - node->at_us);
        *age_us = age > *age_us ? age : *age_us;
        found++;
    }
    return found;
}
